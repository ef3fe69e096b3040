# mypy: ignore-errors
# (Warp compiles these functions itself; their annotations are its own language.)
"""Sphere tracing as Warp kernels."""

from __future__ import annotations

from meshwright._warp import wp
from meshwright.synth.field_kernel import SolidData, distance, normal_at, surface_paint
from meshwright.synth.paint_kernel import DecalData, PaintData, albedo

wp.set_module_options({"enable_backward": False})

BLOCK = 8
"""Pixels along a block's side; one wide cone per block finds where its rays may start."""


@wp.struct
class Pinhole:
    """A camera in the object's own units; axes are world directions."""

    eye: wp.vec3
    right: wp.vec3
    up: wp.vec3
    forward: wp.vec3
    fl_x: wp.float32
    fl_y: wp.float32
    cx: wp.float32
    cy: wp.float32
    unit: wp.float32  # own units per world unit


@wp.func
def pixel_ray(camera: Pinhole, x: wp.float32, y: wp.float32) -> wp.vec3:
    """Not normalised: the part along the optical axis is 1, so that ray parameter and depth are the same."""
    return camera.forward + camera.right * ((x - camera.cx) / camera.fl_x) - camera.up * ((y - camera.cy) / camera.fl_y)


@wp.kernel
def cone_kernel(
    # In:
    solids: wp.array[SolidData],
    camera: Pinhole,
    near: wp.float32,
    far: wp.float32,
    # Out:
    start_out: wp.array2d[wp.float32],
) -> None:
    """Walks one cone that holds every ray of a block as far as it surely meets nothing; `far` if it leaves."""
    row, column = wp.tid()
    side = wp.float32(BLOCK)
    ray = pixel_ray(camera, (wp.float32(column) + 0.5) * side, (wp.float32(row) + 0.5) * side)
    length = wp.length(ray)
    # Half the diagonal of the block at depth 1; a little more, because the slant of the rays differs inside it.
    spread = 0.7072 * side / wp.min(camera.fl_x, camera.fl_y) * 1.02
    z = wp.float32(near)
    for _ in range(200):
        reach = distance(solids, camera.eye + ray * z)
        free = reach - spread * z
        if free < 1.0e-4 * camera.unit:
            break
        z += free / (length + spread) * 0.9
        if z > far:
            break
    start_out[row, column] = wp.min(z, far)


@wp.func
def first_hit(
    solids: wp.array[SolidData], camera: Pinhole, ray: wp.vec3, start: wp.float32, far: wp.float32
) -> wp.float32:
    """Depth of the first crossing, or -1. Overshoots (bounds are not perfect on ellipsoids) are bisected."""
    length = wp.length(ray)
    z = wp.float32(start)
    before = wp.float32(start)
    tolerance = 2.0e-6 * camera.unit
    hit = wp.float32(-1.0)
    for _ in range(400):
        d = distance(solids, camera.eye + ray * z)
        if d < 0.0:
            low = wp.float32(before)
            high = wp.float32(z)
            for _k in range(22):
                middle = 0.5 * (low + high)
                if distance(solids, camera.eye + ray * middle) < 0.0:
                    high = middle
                else:
                    low = middle
            hit = 0.5 * (low + high)
            break
        if d < tolerance:
            hit = z
            break
        before = z
        z += wp.max(d * 0.9, tolerance) / length
        if z > far:
            break
    return hit


@wp.func
def sky_light(solids: wp.array[SolidData], p: wp.vec3, n: wp.vec3, unit: wp.float32) -> wp.vec3:
    """Light that a diffuse surface gathers from the sky, and how much of it creases keep away."""
    lift = 0.5 + 0.5 * n[1]
    light = wp.lerp(wp.vec3(0.46, 0.45, 0.44), wp.vec3(1.04, 1.05, 1.06), wp.pow(lift, 0.7))
    # A broad glow from the front, slightly to one side: faces of one height still differ a little.
    light *= 0.96 + 0.06 * wp.dot(n, wp.vec3(0.35, 0.25, 0.9))
    closed = wp.float32(0.0)
    weight = wp.float32(1.0)
    for i in range(1, 6):
        reach = 0.022 * wp.float32(i) * wp.float32(i) * unit * 0.55
        closed += weight * wp.max(reach - distance(solids, p + n * reach), 0.0) / reach
        weight *= 0.78
    return light * wp.max(1.0 - 0.26 * closed, 0.25)


@wp.kernel
def trace_kernel(
    # In:
    solids: wp.array[SolidData],
    paints: wp.array[PaintData],
    decals: wp.array[DecalData],
    pixels: wp.array[wp.uint8],
    camera: Pinhole,
    start: wp.array2d[wp.float32],
    far: wp.float32,
    samples: wp.int32,
    # Out:
    rgb_out: wp.array2d[wp.vec3],
    alpha_out: wp.array2d[wp.float32],
    depth_out: wp.array2d[wp.float32],
) -> None:
    """Colour averaged over the rays of a pixel that hit, their share, and the depth of the middle one."""
    row, column = wp.tid()
    begin = start[row // BLOCK, column // BLOCK]
    total = wp.vec3()
    hits = wp.int32(0)
    depth = wp.float32(0.0)
    if begin < far:
        for i in range(samples * samples):
            x = wp.float32(column) + (wp.float32(i % samples) + 0.5) / wp.float32(samples)
            y = wp.float32(row) + (wp.float32(i // samples) + 0.5) / wp.float32(samples)
            ray = pixel_ray(camera, x, y)
            z = first_hit(solids, camera, ray, begin, far)
            if z > 0.0:
                p = camera.eye + ray * z
                n = normal_at(solids, p, 4.0e-4 * camera.unit)
                paint = wp.int32(surface_paint(solids, p)[1])
                total += wp.cw_mul(albedo(paints[paint], decals, pixels, p, n), sky_light(solids, p, n, camera.unit))
                hits += 1
                if i == samples * samples // 2:
                    depth = z / camera.unit
    if hits > 0:
        total /= wp.float32(hits)
    rgb_out[row, column] = total
    alpha_out[row, column] = wp.float32(hits) / wp.float32(samples * samples)
    depth_out[row, column] = depth
