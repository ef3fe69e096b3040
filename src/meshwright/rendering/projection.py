"""The one place where world, homogeneous image coordinates and pixels meet for the kernels.

A world point becomes `(x, y, w)`: `w` is its depth along the optical axis, and `x / w`, `y / w` run from -1 to 1 over
the frame, +x right and +y up (those are the x, y and w of OpenGL clip space; its z is not needed, `w` orders depths).
The centre of pixel (row, column) lies at `x / w = (2 column + 1) / width - 1` and `y / w = 1 - (2 row + 1) / height`.
Straight lines stay straight in these coordinates, behind the camera too, so triangles need no clipping.
"""

from __future__ import annotations

import numpy as np

from meshwright._warp import wp
from meshwright.types import Array, Camera

__all__ = ["clip_matrix", "image_x", "image_y", "to_clip"]


def clip_matrix(camera: Camera) -> Array:
    """World to homogeneous image coordinates, float64 [3, 4]: `(x, y, w) = matrix @ (world point, 1)`."""
    intrinsics = np.array(
        [
            [2 * camera.fl_x / camera.width, 0.0, 1 - 2 * camera.cx / camera.width],
            [0.0, 2 * camera.fl_y / camera.height, 2 * camera.cy / camera.height - 1],
            [0.0, 0.0, -1.0],
        ]
    )
    matrix: Array = intrinsics @ camera.world_to_camera[:3]
    return matrix


def to_clip(vertices: Array, camera: Camera) -> Array:
    """World points [N, 3] to homogeneous image coordinates, float32 [N, 3]."""
    matrix = clip_matrix(camera)
    points = np.asarray(vertices, np.float64)
    return np.ascontiguousarray(points @ matrix[:, :3].T + matrix[:, 3], np.float32)


@wp.func  # type: ignore[untyped-decorator]
def image_x(column: wp.int32, width: wp.int32) -> wp.float64:
    """Where the centre of a pixel column lies, -1 .. 1."""
    return wp.float64(2 * column + 1) / wp.float64(width) - wp.float64(1.0)


@wp.func  # type: ignore[untyped-decorator]
def image_y(row: wp.int32, height: wp.int32) -> wp.float64:
    """Where the centre of a pixel row lies, -1 (bottom) .. 1 (top)."""
    return wp.float64(1.0) - wp.float64(2 * row + 1) / wp.float64(height)
