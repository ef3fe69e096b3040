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
    known = np.clip(weight, 0, 1).astype(np.float32)
    if float(known.min()) >= 1:
        return image.astype(np.float32)
    # Channel by channel: NumPy's loops over so short an axis would take several times as long.
    filled = _fill(np.stack([image[..., channel] for channel in range(image.shape[2])]).astype(np.float32), known)
    result = np.empty(image.shape, np.float32)
    for channel, plane in enumerate(filled):
        result[..., channel] = plane
    return result


def _fill(planes: Array, known: Array) -> Array:
    """`fill_behind` for planes [C, H, W] and weights [H, W] in 0..1."""
    height, width = known.shape
    if float(known.min()) >= 1:
        return planes
    if height == 1 and width == 1:
        return planes * (known > 0)
    coarse_shape = (-(-height // 2), -(-width // 2))
    coarse_weight = np.empty(coarse_shape, np.float32)
    coarse = np.empty((len(planes), *coarse_shape), np.float32)
    for rows, _, _ in strips(coarse_shape[0]):
        pair = slice(2 * rows.start, 2 * rows.stop)
        share = known[pair]
        coarse_weight[rows] = _halve(share)
        least = np.maximum(coarse_weight[rows], 1e-12)
        for plane, target in zip(planes, coarse, strict=True):
            target[rows] = _halve(plane[pair] * share) / least
    # Not weight but "enough known to stand for the block": a block that is a quarter known is trusted fully.
    below = _fill(coarse, np.minimum(coarse_weight * 4, 1))
    result = planes.copy()
    for rows, around, inner in strips(coarse_shape[0], halo=1):
        pair = slice(2 * rows.start, 2 * rows.stop)
        missing = np.flatnonzero(known[pair].min(0) < 1)
        if len(missing) == 0:
            continue
        # From a pair of columns to a pair of columns, and a pair more on both sides to fill them from.
        first, last = int(missing[0]) // 2, int(missing[-1]) // 2 + 1
        low, high = max(0, first - 1), min(coarse_shape[1], last + 1)
        columns = slice(2 * first, min(2 * last, width))
        share = known[pair, columns]
        for plane, source, target in zip(planes, below, result, strict=True):
            part = plane[pair, columns]
            filled = _double(source[around, low:high])[2 * inner.start :, 2 * (first - low) :]
            target[pair, columns] = part * share + filled[: part.shape[0], : part.shape[1]] * (1 - share)
    return result


def _halve(plane: Array) -> Array:
    height, width = plane.shape
    if height % 2 or width % 2:
        plane = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    quads = plane[0::2, 0::2] + plane[1::2, 0::2] + plane[0::2, 1::2] + plane[1::2, 1::2]
    return np.asarray(quads * np.float32(0.25))


def _double(plane: Array) -> Array:
    """Twice the size, linearly, aligned on pixel areas."""
    for axis in (0, 1):
        lines = np.moveaxis(plane, axis, 0)
        near, far = np.float32(0.75) * lines, np.float32(0.25) * lines
        shape = list(plane.shape)
        shape[axis] *= 2
        plane = np.empty(shape, np.float32)
        doubled = np.moveaxis(plane, axis, 0)
        np.add(near[1:], far[:-1], out=doubled[2::2])
        np.add(near[:-1], far[1:], out=doubled[1:-1:2])
        doubled[0], doubled[-1] = lines[0], lines[-1]
    return plane
