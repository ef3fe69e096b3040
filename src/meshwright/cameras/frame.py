"""Moving cameras together with the world they look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from meshwright.types import Array, Camera

__all__ = ["move_cameras"]


def move_cameras(cameras: Sequence[Camera], *, centre: Array, scale: float) -> tuple[Camera, ...]:
    """The same pictures after the world was moved by p -> scale * (p - centre); intrinsics do not change."""
    moved = []
    for camera in cameras:
        matrix = camera.camera_to_world.copy()
        matrix[:3, 3] = scale * (matrix[:3, 3] - centre)
        moved.append(replace(camera, camera_to_world=matrix))
    return tuple(moved)
