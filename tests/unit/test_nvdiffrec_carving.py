"""Carving: a bowl, which outlines take for a solid, is hollowed by what its pictures show."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from meshwright.errors import Cancelled, OptionError
from meshwright.geometry.shape import outline_hull
from meshwright.geometry.volume import Volume
from meshwright.geometry.working import working_views
from meshwright.models.nvdiffrec.stage_one.carving import carved
from meshwright.models.nvdiffrec.stage_one.config import CarveConfig
from meshwright.types import Array, Camera, MaskSource, View
from scenes import around

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]
OUTER, INNER, RIM = 0.4, 0.3, 0.15
"""Radii of the bowl's two sides, and the height that it is cut off at."""
CONFIG = CarveConfig(cells=(16, 32), steps=(70, 70), rays=4096, pixels=64)


def paint(points: Array) -> Array:
    """Smooth bands of three colours."""
    return 0.45 + 0.35 * np.sin(points * 9 + np.array([0.0, 1.0, 2.0]))


def bowl_seen_by(camera: Camera) -> View:
    """An exact picture of the bowl."""
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    local = [(columns - camera.cx) / camera.fl_x, -(rows - camera.cy) / camera.fl_y, -np.ones_like(rows)]
    ways = np.stack(local, -1) @ camera.camera_to_world[:3, :3].T
    ways /= np.linalg.norm(ways, axis=-1, keepdims=True)
    origin = camera.position
    nearest = np.full(rows.shape, np.inf)

    def meet(t: Array, ok: Array) -> None:
        np.minimum(nearest, np.where(ok & (t > 0), t, np.inf), out=nearest)

    middle = -(ways @ origin)
    for radius in (OUTER, INNER):
        inside = middle**2 - origin @ origin + radius**2
        for sign in (-1, 1):
            t = middle + sign * np.sqrt(np.maximum(inside, 0))
            meet(t, (inside > 0) & (origin[1] + t * ways[..., 1] < RIM))
    t = (RIM - origin[1]) / np.where(np.abs(ways[..., 1]) > 1e-9, ways[..., 1], 1e-9)
    across = np.linalg.norm((origin + t[..., None] * ways)[..., [0, 2]], axis=-1)
    meet(t, (across**2 > INNER**2 - RIM**2) & (across**2 < OUTER**2 - RIM**2))
    mask = np.isfinite(nearest)
    points = origin + np.where(mask, nearest, 0)[..., None] * ways
    rgb = np.where(mask[..., None], paint(points), 1.0).astype(np.float32)
    return View(
        name=camera.name,
        rgb=rgb,
        mask=mask.astype(np.float32),
        mask_source=MaskSource.ALPHA,
        background=np.ones_like(rgb),
    )


@lru_cache
def scene() -> tuple[tuple[View, ...], tuple[Camera, ...], Volume]:
    cameras = around(30, 64)
    views = tuple(map(bowl_seen_by, cameras))
    return views, cameras, outline_hull(working_views(views, cameras, 64), 48, "cpu")


def at(volume: Volume, points: Array) -> Array:
    place = np.round((points - volume.origin) / volume.cell).astype(int)
    return volume.field[tuple(place.T)]


@pytest.mark.parametrize("device", DEVICES)
def test_a_bowl_becomes_hollow(device: str) -> None:
    views, cameras, hull = scene()
    rng = np.random.default_rng(0)
    points = rng.uniform(-OUTER, OUTER, (20_000, 3))
    far = np.linalg.norm(points, axis=1)
    hollow = points[(far < INNER - 0.06) & (points[:, 1] < RIM - 0.03)]
    wall = points[(far > INNER + 0.02) & (far < OUTER - 0.02) & (points[:, 1] < RIM - 0.03)]
    assert (at(hull, hollow) > 0).mean() > 0.9  # outlines know nothing of it
    found, report = carved(hull, views, cameras, CONFIG, lambda share: None, device)
    assert (at(found, hollow) > 0).mean() < 0.35
    assert (at(found, wall) > 0).mean() > 0.95
    assert report["loss_last"] < 0.5 * report["loss_first"]  # type: ignore[operator]
    assert 0.05 < report["carved_share"] < 0.5  # type: ignore[operator]
    assert (found.field <= hull.field).all()


def test_the_same_fog_comes_out_every_time() -> None:
    views, cameras, hull = scene()
    config = replace(CONFIG, steps=(3, 3))
    first, again = (carved(hull, views, cameras, config, lambda share: None, "cpu")[0] for _ in range(2))
    np.testing.assert_array_equal(first.field, again.field)


def test_it_can_be_stopped_and_tells_how_far_it_is() -> None:
    views, cameras, hull = scene()
    heard: list[float] = []

    def say(share: float) -> None:
        heard.append(share)
        if len(heard) == 5:
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        carved(hull, views, cameras, replace(CONFIG, steps=(4, 4)), say, "cpu")
    np.testing.assert_allclose(heard, np.arange(5) / 8)


@pytest.mark.parametrize(
    ("change", "named"), [({"clear": 1.0}, "clear"), ({"steps": (3,)}, "steps"), ({"rays": 0}, "rays")]
)
def test_options_that_make_no_sense_are_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        replace(CONFIG, **change)
