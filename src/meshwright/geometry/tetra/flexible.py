"""FlexiCubes: dual vertices that may move within their cubes, for sharp features and even triangles.

Each cube has weights of its own beside the values at its corners: eight (alpha) scale the values before a crossing is
interpolated, twelve (beta) weigh the crossings in the mean that a dual vertex is, one (gamma) tells how quads are cut.
Dual vertices of the four cubes around a crossed edge make a quad. While a mesh is fitted a quad is cut into four
triangles around a middle that the gammas weigh, for a finished mesh along one diagonal.
Source: Shen et al., "Flexible Isosurface Extraction for Gradient-Based Mesh Optimization", SIGGRAPH 2023,
arXiv:2308.05371, sections 4.1 to 4.3. Alpha and beta stay between 0.01 and 1.99 here (the paper: 0 and 2), so that no
crossing divides by 0.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from meshwright.errors import ShapeError
from meshwright.geometry.tetra.cubes import CubeLattice
from meshwright.geometry.tetra.domain import LEAST
from meshwright.geometry.tetra.dual_kernels import (
    case_kernel,
    code_kernel,
    dual_gather_kernel,
    dual_gradient_kernel,
    dual_kernel,
    list_quads_kernel,
    quad_kernel,
)
from meshwright.geometry.tetra.kernels import side_kernel
from meshwright.geometry.tetra.marching import check_values
from meshwright.geometry.tetra.patches import EDGE_AROUND, EDGES, patch_tables
from meshwright.geometry.tetra.surface import Capacity, Surface
from meshwright.programs import Program, over_items, packed

__all__ = ["WEIGHTS", "march_cubes_dual"]

WEIGHTS = 21
"""Numbers of a cube: 8 alpha, 12 beta, 1 gamma; any real numbers, 0 for plain dual marching cubes."""

SIDE = Program(side_kernel)
CODE = Program(code_kernel)
CASE = Program(case_kernel)
QUAD = Program(quad_kernel)
LIST_QUADS = Program(list_quads_kernel)
DUAL = Program(dual_kernel)
DUAL_GRADIENT = Program(dual_gradient_kernel)
DUAL_GATHER = Program(dual_gather_kernel)


@lru_cache(maxsize=16)
def _tables(device: torch.device) -> dict[str, torch.Tensor]:
    tables = patch_tables()
    return {
        "patch": torch.from_numpy(tables.patch).to(device),
        "count": torch.from_numpy(tables.count).to(device),
        "twisted": torch.from_numpy(tables.twisted).to(device),
        "corners": torch.tensor(EDGES, dtype=torch.int32, device=device),
        "names": torch.tensor(EDGE_AROUND, dtype=torch.int32, device=device),
    }


def march_cubes_dual(
    lattice: CubeLattice,
    sdf: torch.Tensor,
    positions: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
    *,
    middles: bool = True,
    capacity: Capacity | None = None,
) -> Surface:
    """The zero level of values on a grid of cubes.

    Args:
        lattice: See `cube_lattice`.
        sdf: Signed distance of its corners, positive inside, float32 [V].
        positions: Where its corners are, float32 [V, 3]; `lattice.rest` if left out.
        weights: float32 [C, 21], see `WEIGHTS`; zeros if left out.
        middles: Cut each quad into four triangles around a middle, as for fitting; else into two, along the diagonal
            whose ends have the larger product of gammas.
        capacity: As for `march_tetrahedra`. Faces beyond it are left out by whole quads.
    Returns:
        The surface: closed if `lattice` holds its border, each dual vertex once, then the middles. Its `spread` is the
        mean absolute deviation of the distances from a dual vertex to its crossings; its mean is the paper's L_dev.
    Raises:
        ShapeError: Tensors do not fit the lattice.
    Gradients reach `sdf`, `positions` and `weights`. There are no second derivatives.
    """
    positions = lattice.rest if positions is None else positions
    device = lattice.rest.device
    check_values(len(lattice.rest), device, sdf, positions)
    cubes, edges = len(lattice.cubes), len(lattice.edges)
    if weights is not None and (
        weights.dtype is not torch.float32 or weights.device != device or weights.shape != (cubes, WEIGHTS)
    ):
        raise ShapeError(
            f"weights is {weights.dtype} {list(weights.shape)} on {weights.device}, "
            f"expected float32 [{cubes}, {WEIGHTS}] on {device}.",
            hint="Give 21 numbers for each cube; carry them over when the lattice changes.",
        )
    sdf, positions = packed(sdf), packed(positions)
    weights = None if weights is None else packed(weights)
    tables = _tables(device)
    inside = torch.empty(len(sdf), dtype=torch.uint8, device=device)
    over_items(SIDE, device, len(sdf), sdf.detach(), lattice.held, inside)
    codes, cases, patches = torch.empty((3, cubes), dtype=torch.int32, device=device)
    over_items(CODE, device, cubes, inside, lattice.cubes, codes)
    over_items(CASE, device, cubes, codes, lattice.beyond, tables["twisted"], tables["count"], cases, patches)
    crossed = torch.empty(edges, dtype=torch.int32, device=device)
    over_items(QUAD, device, edges, inside, lattice.edges, lattice.around, crossed)
    patch_ends = patches.cumsum(0, dtype=torch.int32)
    quad_ends = crossed.cumsum(0, dtype=torch.int32)
    pieces = 4 if middles else 2
    found = torch.stack([patch_ends[-1], quad_ends[-1]])
    if capacity is None:
        duals, quads_room = found.tolist()
    else:
        quads_room = capacity.faces // pieces
        duals = capacity.vertices - (quads_room if middles else 0)
        if duals < 1:
            raise ShapeError(
                f"A capacity of {capacity.vertices} vertices and {capacity.faces} faces has no room for dual vertices.",
                hint="Every quad has a middle and four faces: give half as many vertices as faces, or more.",
            )
    crossings = torch.zeros((quads_room, 2), dtype=torch.int32, device=device)
    quads, quad_cubes = torch.zeros((2, quads_room, 4), dtype=torch.int32, device=device)
    over_items(
        LIST_QUADS,
        device,
        edges,
        quad_ends,
        patch_ends,
        quads_room,
        duals,
        inside,
        lattice.edges,
        lattice.axes,
        lattice.around,
        cases,
        tables["patch"],
        tables["names"],
        crossings,
        quads,
        quad_cubes,
    )
    vertices, spread = _Dual.apply(sdf, positions, weights, lattice, cases, patch_ends, duals)  # type: ignore[no-untyped-call]
    gamma = None if weights is None else torch.sigmoid(weights[:, -1][quad_cubes])
    if middles:
        middle = _middles(vertices[quads], gamma)
        vertices = torch.cat([vertices, middle])
        top = torch.arange(quads_room, dtype=torch.int32, device=device) + duals
        a, b, c, d = quads.unbind(1)
        faces = torch.stack([a, b, top, b, c, top, c, d, top, d, a, top], 1).view(-1, 3)
    else:
        faces = _halves(quads, gamma)
    tops = found[1] * int(middles)
    if capacity is not None and middles:
        # Dual vertices that find no room make the surface too large, whatever room there is for middles.
        tops = torch.where(found[0] > duals, tops.clamp(min=quads_room), tops)
    counts = torch.stack([found[0] + tops, found[1] * pieces])
    if capacity is not None:
        # Middles move up to behind the last dual vertex, and quads that are none become faces without area.
        vertices, faces = _closed_up(vertices, faces, found, duals, pieces)
    return Surface(vertices=vertices, faces=faces, counts=counts.int(), crossings=crossings, spread=spread)


def _middles(corners: torch.Tensor, gamma: torch.Tensor | None) -> torch.Tensor:
    """From quads [Q, 4, 3] and their gammas [Q, 4] to points between the middles of both diagonals, [Q, 3]."""
    first, second = (corners[:, 0] + corners[:, 2]) / 2, (corners[:, 1] + corners[:, 3]) / 2
    if gamma is None:
        return (first + second) / 2
    one, two = (gamma[:, 0] * gamma[:, 2])[:, None], (gamma[:, 1] * gamma[:, 3])[:, None]
    return (first * one + second * two) / (one + two)


def _halves(quads: torch.Tensor, gamma: torch.Tensor | None) -> torch.Tensor:
    """Two triangles for each quad, int32 [2 Q, 3]."""
    a, b, c, d = quads.unbind(1)
    first = torch.stack([a, b, c, a, c, d], 1)
    if gamma is not None:
        second = torch.stack([a, b, d, b, c, d], 1)
        cut = gamma[:, 0] * gamma[:, 2] >= gamma[:, 1] * gamma[:, 3]
        first = torch.where(cut[:, None], first, second)
    return first.view(-1, 3)


def _closed_up(
    vertices: torch.Tensor, faces: torch.Tensor, found: torch.Tensor, duals: int, pieces: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """With a capacity: what is empty goes to the end, without waiting for the device."""
    place = torch.arange(len(vertices), device=vertices.device)
    kept = found[0].clamp(max=duals)
    if len(vertices) > duals:
        moved = torch.where(place < kept, place, place + (duals - kept))
        there = moved < duals + found[1].clamp(max=len(vertices) - duals)
        there &= moved < len(vertices)
        vertices = vertices[moved.clamp(max=len(vertices) - 1)] * there[:, None]
        faces = torch.where(faces >= duals, faces - (duals - kept).int(), faces)
    # An edge has two ends, so a quad that was not listed has equal ones: its faces all name vertex 0.
    number = torch.arange(len(faces), device=faces.device) // pieces
    corners = faces.view(-1, pieces * 3)
    empty = (corners[:, :2] == 0).all(1)[number] | (number >= found[1])
    return vertices, torch.where(empty[:, None], 0, faces)


class _Dual(torch.autograd.Function):
    """Dual vertices and the unevenness of their distances to their crossings."""

    @staticmethod
    def forward(
        ctx: Any,
        sdf: torch.Tensor,
        positions: torch.Tensor,
        weights: torch.Tensor | None,
        lattice: CubeLattice,
        cases: torch.Tensor,
        patch_ends: torch.Tensor,
        room: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        vertices = sdf.new_zeros((room, 3))
        spread = sdf.new_zeros(room)
        arguments = _Dual.arguments(sdf, positions, weights, lattice, cases, patch_ends, room)
        over_items(DUAL, sdf.device, len(cases), *arguments, vertices, spread)
        ctx.save_for_backward(sdf, positions, weights, cases, patch_ends)
        ctx.lattice, ctx.room = lattice, room
        return vertices, spread

    @staticmethod
    def arguments(
        sdf: torch.Tensor,
        positions: torch.Tensor,
        weights: torch.Tensor | None,
        lattice: CubeLattice,
        cases: torch.Tensor,
        patch_ends: torch.Tensor,
        room: int,
    ) -> tuple[Any, ...]:
        """What both kernels read."""
        tables = _tables(sdf.device)
        fixed = (patch_ends, room, cases, tables["patch"], tables["corners"], lattice.cubes)
        return (*fixed, sdf, lattice.held, LEAST * lattice.cell, positions, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        sdf, positions, weights, cases, patch_ends = ctx.saved_tensors
        lattice: CubeLattice = ctx.lattice
        arguments = _Dual.arguments(sdf, positions, weights, lattice, cases, patch_ends, ctx.room)
        shares = sdf.new_empty((ctx.room, 8, 4))
        dweights = None if weights is None else torch.zeros_like(weights)
        given = [packed(gradient) for gradient in gradients]
        over_items(DUAL_GRADIENT, sdf.device, len(cases), *arguments, *given, shares, dweights)
        dsdf, dpositions = torch.empty_like(sdf), torch.empty_like(positions)
        over_items(
            DUAL_GATHER,
            sdf.device,
            len(sdf),
            lattice.corner_of,
            patch_ends,
            ctx.room,
            shares,
            sdf,
            lattice.held,
            LEAST * lattice.cell,
            dsdf,
            dpositions,
        )
        return dsdf, dpositions, dweights, None, None, None, None
