"""Texture look-ups, plain and from a pyramid of ever smaller averages, and their gradients.

Texel (row, column) has its centre at u = (column + 0.5) / width, v = (row + 0.5) / height; nothing is flipped.
A pyramid holds all its levels one after the other, each half the size of the one before, rounded down but at least 1.
"""

# mypy: ignore-errors

from __future__ import annotations

from meshwright._warp import wp
from meshwright.rendering.ops.scatter import Sum, add, alike

wp.set_module_options({"enable_backward": False})

NEAREST = wp.constant(wp.int32(0))
LINEAR = wp.constant(wp.int32(1))
MIPMAP_NEAREST = wp.constant(wp.int32(2))
MIPMAP_LINEAR = wp.constant(wp.int32(3))

WRAP = wp.constant(wp.int32(0))
CLAMP = wp.constant(wp.int32(1))
ZERO = wp.constant(wp.int32(2))


@wp.func
def level_start(level: wp.int32, height: wp.int32, width: wp.int32) -> wp.int32:
    """Texels of the levels before this one."""
    w = width >> level
    h = height >> level
    if w > 0 and h > 0:
        # Each level has a quarter of the texels of the one before: a geometric series.
        return (height * width - h * w) // 3 * 4
    total = wp.int32(0)
    for k in range(level):
        total += wp.max(height >> k, 1) * wp.max(width >> k, 1)
    return total


@wp.struct
class Tap:
    """Two neighbouring texels along one axis, and what a look-up between them takes of each."""

    before: wp.int32
    after: wp.int32
    weights: wp.vec2  # 0 for a texel beyond a border of zeros
    slopes: wp.vec2  # d weights / d coordinate


@wp.func
def tap(coordinate: wp.float32, size: wp.int32, boundary: wp.int32) -> Tap:
    """Which texels a bilinear look-up blends along one axis."""
    # Written so that NaN too becomes 0: an index made of it could be anything.
    if not wp.abs(coordinate) < 1.0e9:
        coordinate = wp.float32(0.0)
    extent = wp.float32(size)
    slope = extent
    x = coordinate * extent - 0.5
    if boundary == WRAP:
        x = (coordinate - wp.floor(coordinate)) * extent - 0.5
    elif boundary == CLAMP:
        inside = wp.clamp(x, 0.0, extent - 1.0)
        slope = wp.where(x == inside, extent, 0.0)
        x = inside
    else:
        x = wp.clamp(x, -2.0, extent + 1.0)
    floor = wp.floor(x)
    share = x - floor
    before = wp.int32(floor)
    after = before + 1
    result = Tap()
    result.weights = wp.vec2(1.0 - share, share)
    result.slopes = wp.vec2(-slope, slope)
    if boundary == WRAP:
        before = wp.where(before < 0, before + size, before)
        after = wp.where(after >= size, after - size, after)
    elif boundary == ZERO:
        first = wp.where(before < 0 or before >= size, 0.0, 1.0)
        second = wp.where(after < 0 or after >= size, 0.0, 1.0)
        result.weights = wp.vec2(first * (1.0 - share), second * share)
        result.slopes = wp.vec2(-first * slope, second * slope)
        before = wp.clamp(before, 0, size - 1)
    result.before = before
    result.after = wp.clamp(after, 0, size - 1)
    return result


@wp.func
def nearest(coordinate: wp.float32, size: wp.int32, boundary: wp.int32) -> wp.int32:
    """The texel that a coordinate falls in along one axis, or -1."""
    if not wp.abs(coordinate) < 1.0e9:
        coordinate = wp.float32(0.0)
    if boundary == WRAP:
        coordinate = coordinate - wp.floor(coordinate)
    x = wp.int32(wp.floor(wp.clamp(coordinate * wp.float32(size), -1.0, wp.float32(size))))
    if boundary == ZERO:
        return wp.where(x < 0 or x >= size, -1, x)
    return wp.clamp(x, 0, size - 1)


@wp.struct
class Square:
    """The four texels of a bilinear look-up (lower left, lower right, upper left, upper right) and their weights."""

    index: wp.vec4i  # of the first channel
    weights: wp.vec4
    u_slopes: wp.vec4  # d weights / du
    v_slopes: wp.vec4


@wp.func
def square(
    uv: wp.vec2,
    level: wp.int32,
    start: wp.int32,
    height: wp.int32,
    width: wp.int32,
    channels: wp.int32,
    boundary: wp.int32,
) -> Square:
    """What a bilinear look-up reads at one level of the pyramid."""
    columns = wp.max(width >> level, 1)
    rows = wp.max(height >> level, 1)
    base = start + level_start(level, height, width)
    h = tap(uv[0], columns, boundary)
    v = tap(uv[1], rows, boundary)
    low = base + v.before * columns
    high = base + v.after * columns
    result = Square()
    result.index = wp.vec4i(low + h.before, low + h.after, high + h.before, high + h.after) * channels
    result.weights = products(h.weights, v.weights)
    result.u_slopes = products(h.slopes, v.weights)
    result.v_slopes = products(h.weights, v.slopes)
    return result


@wp.func
def products(h: wp.vec2, v: wp.vec2) -> wp.vec4:
    """One number for each texel of a square."""
    return wp.vec4(h[0] * v[0], h[1] * v[0], h[0] * v[1], h[1] * v[1])


@wp.func
def texels(pyramid: wp.array[wp.float32], at: Square, c: wp.int32) -> wp.vec4:
    """One channel of the four texels."""
    return wp.vec4(
        pyramid[at.index[0] + c], pyramid[at.index[1] + c], pyramid[at.index[2] + c], pyramid[at.index[3] + c]
    )


@wp.func
def footprint(da: wp.vec4, height: wp.int32, width: wp.int32) -> wp.vec3:
    """Of the ellipse that a pixel covers in the texture: squared texels per pixel along its longer axis, and the
    half difference and the dot product of the texture's two directions that its gradient needs."""
    w = wp.float32(width)
    h = wp.float32(height)
    sx = da[0] * w
    sy = da[1] * w
    tx = da[2] * h
    ty = da[3] * h
    a = sx * sx + tx * tx
    b = sy * sy + ty * ty
    c = sx * sy + tx * ty
    half = 0.5 * (a - b)
    return wp.vec3(0.5 * (a + b) + wp.sqrt(half * half + c * c), half, c)


@wp.func
def level_of(da: wp.vec4, height: wp.int32, width: wp.int32, highest: wp.int32) -> wp.float32:
    """The level whose texels are as large as the longer axis of a pixel's footprint."""
    area = footprint(da, height, width)[0]
    # Also catches NaN.
    if not area > 1.0:
        return wp.float32(0.0)
    return wp.min(0.5 * wp.log2(area), wp.float32(highest))


@wp.func
def level_slope(da: wp.vec4, height: wp.int32, width: wp.int32) -> wp.vec4:
    """d level / d da, for levels that are not clamped."""
    print_ = footprint(da, height, width)
    w = wp.float32(width)
    h = wp.float32(height)
    root = print_[0]
    half = print_[1]
    c = print_[2]
    radius = wp.sqrt(half * half + c * c)
    # A circle has no longer axis: take any.
    cosine = wp.float32(0.0)
    sine = wp.float32(0.0)
    if radius > 0.0:
        cosine = half / radius
        sine = c / radius
    # d root = (1 + cosine) / 2 da + (1 - cosine) / 2 db + sine dc; level = log(root) / (2 log 2).
    scale = 0.7213475204444817 / root
    sx = da[0] * w
    sy = da[1] * w
    tx = da[2] * h
    ty = da[3] * h
    return (
        wp.vec4(
            w * ((1.0 + cosine) * sx + sine * sy),
            w * ((1.0 - cosine) * sy + sine * sx),
            h * ((1.0 + cosine) * tx + sine * ty),
            h * ((1.0 - cosine) * ty + sine * tx),
        )
        * scale
    )


@wp.func
def level_for(da: wp.vec4, height: wp.int32, width: wp.int32, highest: wp.int32, mode: wp.int32) -> wp.float32:
    """The level of a mipmapped look-up: between two for MIPMAP_LINEAR, the finer of them for MIPMAP_NEAREST."""
    level = level_of(da, height, width, highest)
    return wp.where(mode == MIPMAP_NEAREST, wp.floor(level), level)


@wp.func
def nearest_texel(
    uv: wp.vec2, start: wp.int32, height: wp.int32, width: wp.int32, channels: wp.int32, boundary: wp.int32
) -> wp.int32:
    """The first channel of the texel that a point falls in; -1 beyond a border of zeros."""
    x = nearest(uv[0], width, boundary)
    y = nearest(uv[1], height, boundary)
    return wp.where(x < 0 or y < 0, -1, (start + y * width + x) * channels)


@wp.func
def spread(dpyramid: Sum, at: Square, c: wp.int32, g: wp.float32, among: wp.bool):
    """Add to the four texels of a bilinear look-up."""
    add(dpyramid, at.index[0] + c, g * at.weights[0], among)
    add(dpyramid, at.index[1] + c, g * at.weights[1], among)
    add(dpyramid, at.index[2] + c, g * at.weights[2], among)
    add(dpyramid, at.index[3] + c, g * at.weights[3], among)


def make_sample_kernel(width: int) -> wp.Kernel:
    """One look-up a pixel. Channels come `width` at a time, so that the compiler can unroll them."""

    @wp.kernel(enable_backward=False, module="unique")
    def sample_kernel(
        # In:
        first: wp.int32,
        last: wp.int32,
        span: wp.int32,
        pyramid: wp.array[wp.float32],  # [1 or N, T C]
        uv: wp.array[wp.vec2],  # [N H W]
        uv_da: wp.array[wp.vec4],  # [N H W] or null
        channels: wp.int32,
        rows: wp.int32,  # of level 0
        columns: wp.int32,
        stride: wp.int32,  # T, or 0 where all views share the texture
        pixels: wp.int32,  # H W
        highest: wp.int32,  # level
        mode: wp.int32,
        boundary: wp.int32,
        # Out:
        out: wp.array[wp.float32],  # [N H W C]
    ):
        p = first + wp.tid() * span
        start = (p // pixels) * stride  # a span never leaves its row
        was_blank = wp.int32(0)
        for q in range(p, wp.min(p + span, last)):
            at = uv[q]
            to = q * channels
            da = wp.vec4(0.0, 0.0, 0.0, 0.0)
            if uv_da:
                da = uv_da[q]
            blank = wp.where(wp.dot(at, at) + wp.dot(da, da) == 0.0, 1, 0)
            if blank * was_blank == 1:
                # The background, where all look-ups are the same one.
                for c in range(channels):
                    out[to + c] = out[to + c - channels]
            elif mode == NEAREST:
                texel = nearest_texel(at, start, rows, columns, channels, boundary)
                for c in range(channels):
                    if texel < 0:
                        out[to + c] = 0.0
                    else:
                        out[to + c] = pyramid[texel + c]
            else:
                level = wp.float32(0.0)
                if mode != LINEAR:
                    level = level_for(da, rows, columns, highest, mode)
                lower = wp.int32(level)
                share = level - wp.float32(lower)
                fine = square(at, lower, start, rows, columns, channels, boundary)
                if share > 0.0:
                    coarse = square(at, lower + 1, start, rows, columns, channels, boundary)
                    for c0 in range(0, channels, width):
                        for k in range(width):
                            c = c0 + k
                            value = wp.dot(fine.weights, texels(pyramid, fine, c))
                            other = wp.dot(coarse.weights, texels(pyramid, coarse, c))
                            out[to + c] = value + share * (other - value)
                else:
                    for c0 in range(0, channels, width):
                        for k in range(width):
                            out[to + c0 + k] = wp.dot(fine.weights, texels(pyramid, fine, c0 + k))
            was_blank = blank

    return sample_kernel


def make_gradient_kernel(width: int) -> wp.Kernel:
    """From the pictures back to texels, coordinates and their derivatives."""

    @wp.kernel(enable_backward=False, module="unique")
    def gradient_kernel(
        # In:
        first: wp.int32,
        last: wp.int32,
        span: wp.int32,
        pyramid: wp.array[wp.float32],  # [1 or N, T C]
        uv: wp.array[wp.vec2],  # [N H W]
        uv_da: wp.array[wp.vec4],  # [N H W] or null
        dout: wp.array[wp.float32],  # [N H W C]
        channels: wp.int32,
        rows: wp.int32,  # of level 0
        columns: wp.int32,
        stride: wp.int32,  # T, or 0 where all views share the texture
        pixels: wp.int32,  # H W
        highest: wp.int32,  # level
        mode: wp.int32,
        boundary: wp.int32,
        texture_wanted: wp.int32,
        # Out:
        duv: wp.array[wp.vec2],  # [N H W] or null
        duv_da: wp.array[wp.vec4],  # [N H W] or null
        dpyramid: Sum,  # as pyramid
    ):
        p = first + wp.tid() * span
        start = (p // pixels) * stride  # a span never leaves its row
        for q in range(p, wp.min(p + span, last)):
            source = q * channels
            some = wp.int32(0)
            for c0 in range(0, channels, width):
                for k in range(width):
                    if dout[source + c0 + k] != 0.0:
                        some = wp.int32(1)
            gu = wp.float32(0.0)
            gv = wp.float32(0.0)
            slope = wp.vec4(0.0, 0.0, 0.0, 0.0)
            if some == 1:
                at = uv[q]
                if mode == NEAREST:
                    texel = nearest_texel(at, start, rows, columns, channels, boundary)
                    if texture_wanted == 1 and texel >= 0:
                        among = alike(texel)
                        for c in range(channels):
                            add(dpyramid, texel + c, dout[source + c], among)
                else:
                    level = wp.float32(0.0)
                    if mode != LINEAR:
                        level = level_for(uv_da[q], rows, columns, highest, mode)
                    lower = wp.int32(level)
                    share = level - wp.float32(lower)
                    fine = square(at, lower, start, rows, columns, channels, boundary)
                    # Asked within each branch: to add among them, all threads of a warp must be in the same one.
                    if share > 0.0:
                        coarse = square(at, lower + 1, start, rows, columns, channels, boundary)
                        among_fine = alike(fine.index[0]) and alike(fine.index[3])
                        among_coarse = alike(coarse.index[0]) and alike(coarse.index[3])
                        glevel = wp.float32(0.0)
                        for c0 in range(0, channels, width):
                            for k in range(width):
                                c = c0 + k
                                g = dout[source + c]
                                g1 = g * share
                                g0 = g - g1
                                t0 = texels(pyramid, fine, c)
                                t1 = texels(pyramid, coarse, c)
                                gu += g0 * wp.dot(fine.u_slopes, t0) + g1 * wp.dot(coarse.u_slopes, t1)
                                gv += g0 * wp.dot(fine.v_slopes, t0) + g1 * wp.dot(coarse.v_slopes, t1)
                                glevel += g * (wp.dot(coarse.weights, t1) - wp.dot(fine.weights, t0))
                                if texture_wanted == 1:
                                    spread(dpyramid, fine, c, g0, among_fine)
                                    spread(dpyramid, coarse, c, g1, among_coarse)
                        if duv_da:
                            slope = level_slope(uv_da[q], rows, columns) * glevel
                    else:
                        among_fine = alike(fine.index[0]) and alike(fine.index[3])
                        for c0 in range(0, channels, width):
                            for k in range(width):
                                c = c0 + k
                                g = dout[source + c]
                                t0 = texels(pyramid, fine, c)
                                gu += g * wp.dot(fine.u_slopes, t0)
                                gv += g * wp.dot(fine.v_slopes, t0)
                                if texture_wanted == 1:
                                    spread(dpyramid, fine, c, g, among_fine)
            if duv:
                duv[q] = wp.vec2(gu, gv)
            if duv_da:
                duv_da[q] = slope

    return gradient_kernel


@wp.kernel
def shrink_kernel(
    # In:
    first: wp.int32,
    tex: wp.array[wp.float32],  # [M, H W C]; only read where level is 0
    channels: wp.int32,
    rows: wp.int32,  # of level 0
    columns: wp.int32,
    texels: wp.int32,  # of all levels
    level: wp.int32,  # the finest level that is read
    count: wp.int32,  # of levels that are made
    # Out:
    pyramid: wp.array[wp.float32],  # [M, T C]
):
    """One thread a texel of level `level + count`: everything below it, level by level, each texel the mean of its own.

    Level 0 is copied from the texture on the way.
    """
    index = first + wp.tid()
    wide = wp.max(columns >> (level + count), 1)
    high = wp.max(rows >> (level + count), 1)
    x = index % wide
    y = (index // wide) % high
    image = index // wide // high
    base = image * texels
    for step in range(count + 1):
        k = level + step
        w = wp.max(columns >> k, 1)
        h = wp.max(rows >> k, 1)
        size = wp.int32(1) << (count - step)
        x1 = wp.min((x + 1) * size, w)
        y1 = wp.min((y + 1) * size, h)
        to = base + level_start(k, rows, columns)
        if step == 0:
            if level == 0:
                for row in range(y * size, y1):
                    for i in range((row * w + x * size) * channels, (row * w + x1) * channels):
                        pyramid[to * channels + i] = tex[image * rows * columns * channels + i]
        else:
            w0 = wp.max(columns >> (k - 1), 1)
            h0 = wp.max(rows >> (k - 1), 1)
            source = base + level_start(k - 1, rows, columns)
            right = wp.where(w0 > w, 1, 0)
            up = wp.where(h0 > h, w0, 0)
            for row in range(y * size, y1):
                for column in range(x * size, x1):
                    corner = source + row * wp.where(h0 > h, 2, 1) * w0 + column * wp.where(w0 > w, 2, 1)
                    for c in range(channels):
                        mean = 0.25 * (
                            (pyramid[corner * channels + c] + pyramid[(corner + right) * channels + c])
                            + (pyramid[(corner + up) * channels + c] + pyramid[(corner + up + right) * channels + c])
                        )
                        pyramid[(to + row * w + column) * channels + c] = mean


@wp.kernel
def unfold_kernel(
    # In:
    first: wp.int32,
    channels: wp.int32,
    rows: wp.int32,  # of level 0
    columns: wp.int32,
    texels: wp.int32,  # of all levels
    level: wp.int32,  # that is added to
    count: wp.int32,  # of levels after it that are added
    # In and out:
    dpyramid: wp.array[wp.float32],  # [M, T C]
):
    """One thread a texel of `level`: add its share of the gradients of the averages that it went into."""
    index = first + wp.tid()
    w = wp.max(columns >> level, 1)
    h = wp.max(rows >> level, 1)
    x = index % w
    y = (index // w) % h
    base = (index // w // h) * texels
    to = base + level_start(level, rows, columns) + y * w + x
    start = base + level_start(level + 1, rows, columns)
    for step in range(1, count + 1):
        w1 = wp.max(columns >> (level + step), 1)
        h1 = wp.max(rows >> (level + step), 1)
        share = wp.float32(w1 * h1) / wp.float32(w * h)
        source = start + wp.min(y >> step, h1 - 1) * w1 + wp.min(x >> step, w1 - 1)
        for c in range(channels):
            dpyramid[to * channels + c] = dpyramid[to * channels + c] + share * dpyramid[source * channels + c]
        start += w1 * h1
