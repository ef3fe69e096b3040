"""Warp kernels of the lattices and of what is extracted from them. One source for CPU and CUDA.

The first parameter of each is the first item that a launch does (see `meshwright.programs.over_items`).
"""

from __future__ import annotations

from meshwright._warp import wp

__all__ = ["corner_kernel", "slot_kernel"]


@wp.kernel
def corner_kernel(
    # In:
    first: wp.int32,
    names: wp.array(dtype=wp.int64),  # [T] numbers of names, see tetrahedra.py
    name_low: wp.int32,
    name_y: wp.int64,  # sides of the box of names
    name_z: wp.int64,
    low: wp.int32,
    side_y: wp.int64,  # sides of the box of places
    side_z: wp.int64,
    top_x: wp.int32,  # the domain's upper corner
    top_y: wp.int32,
    top_z: wp.int32,
    # Out:
    corners: wp.array(dtype=wp.int64),  # [T 4] numbers of places; -1 for a point that no domain has
):
    """From names to corners, the same as `tetrahedra.corners_of`."""
    t = first + wp.tid()
    number = names[t]
    line = number // name_z
    name = wp.vec3i()
    name[0] = wp.int32(line // name_y) + name_low
    name[1] = wp.int32(line % name_y) + name_low
    name[2] = wp.int32(number % name_z) + name_low
    top = wp.vec3i(top_x, top_y, top_z)
    along = wp.int32(0)
    odd = wp.int32(0)
    across = wp.int32(0)
    side = wp.int32(1)
    middle = wp.vec3i()
    for axis in range(3):
        left = name[axis] & 3
        if left == 0:
            along = axis
            middle[axis] = name[axis] >> 1
        elif left == 2:
            across = axis
            middle[axis] = name[axis] >> 1
        else:
            odd = axis
            if left == 1:
                side = -1
            middle[axis] = (name[axis] - side) >> 1
    swap = wp.int32(0)
    if ((odd - along + 3) % 3 == 1) != (side > 0):
        swap = 1
    for corner in range(4):
        p = middle
        if corner < 2:
            p[along] = p[along] + 2 * corner - 1
        else:
            p[odd] = p[odd] + side
            p[across] = p[across] + 2 * (corner ^ swap) - 5
        beyond = wp.int32(0)
        for axis in range(3):
            if p[axis] < 0 or p[axis] > top[axis]:
                beyond += 1
            if p[axis] < -1 or p[axis] > top[axis] + 1:
                beyond += 2
        found = wp.int64(-1)
        if beyond < 2:
            found = (wp.int64(p[0] - low) * side_y + wp.int64(p[1] - low)) * side_z + wp.int64(p[2] - low)
        corners[4 * t + corner] = found


@wp.kernel
def slot_kernel(
    # In:
    first: wp.int32,
    numbers: wp.array(dtype=wp.int64),  # [V] of places, sorted
    tets: wp.array(dtype=wp.int32),  # [T 4]
    links: wp.array(dtype=wp.int64),  # [7] differences of numbers along the links
    # Out:
    slots: wp.array(dtype=wp.int32),  # [T 6] 7 times the lower end and which link leads to the upper one
):
    t = first + wp.tid()
    slot = wp.int32(0)
    for i in range(3):
        for j in range(i + 1, 4):
            a = tets[4 * t + i]
            b = tets[4 * t + j]
            lower = wp.min(a, b)
            step = numbers[wp.max(a, b)] - numbers[lower]
            link = wp.int32(0)
            for k in range(7):
                if links[k] == step:
                    link = k
            slots[6 * t + slot] = 7 * lower + link
            slot += 1
