"""Moving cameras with the world: pictures stay, depth scales."""

from __future__ import annotations

import numpy as np
import pytest

from meshwright.cameras import move_cameras
from scenes import six


def test_the_pictures_stay_the_same() -> None:
    rng = np.random.default_rng(0)
    points, centre, scale = rng.uniform(-0.5, 0.5, (40, 3)), np.array([0.3, -0.2, 0.1]), 1.7
    cameras = six(96, 80)
    for before, after in zip(cameras, move_cameras(cameras, centre=centre, scale=scale), strict=True):
        pixels, z = before.project(points)
        moved_pixels, moved_z = after.project(scale * (points - centre))
        np.testing.assert_allclose(moved_pixels, pixels, atol=1e-9)
        np.testing.assert_allclose(moved_z, scale * z, atol=1e-12)
        assert (after.fl_x, after.cx, after.width, after.name) == (before.fl_x, before.cx, before.width, before.name)


def test_there_and_back() -> None:
    cameras = six(64)
    centre, scale = np.array([0.5, 1.0, -2.0]), 0.25
    there = move_cameras(cameras, centre=centre, scale=scale)
    back = move_cameras(there, centre=-scale * centre, scale=1 / scale)
    for one, other in zip(cameras, back, strict=True):
        np.testing.assert_allclose(one.camera_to_world, other.camera_to_world, atol=1e-12)


def test_the_cameras_handed_in_are_left_alone() -> None:
    cameras = six(64)
    before = cameras[0].camera_to_world.copy()
    move_cameras(cameras, centre=np.ones(3), scale=2.0)
    np.testing.assert_array_equal(cameras[0].camera_to_world, before)
    with pytest.raises(AttributeError):
        cameras[0].fl_x = 1.0  # type: ignore[misc]
