"""Cube maps blurred by a lobe of sampled directions, differentiably."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from meshwright.rendering.light.convolve import kernel
from meshwright.rendering.light.lobes import Lobe, lobe_on
from meshwright.rendering.ops.checks import check_floats, fault
from meshwright.rendering.ops.cubemap.faces import CubeLevels, levels_on
from meshwright.rendering.ops.launch import Program, packed
from meshwright.rendering.ops.points import add_points, over_points
from meshwright.rendering.ops.scatter import is_deterministic

__all__ = ["convolve"]

CONVOLVE = Program(kernel.convolve_kernel)
GRADIENT = Program(kernel.gradient_kernel)


def convolve(values: torch.Tensor, levels: CubeLevels, lobe: Lobe, size: int) -> torch.Tensor:
    """For the centre of each texel of a smaller cube map: the mean of what the directions of a lobe about it see.

    Args:
        values: All levels of a cube map, each the average of the one before, float32 [T, 3]; see `stack_cube`.
        levels: How they are stored.
        lobe: Directions, weights, and the level in which each is looked up.
        size: Texels along an edge of the result.
    Returns:
        float32 [6, size, size, 3].
    Raises:
        ShapeError: `values` does not fit `levels`.

    Gradients reach `values`.
    """
    check_floats("values", values, values.device, (2,), f"[{levels.texels}, 3]")
    if tuple(values.shape) != (levels.texels, 3):
        raise fault("values", values, f"float32 {[levels.texels, 3]} for {levels}")
    result: torch.Tensor = _Convolve.apply(values, levels, lobe, size)  # type: ignore[no-untyped-call]
    return result


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, levels: CubeLevels, lobe: Lobe, size: int) -> torch.Tensor:
        values = packed(values)
        rays, weights = lobe_on(lobe, values.device)
        out = torch.empty((6, size, size, 3), dtype=torch.float32, device=values.device)
        numbers = (levels_on(levels, values.device), len(levels.sizes), rays, weights, lobe.samples, size)
        over_points(CONVOLVE, values.device, 6 * size * size, values, *numbers, out)
        ctx.numbers, ctx.length, ctx.fixed_order = numbers, values.numel(), is_deterministic()
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        texels = dout.numel() // 3
        inputs = (*ctx.numbers, packed(dout))
        total = add_points(GRADIENT, dout.device, texels, *inputs, length=ctx.length, fixed_order=ctx.fixed_order)
        return total.view(-1, 3), None, None, None
