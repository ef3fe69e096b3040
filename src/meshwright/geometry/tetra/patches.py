"""How the surface parts a cube into patches, for each of the 256 ways in which its corners can be inside.

Corner k of a cube lies at (k & 1, k >> 1 & 1, k >> 2 & 1). Edge 4 a + u + 2 w runs along axis a, at u along the lower
and w along the higher of the other two axes. Face 2 a + s is that at s along axis a.

Marching cubes draws a line across every face between two crossed edges, and the lines close to loops; each loop is a
patch, and a dual method has a vertex for it (Nielson, "Dual Marching Cubes", Visualization 2004). Where all four edges
of a face are crossed the inner corners are cut off one by one. If then both lines of such a face are in one and the
same patch, in both cubes that share it, four quads would meet in one dual edge; in those pairs of cubes the outer
corners of that face are cut off instead (Wenger, "Isosurfaces: Geometry, Topology, and Algorithms", 2013, as used by
Shen et al., "Flexible Isosurface Extraction", arXiv:2308.05371). The tables are worked out here, from these rules.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from meshwright.types import Array

__all__ = ["CORNERS", "EDGES", "EDGE_AROUND", "FACES", "PatchTables", "patch_tables"]

CORNERS = [(k & 1, k >> 1 & 1, k >> 2 & 1) for k in range(8)]


def _corner(place: list[int]) -> int:
    return place[0] + 2 * place[1] + 4 * place[2]


def _edges() -> list[tuple[int, int]]:
    found = []
    for axis in range(3):
        j, k = (a for a in range(3) if a != axis)
        for number in range(4):
            place = [0, 0, 0]
            place[j], place[k] = number & 1, number >> 1
            low = _corner(place)
            found.append((low, low | 1 << axis))
    return found


EDGES = _edges()
"""Lower and upper corner of each edge."""


def _faces() -> list[list[int]]:
    found = []
    for axis in range(3):
        j, k = (a for a in range(3) if a != axis)
        for side in range(2):
            ring = []
            for u, w in ((0, 0), (1, 0), (1, 1), (0, 1)):
                place = [0, 0, 0]
                place[axis], place[j], place[k] = side, u, w
                ring.append(_corner(place))
            found.append(ring)
    return found


FACES = _faces()
"""Corners of each face, in a ring."""

EDGE_AROUND = [[4 * axis + number for number in (3, 2, 0, 1)] for axis in range(3)]
"""What an edge is called in the four cubes around it, which lie below or above it along the lower and the higher other
axis: (below, below), (above, below), (above, above), (below, above)."""


def _between(a: int, b: int) -> int:
    return EDGES.index((min(a, b), max(a, b)))


def lines_of(inside: list[bool], face: int, *, outer: bool) -> list[tuple[int, int]]:
    """Pairs of crossed edges that a line joins on a face; `outer`: cut off outer corners where there is a choice."""
    ring = FACES[face]
    around = [_between(ring[i], ring[(i + 1) % 4]) for i in range(4)]  # edge i leaves corner i of the ring
    crossed = [inside[ring[i]] != inside[ring[(i + 1) % 4]] for i in range(4)]
    if sum(crossed) == 4:
        return [(around[i - 1], around[i]) for i in range(4) if inside[ring[i]] != outer]
    found = [edge for edge, hit in zip(around, crossed, strict=True) if hit]
    return [(found[0], found[1])] if found else []


def patches_of(inside: list[bool], outer: tuple[int, ...] = ()) -> list[int]:
    """Which patch each edge belongs to, -1 if it is not crossed; `outer` names faces to draw the other way."""
    patch = [-1] * 12
    links: list[tuple[int, int]] = []
    for face in range(6):
        links += lines_of(inside, face, outer=face in outer)
    count = 0
    for edge in range(12):
        if patch[edge] >= 0 or not any(edge in link for link in links):
            continue
        todo = [edge]
        while todo:
            here = todo.pop()
            if patch[here] < 0:
                patch[here] = count
                todo += [a + b - here for a, b in links if here in (a, b)]
        count += 1
    return patch


class PatchTables:
    """For codes 0 to 255 (bit k: corner k is inside), and 256 to 511: the same cubes, drawn the other way.

    Attributes:
        patch: int32 [512, 12]: the patch that each edge belongs to, -1 if it is not crossed.
        count: int32 [512]: patches.
        twisted: int32 [256]: the face that has both its lines in one patch; -1 where there is none.
    """

    def __init__(self) -> None:
        self.patch: Array = np.full((512, 12), -1, np.int32)
        self.twisted: Array = np.full(256, -1, np.int32)
        for code in range(256):
            inside = [bool(code >> k & 1) for k in range(8)]
            plain = patches_of(inside)
            self.patch[code] = self.patch[code + 256] = plain
            for face in range(6):
                lines = lines_of(inside, face, outer=False)
                if len(lines) == 2 and plain[lines[0][0]] == plain[lines[1][0]]:
                    assert self.twisted[code] < 0
                    self.twisted[code] = face
                    self.patch[code + 256] = patches_of(inside, (face,))
        self.count: Array = self.patch.max(1) + 1


@lru_cache(maxsize=1)
def patch_tables() -> PatchTables:
    """The tables, worked out once."""
    return PatchTables()
