"""Charts into the square: each keeps its scale, may turn by 90 degrees, and is laid where its own shape fits.

Letters: C charts, F faces. The square is a coarse grid of cells; a chart is the set of cells that it touches, padding
included. The largest chart goes first, each to the lowest free place, so that small ones fill the bays of large ones.
A row of a chart is a few runs of cells, and the square knows of each cell where the next taken and the next free one
is: whether a chart fits takes one look a run, and where it does not, the look says how far on the next chance is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

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


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Room for one bitmap per chart, all behind each other in one flat array.

    Attributes:
        corners: In cells of each chart's own bitmap, float32 [F, 3, 2].
        charts: Which chart each face is in, int32 [F].
        begin: Where a chart's bitmap begins, int32 [C].
        width: Its columns, int32 [C]; height: its rows, int32 [C].
        cells: Of all bitmaps together.
    """

    corners: Array
    charts: Array
    begin: Array
    width: Array
    height: Array
    cells: int

    def on_host(self) -> list[Any]:
        """Corners, charts, begin, width and height as kernels on the CPU take them."""
        numbers = [
            wp.array(x, dtype=wp.int32, device="cpu") for x in (self.charts, self.begin, self.width, self.height)
        ]
        return [wp.array(self.corners, dtype=wp.vec2, device="cpu"), *numbers]


def bitmap_layout(corners: Array, charts: Array, border: float) -> Layout:
    """Room for the bitmaps of charts.

    Args:
        corners: float64 [F, 3, 2], cells.
        charts: Which chart each face is in, [F], 0 to C - 1.
        border: Empty cells to leave on every side.
    """
    low, size = bounds_of(corners, charts)
    return bitmaps_of(corners - low[charts][:, None], charts, size, border)


def bounds_of(corners: Array, charts: Array) -> tuple[Array, Array]:
    """Lowest corner and size of each chart, float64 [C, 2], from its faces' corners [F, 3, 2]."""
    order = np.argsort(charts, kind="stable")
    first = np.concatenate([[0], 3 * np.cumsum(np.bincount(charts))[:-1]])
    sorted_corners = corners[order].reshape(-1, 2)
    low, high = (bound.reduceat(sorted_corners, first) for bound in (np.minimum, np.maximum))
    return low, high - low


def bitmaps_of(local: Array, charts: Array, size: Array, border: float) -> Layout:
    """As `bitmap_layout`, from corners [F, 3, 2] that are measured from their chart's lowest, and its size [C, 2]."""
    width, height = (np.ceil(size + 2 * border).astype(np.int64) + 1).T
    stop = np.cumsum(width * height)
    if stop[-1] >= 2**31:
        raise OptionError("The charts need more than 2**31 cells.", hint="Ask for a smaller texture.")
    return Layout(
        corners=(local + border).astype(np.float32),
        charts=charts.astype(np.int32),
        begin=(stop - width * height).astype(np.int32),
        width=width.astype(np.int32),
        height=height.astype(np.int32),
        cells=int(stop[-1]),
    )


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
    low, size = bounds_of(corners, charts)
    local = corners - low[charts][:, None]
    steps = scales_to_try(scale, area)
    while scales := list(islice(steps, at_once)):
        tries = map_threads(lambda s: place_all(local * (s * grid), charts, size * (s * grid), margin, grid), scales)
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


def place_all(local: Array, charts: Array, size: Array, margin: float, grid: int) -> Array | None:
    """Lay every chart, largest first; None as soon as one finds no place.

    Args:
        local: Corners, measured from the lowest of their chart, float64 [F, 3, 2], cells.
        charts: [F].
        size: Of each chart, float64 [C, 2], cells.
        margin: Cells around each chart that nobody else may touch.
        grid: Cells per side of the square.
    Returns:
        The corners in cells of the square, float64 [F, 3, 2].
    """
    if size.max() > grid:
        return None
    layout = bitmaps_of(local, charts, size, float(np.ceil(margin + 0.5)))
    touched = wp.zeros(layout.cells, wp.uint8, device="cpu")
    wp.launch(mark_touched_kernel, len(local), [*layout.on_host(), float(margin)], [touched], device="cpu")
    places = place_bitmaps(touched.numpy(), layout.begin, layout.width, layout.height, grid)
    if places is None:
        return None
    placed = layout.corners.astype(np.float64)
    # A quarter turn: x' = rows - y, y' = x; it keeps winding.
    rows = layout.height[charts].astype(np.float64)[:, None]
    turn = np.stack([rows - placed[..., 1], placed[..., 0]], -1)
    turned = places[:, 2] > 0
    placed = np.where(turned[charts][:, None, None], turn, placed)
    return placed + places[:, :2].astype(np.float64)[charts][:, None]


def place_bitmaps(cells: Array, begin: Array, width: Array, height: Array, grid: int) -> Array | None:
    """Find a place in the square for every bitmap, the one with the most marked cells first.

    Args:
        cells: Row by row, one bitmap behind the other, uint8.
        begin: Where each begins, int32 [C]; width: its columns, int32 [C]; height: its rows, int32 [C].
        grid: Cells per side of the square.
    Returns:
        Column, row and whether it is turned by a quarter to the left, int32 [C, 3]; None if one finds no place.
    """
    marked = np.add.reduceat(cells, begin, dtype=np.int64)
    if marked.sum() > grid**2:
        return None
    order = np.argsort(-marked, kind="stable").astype(np.int32)
    given = [wp.array(cells, dtype=wp.uint8, device="cpu", copy=False)]
    given += [wp.array(x, dtype=wp.int32, device="cpu") for x in (begin, width, height, order)]
    columns = np.arange(grid + 1, dtype=np.int32)
    taken, free = (
        np.ascontiguousarray(np.broadcast_to(x, (grid, grid + 1))) for x in (np.full_like(columns, grid), columns)
    )
    # Every second cell of a row begins a run at most.
    most = int((height * ((width + 1) // 2) + width * ((height + 1) // 2)).max())
    scratch = [
        wp.empty(most, wp.vec3i, device="cpu"),
        *(wp.array(x, dtype=wp.int32, device="cpu", copy=False) for x in (taken, free)),
    ]
    places = wp.zeros((len(begin), 3), wp.int32, device="cpu")
    missed = wp.zeros(1, wp.int32, device="cpu")
    wp.launch(place_kernel, 1, [*given, grid, *scratch], [places, missed], device="cpu")
    if missed.numpy()[0]:
        return None
    found: Array = places.numpy()
    return found
