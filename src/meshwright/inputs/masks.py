"""The silhouette of a view: from its alpha channel, else against its background, else from its depth render."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from meshwright.device import check_stop
from meshwright.inputs.background import fill_behind
from meshwright.inputs.images import Picture
from meshwright.inputs.segment import segment
from meshwright.types import Array, DepthMap, MaskSource

__all__ = ["Silhouette", "find_silhouette", "srgb_of"]

_FLAT = 6 / 255
"""A picture whose colours differ by less than this (99.8 % of its pixels) shows nothing."""


@dataclass(frozen=True, kw_only=True)
class Silhouette:
    """A mask and what it parts.

    Attributes:
        mask: Coverage float32 [H, W]; all 0 where none was found.
        source: Where it came from; NONE where none was found.
        foreground, background: sRGB float32 [H, W, 3]: the object without its background's share at soft edges, and
            what stands behind it.
        code, reason: Why none was found, for `FileFault`.
    """

    mask: Array
    source: MaskSource
    foreground: Array
    background: Array
    code: str = ""
    reason: str = ""


def srgb_of(picture: Picture) -> Array:
    """sRGB-encoded colours in [0, 1], float32 [H, W, 3]."""
    top = 65535 if picture.bits == 16 else 255
    colour = picture.colour.astype(np.float32) / np.float32(top)
    return np.repeat(colour, 3, -1) if colour.shape[-1] == 1 else colour


def find_silhouette(picture: Picture, depth: DepthMap | None) -> Silhouette:
    """The best mask that the files of one view allow.

    Args:
        picture: The decoded view.
        depth: Its depth render, if it has one that is not blank.
    """
    srgb = srgb_of(picture)
    check_stop()
    shape = srgb.shape[:2]
    if picture.alpha is not None:
        alpha = picture.alpha.astype(np.float32) / (65535 if picture.bits == 16 else 255)
        # An alpha channel that hides nothing was added by a program, not by a person.
        if float(alpha.min()) < 0.5:
            if float(alpha.max()) < 0.5:
                return _none(srgb, "input.blank", "its alpha channel hides everything")
            check_stop()
            white = np.ones_like(srgb)
            return Silhouette(mask=alpha, source=MaskSource.ALPHA, foreground=srgb, background=white)
    check_stop()
    rough = None if depth is None else _resized(depth.valid, shape)
    check_stop()
    if _is_flat(srgb):
        # The depth render knows better than a picture of one colour.
        if rough is None:
            return _none(srgb, "input.blank", "it shows one colour only")
    else:
        matte = segment(srgb, rough)
        if matte is not None:
            return Silhouette(
                mask=matte.alpha,
                source=MaskSource.BACKGROUND,
                foreground=matte.foreground,
                background=matte.background,
            )
    if rough is not None:
        behind = fill_behind(srgb, (rough <= 0).astype(np.float32))
        return Silhouette(mask=rough, source=MaskSource.DEPTH, foreground=srgb, background=behind)
    return _none(srgb, "input.background", "no object stands out from a plain background")


def _none(srgb: Array, code: str, reason: str) -> Silhouette:
    nothing = np.zeros(srgb.shape[:2], np.float32)
    return Silhouette(mask=nothing, source=MaskSource.NONE, foreground=srgb, background=srgb, code=code, reason=reason)


def _is_flat(srgb: Array) -> bool:
    sample = srgb.reshape(-1, 3)[:: max(1, srgb.shape[0] * srgb.shape[1] // 200_000)]
    low, high = np.quantile(sample, (0.001, 0.999), axis=0)
    return float((high - low).max()) < _FLAT


def _resized(valid: Array, shape: tuple[int, ...]) -> Array:
    """A bool map brought to another size, as coverage float32 in 0..1."""
    image = Image.fromarray(valid.astype(np.uint8) * 255)
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR), np.float32) / 255
