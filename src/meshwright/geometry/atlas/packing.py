"""Charts into the square: each keeps its scale, may turn by 90 degrees, and is laid where its own shape fits.

Letters: C charts, F faces. The square is a coarse grid of cells; a chart is the set of cells that it touches, padding
included. The largest chart goes first, each to the lowest free place, so that small ones fill the bays of large ones.
Rows of cells are bits of 64-bit words, so that whether a chart fits in a place takes a few operations a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from meshwright._warp import wp
from meshwright.device import cpu_threads, map_threads
from meshwright.errors import OptionError
from meshwright.geometry.atlas.kernels import mark_touched_kernel, place_kernel
from meshwright.types import Array

__all__ = ["bitmap_layout", "pack_charts"]

GRID = 256
"""Cells per side of the square: finer wastes less at chart borders and takes longer by its square."""
SHRINK = 0.97
"""Texel density from one attempt to the next; after `PATIENCE` attempts its cube."""
PATIENCE = 16
MOST_AT_ONCE = 8
"""Sizes tried side by side."""
LEAST_FILL = 0.02
"""A texture less full than this is lost to padding: better to say so."""


def bitmap_layout(corners: Array, charts: Array, border: float) -> tuple[Array, Array, Array, Array]:
    """Room for one bitmap per chart, all behind each other in one flat array.

    Args:
        corners: float64 [F, 3, 2], cells.
        charts: Which chart each face is in, [F].
        border: Empty cells to leave on every side.
    Returns:
        Corners moved into their chart's bitmap float32 [F, 3, 2], and per chart: where the bitmap begins, its columns,
        its rows, int32 [C].
    """
    count = int(charts.max()) + 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    for corner in range(3):
        np.minimum.at(low, charts, corners[:, corner])
        np.maximum.at(high, charts, corners[:, corner])
    size = np.ceil(high - low + 2 * border).astype(np.int64) + 1
    begin = np.concatenate([[0], np.cumsum(size[:, 0] * size[:, 1])])
    if begin[-1] >= 2**31:
        raise OptionError("The charts need more than 2**31 cells.", hint="Ask for a smaller texture.")
    local = (corners - low[charts][:, None] + border).astype(np.float32)
    return local, begin[:-1].astype(np.int32), size[:, 0].astype(np.int32), size[:, 1].astype(np.int32)


def pack_charts(corners: Array, charts: Array, texture_size: int, padding: float) -> Array:
    """Texture coordinates for charts that lie flat in mesh units.

    Args:
        corners: Corner positions in each chart's own plane, float64 [F, 3, 2], mesh units.
        charts: Which chart each face is in, int64 [F], 0 to C - 1.
        texture_size: Side of the texture in texels.
        padding: Least distance between charts, and half of it to the border, in texels.
    Returns:
        float64 [F, 3, 2] in [0, 1], one texel density everywhere.
    Raises:
        OptionError: There are more charts than the texture can keep apart.
    """
    sides = corners[:, 1:] - corners[:, :1]
    area = 0.5 * np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]).sum()
    grid = min(GRID, texture_size)
    margin = 0.5 * padding * grid / texture_size
    scale = float(np.sqrt(0.86 / max(area, 1e-30)))
    # Several sizes at a time, one per core; the largest that fits wins.
    at_once = min(max(cpu_threads(), 2), MOST_AT_ONCE)
    steps = scales_to_try(scale, area)
    while scales := list(islice(steps, at_once)):
        tries = map_threads(lambda s: place_all(corners * (s * grid), charts, margin, grid), scales)
        for placed in tries:
            if placed is not None:
                uv: Array = np.clip(placed / grid, 0.0, 1.0)
                return uv
    raise OptionError(
        f"{int(charts.max()) + 1} charts with {padding:g} texels between them do not fit into a texture of "
        f"{texture_size} texels.",
        hint="Ask for a larger texture or fewer faces.",
    )


def scales_to_try(scale: float, area: float) -> Iterator[float]:
    """Ever smaller ones, from this one on; `area` is that of the charts."""
    attempts = 0
    while scale**2 * area > LEAST_FILL:
        shrink = SHRINK if attempts < PATIENCE else SHRINK**3
        yield scale
        yield scale * shrink
        scale *= shrink**2
        attempts += 2


def place_all(corners: Array, charts: Array, margin: float, grid: int) -> Array | None:
    """Lay every chart, largest first; None as soon as one finds no place.

    Args:
        corners: float64 [F, 3, 2], cells.
        charts: [F].
        margin: Cells around each chart that nobody else may touch.
        grid: Cells per side of the square.
    Returns:
        The corners in cells of the square, float64 [F, 3, 2].
    """
    border = np.ceil(margin + 0.5)
    local, begin, width, height = bitmap_layout(corners, charts, border)
    if max(width.max(), height.max()) > 2 * grid:
        return None
    cells = np.zeros(int(begin[-1]) + int(width[-1]) * int(height[-1]), np.uint8)
    touched = wp.array(cells, dtype=wp.uint8, device="cpu", copy=False)
    faces = [wp.array(np.ascontiguousarray(x[charts]), dtype=wp.int32, device="cpu") for x in (begin, width, height)]
    flat = wp.array(local, dtype=wp.vec2, device="cpu")
    wp.launch(mark_touched_kernel, len(local), [flat, *faces, float(margin)], [touched], device="cpu")
    bitmaps = [
        cells[b : b + w * h].reshape(h, w)
        for b, w, h in zip(begin.tolist(), width.tolist(), height.tolist(), strict=True)
    ]
    places = place_bitmaps(bitmaps, grid)
    if places is None:
        return None
    placed = local.astype(np.float64)
    turned = np.array([p[2] for p in places])[charts]
    # A quarter turn: x' = rows - y, y' = x; it keeps winding.
    rows = height[charts].astype(np.float64)[:, None]
    turn = np.stack([rows - placed[..., 1], placed[..., 0]], -1)
    placed = np.where(turned[:, None, None], turn, placed)
    return placed + np.array([p[:2] for p in places], np.float64)[charts][:, None]


def place_bitmaps(bitmaps: Sequence[Array], grid: int) -> list[tuple[int, int, bool]] | None:
    """Column, row and whether turned, per bitmap; None if one finds no place. A turn is `np.rot90(bitmap, -1)`."""
    # Row y of a bitmap is the height y above the chart's floor, so a quarter turn to the left of the chart is one to
    # the right of the array.
    ways = [(bitmap, np.rot90(bitmap, -1)) for bitmap in bitmaps]
    masks = [[_words(bitmap) for bitmap in pair] for pair in ways]
    lengths = np.array([[mask.size for mask in pair] for pair in masks])
    begin = np.concatenate([[0], lengths.ravel().cumsum()[:-1]]).reshape(-1, 2)
    size = np.array([[bitmap.shape for bitmap in pair] for pair in ways])
    order = sorted(range(len(bitmaps)), key=lambda i: -int(bitmaps[i].sum()))
    across = -(-grid // 64)
    numbers = (begin, size[..., 1], size[..., 0], np.array(order))
    given = [wp.array(np.concatenate([mask.ravel() for pair in masks for mask in pair]), wp.uint64, device="cpu")]
    given += [wp.array(np.ascontiguousarray(values, np.int32), wp.int32, device="cpu") for values in numbers]
    taken = wp.zeros(grid * across, wp.uint64, device="cpu")
    places = wp.zeros((len(bitmaps), 3), wp.int32, device="cpu")
    missed = wp.zeros(1, wp.int32, device="cpu")
    wp.launch(place_kernel, 1, [*given, grid, across], [taken, places, missed], device="cpu")
    if missed.numpy()[0]:
        return None
    return [(column, row, turned > 0) for column, row, turned in places.numpy().tolist()]


def _words(bitmap: Array) -> Array:
    """Rows of cells as rows of 64-bit words, the first cell in the lowest bit."""
    rows, columns = bitmap.shape
    whole = np.zeros((rows, -(-columns // 64) * 64), np.uint8)
    whole[:, :columns] = bitmap
    return np.packbits(whole, axis=1, bitorder="little").view("<u8").astype(np.uint64)
