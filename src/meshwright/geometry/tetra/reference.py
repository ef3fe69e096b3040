"""What the extractors must compute, said plainly in NumPy, one cell after the other. For tests."""

from __future__ import annotations

import numpy as np

from meshwright.geometry.tetra.patches import EDGES, patch_tables
from meshwright.geometry.tetra.table import triangles_of
from meshwright.geometry.tetra.tetrahedra import EDGE_ENDS
from meshwright.types import Array

__all__ = ["crossing_reference", "dual_reference", "tetrahedra_reference"]


def crossing_reference(sdf: Array, positions: Array, ends: Array) -> Array:
    """Where a linear interpolation between two vertices is 0, for each pair [N, 2]: [N, 3]."""
    a, b = sdf[ends[:, 0]], sdf[ends[:, 1]]
    share = (a / (a - b))[:, None]
    points: Array = (1 - share) * positions[ends[:, 0]] + share * positions[ends[:, 1]]
    return points


def tetrahedra_reference(tets: Array, sdf: Array) -> list[tuple[tuple[int, int], ...]]:
    """Triangles, each as three crossed edges (lower vertex, higher vertex), in the order of the tetrahedra."""
    found = []
    for tet in tets.tolist():
        a, b, c, d = (bool(sdf[v] > 0) for v in tet)
        for triangle in triangles_of((a, b, c, d)):
            ends = [sorted(tet[corner] for corner in EDGE_ENDS[edge]) for edge in triangle]
            found.append(tuple((low, high) for low, high in ends))
    return found


def dual_reference(cubes: Array, cases: Array, sdf: Array, positions: Array, raw: Array) -> tuple[Array, Array]:
    """Dual vertices and their spread, equations 6 to 8 of arXiv:2308.05371.

    Args:
        cubes: int [C, 8].
        cases: Row of the patch table of each cube, int [C].
        sdf: [V].
        positions: [V, 3].
        raw: Weights [C, 21], before they are bounded.
    Returns:
        [P, 3] and [P].
    """
    tables = patch_tables()
    vertices, spreads = [], []
    for cube, case, weight in zip(cubes, cases, 1 + 0.99 * np.tanh(raw), strict=True):
        for patch in range(tables.count[case]):
            edges = np.flatnonzero(tables.patch[case] == patch)
            ends = np.array(EDGES)[edges]
            scaled = sdf[cube[ends]] * weight[ends]
            share = (scaled[:, 0] / (scaled[:, 0] - scaled[:, 1]))[:, None]
            points = (1 - share) * positions[cube[ends[:, 0]]] + share * positions[cube[ends[:, 1]]]
            beta = weight[8 + edges]
            vertex = (beta[:, None] * points).sum(0) / beta.sum()
            distance = np.linalg.norm(points - vertex, axis=1)
            vertices.append(vertex)
            spreads.append(np.abs(distance - distance.mean()).mean())
    return np.array(vertices), np.array(spreads)
