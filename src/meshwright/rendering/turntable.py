"""Cameras that walk around a mesh, between the six product views."""

from __future__ import annotations

import numpy as np

from meshwright.errors import OptionError, ShapeError
from meshwright.types import Camera, Mesh

__all__ = ["turntable_cameras"]

FIELD_OF_VIEW = 26.0
"""Degrees across; that of the default rig."""
ELEVATION = 35.0
"""Degrees; the largest height above and below the horizon."""


def turntable_cameras(mesh: Mesh, *, count: int = 8, size: int = 512) -> tuple[Camera, ...]:
    """Square cameras at equal steps around +Y, aimed at the middle of the mesh, which fills the frame.

    They start half a step after the front view, so they show what lies between the product views, and their height
    swings twice from above to below the horizon and back per turn.

    Args:
        mesh: At least one vertex.
        count: How many.
        size: Width and height in pixels.
    """
    if count < 1 or size < 1:
        raise OptionError(f"count={count} cameras of size={size} cannot be made.", hint="Both start at 1.")
    if len(mesh.vertices) == 0:
        raise ShapeError("There is nothing to walk around: the mesh has no vertices.")
    vertices = mesh.vertices.astype(np.float64)
    centre = (vertices.min(0) + vertices.max(0)) / 2
    radius = max(float(np.linalg.norm(vertices - centre, axis=1).max()), 1e-9)
    half = np.radians(FIELD_OF_VIEW / 2)
    distance = 1.03 * radius / np.sin(half)
    focal = 0.5 * size / np.tan(half)
    cameras = []
    for index in range(count):
        turn = 2 * np.pi * (index + 0.5) / count
        height = np.radians(ELEVATION) * np.sin(2 * turn)
        back = np.array([np.sin(turn) * np.cos(height), np.sin(height), np.cos(turn) * np.cos(height)])
        right = np.array([np.cos(turn), 0.0, -np.sin(turn)])
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(back, right), back], 1)
        pose[:3, 3] = centre + distance * back
        cameras.append(
            Camera(
                name=f"turntable_{index:02d}", camera_to_world=pose, fl_x=focal, fl_y=focal, cx=size / 2, cy=size / 2,
                width=size, height=size,
            )
        )  # fmt: skip
    return tuple(cameras)
