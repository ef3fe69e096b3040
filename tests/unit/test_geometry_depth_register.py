"""Depth renders of another scale and crop find their place on the picture; depths are never mixed across an edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from meshwright.distance import signed_distance
from meshwright.geometry.depth.register import Registration, lay_onto, register
from meshwright.types import Array, Camera, DepthKind, DepthMap, View
from scenes import FACE, TOOL, Box, Solid, disturbed, entry_depth, picture, six, with_depth

WIDTH = 160


def rendered(solids: Sequence[Solid], camera: Camera, depth_camera: Camera) -> tuple[View, DepthMap, Array]:
    """A view with a depth render from another camera; the render; the outline's distance at the picture's size."""
    z = entry_depth(solids, depth_camera)
    view = with_depth(picture(solids, camera), z, DepthKind.AUTO, encode=lambda z: z / 4)
    assert view.depth is not None
    return view, view.depth, signed_distance(view.mask)


def map_error(found: Registration, depth: DepthMap, scale: float, right: float, down: float) -> float:
    """Largest distance, over the object, between where depth pixels are put and where they belong, in pixels.

    The render was magnified by `scale` about its centre and moved by (right, down) in shares of its width.
    """
    size = depth.values.shape[1]
    ratio = WIDTH / size
    pixels = np.argwhere(depth.valid)[:, ::-1] + 0.5
    truth = ((pixels - size / 2 - np.array([right, down]) * size) / scale + size / 2) * ratio
    return float(np.linalg.norm(pixels * found.scale + found.offset - truth, axis=1).max())


@pytest.mark.parametrize("solids", [FACE, TOOL], ids=["face", "tool"])
@pytest.mark.parametrize("size", [160, 320], ids=["same size", "twice the size"])
def test_two_percent_and_eight_pixels_are_found(solids: Sequence[Solid], size: int) -> None:
    put_in = (0.98, 8 / 160, -5 / 160)
    _, depth, outline = rendered(solids, six(WIDTH)[2], disturbed(six(size)[2], *put_in))
    found = register(depth, outline)
    # Untouched, the far side of the object would lie 9 pixels off. Measured 0.22 at worst: the render's outline is
    # drawn in whole pixels, and the tool's runs along them.
    assert map_error(found, depth, *put_in) < 0.4
    assert found.error < 0.4


def test_a_small_render_of_a_round_object() -> None:
    put_in = (1.03, -0.04, 0.02)
    _, depth, outline = rendered(FACE, six(WIDTH)[2], disturbed(six(80)[2], *put_in))
    assert map_error(register(depth, outline), depth, *put_in) < 0.3


@pytest.mark.parametrize("size", [80, 160])
def test_outlines_that_agree_are_only_resized(size: int) -> None:
    _, depth, outline = rendered(FACE, six(WIDTH)[0], six(size)[0])
    found = register(depth, outline)
    np.testing.assert_array_equal(found.scale, WIDTH / size)
    np.testing.assert_array_equal(found.offset, 0)
    assert found.error < 0.75


def test_holes_in_a_render_do_not_confuse_it() -> None:
    put_in = (0.97, 0.03, 0.0)
    _, depth, outline = rendered(FACE, six(WIDTH)[0], disturbed(six(WIDTH)[0], *put_in))
    holed = depth.valid.copy()
    holed[70:90, 60:100] = False
    assert map_error(register(replace(depth, valid=holed), outline), depth, *put_in) < 0.4


def test_stray_pixels_do_not_either() -> None:
    put_in = (0.97, 0.03, 0.0)
    _, depth, outline = rendered(FACE, six(WIDTH)[0], disturbed(six(WIDTH)[0], *put_in))
    stray = depth.valid.copy()
    stray[3, 5] = stray[150, 20] = stray[10, 140] = True
    assert map_error(register(replace(depth, valid=stray), outline), depth, *put_in) < 0.4


def test_an_empty_render_is_only_resized() -> None:
    empty = DepthMap(values=np.zeros((40, 40), np.float32), valid=np.zeros((40, 40), bool), step=1 / 255)
    found = register(empty, signed_distance(picture(FACE, six(80)[0]).mask))
    np.testing.assert_array_equal(found.scale, 2)
    np.testing.assert_array_equal(found.offset, 0)
    assert np.isnan(found.error)


def test_two_runs_are_equal() -> None:
    _, depth, outline = rendered(TOOL, six(96)[1], disturbed(six(96)[1], 0.98, 0.03, 0.01))
    one, other = register(depth, outline), register(depth, outline)
    np.testing.assert_array_equal(one.scale, other.scale)
    np.testing.assert_array_equal(one.offset, other.offset)


IN_PLACE = Registration(scale=np.ones(2), offset=np.zeros(2), error=0.0)


def test_laying_in_place_changes_nothing() -> None:
    _, depth, _ = rendered(TOOL, six(96)[0], six(96)[0])
    values, valid = lay_onto(depth, IN_PLACE, 96, 96)
    np.testing.assert_array_equal(values[valid], depth.values[valid])
    np.testing.assert_array_equal(valid, depth.valid)


def test_a_ramp_is_laid_exactly() -> None:
    """Bilinear interpolation keeps planes: picture pixel p has the value of depth pixel (p - offset) / scale."""
    column, row = np.meshgrid(np.arange(50) + 0.5, np.arange(40) + 0.5)
    ramp = (0.3 + 0.001 * column + 0.0015 * row).astype(np.float32)
    depth = DepthMap(values=ramp, valid=np.ones(ramp.shape, bool), step=1 / 255)
    place = Registration(scale=np.array([1.9, 1.9]), offset=np.array([3.2, -1.4]), error=0.0)
    values, valid = lay_onto(depth, place, 100, 80)
    x, y = np.meshgrid((np.arange(100) + 0.5 - 3.2) / 1.9, (np.arange(80) + 0.5 + 1.4) / 1.9)
    inner = (x > 1) & (x < 49) & (y > 1) & (y < 39)
    np.testing.assert_allclose(values[inner], (0.3 + 0.001 * x + 0.0015 * y)[inner], atol=1e-6)
    np.testing.assert_array_equal(valid, (x > 0) & (x < 50) & (y > 0) & (y < 40))


def test_depth_is_never_a_mixture_of_two_surfaces() -> None:
    """A box before a wall, 2 % enlarged: every laid value is one of the two that the render holds."""
    solids = (Box((-0.15, -0.1, 0.2), (0.12, 0.15, 0.3)), Box((-0.4, -0.4, -0.3), (0.4, 0.4, -0.2)))
    _, depth, _ = rendered(solids, six(96)[0], six(96)[0])
    grown = Registration(scale=np.full(2, 1.02), offset=np.full(2, -0.96), error=0.0)
    values, valid = lay_onto(depth, grown, 96, 96)
    near, far = (2.5 - 0.3) / 4, (2.5 + 0.2) / 4
    off = np.minimum(np.abs(values - near), np.abs(values - far))[valid]
    assert off.max() < 1 / 255
