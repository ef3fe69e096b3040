"""What the z-buffer must compute, said in NumPy: every triangle against every pixel centre."""

from __future__ import annotations

import numpy as np

from meshwright.types import Array

__all__ = ["rasterize_reference"]


def rasterize_reference(
    clip: Array, faces: Array, height: int, width: int, near: float
) -> tuple[Array, Array, Array, Array]:
    """Face per pixel, weights, depth, and how many triangles cover each pixel.

    Args:
        clip: Homogeneous image coordinates, float32 [N, 3] (see `projection`).
        faces: int32 [F, 3].
        height, width: Size of the frame in pixels.
        near: Fragments nearer than this along the optical axis are left out.
    Returns:
        face_id int32 [H, W] (-1 is background), bary float64 [H, W, 3], z float64 [H, W] (inf on background), and the
        number of triangles in front of the near plane that cover each pixel centre, int32 [H, W].
    """
    x = (2 * np.arange(width) + 1) / width - 1
    y = 1 - (2 * np.arange(height) + 1) / height
    face_id = np.full((height, width), -1, np.int32)
    bary = np.zeros((height, width, 3))
    depth = np.full((height, width), np.inf)
    layers = np.zeros((height, width), np.int32)
    for index, tri in enumerate(faces):
        corners = clip[tri].astype(np.float64)
        lines = np.stack([np.cross(corners[(i + 1) % 3], corners[(i + 2) % 3]) for i in range(3)])
        det = corners[0] @ lines[0]
        if det == 0:
            continue
        lines = lines * np.sign(det)
        values = lines[:, 0] * x[None, :, None] + (lines[:, 1] * y[:, None, None] + lines[:, 2])
        tie = (lines[:, 0] > 0) | ((lines[:, 0] == 0) & (lines[:, 1] > 0))
        inside = np.all((values > 0) | ((values == 0) & tie), axis=-1)
        total = values.sum(-1)
        weights = values / np.where(total == 0, 1, total)[..., None]
        z = weights @ corners[:, 2]
        inside &= z >= near
        layers += inside
        nearer = inside & (z.astype(np.float32) < depth.astype(np.float32))
        face_id[nearer] = index
        bary[nearer] = weights[nearer]
        depth[nearer] = z[nearer]
    return face_id, bary, depth, layers
