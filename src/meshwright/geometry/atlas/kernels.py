"""Warp kernels that mark which cells of a chart's own bitmap its triangles touch, which of them lie under others, and
where in the square there is room for a bitmap.

Letters: C charts, F triangles. All bitmaps lie behind each other in one flat array; `begin` says where each begins.
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


@wp.struct
class Plane:
    """A counter-clockwise triangle as rows of cells see it."""

    lean: wp.vec3  # by how much edges a-b, b-c, c-a move along x from row to row
    slope: wp.vec2  # how the height rises along x and y
    low: wp.float32  # of the corners' heights
    high: wp.float32


@wp.func
def lean_of(a: wp.vec2, b: wp.vec2) -> float:
    """How far edge a-b moves along x, for each unit along y; 0 where it lies along x."""
    if b[1] == a[1]:
        return 0.0
    return (b[0] - a[0]) / (b[1] - a[1])


@wp.func
def plane_of(a: wp.vec2, b: wp.vec2, c: wp.vec2, heights: wp.vec3) -> Plane:
    u = b - a
    v = c - a
    area = u[0] * v[1] - u[1] * v[0]
    rise = heights[1] - heights[0]
    climb = heights[2] - heights[0]
    plane = Plane()
    plane.lean = wp.vec3(lean_of(a, b), lean_of(b, c), lean_of(c, a))
    plane.slope = wp.vec2((rise * v[1] - climb * u[1]) / area, (climb * u[0] - rise * v[0]) / area)
    plane.low = wp.min(heights)
    plane.high = wp.max(heights)
    return plane


@wp.func
def cells_between(a: wp.vec2, b: wp.vec2, lean: float, y: float, span: wp.vec2) -> wp.vec2:
    """What edge a-b of a counter-clockwise triangle leaves of a span of columns, by the cell centres on line `y`."""
    # In columns: the centre of column 0 is at 0.5.
    x = a[0] + lean * (y - a[1]) - 0.5
    if b[1] < a[1]:
        return wp.vec2(wp.max(span[0], wp.ceil(x)), span[1])
    if b[1] > a[1]:
        return wp.vec2(span[0], wp.min(span[1], wp.floor(x)))
    if (b[0] - a[0]) * (y - a[1]) < 0.0:
        return wp.vec2(1.0, 0.0)
    return span


@wp.func
def cells_across(plane: Plane, a: wp.vec2, b: wp.vec2, c: wp.vec2, y: float, span: wp.vec2) -> wp.vec2:
    """The first and the last column of a span whose cell centres on line `y` the triangle covers."""
    left = cells_between(a, b, plane.lean[0], y, span)
    left = cells_between(b, c, plane.lean[1], y, left)
    return cells_between(c, a, plane.lean[2], y, left)


@wp.struct
class Line:
    """What a triangle covers of a row of cells, and how high it is there."""

    first: wp.int32  # column
    last: wp.int32  # included
    start: wp.float32  # the height at the centre of column 0


@wp.func
def line_at(plane: Plane, a: wp.vec2, b: wp.vec2, c: wp.vec2, height: float, box: Box, row: wp.int32) -> Line:
    """A row of a triangle whose corner `a` is at `height`."""
    y = wp.float32(row) + 0.5
    span = cells_across(plane, a, b, c, y, wp.vec2(wp.float32(box.low_x), wp.float32(box.high_x)))
    line = Line()
    line.first = wp.int32(span[0])
    line.last = wp.int32(span[1])
    line.start = height + plane.slope[1] * (y - a[1]) + plane.slope[0] * (0.5 - a[0])
    return line


@wp.func
def level_at(plane: Plane, start: float, x: wp.int32) -> float:
    """The height `x` columns from the start of a row, kept between the corners': the slope of a sliver is anything."""
    return wp.clamp(start + plane.slope[0] * wp.float32(x), plane.low, plane.high)


@wp.func
def winds(a: wp.vec2, b: wp.vec2, c: wp.vec2) -> wp.bool:
    """Whether the triangle has an area, and runs counter-clockwise."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) > 0.0


@wp.kernel
def mark_touched_kernel(
    # In:
    corners: wp.array2d[wp.vec2],  # [F, 3]
    charts: wp.array[wp.int32],  # [F] which bitmap
    begin: wp.array[wp.int32],  # [C] where a bitmap begins in `touched`
    width: wp.array[wp.int32],  # [C] its columns
    height: wp.array[wp.int32],  # [C] its rows
    margin: float,  # cells
    # Out:
    touched: wp.array[wp.uint8],
):
    """Mark cells whose square comes within `margin` of the triangle; a little more at sharp corners, never less."""
    f = wp.tid()
    a = corners[f, 0]
    b = corners[f, 1]
    c = corners[f, 2]
    chart = charts[f]
    columns = width[chart]
    box = reach_of(a, b, c, margin, columns, height[chart])
    # A square of side 1 reaches sqrt(1/2) from its centre.
    least = -(margin + 0.7072)
    for y in range(box.low_y, box.high_y + 1):
        for x in range(box.low_x, box.high_x + 1):
            p = wp.vec2(wp.float32(x) + 0.5, wp.float32(y) + 0.5)
            if inside_by(a, b, p) >= least and inside_by(b, c, p) >= least and inside_by(c, a, p) >= least:
                touched[begin[chart] + y * columns + x] = wp.uint8(1)


@wp.kernel
def raise_height_kernel(
    # In:
    corners: wp.array2d[wp.vec2],  # [F, 3]
    heights: wp.array[wp.vec3],  # [F] at the three corners
    charts: wp.array[wp.int32],  # [F]
    begin: wp.array[wp.int32],  # [C]
    width: wp.array[wp.int32],  # [C]
    height: wp.array[wp.int32],  # [C]
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
    chart = charts[f]
    columns = width[chart]
    if winds(a, b, c):
        box = reach_of(a, b, c, 0.0, columns, height[chart])
        plane = plane_of(a, b, c, heights[f])
        for y in range(box.low_y, box.high_y + 1):
            row = begin[chart] + y * columns
            if row >= first and row < stop:
                line = line_at(plane, a, b, c, heights[f][0], box, y)
                for x in range(line.first, line.last + 1):
                    top[row + x] = wp.max(top[row + x], level_at(plane, line.start, x))


@wp.kernel
def find_hidden_kernel(
    # In:
    corners: wp.array2d[wp.vec2],  # [F, 3]
    heights: wp.array[wp.vec3],  # [F] at the three corners
    charts: wp.array[wp.int32],  # [F]
    begin: wp.array[wp.int32],  # [C]
    width: wp.array[wp.int32],  # [C]
    height: wp.array[wp.int32],  # [C]
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
    chart = charts[f]
    columns = width[chart]
    if winds(a, b, c):
        box = reach_of(a, b, c, 0.0, columns, height[chart])
        plane = plane_of(a, b, c, heights[f])
        for y in range(box.low_y, box.high_y + 1):
            row = begin[chart] + y * columns
            if row >= first and row < stop:
                line = line_at(plane, a, b, c, heights[f][0], box, y)
                # A cell centre on a shared edge may count for both faces; they then agree about the height.
                for x in range(line.first, line.last + 1):
                    if level_at(plane, line.start, x) < top[row + x] - slack:
                        hidden[f] = wp.uint8(1)
                        return


@wp.func
def find_runs(
    cells: wp.array[wp.uint8],
    begin: wp.int32,
    columns: wp.int32,
    rows: wp.int32,
    turned: wp.int32,
    first: wp.int32,
    runs: wp.array[wp.vec3i],
) -> wp.int32:
    """List the runs of marked cells, row by row, from place `first` on: row, first column, column after the last.

    The rows are those of the bitmap as it is, or after a quarter turn, in which (x, y) comes to (rows - 1 - y, x).

    Returns:
        The place after the last run.
    """
    across = columns
    up = rows
    # By how much the next cell of a row lies further on, and the first cell of the next row.
    beside = wp.int32(1)
    above = columns
    start = begin
    if turned > 0:
        across = rows
        up = columns
        beside = -columns
        above = wp.int32(1)
        start = begin + (rows - 1) * columns
    count = first
    for y in range(up):
        x = wp.int32(0)
        while x < across:
            if cells[start + y * above + x * beside] != wp.uint8(0):
                low = x
                while x < across and cells[start + y * above + x * beside] != wp.uint8(0):
                    x += 1
                runs[count] = wp.vec3i(y, low, x)
                count += 1
            x += 1
    return count


@wp.func
def take(
    row: wp.int32, low: wp.int32, high: wp.int32, next_taken: wp.array2d[wp.int32], next_free: wp.array2d[wp.int32]
):
    """Mark columns from `low` to `high` (left out) of a row of the square as taken."""
    after = next_free[row, high]
    for back in range(1, high + 1):
        x = high - back
        if x >= low:
            next_taken[row, x] = x
            next_free[row, x] = after
        elif next_free[row, x] == x:
            next_taken[row, x] = next_taken[row, x + 1]
        else:
            next_free[row, x] = next_free[row, x + 1]


@wp.kernel
def place_kernel(
    # In:
    cells: wp.array[wp.uint8],  # all bitmaps, row by row
    begin: wp.array[wp.int32],  # [C] where a bitmap begins in `cells`
    width: wp.array[wp.int32],  # [C] its columns
    height: wp.array[wp.int32],  # [C] its rows
    order: wp.array[wp.int32],  # [C] which comes when
    grid: wp.int32,  # cells per side of the square
    # Scratch:
    runs: wp.array[wp.vec3i],  # room for those of any bitmap, as it is and turned
    next_taken: wp.array2d[wp.int32],  # [grid, grid + 1] the first taken column from here on; `grid` at first
    next_free: wp.array2d[wp.int32],  # [grid, grid + 1] the first free one; each its own at first
    # Out:
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
        best_first = wp.int32(0)
        best_stop = wp.int32(0)
        first = wp.int32(0)
        for way in range(2):
            columns = width[chart]
            rows = height[chart]
            if way > 0:
                columns = height[chart]
                rows = width[chart]
            stop = find_runs(cells, begin[chart], width[chart], height[chart], way, first, runs)
            run = first
            y = wp.int32(0)
            while y + rows <= grid and y + rows < best_top:
                x = wp.int32(0)
                clear = first
                while clear < stop and x + columns <= grid:
                    low = runs[run][1]
                    hit = next_taken[y + runs[run][0], x + low]
                    if hit < x + runs[run][2]:
                        # No place to the left of where this run begins behind what it ran into can be free.
                        x = next_free[y + runs[run][0], hit] - low
                        clear = first
                    else:
                        clear += 1
                        run += 1
                        if run == stop:
                            run = first
                if x + columns <= grid:
                    best_top = y + rows
                    best_x = x
                    best_y = y
                    best_way = way
                    best_first = first
                    best_stop = stop
                y += 1
            first = stop
        if best_x < 0:
            missed[0] = 1
            return
        for number in range(best_first, best_stop):
            found = runs[number]
            take(best_y + found[0], best_x + found[1], best_x + found[2], next_taken, next_free)
        places[chart, 0] = best_x
        places[chart, 1] = best_y
        places[chart, 2] = best_way
