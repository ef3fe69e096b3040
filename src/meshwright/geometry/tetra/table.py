"""Which edges of a tetrahedron a triangle joins, for each of the 16 ways in which its corners can be inside."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from meshwright.geometry.tetra.tetrahedra import EDGE_ENDS
from meshwright.types import Array

__all__ = ["triangle_table", "triangles_of"]

_CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], float)  # right-handed


def triangles_of(inside: tuple[bool, bool, bool, bool]) -> list[tuple[int, int, int]]:
    """Triangles as edges of a right-handed tetrahedron, counter-clockwise from outside; none, one or two."""
    inner = [i for i in range(4) if inside[i]]
    outer = [i for i in range(4) if not inside[i]]
    edge = {frozenset(ends): number for number, ends in enumerate(EDGE_ENDS)}
    if len(inner) in (1, 3):
        lone, others = (inner[0], outer) if len(inner) == 1 else (outer[0], inner)
        loops = [[edge[frozenset((lone, other))] for other in others]]
    elif len(inner) == 2:
        (a, b), (c, d) = inner, outer
        ring = [edge[frozenset(ends)] for ends in ((a, c), (a, d), (b, d), (b, c))]
        loops = [[ring[0], ring[1], ring[2]], [ring[0], ring[2], ring[3]]]
    else:
        return []
    outward = _CORNERS[outer].mean(0) - _CORNERS[inner].mean(0)
    turned = []
    for x, y, z in loops:
        p, q, r = (_CORNERS[list(EDGE_ENDS[e])].mean(0) for e in (x, y, z))
        turned.append((x, y, z) if np.cross(q - p, r - p) @ outward > 0 else (x, z, y))
    return turned


def _rows() -> Array:
    rows = np.full((16, 6), -1, np.int32)
    for code in range(16):
        inside = (bool(code & 1), bool(code & 2), bool(code & 4), bool(code & 8))
        flat = [edge for triangle in triangles_of(inside) for edge in triangle]
        rows[code, : len(flat)] = flat
    return rows


@lru_cache(maxsize=16)
def triangle_table(device: torch.device) -> torch.Tensor:
    """int32 [16 * 6]: for each code (bit i: corner i is inside) the edges of two triangles, -1 where there is none."""
    return torch.from_numpy(_rows().reshape(-1)).to(device)
