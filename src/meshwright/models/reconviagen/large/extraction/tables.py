"""Which crossed edges of a cube belong to one piece of surface, for each of the 256 ways its corners can lie.

Corner c lies at x = bit 0, y = bit 1, z = bit 2 of c. A case is the sum of 2^c over the corners inside the surface.
Nothing here is copied from anywhere: all of it follows from the rule of `_components`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CORNERS", "EDGES", "EDGE_RANKS", "FACES", "CaseTables", "case_tables"]

Array = NDArray[Any]

CORNERS = tuple((c & 1, c >> 1 & 1, c >> 2 & 1) for c in range(8))
"""Where corner c lies in its cube."""

EDGES = ((0, 1), (1, 5), (4, 5), (0, 4), (2, 3), (3, 7), (6, 7), (2, 6), (2, 0), (3, 1), (7, 5), (6, 4))
"""First and second end of each edge. Those along x and z run upwards, those along y downwards, in every cube: an edge
that cubes share has the same first end in all of them."""

EDGE_RANKS = tuple({0: 2, 1: 0, 2: 1}[(a ^ b).bit_length() - 1] for a, b in EDGES)
"""Order of the edges that share a first end, by their second end: along -y, +z, +x."""

FACES = ((0, -1), (0, 1), (1, -1), (1, 1), (2, -1), (2, 1))
"""Axis and direction in which the neighbour across each face lies."""

LISTED_OTHERWISE = 231
"""The one case whose two components are numbered the other way round in published meshes."""


@dataclass(frozen=True, kw_only=True)
class CaseTables:
    """For each case, int64.

    Attributes:
        components: How many pieces of surface pass through the cube, [256].
        edge_component: Which of them crosses each edge, [256, 12]; -1 where none does.
        ambiguous_face: The face (see `FACES`) across which the case may have to be turned round, [256]; -1 for none.
    """

    components: Array
    edge_component: Array
    ambiguous_face: Array


@cache
def case_tables() -> CaseTables:
    """The tables, worked out once."""
    edge_component = np.full((256, 12), -1)
    ambiguous_face = np.full(256, -1)
    for case in range(256):
        for number, edges in enumerate(_components(case)):
            edge_component[case, edges] = number
        ambiguous = [number for number in range(6) if len(_crossed(case, number)) == 4]
        if len(ambiguous) == 1 and case.bit_count() in (5, 6):
            ambiguous_face[case] = ambiguous[0]
    return CaseTables(
        components=edge_component.max(1) + 1, edge_component=edge_component, ambiguous_face=ambiguous_face
    )


def _inside(case: int, corner: int) -> bool:
    return bool(case >> corner & 1)


def _crossed(case: int, face: int) -> list[int]:
    """The edges of a face whose ends differ."""
    axis, side = FACES[face]
    level = (side + 1) // 2
    return [
        number
        for number, (a, b) in enumerate(EDGES)
        if CORNERS[a][axis] == CORNERS[b][axis] == level and _inside(case, a) != _inside(case, b)
    ]


def _components(case: int) -> list[list[int]]:
    """Crossed edges by component; edges that share a face are of one component.

    On a face where all four are crossed, those two are that meet at an inside corner: inside corners stay apart.
    """
    component = {e: e for e, (a, b) in enumerate(EDGES) if _inside(case, a) != _inside(case, b)}

    def join(first: int, second: int) -> None:
        old, new = component[first], component[second]
        for edge, name in component.items():
            if name == old:
                component[edge] = new

    for face in range(6):
        crossed = _crossed(case, face)
        if len(crossed) == 2:
            join(*crossed)
        for corner in range(8) if len(crossed) == 4 else ():
            meeting = [edge for edge in crossed if corner in EDGES[edge]]
            if _inside(case, corner) and len(meeting) == 2:
                join(*meeting)
    groups = [[edge for edge, other in component.items() if other == name] for name in set(component.values())]
    groups.sort(key=lambda edges: min(corner for edge in edges for corner in EDGES[edge] if _inside(case, corner)))
    return groups[::-1] if case == LISTED_OTHERWISE else groups
