"""Cube maps blurred by a lobe of sampled directions, and the gradient of that."""

# mypy: ignore-errors

from __future__ import annotations

from meshwright._warp import wp
from meshwright.rendering.ops.cubemap.kernel import level_between, look, quad_in, spot_of, spread
from meshwright.rendering.ops.scatter import Sum
from meshwright.rendering.ops.warps import BUSY

wp.set_module_options({"enable_backward": False})


@wp.func
def centre_of(texel: wp.int32, size: wp.int32) -> wp.vec3:
    """The unit vector through the centre of a texel of a cube map."""
    face = texel // (size * size)
    rest = texel - face * size * size
    row = rest // size
    s = wp.float32(2 * (rest - row * size) + 1) / wp.float32(size) - 1.0
    t = wp.float32(2 * row + 1) / wp.float32(size) - 1.0
    way = wp.where((face & 1) == 0, 1.0, -1.0)
    d = wp.vec3(way, -t, -way * s)
    if face >= 4:
        d = wp.vec3(way * s, -t, way)
    elif face >= 2:
        d = wp.vec3(s, way, way * t)
    return wp.normalize(d)


@wp.func
def beside(n: wp.vec3) -> wp.vec3:
    """A unit vector at right angles to a unit vector (Duff et al. 2017)."""
    way = wp.where(n[2] >= 0.0, 1.0, -1.0)
    a = -1.0 / (way + n[2])
    return wp.vec3(1.0 + way * n[0] * n[0] * a, way * n[0] * n[1] * a, -way * n[0])


@wp.kernel(enable_backward=False, module="unique", **BUSY)
def convolve_kernel(
    # In:
    first: wp.int32,
    values: wp.array[wp.vec3],  # [T], all levels
    levels: wp.array[wp.vec2i],  # [L]: size, first texel
    count: wp.int32,  # L
    lobe: wp.array[wp.vec4],  # [S], directions about +Z and the level to read
    weights: wp.array[wp.float32],  # [S], they sum to 1
    samples: wp.int32,  # S
    side: wp.int32,  # of the result
    # Out:
    out: wp.array[wp.vec3],  # [6 side side]
):
    texel = first + wp.tid()
    n = centre_of(texel, side)
    t = beside(n)
    b = wp.cross(n, t)
    total = wp.vec3(0.0, 0.0, 0.0)
    for k in range(samples):
        local = lobe[k]
        d = local[0] * t + local[1] * b + local[2] * n
        total += weights[k] * look(values, levels, spot_of(d), level_between(local[3], count))
    out[texel] = total


@wp.kernel(enable_backward=False, module="unique", **BUSY)
def gradient_kernel(
    # In:
    first: wp.int32,
    levels: wp.array[wp.vec2i],  # [L]
    count: wp.int32,
    lobe: wp.array[wp.vec4],  # [S]
    weights: wp.array[wp.float32],  # [S]
    samples: wp.int32,
    side: wp.int32,
    dout: wp.array[wp.vec3],  # [6 side side]
    # Out:
    dvalues: Sum,  # [T 3]
):
    texel = first + wp.tid()
    n = centre_of(texel, side)
    t = beside(n)
    b = wp.cross(n, t)
    for k in range(samples):
        local = lobe[k]
        spot = spot_of(local[0] * t + local[1] * b + local[2] * n)
        between = level_between(local[3], count)
        g = weights[k] * dout[texel]
        near = quad_in(spot, levels[between.below])
        spread(dvalues, near, (1.0 - between.share) * g, between.below)
        # Every thread of a warp has the same sample, so they go here together.
        if between.share > 0.0:
            far = quad_in(spot, levels[between.above])
            spread(dvalues, far, between.share * g, between.above)
