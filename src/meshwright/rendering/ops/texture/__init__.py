"""Texture look-ups, differentiably."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from meshwright.errors import OptionError, ShapeError
from meshwright.rendering.ops.checks import check_floats, fault
from meshwright.rendering.ops.launch import Argument, Band, Frame, over_pixels, packed, unrolled
from meshwright.rendering.ops.scatter import is_deterministic, scatter
from meshwright.rendering.ops.texture import kernel
from meshwright.rendering.ops.texture.mips import MipStack, Spread, build_mips, unfold

__all__ = ["MipStack", "build_mips", "texture"]

SAMPLE = unrolled(kernel.make_sample_kernel)
GRADIENT = unrolled(kernel.make_gradient_kernel)

FILTERS = {"nearest": 0, "linear": 1, "linear-mipmap-nearest": 2, "linear-mipmap-linear": 3}
BOUNDARIES = {"wrap": 0, "clamp": 1, "zero": 2}


def texture(
    tex: torch.Tensor,
    uv: torch.Tensor,
    uv_da: torch.Tensor | None = None,
    *,
    filter: str = "auto",
    boundary: str = "wrap",
    max_mip_level: int | None = None,
    mip: MipStack | None = None,
) -> torch.Tensor:
    """Look up a texture.

    Args:
        tex: Any unit, float32 [1, Ht, Wt, C] for all views or [N, Ht, Wt, C]. Texel (row, column) has its centre at
            u = (column + 0.5) / Wt, v = (row + 0.5) / Ht: row 0 is at v = 0.
        uv: Where to look, float32 [N, H, W, 2].
        uv_da: How that changes per pixel, float32 [N, H, W, 4]: du/dX, du/dY, dv/dX, dv/dY, as `interpolate` gives it
            with `diff_attrs="all"`; decides the level of a mipmapped look-up.
        filter: "nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear", or "auto": the last of them where
            there is `uv_da`, else "linear".
        boundary: Beyond 0 .. 1 the texture repeats ("wrap"), goes on as its border ("clamp") or is 0 ("zero").
        max_mip_level: Use no more than so many levels above the texture itself.
        mip: From `build_mips(tex)`, to build it once for several look-ups; its values are used in place of those of
            `tex`, gradients reach `tex` all the same.
    Returns:
        float32 [N, H, W, C]. Every pixel is looked up, background too (whose uv is 0): mask it where that matters.
    Raises:
        ShapeError: The tensors do not fit together.
        OptionError: A choice does not exist, or `uv_da` is missing.

    The level is that at which a texel is as long as the longer axis of the ellipse that a pixel covers in the texture.
    Gradients reach `tex`, `uv` (not with "nearest") and `uv_da` (only with "linear-mipmap-linear").
    Source: Laine et al. 2020, section 3.4.
    """
    if filter == "auto":
        filter = "linear" if uv_da is None else "linear-mipmap-linear"
    if filter not in FILTERS:
        raise OptionError(f"filter={filter!r} is not known.", hint=f"Use auto, {', '.join(FILTERS)}.")
    if boundary not in BOUNDARIES:
        raise OptionError(f"boundary={boundary!r} is not known.", hint=f"Use {', '.join(BOUNDARIES)}.")
    device = tex.device
    check_floats("uv", uv, device, (4,), "[N, H, W, 2]")
    if uv.shape[3] != 2:
        raise fault("uv", uv, f"float32 [N, H, W, 2] on {device}")
    frame = Frame.of(uv)
    check_floats("tex", tex, device, (4,), "[1, Ht, Wt, C] or [N, Ht, Wt, C]")
    if tex.shape[0] not in (1, frame.views):
        raise fault("tex", tex, f"float32 [1 or {frame.views}, Ht, Wt, C], as uv has {frame.views} views,")
    if frame.pixels * tex.shape[3] >= 2**31:
        raise ShapeError("The pictures would have 2**31 numbers or more.", hint="Render fewer views at once.")
    if not filter.startswith("linear-mipmap"):
        return _look_up(tex, uv, None, None, frame, FILTERS[filter], BOUNDARIES[boundary])
    if uv_da is None:
        raise OptionError(
            f"filter={filter!r} needs uv_da.", hint='Pass the second result of interpolate(..., diff_attrs="all").'
        )
    check_floats("uv_da", uv_da, device, (4,), "[N, H, W, 4]")
    if uv_da.shape != (*uv.shape[:3], 4):
        raise fault("uv_da", uv_da, f"float32 {[*uv.shape[:3], 4]}, as uv is {list(uv.shape)},")
    if mip is None:
        mip = build_mips(tex, max_mip_level)
    elif mip.shape != tuple(tex.shape) or mip.values.device != device:
        raise ShapeError(
            f"mip is of a texture {list(mip.shape)} on {mip.values.device}, tex is {list(tex.shape)} on {device}.",
            hint="Build it again with build_mips(tex).",
        )
    highest = mip.levels if max_mip_level is None else min(mip.levels, max_mip_level)
    return _look_up(tex, uv, uv_da, (mip, highest), frame, FILTERS[filter], BOUNDARIES[boundary])


def _look_up(*arguments: Any) -> torch.Tensor:
    out: torch.Tensor = _Texture.apply(*arguments)  # type: ignore[no-untyped-call]
    return out


class _Texture(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        tex: torch.Tensor,
        uv: torch.Tensor,
        uv_da: torch.Tensor | None,
        pyramid: tuple[MipStack, int] | None,
        frame: Frame,
        mode: int,
        boundary: int,
    ) -> torch.Tensor:
        _, rows, columns, channels = tex.shape
        uv = packed(uv)
        uv_da = None if uv_da is None else packed(uv_da)
        values = packed(tex) if pyramid is None else pyramid[0].values
        texels, highest = (rows * columns, 0) if pyramid is None else (pyramid[0].texels, pyramid[1])
        stride = texels if tex.shape[0] > 1 else 0
        numbers = (channels, rows, columns, stride, highest, mode, boundary)
        out = torch.empty((*uv.shape[:3], channels), dtype=torch.float32, device=frame.device)
        over_pixels(SAMPLE(channels), frame, values, uv, uv_da, *numbers, out)
        ctx.save_for_backward(values, uv, uv_da)
        ctx.frame, ctx.numbers, ctx.boundary = frame, numbers, boundary
        levels = 0 if pyramid is None else pyramid[0].levels
        spare = mode != FILTERS["nearest"]
        ctx.spread = Spread.of(tuple(tex.shape), texels, levels, gpu=frame.device.type != "cpu", spare=spare)
        ctx.fixed_order = is_deterministic()
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        values, uv, uv_da = ctx.saved_tensors
        texture_wanted, uv_wanted, da_wanted = ctx.needs_input_grad[:3]
        duv = torch.empty_like(uv) if uv_wanted else None
        duv_da = torch.empty_like(uv_da) if da_wanted else None
        how = ctx.spread
        storage = (how.pitch, how.slots, how.shape[0] * how.texels, int(texture_wanted))
        inputs = (values, uv, uv_da, packed(dout), *ctx.numbers, *storage, duv, duv_da)

        def run(sums: Callable[[Band | None], Argument]) -> None:
            over_pixels(GRADIENT(how.shape[3]), ctx.frame, *inputs, sums=sums)

        dtex = None
        if texture_wanted:
            total = scatter(run, ctx.frame, how.length, shared=how.shape[0] == 1, fixed_order=ctx.fixed_order)
            dtex = unfold(total, how, ctx.boundary)
        else:
            run(lambda _: (None, None, None, 0))
        return dtex, duv, duv_da, None, None, None, None
