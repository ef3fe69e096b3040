"""Kernels over points in no particular order, and sums that those points add to."""

from __future__ import annotations

from collections.abc import Callable

import torch

from meshwright.device import map_threads
from meshwright.rendering.ops.launch import Argument, Band, Frame, Program, plan
from meshwright.rendering.ops.scatter import scatter

__all__ = ["add_points", "over_points"]


def over_points(
    program: Program,
    device: torch.device,
    points: int,
    *arguments: Argument,
    sums: Callable[[Band | None], Argument] | None = None,
) -> None:
    """Runs a kernel whose first parameter is its first point, one thread a point; on a CPU on all cores.

    Args:
        program: The kernel.
        device: Where the tensors are.
        points: How many.
        arguments: Its parameters from the second on.
        sums: Gives the last parameter, as for `over_pixels`.
    """
    if device.type != "cpu":
        program(device, points, 0, *arguments, *(() if sums is None else (sums(None),)))
        return

    def work(bands: tuple[Band, ...]) -> None:
        for band in bands:
            last = () if sums is None else (sums(band),)
            program(device, band.last - band.first, band.first, *arguments, *last)

    map_threads(work, plan(_frame(points, device)))


def add_points(
    program: Program, device: torch.device, points: int, *arguments: Argument, length: int, fixed_order: bool
) -> torch.Tensor:
    """What a kernel over points adds up in its last parameter, a `Sum`: float32 [length]."""

    def run(sums: Callable[[Band | None], Argument]) -> None:
        over_points(program, device, points, *arguments, sums=sums)

    return scatter(run, _frame(points, device), length, shared=True, fixed_order=fixed_order)


def _frame(points: int, device: torch.device) -> Frame:
    """Points as a picture one pixel wide, which workers share row by row."""
    return Frame(1, points, 1, device)
