"""Small networks as released files: fetched from a local mirror, verified, and loaded by what runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from large_small import NETWORKS, small_store
from meshwright.models.reconviagen.large.loading import build
from meshwright.models.reconviagen.large.networks import NAMES, FileNetworks
from meshwright.weights import LARGE, Store, family_named, installed
from meshwright.weights.catalogue import OVERRIDES
from meshwright.weights.fetch import fetch, survey
from meshwright.weights.layouts import LAYOUTS, expected_shapes
from meshwright.weights.licences import accept
from meshwright.weights.verify import verify
from weights_mirror import serving, write_catalogue

pytest.importorskip("huggingface_hub")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Fetched from a mirror that serves the files of small networks."""
    release, store = small_store(tmp_path_factory.mktemp("release")), Store(tmp_path_factory.mktemp("store"))
    catalogue = release / "catalogue.json"
    with serving(release) as mirror, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", mirror.url)
        patch.setenv(OVERRIDES, str(write_catalogue(catalogue, release, url=mirror.url, hashes=True)))
        family = family_named(LARGE)
        wanted, _ = survey(family, store)
        fetch(wanted, store)
        assert verify(family, store).faults == []
        accept(family, store)
    return store


def test_the_store_has_what_a_run_asks_for(store: Store) -> None:
    found = installed(LARGE, store)
    assert set(found.networks) == set(NAMES) == set(LAYOUTS)
    assert found.notes == ()


@pytest.mark.parametrize("name", NAMES)
def test_every_network_is_loaded_whole(store: Store, name: str) -> None:
    found = installed(LARGE, store)
    assert found.pipeline is not None
    loaded = FileNetworks(found.networks, found.pipeline).load(name)
    assert loaded.missing == ()
    assert loaded.extra == ()


@pytest.mark.parametrize("name", NETWORKS)
def test_files_are_judged_by_the_shapes_that_networks_have(name: str) -> None:
    _, kind, arguments = NETWORKS[name]
    shapes = {key: tuple(value.shape) for key, value in build(kind, arguments).state_dict().items()}
    assert expected_shapes(name, arguments, {}) == shapes


def test_another_family_of_files_is_not_taken_for_this_one(store: Store, tmp_path: Path) -> None:
    """`mini` needs nothing of the store, and the store nothing of it."""
    assert installed("mini", store).networks["prior"].weights.is_file()
    assert installed("mini", Store(tmp_path)).networks == installed("mini", store).networks
