"""Warp kernels that mark which cells of a chart's own bitmap its triangles touch, and which lie under others.

Letters: F triangles. All bitmaps lie behind each other in one flat array; each triangle knows where its own begins.
Positions are in cells of that bitmap; the centre of the cell in column 0, row 0 is (0.5, 0.5). Triangles are
counter-clockwise with x to the right and y up (or along the rows: the kernels do not care).
"""

# mypy: ignore-errors
# (Warp compiles these functions itself; their annotations are its own language.)

from __future__ import annotations

from meshwright._warp import wp

wp.set_module_options({"enable_backward": False})

__all__ = ["find_hidden_kernel", "mark_touched_kernel", "place_kernel", "raise_height_kernel"]


@wp.struct
class Box:
    """Cells from low to high, both included."""

    low_x: wp.int32
    low_y: wp.int32
    high_x: wp.int32
    high_y: wp.int32


@wp.func
def reach_of(a: wp.vec2, b: wp.vec2, c: wp.vec2, margin: float, width: wp.int32, height: wp.int32) -> Box:
    """Cells within `margin` of the triangle's bounding box, inside the bitmap."""
    low = wp.min(a, wp.min(b, c)) - wp.vec2(margin, margin)
    high = wp.max(a, wp.max(b, c)) + wp.vec2(margin, margin)
    box = Box()
    box.low_x = wp.max(wp.int32(wp.floor(low[0])), 0)
    box.low_y = wp.max(wp.int32(wp.floor(low[1])), 0)
    box.high_x = wp.min(wp.int32(wp.floor(high[0])), width - 1)
    box.high_y = wp.min(wp.int32(wp.floor(high[1])), height - 1)
    return box


@wp.func
def inside_by(a: wp.vec2, b: wp.vec2, p: wp.vec2) -> float:
    """How far `p` lies inside of edge a-b of a counter-clockwise triangle; negative is outside."""
    along = b - a
    return (along[0] * (p[1] - a[1]) - along[1] * (p[0] - a[0])) / wp.max(wp.length(along), 1.0e-12)


@wp.func
def weights_at(a: wp.vec2, b: wp.vec2, c: wp.vec2, p: wp.vec2) -> wp.vec3:
    """Barycentric weights; (-1, -1, -1) for a triangle without area."""
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    if area <= 0.0:
        return wp.vec3(-1.0, -1.0, -1.0)
    u = ((b[0] - p[0]) * (c[1] - p[1]) - (b[1] - p[1]) * (c[0] - p[0])) / area
    v = ((c[0] - p[0]) * (a[1] - p[1]) - (c[1] - p[1]) * (a[0] - p[0])) / area
    return wp.vec3(u, v, 1.0 - u - v)


UNKNOWN = wp.constant(wp.float32(1.0e30))


@wp.func
def level_at(a: wp.vec2, b: wp.vec2, c: wp.vec2, heights: wp.vec3, x: wp.int32, y: wp.int32) -> float:
    """The triangle's height at the centre of a cell; `-UNKNOWN` where it does not cover it."""
    w = weights_at(a, b, c, wp.vec2(wp.float32(x) + 0.5, wp.float32(y) + 0.5))
    if wp.min(w) < 0.0:
        return -UNKNOWN
    return w[0] * heights[0] + w[1] * heights[1] + w[2] * heights[2]


@wp.kernel
def mark_touched_kernel(
    # In:
    corners: wp.array2d[wp.vec2],  # [F, 3]
    offset: wp.array[wp.int32],  # [F] where the triangle's bitmap begins in `touched`
    width: wp.array[wp.int32],  # [F] columns of that bitmap
    height: wp.array[wp.int32],  # [F] rows of that bitmap
    margin: float,  # cells
    # Out:
    touched: wp.array[wp.uint8],
):
    """Mark cells whose square comes within `margin` of the triangle; a little more at sharp corners, never less."""
    f = wp.tid()
    a = corners[f, 0]
    b = corners[f, 1]
    c = corners[f, 2]
    box = reach_of(a, b, c, margin, width[f], height[f])
    # A square of side 1 reaches sqrt(1/2) from its centre.
    least = -(margin + 0.7072)
    for y in range(box.low_y, box.high_y + 1):
        for x in range(box.low_x, box.high_x + 1):
            p = wp.vec2(wp.float32(x) + 0.5, wp.float32(y) + 0.5)
            if inside_by(a, b, p) >= least and inside_by(b, c, p) >= least and inside_by(c, a, p) >= least:
                touched[offset[f] + y * width[f] + x] = wp.uint8(1)


@wp.kernel
def raise_height_kernel(
    # In:
    corners: wp.array2d[wp.vec2],  # [F, 3]
    heights: wp.array2d[wp.float32],  # [F, 3]
    offset: wp.array[wp.int32],  # [F]
    width: wp.array[wp.int32],  # [F]
    height: wp.array[wp.int32],  # [F]
    first: wp.int32,  # rows that begin from this cell on
    stop: wp.int32,  # to this one, which is left out
    # Out:
    top: wp.array[wp.float32],  # greatest height at each cell centre
):
    """The upper envelope of triangles that lie over each other."""
    f = wp.tid()
    a = corners[f, 0]
    b = corners[f, 1]
    c = corners[f, 2]
    box = reach_of(a, b, c, 0.0, width[f], height[f])
    for y in range(box.low_y, box.high_y + 1):
        row = offset[f] + y * width[f]
        if row >= first and row < stop:
            for x in range(box.low_x, box.high_x + 1):
                level = level_at(a, b, c, wp.vec3(heights[f, 0], heights[f, 1], heights[f, 2]), x, y)
                if level > -UNKNOWN:
                    wp.atomic_max(top, row + x, level)


@wp.kernel
def find_hidden_kernel(
    # In:
    corners: wp.array2d[wp.vec2],  # [F, 3]
    heights: wp.array2d[wp.float32],  # [F, 3]
    offset: wp.array[wp.int32],  # [F]
    width: wp.array[wp.int32],  # [F]
    height: wp.array[wp.int32],  # [F]
    first: wp.int32,
    stop: wp.int32,
    top: wp.array[wp.float32],
    slack: float,  # heights that differ by less belong to one surface
    # Out:
    hidden: wp.array[wp.uint8],  # [F] 1 where something lies above the face
):
    """Mark faces that lie under another one of their chart at some cell centre."""
    f = wp.tid()
    a = corners[f, 0]
    b = corners[f, 1]
    c = corners[f, 2]
    box = reach_of(a, b, c, 0.0, width[f], height[f])
    for y in range(box.low_y, box.high_y + 1):
        row = offset[f] + y * width[f]
        if row >= first and row < stop:
            for x in range(box.low_x, box.high_x + 1):
                # A cell centre on a shared edge may count for both faces; they then agree about the height.
                level = level_at(a, b, c, wp.vec3(heights[f, 0], heights[f, 1], heights[f, 2]), x, y)
                if level > -UNKNOWN and level < top[row + x] - slack:
                    hidden[f] = wp.uint8(1)


@wp.func
def word_at(
    masks: wp.array[wp.uint64], begin: wp.int32, words: wp.int32, row: wp.int32, word: wp.int32, shift: wp.int32
) -> wp.uint64:
    """One word of a bitmap's row after moving the row `shift` (0 to 63) cells to the right."""
    found = wp.uint64(0)
    if word < words:
        found = masks[begin + row * words + word] << wp.uint64(shift)
    if shift > 0 and word > 0:
        found = found | (masks[begin + row * words + word - 1] >> wp.uint64(64 - shift))
    return found


@wp.func
def clashes(
    masks: wp.array[wp.uint64],
    begin: wp.int32,
    words: wp.int32,
    rows: wp.int32,
    taken: wp.array[wp.uint64],
    across: wp.int32,
    x: wp.int32,
    y: wp.int32,
) -> wp.bool:
    """Whether a bitmap whose first cell lies at column x of row y shares a cell with what is taken."""
    first = x >> 6
    shift = x & 63
    last = wp.min(words, across - 1 - first)
    for row in range(rows):
        for word in range(last + 1):
            if (word_at(masks, begin, words, row, word, shift) & taken[(y + row) * across + first + word]) != wp.uint64(
                0
            ):
                return True
    return False


@wp.kernel
def place_kernel(
    # In:
    masks: wp.array[wp.uint64],  # rows of all bitmaps, 64 cells a word, the lowest bit first
    begin: wp.array2d[wp.int32],  # [C, 2] where a bitmap begins in `masks`, as it is and turned
    width: wp.array2d[wp.int32],  # [C, 2] columns
    height: wp.array2d[wp.int32],  # [C, 2] rows
    order: wp.array[wp.int32],  # [C] which comes when
    grid: wp.int32,  # cells per side of the square
    across: wp.int32,  # words per row of the square
    # Out:
    taken: wp.array[wp.uint64],  # [grid * across]
    places: wp.array2d[wp.int32],  # [C, 3] column, row, turned
    missed: wp.array[wp.int32],  # [1] bitmaps without a place; the first ends it
):
    """One thread lays all bitmaps, each to the lowest free place, there to the left; turned if it ends lower so."""
    for index in range(order.shape[0]):
        chart = order[index]
        best_top = grid + 1
        best_x = wp.int32(-1)
        best_y = wp.int32(0)
        best_way = wp.int32(0)
        for way in range(2):
            rows = height[chart, way]
            columns = width[chart, way]
            words = (columns + 63) >> 6
            y = wp.int32(0)
            while y + rows <= grid and y + rows < best_top:
                x = wp.int32(0)
                while x + columns <= grid:
                    if not clashes(masks, begin[chart, way], words, rows, taken, across, x, y):
                        best_top = y + rows
                        best_x = x
                        best_y = y
                        best_way = way
                        break
                    x += 1
                y += 1
        if best_x < 0:
            missed[0] = 1
            return
        words = (width[chart, best_way] + 63) >> 6
        first = best_x >> 6
        last = wp.min(words, across - 1 - first)
        for row in range(height[chart, best_way]):
            for word in range(last + 1):
                place = (best_y + row) * across + first + word
                taken[place] = taken[place] | word_at(masks, begin[chart, best_way], words, row, word, best_x & 63)
        places[chart, 0] = best_x
        places[chart, 1] = best_y
        places[chart, 2] = best_way
