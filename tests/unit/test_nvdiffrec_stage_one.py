"""Stage one: a surface and its colours come out of pictures of an exact ball, however it begins and goes on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from meshwright.colour import srgb_to_linear
from meshwright.errors import Cancelled, InputError, OptionError, VramError
from meshwright.geometry.tetra import Capacity
from meshwright.models import Evidence, get_model
from meshwright.models.nvdiffrec.appearance.config import VolumeConfig
from meshwright.models.nvdiffrec.appearance.network import GridNetwork
from meshwright.models.nvdiffrec.config import EFFORTS
from meshwright.models.nvdiffrec.stage_one import proposal
from meshwright.models.nvdiffrec.stage_one import start as starts
from meshwright.models.nvdiffrec.stage_one.chapters import Chapter
from meshwright.models.nvdiffrec.stage_one.config import StageLevel, StageOneConfig
from meshwright.models.nvdiffrec.stage_one.descent import SmoothDescent
from meshwright.models.nvdiffrec.stage_one.fit import StageOne, fit_stage_one
from meshwright.models.nvdiffrec.stage_one.judging import box_of, explained
from meshwright.models.nvdiffrec.stage_one.level import LevelFit
from meshwright.models.nvdiffrec.stage_one.memory import vram_needed
from meshwright.models.nvdiffrec.stage_one.pictures import clip_matrices, pixels_across
from meshwright.models.nvdiffrec.stage_one.scene import Scene
from meshwright.models.refinement.config import Level, RefineConfig
from meshwright.models.refinement.poses import PoseCorrections
from meshwright.models.sides import from_all_around
from meshwright.models.stepping_down import said_of
from meshwright.rendering.ops.hashgrid.layout import HashGrid
from meshwright.types import Array, MaskSource, Mesh, SilentMonitor, ViewSet
from scenes import Ellipsoid, around, six, views_of
from tetra_scenes import is_closed

RADIUS = 0.4
SIDE = 64
DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]


def paint(points: Array) -> Array:
    """Smooth bands of three colours."""
    return 0.45 + 0.35 * np.sin(points * 9 + np.array([0.0, 1.0, 2.0]))


CAMERAS = around(12, SIDE)
VIEWS = views_of((Ellipsoid((0.0, 0.0, 0.0), (RADIUS,) * 3),), CAMERAS, paint=paint).views
SMALL = VolumeConfig(grid=HashGrid(levels=6, coarsest=8, finest=64, log2_size=14))
CONFIG = StageOneConfig(
    levels=(StageLevel(cells=12, pixels=32, steps=30), StageLevel(cells=24, pixels=64, steps=30)),
    carve=None,
    volume=SMALL,
    views_at_once=4,
    grid=32,
)


def fitted(config: StageOneConfig = CONFIG, device: str = "cpu", **more: Any) -> StageOne:
    return fit_stage_one(VIEWS, CAMERAS, config, SilentMonitor(), device, **more)


def cell_of(config: StageOneConfig) -> float:
    return 2 * RADIUS * (1 + 2 * config.margin) / config.levels[-1].cells


def check(found: StageOne, config: StageOneConfig) -> None:
    assert is_closed(found.mesh)
    off = np.abs(np.linalg.norm(found.mesh.vertices, axis=1) - RADIUS)
    assert off.mean() < 0.5 * cell_of(config)
    true = paint(found.mesh.vertices / np.linalg.norm(found.mesh.vertices, axis=1, keepdims=True) * RADIUS)
    assert found.colours.dtype == np.uint8 and found.colours.shape == found.mesh.vertices.shape
    wrong = np.abs(srgb_to_linear(found.colours.astype(np.float32) / 255) - true)
    if config.lighting == "baked":
        assert wrong.mean() < 0.05
    levels = found.report["levels"]
    assert isinstance(levels, list)
    assert levels[0]["loss_last"] < 0.5 * levels[0]["loss_first"]
    assert levels[-1]["loss_last"] < 0.5 * levels[0]["loss_first"]
    assert all(level["seconds"] > 0 for level in levels)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("extractor", "lighting"), [("tetrahedra", "baked"), ("cubes", "baked"), ("tetrahedra", "pbr")]
)
def test_a_ball_and_its_colours_come_out_of_pictures(extractor: str, lighting: str, device: str) -> None:
    config = replace(CONFIG, extractor=extractor, lighting=lighting, light_size=16)
    found = fitted(config, device)
    assert found.report["begun_as"] == "hull"
    check(found, config)


def test_it_begins_as_a_ball_where_there_is_no_hull(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise InputError("No point in space lies inside all silhouettes.")

    monkeypatch.setattr(starts, "outline_hull", none)
    config = replace(CONFIG, levels=(replace(CONFIG.levels[0], steps=100, move=0.15), CONFIG.levels[1]))
    found = fitted(config)
    assert found.report["begun_as"] == "ball"
    half = 2.5 / 2.2 / 2  # the box is what a camera sees
    off = np.abs(np.linalg.norm(found.mesh.vertices, axis=1) - RADIUS)
    assert is_closed(found.mesh)
    assert off.mean() < 2 * half * (1 + config.margin) / config.levels[-1].cells


class Notes:
    """A memory that can be looked at."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self.state = state
        self.entries: list[Mapping[str, Any]] = []

    def recall(self) -> Mapping[str, Any] | None:
        return self.state

    def keep(self, state: Mapping[str, Any]) -> None:
        self.state = state
        self.entries.append(state)


class StopAt(SilentMonitor):
    """Wants to stop after so many looks."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        object.__setattr__(self, "left", looks)

    def check(self) -> None:
        object.__setattr__(self, "left", self.left - 1)  # type: ignore[attr-defined]
        if self.left < 0:  # type: ignore[attr-defined]
            raise Cancelled("Stopped.")


@pytest.mark.parametrize(
    ("looks", "extractor", "lighting"), [(5, "tetrahedra", "baked"), (14, "tetrahedra", "pbr"), (14, "cubes", "baked")]
)
def test_a_fit_that_goes_on_is_the_one_that_never_stopped(looks: int, extractor: str, lighting: str) -> None:
    levels = tuple(replace(level, steps=8) for level in CONFIG.levels)
    config = replace(CONFIG, levels=levels, extractor=extractor, lighting=lighting, light_size=16)
    whole = fitted(config)
    notes = Notes()
    with pytest.raises(Cancelled):
        fit_stage_one(VIEWS, CAMERAS, config, StopAt(looks), "cpu", memory=notes, pause_s=0)
    assert len(notes.entries) in (looks - 1, looks)
    rest = Notes(notes.state)
    found = fitted(config, memory=rest, pause_s=0)
    assert 0 < len(rest.entries) < 16 - looks + 3
    np.testing.assert_array_equal(found.mesh.faces, whole.mesh.faces)
    np.testing.assert_array_equal(found.mesh.vertices, whole.mesh.vertices)
    np.testing.assert_array_equal(found.colours, whole.colours)


def test_chapters_of_a_memory_leave_each_other_alone() -> None:
    notes = Notes()
    one, two = Chapter(notes, "one"), Chapter(notes, "two")
    assert one.recall() is None
    one.keep({"a": 1})
    two.keep({"a": 2})
    assert one.recall() == {"a": 1} and two.recall() == {"a": 2}


def test_matrices_are_the_cameras() -> None:
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3)).astype(np.float32)
    matrices = clip_matrices(CAMERAS, np.zeros(3), "cpu")
    given = torch.from_numpy(points)
    clip = torch.cat([given, torch.ones(20, 1)], 1) @ matrices
    torch.testing.assert_close(clip, PoseCorrections(CAMERAS, np.zeros(3), "cpu")(given).detach(), rtol=1e-5, atol=1e-5)
    pixels, z = CAMERAS[3].project(points)
    x = (clip[3, :, 0] / clip[3, :, 3] + 1) * SIDE / 2
    np.testing.assert_allclose(x.numpy(), pixels[:, 0], atol=1e-3)
    np.testing.assert_allclose(clip[3, :, 3].numpy(), z, rtol=1e-5)


def test_colours_are_stored_no_finer_than_pixels_show_them() -> None:
    """A box of 0.8, 2.5 away, in pictures of 64 pixels with a focal length of 2.2 sides."""
    assert math.isclose(pixels_across(CAMERAS, np.zeros(3), 0.8, 1000), 0.8 / 2.5 * 2.2 * SIDE, rel_tol=1e-6)
    assert math.isclose(pixels_across(CAMERAS, np.zeros(3), 0.8, 32), 0.8 / 2.5 * 2.2 * 32, rel_tol=1e-6)
    low, high = np.full(3, -0.4), np.full(3, 0.4)

    def finest(**more: Any) -> int:
        network = Scene(low, high, CAMERAS, replace(CONFIG, **more), "cpu").volume.network
        assert isinstance(network, GridNetwork)
        return network.grid.finest

    assert finest(sharpness=0.5) == round(0.5 * 0.8 / 2.5 * 2.2 * SIDE)
    assert finest(sharpness=100.0) == SMALL.grid.finest and finest(sharpness=0.01) == SMALL.grid.coarsest


def test_views_from_all_around_are_many_and_not_straight() -> None:
    assert from_all_around(CAMERAS)
    assert not from_all_around(CAMERAS[:9])
    assert not from_all_around(six(SIDE))


def test_pictures_without_masks_say_nothing() -> None:
    views = tuple(replace(view, mask_source=MaskSource.NONE) for view in VIEWS)
    with pytest.raises(InputError, match="object"):
        fit_stage_one(views, CAMERAS, CONFIG, SilentMonitor(), "cpu")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"extractor": "voxels"}, "extractor"),
        ({"lighting": "dark"}, "lighting"),
        ({"mask_weight": float("nan")}, "mask_weight"),
        ({"sharpness": 0.0}, "sharpness"),
        ({"levels": (StageLevel(cells=8, pixels=32, steps=1), StageLevel(cells=24, pixels=32, steps=1))}, "cells"),
    ],
)
def test_options_that_make_no_sense_are_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        replace(CONFIG, **change)


def begun(count: int, **more: Any) -> Evidence:
    """A slightly wrong ball for the model to begin with."""
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.42)
    mesh = Mesh(vertices=ball.vertices.astype(np.float32), faces=ball.faces.astype(np.int32))
    return Evidence(
        views=ViewSet(views=VIEWS[:count]),
        cameras=CAMERAS[:count],
        shape=mesh,
        device="cpu",
        effort="draft",
        free_cameras=False,
        **more,
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(proposal._CPU, "draft", CONFIG)
    level = Level(pixels=32, cell=0.3, steps=6, move=0.002, turn=0.001)
    monkeypatch.setitem(EFFORTS, "draft", RefineConfig(levels=(level,), faces=800, texture_size=128))


@pytest.mark.usefixtures("quick")
def test_the_model_fits_views_from_all_around_before_it_refines() -> None:
    notes = Notes()
    found = get_model("nvdiffrec").propose(begun(12, memory=notes), SilentMonitor())
    assert {"stage_one", "refinement", "levels"} <= set(found.report)
    assert found.colours is not None and len(found.colours) == len(found.mesh.vertices)
    assert is_closed(found.mesh)
    off = np.abs(np.linalg.norm(found.mesh.vertices, axis=1) - RADIUS)
    assert off.mean() < cell_of(CONFIG)
    again = get_model("nvdiffrec").propose(begun(12, memory=Notes(notes.state)), SilentMonitor())
    assert again.report["stage_one"] == found.report["stage_one"]  # its seconds too: it was not done again
    np.testing.assert_array_equal(again.mesh.vertices, found.mesh.vertices)


def ball_of(radius: float, middle: float = 0.0) -> Mesh:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    vertices = (ball.vertices + np.array([0, middle, 0])).astype(np.float32)
    return Mesh(vertices=vertices, faces=ball.faces.astype(np.int32))


def test_the_true_surface_explains_the_views_best() -> None:
    true, small, aside = ball_of(RADIUS), ball_of(0.93 * RADIUS), ball_of(RADIUS, 0.05)
    box = box_of(true, small, aside)
    best, *others = (explained(mesh, box, VIEWS, CAMERAS, "cpu", pixels=SIDE) for mesh in (true, small, aside))
    assert best > max(others) + 3
    coarse = trimesh.creation.icosphere(subdivisions=6, radius=RADIUS)
    finer = Mesh(vertices=coarse.vertices.astype(np.float32), faces=coarse.faces.astype(np.int32))
    assert abs(explained(finer, box, VIEWS, CAMERAS, "cpu", pixels=SIDE) - best) < 0.3  # not how it is cut


@pytest.mark.usefixtures("quick")
def test_a_first_shape_that_explains_the_views_better_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    spoilt = replace(CONFIG, levels=(StageLevel(cells=8, pixels=16, steps=2),))
    monkeypatch.setitem(proposal._CPU, "draft", spoilt)
    evidence = replace(begun(12), shape=ball_of(RADIUS))
    found = proposal.stage_one(evidence, SilentMonitor())
    report = found.report["stage_one"]
    assert isinstance(report, dict) and report["taken"] is False
    assert report["views_predicted_before_db"] > report["views_predicted_after_db"]
    assert found.mesh is evidence.shape and found.colours is None


@pytest.mark.parametrize("extractor", ["tetrahedra", "cubes"])
def test_a_step_in_tensors_of_fixed_size_is_the_same_step(extractor: str) -> None:
    config = replace(CONFIG, extractor=extractor)
    start = starts.start_of(VIEWS, CAMERAS, config, "cpu")
    losses = []
    for roomy in (False, True):
        torch.manual_seed(0)
        field = starts.first_field(start, config, "cpu")
        fit = LevelFit(Scene(start.low, start.high, CAMERAS, config, "cpu"), field, VIEWS, config, 0)
        if roomy:
            surface = field.surface()
            fit.capacity = Capacity(vertices=len(surface.vertices) + 500, faces=len(surface.faces) + 900)
        for _ in range(3):
            fit.step()
        losses.append(torch.stack(fit.losses))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-6)


def test_smooth_descent_moves_neighbours_along() -> None:
    values = torch.zeros(11, requires_grad=True)
    line = torch.stack([torch.arange(10), torch.arange(1, 11)], 1).int()
    descent = SmoothDescent(values, line, 4)
    values.grad = torch.zeros(11).index_fill_(0, torch.tensor([5]), 1.0)
    descent.step(0.1)
    moved = -values.detach()
    assert values.grad is None and moved.argmax() == 5 and (moved[1:10] > 0).all() and moved[0] == 0
    np.testing.assert_allclose(moved.numpy(), moved.flip(0).numpy(), atol=1e-7)
    # As long as gradients are strong beside each other, whatever their unit.
    np.testing.assert_allclose(float((moved[1:10] / 0.1).square().mean()), 1.0, rtol=1e-4)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("count", "doubt"), [(8, 0.01), (12, 0.002)])
def test_few_views_and_depth_leave_the_first_shape_to_refinement(count: int, doubt: float) -> None:
    evidence = begun(count, doubt=doubt)
    found = get_model("nvdiffrec").propose(evidence, SilentMonitor())
    assert "stage_one" not in found.report and len(found.mesh.faces) == len(evidence.shape.faces)


def crowded(monkeypatch: pytest.MonkeyPatch, fits: Any) -> list[tuple[int, int]]:
    """Steps find no memory unless `fits(views, side)`; returns those that were tried."""
    tried: list[tuple[int, int]] = []
    plain = LevelFit._loss

    def loss(self: LevelFit, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tried.append((len(chosen), self.width))
        if not fits(*tried[-1]):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return plain(self, chosen)

    monkeypatch.setattr(LevelFit, "_loss", loss)
    return tried


def test_with_too_little_memory_it_takes_fewer_views_then_smaller_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshwright.models.stepping_down.LEAST_PIXELS", 16)
    tried = crowded(monkeypatch, lambda views, side: views <= 1 and side <= 32)
    found = fitted(replace(CONFIG, levels=tuple(replace(level, steps=3) for level in CONFIG.levels)))
    assert list(dict.fromkeys(tried)) == [(4, 32), (2, 32), (1, 32), (4, 64), (2, 64), (1, 64)]
    levels = found.report["levels"]
    assert isinstance(levels, list) and [level["steps"] for level in levels] == [3, 3]
    assert [level["stepped_down"] for level in levels] == [{"at_once": 1, "pixels": 32}] * 2
    assert said_of(levels, "shape was fitted")[0].count("1 view of 32 pixels") == 1


def test_where_nothing_less_makes_sense_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    crowded(monkeypatch, lambda views, side: False)
    with pytest.raises(VramError, match="one view of 32 pixels"):
        fitted()


def test_another_error_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(self: LevelFit, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        raise RuntimeError("something else")

    monkeypatch.setattr(LevelFit, "_loss", loss)
    with pytest.raises(RuntimeError, match="something else"):
        fitted()


@pytest.mark.parametrize(
    ("cells", "count", "pixels", "seen"),
    [(64, 48, 512, 1.73), (256, 48, 512, 2.94), (128, 6, 512, 1.37), (128, 100, 512, 2.2), (128, 48, 1024, 6.96)],
)
def test_the_memory_asked_for_is_what_was_seen_on_a_gpu(cells: int, count: int, pixels: int, seen: float) -> None:
    config = StageOneConfig(levels=(StageLevel(cells=cells, pixels=pixels, steps=1),))
    blank = np.zeros((pixels, pixels, 3), np.float32)
    views = [replace(VIEWS[0], rgb=blank, mask=blank[..., 0], background=blank)] * count
    assert seen <= vram_needed(config, views, at_once=min(8, count)) < 1.6 * seen
