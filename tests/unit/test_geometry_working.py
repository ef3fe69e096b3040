"""Views at their working size: masks, cameras and outlines stay together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from meshwright.geometry.working import camera_rows, resize_mask, working_views
from scenes import TOOL, Ellipsoid, coverage, picture, six, views_of


def test_small_views_stay_as_they_are() -> None:
    cameras = six(64, 48)
    views = views_of(TOOL, cameras, samples=2).views
    working = working_views(views, cameras, 1024)
    assert working.outline.shape == (6, 48, 64)
    for view, camera, mask, small in zip(views, cameras, working.masks, working.cameras, strict=True):
        np.testing.assert_array_equal(mask, view.mask)
        assert small.fl_x == camera.fl_x
        assert (small.width, small.height) == (64, 48)


def test_large_views_shrink_with_their_cameras() -> None:
    """The mask at half size is what the half-size camera sees of the solid."""
    camera = six(160, 120)[0]
    solid = [Ellipsoid((0.05, -0.03, 0.0), (0.3, 0.2, 0.3))]
    working = working_views([picture(solid, camera)], [camera], 80)
    small = working.cameras[0]
    assert (small.width, small.height) == (80, 60)
    assert small.fl_x == pytest.approx(camera.fl_x / 2)
    expected = coverage(solid, small, 8)
    # Shrinking blurs by half a pixel of the small picture: rim pixels differ, their sum does not.
    assert np.abs(working.masks[0] - expected).max() < 0.3
    assert working.masks[0].sum() == pytest.approx(expected.sum(), rel=2e-3)


def test_views_of_different_sizes_share_one_stack() -> None:
    cameras = (six(64, 48)[0], six(40, 56)[1])
    views = [picture(TOOL, camera, samples=2) for camera in cameras]
    working = working_views(views, cameras, 1024)
    assert working.outline.shape == (2, 56, 64)
    np.testing.assert_array_equal(working.rows[:, 16:18], [[64, 48], [40, 56]])
    assert (working.outline[0, 48:] == 0).all()
    assert (working.outline[1, :, 40:] == 0).all()
    assert working.outline[0, 24, 32] > 0 > working.outline[0, 0, 0]


def test_rows_hold_what_projects_a_point() -> None:
    camera = replace(six(64, 48)[2], fl_y=120.0, cx=30.0, cy=25.5)
    row = camera_rows([camera])[0].astype(np.float64)
    assert row.shape == (20,)
    point = np.array([0.1, -0.2, 0.3])
    local = row[:12].reshape(3, 4) @ np.append(point, 1)
    z = -local[2]
    pixel = row[12] * local[0] / z + row[14], -row[13] * local[1] / z + row[15]
    expected, depth = camera.project(point)
    np.testing.assert_allclose(pixel, expected, atol=1e-4)
    assert z == pytest.approx(depth, abs=1e-6)
    assert tuple(row[16:]) == (64, 48, 0, 0)


def test_resizing_keeps_the_area_and_the_range() -> None:
    mask = coverage(TOOL, six(150, 100)[0])
    small = resize_mask(mask, 60, 40)
    assert small.shape == (40, 60)
    assert small.dtype == np.float32
    assert small.mean() == pytest.approx(mask.mean(), rel=5e-3)
    assert small.min() >= 0
    assert small.max() <= 1
    assert resize_mask(mask, 150, 100).flags["C_CONTIGUOUS"]
