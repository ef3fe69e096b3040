"""Grids of cubes over a box, whole or only near a surface: what the dual extractor works on.

Letters: V corners (vertices), C cubes, E edges. The same rules as for tetrahedra (lattice.py) hold for the box, the
border and the bands.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from meshwright.geometry.tetra.carry import Carry
from meshwright.geometry.tetra.domain import Domain, check_start, nearest_known
from meshwright.geometry.tetra.patches import CORNERS, EDGE_AROUND, EDGES, FACES
from meshwright.geometry.tetra.places import Box, distinct, find

__all__ = ["CubeLattice", "cube_lattice"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CubeLattice:
    """Cubes, their corners and edges. Make one with `cube_lattice`.

    Attributes:
        domain: The box and the size of a cell.
        places: Corners in cells from the box's lower corner, int32 [V, 3], in order of x, y, z.
        rest: Where corners are before any offset, float32 [V, 3], world.
        held: float32 [V]: 1 held inside, -1 held outside, 0 free.
        cubes: Corners of each cube in the order of `patches.CORNERS`, int32 [C, 8].
        edges: Corners of each edge, the lower one first, int32 [E, 2], sorted.
        axes: Along which axis each edge runs, int32 [E].
        around: The cubes around each edge in the order of `patches.EDGE_AROUND`, int32 [E, 4]; -1 where there is none.
        beyond: The cube beyond each face of each cube, int32 [C, 6]; -1 where there is none.
        corner_of: The cubes of which each vertex is corner 0 to 7, int32 [V, 8]; -1 where there is none.
    """

    domain: Domain
    places: torch.Tensor
    rest: torch.Tensor
    held: torch.Tensor
    cubes: torch.Tensor
    edges: torch.Tensor
    axes: torch.Tensor
    around: torch.Tensor
    beyond: torch.Tensor
    corner_of: torch.Tensor

    @property
    def cell(self) -> float:
        """Edge of a cube, world units."""
        return self.domain.cell

    @property
    def nbytes(self) -> int:
        """Memory that the lattice holds."""
        tensors = [value for value in vars(self).values() if isinstance(value, torch.Tensor)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def refined(
        self, sdf: torch.Tensor, positions: torch.Tensor | None = None, *, rings: int = 2
    ) -> tuple[CubeLattice, Carry]:
        """Cubes of half the size near the surface.

        New corners take trilinear means. Parts that are crossed are kept, and `rings` times their neighbours.

        Args:
            sdf: Signed distance of the corners, float32 [V].
            positions: Where the corners are; `rest` if left out. New corners rest at the means of these.
            rings: How many new cubes the band reaches to either side, at least 1, but never beyond this lattice.
        Returns:
            The new lattice, and how values go from the old corners and cubes to the new ones.
        """
        signed = check_start(self, sdf, rings)
        domain = self.domain.halved()
        box, old = _box(domain), _box(self.domain)
        numbers = old.number(self.places.long())
        corners = self.cubes.long()
        met = _crossed(signed[corners])
        # Values at the 27 points of each crossed cube, and which of its eight parts are crossed by them.
        steps = torch.tensor(list(itertools.product((0, 1, 2), repeat=3)), device=sdf.device)
        shares = torch.stack(
            [(1 - (steps / 2 - torch.tensor(corner, device=sdf.device)).abs()).prod(1) for corner in CORNERS], 1
        )
        finer = signed[corners[met]] @ shares.T
        part = torch.tensor(
            [[((x + a) * 3 + y + b) * 3 + z + c for a, b, c in CORNERS] for x, y, z in CORNERS], device=sdf.device
        )
        crossed = _crossed(finer[:, part])
        lower = 2 * self.places[corners[met][:, 0]].long()[:, None] + torch.tensor(CORNERS, device=sdf.device)
        seeds = box.number(lower[crossed])

        def parents(points: torch.Tensor) -> torch.Tensor:
            place = box.place(points)
            ends = torch.stack(
                [torch.div(place, 2, rounding_mode="floor"), torch.div(place + 1, 2, rounding_mode="floor")]
            )
            picks = [torch.stack([ends[c[axis], :, axis] for axis in range(3)], -1) for c in CORNERS]
            return find(numbers, old.number(torch.stack(picks, 1)))

        lattice = _band(domain, seeds, rings, lambda points: (parents(points) >= 0).all(1))
        points = box.number(lattice.places.long())
        own = find(
            old.number(self.places[corners[:, 0]].long()),
            old.number(torch.div(lattice.places[lattice.cubes[:, 0].long()].long(), 2, rounding_mode="floor")),
        )
        carry = Carry(sources=parents(points), cells=own)
        rest = carry(self.rest if positions is None else positions.detach())
        return lattice._near(carry(signed), rest), carry

    def recentred(
        self, sdf: torch.Tensor, positions: torch.Tensor | None = None, *, rings: int = 2
    ) -> tuple[CubeLattice, Carry]:
        """A band of the same cubes around where the surface is now; see `TetraLattice.recentred`."""
        signed = check_start(self, sdf, rings)
        box = _box(self.domain)
        numbers = box.number(self.places.long())
        corners = self.cubes.long()
        lowest = numbers[corners[:, 0]]
        lattice = _band(self.domain, lowest[_crossed(signed[corners])], rings, None)
        source = find(numbers, box.number(lattice.places.long()))
        new = source < 0
        source = nearest_known(source, lattice.edges.long())
        own = find(lowest, box.number(lattice.places[lattice.cubes[:, 0].long()].long()))
        carry = Carry(sources=source[:, None], cells=own, new=new)
        displaced = (self.rest if positions is None else positions.detach()) - self.domain.world(self.places, 1.0)
        rest = self.domain.world(lattice.places, 1.0) + displaced[source]
        return lattice._near(signed[source], rest), carry

    def _near(self, sdf: torch.Tensor, rest: torch.Tensor) -> CubeLattice:
        """This lattice with the corners at its border held on the side that `sdf` has there."""
        border = (self.corner_of < 0).any(1)
        held = torch.where(sdf > 0, 1.0, -1.0) * border
        held = torch.where(_rim(self.domain, self.places), -1.0 if self.domain.closed else 0.0, held)
        return CubeLattice(**(vars(self) | {"rest": rest.contiguous(), "held": held.contiguous()}))


def cube_lattice(
    low: Sequence[float],
    high: Sequence[float],
    resolution: int,
    *,
    closed: bool = True,
    device: str | torch.device = "cpu",
) -> CubeLattice:
    """The whole grid over a box; arguments and errors as for `tetra_lattice`.

    About 190 bytes a cube, so 128 cubes a side take 0.4 GB: refine a coarser one instead.
    """
    domain = Domain.around(low, high, resolution, closed=closed)
    ranges = [torch.arange(n, device=device) for n in domain.cells]
    lower = torch.stack(torch.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3)
    lattice = _assemble(domain, _box(domain).number(lower))
    held = torch.where(_rim(domain, lattice.places), -1.0 if closed else 0.0, 0.0)
    return CubeLattice(**(vars(lattice) | {"held": held}))


def _box(domain: Domain) -> Box:
    """Coordinates of corners, with space around so that steps between neighbours are differences of numbers."""
    x, y, z = (n + 3 for n in domain.cells)
    return Box(-1, (x, y, z))


def _rim(domain: Domain, places: torch.Tensor) -> torch.Tensor:
    top = torch.tensor(domain.cells, device=places.device)
    return ((places <= 0) | (places >= top)).any(1)


def _crossed(values: torch.Tensor) -> torch.Tensor:
    """Whether a surface passes between eight corners [..., 8]."""
    inside = (values > 0).sum(-1)
    return (inside > 0) & (inside < 8)


def _band(
    domain: Domain, seeds: torch.Tensor, rings: int, allowed: Callable[[torch.Tensor], torch.Tensor] | None
) -> CubeLattice:
    """Cubes, numbered by their lowest corners, around seeds; `allowed` tells which corners there may be."""
    box = _box(domain)
    near = box.steps([step for step in itertools.product((-1, 0, 1), repeat=3)]).to(seeds.device)
    top = torch.tensor(domain.cells, device=seeds.device)
    cubes = distinct(seeds)
    for _ in range(rings):
        cubes = distinct(cubes[:, None] + near)
        place = box.place(cubes)
        cubes = cubes[((place >= 0) & (place < top)).all(1)]
    if allowed is not None:
        corners = cubes[:, None] + box.steps(CORNERS).to(seeds.device)
        points = distinct(corners)
        cubes = cubes[allowed(points)[find(points, corners)].all(1)]
    return _assemble(domain, cubes)


def _assemble(domain: Domain, lowest: torch.Tensor) -> CubeLattice:
    """The lattice of cubes numbered by their lowest corners [C], sorted; nothing is held."""
    device = lowest.device
    box = _box(domain)
    corners = lowest[:, None] + box.steps(CORNERS).to(device)
    points = distinct(corners)
    cubes = find(points, corners)
    count, number = len(points), torch.arange(len(lowest), device=device)
    corner_of = torch.full((count, 8), -1, dtype=torch.int32, device=device)
    for corner in range(8):
        corner_of[cubes[:, corner], corner] = number.int()
    # Every vertex has room for an edge along each axis.
    around = torch.full((count * 3, 4), -1, dtype=torch.int32, device=device)
    for axis, order in enumerate(EDGE_AROUND):
        for spot, edge in enumerate(order):
            around[cubes[:, EDGES[edge][0]] * 3 + axis, spot] = number.int()
    which = (around >= 0).any(1).nonzero()[:, 0]
    lower, axes = which // 3, which % 3
    along = box.steps([(1, 0, 0), (0, 1, 0), (0, 0, 1)]).to(device)
    edges = torch.stack([lower, find(points, points[lower] + along[axes])], 1)
    # A face's cube beyond it is the one in which its corners are corners of the opposite face.
    beyond = torch.empty((len(lowest), 6), dtype=torch.int32, device=device)
    for face, ring in enumerate(FACES):
        beyond[:, face] = corner_of[cubes[:, ring[0]], ring[0] ^ 1 << face // 2]
    places = box.place(points)
    return CubeLattice(
        domain=domain,
        places=places.int(),
        rest=domain.world(places, 1.0),
        held=torch.zeros(count, device=device),
        cubes=cubes.int(),
        edges=edges.int(),
        axes=axes.int(),
        around=around[which],
        beyond=beyond,
        corner_of=corner_of,
    )
