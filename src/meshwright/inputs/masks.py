"""The silhouette of a view: from its alpha channel, else against its background, else from its depth render."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from meshwright.inputs.images import Picture
from meshwright.inputs.segment import segment
from meshwright.types import Array, DepthMap, MaskSource

__all__ = ["Silhouette", "find_silhouette", "srgb_of"]

_FLAT = 6 / 255
"""A picture whose colours differ by less than this (99.8 % of its pixels) shows nothing."""


@dataclass(frozen=True, kw_only=True)
class Silhouette:
    """A mask and where it came from; `mask` float32 [H, W] in 0..1, all 0 where the view shows nothing."""

    mask: Array
    source: MaskSource
    reason: str = ""
    """Why there is none, for messages."""


def srgb_of(picture: Picture) -> Array:
    """sRGB-encoded colours in [0, 1], float32 [H, W, 3]."""
    top = 65535 if picture.bits == 16 else 255
    colour = picture.colour.astype(np.float32) / np.float32(top)
    return np.repeat(colour, 3, -1) if colour.shape[-1] == 1 else colour


def find_silhouette(picture: Picture, srgb: Array, depth: DepthMap | None) -> Silhouette:
    """The best mask that the files of one view allow."""
    shape = srgb.shape[:2]
    nothing = np.zeros(shape, np.float32)
    if picture.alpha is not None:
        alpha = picture.alpha.astype(np.float32) / (65535 if picture.bits == 16 else 255)
        if float(alpha.min()) < 0.5:
            if float(alpha.max()) < 0.5:
                return Silhouette(mask=nothing, source=MaskSource.NONE, reason="its alpha channel is empty")
            return Silhouette(mask=alpha, source=MaskSource.ALPHA)
    rough = _resized(depth.valid, shape) if depth is not None and depth.valid.any() else None
    low, high = np.quantile(
        srgb.reshape(-1, 3)[:: max(1, srgb.shape[0] * srgb.shape[1] // 200_000)], (0.001, 0.999), axis=0
    )
    if float((high - low).max()) >= _FLAT:
        mask = segment(srgb, None if rough is None else rough >= 0.5)
        if mask is not None:
            return Silhouette(mask=mask, source=MaskSource.BACKGROUND)
        reason = "the object cannot be told from its background"
    else:
        reason = "the picture shows one colour only"
    if rough is not None:
        return Silhouette(mask=rough, source=MaskSource.DEPTH)
    return Silhouette(mask=nothing, source=MaskSource.NONE, reason=reason)


def _resized(valid: Array, shape: tuple[int, ...]) -> Array:
    """A bool map brought to another size, as coverage float32 in 0..1."""
    image = Image.fromarray(valid.astype(np.uint8) * 255)
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR), np.float32) / 255
