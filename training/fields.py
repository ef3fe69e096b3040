# mypy: ignore-errors
# (Warp compiles these functions itself; their annotations are its own language.)
"""Many procedural objects at once as signed distances: lattices, and pictures by sphere tracing. Warp, CPU and CUDA.

The solids are those of `meshwright.synth`, plus a few shapes, and every object may be bent, twisted and rippled as a
whole. Three frames: an object's own (where its solids stand), the same turned, and the world, in which the object's
longest side is 1 and its box is centred: world = (turn own - centre) / unit.
"""

from __future__ import annotations

from meshwright._warp import wp
from meshwright.synth.field_kernel import SolidData, shape_distance, soft_min
from meshwright.synth.paint_kernel import DecalData, PaintData, albedo

wp.set_module_options({"enable_backward": False})

SUPERQUADRIC, PRISM, FRUSTUM = 5, 6, 7
"""Shapes beyond those of `meshwright.synth`: size = three radii and exponent; outer radius, inner radius as a share,
half height, corners (a star along Y); lower radius, upper radius, half height (along Y)."""


@wp.struct
class BodyData:
    """One object."""

    first: wp.int32  # its solids are first <= i < last
    last: wp.int32
    first_paint: wp.int32
    turn: wp.mat33  # own frame to the turned one
    reach: wp.float32  # it lies within this distance of its own origin
    twist: wp.float32  # radians per own unit along Y
    bend: wp.float32  # radians per own unit along Y, about Z
    ripple: wp.float32  # amplitude of waves on the surface, own units
    wave_a: wp.vec3
    wave_b: wp.vec3
    caution: wp.float32  # share of the distance that a ray may advance


@wp.struct
class EyeData:
    """A camera in the world frame; axes are world directions, the picture spans -1..1 in both directions."""

    eye: wp.vec3
    right: wp.vec3
    up: wp.vec3
    forward: wp.vec3
    focal: wp.float32
    shift_x: wp.float32
    shift_y: wp.float32


@wp.struct
class LightData:
    """How an object is lit: sky above and below, one broad lamp, and how dark creases get."""

    above: wp.vec3
    below: wp.vec3
    lamp: wp.vec3
    lamp_colour: wp.vec3
    gloss: wp.float32
    crease: wp.float32


@wp.func
def solid_distance(s: SolidData, q: wp.vec3) -> wp.float32:
    """Distance of one solid at q in its local frame."""
    if s.shape < SUPERQUADRIC:
        return shape_distance(s, q)
    size = s.size
    if s.shape == SUPERQUADRIC:
        e = size[3]
        a = wp.max(wp.abs(q[0]) / size[0], 1.0e-4)
        b = wp.max(wp.abs(q[1]) / size[1], 1.0e-4)
        c = wp.max(wp.abs(q[2]) / size[2], 1.0e-4)
        f = wp.pow(wp.pow(a, e) + wp.pow(b, e) + wp.pow(c, e), 1.0 / e)
        g = wp.vec3(
            wp.pow(a / f, e - 1.0) / size[0], wp.pow(b / f, e - 1.0) / size[1], wp.pow(c / f, e - 1.0) / size[2]
        )
        return (f - 1.0) / wp.max(wp.length(g), 1.0e-4)
    r = wp.length(wp.vec2(q[0], q[2]))
    high = wp.abs(q[1]) - size[2]
    if s.shape == PRISM:
        # Fold into half a sector; one straight edge runs there from an outer to an inner corner.
        half = wp.pi / size[3]
        angle = wp.atan2(q[0], q[2])
        angle = wp.abs(angle - 2.0 * half * wp.floor(angle / (2.0 * half) + 0.5))
        p = wp.vec2(r * wp.cos(angle), r * wp.sin(angle))
        tip = wp.vec2(size[0], 0.0)
        dent = wp.vec2(size[0] * size[1] * wp.cos(half), size[0] * size[1] * wp.sin(half))
        edge = dent - tip
        t = wp.clamp(wp.dot(p - tip, edge) / wp.dot(edge, edge), 0.0, 1.0)
        gap = wp.length(p - tip - edge * t)
        if (p[0] - tip[0]) * edge[1] - p[1] * edge[0] < 0.0:
            gap = -gap
        side = gap
        return wp.min(wp.max(side, high), 0.0) + wp.length(wp.vec2(wp.max(side, 0.0), wp.max(high, 0.0))) - s.edge
    lean = (size[0] - size[1]) / (2.0 * size[2])
    side = (r - size[0] + lean * (q[1] + size[2])) / wp.sqrt(1.0 + lean * lean)
    return wp.min(wp.max(side, high), 0.0) + wp.length(wp.vec2(wp.max(side, 0.0), wp.max(high, 0.0))) - s.edge


@wp.func
def bent(body: BodyData, p: wp.vec3) -> wp.vec3:
    """Where a point of the bent, twisted object was before."""
    q = p
    if body.bend != 0.0:
        a = body.bend * q[1]
        c = wp.cos(a)
        s = wp.sin(a)
        q = wp.vec3(c * q[0] - s * q[1], s * q[0] + c * q[1], q[2])
    if body.twist != 0.0:
        a = body.twist * q[1]
        c = wp.cos(a)
        s = wp.sin(a)
        q = wp.vec3(c * q[0] - s * q[2], q[1], s * q[0] + c * q[2])
    return q


@wp.func
def own_distance(solids: wp.array[SolidData], body: BodyData, own: wp.vec3) -> wp.vec2:
    """Signed distance in own units at a point of the own frame, and the paint there."""
    p = bent(body, own)
    total = wp.float32(1.0e6)
    paint = wp.int32(0)
    for i in range(body.first, body.last):
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
        near = wp.length(m - s.bound_centre) - s.bound_radius
        if near > 0.0:
            near *= s.bound_slope
        if s.join == 0:
            if near < total + s.seam:
                d = solid_distance(s, s.to_local * (m - s.at))
                if d < total:
                    paint = s.paint
                total = soft_min(total, d, s.seam)
        elif s.join == 1:
            if near < s.seam - total:
                d = solid_distance(s, s.to_local * (m - s.at))
                if -d > total:
                    paint = s.paint
                total = -soft_min(-total, d, s.seam)
        else:
            d = solid_distance(s, s.to_local * (m - s.at))
            if d > total:
                paint = s.paint
            total = -soft_min(-total, -d, s.seam)
    if body.ripple > 0.0:
        total += body.ripple * wp.sin(wp.dot(body.wave_a, p)) * wp.sin(wp.dot(body.wave_b, p))
    return wp.vec2(total, wp.float32(paint))


@wp.func
def world_distance(solids: wp.array[SolidData], body: BodyData, frame: wp.vec4, p: wp.vec3) -> wp.float32:
    """Signed distance in the world frame; `frame` holds the centre and the unit."""
    turned = p * frame[3] + wp.vec3(frame[0], frame[1], frame[2])
    return own_distance(solids, body, wp.transpose(body.turn) * turned)[0] / frame[3]


@wp.kernel
def extent_kernel(
    # In:
    solids: wp.array[SolidData],
    bodies: wp.array[BodyData],
    side: wp.int32,
    # Out:
    low: wp.array2d[wp.float32],  # [B, 3], starts at +1e6
    high: wp.array2d[wp.float32],  # [B, 3], starts at -1e6
) -> None:
    """The box of each object in its turned frame, from a coarse lattice."""
    b, i, j, k = wp.tid()
    body = bodies[b]
    step = 2.0 * body.reach / wp.float32(side - 1)
    p = wp.vec3(wp.float32(i), wp.float32(j), wp.float32(k)) * step - wp.vec3(body.reach, body.reach, body.reach)
    d = own_distance(solids, body, wp.transpose(body.turn) * p)[0]
    if d < 0.87 * step:
        # The surface beyond an inner point lies at its distance; a thin part has no inner point.
        for axis in range(3):
            wp.atomic_min(low, b, axis, p[axis] + wp.min(d, 0.5 * step))
            wp.atomic_max(high, b, axis, p[axis] - wp.min(d, 0.5 * step))


@wp.kernel
def lattice_kernel(
    # In:
    solids: wp.array[SolidData],
    bodies: wp.array[BodyData],
    frames: wp.array[wp.vec4],
    half: wp.float32,  # the lattice spans -half..half, values at the centres of its cells
    limit: wp.float32,
    # Out:
    distance_out: wp.array4d[wp.float32],  # [B, N, N, N] by x, y, z
) -> None:
    """Signed distances in world units, cut off at +-limit."""
    b, i, j, k = wp.tid()
    step = 2.0 * half / wp.float32(distance_out.shape[1])
    p = wp.vec3(wp.float32(i) + 0.5, wp.float32(j) + 0.5, wp.float32(k) + 0.5) * step - wp.vec3(half, half, half)
    distance_out[b, i, j, k] = wp.clamp(world_distance(solids, bodies[b], frames[b], p), -limit, limit)


@wp.func
def world_normal(solids: wp.array[SolidData], body: BodyData, frame: wp.vec4, p: wp.vec3) -> wp.vec3:
    """Unit gradient from four samples at the corners of a tetrahedron."""
    h = 1.0e-3
    a = wp.vec3(1.0, -1.0, -1.0)
    b = wp.vec3(-1.0, -1.0, 1.0)
    c = wp.vec3(-1.0, 1.0, -1.0)
    d = wp.vec3(1.0, 1.0, 1.0)
    g = a * world_distance(solids, body, frame, p + h * a) + b * world_distance(solids, body, frame, p + h * b)
    g += c * world_distance(solids, body, frame, p + h * c) + d * world_distance(solids, body, frame, p + h * d)
    return wp.normalize(g)


@wp.func
def grid_distance(grid: wp.array4d[wp.float32], b: wp.int32, half: wp.float32, p: wp.vec3) -> wp.float32:
    """The lattice's distance at p, trilinear: far from a surface as good as the solids' own, and much quicker."""
    last = wp.float32(grid.shape[1] - 1)
    scale = wp.float32(grid.shape[1]) / (2.0 * half)
    x = wp.clamp((p[0] + half) * scale - 0.5, 0.0, last - 1.0e-3)
    y = wp.clamp((p[1] + half) * scale - 0.5, 0.0, last - 1.0e-3)
    z = wp.clamp((p[2] + half) * scale - 0.5, 0.0, last - 1.0e-3)
    i = wp.int32(x)
    j = wp.int32(y)
    k = wp.int32(z)
    u = x - wp.float32(i)
    v = y - wp.float32(j)
    w = z - wp.float32(k)
    a = wp.lerp(grid[b, i, j, k], grid[b, i, j, k + 1], w)
    c = wp.lerp(grid[b, i, j + 1, k], grid[b, i, j + 1, k + 1], w)
    d = wp.lerp(grid[b, i + 1, j, k], grid[b, i + 1, j, k + 1], w)
    e = wp.lerp(grid[b, i + 1, j + 1, k], grid[b, i + 1, j + 1, k + 1], w)
    return wp.lerp(wp.lerp(a, c, v), wp.lerp(d, e, v), u)


@wp.kernel
def picture_kernel(
    # In:
    solids: wp.array[SolidData],
    paints: wp.array[PaintData],
    decals: wp.array[DecalData],
    pixels: wp.array[wp.uint8],
    bodies: wp.array[BodyData],
    frames: wp.array[wp.vec4],
    lights: wp.array[LightData],
    eyes: wp.array2d[EyeData],  # [B, V]
    grid: wp.array4d[wp.float32],  # [B, N, N, N] from `lattice_kernel`
    views: wp.int32,
    half: wp.float32,  # nothing lies outside the cube -half..half
    # Out:
    depth_out: wp.array3d[wp.float32],  # [B * V, H, W], 0 where the ray misses
    normal_out: wp.array4d[wp.float32],  # [B * V, 3, H, W] world frame
    rgb_out: wp.array4d[wp.float32],  # [B * V, 3, H, W] linear
) -> None:
    """What each camera sees, one ray for each pixel."""
    image, row, column = wp.tid()
    b = image // views
    body = bodies[b]
    frame = frames[b]
    camera = eyes[b, image - b * views]
    side = wp.float32(depth_out.shape[1])
    u = (wp.float32(column) + 0.5) / side * 2.0 - 1.0
    v = 1.0 - (wp.float32(row) + 0.5) / side * 2.0
    ray = camera.forward + camera.right * ((u - camera.shift_x) / camera.focal)
    ray += camera.up * ((v - camera.shift_y) / camera.focal)
    start = wp.float32(0.05)
    far = wp.float32(1.0e3)
    for axis in range(3):
        slope = ray[axis]
        if wp.abs(slope) < 1.0e-6:
            slope = 1.0e-6
        one = (-half - camera.eye[axis]) / slope
        two = (half - camera.eye[axis]) / slope
        start = wp.max(start, wp.min(one, two))
        far = wp.min(far, wp.max(one, two))
    depth_out[image, row, column] = 0.0
    length = wp.length(ray)
    z = wp.float32(start)
    before = wp.float32(start)
    hit = wp.float32(0.0)
    if start < far:
        cell = 2.0 * half / wp.float32(grid.shape[1])
        for _ in range(160):
            d = grid_distance(grid, b, half, camera.eye + ray * z) - 0.5 * cell
            if d < 0.5 * cell:
                d = world_distance(solids, body, frame, camera.eye + ray * z)
            if d < 0.0:
                near_z = wp.float32(before)
                far_z = wp.float32(z)
                for _k in range(10):
                    middle = 0.5 * (near_z + far_z)
                    if world_distance(solids, body, frame, camera.eye + ray * middle) < 0.0:
                        far_z = middle
                    else:
                        near_z = middle
                hit = 0.5 * (near_z + far_z)
                break
            if d < 2.0e-4:
                hit = z
                break
            before = z
            z += wp.max(d * body.caution, 3.0e-4) / length
            if z > far:
                break
    if hit > 0.0:
        depth_out[image, row, column] = hit
        p = camera.eye + ray * hit
        n = world_normal(solids, body, frame, p)
        own = wp.transpose(body.turn) * (p * frame[3] + wp.vec3(frame[0], frame[1], frame[2]))
        found = own_distance(solids, body, own)
        light = lights[b]
        lift = 0.5 + 0.5 * n[1]
        lit = wp.lerp(light.below, light.above, lift) + light.lamp_colour * wp.max(wp.dot(n, light.lamp), 0.0)
        closed = wp.float32(0.0)
        for i in range(1, 5):
            reach = 0.009 * wp.float32(i * i)
            closed += wp.max(reach - grid_distance(grid, b, half, p + n * reach), 0.0) / reach
        lit *= wp.max(1.0 - light.crease * closed, 0.25)
        colour = wp.cw_mul(lit, albedo(paints[body.first_paint + wp.int32(found[1])], decals, pixels, own, n))
        toward = -ray / length
        shine = wp.max(wp.dot(wp.normalize(toward + light.lamp), n), 0.0)
        colour += light.lamp_colour * light.gloss * wp.pow(shine, 24.0)
        for axis in range(3):
            normal_out[image, axis, row, column] = n[axis]
            rgb_out[image, axis, row, column] = wp.clamp(colour[axis], 0.0, 1.0)
