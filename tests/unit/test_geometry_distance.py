"""Signed distance of soft masks against half planes, discs and rectangles: coverage and distance are arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from meshwright.distance import signed_distance
from meshwright.types import Array

SIZE = 48
SUB = 8
"""Sub-pixels along each side of a pixel: coverage comes in sixty-fourths."""

FRAME = np.minimum.outer(*[np.minimum(np.arange(SIZE) + 0.5, SIZE - np.arange(SIZE) - 0.5)] * 2)
"""Distance to the frame's edge."""


def drawn(distance: object, size: int = SIZE) -> tuple[Array, Array]:
    """Coverage [H, W], and the true distance at pixel centres, of what lies where `distance(x, y)` is positive."""
    assert callable(distance)
    fine = (np.arange(size * SUB) + 0.5) / SUB
    covered = distance(fine[None, :], fine[:, None]) > 0
    centre = np.arange(size) + 0.5
    mask = covered.reshape(size, SUB, size, SUB).mean((1, 3)).astype(np.float32)
    return mask, distance(centre[None, :], centre[:, None])


def half_plane(angle: float, offset: float) -> tuple[Array, Array]:
    c, s = np.cos(angle), np.sin(angle)
    return drawn(lambda x, y: offset - (x - SIZE / 2) * c - (y - SIZE / 2) * s)


def disc(x0: float, y0: float, radius: float) -> tuple[Array, Array]:
    return drawn(lambda x, y: radius - np.hypot(x - x0, y - y0))


def zero_along_rows(field: Array) -> Array:
    """Columns where a field changes sign from positive to negative, linearly interpolated, one per row that has one."""
    left, right = field[:, :-1], field[:, 1:]
    rows, columns = np.nonzero((left > 0) & (right <= 0))
    a, b = left[rows, columns], right[rows, columns]
    return np.stack([rows, columns + 0.5 + a / (a - b)], -1)


@pytest.mark.parametrize("angle", np.radians([0, 10, 27, 45, 60, 90, 135, 200, 300]))
def test_half_planes(angle: float) -> None:
    mask, truth = half_plane(angle, 1.3)
    found = signed_distance(mask)
    truth = np.minimum(truth, FRAME)
    assert found.dtype == np.float32
    # Away from the frame, which counts as outline too.
    centre = np.arange(SIZE) + 0.5 - SIZE / 2
    inner = np.hypot(*np.meshgrid(centre, centre)) < 18
    error = np.abs(found - truth)[inner]
    # The transform runs between pixel centres; the nearest centre on the other side lies within half a pixel beyond.
    assert error.max() < 0.55
    assert error.mean() < 0.3
    assert (np.sign(found) == np.sign(truth))[inner & (np.abs(truth) > 0.1)].all()


@pytest.mark.parametrize("offset", [-2.0, -0.7, -0.25, 0.0, 0.1, 0.5, 0.9])
def test_an_upright_edge_is_exact(offset: float) -> None:
    """Coverage of one column is where the edge runs in it; every other distance is whole pixels away from it."""
    mask, _ = half_plane(0.0, offset)
    sub_pixel = np.round(offset * SUB) / SUB  # as far as the drawing goes
    crossing = zero_along_rows(signed_distance(mask))
    assert len(crossing) == SIZE
    np.testing.assert_allclose(crossing[:, 1], SIZE / 2 + sub_pixel, atol=0.13)


@pytest.mark.parametrize("seed", range(5))
def test_discs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x0, y0, radius = *(SIZE / 2 + rng.uniform(-2, 2, 2)), rng.uniform(8, 16)
    mask, truth = disc(x0, y0, radius)
    found = signed_distance(mask)
    assert np.abs(found - truth).max() < 0.55
    # The outline itself, where the field crosses zero, is better: a quarter of a pixel at worst, a tenth on average.
    crossing = zero_along_rows(found)
    y, x = crossing[:, 0] + 0.5, crossing[:, 1]
    steep = np.abs(y - y0) < 0.7 * radius  # where rows cross the circle and do not run along it
    off = np.hypot(x - x0, y - y0)[steep] - radius
    assert np.abs(off).max() < 0.25
    assert np.abs(off).mean() < 0.1
    assert abs(off.mean()) < 0.06


def test_hard_masks_have_their_outline_between_pixels() -> None:
    mask = np.zeros((20, 20), np.float32)
    mask[5:15, 4:16] = 1
    found = signed_distance(mask)
    np.testing.assert_array_equal(found[10, 1:7], [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    np.testing.assert_array_equal(found[3:8, 10], [-1.5, -0.5, 0.5, 1.5, 2.5])
    # Inside, the nearest side; outside a corner, the way to the corner pixel less half a pixel.
    assert found[9, 9] == 4.5
    assert found[3, 2] == pytest.approx(0.5 - np.hypot(2, 2))


def test_coverage_says_where_the_edge_runs() -> None:
    mask = np.zeros((25, 15), np.float32)
    mask[:, :8] = 1
    mask[:, 8] = 0.25
    found = signed_distance(mask)[12]
    # The edge runs at 8.25. Columns that it does not cross take it for 8, between the last pixel inside and the next.
    np.testing.assert_allclose(found[5:12], 8.25 - (np.arange(5, 12) + 0.5), atol=0.25)
    assert found[8] == -0.25


def test_the_frame_is_outline_where_the_mask_reaches_it() -> None:
    """A picture cropped to a bottle: its flat bottom lies on the frame's lower edge and is an edge."""
    mask = np.zeros((30, 20), np.float32)
    mask[4:, 3:17] = 1
    found = signed_distance(mask)
    np.testing.assert_array_equal(found[-4:, 10], [3.5, 2.5, 1.5, 0.5])
    np.testing.assert_array_equal(found[-1, 2:6], [-0.5, 0.5, 0.5, 0.5])


def test_turning_and_mirroring_commute_with_it() -> None:
    mask, _ = disc(21.3, 26.1, 11.7)
    found = signed_distance(mask)
    np.testing.assert_array_equal(signed_distance(mask[:, ::-1]), found[:, ::-1])
    np.testing.assert_array_equal(signed_distance(mask.T), found.T)
    np.testing.assert_array_equal(signed_distance(mask[::-1]), found[::-1])


def test_a_full_mask_has_the_frame_as_its_outline() -> None:
    found = signed_distance(np.ones((16, 24), np.float32))
    rows, columns = np.mgrid[:16, :24] + 0.5
    np.testing.assert_array_equal(found, np.minimum.reduce([rows, 16 - rows, columns, 24 - columns]))


def test_an_empty_mask_is_outside_everywhere() -> None:
    found = signed_distance(np.zeros((16, 24), np.float32))
    assert found.shape == (16, 24)
    assert np.isfinite(found).all()
    assert (found < 0).all()
