"""What `antialias` must compute, said in NumPy: pair after pair."""

from __future__ import annotations

import numpy as np

from meshwright.types import Array

__all__ = ["antialias_reference", "neighbours_reference", "topology_reference"]

SLACK = 1 / 16
"""An edge may miss the line between two centres by so much of a pixel."""


def topology_reference(tri: Array) -> Array:
    """The corner beyond each edge, int [F, 3]; -1 where there is none or more than one."""
    sides: dict[frozenset[int], list[tuple[int, int]]] = {}
    for face, corners in enumerate(tri.tolist()):
        for i in range(3):
            sides.setdefault(frozenset({corners[i - 2], corners[i - 1]}), []).append((face, i))
    result = np.full(tri.shape, -1)
    for both in sides.values():
        if len(both) == 2:
            (f, i), (g, j) = both
            result[f, i], result[g, j] = tri[g, j], tri[f, i]
    return result


def neighbours_reference(tri: Array) -> Array:
    """The triangle beyond each edge, int [F, 3]; -1 where there is none or more than one."""
    sides: dict[frozenset[int], list[tuple[int, int]]] = {}
    for face, corners in enumerate(tri.tolist()):
        for i in range(3):
            sides.setdefault(frozenset({corners[i - 2], corners[i - 1]}), []).append((face, i))
    result = np.full(tri.shape, -1)
    for both in sides.values():
        if len(both) == 2:
            (f, i), (g, j) = both
            result[f, i], result[g, j] = g, f
    return result


def antialias_reference(color: Array, rast: Array, pos: Array, tri: Array, reach: int = 0) -> Array:
    """Blended pictures [N, H, W, C]."""
    views, height, width = color.shape[:3]
    beyond, neighbours = topology_reference(tri), neighbours_reference(tri)
    out = color.astype(np.float64)
    for view in range(views):
        clip = pos[view].astype(np.float64)
        # In pixels, counted from the centre of the first one.
        points = (clip[:, :2] / clip[:, 3:] + 1) * [width / 2, height / 2] - 0.5
        for vertical in (0, 1):
            for row in range(height - vertical):
                for column in range(width - 1 + vertical):
                    first, second = (row, column), (row + vertical, column + 1 - vertical)
                    share, near, far = _meet(
                        rast[view], points, tri, beyond, neighbours, reach, first, second, vertical
                    )
                    if share > 0.5:
                        out[view][far] += (share - 0.5) * (color[view][near].astype(float) - color[view][far])
                    elif share >= 0:
                        out[view][near] += (0.5 - share) * (color[view][far].astype(float) - color[view][near])
    return out


def _meet(
    rast: Array,
    points: Array,
    tri: Array,
    beyond: Array,
    neighbours: Array,
    reach: int,
    first: tuple[int, int],
    second: tuple[int, int],
    vertical: int,
) -> tuple[float, tuple[int, int], tuple[int, int]]:
    """The share of the line between two centres that the nearer triangle covers (-1: no silhouette), near, far."""
    nothing = (-1.0, first, second)
    one, two = rast[first], rast[second]
    if one[3] == two[3]:
        return nothing
    near, far, step = (first, second, 1) if two[3] == 0 or (one[3] > 0 and one[2] < two[2]) else (second, first, -1)
    face = int(rast[near][3]) - 1
    for _ in range(1 + reach if one[3] == 0 or two[3] == 0 else 1):
        corners = points[tri[face]] - [near[1], near[0]]
        along, across = corners[:, vertical] * step, corners[:, 1 - vertical]
        crossings = []
        for i in range(3):
            p, q = i - 2, i - 1
            if (across[p] < 0) != (across[q] < 0):
                crossings.append((along[p] - (along[q] - along[p]) * across[p] / (across[q] - across[p]), i))
        if not crossings:
            return nothing
        share, i = max(crossings)
        p, q = i - 2, i - 1
        if not -SLACK <= share <= 1 + SLACK:
            return nothing
        if _is_silhouette(points, tri, beyond, face, i):
            if abs(across[p] - across[q]) < abs(along[p] - along[q]):
                return nothing
            return float(np.clip(share, 0, 1)), near, far
        face = int(neighbours[face, i])
        if face < 0:
            return nothing
    return nothing


def _is_silhouette(points: Array, tri: Array, beyond: Array, face: int, i: int) -> bool:
    """Whether nothing is beyond an edge, or what is folds back."""
    if beyond[face, i] < 0:
        return True
    corners = points[tri[face]]
    edge = corners[i - 1] - corners[i - 2]
    own = corners[i] - corners[i - 2]
    other = points[beyond[face, i]] - corners[i - 2]
    return bool((edge[0] * own[1] - edge[1] * own[0]) * (edge[0] * other[1] - edge[1] * other[0]) >= 0)
