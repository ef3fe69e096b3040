"""Marching tetrahedra: from signed distance on a tetrahedral lattice to triangles, with gradients to values and places.

The vertices are where a linear interpolation along crossed edges is 0, one for each edge whoever shares it; each
tetrahedron adds a triangle or two. All inner work is integers in two prefix sums, so the result is the same each time
to the last bit, gradients included (each lattice vertex gathers its own; nothing is added by several threads at once).
Source: Shen et al., "Deep Marching Tetrahedra", NeurIPS 2021, arXiv:2111.04276.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from meshwright.errors import ShapeError
from meshwright.geometry.tetra.domain import LEAST
from meshwright.geometry.tetra.kernels import (
    cross_gradient_kernel,
    cross_kernel,
    crossed_kernel,
    faces_kernel,
    list_edges_kernel,
    list_faces_kernel,
    side_kernel,
)
from meshwright.geometry.tetra.lattice import TetraLattice
from meshwright.geometry.tetra.surface import Capacity, Surface
from meshwright.geometry.tetra.table import triangle_table
from meshwright.programs import Program, over_items, packed

__all__ = ["check_values", "march_tetrahedra"]

SIDE = Program(side_kernel)
CROSSED = Program(crossed_kernel)
FACES = Program(faces_kernel)
LIST_EDGES = Program(list_edges_kernel)
LIST_FACES = Program(list_faces_kernel)
CROSS = Program(cross_kernel)
CROSS_GRADIENT = Program(cross_gradient_kernel)


def march_tetrahedra(
    lattice: TetraLattice,
    sdf: torch.Tensor,
    positions: torch.Tensor | None = None,
    *,
    capacity: Capacity | None = None,
) -> Surface:
    """The zero level of values on a lattice.

    Args:
        lattice: See `tetra_lattice`.
        sdf: Signed distance of its vertices, positive inside, float32 [V].
        positions: Where its vertices are, float32 [V, 3]; `lattice.rest` if left out.
        capacity: Without it, tensors have the surface's size, which is read from the device once: the host waits there
            for all work before it. With it, nothing waits.
    Returns:
        The surface: closed if `lattice` holds its border, counter-clockwise from outside, each vertex once. Empty where
        all values have one sign.
    Raises:
        ShapeError: Tensors do not fit the lattice.
    Gradients reach `sdf` and `positions`; which edges are crossed is discrete. There are no second derivatives.
    """
    positions = lattice.rest if positions is None else positions
    check_values(len(lattice.rest), lattice.rest.device, sdf, positions)
    device = lattice.rest.device
    sdf, positions = packed(sdf), packed(positions)
    edges, tets = len(lattice.edges), len(lattice.tets)
    inside = torch.empty(len(sdf), dtype=torch.uint8, device=device)
    over_items(SIDE, device, len(sdf), sdf.detach(), lattice.held, inside)
    crossed = torch.empty(edges, dtype=torch.int32, device=device)
    over_items(CROSSED, device, edges, inside, lattice.edges, crossed)
    triangles = torch.empty(tets, dtype=torch.int32, device=device)
    over_items(FACES, device, tets, inside, lattice.tets, triangles)
    vertex_ends = crossed.cumsum(0, dtype=torch.int32)
    face_ends = triangles.cumsum(0, dtype=torch.int32)
    counts = torch.stack([vertex_ends[-1], face_ends[-1]])
    vertex_room, face_room = counts.tolist() if capacity is None else (capacity.vertices, capacity.faces)
    crossings = torch.zeros((vertex_room, 2), dtype=torch.int32, device=device)
    over_items(LIST_EDGES, device, edges, vertex_ends, vertex_room, inside, lattice.edges, crossings)
    faces = torch.zeros((face_room, 3), dtype=torch.int32, device=device)
    room = (vertex_room, face_room)
    table = triangle_table(device)
    over_items(
        LIST_FACES, device, tets, vertex_ends, face_ends, *room, inside, lattice.tets, lattice.tet_edges, table, faces
    )
    vertices = _Cross.apply(sdf, positions, lattice, crossings, vertex_ends)  # type: ignore[no-untyped-call]
    return Surface(vertices=vertices, faces=faces, counts=counts, crossings=crossings, spread=sdf.new_zeros((0,)))


def check_values(count: int, device: torch.device, sdf: torch.Tensor, positions: torch.Tensor) -> None:
    """float32, one for each lattice vertex, on the lattice's device.

    Raises:
        ShapeError: They are not.
    """
    for name, tensor, shape in (("sdf", sdf, (count,)), ("positions", positions, (count, 3))):
        if tensor.dtype is not torch.float32 or tensor.device != device or tensor.shape != shape:
            raise ShapeError(
                f"{name} is {tensor.dtype} {list(tensor.shape)} on {tensor.device}, "
                f"expected float32 {list(shape)} on {device}.",
                hint="Give one value for each vertex of the lattice; carry values over when the lattice changes.",
            )


class _Cross(torch.autograd.Function):
    """Places where edges cross 0."""

    @staticmethod
    def forward(
        ctx: Any,
        sdf: torch.Tensor,
        positions: torch.Tensor,
        lattice: TetraLattice,
        crossings: torch.Tensor,
        ends: torch.Tensor,
    ) -> torch.Tensor:
        vertices = torch.empty((len(crossings), 3), device=sdf.device)
        least = LEAST * lattice.cell
        over_items(CROSS, sdf.device, len(crossings), crossings, sdf, lattice.held, least, positions, vertices)
        ctx.save_for_backward(sdf, positions, crossings, ends)
        ctx.lattice = lattice
        return vertices

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        sdf, positions, crossings, ends = ctx.saved_tensors
        lattice: TetraLattice = ctx.lattice
        dsdf = torch.empty_like(sdf)
        dpositions = torch.empty_like(positions)
        over_items(
            CROSS_GRADIENT,
            sdf.device,
            len(sdf),
            lattice.starts,
            lattice.incident,
            ends,
            crossings,
            len(crossings),
            sdf,
            lattice.held,
            LEAST * lattice.cell,
            positions,
            packed(gradients[0]),
            dsdf,
            dpositions,
        )
        return dsdf, dpositions, None, None, None
