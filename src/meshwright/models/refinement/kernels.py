"""The Warp kernel that moves points by a lattice of control points.

Letters: P points; X, Y, Z control points along the axes.
"""

# mypy: ignore-errors
# (Warp compiles these functions itself; their annotations are its own language.)

from __future__ import annotations

from meshwright._warp import wp

wp.set_module_options({"enable_backward": False})

__all__ = ["displace_kernel"]


@wp.func
def spline(t: wp.float64) -> wp.vec4d:
    """Uniform cubic B-spline weights of the four control points around a place `t` (0..1) between the middle two."""
    one = wp.float64(1.0)
    s = one - t
    four = wp.float64(4.0)
    three = wp.float64(3.0)
    first = s * s * s
    last = t * t * t
    second = three * last - wp.float64(6.0) * t * t + four
    return wp.vec4d(first, second, wp.float64(6.0) - first - second - last, last) / wp.float64(6.0)


@wp.kernel
def displace_kernel(
    # In:
    points: wp.array[wp.vec3d],  # [P]
    origin: wp.vec3d,  # the first control point
    cell: wp.float64,  # distance of neighbours
    controls: wp.array3d[wp.vec3d],  # [X, Y, Z] how far each moves
    # Out:
    moved: wp.array[wp.vec3d],  # [P]
):
    p = wp.tid()
    place = (points[p] - origin) / cell
    corner = wp.vec3d(wp.floor(place[0]), wp.floor(place[1]), wp.floor(place[2]))
    x = spline(place[0] - corner[0])
    y = spline(place[1] - corner[1])
    z = spline(place[2] - corner[2])
    first_x = wp.int32(corner[0]) - 1
    first_y = wp.int32(corner[1]) - 1
    first_z = wp.int32(corner[2]) - 1
    total = wp.vec3d()
    for i in range(4):
        for j in range(4):
            line = wp.vec3d()
            for k in range(4):
                line += z[k] * controls[first_x + i, first_y + j, first_z + k]
            total += (x[i] * y[j]) * line
    moved[p] = total
