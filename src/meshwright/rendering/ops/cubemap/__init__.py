"""Cube map look-ups, differentiably."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from meshwright.errors import ShapeError
from meshwright.rendering.ops.checks import check_floats, fault
from meshwright.rendering.ops.cubemap import kernel
from meshwright.rendering.ops.cubemap.faces import CubeLevels, face_directions, levels_on
from meshwright.rendering.ops.launch import Program, packed
from meshwright.rendering.ops.points import add_points, over_points
from meshwright.rendering.ops.scatter import is_deterministic

__all__ = ["CubeLevels", "cube_texture", "face_directions", "stack_cube"]

SAMPLE = Program(kernel.sample_kernel)
GRADIENT = Program(kernel.gradient_kernel)


def stack_cube(levels: Sequence[torch.Tensor]) -> torch.Tensor:
    """Cube maps [6, R, R, 3], each of its own size, as the one array [T, 3] that `cube_texture` reads; differentiable.

    Raises:
        ShapeError: One of them is no cube map.
    """
    for level in levels:
        if level.ndim != 4 or level.shape != (6, level.shape[1], level.shape[1], 3):
            raise fault("level", level, "float32 [6, R, R, 3]")
    return torch.cat([level.reshape(-1, 3) for level in levels])


def cube_texture(
    values: torch.Tensor, levels: CubeLevels, direction: torch.Tensor, level: torch.Tensor | None = None
) -> torch.Tensor:
    """Look up cube maps, smoothly over their edges and between levels.

    Args:
        values: All levels, any unit, float32 [T, 3]; see `stack_cube`.
        levels: How they are stored.
        direction: Where to look, float32 [..., 3], of any length but 0.
        level: Between which levels, float32 [...]; beyond them the first or last is taken. Without it the first is.
    Returns:
        float32 [..., 3].
    Raises:
        ShapeError: The tensors do not fit together.

    Gradients reach `values`, `direction` (none along itself: length does not matter) and `level`.
    """
    device = values.device
    check_floats("values", values, device, (2,), f"[{levels.texels}, 3]")
    if tuple(values.shape) != (levels.texels, 3):
        raise fault("values", values, f"float32 {[levels.texels, 3]} for {levels}")
    if direction.dtype is not torch.float32 or direction.device != device or direction.shape[-1:] != (3,):
        raise fault("direction", direction, f"float32 [..., 3] on {device}")
    if direction.numel() >= 2**31:
        raise ShapeError("There are 2**31 / 3 directions or more.", hint="Look up fewer at once.")
    if level is not None and (
        level.dtype is not torch.float32 or level.device != device or level.shape != direction.shape[:-1]
    ):
        raise fault("level", level, f"float32 {list(direction.shape[:-1])} on {device}")
    result: torch.Tensor = _Sample.apply(values, direction, level, levels)  # type: ignore[no-untyped-call]
    return result


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, direction: torch.Tensor, level: torch.Tensor | None, levels: CubeLevels
    ) -> torch.Tensor:
        values, direction = packed(values), packed(direction)
        level = None if level is None else packed(level)
        points = direction.numel() // 3
        out = torch.empty_like(direction)
        stored = (levels_on(levels, values.device), len(levels.sizes))
        over_points(SAMPLE, values.device, points, values, *stored, direction, level, out)
        ctx.save_for_backward(values, direction, level)
        ctx.stored, ctx.fixed_order = stored, is_deterministic()
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        values, direction, level = ctx.saved_tensors
        values_wanted, direction_wanted, level_wanted = ctx.needs_input_grad[:3]
        ddirection = torch.empty_like(direction) if direction_wanted else None
        dlevel = torch.empty_like(level) if level_wanted else None
        points = direction.numel() // 3
        inputs = (values, *ctx.stored, direction, level, packed(dout), int(values_wanted), ddirection, dlevel)
        dvalues = None
        if values_wanted:
            total = add_points(
                GRADIENT, values.device, points, *inputs, length=values.numel(), fixed_order=ctx.fixed_order
            )
            dvalues = total.view(values.shape)
        else:
            nowhere = (None, None, None, 0)
            over_points(GRADIENT, values.device, points, *inputs, sums=lambda _: nowhere)
        return dvalues, ddirection, dlevel, None
