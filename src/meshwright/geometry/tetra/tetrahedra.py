"""The tetrahedra of the body-centred cubic lattice in integer arithmetic.

Points have integer coordinates in units of half a cell: corners of cells are even in all three, centres odd in all
three. Every point has 14 neighbours (6 a cell away along an axis, 8 along the diagonals) and 24 tetrahedra around it,
all congruent: two neighbouring centres A, B and two neighbouring corners P, Q of the face between them.

A tetrahedron is named by `name = (A + B + P + Q) / 2`. One coordinate of a name is a multiple of 4 (the axis of A and
B), one is even and no such multiple (the axis of P and Q), one is odd; so the corners follow from it. Those around a
point v are named 2 v + (+-2 along one axis, +-1 along another). No table, no file, any resolution.
Source of the lattice for surfaces: Labelle and Shewchuk, "Isosurface stuffing", SIGGRAPH 2007.
"""

from __future__ import annotations

import itertools

import torch

__all__ = ["EDGE_ENDS", "LINKS", "STAR", "corners_of"]

EDGE_ENDS = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
"""Which corners an edge of a tetrahedron joins."""


def _star() -> list[tuple[int, int, int]]:
    found = []
    for long, short in itertools.permutations(range(3), 2):
        for a, b in itertools.product((-2, 2), (-1, 1)):
            step = [0, 0, 0]
            step[long], step[short] = a, b
            found.append((step[0], step[1], step[2]))
    return sorted(found)


STAR = _star()
"""Names of the 24 tetrahedra around a point v, less 2 v."""

LINKS = sorted(
    step
    for step in itertools.product((-2, -1, 0, 1, 2), repeat=3)
    if step > (0, 0, 0) and sorted(map(abs, step)) in ([0, 0, 2], [1, 1, 1])
)
"""From a point to those of its 14 neighbours that come after it in the order of places: 7 steps."""


def corners_of(names: torch.Tensor) -> torch.Tensor:
    """The four corners of each named tetrahedron, int64 [T, 4, 3], so that (B - A, P - A, Q - A) is right-handed."""
    rest = names % 4
    along = (rest == 0).long()  # 1 on the axis of A and B
    across = (rest == 2).long()  # 1 on the axis of P and Q
    odd = 1 - along - across
    side = (rest == 3).long() - (rest == 1).long()  # on which side of the line A, B the corners P and Q lie
    middle = torch.where(odd == 1, (names - side) // 2, names // 2)
    a, b = middle - along, middle + along
    p, q = middle + side - across, middle + side + across
    # The determinant is 4 times the side times the sign of the order of the three axes.
    in_order = (odd.argmax(-1) - along.argmax(-1)) % 3 == 1
    turn = torch.where(in_order, side.sum(-1), -side.sum(-1))
    swap = (turn < 0)[:, None]
    return torch.stack([a, b, torch.where(swap, q, p), torch.where(swap, p, q)], 1)
