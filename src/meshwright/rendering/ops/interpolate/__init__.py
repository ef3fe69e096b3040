"""Vertex attributes blended into pictures, differentiably."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from meshwright.errors import OptionError, ShapeError
from meshwright.rendering.ops.checks import check_floats, check_rast, check_triangles, fault
from meshwright.rendering.ops.interpolate import kernel
from meshwright.rendering.ops.launch import Argument, Band, Frame, over_pixels, packed, unrolled
from meshwright.rendering.ops.scatter import is_deterministic, scatter

__all__ = ["interpolate"]

BLEND = unrolled(kernel.make_blend_kernel)
GRADIENT = unrolled(kernel.make_gradient_kernel)


def interpolate(
    attr: torch.Tensor,
    rast: torch.Tensor,
    tri: torch.Tensor,
    rast_db: torch.Tensor | None = None,
    diff_attrs: str | Sequence[int] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend vertex attributes into pictures.

    Args:
        attr: Per-vertex values, any unit: float32 [V, C] or [1, V, C] for all views, or [N, V, C].
        rast: From `rasterize`, float32 [N, H, W, 4].
        tri: Vertex indices, int32 [F, 3]; those of `rasterize`, or others for attributes with seams of their own.
        rast_db: From `rasterize`, float32 [N, H, W, 4]; only needed for derivatives.
        diff_attrs: Attributes whose derivatives across the screen are wanted: "all", or their numbers.
    Returns:
        out: float32 [N, H, W, C]; 0 where nothing is seen.
        out_da: Their derivatives, float32 [N, H, W, 2A]: d/dX, d/dY of each attribute of `diff_attrs` in turn, X and Y
            in pixels; [N, H, W, 0] without `diff_attrs`.
    Raises:
        ShapeError: The tensors do not fit together. Indices beyond V are not noticed.
        OptionError: `diff_attrs` names attributes that do not exist, or `rast_db` is missing.

    Gradients reach `attr`, `rast` (u and v) and `rast_db`.
    Source: Laine et al. 2020, section 3.3.
    """
    device = attr.device
    check_rast("rast", rast, device)
    check_triangles(tri, device)
    check_floats("attr", attr, device, (2, 3), "[V, C], [1, V, C] or [N, V, C]")
    views = rast.shape[0]
    if attr.ndim == 3 and attr.shape[0] not in (1, views):
        raise fault("attr", attr, f"float32 [V, C], [1, V, C] or [{views}, V, C], as rast has {views} views,")
    chosen = _chosen(diff_attrs, attr.shape[-1])
    if chosen:
        if rast_db is None:
            raise OptionError(
                "diff_attrs was given without rast_db.", hint="Pass the second result of rasterize as rast_db."
            )
        check_rast("rast_db", rast_db, device)
        if rast_db.shape != rast.shape:
            raise fault("rast_db", rast_db, f"float32 {list(rast.shape)} as rast")
    frame = Frame.of(rast)
    if frame.pixels * max(attr.shape[-1], 2 * len(chosen)) >= 2**31:
        raise ShapeError(
            "The interpolated pictures would have 2**31 numbers or more.", hint="Render fewer views at once."
        )
    arguments = (attr, rast, tri, rast_db if chosen else None, frame, chosen)
    out, out_da = _Interpolate.apply(*arguments)  # type: ignore[no-untyped-call]
    return out, out_da


def _chosen(diff_attrs: str | Sequence[int] | None, channels: int) -> tuple[int, ...]:
    if diff_attrs is None:
        return ()
    if diff_attrs == "all":
        return tuple(range(channels))
    numbers = () if isinstance(diff_attrs, str) else tuple(int(number) for number in diff_attrs)
    if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < 0 or max(numbers) >= channels:
        raise OptionError(
            f"diff_attrs={diff_attrs!r} is not a choice of {channels} attributes.",
            hint=f'Use "all" or different numbers from 0 to {channels - 1}.',
        )
    return numbers


@lru_cache(maxsize=64)
def _tables(chosen: tuple[int, ...], channels: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The choice, and where in it each attribute comes (or -1), both int32."""
    place = [chosen.index(c) if c in chosen else -1 for c in range(channels)]
    return (
        torch.tensor(chosen, dtype=torch.int32, device=device),
        torch.tensor(place, dtype=torch.int32, device=device),
    )


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        attr: torch.Tensor,
        rast: torch.Tensor,
        tri: torch.Tensor,
        rast_db: torch.Tensor | None,
        frame: Frame,
        chosen: tuple[int, ...],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        attr, rast, tri = packed(attr), packed(rast), packed(tri)
        rast_db = None if rast_db is None else packed(rast_db)
        channels = attr.shape[-1]
        stride = attr.shape[1] if attr.ndim == 3 and attr.shape[0] > 1 else 0
        numbers = (channels, len(chosen), stride)
        table = _tables(chosen, channels, frame.device)[0] if chosen else None
        size = (frame.views, frame.height, frame.width)
        out = torch.empty((*size, channels), dtype=torch.float32, device=frame.device)
        out_da = torch.empty((*size, 2 * len(chosen)), dtype=torch.float32, device=frame.device)
        over_pixels(BLEND(channels), frame, attr, tri, rast, rast_db, table, *numbers, out, out_da)
        ctx.save_for_backward(attr, rast, tri, rast_db)
        ctx.frame, ctx.chosen, ctx.numbers, ctx.fixed_order = frame, chosen, numbers, is_deterministic()
        ctx.set_materialize_grads(False)
        return out, out_da

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        dout, dout_da = (None if grad is None or grad.shape[3] == 0 else packed(grad) for grad in grads)
        if dout is None and dout_da is None:
            return None, None, None, None, None, None
        attr, rast, tri, rast_db = ctx.saved_tensors
        attr_wanted, rast_wanted, _, db_wanted = ctx.needs_input_grad[:4]
        drast = torch.empty_like(rast) if rast_wanted else None
        drast_db = torch.empty_like(rast_db) if db_wanted and dout_da is not None else None
        place = _tables(ctx.chosen, attr.shape[-1], attr.device)[1] if ctx.chosen else None
        inputs = (attr, tri, rast, rast_db, place, dout, dout_da, *ctx.numbers, int(attr_wanted), drast, drast_db)

        def run(sums: Callable[[Band | None], Argument]) -> None:
            over_pixels(GRADIENT(attr.shape[-1]), ctx.frame, *inputs, sums=sums)

        dattr = None
        if attr_wanted:
            shared = attr.ndim == 2 or attr.shape[0] == 1
            dattr = scatter(run, ctx.frame, attr.numel(), shared=shared, fixed_order=ctx.fixed_order).view(attr.shape)
        else:
            run(lambda _: (None, None, None, 0))
        return dattr, drast, None, drast_db, None, None
