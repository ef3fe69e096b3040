"""What stands behind the object: the picture outside the mask, filled in smoothly behind it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from meshwright.types import Array

__all__ = ["fill_behind"]


def fill_behind(image: Array, weight: Array) -> Array:
    """Pull-push filling: where `weight` is 0, colours come from ever coarser averages of what is known.

    Args:
        image: float32 [H, W, C].
        weight: How far a pixel is known, float32 [H, W] in 0..1.

    Returns:
        float32 [H, W, C]; exactly `image` where `weight` is 1. Zero everywhere where nothing is known.
    """
    known = np.clip(weight, 0, 1).astype(np.float32)[..., None]
    if float(known.min()) >= 1:
        return image.astype(np.float32)
    if image.shape[0] == 1 and image.shape[1] == 1:
        return (image * (known > 0)).astype(np.float32)
    coarse_weight = _halve(known)
    coarse = _halve(image * known) / np.maximum(coarse_weight, 1e-12)
    # Not weight but "enough known to stand for the block": a block that is a quarter known is trusted fully.
    below = fill_behind(coarse, np.minimum(coarse_weight[..., 0] * 4, 1))
    return (image * known + _double(below, image.shape[:2]) * (1 - known)).astype(np.float32)


def _halve(image: Array) -> Array:
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    quads = padded[0::2, 0::2] + padded[1::2, 0::2] + padded[0::2, 1::2] + padded[1::2, 1::2]
    return np.asarray(quads * np.float32(0.25))


def _double(image: Array, shape: tuple[int, ...]) -> Array:
    """Twice the size, linearly, aligned on pixel areas, cut to `shape`."""
    for axis in (0, 1):
        image = np.repeat(image, 2, axis)
        image = ndimage.convolve1d(image, np.array([0.25, 0.5, 0.25], np.float32), axis, mode="nearest")
    return image[: shape[0], : shape[1]]
