"""Pictures of a coloured fog on a voxel grid, differentiably: for shapes whose surface is not known yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from meshwright.rendering.ops.checks import check_floats, fault
from meshwright.rendering.ops.fog import kernel
from meshwright.rendering.ops.launch import Argument, Band, Frame, Program, packed
from meshwright.rendering.ops.points import over_points
from meshwright.rendering.ops.scatter import is_deterministic, scatter

__all__ = ["clearance", "march_fog"]

MARCH = Program(kernel.march_kernel)
GRADIENT = Program(kernel.gradient_kernel)
CLEARANCE = Program(kernel.clearance_kernel)


def march_fog(
    grid: torch.Tensor,
    mask: torch.Tensor,
    origins: torch.Tensor,
    ways: torch.Tensor,
    jitter: torch.Tensor,
    wanted: torch.Tensor,
    *,
    step: float = 0.5,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Look through a fog along rays.

    Args:
        grid: Colour and raw extinction of the voxels, float32 [X, Y, Z, 4], two voxels or more along each axis. Both
            are blended between voxels; extinction per cell is then the softplus of what was blended.
        mask: Where there may be fog, uint8 [X, Y, Z]: looked up in the nearest voxel.
        origins, ways: Rays, float32 [R, 3] each, in cells from the centre of voxel (0, 0, 0); ways have length 1.
        jitter: Where the first sample of each ray lies, in steps, float32 [R].
        wanted: The colour that each ray should meet, float32 [R, 3].
        step: Between two samples, in cells.
    Returns:
        Colour times cover, and cover, float32 [R, 4]; and how far the colours met along each ray are from the wanted
        one, float32 [R]: the mean of their squared distances, by what each sample adds to the cover. A colour that is
        only right in the mix is far off.
    Raises:
        ShapeError: The tensors do not fit together.

    Gradients reach `grid`. Rays end where a thousandth is left of them.
    Source: Max, "Optical models for direct volume rendering", 1995; the second result after Sun, Sun and Chen, "Direct
    voxel grid optimization", CVPR 2022, arXiv:2111.11215.
    """
    device = grid.device
    _check_grid(grid, mask)
    check_floats("origins", origins, device, (2,), "[R, 3]")
    for name, rays, shape in (
        ("ways", ways, (len(origins), 3)),
        ("wanted", wanted, (len(origins), 3)),
        ("jitter", jitter, (len(origins),)),
    ):
        if rays.dtype is not torch.float32 or tuple(rays.shape) != shape or rays.device != device:
            raise fault(name, rays, f"float32 {list(shape)} on {device}, as there are {len(origins)} origins,")
    out: tuple[torch.Tensor, torch.Tensor] = _March.apply(grid, mask, origins, ways, jitter, wanted, step)  # type: ignore[no-untyped-call]
    return out


@torch.no_grad()
def clearance(
    grid: torch.Tensor,
    mask: torch.Tensor,
    voxels: torch.Tensor,
    stands: torch.Tensor,
    *,
    step: float = 0.5,
    least: float = 0.1,
) -> torch.Tensor:
    """How freely voxels are seen through the fog, by the three cameras that see them best.

    Args:
        grid, mask: As for `march_fog`.
        voxels: Which, int32 [P, 3].
        stands: Where cameras are, float32 [V, 3], in cells from the centre of voxel (0, 0, 0).
        step: Between two samples, in cells.
        least: Less than this is as good as nothing.
    Returns:
        float32 [P, 3], falling: 1 is a free way. Cameras are taken to see all of the grid.
    """
    _check_grid(grid, mask)
    device = grid.device
    check_floats("stands", stands, device, (2,), "[V, 3]")
    if voxels.dtype is not torch.int32 or voxels.ndim != 2 or voxels.shape[1] != 3 or voxels.device != device:
        raise fault("voxels", voxels, f"int32 [P, 3] on {device}")
    best = torch.empty((len(voxels), 3), dtype=torch.float32, device=device)
    inputs = (packed(voxels), packed(stands), len(stands), packed(grid), packed(mask), *grid.shape[:3], step, least)
    over_points(CLEARANCE, device, len(voxels), *inputs, best)
    return best


def _check_grid(grid: torch.Tensor, mask: torch.Tensor) -> None:
    check_floats("grid", grid, grid.device, (4,), "[X, Y, Z, 4]")
    if grid.shape[3] != 4 or min(grid.shape[:3]) < 2 or grid.numel() >= 2**31:
        raise fault(
            "grid", grid, "float32 [X, Y, Z, 4] with two voxels or more along each axis and below 2**31 numbers"
        )
    if mask.dtype is not torch.uint8 or mask.shape != grid.shape[:3] or mask.device != grid.device:
        raise fault("mask", mask, f"uint8 {list(grid.shape[:3])} on {grid.device}")


class _March(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        grid: torch.Tensor,
        mask: torch.Tensor,
        origins: torch.Tensor,
        ways: torch.Tensor,
        jitter: torch.Tensor,
        wanted: torch.Tensor,
        step: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rays = tuple(packed(tensor) for tensor in (origins, ways, jitter, wanted))
        grid, mask = packed(grid), packed(mask)
        count, device = len(origins), grid.device
        seen = torch.empty((count, 4), dtype=torch.float32, device=device)
        apart = torch.empty(count, dtype=torch.float32, device=device)
        over_points(MARCH, device, count, *rays, grid, mask, *grid.shape[:3], step, seen, apart)
        ctx.save_for_backward(*rays, grid, mask, seen, apart)
        ctx.step, ctx.fixed_order = step, is_deterministic()
        return seen, apart

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dseen: torch.Tensor, dapart: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *rays, grid, mask, seen, apart = ctx.saved_tensors
        count, device = len(seen), grid.device
        inputs = (*rays, grid, mask, *grid.shape[:3], ctx.step, seen, apart, packed(dseen), packed(dapart))

        def run(sums: Callable[[Band | None], Argument]) -> None:
            over_points(GRADIENT, device, count, *inputs, sums=sums)

        frame = Frame(1, count, 1, device)
        dgrid = scatter(run, frame, grid.numel(), shared=True, fixed_order=ctx.fixed_order)
        return dgrid.view(grid.shape), None, None, None, None, None, None
