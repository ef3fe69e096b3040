"""Which triangle is seen through each pixel centre, differentiably."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from meshwright.device import map_threads
from meshwright.errors import ShapeError
from meshwright.rendering.ops.checks import check_floats, check_triangles, fault
from meshwright.rendering.ops.launch import Argument, Band, Frame, Program, over_pixels, packed, plan
from meshwright.rendering.ops.rasterize import kernel
from meshwright.rendering.ops.scatter import is_deterministic, scatter

__all__ = ["rasterize", "rasterize_gradient"]

EMPTY = 2**63 - 1
"""Farther than any fragment."""

LARGE = 512
"""On a GPU, triangles with more pixels than this in their box are shared out among threads."""

LARGE_THREADS = 2**17
"""So many threads do that; enough to fill a large GPU once."""

DEPTH = Program(kernel.depth_kernel)
LARGE_DEPTH = Program(kernel.large_kernel)
RESOLVE = Program(kernel.resolve_kernel)
GRADIENT = Program(kernel.gradient_kernel)


def rasterize(
    pos: torch.Tensor, tri: torch.Tensor, resolution: tuple[int, int], *, derivatives: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest triangle through every pixel centre of every view.

    Both sides of a triangle are drawn, those without area are not. A pixel centre on an edge that two triangles share
    belongs to exactly one of them. What lies outside -w <= z <= w is cut off pixel by pixel. Of two triangles at the
    same depth the one with the lower index wins.

    Args:
        pos: Clip-space corners (x, y, z, w) as OpenGL has them, float32 [N, V, 4], or [V, 4] for one view.
        tri: Vertex indices, int32 [F, 3], the same for all views.
        resolution: Height and width in pixels.
        derivatives: Also give `rast_db`.
    Returns:
        rast: float32 [N, H, W, 4]: u, v, z/w, triangle + 1. u and v are the perspective-correct weights of the first
            two corners, the third has 1 - u - v. Rows run from the bottom of the picture to its top. All 0 where
            nothing is seen; triangle numbers are exact up to 2**24.
        rast_db: float32 [N, H, W, 4]: du/dX, du/dY, dv/dX, dv/dY, X and Y in pixels; [N, H, W, 0] without
            `derivatives`.
    Raises:
        ShapeError: The tensors do not fit together. Indices beyond V are not noticed.

    Gradients reach `pos` (x, y and w) through u, v and `rast_db`; z/w has none: interpolate z and w where depth is
    compared. Which triangle is seen is discrete: `antialias` gives silhouettes their gradients.
    Source: Laine et al. 2020, "Modular Primitives for High-Performance Differentiable Rendering", section 3.1 and 3.2.
    """
    check_floats("pos", pos, pos.device, (2, 3), "[N, V, 4] or [V, 4]")
    if pos.shape[-1] != 4:
        raise fault("pos", pos, "float32 [N, V, 4] or [V, 4]")
    check_triangles(tri, pos.device)
    if pos.ndim == 2:
        pos = pos[None]
    frame = Frame(pos.shape[0], int(resolution[0]), int(resolution[1]), pos.device)
    frame.check()
    if tri.shape[0] > 2**24 or tri.shape[0] * frame.views >= 2**31:
        raise ShapeError(
            f"{tri.shape[0]} triangles in {frame.views} views are too many.",
            hint="Triangle numbers are stored as float32, which counts to 2**24 = 16777216; split the mesh.",
        )
    if not (pos.requires_grad and torch.is_grad_enabled()):
        return _draw(packed(pos), packed(tri), frame, derivatives)
    rast, rast_db = _Rasterize.apply(pos, tri, frame, derivatives)  # type: ignore[no-untyped-call]
    return rast, rast_db


def rasterize_gradient(
    pos: torch.Tensor,
    tri: torch.Tensor,
    rast: torch.Tensor,
    drast: torch.Tensor | None,
    drast_db: torch.Tensor | None,
    *,
    fixed_order: bool = False,
) -> torch.Tensor:
    """The gradient of `pos` [N, V, 4] from those of `rast` and `rast_db`; `rast` only says which triangle is seen."""
    frame = Frame.of(rast)
    pos, tri, rast = packed(pos), packed(tri), packed(rast)
    drast = None if drast is None else packed(drast)
    drast_db = None if drast_db is None else packed(drast_db)

    def run(sums: Callable[[Band | None], Argument]) -> None:
        over_pixels(GRADIENT, frame, pos, tri, rast, drast, drast_db, pos.shape[1], sums=sums)

    return scatter(run, frame, pos.numel(), shared=False, fixed_order=fixed_order).view(pos.shape)


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, pos: torch.Tensor, tri: torch.Tensor, frame: Frame, derivatives: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        pos, tri = packed(pos), packed(tri)
        rast, rast_db = _draw(pos, tri, frame, derivatives)
        ctx.save_for_backward(pos, tri, rast)
        ctx.fixed_order = is_deterministic()
        ctx.set_materialize_grads(False)
        return rast, rast_db

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, None, None, None]:
        drast, drast_db = grads
        if drast_db is not None and drast_db.shape[3] == 0:
            drast_db = None
        if not ctx.needs_input_grad[0] or (drast is None and drast_db is None):
            return None, None, None, None
        pos, tri, rast = ctx.saved_tensors
        return rasterize_gradient(pos, tri, rast, drast, drast_db, fixed_order=ctx.fixed_order), None, None, None


def _draw(pos: torch.Tensor, tri: torch.Tensor, frame: Frame, derivatives: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """`rasterize` of packed tensors, without gradients."""
    nearest = _nearest(pos, tri, frame)
    size = (frame.views, frame.height, frame.width)
    rast = torch.empty((*size, 4), dtype=torch.float32, device=frame.device)
    rast_db = torch.empty((*size, 4 if derivatives else 0), dtype=torch.float32, device=frame.device)
    over_pixels(RESOLVE, frame, pos, tri, nearest, pos.shape[1], int(derivatives), rast, rast_db)
    return rast, rast_db


def _sharing(pixels: int) -> tuple[int, int]:
    """How many threads of a GPU share a triangle's columns and rows, as powers of two, from its pixels on average."""
    shift = min(max((2 * pixels).bit_length() - 3, 0), 5)
    return (shift + 1) // 2, shift // 2


def _nearest(pos: torch.Tensor, tri: torch.Tensor, frame: Frame) -> torch.Tensor:
    """The winning bid for each pixel, int64 [N H W + 1]."""
    device, pixels = frame.device, frame.pixels
    vertices, faces = pos.shape[1], tri.shape[0]
    nearest = torch.full((pixels + 1,), EMPTY, dtype=torch.int64, device=device)
    size = (vertices, faces, frame.height, frame.width)
    if faces == 0:
        return nearest
    if device.type == "cpu":

        def work(bands: tuple[Band, ...]) -> None:
            for band in bands:
                rows = (band.top, band.bottom)
                DEPTH(device, faces, pos, tri, band.view, faces, *size, *rows, 0, 0, 2**31 - 1, 0, nearest, None)

        map_threads(work, plan(frame))
    else:
        put_off = torch.empty(frame.views * faces, dtype=torch.int32, device=device)
        wide, high = _sharing(frame.height * frame.width // faces)
        triangles = frame.views * faces
        threads = -(-triangles // 32) * 32  # whole warps, whose threads work together
        numbers = (triangles, *size, 0, frame.height, wide, high, LARGE, pixels)
        DEPTH(device, threads, pos, tri, 0, *numbers, nearest, put_off)
        LARGE_DEPTH(device, LARGE_THREADS, pos, tri, *size, LARGE_THREADS, pixels, put_off, nearest)
    return nearest
