"""Look-ups in cube maps that know no edges, and their gradients.

Between the centres of the outer texels of a face and its edge a look-up blends with the neighbouring face; at a corner
of the cube, where a fourth texel does not exist, with the two others there. So the result is continuous everywhere.
"""

# mypy: ignore-errors

from __future__ import annotations

from meshwright._warp import wp
from meshwright.rendering.ops.scatter import Sum, add_up
from meshwright.rendering.ops.warps import BUSY, peers

wp.set_module_options({"enable_backward": False})


@wp.struct
class Spot:
    """A direction on the cube: face, place on it (-1 .. 1), and the axes of the face (see `faces.py`)."""

    face: wp.int32
    s: wp.float32
    t: wp.float32
    length: wp.float32  # of the direction along the middle of the face; 0 for a direction that is none
    major: wp.vec3
    right: wp.vec3
    down: wp.vec3


@wp.func
def spot_of(d: wp.vec3) -> Spot:
    x = wp.abs(d[0])
    y = wp.abs(d[1])
    z = wp.abs(d[2])
    result = Spot()
    if x >= y and x >= z:
        way = wp.where(d[0] >= 0.0, 1.0, -1.0)
        result.face = wp.where(d[0] >= 0.0, 0, 1)
        result.major = wp.vec3(way, 0.0, 0.0)
        result.right = wp.vec3(0.0, 0.0, -way)
        result.down = wp.vec3(0.0, -1.0, 0.0)
    elif y >= z:
        way = wp.where(d[1] >= 0.0, 1.0, -1.0)
        result.face = wp.where(d[1] >= 0.0, 2, 3)
        result.major = wp.vec3(0.0, way, 0.0)
        result.right = wp.vec3(1.0, 0.0, 0.0)
        result.down = wp.vec3(0.0, 0.0, way)
    else:
        way = wp.where(d[2] >= 0.0, 1.0, -1.0)
        result.face = wp.where(d[2] >= 0.0, 4, 5)
        result.major = wp.vec3(0.0, 0.0, way)
        result.right = wp.vec3(way, 0.0, 0.0)
        result.down = wp.vec3(0.0, -1.0, 0.0)
    length = wp.dot(d, result.major)
    result.s = wp.float32(0.0)
    result.t = wp.float32(0.0)
    result.length = wp.float32(0.0)
    # Neither 0 nor NaN nor infinite: an index made of those could be anything.
    if length > 1.0e-30 and length < 1.0e30:
        result.length = length
        result.s = wp.clamp(wp.dot(d, result.right) / length, -1.0, 1.0)
        result.t = wp.clamp(wp.dot(d, result.down) / length, -1.0, 1.0)
    return result


@wp.func
def texel_at(at: wp.float32, size: wp.int32) -> wp.int32:
    return wp.clamp(wp.int32((at * 0.5 + 0.5) * wp.float32(size)), 0, size - 1)


@wp.func
def across(spot: Spot, x: wp.int32, y: wp.int32, size: wp.int32) -> wp.int32:
    """The texel of the neighbouring face beside one that lies just beyond the edge, along one axis."""
    step = 1.0 / wp.float32(size)
    # Folded over the edge, a texel lies as far behind it as it stood out.
    d = spot.major * (1.0 - step)
    if x < 0 or x >= size:
        d += spot.right * wp.where(x < 0, -1.0, 1.0) + spot.down * (wp.float32(2 * y + 1) * step - 1.0)
    else:
        d += spot.down * wp.where(y < 0, -1.0, 1.0) + spot.right * (wp.float32(2 * x + 1) * step - 1.0)
    other = spot_of(d)
    return (other.face * size + texel_at(other.t, size)) * size + texel_at(other.s, size)


@wp.struct
class Quad:
    """The texels of a bilinear look-up, their weights, and how these change along s and t."""

    index: wp.vec4i
    weights: wp.vec4
    s_slopes: wp.vec4
    t_slopes: wp.vec4
    cell: wp.int32  # a name for the four texels


@wp.func
def quad_of(spot: Spot, size: wp.int32, start: wp.int32) -> Quad:
    half = 0.5 * wp.float32(size)
    x = (spot.s + 1.0) * half - 0.5
    y = (spot.t + 1.0) * half - 0.5
    x0 = wp.clamp(wp.int32(wp.floor(x)), -1, size - 1)
    y0 = wp.clamp(wp.int32(wp.floor(y)), -1, size - 1)
    fx = x - wp.float32(x0)
    fy = y - wp.float32(y0)
    result = Quad()
    result.weights = wp.vec4((1.0 - fx) * (1.0 - fy), fx * (1.0 - fy), (1.0 - fx) * fy, fx * fy)
    result.s_slopes = wp.vec4(fy - 1.0, 1.0 - fy, -fy, fy) * half
    result.t_slopes = wp.vec4(fx - 1.0, -fx, 1.0 - fx, fx) * half
    side = size + 1
    result.cell = (spot.face * side + y0 + 1) * side + x0 + 1
    missing = wp.int32(-1)
    for k in range(4):
        tx = x0 + (k & 1)
        ty = y0 + (k >> 1)
        beyond_x = tx < 0 or tx >= size
        beyond_y = ty < 0 or ty >= size
        texel = (spot.face * size + ty) * size + tx
        if beyond_x and beyond_y:
            missing = k
            texel = wp.int32(0)
        elif beyond_x or beyond_y:
            texel = across(spot, tx, ty, size)
        result.index[k] = start + texel
    if missing >= 0:
        # Three faces meet here: the three texels there are take over what the fourth would have got.
        weight = result.weights[missing] / 3.0
        along_s = result.s_slopes[missing] / 3.0
        along_t = result.t_slopes[missing] / 3.0
        for k in range(4):
            more = wp.where(k == missing, 0.0, 1.0)
            result.weights[k] = more * (result.weights[k] + weight)
            result.s_slopes[k] = more * (result.s_slopes[k] + along_s)
            result.t_slopes[k] = more * (result.t_slopes[k] + along_t)
    return result


@wp.func
def blend(values: wp.array[wp.vec3], index: wp.vec4i, weights: wp.vec4) -> wp.vec3:
    return (
        weights[0] * values[index[0]]
        + weights[1] * values[index[1]]
        + weights[2] * values[index[2]]
        + weights[3] * values[index[3]]
    )


@wp.struct
class Level:
    """Between which levels a look-up is."""

    below: wp.int32
    above: wp.int32
    share: wp.float32  # of the level above
    slope: wp.float32  # d share / d level


@wp.func
def level_between(level: wp.float32, count: wp.int32) -> Level:
    result = Level()
    inside = wp.clamp(level, 0.0, wp.float32(count - 1))
    if not inside >= 0.0:
        inside = wp.float32(0.0)
    result.slope = wp.where(inside == level, 1.0, 0.0)
    result.below = wp.min(wp.int32(inside), wp.max(count - 2, 0))
    result.above = wp.min(result.below + 1, count - 1)
    result.share = inside - wp.float32(result.below)
    return result


@wp.func
def quad_in(spot: Spot, level: wp.vec2i) -> Quad:
    return quad_of(spot, level[0], level[1])


@wp.func
def look(values: wp.array[wp.vec3], levels: wp.array[wp.vec2i], spot: Spot, level: Level) -> wp.vec3:
    """What is seen at a spot, between two levels."""
    near = quad_in(spot, levels[level.below])
    found = blend(values, near.index, near.weights)
    if level.share > 0.0:
        far = quad_in(spot, levels[level.above])
        found = (1.0 - level.share) * found + level.share * blend(values, far.index, far.weights)
    return found


@wp.func
def spread(dvalues: Sum, at: Quad, value: wp.vec3, level: wp.int32):
    """Add to the texels of a look-up."""
    whole = wp.vec4(value[0], value[1], value[2], 0.0)
    among = peers(at.cell, level)
    # Threads of a warp at the same four texels add up first, each with weights of its own.
    for k in range(4):
        add_up(dvalues, at.index[k] * 3, at.weights[k] * whole, 3, 1, at.cell, among)


@wp.kernel(enable_backward=False, module="unique", **BUSY)
def sample_kernel(
    # In:
    first: wp.int32,
    values: wp.array[wp.vec3],  # [T], all levels
    levels: wp.array[wp.vec2i],  # [L]: size, first texel
    count: wp.int32,  # L
    direction: wp.array[wp.vec3],  # [P], of any length
    level: wp.array[wp.float32],  # [P] or null
    # Out:
    out: wp.array[wp.vec3],  # [P]
):
    point = first + wp.tid()
    wanted = wp.float32(0.0)
    if level:
        wanted = level[point]
    out[point] = look(values, levels, spot_of(direction[point]), level_between(wanted, count))


@wp.kernel(enable_backward=False, module="unique", **BUSY)
def gradient_kernel(
    # In:
    first: wp.int32,
    values: wp.array[wp.vec3],  # [T]
    levels: wp.array[wp.vec2i],  # [L]
    count: wp.int32,
    direction: wp.array[wp.vec3],  # [P]
    level: wp.array[wp.float32],  # [P] or null
    dout: wp.array[wp.vec3],  # [P]
    values_wanted: wp.int32,
    # Out:
    ddirection: wp.array[wp.vec3],  # [P] or null
    dlevel: wp.array[wp.float32],  # [P] or null
    dvalues: Sum,  # [T 3]
):
    point = first + wp.tid()
    wanted = wp.float32(0.0)
    if level:
        wanted = level[point]
    between = level_between(wanted, count)
    spot = spot_of(direction[point])
    g = dout[point]
    near = quad_in(spot, levels[between.below])
    far = quad_in(spot, levels[between.above])
    if values_wanted == 1:
        spread(dvalues, near, (1.0 - between.share) * g, between.below)
        if count > 1:
            spread(dvalues, far, between.share * g, between.above)
    if ddirection:
        along_s = (1.0 - between.share) * wp.dot(g, blend(values, near.index, near.s_slopes))
        along_t = (1.0 - between.share) * wp.dot(g, blend(values, near.index, near.t_slopes))
        if between.share > 0.0:
            along_s += between.share * wp.dot(g, blend(values, far.index, far.s_slopes))
            along_t += between.share * wp.dot(g, blend(values, far.index, far.t_slopes))
        slope = wp.vec3(0.0, 0.0, 0.0)
        if spot.length > 0.0:
            slope = along_s * (spot.right - spot.s * spot.major) + along_t * (spot.down - spot.t * spot.major)
            slope /= spot.length
        ddirection[point] = slope
    if dlevel:
        step = blend(values, far.index, far.weights) - blend(values, near.index, near.weights)
        dlevel[point] = between.slope * wp.dot(g, step)
