"""A whole run of the large networks, small and random: what comes out, what is told, what stops it, what is kept."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from large_small import DINOV2, GENERATOR, NETWORKS, VGGT, pictures, small_store
from meshwright.errors import Cancelled, InputError, OptionError, VramError, WeightsNotInstalledError
from meshwright.models.reconviagen.large import generate as module
from meshwright.models.reconviagen.large.config import GenerationConfig, LatentScale
from meshwright.models.reconviagen.large.generate import Generated, generate
from meshwright.models.reconviagen.large.loading import Loaded, WeightsDamagedError, WeightsMismatchError
from meshwright.models.reconviagen.large.networks import NAMES, FileNetworks
from meshwright.models.reconviagen.large.sampling import SamplerConfig
from meshwright.types import Mesh, SilentMonitor

QUICK = GenerationConfig(
    seed=3,
    structure=replace(GenerationConfig().structure, steps=3),
    detail=replace(GenerationConfig().detail, steps=2),
)


@dataclass(frozen=True)
class Place:
    weights: Path
    config: Path | None = None


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_store(tmp_path_factory.mktemp("store"))


def files(store: Path) -> FileNetworks:
    folder = store / GENERATOR / "ckpts"
    places = {
        name: Place(folder / f"{stem}.safetensors", folder / f"{stem}.json") for name, (stem, _, _) in NETWORKS.items()
    }
    places["vggt"] = Place(store / VGGT / "model.safetensors", store / VGGT / "config.json")
    places["dinov2"] = Place(store / DINOV2 / "dinov2_vitl14_reg4_pretrain.pth")
    return FileNetworks(places, store / GENERATOR / "pipeline.json")


class Changed:
    """Networks of a store, after something was done to some of them."""

    def __init__(self, store: Path, **changes: Callable[[Loaded], Loaded | None]) -> None:
        self.inner = files(store)
        self.changes = changes

    @property
    def latent_scale(self) -> LatentScale:
        return self.inner.latent_scale

    def load(self, name: str) -> Loaded:
        loaded = self.inner.load(name)
        if name in self.changes:
            loaded = self.changes[name](loaded) or loaded
        return loaded


@pytest.fixture(scope="module")
def made(store: Path) -> Generated:
    return generate(pictures(3), files(store), replace(QUICK, gaussians=True))


def test_an_object_comes_out(made: Generated) -> None:
    mesh = made.mesh
    assert mesh.vertices.dtype == np.float32 and mesh.faces.dtype == np.int32
    assert made.colours.dtype == np.uint8 and made.colours.shape == mesh.vertices.shape
    assert np.abs(mesh.vertices).max() < 0.5
    assert mesh.faces.min() == 0 and mesh.faces.max() == len(mesh.vertices) - 1
    assert is_closed(mesh) and signed_volume(mesh) > 0.1
    assert made.gaussians is not None and len(made.gaussians) % 4 == 0
    assert made.warnings == ()


def is_closed(mesh: Mesh) -> bool:
    """Every edge is run along once in each direction."""
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]).astype(np.int64)
    there = edges[:, 0] * len(mesh.vertices) + edges[:, 1]
    back = edges[:, 1] * len(mesh.vertices) + edges[:, 0]
    return bool(np.array_equal(np.sort(there), np.sort(back)))


def signed_volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def test_the_report_says_what_was_done(made: Generated) -> None:
    import json

    report: dict[str, Any] = json.loads(json.dumps(made.report))
    assert (report["seed"], report["views"]) == (3, 3)
    assert report["structure_sampler"]["steps"] == 3 and report["structure_sampler"]["cfg_interval"] == [0.6, 1.0]
    assert report["vertices"] == len(made.mesh.vertices) and report["faces"] == len(made.mesh.faces)
    assert report["voxels"] * 4 == len(made.gaussians or ())
    assert set(report["seconds"]) == {*NAMES, "pictures", "extraction"}
    assert list(report["loading_seconds"]) == [*NAMES[:4], *NAMES[4:]]
    assert set(report["precision"].values()) == {"float32"}


def test_the_defaults_are_the_published_demonstration_s() -> None:
    config = GenerationConfig()
    assert config.structure == SamplerConfig(
        steps=30, cfg_strength=7.5, cfg_interval=(0.6, 1.0), guidance_rescale=0.7, rescale_t=5.0, sigma_min=1e-5
    )
    assert config.detail == SamplerConfig(
        steps=12, cfg_strength=7.5, cfg_interval=(0.6, 1.0), guidance_rescale=0.5, rescale_t=3.0, sigma_min=1e-5
    )


def test_the_same_seed_gives_the_same_object(store: Path, made: Generated) -> None:
    torch.manual_seed(99)  # what others have drawn is of no account
    again = generate(pictures(3), files(store), QUICK)
    np.testing.assert_array_equal(again.mesh.vertices, made.mesh.vertices)
    np.testing.assert_array_equal(again.mesh.faces, made.mesh.faces)
    np.testing.assert_array_equal(again.colours, made.colours)
    other = generate(pictures(3), files(store), replace(QUICK, seed=4))
    assert other.colours.shape != made.colours.shape or not np.array_equal(other.colours, made.colours)


@pytest.mark.parametrize("at_once", [1, 2])
def test_views_at_once_changes_no_result(store: Path, made: Generated, at_once: int) -> None:
    parts = generate(pictures(3), files(store), replace(QUICK, views_at_once=at_once))
    np.testing.assert_array_equal(parts.mesh.faces, made.mesh.faces)
    # Sums of some hundred products, in another order in batches of another size, through a hundred layers.
    np.testing.assert_allclose(parts.mesh.vertices, made.mesh.vertices, atol=1e-4)


def test_noise_is_drawn_as_the_published_code_draws_it(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []
    sample = module.sample

    def noted(velocity: Any, noise: Any, *others: Any, **named: Any) -> Any:
        begun.append(noise)
        return sample(velocity, noise, *others, **named)

    monkeypatch.setattr(module, "sample", noted)
    generate(pictures(1), files(store), QUICK)
    torch.manual_seed(3)
    torch.testing.assert_close(begun[0], torch.randn(1, 8, 2, 2, 2), rtol=0, atol=0)
    torch.testing.assert_close(begun[1].feats, torch.randn(len(begun[1]), 8), rtol=0, atol=0)


def test_pictures_matter(store: Path, made: Generated) -> None:
    other = generate(pictures(4)[1:], files(store), QUICK)
    assert other.colours.shape != made.colours.shape or not np.array_equal(other.colours, made.colours)


def test_one_network_at_a_time(store: Path) -> None:
    """When one is loaded, all before it are gone; and nothing is left at the end."""
    alive: list[weakref.ref[torch.nn.Module]] = []
    order: list[str] = []

    class Watched(Changed):
        def load(self, name: str) -> Loaded:
            gc.collect()
            assert not [ref for ref in alive if ref() is not None], name
            loaded = super().load(name)
            alive.append(weakref.ref(loaded.network))
            order.append(name)
            return loaded

    generate(pictures(2), Watched(store), replace(QUICK, gaussians=True))
    gc.collect()
    assert order == list(NAMES)
    assert not [ref for ref in alive if ref() is not None]


class Heard(SilentMonitor):
    """Notes what is reported; stops at the check number `stop`."""

    def __init__(self, stop: int | None = None) -> None:
        super().__init__()
        object.__setattr__(self, "told", [])
        object.__setattr__(self, "checks", itertools.count())
        object.__setattr__(self, "stop", stop)

    told: list[tuple[float, str]]

    def report(self, percent: float, step: str) -> None:
        self.told.append((percent, step))

    def check(self) -> None:
        if next(self.checks) == self.stop:  # type: ignore[attr-defined]
            raise Cancelled("stop")


def test_progress_rises_to_the_end(store: Path) -> None:
    monitor = Heard()
    generate(pictures(2), files(store), QUICK, monitor)
    numbers = [percent for percent, _ in monitor.told]
    assert numbers == sorted(numbers) and numbers[-1] == 100.0
    assert len({step for _, step in monitor.told}) == 7
    # 24 pairs of blocks, 3 and 2 steps, 9 networks or so: no long silence.
    assert next(monitor.checks) > 40  # type: ignore[attr-defined]


@pytest.mark.parametrize("stop", [0, 3, 20, 40])
def test_a_wish_to_stop_is_heard(store: Path, stop: int) -> None:
    with pytest.raises(Cancelled):
        generate(pictures(2), files(store), QUICK, Heard(stop))


def test_no_picture(store: Path) -> None:
    with pytest.raises(InputError, match="no picture"):
        generate([], files(store), QUICK)


def test_a_picture_without_an_object(store: Path) -> None:
    empty = pictures(1)[0]
    empty[..., 3] = 0
    with pytest.raises(InputError, match="shows no object"):
        generate([empty], files(store), QUICK)


def biased(value: float) -> Callable[[Loaded], None]:
    def change(loaded: Loaded) -> None:
        loaded.network.out_layer[2].bias.data.add_(value)  # type: ignore[index, operator, union-attr]

    return change


def test_networks_that_see_nothing(store: Path) -> None:
    with pytest.raises(InputError, match="see nothing"):
        generate(pictures(1), Changed(store, sparse_structure_decoder=biased(-100.0)), QUICK)


def test_networks_that_see_noise(store: Path) -> None:
    with pytest.raises(InputError, match="512 voxels, which is no object"):
        generate(
            pictures(1), Changed(store, sparse_structure_decoder=biased(100.0)), replace(QUICK, largest_voxels=300)
        )


def test_networks_that_see_no_surface(store: Path) -> None:
    def outside(loaded: Loaded) -> None:
        loaded.network.out_layer.bias.data[:8] = 100.0  # type: ignore[index, union-attr, operator]

    with pytest.raises(InputError, match="no surface"):
        generate(pictures(1), Changed(store, slat_decoder_mesh=outside), QUICK)


def test_missing_tensors_are_told(store: Path) -> None:
    def lacking(loaded: Loaded) -> Loaded:
        return replace(loaded, missing=("a", "b", "c", "d"), extra=("e",))

    made = generate(pictures(1), Changed(store, slat_flow_model=lacking), QUICK)
    assert made.report["keys"] == {"slat_flow_model": {"missing": ["a", "b", "c", "d"], "extra": ["e"]}}
    assert len(made.warnings) == 1 and "lacks 4 tensors of its network (a, b, c and others)" in made.warnings[0]


class TooMuch(torch.nn.Module):
    """An image encoder on a device that has room for so many pictures."""

    def __init__(self, inner: torch.nn.Module, room: int) -> None:
        super().__init__()
        self.inner, self.room = inner, room
        self.side, self.patch_size = inner.side, inner.patch_size

    def image_condition(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        found: torch.Tensor = self.inner.image_condition(images)  # type: ignore[operator]
        return found


@pytest.mark.parametrize("room", [1, 2])
def test_fewer_views_at_once_where_memory_is_short(store: Path, made: Generated, room: int) -> None:
    short = Changed(store, dinov2=lambda loaded: replace(loaded, network=TooMuch(loaded.network, room)))
    parts = generate(pictures(3), short, QUICK)
    np.testing.assert_array_equal(parts.mesh.faces, made.mesh.faces)


def test_too_little_memory_for_one_view(store: Path) -> None:
    short = Changed(store, dinov2=lambda loaded: replace(loaded, network=TooMuch(loaded.network, 0)))
    with pytest.raises(VramError, match="ran out of memory"):
        generate(pictures(3), short, QUICK)


def test_networks_without_files(store: Path, tmp_path: Path) -> None:
    lacking = files(store)
    del lacking.places["vggt"]
    with pytest.raises(WeightsNotInstalledError, match="network vggt"):
        lacking.load("vggt")
    with pytest.raises(WeightsNotInstalledError, match=r"pipeline\.json .*not there"):
        _ = FileNetworks({}, tmp_path / "pipeline.json").latent_scale


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("{", WeightsDamagedError, "no JSON"),
        ("[]", WeightsDamagedError, "no JSON"),
        ("{}", WeightsMismatchError, "slat_normalization"),
        ('{"args": {"slat_normalization": {"mean": [1], "std": [0]}}}', WeightsMismatchError, "spread above 0"),
    ],
)
def test_a_pipeline_that_says_no_scale(tmp_path: Path, text: str, error: type[Exception], words: str) -> None:
    (tmp_path / "pipeline.json").write_text(text)
    with pytest.raises(error, match=words) as caught:
        _ = FileNetworks({}, tmp_path / "pipeline.json").latent_scale
    assert words in str(caught.value)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"views_at_once": 0}, {"largest_voxels": 0}])
def test_options_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        GenerationConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.gpu
def test_a_gpu_makes_nearly_the_same(store: Path, made: Generated) -> None:
    """Half precision moves every number a little: the lump's outline stays."""
    for device in ("cuda:0",):
        there = generate(pictures(3), files(store), replace(QUICK, gaussians=True), device=device)
        assert is_closed(there.mesh)
        assert abs(signed_volume(there.mesh) / signed_volume(made.mesh) - 1) < 0.05
        precision: Any = there.report["precision"]
        assert precision["vggt"] in ("bfloat16", "float16") and precision["slat_flow_model"] == "float16"
        assert set(there.report["peak_memory_gb"]) == {*NAMES, "pictures", "extraction"}  # type: ignore[call-overload]
