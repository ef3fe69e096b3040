"""What stands behind the object: the picture outside the mask, filled in smoothly behind it."""

from __future__ import annotations

import numpy as np

from meshwright.device import map_threads
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
    levels = _levels(known)

    def fill(channel: int) -> None:
        result[..., channel] = _fill(np.array(image[..., channel], np.float32, order="C"), levels)

    # Channel by channel: NumPy's loops over so short an axis would take several times as long.
    result = np.empty(image.shape, np.float32)
    map_threads(fill, range(image.shape[2]))
    return result


def _levels(known: Array) -> list[tuple[Array, Array]]:
    """How far pixels are known and, averaged, their blocks of four, coarser and coarser: float32 [H, W] and half that.

    Ends where all is known or one pixel is left, with nothing averaged.
    """
    levels = []
    while float(known.min()) < 1 and known.size > 1:
        averaged = np.empty([-(-side // 2) for side in known.shape], np.float32)
        for rows, _, _ in strips(len(averaged)):
            averaged[rows] = _halve(known[2 * rows.start : 2 * rows.stop])
        levels.append((known, averaged))
        # Not weight but "enough known to stand for the block": a block that is a quarter known is trusted fully.
        known = np.minimum(averaged * 4, 1)
    levels.append((known, known[:0]))
    return levels


def _fill(plane: Array, levels: list[tuple[Array, Array]]) -> Array:
    """`fill_behind` for one channel [H, W], which is overwritten."""
    (known, averaged), *coarser = levels
    if not coarser:
        return plane if float(known.min()) >= 1 else plane * (known > 0)
    coarse = np.empty(averaged.shape, np.float32)
    for rows, _, _ in strips(len(averaged)):
        pair = slice(2 * rows.start, 2 * rows.stop)
        coarse[rows] = _halve(plane[pair] * known[pair]) / np.maximum(averaged[rows], 1e-12)
    below = _fill(coarse, coarser)
    for rows, around, inner in strips(len(averaged), halo=1):
        pair = slice(2 * rows.start, 2 * rows.stop)
        missing = np.flatnonzero(known[pair].min(0) < 1)
        if len(missing) == 0:
            continue
        # From a pair of columns to a pair of columns, and a pair more on both sides to fill them from.
        first, last = int(missing[0]) // 2, int(missing[-1]) // 2 + 1
        columns = slice(2 * first, min(2 * last, known.shape[1]))
        part, share = plane[pair, columns], known[pair, columns]
        low = max(0, first - 1)
        filled = _double(below[around, low : last + 1])[2 * inner.start :, 2 * (first - low) :]
        plane[pair, columns] = part * share + filled[: part.shape[0], : part.shape[1]] * (1 - share)
    return plane


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
