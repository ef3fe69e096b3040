"""What `hash_encode` must compute, said in NumPy."""

from __future__ import annotations

import itertools

import numpy as np

from meshwright.rendering.ops.hashgrid.layout import HashGrid
from meshwright.types import Array

__all__ = ["hash_encode_reference"]


def hash_encode_reference(table: Array, points: Array, grid: HashGrid) -> Array:
    """Blended features [P, levels * features] of points [P, 3] in the unit cube, float64."""
    points = np.clip(points.astype(np.float64), 0, 1)
    found = []
    for resolution, start, size, hashed in zip(grid.resolutions, grid.starts, grid.sizes, grid.hashed, strict=True):
        place = points * resolution
        cell = np.minimum(np.floor(place), resolution - 1).astype(np.int64)
        share = place - cell
        blend = np.zeros((len(points), grid.features))
        for corner in itertools.product((0, 1), repeat=3):
            x, y, z = (cell + corner).T
            if hashed:
                entry = (x ^ (y * 2654435761) ^ (z * 805459861)) % size
            else:
                entry = x + (resolution + 1) * (y + (resolution + 1) * z)
            weight = np.where(np.array(corner) == 1, share, 1 - share).prod(axis=1)
            blend += weight[:, None] * table[start + entry]
        found.append(blend)
    result: Array = np.concatenate(found, axis=1)
    return result
