"""What stands behind the object: the picture outside the mask, filled in smoothly behind it."""

from __future__ import annotations

import numpy as np

from meshwright.inputs.strips import strips
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
    coarse_shape = (-(-image.shape[0] // 2), -(-image.shape[1] // 2))
    coarse_weight = np.empty((*coarse_shape, 1), np.float32)
    coarse = np.empty((*coarse_shape, image.shape[2]), np.float32)
    for rows, _, _ in strips(coarse_shape[0]):
        pair = slice(2 * rows.start, 2 * rows.stop)
        coarse_weight[rows] = _halve(known[pair])
        coarse[rows] = _halve(image[pair] * known[pair]) / np.maximum(coarse_weight[rows], 1e-12)
    # Not weight but "enough known to stand for the block": a block that is a quarter known is trusted fully.
    below = fill_behind(coarse, np.minimum(coarse_weight[..., 0] * 4, 1))
    result = np.empty(image.shape, np.float32)
    for rows, around, inner in strips(coarse_shape[0], halo=1):
        pair = slice(2 * rows.start, 2 * rows.stop)
        part, share = image[pair], known[pair]
        if float(share.min()) < 1:
            filled = _double(below[around])[2 * inner.start :][: part.shape[0], : part.shape[1]]
            part = part * share + filled * (1 - share)
        result[pair] = part
    return result


def _halve(image: Array) -> Array:
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    quads = padded[0::2, 0::2] + padded[1::2, 0::2] + padded[0::2, 1::2] + padded[1::2, 1::2]
    return np.asarray(quads * np.float32(0.25))


def _double(image: Array) -> Array:
    """Twice the size, linearly, aligned on pixel areas."""
    for axis in (0, 1):
        lines = np.moveaxis(image, axis, 0)
        near, far = np.float32(0.75) * lines, np.float32(0.25) * lines
        shape = list(image.shape)
        shape[axis] *= 2
        image = np.empty(shape, np.float32)
        doubled = np.moveaxis(image, axis, 0)
        np.add(near[1:], far[:-1], out=doubled[2::2])
        np.add(near[:-1], far[1:], out=doubled[1:-1:2])
        doubled[0], doubled[-1] = lines[0], lines[-1]
    return image
