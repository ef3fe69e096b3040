"""Refinement as a whole: wrong shapes and cameras become better ones, and what is right stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from meshwright.checkpoint import Checkpoints
from meshwright.errors import Cancelled, VramError
from meshwright.geometry import AtlasConfig, unwrap
from meshwright.models import Evidence, get_model
from meshwright.models.base import Memory
from meshwright.models.refinement.config import Level, RefineConfig, Yielding
from meshwright.models.refinement.proposal import refined as proposed
from meshwright.models.refinement.refine import Refinement, _Fit, refine
from meshwright.rendering import rasterize_mesh
from meshwright.running import Steps
from meshwright.types import Camera, Mesh, SilentMonitor, TexturedMesh, View, ViewSet
from scenes import Ellipsoid, six, views_of

SIZE = 96
AXES = (0.3, 0.4, 0.5)
CAMERAS = six(SIZE)
VIEWS = views_of((Ellipsoid((0.0, 0.0, 0.0), AXES),), CAMERAS).views
CONFIG = RefineConfig(
    levels=(
        Level(pixels=48, cell=0.3, steps=25, move=0.004, turn=0.002),
        Level(pixels=96, cell=0.2, steps=25, move=0.002, turn=0.001),
    ),
    texture_size=256,
)


def egg(scale: tuple[float, float, float]) -> Mesh:
    ball = trimesh.creation.icosphere(subdivisions=3)
    return Mesh(vertices=(ball.vertices * np.array(AXES) * scale).astype(np.float32), faces=ball.faces.astype(np.int32))


def grey(mesh: Mesh) -> TexturedMesh:
    atlas = unwrap(mesh, AtlasConfig(texture_size=256))
    picture = np.full((256, 256, 3), 128, np.uint8)
    return TexturedMesh(mesh=mesh, uv=atlas.uv, uv_faces=atlas.uv_faces, base_color_srgb=picture)


def refined(
    mesh: Mesh,
    cameras: tuple[Camera, ...],
    *,
    doubt: float = 0.1,
    free: bool = True,
    config: RefineConfig = CONFIG,
    memory: Memory | None = None,
) -> Refinement:
    return refine(
        grey(mesh),
        mesh.vertices,
        VIEWS,
        cameras,
        doubt=doubt,
        free_cameras=free,
        config=config,
        monitor=SilentMonitor(),
        device="cpu",
        memory=memory,
        pause_s=0.0,
    )


def outline_error(mesh: Mesh, cameras: tuple[Camera, ...], views: tuple[View, ...] = VIEWS) -> float:
    """Mean share of the pixels covered in one of mesh and mask only."""
    return float(
        np.mean(
            [(rasterize_mesh(mesh, c).covered != (v.mask > 0.5)).mean() for c, v in zip(cameras, views, strict=True)]
        )
    )


def test_a_wrong_shape_is_bent_into_its_outlines() -> None:
    wrong = egg((1.06, 0.95, 1.0))
    found = refined(wrong, CAMERAS, free=False)
    after = found.moved(wrong)
    assert outline_error(after, CAMERAS) < 0.35 * outline_error(wrong, CAMERAS)
    for before, camera in zip(CAMERAS, found.cameras, strict=True):
        np.testing.assert_allclose(camera.camera_to_world, before.camera_to_world, atol=1e-6)


def test_cameras_that_are_off_come_back() -> None:
    true = egg((1.0, 1.0, 1.0))
    off = (replace(CAMERAS[0], cx=CAMERAS[0].cx + 1.5, cy=CAMERAS[0].cy - 1.0), *CAMERAS[1:])
    found = refined(true, off, doubt=0.002)
    assert outline_error(found.moved(true), found.cameras) < 0.5 * outline_error(true, off)
    assert abs(found.cameras[0].cx - CAMERAS[0].cx) < 0.8


def test_little_doubt_holds_the_surface() -> None:
    wrong = egg((1.06, 0.95, 1.0))
    free, held = (refined(wrong, CAMERAS, doubt=doubt, free=False).moved(wrong) for doubt in (0.1, 0.001))
    moved = [np.abs(mesh.vertices - wrong.vertices).max() for mesh in (free, held)]
    assert moved[1] < 0.5 * moved[0]


def test_a_level_begins_with_the_colours_that_the_one_before_has_learned() -> None:
    """Of a grey texture nothing is left to learn but what smaller pixels show."""
    levels = (replace(CONFIG.levels[0], steps=40), replace(CONFIG.levels[1], steps=5))
    found = refined(egg((1.0, 1.0, 1.0)), CAMERAS, doubt=0.002, free=False, config=replace(CONFIG, levels=levels))
    first, second = found.report["levels"]  # type: ignore[misc]
    assert second["loss_first"] < first["loss_best"] < 0.5 * first["loss_first"]


@pytest.mark.parametrize(
    ("doubt", "free", "agreed", "stays"),
    [(0.0005, False, 1.0, True), (0.0005, False, 0.0, False), (0.0005, True, 1.0, False), (0.002, False, 1.0, False)],
)
def test_what_is_sure_stays_where_views_agree(doubt: float, free: bool, agreed: float, stays: bool) -> None:
    wrong = egg((1.002, 1.0, 1.0))
    levels = tuple(replace(level, steps=5) for level in CONFIG.levels)
    found = refined(wrong, CAMERAS, doubt=doubt, free=free, config=replace(CONFIG, levels=levels, agreed=agreed))
    assert np.array_equal(found.moved(wrong).vertices, wrong.vertices) == stays
    assert ("stays" in found.report) == stays
    assert len(found.report["levels"]) == (1 if stays else 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("contradict", [False, True])
def test_only_where_views_contradict_each_other_the_surface_yields(contradict: bool) -> None:
    """Neighbouring views of one grey egg, or every other one white: no texture shows both."""
    first, usual, finer = (Level(pixels=48, cell=cell, steps=5, move=1e-3, turn=0.0) for cell in (0.5, 0.4, 0.2))
    config = replace(CONFIG, levels=(first, usual), yielding=Yielding(levels=(finer,), doubt=0.02))
    grey_as_linear = 0.2158605
    views = tuple(
        replace(v, rgb=np.full_like(v.rgb, 0.9 if contradict and i % 2 else grey_as_linear))
        for i, v in enumerate(VIEWS)
    )
    percents: list[float] = []

    class Listener(SilentMonitor):
        def report(self, percent: float, step: str) -> None:
            percents.append(percent)

    mesh = egg((1.0, 1.0, 1.0))
    found = refine(
        grey(mesh),
        mesh.vertices,
        views,
        CAMERAS,
        doubt=0.001,
        free_cameras=False,
        config=config,
        monitor=Listener(),
        device="cpu",
    )
    assert [level["cell"] for level in found.report["levels"]] == [0.5, 0.2 if contradict else 0.4]  # type: ignore[attr-defined]
    assert percents == sorted(percents) and percents[0] == 0 and 85 < percents[-1] < 100


def test_two_runs_are_equal() -> None:
    wrong = egg((1.03, 1.0, 1.0))
    one, other = refined(wrong, CAMERAS), refined(wrong, CAMERAS)
    np.testing.assert_array_equal(one.moved(wrong).vertices, other.moved(wrong).vertices)


class Impatient(SilentMonitor):
    """Asks to stop at the tenth check."""

    def __init__(self) -> None:
        self.checks = 0

    def check(self) -> None:
        self.checks += 1
        if self.checks > 10:
            raise Cancelled("stop")


def test_it_stops_when_asked() -> None:
    mesh = egg((1.0, 1.0, 1.0))
    with pytest.raises(Cancelled):
        refine(
            grey(mesh),
            mesh.vertices,
            VIEWS,
            CAMERAS,
            doubt=0.01,
            free_cameras=True,
            config=CONFIG,
            monitor=Impatient(),
            device="cpu",
        )


def test_the_model_moves_the_dense_shape_and_says_so() -> None:
    wrong = egg((1.05, 1.0, 1.0))
    evidence = Evidence(views=ViewSet(views=VIEWS), cameras=CAMERAS, shape=wrong, device="cpu", effort="draft")
    proposal = get_model("nvdiffrec").propose(evidence, SilentMonitor())
    assert len(proposal.mesh.faces) == len(wrong.faces)
    assert proposal.cameras is not None
    assert proposal.report["refinement"] == "shape, cameras and texture"
    assert outline_error(proposal.mesh, proposal.cameras) < outline_error(wrong, CAMERAS)


@pytest.mark.parametrize(
    ("faces", "texture", "delivered", "light", "laid"),
    [
        (1000, 512, True, 1000, True),
        (1000, 1024, True, 1000, False),  # its charts lie too close for the texture that is fitted
        (1000, 512, False, None, False),  # another model begins with the dense mesh
        (3000, 512, True, None, False),  # too many faces to fit through
    ],
)
def test_what_is_delivered_is_made_before_it_is_bent(
    faces: int, texture: int, delivered: bool, light: int | None, laid: bool
) -> None:
    wrong = egg((1.05, 1.0, 1.0))
    evidence = Evidence(
        views=ViewSet(views=VIEWS), cameras=CAMERAS, shape=wrong, device="cpu", delivered=delivered, faces=faces,
        texture_size=texture,
    )  # fmt: skip
    short = replace(CONFIG, levels=tuple(replace(level, steps=2) for level in CONFIG.levels), faces=800)
    proposal = proposed(evidence, short, SilentMonitor())
    assert len(proposal.mesh.faces) == len(wrong.faces) == 1280
    assert (proposal.atlas is not None) == laid
    if light is None:
        assert proposal.light is None
        return
    assert proposal.light is not None
    assert 0.9 * light <= len(proposal.light.faces) <= light
    if proposal.atlas is not None:
        assert proposal.atlas.uv_faces.shape == proposal.light.faces.shape
    # Both were bent by the same field: the light mesh fills the box of the dense one.
    for edge in (np.min, np.max):
        np.testing.assert_allclose(edge(proposal.light.vertices, 0), edge(proposal.mesh.vertices, 0), atol=0.005)
    assert np.abs(proposal.mesh.vertices - wrong.vertices).max() > 1e-4


class Notebook:
    """A memory that keeps everything, as checkpoints do, and can be told to end the run."""

    def __init__(self, folder: Path, entries: int = 10**9) -> None:
        self.steps = Steps(Checkpoints(folder, (), ()), "model.steps", "key")
        self.entries = entries

    def recall(self) -> Mapping[str, Any] | None:
        return self.steps.recall()

    def keep(self, state: Mapping[str, Any]) -> None:
        self.steps.keep(state)
        self.entries -= 1
        if self.entries == 0:
            raise Cancelled("killed")


@pytest.mark.parametrize("entries", [1, 3, 8])
def test_a_killed_refinement_goes_on_as_if_nothing_had_happened(tmp_path: Path, entries: int) -> None:
    wrong = egg((1.06, 0.95, 1.0))
    textured = grey(wrong)
    common = {"doubt": 0.1, "free_cameras": True, "config": CONFIG, "device": "cpu", "pause_s": 0.0}
    steps: list[float] = []

    class Listener(SilentMonitor):
        def report(self, percent: float, step: str) -> None:
            steps.append(percent)

    def run(memory: Notebook | None) -> Refinement:
        return refine(textured, wrong.vertices, VIEWS, CAMERAS, monitor=Listener(), memory=memory, **common)  # type: ignore[arg-type]

    whole = run(None)
    all_steps = len(steps)
    with pytest.raises(Cancelled):
        run(Notebook(tmp_path, entries))
    steps.clear()
    resumed = run(Notebook(tmp_path))
    assert len(steps) <= all_steps - 5 * (entries - 1)
    # Sums of floats in another order differ in their last bits, and a descent lets them grow.
    np.testing.assert_allclose(resumed.moved(wrong).vertices, whole.moved(wrong).vertices, atol=2e-4)
    assert [level["pixels"] for level in resumed.report["levels"]] == [48, 96]  # type: ignore[attr-defined]


def test_what_was_kept_of_another_mesh_is_left_alone(tmp_path: Path) -> None:
    memory = Notebook(tmp_path)
    memory.keep({"subject": "another"})
    wrong = egg((1.06, 0.95, 1.0))
    found = refined(wrong, CAMERAS, free=False, memory=memory)
    assert len(found.fields) == 2


def crowded(monkeypatch: pytest.MonkeyPatch, fits: Callable[[int, int], bool]) -> list[tuple[int, int]]:
    """Steps find no memory unless `fits(views, side)`; returns those that were tried."""
    tried: list[tuple[int, int]] = []
    plain = _Fit._loss

    def loss(self: _Fit) -> torch.Tensor:
        tried.append((self.load.at_once, self.width))
        found = plain(self)
        if not fits(*tried[-1]):
            found.backward()  # type: ignore[no-untyped-call]  # gradients of a step that is never taken
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return found

    monkeypatch.setattr(_Fit, "_loss", loss)
    return tried


FEW = replace(CONFIG, levels=tuple(replace(level, steps=6) for level in CONFIG.levels))


def test_with_too_little_memory_it_takes_fewer_views_then_smaller_pictures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("meshwright.models.stepping_down.LEAST_PIXELS", 16)
    tried = crowded(monkeypatch, lambda views, side: views <= 1 and side <= 24)
    wrong = egg((1.06, 0.95, 1.0))
    memory = Notebook(tmp_path)
    found = refined(wrong, CAMERAS, config=FEW, memory=memory)
    assert list(dict.fromkeys(tried)) == [(6, 48), (3, 48), (1, 48), (1, 24), (6, 96), (3, 96), (1, 96)]
    levels: Any = found.report["levels"]
    assert [level["stepped_down"] for level in levels] == [{"at_once": 1, "pixels": 24}] * 2
    assert [level["steps"] for level in levels] == [6, 6]
    (said,) = found.warnings
    assert "memory was full: shape and cameras were refined with 1 view of 24 pixels in a step" in said
    # What was kept of it knows what a step takes on.
    kept = memory.recall()
    assert kept is not None and kept["fit"]["load"] == [1, 24]


def test_where_nothing_less_makes_sense_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    crowded(monkeypatch, lambda views, side: False)
    with pytest.raises(VramError, match="one view of 48 pixels"):
        refined(egg((1.0, 1.0, 1.0)), CAMERAS)


def test_another_error_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(self: _Fit) -> torch.Tensor:
        raise RuntimeError("something else")

    monkeypatch.setattr(_Fit, "_loss", loss)
    with pytest.raises(RuntimeError, match="something else"):
        refined(egg((1.0, 1.0, 1.0)), CAMERAS)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)])
def test_a_trifle_is_refined_for_what_is_loaded_by_it(device: str) -> None:
    get_model("nvdiffrec", device=device).warm_up(device)
