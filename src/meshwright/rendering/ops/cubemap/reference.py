"""What `cube_texture` must compute, said in NumPy."""

from __future__ import annotations

import numpy as np

from meshwright.rendering.ops.cubemap.faces import DOWN, MAJOR, RIGHT, CubeLevels, face_directions
from meshwright.types import Array

__all__ = ["cube_texture_reference", "padded_faces"]


def padded_faces(faces: Array) -> Array:
    """Faces [6, R, R, C] with the neighbouring texels around each: [6, R + 2, R + 2, C].

    A neighbour across an edge is the texel of another face whose centre is nearest to a texel's mirror image in that
    edge; what the corners hold is the mean of the three texels that meet there.
    """
    size = faces.shape[1]
    centres = face_directions(size).reshape(-1, 3)
    flat = faces.reshape(-1, faces.shape[-1])
    padded = np.zeros((6, size + 2, size + 2, faces.shape[-1]))
    padded[:, 1:-1, 1:-1] = faces
    place = (2 * np.arange(size) + 1) / size - 1
    for face in range(6):
        for way in (-1, 1):
            border = 0 if way < 0 else size + 1
            for edge, along in ((RIGHT, DOWN), (DOWN, RIGHT)):
                d = MAJOR[face] * (1 - 1 / size) + way * edge[face] + place[:, None] * along[face]
                d /= np.linalg.norm(d, axis=1, keepdims=True)
                beside = flat[np.argmax(d @ centres.T, axis=1)]
                if edge is RIGHT:
                    padded[face, 1:-1, border] = beside
                else:
                    padded[face, border, 1:-1] = beside
    for row, inner_row in ((0, 1), (size + 1, size)):
        for column, inner_column in ((0, 1), (size + 1, size)):
            three = padded[:, inner_row, column] + padded[:, row, inner_column] + padded[:, inner_row, inner_column]
            padded[:, row, column] = three / 3
    return padded


def cube_texture_reference(values: Array, levels: CubeLevels, direction: Array, level: Array | None = None) -> Array:
    """Look-ups [P, 3] along directions [P, 3], between levels [P]."""
    direction = direction.astype(np.float64)
    level = np.zeros(len(direction)) if level is None else np.clip(level.astype(np.float64), 0, len(levels.sizes) - 1)
    found = []
    for size, start in zip(levels.sizes, levels.starts, strict=True):
        faces = values[start : start + 6 * size * size].reshape(6, size, size, 3).astype(np.float64)
        found.append(_bilinear(padded_faces(faces), direction, size))
    looked_up = np.stack(found)
    below = np.minimum(np.floor(level).astype(int), max(len(levels.sizes) - 2, 0))
    above = np.minimum(below + 1, len(levels.sizes) - 1)
    share, each = (level - below)[:, None], np.arange(len(direction))
    result: Array = (1 - share) * looked_up[below, each] + share * looked_up[above, each]
    return result


def _bilinear(padded: Array, direction: Array, size: int) -> Array:
    along = direction @ MAJOR.T
    face = np.argmax(along, axis=1)
    length = along[np.arange(len(face)), face]
    x = ((direction * RIGHT[face]).sum(1) / length + 1) * size / 2 + 0.5
    y = ((direction * DOWN[face]).sum(1) / length + 1) * size / 2 + 0.5
    column, row = (np.clip(np.floor(at).astype(int), 0, size) for at in (x, y))
    fx, fy = (x - column)[:, None], (y - row)[:, None]
    low = (1 - fx) * padded[face, row, column] + fx * padded[face, row, column + 1]
    high = (1 - fx) * padded[face, row + 1, column] + fx * padded[face, row + 1, column + 1]
    result: Array = (1 - fy) * low + fy * high
    return result
