"""Silhouettes with soft edges, and with gradients, differentiably."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from meshwright.device import map_threads
from meshwright.rendering.ops.antialias import kernel
from meshwright.rendering.ops.antialias.topology import build_neighbours, build_topology
from meshwright.rendering.ops.checks import check_floats, check_rast, check_triangles, fault
from meshwright.rendering.ops.launch import Argument, Band, Frame, Program, over_items, over_pixels, packed, plan
from meshwright.rendering.ops.scatter import is_deterministic, scatter

__all__ = ["antialias", "build_neighbours", "build_topology"]

SILHOUETTE = Program(kernel.silhouette_kernel)
FIND = Program(kernel.find_kernel)
BLEND = Program(kernel.blend_kernel)
GRADIENT = Program(kernel.gradient_kernel)

THREADS = 2**16
"""On a GPU, so many threads go through the listed pixels: how many those are, only the GPU knows."""


def antialias(
    color: torch.Tensor,
    rast: torch.Tensor,
    pos: torch.Tensor,
    tri: torch.Tensor,
    topology: torch.Tensor | None = None,
    *,
    reach: int = 0,
    neighbours: torch.Tensor | None = None,
) -> torch.Tensor:
    """Blend pixels along silhouettes, by how much of each the nearer surface covers.

    This is what gives outlines a gradient: rasterising decides for every pixel which triangle it sees, and only how
    neighbours are blended depends on where an edge runs between them. Edges inside a surface, where it neither ends nor
    folds back, and lines where two surfaces cut through each other are left alone.

    Args:
        color: Pictures, float32 [N, H, W, C].
        rast: From `rasterize`, float32 [N, H, W, 4].
        pos: What was rasterised, float32 [N, V, 4] or [V, 4].
        tri: int32 [F, 3].
        topology: From `build_topology(tri)`; without it, it is made anew in every call.
        reach: How many triangles a line towards the background may be followed through, from the one that the pixel
            sees, until it meets a silhouette. 0 looks at the seen triangle only, as the paper does.
        neighbours: From `build_neighbours(tri)`, for a `reach` above 0; without it, it is made anew in every call.
    Returns:
        float32 [N, H, W, C].
    Raises:
        ShapeError: The tensors do not fit together.

    Gradients reach `color` and `pos` (x, y and w). With a `reach` of 0 a silhouette of a triangle next to the one that
    a pixel sees is missed. A smooth surface is seen ever more edge-on towards its outline, so finely cut ones have next
    to none (docs/tetrahedra.md has figures): give those a `reach` of 16 or so. Corners at or behind the camera are
    projected as if before it; triangles with one are mostly left alone.
    Source: Laine et al. 2020, section 3.5.
    """
    device = color.device
    check_floats("color", color, device, (4,), "[N, H, W, C]")
    check_rast("rast", rast, device)
    if rast.shape[:3] != color.shape[:3]:
        raise fault("rast", rast, f"float32 {[*color.shape[:3], 4]}, as color is {list(color.shape)},")
    check_floats("pos", pos, device, (2, 3), "[N, V, 4] or [V, 4]")
    if pos.ndim == 2:
        pos = pos[None]
    if pos.shape[0] != color.shape[0] or pos.shape[2] != 4:
        raise fault("pos", pos, f"float32 [{color.shape[0]}, V, 4], as color has {color.shape[0]} views,")
    check_triangles(tri, device)
    if topology is None:
        topology = build_topology(tri)
    elif topology.shape != tri.shape or topology.dtype is not torch.int32 or topology.device != device:
        raise fault("topology", topology, f"int32 {list(tri.shape)} on {device}, from build_topology(tri)")
    if reach > 0 and neighbours is None:
        neighbours = build_neighbours(tri)
    elif neighbours is not None and (neighbours.shape != tri.shape or neighbours.dtype is not torch.int32):
        raise fault("neighbours", neighbours, f"int32 {list(tri.shape)}, from build_neighbours(tri)")
    arguments = (color, rast, pos, tri, topology, neighbours if reach > 0 else None, reach, Frame.of(color))
    out: torch.Tensor = _Antialias.apply(*arguments)  # type: ignore[no-untyped-call]
    return out


def _over_listed(
    program: Program, frame: Frame, *arguments: Argument, sums: Callable[[Band | None], Argument] | None = None
) -> None:
    """Runs a kernel over the pixels listed by FIND; see `over_pixels`."""
    size = (frame.height, frame.width)
    if frame.device.type != "cpu":
        last = () if sums is None else (sums(None),)
        program(frame.device, THREADS, 0, THREADS, *size, *arguments, *last)
        return

    def work(bands: tuple[Band, ...]) -> None:
        for band in bands:
            last = () if sums is None else (sums(band),)
            program(frame.device, 1, band.first, 1, *size, *arguments, *last)

    map_threads(work, plan(frame))


class _Antialias(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        color: torch.Tensor,
        rast: torch.Tensor,
        pos: torch.Tensor,
        tri: torch.Tensor,
        topology: torch.Tensor,
        neighbours: torch.Tensor | None,
        reach: int,
        frame: Frame,
    ) -> torch.Tensor:
        color, rast, pos = packed(color), packed(rast), packed(pos)
        tri, topology = packed(tri), packed(topology)
        neighbours = None if neighbours is None else packed(neighbours)
        vertices, faces = pos.shape[1], tri.shape[0]
        edges = torch.empty(frame.views * faces, dtype=torch.uint8, device=frame.device)
        over_items(SILHOUETTE, frame.device, len(edges), pos, tri, topology, vertices, faces, edges)
        listed = torch.empty(frame.pixels, dtype=torch.int32, device=frame.device)
        counts = torch.zeros(frame.views * frame.height, dtype=torch.int32, device=frame.device)
        over_pixels(FIND, frame, rast, edges, faces, reach, listed, counts)
        before, after = (listed, counts, color, rast, pos, tri, neighbours), edges
        numbers = (color.shape[3], vertices, faces)
        out = color.clone()
        _over_listed(BLEND, frame, *before, reach, after, *numbers, out)
        ctx.save_for_backward(*before, after)
        ctx.reach, ctx.frame, ctx.numbers, ctx.fixed_order = reach, frame, numbers, is_deterministic()
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *before, edges = ctx.saved_tensors
        pos = before[4]
        color_wanted, _, pos_wanted = ctx.needs_input_grad[:3]
        dout = packed(dout)
        dcolor = dout.clone() if color_wanted else None

        taken_from = [dcolor]

        def run(sums: Callable[[Band | None], Argument]) -> None:
            # The deterministic mode runs this twice, and what was taken once must not be taken again.
            target = taken_from.pop() if taken_from else None
            inputs = (*before, ctx.reach, edges, dout)
            _over_listed(GRADIENT, ctx.frame, *inputs, *ctx.numbers, int(pos_wanted), target, sums=sums)

        dpos = None
        if pos_wanted:
            total = scatter(run, ctx.frame, pos.numel(), shared=False, fixed_order=ctx.fixed_order)
            dpos = total.view(pos.shape)
        else:
            run(lambda _: (None, None, None, 0))
        return dcolor, None, dpos, None, None, None, None, None
