"""Texture look-ups, plain and from a pyramid of ever smaller averages, and their gradients.

Texel (row, column) has its centre at u = (column + 0.5) / width, v = (row + 0.5) / height; nothing is flipped.
A pyramid holds all its levels one after the other, each half the size of the one before, rounded down but at least 1.
"""

# mypy: ignore-errors

from __future__ import annotations

from meshwright._warp import wp
from meshwright.rendering.ops.scatter import Sum, add

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
    total = wp.int32(0)
    for k in range(level):
        total += wp.max(height >> k, 1) * wp.max(width >> k, 1)
    return total


@wp.struct
class Tap:
    """Two neighbouring texels along one axis and where the look-up falls between them; -1 is beyond the border."""

    before: wp.int32
    after: wp.int32
    share: wp.float32  # of `after`
    slope: wp.float32  # d share / d coordinate


@wp.func
def tap(coordinate: wp.float32, size: wp.int32, boundary: wp.int32) -> Tap:
    """Which texels a bilinear look-up blends along one axis."""
    if not wp.isfinite(coordinate):
        coordinate = wp.float32(0.0)
    extent = wp.float32(size)
    result = Tap()
    result.slope = extent
    x = wp.float32(0.0)
    if boundary == WRAP:
        x = (coordinate - wp.floor(coordinate)) * extent - 0.5
    elif boundary == CLAMP:
        x = coordinate * extent - 0.5
        if x < 0.0 or x > extent - 1.0:
            result.slope = 0.0
            x = wp.clamp(x, 0.0, extent - 1.0)
    else:
        x = wp.clamp(coordinate * extent - 0.5, -2.0, extent + 1.0)
    floor = wp.floor(x)
    result.share = x - floor
    before = wp.int32(floor)
    after = before + 1
    if boundary == WRAP:
        if before < 0:
            before += size
        if after >= size:
            after -= size
    elif boundary == CLAMP:
        after = wp.min(after, size - 1)
    else:
        if before < 0 or before >= size:
            before = -1
        if after < 0 or after >= size:
            after = -1
    result.before = before
    result.after = after
    return result


@wp.func
def nearest(coordinate: wp.float32, size: wp.int32, boundary: wp.int32) -> wp.int32:
    """The texel that a coordinate falls in along one axis, or -1."""
    if not wp.isfinite(coordinate):
        coordinate = wp.float32(0.0)
    if boundary == WRAP:
        coordinate = coordinate - wp.floor(coordinate)
    x = wp.int32(wp.floor(wp.clamp(coordinate * wp.float32(size), -1.0, wp.float32(size))))
    if boundary == ZERO:
        return wp.where(x < 0 or x >= size, -1, x)
    return wp.clamp(x, 0, size - 1)


@wp.struct
class Square:
    """The four texels of a bilinear look-up, -1 for none, and where it falls between them."""

    index: wp.vec4i  # lower left, lower right, upper left, upper right
    x: wp.float32
    y: wp.float32
    slope: wp.vec2  # dx / du, dy / dv


@wp.func
def square(
    uv: wp.vec2, level: wp.int32, start: wp.int32, height: wp.int32, width: wp.int32, boundary: wp.int32
) -> Square:
    """Where a bilinear look-up reads at one level of the pyramid."""
    columns = wp.max(width >> level, 1)
    rows = wp.max(height >> level, 1)
    base = start + level_start(level, height, width)
    h = tap(uv[0], columns, boundary)
    v = tap(uv[1], rows, boundary)
    low = base + v.before * columns
    high = base + v.after * columns
    result = Square()
    result.index = wp.vec4i(low + h.before, low + h.after, high + h.before, high + h.after)
    if boundary == ZERO:
        if v.before < 0:
            result.index[0] = -1
            result.index[1] = -1
        if v.after < 0:
            result.index[2] = -1
            result.index[3] = -1
        if h.before < 0:
            result.index[0] = -1
            result.index[2] = -1
        if h.after < 0:
            result.index[1] = -1
            result.index[3] = -1
    result.x = h.share
    result.y = v.share
    result.slope = wp.vec2(h.slope, v.slope)
    return result


@wp.func
def read(pyramid: wp.array[wp.float32], texel: wp.int32, channels: wp.int32, c: wp.int32) -> wp.float32:
    """One number of a texel; 0 beyond the border."""
    if texel < 0:
        return wp.float32(0.0)
    return pyramid[texel * channels + c]


@wp.func
def blend(pyramid: wp.array[wp.float32], at: Square, channels: wp.int32, c: wp.int32) -> wp.float32:
    """A bilinear look-up."""
    a = read(pyramid, at.index[0], channels, c)
    b = read(pyramid, at.index[1], channels, c)
    low = a + at.x * (b - a)
    a = read(pyramid, at.index[2], channels, c)
    b = read(pyramid, at.index[3], channels, c)
    high = a + at.x * (b - a)
    return low + at.y * (high - low)


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


@wp.kernel
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
    """One look-up a pixel."""
    p = first + wp.tid() * span
    stop = wp.min(p + span, last)
    for q in range(p, stop):
        at = uv[q]
        to = q * channels
        start = (q // pixels) * stride
        if mode == NEAREST:
            x = nearest(at[0], columns, boundary)
            y = nearest(at[1], rows, boundary)
            texel = start + y * columns + x
            if x < 0 or y < 0:
                texel = wp.int32(-1)
            for c in range(channels):
                out[to + c] = read(pyramid, texel, channels, c)
        else:
            level = wp.float32(0.0)
            if mode != LINEAR:
                level = level_of(uv_da[q], rows, columns, highest)
                if mode == MIPMAP_NEAREST:
                    level = wp.floor(level)
            lower = wp.int32(wp.floor(level))
            share = level - wp.floor(level)
            fine = square(at, lower, start, rows, columns, boundary)
            if share > 0.0:
                coarse = square(at, lower + 1, start, rows, columns, boundary)
                for c in range(channels):
                    value = blend(pyramid, fine, channels, c)
                    out[to + c] = value + share * (blend(pyramid, coarse, channels, c) - value)
            else:
                for c in range(channels):
                    out[to + c] = blend(pyramid, fine, channels, c)


@wp.func
def spread(dpyramid: Sum, texel: wp.int32, channels: wp.int32, c: wp.int32, value: wp.float32):
    """Add to one number of a texel, unless it is beyond the border."""
    if texel >= 0:
        add(dpyramid, texel * channels + c, value)


@wp.func
def spread_square(dpyramid: Sum, at: Square, channels: wp.int32, c: wp.int32, g: wp.float32):
    """Add to the four texels of a bilinear look-up."""
    high = g * at.y
    low = g - high
    spread(dpyramid, at.index[0], channels, c, low * (1.0 - at.x))
    spread(dpyramid, at.index[1], channels, c, low * at.x)
    spread(dpyramid, at.index[2], channels, c, high * (1.0 - at.x))
    spread(dpyramid, at.index[3], channels, c, high * at.x)


@wp.func
def slopes(pyramid: wp.array[wp.float32], at: Square, channels: wp.int32, c: wp.int32) -> wp.vec3:
    """The value of a bilinear look-up and its slopes along x and y of the square."""
    a0 = read(pyramid, at.index[0], channels, c)
    a1 = read(pyramid, at.index[1], channels, c) - a0
    b0 = read(pyramid, at.index[2], channels, c)
    b1 = read(pyramid, at.index[3], channels, c) - b0
    low = a0 + at.x * a1
    high = b0 + at.x * b1
    return wp.vec3(low + at.y * (high - low), a1 + at.y * (b1 - a1), high - low)


@wp.kernel
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
    """From the pictures back to texels, coordinates and their derivatives."""
    p = first + wp.tid() * span
    stop = wp.min(p + span, last)
    for q in range(p, stop):
        start = (q // pixels) * stride
        from_ = q * channels
        some = wp.int32(0)
        for c in range(channels):
            if dout[from_ + c] != 0.0:
                some = wp.int32(1)
        gu = wp.float32(0.0)
        gv = wp.float32(0.0)
        glevel = wp.float32(0.0)
        slope = wp.vec4(0.0, 0.0, 0.0, 0.0)
        if some == 1:
            at = uv[q]
            if mode == NEAREST:
                x = nearest(at[0], columns, boundary)
                y = nearest(at[1], rows, boundary)
                if texture_wanted == 1 and x >= 0 and y >= 0:
                    for c in range(channels):
                        add(dpyramid, (start + y * columns + x) * channels + c, dout[from_ + c])
            else:
                level = wp.float32(0.0)
                if mode != LINEAR:
                    level = level_of(uv_da[q], rows, columns, highest)
                    if mode == MIPMAP_NEAREST:
                        level = wp.floor(level)
                lower = wp.int32(wp.floor(level))
                share = level - wp.floor(level)
                fine = square(at, lower, start, rows, columns, boundary)
                if share > 0.0:
                    coarse = square(at, lower + 1, start, rows, columns, boundary)
                    for c in range(channels):
                        g = dout[from_ + c]
                        v0 = slopes(pyramid, fine, channels, c)
                        v1 = slopes(pyramid, coarse, channels, c)
                        g1 = g * share
                        g0 = g - g1
                        gu += g0 * v0[1] * fine.slope[0] + g1 * v1[1] * coarse.slope[0]
                        gv += g0 * v0[2] * fine.slope[1] + g1 * v1[2] * coarse.slope[1]
                        glevel += g * (v1[0] - v0[0])
                        if texture_wanted == 1:
                            spread_square(dpyramid, fine, channels, c, g0)
                            spread_square(dpyramid, coarse, channels, c, g1)
                    if duv_da:
                        slope = level_slope(uv_da[q], rows, columns)
                else:
                    for c in range(channels):
                        g = dout[from_ + c]
                        v0 = slopes(pyramid, fine, channels, c)
                        gu += g * v0[1] * fine.slope[0]
                        gv += g * v0[2] * fine.slope[1]
                        if texture_wanted == 1:
                            spread_square(dpyramid, fine, channels, c, g)
        if duv:
            duv[q] = wp.vec2(gu, gv)
        if duv_da:
            duv_da[q] = slope * glevel


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
