"""Warp kernels that raise a field around single voxels, tile by tile. One source for CPU and CUDA."""

# mypy: ignore-errors

from __future__ import annotations

from meshwright._warp import wp

__all__ = ["TILE", "blur_kernel", "demand_kernel", "rise_kernel", "widen_kernel"]

TILE = 4
"""Edge of the cubes of voxels that kernels are launched on, voxels."""


@wp.func
def voxel_of(tile: wp.vec3i, i: int, j: int, k: int) -> wp.vec3i:
    """The voxel at (i, j, k) of a tile."""
    return wp.vec3i(tile[0] * 4 + i, tile[1] * 4 + j, tile[2] * 4 + k)


@wp.func
def mirrored(place: int, size: int) -> int:
    """An index beyond the borders mirrored at them; the voxels there stand twice."""
    inner = wp.int32(place)
    while inner < 0 or inner >= size:
        inner = -1 - inner if inner < 0 else 2 * size - 1 - inner
    return inner


@wp.func
def pair_beside(line: wp.array(dtype=wp.float32), start: int, stride: int, size: int, place: int, step: int) -> wp.vec2:
    """The two values `step` voxels before and behind a place on a line of the grid."""
    if place >= step and place + step < size:
        here = start + place * stride
        return wp.vec2(line[here - step * stride], line[here + step * stride])
    return wp.vec2(
        line[start + mirrored(place - step, size) * stride], line[start + mirrored(place + step, size) * stride]
    )


@wp.kernel
def demand_kernel(
    # In:
    places: wp.array(dtype=wp.vec3i),  # [K] voxels
    demands: wp.array(dtype=wp.float32),  # [K]
    # In and out:
    field: wp.array3d(dtype=wp.float32),  # [X, Y, Z] the largest demand on each voxel
):
    i = wp.tid()
    at = places[i]
    wp.atomic_max(field, at[0], at[1], at[2], demands[i])


@wp.kernel
def widen_kernel(
    # In:
    tiles: wp.array(dtype=wp.vec3i),  # [T] launched on [T, TILE, TILE, TILE]
    size: wp.vec3i,  # X, Y, Z
    field: wp.array(dtype=wp.float32),  # [X * Y * Z]
    axis: int,
    stride: int,  # of that axis
    # Out:
    widened: wp.array(dtype=wp.float32),  # [X * Y * Z] the largest of three neighbours
):
    t, i, j, k = wp.tid()
    at = voxel_of(tiles[t], i, j, k)
    if at[0] >= size[0] or at[1] >= size[1] or at[2] >= size[2]:
        return
    here = (at[0] * size[1] + at[1]) * size[2] + at[2]
    pair = pair_beside(field, here - at[axis] * stride, stride, size[axis], at[axis], 1)
    widened[here] = wp.max(field[here], wp.max(pair[0], pair[1]))


@wp.kernel
def blur_kernel(
    # In:
    tiles: wp.array(dtype=wp.vec3i),  # [T] as above
    size: wp.vec3i,  # X, Y, Z
    field: wp.array(dtype=wp.float32),  # [X * Y * Z]
    axis: int,
    stride: int,  # of that axis
    weights: wp.array(dtype=wp.float64),  # [R + 1] of the voxel itself and of those 1 to R away
    # Out:
    blurred: wp.array(dtype=wp.float32),  # [X * Y * Z]
):
    t, i, j, k = wp.tid()
    at = voxel_of(tiles[t], i, j, k)
    if at[0] >= size[0] or at[1] >= size[1] or at[2] >= size[2]:
        return
    here = (at[0] * size[1] + at[1]) * size[2] + at[2]
    start = here - at[axis] * stride
    # Farthest first and in float64, as SciPy adds: the same bits.
    total = wp.float64(field[here]) * weights[0]
    step = weights.shape[0] - 1
    while step > 0:
        pair = pair_beside(field, start, stride, size[axis], at[axis], step)
        total += (wp.float64(pair[0]) + wp.float64(pair[1])) * weights[step]
        step -= 1
    blurred[here] = wp.float32(total)


@wp.kernel
def rise_kernel(
    # In:
    tiles: wp.array(dtype=wp.vec3i),  # [T] as above
    blurred: wp.array3d(dtype=wp.float32),  # [X, Y, Z]
    least: wp.array3d(dtype=wp.float32),  # [X, Y, Z] what the field rises by at least
    hull: wp.array3d(dtype=wp.float32),  # [X, Y, Z]
    # In and out:
    field: wp.array3d(dtype=wp.float32),  # [X, Y, Z]
):
    t, i, j, k = wp.tid()
    at = voxel_of(tiles[t], i, j, k)
    if at[0] >= field.shape[0] or at[1] >= field.shape[1] or at[2] >= field.shape[2]:
        return
    rise = wp.max(blurred[at[0], at[1], at[2]], least[at[0], at[1], at[2]])
    field[at[0], at[1], at[2]] = wp.min(field[at[0], at[1], at[2]] + rise, hull[at[0], at[1], at[2]])
