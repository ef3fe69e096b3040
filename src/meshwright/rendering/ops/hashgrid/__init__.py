"""Features of points in space from a multi-resolution hash grid, differentiably."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from meshwright.device import map_threads
from meshwright.errors import ShapeError
from meshwright.rendering.ops.checks import check_floats, fault
from meshwright.rendering.ops.hashgrid import kernel
from meshwright.rendering.ops.hashgrid.layout import HashGrid, levels_on
from meshwright.rendering.ops.launch import Argument, Band, Frame, Program, packed
from meshwright.rendering.ops.points import over_points
from meshwright.rendering.ops.scatter import is_deterministic, scatter

__all__ = ["HashGrid", "hash_encode"]

ENCODE = {features: Program(kernel.make_encode_kernel(features)) for features in (1, 2, 4)}
TABLE = {features: Program(kernel.make_table_kernel(features)) for features in (1, 2, 4)}
POINT = {features: Program(kernel.make_point_kernel(features)) for features in (1, 2, 4)}


def hash_encode(table: torch.Tensor, points: torch.Tensor, grid: HashGrid) -> torch.Tensor:
    """Blend the features around each point, at every level of a hash grid.

    Args:
        table: Features, float32 [entries, features], as `grid.new_table()` makes them.
        points: Float32 [P, 3], in the unit cube; what lies beyond gets the features of the border.
        grid: Which lattices there are.
    Returns:
        float32 [P, levels * features], the coarsest level first. On CUDA it is stored feature by feature (a transposed
        view), which is how neighbouring threads write it best and how a matrix product reads it as well.
    Raises:
        ShapeError: The tensors do not fit the grid, or are too large.

    Gradients reach `table` and `points`; the latter jump where a point passes from cell to cell.
    Source: Mueller et al. 2022, arXiv:2201.05989, section 3.
    """
    device = table.device
    check_floats("table", table, device, (2,), "[entries, features]")
    if tuple(table.shape) != (grid.entries, grid.features):
        raise fault("table", table, f"float32 {[grid.entries, grid.features]}, as the grid has it,")
    if (
        points.dtype is not torch.float32
        or points.device != device
        or points.ndim != 2
        or points.shape[1] != 3
        or points.shape[0] * grid.width >= 2**31
    ):
        raise fault("points", points, f"float32 [P, 3] on {device} with P below {2**31 // grid.width}")
    if grid.entries * grid.features >= 2**31:
        raise ShapeError("The grid has 2**31 numbers or more.", hint="Use fewer levels or a smaller log2_size.")
    result: torch.Tensor = _Encode.apply(table, points, grid)  # type: ignore[no-untyped-call]
    return result


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, points: torch.Tensor, grid: HashGrid) -> torch.Tensor:
        table, points = packed(table), packed(points)
        device, count = table.device, points.shape[0]
        if device.type == "cpu":
            out = torch.empty((count, grid.width), dtype=torch.float32)
        else:
            out = torch.empty((grid.width, count), dtype=torch.float32, device=device).t()
        levels = levels_on(grid, device)
        items = count * grid.levels
        over_points(ENCODE[grid.features], device, items, points, count, table, levels, *out.stride(), out)
        ctx.save_for_backward(table, points)
        ctx.grid, ctx.fixed_order = grid, is_deterministic()
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        table, points = ctx.saved_tensors
        grid: HashGrid = ctx.grid
        table_wanted, points_wanted = ctx.needs_input_grad[:2]
        if not (dout.is_contiguous() or dout.t().is_contiguous()):
            dout = dout.contiguous()
        device, count = table.device, points.shape[0]
        levels = levels_on(grid, device)
        gradient = (dout, dout.stride(0), dout.stride(1))
        dtable = dpoints = None
        if table_wanted:
            dtable = _to_table(points, levels, gradient, grid, ctx.fixed_order)
        if points_wanted:
            dpoints = torch.empty_like(points)
            inputs = (points, table, levels, grid.levels, *gradient)
            over_points(POINT[grid.features], device, count, *inputs, dpoints)
        return dtable, dpoints, None


def _to_table(
    points: torch.Tensor,
    levels: torch.Tensor,
    gradient: tuple[torch.Tensor, int, int],
    grid: HashGrid,
    fixed_order: bool,
) -> torch.Tensor:
    device, count = points.device, points.shape[0]
    program, length = TABLE[grid.features], grid.entries * grid.features
    if device.type == "cpu":
        # Each level has entries of its own: cores take whole levels, and need no copies of a table this large.
        total = torch.zeros(length, dtype=torch.float32)

        def work(level: int) -> None:
            program(device, count, level * count, points, count, levels, *gradient, (total, None, None, 0))

        map_threads(work, range(grid.levels))
        return total.view(grid.entries, grid.features)

    def run(sums: Callable[[Band | None], Argument]) -> None:
        program(device, count * grid.levels, 0, points, count, levels, *gradient, sums(None))

    frame = Frame(1, count, 1, device)
    return scatter(run, frame, length, shared=True, fixed_order=fixed_order).view(grid.entries, grid.features)
