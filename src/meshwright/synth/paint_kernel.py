# mypy: ignore-errors
# (Warp compiles these functions itself; their annotations are its own language.)
"""Procedural colour as Warp functions: solid textures in the object's frame, and flat marks laid onto the surface."""

from __future__ import annotations

from meshwright._warp import wp

wp.set_module_options({"enable_backward": False})


@wp.struct
class PaintData:
    """`solids.Paint`, packed."""

    pattern: wp.int32
    colour_a: wp.vec3
    colour_b: wp.vec3
    colour_c: wp.vec3
    scale: wp.float32
    direction: wp.vec3
    across: wp.vec3
    duty: wp.float32
    mottle: wp.float32
    seed: wp.int32


@wp.struct
class DecalData:
    """`solids.Decal`, packed. `right` and `up` are divided by their squared length: a dot product gives -1..1."""

    at: wp.vec3
    right: wp.vec3
    up: wp.vec3
    normal: wp.vec3
    colour: wp.vec3
    hole: wp.float32
    reach: wp.float32
    wrap: wp.int32
    radius: wp.float32
    half_width: wp.float32
    first: wp.int32  # where its picture starts in the shared pixel array
    columns: wp.int32  # 0 for a disc
    rows: wp.int32


@wp.func
def fract(x: wp.float32) -> wp.float32:
    """The part behind the decimal point."""
    return x - wp.floor(x)


@wp.func
def cell_random(seed: wp.int32, cell: wp.vec3i, salt: wp.int32) -> wp.float32:
    """A random number 0..1 that belongs to a lattice cell; `salt` tells apart several of one cell."""
    state = wp.rand_init(seed + salt * 7919, cell[0] * 73856 + cell[1] * 19349 + cell[2] * 83492)
    return wp.randf(state)


@wp.func
def spot_kind(paint: PaintData, p: wp.vec3) -> wp.int32:
    """0 between spots, 1 or 2 in a spot of the second or third colour; the nearest spot centre wins."""
    u = p * paint.scale
    base = wp.vec3i(wp.int32(wp.floor(u[0])), wp.int32(wp.floor(u[1])), wp.int32(wp.floor(u[2])))
    best = wp.float32(1.0)
    kind = wp.int32(0)
    for i in range(-1, 2):
        for j in range(-1, 2):
            for k in range(-1, 2):
                cell = base + wp.vec3i(i, j, k)
                centre = wp.vec3(
                    wp.float32(cell[0]) + 0.15 + 0.7 * cell_random(paint.seed, cell, 1),
                    wp.float32(cell[1]) + 0.15 + 0.7 * cell_random(paint.seed, cell, 2),
                    wp.float32(cell[2]) + 0.15 + 0.7 * cell_random(paint.seed, cell, 3),
                )
                radius = paint.duty * (0.4 + 0.6 * cell_random(paint.seed, cell, 4))
                share = wp.length(u - centre) / radius
                if share < best:
                    best = share
                    kind = 1
                    if cell_random(paint.seed, cell, 5) > 0.6:
                        kind = 2
    return kind


@wp.func
def pattern_colour(paint: PaintData, p: wp.vec3) -> wp.vec3:
    """Colour of the pattern at p, before marks and mottling."""
    a = paint.colour_a
    b = paint.colour_b
    along = wp.dot(p, paint.direction) * paint.scale
    if paint.pattern == 1:
        third = wp.cross(paint.direction, paint.across)
        odd = wp.floor(along + 0.25) + wp.floor(wp.dot(p, paint.across) * paint.scale + 0.25)
        odd += wp.floor(wp.dot(p, third) * paint.scale + 0.25)
        if fract(odd * 0.5) > 0.25:
            return b
    elif paint.pattern == 2:
        if fract(along) < paint.duty:
            return b
    elif paint.pattern == 3:
        kind = spot_kind(paint, p)
        if kind == 1:
            return b
        if kind == 2:
            return paint.colour_c
    elif paint.pattern == 4:
        state = wp.rand_init(paint.seed)
        wave = along + 1.1 * wp.noise(state, p * paint.scale * 0.35) + 0.25 * wp.noise(state, p * paint.scale * 1.3)
        share = wp.abs(fract(wave) * 2.0 - 1.0)
        return wp.lerp(a, b, wp.smoothstep(0.15, 0.95, share) * paint.duty * 2.0)
    elif paint.pattern == 5:
        slot = wp.int32(wp.floor(along))
        offset = cell_random(paint.seed, wp.vec3i(slot, 0, 0), 6) * 0.7
        pick = cell_random(paint.seed, wp.vec3i(slot, 1, 0), 7)
        if fract(along) > offset:
            if pick < 0.5 * paint.duty * 2.0:
                return b
            return paint.colour_c
    elif paint.pattern == 6:
        third = wp.cross(paint.direction, paint.across)
        turn = wp.atan2(wp.dot(p, third), wp.dot(p, paint.across)) / (2.0 * wp.pi) * paint.scale
        if fract(turn) < paint.duty:
            return b
    return a


@wp.func
def decal_covers(mark: DecalData, pixels: wp.array[wp.uint8], p: wp.vec3, n: wp.vec3) -> bool:
    """Whether a mark covers the surface at p; it has to face the way the mark does."""
    offset = p - mark.at
    u = wp.dot(offset, mark.right)
    v = wp.dot(offset, mark.up)
    depth = wp.dot(offset, mark.normal)
    facing = wp.dot(n, mark.normal)
    if mark.wrap == 1:
        r = wp.length(wp.vec2(p[0], p[2]))
        turn = wp.atan2(p[0], p[2]) - wp.atan2(mark.at[0], mark.at[2])
        turn -= 2.0 * wp.pi * wp.floor(turn / (2.0 * wp.pi) + 0.5)
        u = turn * mark.radius / mark.half_width
        depth = r - mark.radius
        facing = (n[0] * p[0] + n[2] * p[2]) / wp.max(r, 1.0e-6)
    if facing < 0.15 or wp.abs(depth) > mark.reach or wp.abs(u) >= 1.0 or wp.abs(v) >= 1.0:
        return False
    if mark.columns == 0:
        r2 = u * u + v * v
        return r2 < 1.0 and r2 >= mark.hole * mark.hole
    column = wp.int32((u * 0.5 + 0.5) * wp.float32(mark.columns))
    line = wp.int32((0.5 - v * 0.5) * wp.float32(mark.rows))
    return pixels[mark.first + line * mark.columns + column] != wp.uint8(0)


@wp.func
def albedo(
    paint: PaintData,
    decals: wp.array[DecalData],
    pixels: wp.array[wp.uint8],
    p: wp.vec3,
    n: wp.vec3,
) -> wp.vec3:
    """Diffuse colour at surface point p with normal n, linear RGB; later marks lie over earlier ones."""
    colour = pattern_colour(paint, p)
    for i in range(decals.shape[0]):
        if decal_covers(decals[i], pixels, p, n):
            colour = decals[i].colour
    state = wp.rand_init(paint.seed + 5)
    rough = wp.noise(state, p * 9.0) + 0.6 * wp.noise(state, p * 27.0)
    return colour * (1.0 + paint.mottle * rough)
