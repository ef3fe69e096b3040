"""What `rasterize` must compute, said in NumPy: every triangle against every pixel centre, in float64."""

from __future__ import annotations

import numpy as np

from meshwright.types import Array

__all__ = ["rasterize_reference", "weights_reference"]


def centres(size: int) -> Array:
    """Where pixel centres lie, -1 .. 1."""
    result: Array = (2 * np.arange(size) + 1) / size - 1
    return result


def rasterize_reference(pos: Array, tri: Array, resolution: tuple[int, int]) -> tuple[Array, Array]:
    """`rast` and `rast_db`, float64 [N, H, W, 4], of clip-space corners [N, V, 4] and triangles [F, 3]."""
    height, width = resolution
    x, y = centres(width)[None, :, None], centres(height)[:, None, None]
    rast, rast_db = np.zeros((2, len(pos), height, width, 4))
    for view, vertices in enumerate(pos.astype(np.float64)):
        nearest = np.full((height, width), np.inf)
        for face, corners in enumerate(vertices[tri]):
            outline = corners[:, [0, 1, 3]]
            lines = np.cross(outline[[1, 2, 0]], outline[[2, 0, 1]])
            det = outline[0] @ lines[0]
            if det == 0:
                continue
            lines *= np.sign(det)
            e = lines[:, 0] * x + lines[:, 1] * y + lines[:, 2]
            # A centre on an edge belongs to the side that a tiny step to the right, then up, would lead to.
            tie = (lines[:, 0] > 0) | ((lines[:, 0] == 0) & (lines[:, 1] > 0))
            inside = np.all((e > 0) | ((e == 0) & tie), axis=-1) & (e @ corners[:, 3] > 0)
            total = np.where(inside, e.sum(-1), 1)
            depth = np.where(inside, e @ corners[:, 2] / np.where(inside, e @ corners[:, 3], 1), np.inf)
            # Compared in steps of 2**-30, as the kernel does; the first of equals stays.
            wins = inside & (np.abs(depth) <= 1)
            code = np.rint((np.where(wins, depth, 0) + 1) * 2**30)
            wins &= code < nearest
            nearest[wins] = code[wins]
            u, v = e[..., 0] / total, e[..., 1] / total
            rast[view][wins] = np.stack([u, v, depth, np.full_like(u, face + 1)], -1)[wins]
            sums = lines.sum(0)
            rast_db[view][wins] = np.stack(
                [
                    (lines[i, axis] - value * sums[axis]) / total * 2 / size
                    for i, value in enumerate((u, v))
                    for axis, size in enumerate((width, height))
                ],
                -1,
            )[wins]
    return rast, rast_db


def weights_reference(pos: Array, tri: Array, ids: Array) -> tuple[Array, Array]:
    """u and v [N, H, W, 2] and their derivatives [N, H, W, 4] if pixels see the triangles `ids` [N, H, W] (-1: none).

    Smooth in `pos`, unlike which triangle is seen: made for finite differences.
    """
    _, height, width = ids.shape
    outline = pos.astype(np.float64)[..., [0, 1, 3]]
    corners = np.stack([outline[view][tri[np.maximum(ids[view], 0)]] for view in range(len(pos))])
    lines = np.cross(corners[..., [1, 2, 0], :], corners[..., [2, 0, 1], :])
    x, y = np.broadcast_arrays(centres(width)[None, None], centres(height)[None, :, None])
    point = np.stack([x, y, np.ones_like(x)], -1)
    e = np.einsum("nhwik,nhwk->nhwi", lines, np.broadcast_to(point, (*ids.shape, 3)))
    total = e.sum(-1)
    uv = e[..., :2] / total[..., None]
    sums = lines.sum(-2)
    scale = np.array([2 / width, 2 / height]) / total[..., None]
    db = np.concatenate([(lines[..., i, :2] - uv[..., i, None] * sums[..., :2]) * scale for i in range(2)], -1)
    seen = (ids >= 0)[..., None]
    return np.where(seen, uv, 0), np.where(seen, db, 0)
