# mypy: ignore-errors
# (Warp compiles these functions itself; their annotations are its own language.)
"""Signed distance of an object as Warp functions, shared by all kernels of this package, and kernels on points.

Distances are lower bounds everywhere (exact for most solids), which is what sphere tracing needs. One kernel serves
every object: the solids are data, so a new object compiles nothing. `reference.py` says the same in NumPy.
"""

from __future__ import annotations

from meshwright._warp import wp

wp.set_module_options({"enable_backward": False})


@wp.struct
class SolidData:
    """`solids.Solid`, packed. `paint` is an index into the object's paints."""

    shape: wp.int32
    join: wp.int32
    both_sides: wp.int32
    copies: wp.int32
    copy_axis: wp.int32
    paint: wp.int32
    to_local: wp.mat33
    at: wp.vec3
    home: wp.float32  # angle of the first copy around the copy axis
    size: wp.vec4
    edge: wp.float32
    seam: wp.float32
    bound_centre: wp.vec3
    bound_radius: wp.float32
    bound_slope: wp.float32  # the distance grows at least this fast outside the ball


@wp.func
def soft_min(a: wp.float32, b: wp.float32, width: wp.float32) -> wp.float32:
    """The smaller of two distances, rounded off where they differ by less than `width`."""
    if width <= 0.0:
        return wp.min(a, b)
    h = wp.max(width - wp.abs(a - b), 0.0) / width
    return wp.min(a, b) - h * h * width * 0.25


@wp.func
def shape_distance(s: SolidData, q: wp.vec3) -> wp.float32:
    """Distance of one solid at q in its local frame."""
    size = s.size
    if s.shape == 0:
        radii = wp.vec3(size[0], size[1], size[2])
        u = wp.cw_div(q, radii)
        k0 = wp.length(u)
        k1 = wp.length(wp.cw_div(u, radii))
        if k1 < 1.0e-9:
            return -wp.min(radii)
        return k0 * (k0 - 1.0) / k1
    if s.shape == 1:
        if size[3] == 1.0:
            a = wp.abs(q[0]) - size[0] + s.edge
            b = wp.abs(q[1]) - size[1] + s.edge
            c = wp.abs(q[2]) - size[2] + s.edge
            outside = wp.length(wp.vec3(wp.max(a, 0.0), wp.max(b, 0.0), wp.max(c, 0.0)))
            return outside + wp.min(wp.max(a, wp.max(b, c)), 0.0) - s.edge
        slope_x = size[0] * (1.0 - size[3]) / (2.0 * size[1])
        slope_z = size[2] * (1.0 - size[3]) / (2.0 * size[1])
        dx = (wp.abs(q[0]) - size[0] + slope_x * (q[1] + size[1])) / wp.sqrt(1.0 + slope_x * slope_x)
        dz = (wp.abs(q[2]) - size[2] + slope_z * (q[1] + size[1])) / wp.sqrt(1.0 + slope_z * slope_z)
        sides = -soft_min(-dx, -dz, s.edge)
        return -soft_min(-sides, size[1] - wp.abs(q[1]), s.edge)
    r = wp.length(wp.vec2(q[0], q[2]))
    if s.shape == 2:
        a = r - size[0] + s.edge
        b = wp.abs(q[1]) - size[1] + s.edge
        return wp.min(wp.max(a, b), 0.0) + wp.length(wp.vec2(wp.max(a, 0.0), wp.max(b, 0.0))) - s.edge
    if s.shape == 3:
        lean = (size[0] - size[1]) / size[2]
        upright = wp.sqrt(1.0 - lean * lean)
        k = upright * q[1] - lean * r
        if k < 0.0:
            return wp.length(wp.vec2(r, q[1])) - size[0]
        if k > upright * size[2]:
            return wp.length(wp.vec2(r, q[1] - size[2])) - size[1]
        return upright * r + lean * q[1] - size[0]
    # Beyond the ends of an arc the nearest point is an end. A whole ring has none: the sine of a rounded pi is not 0.
    ax = wp.abs(q[0])
    sin_a = wp.sin(size[2])
    cos_a = wp.cos(size[2])
    if size[2] < 3.1415 and cos_a * ax > sin_a * q[1]:
        return wp.length(wp.vec3(ax - sin_a * size[0], q[1] - cos_a * size[0], q[2])) - size[1]
    return wp.length(wp.vec2(wp.length(wp.vec2(ax, q[1])) - size[0], q[2])) - size[1]


@wp.func
def surface_paint(solids: wp.array[SolidData], p: wp.vec3) -> wp.vec2:
    """Signed distance at p, and the index of the paint of the solid that makes the surface there."""
    total = wp.float32(1.0e6)
    paint = wp.int32(0)
    for i in range(solids.shape[0]):
        s = solids[i]
        m = p
        if s.both_sides == 1:
            m = wp.vec3(wp.abs(p[0]), p[1], p[2])
        if s.copies > 1:
            sector = 2.0 * wp.pi / wp.float32(s.copies)
            u = m[2]
            v = m[0]
            if s.copy_axis == 2:
                u = m[0]
                v = m[1]
            angle = wp.atan2(v, u) - s.home
            angle = s.home + angle - sector * wp.floor(angle / sector + 0.5)
            radius = wp.length(wp.vec2(u, v))
            if s.copy_axis == 2:
                m = wp.vec3(radius * wp.cos(angle), radius * wp.sin(angle), m[2])
            else:
                m = wp.vec3(radius * wp.sin(angle), m[1], radius * wp.cos(angle))
        # A solid too far away to change the result costs one length: this is what makes long lists quick.
        near = wp.length(m - s.bound_centre) - s.bound_radius
        if near > 0.0:
            near *= s.bound_slope
        if s.join == 0:
            if near < total + s.seam:
                d = shape_distance(s, s.to_local * (m - s.at))
                if d < total:
                    paint = s.paint
                total = soft_min(total, d, s.seam)
        elif s.join == 1:
            if near < s.seam - total:
                d = shape_distance(s, s.to_local * (m - s.at))
                if -d > total:
                    paint = s.paint
                total = -soft_min(-total, d, s.seam)
        else:
            d = shape_distance(s, s.to_local * (m - s.at))
            if d > total:
                paint = s.paint
            total = -soft_min(-total, -d, s.seam)
    return wp.vec2(total, wp.float32(paint))


@wp.func
def distance(solids: wp.array[SolidData], p: wp.vec3) -> wp.float32:
    """Signed distance at p."""
    return surface_paint(solids, p)[0]


@wp.func
def normal_at(solids: wp.array[SolidData], p: wp.vec3, step: wp.float32) -> wp.vec3:
    """Unit gradient from four samples at the corners of a tetrahedron."""
    a = wp.vec3(1.0, -1.0, -1.0)
    b = wp.vec3(-1.0, -1.0, 1.0)
    c = wp.vec3(-1.0, 1.0, -1.0)
    d = wp.vec3(1.0, 1.0, 1.0)
    g = a * distance(solids, p + step * a)
    g += b * distance(solids, p + step * b)
    g += c * distance(solids, p + step * c)
    g += d * distance(solids, p + step * d)
    return wp.normalize(g)


@wp.kernel
def distance_kernel(
    # In:
    solids: wp.array[SolidData],
    points: wp.array[wp.vec3],
    # Out:
    distance_out: wp.array[wp.float32],
) -> None:
    """Signed distances at points."""
    i = wp.tid()
    distance_out[i] = distance(solids, points[i])


@wp.kernel
def lattice_kernel(
    # In:
    solids: wp.array[SolidData],
    low: wp.vec3,
    step: wp.float32,
    # Out:
    distance_out: wp.array3d[wp.float32],
) -> None:
    """Signed distances on a lattice."""
    i, j, k = wp.tid()
    distance_out[i, j, k] = distance(solids, low + step * wp.vec3(wp.float32(i), wp.float32(j), wp.float32(k)))


@wp.kernel
def settle_kernel(
    # In:
    solids: wp.array[SolidData],
    low: wp.vec3,
    step: wp.float32,
    places: wp.array[wp.vec3],  # [N] in lattice steps from `low`
    # Out:
    points_out: wp.array[wp.vec3],  # [N]
) -> None:
    """Marching-cubes vertices, each on an edge of the lattice, moved along that edge to where the distance is zero.

    A bisection, because Newton steps hop between the two faces of a crease; the edge's ends differ in sign.
    """
    i = wp.tid()
    place = places[i]
    base = wp.vec3(wp.floor(place[0]), wp.floor(place[1]), wp.floor(place[2]))
    along = wp.vec3()
    for axis in range(3):
        if place[axis] != base[axis]:
            along[axis] = 1.0
    start = low + step * base
    inside_at_start = distance(solids, start) < 0.0
    near = wp.float32(0.0)
    far = wp.float32(1.0)
    for _ in range(24):
        middle = 0.5 * (near + far)
        if (distance(solids, start + along * (step * middle)) < 0.0) == inside_at_start:
            near = middle
        else:
            far = middle
    points_out[i] = start + along * (step * 0.5 * (near + far))
