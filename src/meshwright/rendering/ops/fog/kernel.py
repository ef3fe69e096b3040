"""Rays through a fog on a voxel grid, and their gradients.

A thread has one ray, and walks it from front to back. The backward pass walks it again: what lies behind a sample is
the total less what was met so far, so nothing is stored along the way.
"""

# mypy: ignore-errors

from __future__ import annotations

from meshwright._warp import wp
from meshwright.rendering.ops.scatter import Sum, add

wp.set_module_options({"enable_backward": False})

DARK = wp.constant(wp.float32(1.0e-3))
"""A ray ends where so little is left of it."""


@wp.struct
class Cell:
    """Where a point lies on the grid."""

    corner: wp.int32  # the number of its lower corner
    along_x: wp.int32  # to the next corner along x, and along y; along z it is 1
    along_y: wp.int32
    share: wp.vec3


@wp.struct
class Span:
    """Where a ray is within the grid, in steps of its direction."""

    start: wp.float32
    stop: wp.float32


@wp.func
def span_of(origin: wp.vec3, way: wp.vec3, size: wp.vec3i) -> Span:
    """Between the first and last corners of the grid."""
    span = Span()
    span.start = wp.float32(0.0)
    span.stop = wp.float32(1.0e30)
    for axis in range(3):
        far = wp.float32(size[axis] - 1)
        if wp.abs(way[axis]) > 1.0e-9:
            a = -origin[axis] / way[axis]
            b = (far - origin[axis]) / way[axis]
            span.start = wp.max(span.start, wp.min(a, b))
            span.stop = wp.min(span.stop, wp.max(a, b))
        elif origin[axis] < 0.0 or origin[axis] > far:
            span.stop = wp.float32(-1.0)
    return span


@wp.func
def cell_of(point: wp.vec3, size: wp.vec3i) -> Cell:
    """The cell that a point of the grid is in."""
    x = wp.clamp(wp.int32(point[0]), 0, size[0] - 2)
    y = wp.clamp(wp.int32(point[1]), 0, size[1] - 2)
    z = wp.clamp(wp.int32(point[2]), 0, size[2] - 2)
    cell = Cell()
    cell.along_x = size[1] * size[2]
    cell.along_y = size[2]
    cell.corner = x * cell.along_x + y * cell.along_y + z
    cell.share = point - wp.vec3(wp.float32(x), wp.float32(y), wp.float32(z))
    return cell


@wp.func
def corner_at(cell: Cell, number: wp.int32) -> wp.int32:
    """Which voxel one of the eight corners is."""
    return cell.corner + (number >> 2) * cell.along_x + ((number >> 1) & 1) * cell.along_y + (number & 1)


@wp.func
def weight_at(cell: Cell, number: wp.int32) -> wp.float32:
    """How much that corner counts."""
    x = wp.where((number >> 2) == 1, cell.share[0], 1.0 - cell.share[0])
    y = wp.where(((number >> 1) & 1) == 1, cell.share[1], 1.0 - cell.share[1])
    z = wp.where((number & 1) == 1, cell.share[2], 1.0 - cell.share[2])
    return x * y * z


@wp.func
def blend(grid: wp.array(dtype=wp.vec4), cell: Cell) -> wp.vec4:
    """The grid between its voxels."""
    value = wp.vec4()
    for number in range(8):
        value += weight_at(cell, number) * grid[corner_at(cell, number)]
    return value


@wp.func
def thickness(raw: wp.float32) -> wp.float32:
    """Extinction per cell: softplus."""
    return wp.max(raw, 0.0) + wp.log(1.0 + wp.exp(-wp.abs(raw)))


@wp.func
def is_open(mask: wp.array(dtype=wp.uint8), point: wp.vec3, size: wp.vec3i) -> wp.bool:
    """Whether there may be fog in the nearest voxel."""
    x = wp.clamp(wp.int32(point[0] + 0.5), 0, size[0] - 1)
    y = wp.clamp(wp.int32(point[1] + 0.5), 0, size[1] - 1)
    z = wp.clamp(wp.int32(point[2] + 0.5), 0, size[2] - 1)
    return mask[(x * size[1] + y) * size[2] + z] > wp.uint8(0)


@wp.kernel
def march_kernel(
    first: wp.int32,
    # In:
    origins: wp.array(dtype=wp.vec3),  # [R]
    ways: wp.array(dtype=wp.vec3),  # [R]
    jitter: wp.array(dtype=wp.float32),  # [R]
    wanted: wp.array(dtype=wp.vec3),  # [R]
    grid: wp.array(dtype=wp.vec4),  # [X Y Z]
    mask: wp.array(dtype=wp.uint8),  # [X Y Z]
    nx: wp.int32,
    ny: wp.int32,
    nz: wp.int32,
    step: wp.float32,
    # Out:
    seen: wp.array(dtype=wp.vec4),  # [R]
    apart: wp.array(dtype=wp.float32),  # [R]
):
    ray = first + wp.tid()
    size = wp.vec3i(nx, ny, nz)
    origin = origins[ray]
    way = ways[ray]
    span = span_of(origin, way, size)
    left = wp.float32(1.0)
    colour = wp.vec3()
    off = wp.float32(0.0)
    t = span.start + jitter[ray] * step
    while t < span.stop and left > DARK:
        point = origin + t * way
        if is_open(mask, point, size):
            value = blend(grid, cell_of(point, size))
            clear = wp.exp(-thickness(value[3]) * step)
            weight = left * (1.0 - clear)
            here = wp.vec3(value[0], value[1], value[2])
            colour += weight * here
            off += weight * wp.length_sq(here - wanted[ray])
            left *= clear
        t += step
    seen[ray] = wp.vec4(colour[0], colour[1], colour[2], 1.0 - left)
    apart[ray] = off


@wp.kernel
def gradient_kernel(
    first: wp.int32,
    # In:
    origins: wp.array(dtype=wp.vec3),  # [R]
    ways: wp.array(dtype=wp.vec3),  # [R]
    jitter: wp.array(dtype=wp.float32),  # [R]
    wanted: wp.array(dtype=wp.vec3),  # [R]
    grid: wp.array(dtype=wp.vec4),  # [X Y Z]
    mask: wp.array(dtype=wp.uint8),  # [X Y Z]
    nx: wp.int32,
    ny: wp.int32,
    nz: wp.int32,
    step: wp.float32,
    seen: wp.array(dtype=wp.vec4),  # [R]
    apart: wp.array(dtype=wp.float32),  # [R]
    dseen: wp.array(dtype=wp.vec4),  # [R]
    dapart: wp.array(dtype=wp.float32),  # [R]
    # Out:
    dgrid: Sum,  # [4 X Y Z]
):
    ray = first + wp.tid()
    size = wp.vec3i(nx, ny, nz)
    origin = origins[ray]
    way = ways[ray]
    span = span_of(origin, way, size)
    g = dseen[ray]
    pull = wp.vec3(g[0], g[1], g[2])
    behind = wp.dot(g, seen[ray]) + dapart[ray] * apart[ray]
    left = wp.float32(1.0)
    t = span.start + jitter[ray] * step
    while t < span.stop and left > DARK:
        point = origin + t * way
        if is_open(mask, point, size):
            cell = cell_of(point, size)
            value = blend(grid, cell)
            clear = wp.exp(-thickness(value[3]) * step)
            weight = left * (1.0 - clear)
            here = wp.vec3(value[0], value[1], value[2])
            away = here - wanted[ray]
            worth = wp.dot(pull, here) + g[3] + dapart[ray] * wp.length_sq(away)
            behind -= weight * worth
            # d weight / d extinction is what is left after the sample; all behind it dims by as much.
            rise = step * (left * clear * worth - behind) / (1.0 + wp.exp(-value[3]))
            lean = weight * (pull + 2.0 * dapart[ray] * away)
            for number in range(8):
                share = weight_at(cell, number)
                place = 4 * corner_at(cell, number)
                add(dgrid, place, share * lean[0])
                add(dgrid, place + 1, share * lean[1])
                add(dgrid, place + 2, share * lean[2])
                add(dgrid, place + 3, share * rise)
            left *= clear
        t += step


@wp.kernel
def clearance_kernel(
    first: wp.int32,
    # In:
    voxels: wp.array(dtype=wp.vec3i),  # [P]
    stands: wp.array(dtype=wp.vec3),  # [V] where cameras are, in cells
    views: wp.int32,
    grid: wp.array(dtype=wp.vec4),  # [X Y Z]
    mask: wp.array(dtype=wp.uint8),  # [X Y Z]
    nx: wp.int32,
    ny: wp.int32,
    nz: wp.int32,
    step: wp.float32,
    least: wp.float32,  # a way darker than this is not followed to its end
    # Out:
    best: wp.array(dtype=wp.vec3),  # [P]
):
    """How much of a voxel the three cameras see that see most of it."""
    item = first + wp.tid()
    size = wp.vec3i(nx, ny, nz)
    place = wp.vec3(wp.float32(voxels[item][0]), wp.float32(voxels[item][1]), wp.float32(voxels[item][2]))
    top = wp.vec3()
    for view in range(views):
        way = wp.normalize(stands[view] - place)
        stop = span_of(place, way, size).stop
        left = wp.float32(1.0)
        t = 0.5 * step
        while t < stop and left > wp.max(least, top[2]):
            point = place + t * way
            if is_open(mask, point, size):
                left *= wp.exp(-thickness(blend(grid, cell_of(point, size))[3]) * step)
            t += step
        if left > top[0]:
            top = wp.vec3(left, top[0], top[1])
        elif left > top[1]:
            top = wp.vec3(top[0], left, top[1])
        elif left > top[2]:
            top = wp.vec3(top[0], top[1], left)
    best[item] = top
