"""Which pixels a triangle covers and how deep it lies there, and the bids that it makes for them.

Pixels are counted in whole numbers, X = 2 column + 1 - width and Y = 2 row + 1 - height, and the edge functions scaled
to them: nothing is divided or rounded on the way to a pixel.
"""

# mypy: ignore-errors

from __future__ import annotations

from meshwright._warp import wp
from meshwright.rendering.ops.warps import Names, Numbers
from meshwright.rendering.rasterize.kernel import Edges, triangle_edges, widen

wp.set_module_options({"enable_backward": False})


@wp.func
def outline(p: wp.vec4) -> wp.vec3:
    """x, y, w: the homogeneous image point of a corner."""
    return wp.vec3(p[0], p[1], p[3])


@wp.func
def widen_edge(box: wp.vec4d, p: wp.vec4d, q: wp.vec4d) -> wp.vec4d:
    """Take in the start of an edge if it lies beyond the near plane z = -w, and where the edge crosses that plane."""
    zero = wp.float64(0.0)
    far = wp.float64(4.0)
    dp = p[2] + p[3]
    dq = q[2] + q[3]
    if dp >= zero and p[3] > zero:
        box = widen(box, p[0] / p[3], p[1] / p[3])
    if dp >= zero and p[3] <= zero:
        box = wp.vec4d(-far, -far, far, far)
    if (dp >= zero) != (dq >= zero):
        t = dp / (dp - dq)
        w = p[3] + t * (q[3] - p[3])
        if w > zero:
            box = widen(box, (p[0] + t * (q[0] - p[0])) / w, (p[1] + t * (q[1] - p[1])) / w)
        else:
            box = wp.vec4d(-far, -far, far, far)
    return box


@wp.func
def first_centre(x: wp.float64, size: wp.int32) -> wp.int32:
    """The first pixel whose centre is not before x."""
    one = wp.float64(1.0)
    half = wp.float64(0.5)
    # 1e-6 of the frame takes up the rounding of the divisions; the edge test has the last word.
    x = wp.clamp(x - wp.float64(1.0e-6), -one, one)
    return wp.max(wp.int32(wp.ceil((x + one) * half * wp.float64(size) - half)), 0)


@wp.func
def last_centre(x: wp.float64, size: wp.int32) -> wp.int32:
    """The last pixel whose centre is not beyond x."""
    one = wp.float64(1.0)
    half = wp.float64(0.5)
    x = wp.clamp(x + wp.float64(1.0e-6), -one, one)
    return wp.min(wp.int32(wp.floor((x + one) * half * wp.float64(size) - half)), size - 1)


@wp.func
def before_near(p0: wp.vec4, p1: wp.vec4, p2: wp.vec4) -> wp.vec3:
    """z + w of the corners: negative before the near plane. Rounding does not change the sign of a sum."""
    return wp.vec3(p0[2] + p0[3], p1[2] + p1[3], p2[2] + p2[3])


@wp.func
def is_cut(p0: wp.vec4, p1: wp.vec4, p2: wp.vec4) -> wp.bool:
    """Whether a triangle is not as a whole between near plane and infinity."""
    return wp.min(before_near(p0, p1, p2)) < 0.0 or not wp.min(wp.vec3(p0[3], p1[3], p2[3])) > 0.0


@wp.func
def pixel_box(p0: wp.vec4, p1: wp.vec4, p2: wp.vec4, height: wp.int32, width: wp.int32) -> wp.vec4i:
    """First and last column and row whose centres may lie inside: (x0, y0, x1, y1), empty where x1 < x0 or y1 < y0."""
    if is_cut(p0, p1, p2):
        return cut_box(wp.vec4d(p0), wp.vec4d(p1), wp.vec4d(p2), height, width)
    return whole_box(p0, p1, p2, height, width)


@wp.func
def whole_box(p0: wp.vec4, p1: wp.vec4, p2: wp.vec4, height: wp.int32, width: wp.int32) -> wp.vec4i:
    """`pixel_box` of a triangle that is not cut."""
    r0 = 1.0 / p0[3]
    r1 = 1.0 / p1[3]
    r2 = 1.0 / p2[3]
    x = wp.vec3(p0[0] * r0, p1[0] * r1, p2[0] * r2)
    y = wp.vec3(p0[1] * r0, p1[1] * r1, p2[1] * r2)
    columns = within(wp.min(x), wp.max(x), width)
    rows = within(wp.min(y), wp.max(y), height)
    return wp.vec4i(columns[0], rows[0], columns[1], rows[1])


@wp.func
def within(low: wp.float32, high: wp.float32, size: wp.int32) -> wp.vec2i:
    """The first and the last pixel whose centres may lie between two places of the frame."""
    half = 0.5 * wp.float32(size)
    # A millionth of the frame takes up the rounding here; the edge test has the last word.
    margin = 1.0e-6 * wp.float32(size)
    first = wp.clamp(low * half + (half - 0.5) - margin, -1.0, wp.float32(size))
    last = wp.clamp(high * half + (half - 0.5) + margin, -1.0, wp.float32(size))
    return wp.vec2i(wp.max(wp.int32(wp.ceil(first)), 0), wp.min(wp.int32(wp.floor(last)), size - 1))


@wp.func
def cut_box(a: wp.vec4d, b: wp.vec4d, c: wp.vec4d, height: wp.int32, width: wp.int32) -> wp.vec4i:
    """`pixel_box` of a triangle that the near plane cuts."""
    far = wp.float64(1.0e30)
    box = wp.vec4d(far, far, -far, -far)
    box = widen_edge(box, a, b)
    box = widen_edge(box, b, c)
    box = widen_edge(box, c, a)
    one = wp.float64(1.0)
    if box[2] < -one or box[0] > one or box[3] < -one or box[1] > one:
        return wp.vec4i(0, 0, -1, -1)
    return wp.vec4i(
        first_centre(box[0], width),
        first_centre(box[1], height),
        last_centre(box[2], width),
        last_centre(box[3], height),
    )


@wp.func
def grid_edges(p0: wp.vec4, p1: wp.vec4, p2: wp.vec4, height: wp.int32, width: wp.int32) -> Edges:
    """The edge functions of X and Y, up to a common factor."""
    edges = triangle_edges(outline(p0), outline(p1), outline(p2))
    h = wp.float64(height)
    w = wp.float64(width)
    edges.a = edges.a * h
    edges.b = edges.b * w
    edges.c = edges.c * (h * w)
    return edges


@wp.struct
class Cover:
    """What a triangle needs for every pixel: is it inside, and how deep? See `bid_within`."""

    numbers: Numbers
    takes: wp.int32
    ok: wp.int32


@wp.func
def takes(a: wp.float64, b: wp.float64) -> wp.int32:
    """1 if a centre exactly on an edge is inside: it would be after a tiny step right, then up."""
    zero = wp.float64(0.0)
    return wp.where(a > zero or (a == zero and b > zero), 1, 0)


@wp.func
def cover_of(p0: wp.vec4, p1: wp.vec4, p2: wp.vec4, height: wp.int32, width: wp.int32) -> Cover:
    """Made once for a triangle."""
    cover = Cover()
    edges = grid_edges(p0, p1, p2, height, width)
    a = edges.a
    b = edges.b
    c = edges.c
    # z/w = sum(z_i e_i) / sum(w_i e_i) is a plane, for the lower sum is the same everywhere. Seen from the depth of one
    # corner its numbers are small: what rounding does to a thin triangle's edges hardly matters then.
    about = wp.float64(wp.where(p0[3] > 0.0, p0[2] / p0[3], 0.0))
    w = wp.vec3d(wp.float64(p0[3]), wp.float64(p1[3]), wp.float64(p2[3]))
    z = wp.vec3d(wp.float64(p0[2]), wp.float64(p1[2]), wp.float64(p2[2])) - about * w
    half = wp.float64(1073741824.0)
    z = z * (half / wp.dot(w, c))
    for i in range(3):
        cover.numbers[i] = a[i]
        cover.numbers[3 + i] = b[i]
        cover.numbers[6 + i] = c[i]
    cover.numbers[9] = wp.dot(z, a)
    cover.numbers[10] = wp.dot(z, b)
    cover.numbers[11] = wp.dot(z, c) + (about * half + half)
    cover.takes = takes(a[0], b[0]) + 2 * takes(a[1], b[1]) + 4 * takes(a[2], b[2])
    cover.ok = edges.ok
    return cover


@wp.func_native(
    """
#if defined(__CUDA_ARCH__)
    // Positive, 0 or negative as a number is, if it is none of the very smallest: cheaper to compare.
    const auto sign = [](double v) { return __double2hiint(v); };
    const auto keep = [](wp::int64* to, unsigned code, unsigned face) {
        atomicMin((long long*)to, (long long)(((unsigned long long)code << 32) | face));
    };
    const auto word = [](double v, bool high) { return (unsigned)(high ? __double2hiint(v) : __double2loint(v)); };
#else
    const auto word = [](double v, bool high) {
        unsigned long long bits;
        memcpy(&bits, &v, sizeof(bits));
        return (unsigned)(high ? bits >> 32 : bits);
    };
    const auto sign = [&](double v) { return (int)word(v, true); };
    const auto keep = [](wp::int64* to, unsigned code, unsigned face) {
        const wp::int64 value = (wp::int64)(((unsigned long long)code << 32) | face);
        if (value < *to) *to = value;
    };
#endif
    const auto inside = [&](double e0, double e1, double e2) {
        const int i = sign(e0), j = sign(e1), k = sign(e2);
        if ((i | j | k) < 0) return false;
        return (i && j && k) || ((i || names[5] & 1) && (j || names[5] & 2) && (k || names[5] & 4));
    };
    const auto bid = [&](wp::int64* to, double depth) {
        // The last bits of 2**52 + n are n, which is faster than a conversion.
        const double shifted = depth + 4503599627370496.0;
        const unsigned code = word(shifted, false);
        if (word(shifted, true) == 0x43300000u && code <= 0x80000000u)
            keep(to, code < 0x7fffffffu ? code : 0x7fffffffu, names[4]);
    };
    const double step = 2 * columns;
    const float r0 = -1.0f / (float)numbers[0], r1 = -1.0f / (float)numbers[1], r2 = -1.0f / (float)numbers[2];
    for (int y = names[1] + row; y <= names[3]; y += rows) {
        const double up = 2 * y + 1 - height;
        const double s0 = numbers[3] * up + numbers[6];
        const double s1 = numbers[4] * up + numbers[7];
        const double s2 = numbers[5] * up + numbers[8];
        const double depth = numbers[10] * up + numbers[11];
        wp::int64* const line = nearest.data + ((size_t)names[6] * height + y) * width;
        // Where in this row its edges leave the triangle, about: the exact test has the last word.
        float low = -width, high = width;
        const auto cut = [&](double a, double e, float slope) {
            const float at = slope * (float)e;
            if (a > 0.0) low = wp::max(at, low);
            if (a < 0.0) high = wp::min(at, high);
        };
        cut(numbers[0], s0, r0);
        cut(numbers[1], s1, r1);
        cut(numbers[2], s2, r2);
        const float margin = 0.05f + 1e-6f * width;
        low = wp::ceil(0.5f * (wp::min(low, (float)width) + (width - 1) - margin));
        high = wp::floor(0.5f * (wp::max(high, -(float)width) + (width - 1) + margin));
        const int begin = wp::max((int)low, names[0]), end = wp::min((int)high, names[2]);
        int x = begin + column;
        for (double across = 2 * x + 1 - width; x <= end; x += columns, across += step)
            if (inside(numbers[0] * across + s0, numbers[1] * across + s1, numbers[2] * across + s2))
                bid(line + x, numbers[9] * across + depth);
    }
"""
)
def bid_within(
    nearest: wp.array[wp.int64],
    numbers: Numbers,
    names: Names,
    height: wp.int32,
    width: wp.int32,
    column: wp.int32,
    row: wp.int32,
    columns: wp.int32,
    rows: wp.int32,
):
    """A triangle bids for the pixels of its box, those of every so many rows and columns of it.

    A bid has the depth in its upper half, in 31 bits that are evenly spaced over -1 .. 1 (float32 would waste most of
    its own on the half next to the camera), the face in its lower half.

    Args:
        nearest: Of each pixel the nearest bid, [N H W + 1].
        numbers: Of the edge functions e_i = a_i X + b_i Y + c_i first a, then b, then c; then the same of the depth.
        names: First column, first row, last column and last row of the box; the face; a number whose bit i says
            whether a centre exactly on edge i is inside; the view.
        height: Of the picture.
        width: Of the picture.
        column: Where in the box to begin.
        row: Where in the box to begin.
        columns: The step from one column to the next.
        rows: The step from one row to the next.
    """
    ...
