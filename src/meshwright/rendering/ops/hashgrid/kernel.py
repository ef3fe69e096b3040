"""Features of points from lattices of ever smaller cells, and their gradients.

A thread has one point at one level: item = level * points + point, so that neighbouring threads read the same level and
a CPU can give each of its cores whole levels, whose entries nobody else writes.
"""

# mypy: ignore-errors

from __future__ import annotations

from meshwright._warp import wp
from meshwright.rendering.ops.scatter import Sum, add_up
from meshwright.rendering.ops.warps import BUSY, peers

wp.set_module_options({"enable_backward": False})

# The paper's: large primes, and 1 along x, where neighbours then stay neighbours in memory.
PRIME_Y = wp.constant(wp.uint32(2654435761))
PRIME_Z = wp.constant(wp.uint32(805459861))


@wp.struct
class Cell:
    """Where a point lies at one level."""

    x: wp.int32  # of its lower corner, in lattice points
    y: wp.int32
    z: wp.int32
    share: wp.vec3  # of the way to the upper corner
    slope: wp.vec3  # d share / d point; 0 beyond the box, where the border goes on


@wp.struct
class Axis:
    """A coordinate at one level: cell, share of the way through it, d share / d coordinate."""

    cell: wp.int32
    share: wp.float32
    slope: wp.float32


@wp.func
def axis_of(coordinate: wp.float32, resolution: wp.int32) -> Axis:
    """A coordinate 0 .. 1 among `resolution` cells."""
    result = Axis()
    inside = wp.clamp(coordinate, 0.0, 1.0)
    # Written so that NaN too becomes 0: an index made of it could be anything.
    if not inside >= 0.0:
        inside = wp.float32(0.0)
    result.slope = wp.where(inside == coordinate, wp.float32(resolution), 0.0)
    place = inside * wp.float32(resolution)
    result.cell = wp.min(wp.int32(place), resolution - 1)
    result.share = place - wp.float32(result.cell)
    return result


@wp.func
def cell_of(point: wp.vec3, resolution: wp.int32) -> Cell:
    x = axis_of(point[0], resolution)
    y = axis_of(point[1], resolution)
    z = axis_of(point[2], resolution)
    result = Cell()
    result.x = x.cell
    result.y = y.cell
    result.z = z.cell
    result.share = wp.vec3(x.share, y.share, z.share)
    result.slope = wp.vec3(x.slope, y.slope, z.slope)
    return result


@wp.func
def entry_of(cell: Cell, corner: wp.int32, level: wp.vec4i) -> wp.int32:
    """The entry of one of the eight corners; `level` is resolution, first entry, entries, whether they are hashed."""
    x = cell.x + (corner & 1)
    y = cell.y + ((corner >> 1) & 1)
    z = cell.z + (corner >> 2)
    if level[3] == 1:
        mixed = wp.uint32(x) ^ (wp.uint32(y) * PRIME_Y) ^ (wp.uint32(z) * PRIME_Z)
        return level[1] + wp.int32(mixed & wp.uint32(level[2] - 1))
    side = level[0] + 1
    return level[1] + x + side * (y + side * z)


@wp.func
def pick(share: wp.float32, upper: wp.int32) -> wp.float32:
    return wp.where(upper == 1, share, 1.0 - share)


@wp.func
def weight_of(share: wp.vec3, corner: wp.int32) -> wp.float32:
    return pick(share[0], corner & 1) * pick(share[1], (corner >> 1) & 1) * pick(share[2], corner >> 2)


def make_encode_kernel(features: int) -> wp.Kernel:
    """The blended features of a point at one level."""

    @wp.kernel(enable_backward=False, module="unique", **BUSY)
    def encode_kernel(
        # In:
        first: wp.int32,
        points: wp.array[wp.vec3],  # [P], 0 .. 1
        count: wp.int32,  # P
        table: wp.array[wp.float32],  # [T features]
        levels: wp.array[wp.vec4i],  # [L]: resolution, first entry, entries, whether hashed
        point_stride: wp.int32,  # numbers from one point to the next in `out`
        feature_stride: wp.int32,  # and from one feature to the next
        # Out:
        out: wp.array[wp.float32],  # [P, L features] in any order
    ):
        item = first + wp.tid()
        number = item // count
        point = item - number * count
        level = levels[number]
        cell = cell_of(points[point], level[0])
        blend = wp.vec4(0.0, 0.0, 0.0, 0.0)
        for corner in range(8):
            weight = weight_of(cell.share, corner)
            at = entry_of(cell, corner, level) * features
            for k in range(features):
                blend[k] += weight * table[at + k]
        to = point * point_stride + number * features * feature_stride
        for k in range(features):
            out[to + k * feature_stride] = blend[k]

    return encode_kernel


def make_table_kernel(features: int) -> wp.Kernel:
    """From the features of a point at one level back to its eight entries."""

    @wp.kernel(enable_backward=False, module="unique", **BUSY)
    def table_kernel(
        # In:
        first: wp.int32,
        points: wp.array[wp.vec3],  # [P]
        count: wp.int32,  # P
        levels: wp.array[wp.vec4i],  # [L]
        dout: wp.array[wp.float32],  # [P, L features] in any order
        point_stride: wp.int32,
        feature_stride: wp.int32,
        # Out:
        dtable: Sum,  # [T features]
    ):
        item = first + wp.tid()
        number = item // count
        point = item - number * count
        level = levels[number]
        cell = cell_of(points[point], level[0])
        source = point * point_stride + number * features * feature_stride
        gradient = wp.vec4(0.0, 0.0, 0.0, 0.0)
        for k in range(features):
            gradient[k] = dout[source + k * feature_stride]
        # Threads of a CUDA warp that are in one cell have all eight corners in common; but each its own weights.
        key = cell.x + (cell.y << 15)
        among = peers(key, cell.z * 32 + number)
        for corner in range(8):
            at = entry_of(cell, corner, level) * features
            add_up(dtable, at, weight_of(cell.share, corner) * gradient, features, features, key, among)

    return table_kernel


def make_point_kernel(features: int) -> wp.Kernel:
    """From the features of a point at all levels back to where it is."""

    @wp.kernel(enable_backward=False, module="unique", **BUSY)
    def point_kernel(
        # In:
        first: wp.int32,
        points: wp.array[wp.vec3],  # [P]
        table: wp.array[wp.float32],  # [T features]
        levels: wp.array[wp.vec4i],  # [L]
        depth: wp.int32,  # L
        dout: wp.array[wp.float32],  # [P, L features] in any order
        point_stride: wp.int32,
        feature_stride: wp.int32,
        # Out:
        dpoints: wp.array[wp.vec3],  # [P]
    ):
        point = first + wp.tid()
        total = wp.vec3(0.0, 0.0, 0.0)
        for number in range(depth):
            level = levels[number]
            cell = cell_of(points[point], level[0])
            source = point * point_stride + number * features * feature_stride
            low = wp.vec4(0.0, 0.0, 0.0, 0.0)  # along the gradient, at the corners with lower x: by y, then by z
            high = wp.vec4(0.0, 0.0, 0.0, 0.0)
            for pair in range(4):
                before = entry_of(cell, 2 * pair, level) * features
                after = entry_of(cell, 2 * pair + 1, level) * features
                for k in range(features):
                    g = dout[source + k * feature_stride]
                    low[pair] += g * table[before + k]
                    high[pair] += g * table[after + k]
            y = cell.share[1]
            z = cell.share[2]
            step = high - low
            middle = low + cell.share[0] * step
            total += wp.vec3(
                cell.slope[0]
                * ((1.0 - z) * (step[0] + y * (step[1] - step[0])) + z * (step[2] + y * (step[3] - step[2]))),
                cell.slope[1] * ((1.0 - z) * (middle[1] - middle[0]) + z * (middle[3] - middle[2])),
                cell.slope[2] * ((1.0 - y) * (middle[2] - middle[0]) + y * (middle[3] - middle[1])),
            )
        dpoints[point] = total

    return point_kernel
