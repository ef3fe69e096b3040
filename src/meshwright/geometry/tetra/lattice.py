"""Body-centred cubic tetrahedral grids over any box, at any resolution, whole or only near a surface.

Letters: V vertices, T tetrahedra, E edges. Signed distance is positive inside, as everywhere in this package.

A whole grid costs memory with the cube of its resolution. A band of it (`refined`, `recentred`) costs what the surface
does: only tetrahedra near the zero level exist, and the vertices on the band's border are held on the side of the
surface where they were found, so that the surface stays closed whatever the values between become.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from meshwright.geometry.tetra.carry import Carry
from meshwright.geometry.tetra.domain import Domain, check_start, nearest_known
from meshwright.geometry.tetra.kernels import corner_kernel, slot_kernel
from meshwright.geometry.tetra.places import Box, distinct, find
from meshwright.geometry.tetra.tetrahedra import LINKS, STAR
from meshwright.programs import Program, over_items

__all__ = ["TetraLattice", "tetra_lattice"]

CORNERS = Program(corner_kernel)
SLOTS = Program(slot_kernel)


@dataclass(frozen=True, kw_only=True, eq=False)
class TetraLattice:
    """Tetrahedra, their edges and where their vertices rest. Make one with `tetra_lattice`.

    Attributes:
        domain: The box and the size of a cell.
        places: Vertices in half cells from the box's lower corner, int32 [V, 3], in order of x, y, z.
        rest: Where vertices are before any offset, float32 [V, 3], world.
        held: float32 [V]: 1 held inside, -1 held outside, 0 free.
        tets: Vertices of each tetrahedron, right-handed, int32 [T, 4].
        edges: Vertices of each edge, the lower one first, int32 [E, 2], sorted.
        tet_edges: Edges of each tetrahedron, in the order 01, 02, 03, 12, 13, 23, int32 [T, 6].
        starts: Where in `incident` the edges of each vertex begin, int32 [V + 1].
        incident: Edges of each vertex, rising, int32 [2 E].
    """

    domain: Domain
    places: torch.Tensor
    rest: torch.Tensor
    held: torch.Tensor
    tets: torch.Tensor
    edges: torch.Tensor
    tet_edges: torch.Tensor
    starts: torch.Tensor
    incident: torch.Tensor

    @property
    def cell(self) -> float:
        """Edge of a cubic cell, world units."""
        return self.domain.cell

    @property
    def nbytes(self) -> int:
        """Memory that the lattice holds."""
        tensors = [value for value in vars(self).values() if isinstance(value, torch.Tensor)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def refined(
        self, sdf: torch.Tensor, positions: torch.Tensor | None = None, *, rings: int = 2
    ) -> tuple[TetraLattice, Carry]:
        """Cells of half the size near the surface.

        Each tetrahedron is split into eight of its shape. Of the parts, those are kept that touch the crossing half of
        a crossed edge (with that all which the surface meets), and `rings - 1` times their neighbours. With values
        taken over by the returned carry the surface is the same as before, as a set of points.

        Args:
            sdf: Signed distance of the vertices, float32 [V].
            positions: Where the vertices are; `rest` if left out. New vertices rest at the means of these.
            rings: How far the band reaches, at least 1; each ring is about 0.8 of a new cell to either side. From 2 on
                nothing is held that the surface meets. The band never reaches beyond this lattice.
        Returns:
            The new lattice, and how values go from the old vertices to the new ones.
        """
        signed = check_start(self, sdf, rings)
        box = _box(self.domain.halved())
        ends = self.edges.long()
        places = self.places.long()
        # Every vertex and every middle of an edge may become a vertex.
        number = torch.cat([box.number(2 * places), box.number(places[ends].sum(1))])
        sources = torch.cat([torch.arange(len(places), device=sdf.device)[:, None].expand(-1, 2), ends])
        number, order = torch.sort(number)
        sources = sources[order]
        values = signed[sources].mean(1)
        # A crossed edge's middle, and that end of it towards which the crossing lies.
        a, b = signed[ends[:, 0]], signed[ends[:, 1]]
        crossed = (a > 0) != (b > 0)
        near = torch.where(((a + b) > 0) == (a > 0), ends[:, 1], ends[:, 0])[crossed]
        seeds = torch.cat([2 * places[near], places[ends[crossed]].sum(1)])
        lattice = _band(self.domain.halved(), box.number(seeds), rings, number)
        spot = find(number, box.number(lattice.places.long()))
        carry = Carry(sources=sources[spot])
        rest = carry(self.rest if positions is None else positions.detach())
        return lattice._near(values[spot], rest), carry

    def recentred(
        self, sdf: torch.Tensor, positions: torch.Tensor | None = None, *, rings: int = 2
    ) -> tuple[TetraLattice, Carry]:
        """A band of the same cells around where the surface is now.

        Args:
            sdf: Signed distance of the vertices, float32 [V].
            positions: Where the vertices are; `rest` if left out.
            rings: As in `refined`; this band does reach beyond the old one.
        Returns:
            The new lattice, and how values go over. Vertices beyond the old lattice take the values, and the offset
            from their regular place, of the nearest old ones.
        """
        signed = check_start(self, sdf, rings)
        box = _box(self.domain)
        ends = self.edges.long()
        places = self.places.long()
        crossed = (signed[ends] > 0).sum(1) == 1
        seeds = box.number(places[ends[crossed]])
        lattice = _band(self.domain, seeds, rings, None)
        old = box.number(places)
        source = find(old, box.number(lattice.places.long()))
        new = source < 0
        source = nearest_known(source, lattice.edges.long())
        carry = Carry(sources=source[:, None], new=new)
        displaced = (self.rest if positions is None else positions.detach()) - self.domain.world(self.places, 0.5)
        rest = self.domain.world(lattice.places, 0.5) + displaced[source]
        return lattice._near(signed[source], rest), carry

    def _near(self, sdf: torch.Tensor, rest: torch.Tensor) -> TetraLattice:
        """This lattice with the vertices at its border held on the side that `sdf` has there."""
        count = torch.bincount(self.tets.reshape(-1).long(), minlength=len(sdf))
        edge = count < len(STAR)
        held = torch.where(sdf > 0, 1.0, -1.0) * edge
        rim = _rim(self.domain, self.places)
        held = torch.where(rim, -1.0 if self.domain.closed else 0.0, held)
        return TetraLattice(**(vars(self) | {"rest": rest.contiguous(), "held": held.contiguous()}))


def tetra_lattice(
    low: Sequence[float],
    high: Sequence[float],
    resolution: int,
    *,
    closed: bool = True,
    device: str | torch.device = "cpu",
) -> TetraLattice:
    """The whole grid over a box.

    The box is filled wholly; pyramids of half a cell stand out beyond it. About 2 vertices, 14 edges and 12 tetrahedra
    a cubic cell, 0.66 kB in all, so 128 cells a side take 1.4 GB: refine a coarser one instead.

    Args:
        low: Lower corner of the box, world units; grown evenly to whole cells where it is not a cube.
        high: Upper corner.
        resolution: Cells along the longest side.
        closed: Hold the border outside, so that every surface is closed; leave a cell of space around the object.
        device: Where the tensors go.
    Returns:
        The lattice.
    Raises:
        ShapeError: The box has no volume.
        OptionError: The resolution is none.
    """
    domain = Domain.around(low, high, resolution, closed=closed)
    box = _box(domain)
    names = []
    for along, odd in itertools.permutations(range(3), 2):
        across = 3 - along - odd
        ranges: list[torch.Tensor] = [torch.empty(0)] * 3
        ranges[along] = 4 * torch.arange(domain.cells[along] + 1)
        ranges[odd] = 2 * torch.arange(2 * domain.cells[odd]) + 1
        ranges[across] = 4 * torch.arange(domain.cells[across]) + 2
        names.append(torch.stack(torch.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3))
    numbers = distinct(_named(box).number(torch.cat(names).to(device)))
    corners = _corners(domain, numbers)
    points = distinct(corners)
    lattice = _assemble(domain, points, find(points, corners))
    held = torch.where(_rim(domain, lattice.places), -1.0 if closed else 0.0, 0.0)
    return TetraLattice(**(vars(lattice) | {"held": held}))


def _box(domain: Domain) -> Box:
    """Coordinates of vertices: from centres half a cell before the box to those behind it."""
    x, y, z = (2 * n + 3 for n in domain.cells)
    return Box(-1, (x, y, z))


def _named(box: Box) -> Box:
    """Names are about twice the coordinates; with some space around, so that steps between them are sums of numbers."""
    x, y, z = (2 * side + 6 for side in box.sides)
    return Box(2 * box.low - 4, (x, y, z))


def _rim(domain: Domain, places: torch.Tensor) -> torch.Tensor:
    """Which vertices have no 24 tetrahedra around them even in the whole grid: on the box, or beyond it."""
    top = 2 * torch.tensor(domain.cells, device=places.device)
    return ((places <= 0) | (places >= top)).any(1)


def _corners(domain: Domain, names: torch.Tensor) -> torch.Tensor:
    """Numbers of the corners of numbered names, int64 [T, 4]; -1 where the domain has no such point."""
    box, named = _box(domain), _named(_box(domain))
    corners = torch.empty((len(names), 4), dtype=torch.int64, device=names.device)
    nx, ny, nz = domain.cells
    sides = (named.low, *named.sides[1:], box.low, *box.sides[1:], 2 * nx, 2 * ny, 2 * nz)
    over_items(CORNERS, names.device, len(names), names, *sides, corners)
    return corners


def _band(domain: Domain, seeds: torch.Tensor, rings: int, allowed: torch.Tensor | None) -> TetraLattice:
    """The tetrahedra around numbered points, and around those `rings - 1` times.

    `allowed` lists the points that may be vertices, sorted; without it all of the domain may.
    """
    box = _box(domain)
    named = _named(box)
    star = named.steps(STAR).to(seeds.device)
    points = distinct(seeds)
    for ring in range(rings):
        names = distinct(named.number(2 * box.place(points))[:, None] + star)
        corners = _corners(domain, names)
        corners = corners[(corners >= 0).all(1)]
        points = distinct(corners)
        if allowed is not None and ring + 1 < rings:
            points = points[find(allowed, points) >= 0]
    tets = find(points, corners)
    del corners
    if allowed is not None:
        tets = tets[(find(allowed, points) >= 0)[tets].all(1)]
        used = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        used[tets.reshape(-1)] = True
        tets = (used.cumsum(0) - 1)[tets]
        points = points[used]
    return _assemble(domain, points, tets)


def _assemble(domain: Domain, points: torch.Tensor, tets: torch.Tensor) -> TetraLattice:
    """The lattice of numbered vertices [V], sorted, and tetrahedra between them, int64 [T, 4]; nothing is held."""
    device, count = points.device, len(points)
    box = _box(domain)
    tets = tets.int()
    # An edge is its lower end and one of seven steps; those slots that some tetrahedron uses become edges.
    links = box.steps(LINKS).to(device)
    slots = torch.empty((len(tets), 6), dtype=torch.int32, device=device)
    over_items(SLOTS, device, len(tets), points, tets, links, slots)
    used = torch.zeros(count * len(LINKS), dtype=torch.bool, device=device)
    used[slots.reshape(-1).long()] = True
    rank = used.cumsum(0, dtype=torch.int32) - 1
    which = used.nonzero()[:, 0]
    lower = which // len(LINKS)
    edges = torch.stack([lower, find(points, points[lower] + links[which % len(LINKS)])], 1)
    ends = edges.reshape(-1)
    starts = torch.zeros(count + 1, dtype=torch.int64, device=device)
    starts[1:] = torch.bincount(ends, minlength=count).cumsum(0)
    places = box.place(points)
    return TetraLattice(
        domain=domain,
        places=places.int(),
        rest=domain.world(places, 0.5),
        held=torch.zeros(count, device=device),
        tets=tets,
        edges=edges.int(),
        tet_edges=rank[slots.long()],
        starts=starts.int(),
        incident=(torch.sort(ends, stable=True).indices // 2).int(),
    )
