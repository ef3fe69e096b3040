"""Small networks laid out as the released ones are: fetched, verified, and run from six pictures to files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from large_small import small_store
from meshwright.cli.app import app
from meshwright.export import validate_mesh_output
from meshwright.synth import SynthConfig, write_example
from meshwright.weights import LARGE
from meshwright.weights.catalogue import OVERRIDES
from weights_mirror import serving, write_catalogue

pytest.importorskip("huggingface_hub")

pytestmark = pytest.mark.slow

QUICK = ["--quality", "draft", "--faces", "3000", "--texture-size", "256", "--rig", "default"]
FEW_STEPS = ["--structure-steps", "2", "--detail-steps", "2"]


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six views of the toy car with alpha and relative depth."""
    folder = tmp_path_factory.mktemp("synth") / "car"
    write_example("toy_car", folder, SynthConfig(size=160, plain=True, test_views=0, mesh_grid=32))
    return folder


@pytest.fixture(scope="module", autouse=True)
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a user types before the first run."""
    release = small_store(tmp_path_factory.mktemp("release"))
    with serving(release) as mirror, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", mirror.url)
        patch.setenv("MESHWRIGHT_WEIGHTS", str(tmp_path_factory.mktemp("weights")))
        patch.setenv(OVERRIDES, str(write_catalogue(release / "catalogue.json", release, url=mirror.url, hashes=True)))
        assert typed("reconstruct", ".", "-o", "out", "--checkpoint", LARGE).exit_code != 0
        assert typed("weights", "fetch", LARGE, "--accept-licence").exit_code == 0
        assert typed("weights", "verify", LARGE).exit_code == 0
        yield


def typed(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def quality(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "quality.json").read_text())["details"]["model"]
    return found


def test_outlines_only(six: Path, tmp_path: Path) -> None:
    """What the networks made is the shape."""
    done = typed("reconstruct", six, "-o", tmp_path / "out", "--checkpoint", LARGE, "--no-depth", *QUICK, *FEW_STEPS)
    assert done.exit_code == 0, done.output
    assert validate_mesh_output(tmp_path / "out")["valid"]
    found = quality(tmp_path / "out")
    assert found["proposal"] == "generated"
    assert str(found["checkpoint"]).startswith(LARGE)
    networks, placing = found["networks"], found["placing"]
    assert isinstance(networks, dict) and networks["views"] == 6 and networks["structure_sampler"]["steps"] == 2
    assert isinstance(placing, dict)


def test_depth_decides_and_colours_fill_what_is_unseen(six: Path, tmp_path: Path) -> None:
    done = typed("reconstruct", six, "-o", tmp_path / "out", "--checkpoint", LARGE, *QUICK, *FEW_STEPS)
    assert done.exit_code == 0, done.output
    assert validate_mesh_output(tmp_path / "out")["valid"]
    assert quality(tmp_path / "out")["proposal"] == "generated; depth decides the shape"
    done = typed(
        "reconstruct", six, "-o", tmp_path / "plain", "--checkpoint", LARGE, "--no-unseen-colours", *QUICK, *FEW_STEPS
    )
    assert done.exit_code == 0, done.output
    assert quality(tmp_path / "plain")["proposal"] == "none: depth decides the shape"


def test_auto_takes_the_small_ones_without_a_gpu(six: Path, tmp_path: Path) -> None:
    done = typed("reconstruct", six, "-o", tmp_path / "out", "--device", "cpu", *QUICK)
    assert done.exit_code == 0, done.output
    assert quality(tmp_path / "out")["checkpoint"] == "mini"
