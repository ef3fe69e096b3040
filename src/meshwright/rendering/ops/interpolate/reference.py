"""What `interpolate` must compute, said in NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meshwright.types import Array

__all__ = ["interpolate_reference"]


def interpolate_reference(
    attr: Array, rast: Array, tri: Array, rast_db: Array | None = None, chosen: Sequence[int] = ()
) -> tuple[Array, Array]:
    """Pictures [N, H, W, C] of attributes [V, C] or [N, V, C], and derivatives [N, H, W, 2A] of the chosen ones."""
    views = len(rast)
    shared = np.broadcast_to(attr, (views, *attr.shape[-2:])).astype(np.float64)
    faces = np.maximum(rast[..., 3].astype(np.int64) - 1, 0)
    corners = np.stack([shared[view][tri[faces[view]]] for view in range(views)])  # [N, H, W, 3, C]
    u, v = rast[..., 0, None].astype(np.float64), rast[..., 1, None].astype(np.float64)
    seen = rast[..., 3, None] > 0
    out = u * corners[..., 0, :] + v * corners[..., 1, :] + (1 - u - v) * corners[..., 2, :]
    out_da = np.zeros((*rast.shape[:3], 0))
    if rast_db is not None and len(chosen):
        along_u = (corners[..., 0, :] - corners[..., 2, :])[..., list(chosen), None]
        along_v = (corners[..., 1, :] - corners[..., 2, :])[..., list(chosen), None]
        slopes = along_u * rast_db[..., None, 0:2] + along_v * rast_db[..., None, 2:4]
        out_da = slopes.reshape(*rast.shape[:3], -1)
    return np.where(seen, out, 0), np.where(seen, out_da, 0)
