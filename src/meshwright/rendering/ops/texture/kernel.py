"""Texture look-ups, plain and from a pyramid of ever smaller averages, and their gradients.

Texel (row, column) has its centre at u = (column + 0.5) / width, v = (row + 0.5) / height; nothing is flipped.
A pyramid holds all its levels one after the other, each half the size of the one before, rounded down but at least 1.
"""

# mypy: ignore-errors

from __future__ import annotations

from meshwright._warp import wp
from meshwright.rendering.ops.scatter import Sum, add_up
from meshwright.rendering.ops.warps import BUSY, load4, load_some, peers, place_of, store4

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

    index: wp.vec4i  # in texels
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
    result.index = wp.vec4i(low + h.before, low + h.after, high + h.before, high + h.after)
    result.weights = products(h.weights, v.weights)
    result.u_slopes = products(h.slopes, v.weights)
    result.v_slopes = products(h.weights, v.slopes)
    return result


@wp.func
def products(h: wp.vec2, v: wp.vec2) -> wp.vec4:
    """One number for each texel of a square."""
    return wp.vec4(h[0] * v[0], h[1] * v[0], h[0] * v[1], h[1] * v[1])


@wp.func
def texels(pyramid: wp.array[wp.float32], at: Square, channels: wp.int32, c: wp.int32) -> wp.vec4:
    """One channel of the four texels."""
    return wp.vec4(
        pyramid[at.index[0] * channels + c],
        pyramid[at.index[1] * channels + c],
        pyramid[at.index[2] * channels + c],
        pyramid[at.index[3] * channels + c],
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
def nearest_texel(uv: wp.vec2, start: wp.int32, height: wp.int32, width: wp.int32, boundary: wp.int32) -> wp.int32:
    """The texel that a point falls in; -1 beyond a border of zeros."""
    x = nearest(uv[0], width, boundary)
    y = nearest(uv[1], height, boundary)
    return wp.where(x < 0 or y < 0, -1, start + y * width + x)


@wp.func
def is_blank(at: wp.vec2, da: wp.vec4) -> wp.bool:
    """A pixel of the background, most likely: they all look up the same place."""
    return wp.dot(at, at) + wp.dot(da, da) == 0.0


@wp.func
def spread(
    dpyramid: Sum,
    at: Square,
    pitch: wp.int32,  # places for each texel
    c: wp.int32,
    value: wp.vec4,
    count: wp.int32,
    wide: wp.int32,
    key: wp.int32,
    group: wp.vec3i,
):
    """Add `count` channels from c on to the four texels of a bilinear look-up."""
    add_up(dpyramid, at.index[0] * pitch + c, at.weights[0] * value, count, wide, key, group)
    add_up(dpyramid, at.index[1] * pitch + c, at.weights[1] * value, count, wide, key, group)
    add_up(dpyramid, at.index[2] * pitch + c, at.weights[2] * value, count, wide, key, group)
    add_up(dpyramid, at.index[3] * pitch + c, at.weights[3] * value, count, wide, key, group)


def make_sample_kernel(group: int) -> wp.Kernel:
    """One look-up a pixel. Channels come `group` at a time, so that the compiler can unroll them."""

    @wp.kernel(enable_backward=False, module="unique", **BUSY)
    def sample_kernel(
        # In:
        first: wp.int32,
        last: wp.int32,
        span: wp.int32,
        height: wp.int32,
        width: wp.int32,
        pyramid: wp.array[wp.float32],  # [1 or N, T C]
        uv: wp.array[wp.vec2],  # [N H W]
        uv_da: wp.array[wp.vec4],  # [N H W] or null
        channels: wp.int32,
        rows: wp.int32,  # of level 0
        columns: wp.int32,
        stride: wp.int32,  # T, or 0 where all views share the texture
        highest: wp.int32,  # level
        mode: wp.int32,
        boundary: wp.int32,
        # Out:
        out: wp.array[wp.float32],  # [N H W C]
    ):
        place = place_of(wp.tid(), first, last, span, height, width)
        start = place.view * stride
        was_blank = wp.bool(False)
        for q in range(place.first, place.stop):
            at = uv[q]
            to = q * channels
            da = wp.vec4(0.0, 0.0, 0.0, 0.0)
            if uv_da:
                da = load4(uv_da, q)
            blank = is_blank(at, da)
            if blank and was_blank:
                for c in range(channels):
                    out[to + c] = out[to + c - channels]
            elif mode == NEAREST:
                texel = nearest_texel(at, start, rows, columns, boundary)
                for c in range(channels):
                    if texel < 0:
                        out[to + c] = 0.0
                    else:
                        out[to + c] = pyramid[texel * channels + c]
            else:
                level = wp.float32(0.0)
                if mode != LINEAR:
                    level = level_for(da, rows, columns, highest, mode)
                lower = wp.int32(level)
                share = level - wp.float32(lower)
                fine = square(at, lower, start, rows, columns, boundary)
                if share > 0.0:
                    coarse = square(at, lower + 1, start, rows, columns, boundary)
                    for c0 in range(0, channels, group):
                        for k in range(group):
                            c = c0 + k
                            value = wp.dot(fine.weights, texels(pyramid, fine, channels, c))
                            other = wp.dot(coarse.weights, texels(pyramid, coarse, channels, c))
                            out[to + c] = value + share * (other - value)
                else:
                    for c0 in range(0, channels, group):
                        for k in range(group):
                            out[to + c0 + k] = wp.dot(fine.weights, texels(pyramid, fine, channels, c0 + k))
            was_blank = blank

    return sample_kernel


def make_gradient_kernel(group: int) -> wp.Kernel:
    """From the pictures back to texels, coordinates and their derivatives, `group` channels at a time."""
    at_once = group if group in (2, 4) else 1

    @wp.kernel(enable_backward=False, module="unique", launch_bounds=(256, 3))
    def gradient_kernel(
        # In:
        first: wp.int32,
        last: wp.int32,
        span: wp.int32,
        height: wp.int32,
        width: wp.int32,
        pyramid: wp.array[wp.float32],  # [1 or N, T C]
        uv: wp.array[wp.vec2],  # [N H W]
        uv_da: wp.array[wp.vec4],  # [N H W] or null
        dout: wp.array[wp.float32],  # [N H W C]
        channels: wp.int32,
        rows: wp.int32,  # of level 0
        columns: wp.int32,
        stride: wp.int32,  # T, or 0 where all views share the texture
        highest: wp.int32,  # level
        mode: wp.int32,
        boundary: wp.int32,
        pitch: wp.int32,  # places for each texel in dpyramid, C or more
        slots: wp.int32,  # S, a power of two, or 0
        end: wp.int32,  # 1 or N T
        texture_wanted: wp.int32,
        # Out:
        duv: wp.array[wp.vec2],  # [N H W] or null
        duv_da: wp.array[wp.vec4],  # [N H W] or null
        dpyramid: Sum,  # [1 or N, T pitch], then [1 or N, S pitch] for what the background adds
    ):
        place = place_of(wp.tid(), first, last, span, height, width)
        start = place.view * stride
        wide = wp.where(pitch == 4 and group == 3, 4, at_once)
        for q in range(place.first, place.stop):
            source = q * channels
            some = wp.int32(0)
            for c0 in range(0, channels, group):
                for k in range(group):
                    if dout[source + c0 + k] != 0.0:
                        some = wp.int32(1)
            gu = wp.float32(0.0)
            gv = wp.float32(0.0)
            slope = wp.vec4(0.0, 0.0, 0.0, 0.0)
            if some == 1:
                at = uv[q]
                if mode == NEAREST:
                    texel = nearest_texel(at, start, rows, columns, boundary)
                    key = wp.where(texture_wanted == 1, texel, -1)
                    among = peers(key, -1)
                    for c0 in range(0, channels, group):
                        value = wp.vec4(0.0, 0.0, 0.0, 0.0)
                        for k in range(group):
                            value[k] = dout[source + c0 + k]
                        add_up(dpyramid, texel * pitch + c0, value, group, wide, key, among)
                else:
                    da = wp.vec4(0.0, 0.0, 0.0, 0.0)
                    if uv_da:
                        da = load4(uv_da, q)
                    level = wp.float32(0.0)
                    if mode != LINEAR:
                        level = level_for(da, rows, columns, highest, mode)
                    lower = wp.int32(level)
                    share = level - wp.float32(lower)
                    fine = square(at, lower, start, rows, columns, boundary)
                    # Among them, threads that are in the same branch add up what goes to the same texels.
                    if texture_wanted == 1:
                        if slots > 0 and is_blank(at, da):
                            # All pixels of a background would queue for four texels.
                            slot = end + wp.where(stride > 0, place.view * slots, 0) + ((wp.tid() >> 5) & (slots - 1))
                            among = peers(slot, -1)
                            for c0 in range(0, channels, group):
                                value = wp.vec4(0.0, 0.0, 0.0, 0.0)
                                for k in range(group):
                                    value[k] = dout[source + c0 + k]
                                add_up(dpyramid, slot * pitch + c0, value, group, wide, slot, among)
                        else:
                            # Before a border of zeros, squares may differ in their last texel only.
                            key = fine.index[0]
                            among = wp.vec3i(0, 1073741824, 0)
                            if share == 0.0:
                                among = peers(key, wp.where(boundary == ZERO, fine.index[3], -1))
                            for c0 in range(0, channels, group):
                                value = wp.vec4(0.0, 0.0, 0.0, 0.0)
                                for k in range(group):
                                    value[k] = dout[source + c0 + k] * (1.0 - share)
                                spread(dpyramid, fine, pitch, c0, value, group, wide, key, among)
                    if share > 0.0:
                        coarse = square(at, lower + 1, start, rows, columns, boundary)
                        glevel = wp.float32(0.0)
                        for c0 in range(0, channels, group):
                            for k in range(group):
                                c = c0 + k
                                g = dout[source + c]
                                t0 = texels(pyramid, fine, channels, c)
                                t1 = texels(pyramid, coarse, channels, c)
                                g1 = g * share
                                g0 = g - g1
                                gu += g0 * wp.dot(fine.u_slopes, t0) + g1 * wp.dot(coarse.u_slopes, t1)
                                gv += g0 * wp.dot(fine.v_slopes, t0) + g1 * wp.dot(coarse.v_slopes, t1)
                                glevel += g * (wp.dot(coarse.weights, t1) - wp.dot(fine.weights, t0))
                        if duv_da:
                            slope = level_slope(da, rows, columns) * glevel
                        if texture_wanted == 1:
                            key = coarse.index[0]
                            among = peers(key, wp.where(boundary == ZERO, coarse.index[3], -1))
                            for c0 in range(0, channels, group):
                                value = wp.vec4(0.0, 0.0, 0.0, 0.0)
                                for k in range(group):
                                    value[k] = dout[source + c0 + k] * share
                                spread(dpyramid, coarse, pitch, c0, value, group, wide, key, among)
                    else:
                        for c0 in range(0, channels, group):
                            for k in range(group):
                                c = c0 + k
                                g = dout[source + c]
                                t0 = texels(pyramid, fine, channels, c)
                                gu += g * wp.dot(fine.u_slopes, t0)
                                gv += g * wp.dot(fine.v_slopes, t0)
            if duv:
                duv[q] = wp.vec2(gu, gv)
            if duv_da:
                store4(duv_da, q, slope)

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


@wp.kernel
def collect_kernel(
    # In:
    first: wp.int32,
    dpyramid: wp.array[wp.float32],  # [M, T pitch], then [M, S pitch]
    channels: wp.int32,
    pitch: wp.int32,  # places for each texel in dpyramid
    rows: wp.int32,  # of level 0
    columns: wp.int32,
    images: wp.int32,  # M
    texels: wp.int32,  # T, of all levels
    levels: wp.int32,  # above level 0
    slots: wp.int32,  # S
    boundary: wp.int32,
    # Out:
    dtex: wp.array[wp.float32],  # [M, H W C]
):
    """One thread a texel of level 0: its own gradient and its share of those of the averages that it went into."""
    index = first + wp.tid()
    line = index // columns
    x = index - line * columns
    image = line // rows
    y = line - image * rows
    base = image * texels
    own = base + y * columns + x
    weight = wp.float32(0.0)
    if slots > 0:
        blank = square(wp.vec2(0.0, 0.0), 0, base, rows, columns, boundary)
        for k in range(4):
            if blank.index[k] == own:
                weight += blank.weights[k]
    for c0 in range(0, channels, 4):
        total = load_some(dpyramid, own * pitch + c0, channels - c0, pitch)
        start = base + rows * columns
        share = wp.float32(1.0)
        for step in range(1, levels + 1):
            w = wp.max(columns >> step, 1)
            h = wp.max(rows >> step, 1)
            # Levels end where an extent is odd: the next one has a quarter or, along an extent of 1, half.
            share *= wp.where((columns >> step) > 0 and (rows >> step) > 0, 0.25, 0.5)
            source = start + wp.min(y >> step, h - 1) * w + wp.min(x >> step, w - 1)
            total += share * load_some(dpyramid, source * pitch + c0, channels - c0, pitch)
            start += w * h
        if weight > 0.0:
            for slot in range(slots):
                source = images * texels + image * slots + slot
                total += weight * load_some(dpyramid, source * pitch + c0, channels - c0, pitch)
        for k in range(4):
            if c0 + k < channels:
                dtex[index * channels + c0 + k] = total[k]


@wp.kernel
def average_kernel(
    # In:
    first: wp.int32,
    source: wp.array[wp.float32],  # what is averaged, [M, ...]
    image_stride: wp.int32,  # texels from one image to the next there
    start: wp.int32,  # and those before the first that is read
    channels: wp.int32,
    rows: wp.int32,  # of level 0
    columns: wp.int32,
    texels: wp.int32,  # T, of all levels
    level: wp.int32,  # that is read
    made: wp.int32,  # texels of the levels that are made
    # Out:
    pyramid: wp.array[wp.float32],  # [M, T C]
):
    """One thread a number of the levels after `level`: the mean of all that it stands for there."""
    index = first + wp.tid()
    texel = index // channels
    c = index - texel * channels
    image = texel // made
    texel -= image * made
    to = image * texels + level_start(level + 1, rows, columns) + texel
    k = level + 1
    w = wp.max(columns >> k, 1)
    h = wp.max(rows >> k, 1)
    while texel >= w * h:
        texel -= w * h
        k += 1
        w = wp.max(columns >> k, 1)
        h = wp.max(rows >> k, 1)
    w0 = wp.max(columns >> level, 1)
    wide = w0 // w
    high = wp.max(rows >> level, 1) // h
    y = texel // w
    corner = image * image_stride + start + y * high * w0 + (texel - y * w) * wide
    total = wp.float32(0.0)
    for row in range(high):
        for column in range(wide):
            total += source[(corner + row * w0 + column) * channels + c]
    pyramid[to * channels + c] = total / wp.float32(wide * high)
