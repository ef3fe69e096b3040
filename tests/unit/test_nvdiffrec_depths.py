"""Depth in stage one: what is compared is exact, and a bowl that no outline shows is found by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from meshwright.models.nvdiffrec.appearance.config import VolumeConfig
from meshwright.models.nvdiffrec.stage_one.config import StageLevel, StageOneConfig
from meshwright.models.nvdiffrec.stage_one.depths import KnownDepth, known_depth
from meshwright.models.nvdiffrec.stage_one.fit import StageOne, fit_stage_one
from meshwright.models.nvdiffrec.stage_one.scene import Rendered, Scene
from meshwright.models.nvdiffrec.stage_one.start import first_field, start_of
from meshwright.rendering.ops import HashGrid
from meshwright.types import Array, DepthKind, SilentMonitor, View
from scenes import Dented, Ellipsoid, around, entry_depth, views_of, with_depth

SIDE = 48
DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]
BOWL = Dented(Ellipsoid(), Ellipsoid((0.0, 0.4, 0.0), (0.25, 0.25, 0.25)))
"""A ball with a bowl of 0.16 in its top: all outlines are those of the ball."""
CAMERAS = around(12, SIDE)
VIEWS = views_of((BOWL,), CAMERAS).views
DEPTHS = [entry_depth((BOWL,), camera) for camera in CAMERAS]
CONFIG = StageOneConfig(
    levels=(StageLevel(cells=16, pixels=SIDE, steps=40),),
    carve=None,
    volume=VolumeConfig(grid=HashGrid(levels=4, coarsest=8, finest=32, log2_size=14)),
    views_at_once=4,
    grid=32,
)


def stretched(z: Array, turned: bool) -> Array:
    """From 0.05 to 0.95, in each view anew."""
    numbers = 1 / z if turned else z
    return 0.05 + 0.9 * (numbers - numbers.min()) / (numbers.max() - numbers.min())


def given(kind: DepthKind, unit: float | None = 4.0) -> list[View]:
    """The views with depth in 16 bits of that kind."""

    def encode(z: Array) -> Array:
        return z / 4 if kind is DepthKind.METRIC else stretched(z, kind is DepthKind.INVERSE)

    known = unit if kind is DepthKind.METRIC else None
    return [
        with_depth(view, z, kind, encode=encode, bits=16, unit=known) for view, z in zip(VIEWS, DEPTHS, strict=True)
    ]


def known(views: Sequence[View]) -> KnownDepth:
    """Judged by a coarse hull: that is quicker."""
    found = known_depth(views, CAMERAS, 32, "cpu", given_cameras=True)
    assert found is not None
    return found


def rendered(device: str) -> tuple[Rendered, torch.Tensor]:
    """The first surface, which is the ball, from all cameras, and its vertices."""
    start = start_of(VIEWS, CAMERAS, CONFIG, device)
    surface = first_field(start, CONFIG, device).surface()
    surface.vertices.retain_grad()
    views = torch.arange(len(CAMERAS), device=device)
    return Scene(start.low, start.high, CAMERAS, CONFIG, device).render(surface, views, SIDE, SIDE), surface.vertices


@pytest.mark.parametrize("device", DEVICES)
def test_depth_shown_is_that_of_the_surface(device: str) -> None:
    shown, _ = rendered(device)
    depth, seen = shown.depth.detach().cpu().numpy()[..., 0], shown.seen.cpu().numpy()[..., 0] > 0
    ball = np.stack([entry_depth((Ellipsoid(),), camera)[::-1] for camera in CAMERAS])
    both = seen & np.isfinite(ball)
    assert both.sum() > 0.9 * np.isfinite(ball).sum()
    # Half a cell of the coarse hull; more on grazing surface.
    assert np.median(np.abs(depth - ball)[both]) < 0.02


@pytest.mark.parametrize("kind", [DepthKind.METRIC, DepthKind.LINEAR, DepthKind.INVERSE])
def test_true_depth_costs_nothing_and_the_ball_more(kind: DepthKind) -> None:
    pictures = known(given(kind)).at(SIDE, SIDE, torch.device("cpu"))
    assert pictures.kinds == (kind is DepthKind.METRIC, kind is not DepthKind.METRIC)
    true = torch.tensor(np.stack(DEPTHS)[:, ::-1].copy(), dtype=torch.float32)[..., None]
    cover, everything = torch.isfinite(true).float(), torch.arange(len(CAMERAS))
    true = torch.where(cover > 0, true, 0.0)
    best = pictures.loss(true, cover, everything)
    assert best < 5e-3
    # In a view each, the scale and offset of what is not metric do not matter; a known unit does.
    turned = 1 / (0.8 / true.clamp(min=0.1) + 0.1) if kind is DepthKind.INVERSE else 1.3 * true + 0.2
    affine = pictures.loss(turned, cover, everything)
    assert affine > 1 if kind is DepthKind.METRIC else affine < 5e-3
    # Wild numbers where nothing is known, as at the camera itself, are nobody's concern.
    torch.testing.assert_close(pictures.loss(torch.where(pictures.weight > 0, true, 0.0), cover, everything), best)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [DepthKind.METRIC, DepthKind.INVERSE])
def test_gradients_draw_the_surface_into_the_bowl(kind: DepthKind, device: str) -> None:
    shown, vertices = rendered(device)
    everything = torch.arange(len(CAMERAS), device=device)
    known(given(kind)).at(SIDE, SIDE, torch.device(device)).loss(shown.depth, shown.seen, everything).backward()
    assert vertices.grad is not None and torch.isfinite(vertices.grad).all()
    place, way = vertices.detach().cpu().numpy(), -vertices.grad.cpu().numpy()
    outwards = (way * place).sum(1) / np.linalg.norm(place, axis=1)
    lid = (np.hypot(place[:, 0], place[:, 2]) < 0.15) & (place[:, 1] > 0.2)
    # Elsewhere the hull is a little off this way and that.
    assert outwards[lid].mean() < -3 * abs(outwards[place[:, 1] < 0].mean())


def bowl_off(found: StageOne) -> float:
    """Mean distance of the bowl's middle from where it is, along the axis."""
    x, y, z = found.mesh.vertices.astype(np.float64).T
    away = np.hypot(x, z)
    middle = (away < 0.12) & (y > 0)
    assert middle.any()
    return float(np.abs(y[middle] - (0.4 - np.sqrt(0.25**2 - away[middle] ** 2))).mean())


def test_a_bowl_that_no_outline_shows_is_found_by_depth() -> None:
    def fitted(kind: DepthKind, **more: Any) -> StageOne:
        return fit_stage_one(given(kind), CAMERAS, replace(CONFIG, **more), SilentMonitor(), "cpu")

    lid = fitted(DepthKind.METRIC, depth_weight=0.0, levels=(replace(CONFIG.levels[0], steps=5),))
    assert lid.report["views_with_depth"] == 0 and bowl_off(lid) > 0.1
    for kind in (DepthKind.METRIC, DepthKind.LINEAR):
        found = fitted(kind)
        assert found.report["views_with_depth"] == 12 and bowl_off(found) < 0.01


def test_views_without_depth_or_with_that_of_something_else() -> None:
    assert known_depth(VIEWS, CAMERAS, 32, "cpu", given_cameras=True) is None
    some = [view if i % 3 == 0 else replace(view, depth=None) for i, view in enumerate(given(DepthKind.METRIC))]
    found = known(some)
    assert found.metric.tolist() == [i % 3 == 0 for i in range(12)]
    pictures = found.at(SIDE, SIDE, torch.device("cpu"))
    assert not pictures.weight[1].any() and pictures.weight[0].any()
    # Cameras that were fitted have a unit of their own.
    fitted = known_depth(given(DepthKind.METRIC), CAMERAS, 32, "cpu", given_cameras=False)
    assert fitted is not None and not fitted.metric.any()
    noise = np.random.default_rng(0)
    wrong = [
        replace(view, depth=replace(view.depth, values=noise.random((SIDE, SIDE), dtype=np.float32) * view.depth.valid))
        for view in given(DepthKind.LINEAR)
        if view.depth is not None
    ]
    assert known_depth(wrong, CAMERAS, 32, "cpu", given_cameras=True) is None
