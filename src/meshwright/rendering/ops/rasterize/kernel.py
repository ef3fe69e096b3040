"""Which triangle each pixel centre of each view sees, and how its corners' positions move what is seen there.

A triangle with corners `(x, y, z, w)` covers a centre where its three edge functions `e_i` are positive (see
`meshwright.rendering.rasterize.kernel`, whose edges and tie rule these are). With `S = e_0 + e_1 + e_2`: u = e_0 / S,
v = e_1 / S, z/w = sum(z_i e_i) / sum(w_i e_i). Nothing divides by the w of a corner, so triangles that reach behind
the camera need no clipping; their pixels with |z/w| > 1 are left out one by one.
"""

# mypy: ignore-errors

from __future__ import annotations

from meshwright._warp import wp
from meshwright.rendering.ops.rasterize.cover import (
    before_near,
    bid_within,
    cover_of,
    cut_box,
    is_cut,
    pixel_box,
    whole_box,
)
from meshwright.rendering.ops.scatter import Sum, add_up
from meshwright.rendering.ops.warps import (
    BUSY,
    Names,
    Numbers,
    lend_names,
    lend_numbers,
    load4,
    offset,
    on_gpu,
    peers,
    place_of,
    store4,
)
from meshwright.rendering.rasterize.kernel import EMPTY

wp.set_module_options({"enable_backward": False})


@wp.kernel(**BUSY)
def depth_kernel(
    # In:
    pos: wp.array[wp.vec4],  # [N V]
    tri: wp.array[wp.vec3i],  # [F]
    view: wp.int32,  # of the first triangle
    triangles: wp.int32,  # of so many views times F
    vertices: wp.int32,
    faces: wp.int32,
    height: wp.int32,
    width: wp.int32,
    top: wp.int32,  # rows from here
    bottom: wp.int32,  # to before here are drawn
    wide: wp.int32,  # so many threads, 2**wide, share a triangle's columns
    high: wp.int32,  # and 2**high its rows
    large: wp.int32,  # a triangle with more pixels than this in its box is put off
    counter: wp.int32,  # N H W, the place in `nearest` that counts those down from EMPTY
    # Out:
    nearest: wp.array[wp.int64],  # [N H W + 1], EMPTY before
    put_off: wp.array[wp.int32],  # [N F]
):
    """One thread prepares a triangle of a view, some together bid for its pixels; of each pixel the nearest bid stays.

    Threads on a GPU that work together each prepare one, then they do all of these one after the other.
    """
    index = wp.tid()
    numbers = Numbers()
    names = Names()
    names[2] = -1  # no columns
    if index < triangles:
        seen = wp.int32(wp.uint32(index) // wp.uint32(faces))
        face = index - seen * faces
        seen += view
        corner = tri[face]
        p0 = load4(pos, seen * vertices + corner[0])
        p1 = load4(pos, seen * vertices + corner[1])
        p2 = load4(pos, seen * vertices + corner[2])
        box = wp.vec4i(0, 0, -1, -1)
        late = wp.bool(False)
        if is_cut(p0, p1, p2):
            if on_gpu():
                # There are few of them, and what they need would slow down all others.
                late = wp.max(before_near(p0, p1, p2)) >= 0.0
            else:
                box = cut_box(wp.vec4d(p0), wp.vec4d(p1), wp.vec4d(p2), height, width)
        else:
            box = whole_box(p0, p1, p2, height, width)
        y0 = wp.max(box[1], top)
        y1 = wp.min(box[3], bottom - 1)
        if late or (box[2] >= box[0] and y1 >= y0):
            if late or (box[2] - box[0] + 1) * (y1 - y0 + 1) > large:
                put_off[wp.int32(EMPTY - wp.atomic_sub(nearest, counter, wp.int64(1)))] = index
            else:
                cover = cover_of(p0, p1, p2, height, width)
                if cover.ok == 1:
                    numbers = cover.numbers
                    names = Names(box[0], y0, box[2], y1, face, cover.takes, seen)
    share = wide + high
    if share > 0:
        lend_numbers(numbers, 0, True)
        lend_names(names, 0, True)
    lane = index & ((1 << share) - 1)
    column = lane & ((1 << wide) - 1)
    row = lane >> wide
    for k in range(1 << share):
        if share > 0:
            names = lend_names(names, (index & 31) - lane + k, False)
        if names[2] >= names[0]:
            if share > 0:
                numbers = lend_numbers(numbers, (index & 31) - lane + k, False)
            bid_within(nearest, numbers, names, height, width, column, row, 1 << wide, 1 << high)


@wp.kernel
def large_kernel(
    # In:
    pos: wp.array[wp.vec4],  # [N V]
    tri: wp.array[wp.vec3i],  # [F]
    vertices: wp.int32,
    faces: wp.int32,
    height: wp.int32,
    width: wp.int32,
    threads: wp.int32,
    counter: wp.int32,  # see depth_kernel
    put_off: wp.array[wp.int32],  # [N F]
    # Out:
    nearest: wp.array[wp.int64],  # [N H W + 1]
):
    """What was put off: as many threads a triangle as there are, 32 along each row of its box."""
    count = wp.int32(EMPTY - nearest[counter])
    if count == 0:
        return
    lanes = wp.max(threads // count // 32, 1) * 32
    groups = threads // lanes
    group = wp.tid() // lanes
    lane = wp.tid() - group * lanes
    for slot in range(group, wp.where(group < groups, count, 0), groups):
        index = put_off[slot]
        seen = index // faces
        face = index % faces
        corner = tri[face]
        p0 = pos[seen * vertices + corner[0]]
        p1 = pos[seen * vertices + corner[1]]
        p2 = pos[seen * vertices + corner[2]]
        cover = cover_of(p0, p1, p2, height, width)
        if cover.ok == 1:
            box = pixel_box(p0, p1, p2, height, width)
            names = Names(box[0], box[1], box[2], box[3], face, cover.takes, seen)
            bid_within(nearest, cover.numbers, names, height, width, lane & 31, lane >> 5, 32, lanes >> 5)


@wp.struct
class Seen:
    """A triangle as a pixel sees it: q = (W x - X w, H y - Y w) of each corner, and e_0 = cross(q_1, q_2) and so on."""

    qx: wp.vec3
    qy: wp.vec3
    w: wp.vec3
    e: wp.vec3


@wp.func
def seen_from(
    p0: wp.vec4, p1: wp.vec4, p2: wp.vec4, row: wp.int32, column: wp.int32, height: wp.int32, width: wp.int32
) -> Seen:
    """Corners relative to a pixel's centre: the differences are small, so float32 holds them well."""
    x = wp.float32(2 * column + 1 - width)
    y = wp.float32(2 * row + 1 - height)
    wide = wp.float32(width)
    high = wp.float32(height)
    seen = Seen()
    seen.qx = wp.vec3(offset(p0[0], p0[3], wide, x), offset(p1[0], p1[3], wide, x), offset(p2[0], p2[3], wide, x))
    seen.qy = wp.vec3(offset(p0[1], p0[3], high, y), offset(p1[1], p1[3], high, y), offset(p2[1], p2[3], high, y))
    seen.w = wp.vec3(p0[3], p1[3], p2[3])
    seen.e = wp.cross(seen.qx, seen.qy)
    return seen


@wp.kernel(launch_bounds=(256, 6))
def resolve_kernel(
    # In:
    first: wp.int32,
    last: wp.int32,
    span: wp.int32,
    height: wp.int32,
    width: wp.int32,
    pos: wp.array[wp.vec4],  # [N V]
    tri: wp.array[wp.vec3i],  # [F]
    nearest: wp.array[wp.int64],  # [N H W + 1]
    vertices: wp.int32,
    derivatives: wp.int32,  # 0: leave rast_db alone
    # Out:
    rast: wp.array[wp.vec4],  # [N H W], u, v, z/w, face + 1
    rast_db: wp.array[wp.vec4],  # [N H W], du/dX, du/dY, dv/dX, dv/dY, X and Y in pixels
):
    """What is seen through each pixel centre."""
    place = place_of(wp.tid(), first, last, span, height, width)
    for q in range(place.first, place.stop):
        key = nearest[q]
        seen_here = wp.vec4(0.0, 0.0, 0.0, 0.0)
        changes = wp.vec4(0.0, 0.0, 0.0, 0.0)
        if key != EMPTY:
            face = wp.int32(key & wp.int64(0xFFFFFFFF))
            corner = tri[face]
            p0 = load4(pos, place.view * vertices + corner[0])
            p1 = load4(pos, place.view * vertices + corner[1])
            p2 = load4(pos, place.view * vertices + corner[2])
            seen = seen_from(p0, p1, p2, place.row, place.column + q - place.first, height, width)
            e = seen.e
            depth = wp.float32(wp.int32(key >> wp.int64(32)) - 1073741824) / 1073741824.0
            scale = 1.0 / (e[0] + e[1] + e[2])
            # Not below 0, where a centre on an edge is rounded.
            u = wp.clamp(e[0] * scale, 0.0, 1.0)
            v = wp.clamp(e[1] * scale, 0.0, 1.0)
            seen_here = wp.vec4(u, v, depth, wp.float32(face + 1))
            if derivatives == 1:
                a = wp.cross(seen.qy, seen.w)  # d e_i / dX
                b = wp.cross(seen.w, seen.qx)  # d e_i / dY
                sum_a = a[0] + a[1] + a[2]
                sum_b = b[0] + b[1] + b[2]
                # A step to the next pixel is one of 2 in X and in Y.
                changes = (2.0 * scale) * wp.vec4(
                    a[0] - u * sum_a, b[0] - u * sum_b, a[1] - v * sum_a, b[1] - v * sum_b
                )
        store4(rast, q, seen_here)
        if derivatives == 1:
            store4(rast_db, q, changes)


@wp.func
def is_zero(a: wp.vec4, b: wp.vec4) -> wp.bool:
    """No gradient comes in: nothing to do."""
    return a[0] == 0.0 and a[1] == 0.0 and b[0] == 0.0 and b[1] == 0.0 and b[2] == 0.0 and b[3] == 0.0


@wp.kernel(**BUSY)
def gradient_kernel(
    # In:
    first: wp.int32,
    last: wp.int32,
    span: wp.int32,
    height: wp.int32,
    width: wp.int32,
    pos: wp.array[wp.vec4],  # [N V]
    tri: wp.array[wp.vec3i],  # [F]
    rast: wp.array[wp.vec4],  # [N H W]
    drast: wp.array[wp.vec4],  # [N H W] or null
    drast_db: wp.array[wp.vec4],  # [N H W] or null
    vertices: wp.int32,
    # Out:
    dpos: Sum,  # [N V 4]
):
    """From u, v and their derivatives back to the corners."""
    place = place_of(wp.tid(), first, last, span, height, width)
    start = place.view * vertices
    wide = wp.float32(width)
    high = wp.float32(height)
    y = wp.float32(2 * place.row + 1 - height)
    for q in range(place.first, place.stop):
        name = rast[q][3]
        du = wp.vec4(0.0, 0.0, 0.0, 0.0)
        dd = wp.vec4(0.0, 0.0, 0.0, 0.0)
        if name > 0.0:
            if drast:
                du = load4(drast, q)
            if drast_db:
                dd = load4(drast_db, q)
        if not is_zero(du, dd):
            corner = tri[wp.int32(name) - 1]
            p0 = load4(pos, start + corner[0])
            p1 = load4(pos, start + corner[1])
            p2 = load4(pos, start + corner[2])
            column = place.column + q - place.first
            seen = seen_from(p0, p1, p2, place.row, column, height, width)
            scale = 1.0 / (seen.e[0] + seen.e[1] + seen.e[2])
            u = seen.e[0] * scale
            v = seen.e[1] * scale
            a = wp.cross(seen.qy, seen.w)  # d e_i / dX
            b = wp.cross(seen.w, seen.qx)  # d e_i / dY
            sum_a = a[0] + a[1] + a[2]
            sum_b = b[0] + b[1] + b[2]
            hux = 2.0 * dd[0] * scale
            huy = 2.0 * dd[1] * scale
            hvx = 2.0 * dd[2] * scale
            hvy = 2.0 * dd[3] * scale
            # du/dX = 2 (a_0 - u sum_a) / S and so on: what u, v and S weigh in them.
            gu = du[0] - hux * sum_a - huy * sum_b
            gv = du[1] - hvx * sum_a - hvy * sum_b
            gs = (
                hux * (a[0] - u * sum_a)
                + huy * (b[0] - u * sum_b)
                + hvx * (a[1] - v * sum_a)
                + hvy * (b[1] - v * sum_b)
                + gu * u
                + gv * v
            )
            tx = hux * u + hvx * v
            ty = huy * u + hvy * v
            # Gradients of e, a and b, and from them those of q and w.
            de = scale * wp.vec3(gu - gs, gv - gs, -gs)
            da = wp.vec3(hux - tx, hvx - tx, -tx)
            db = wp.vec3(huy - ty, hvy - ty, -ty)
            dqx = wp.cross(seen.qy, de) + wp.cross(db, seen.w)
            dqy = wp.cross(de, seen.qx) + wp.cross(seen.w, da)
            dw = wp.cross(da, seen.qy) + wp.cross(seen.qx, db)
            x = wp.float32(2 * column + 1 - width)
            dw = dw - (x * dqx + y * dqy)
            # A tile lies in one view: all of its pixels with this name see the same corners.
            key = wp.int32(name)
            group = peers(key, -1)
            for i in range(3):
                value = wp.vec4(wide * dqx[i], high * dqy[i], 0.0, dw[i])
                add_up(dpos, 4 * (start + corner[i]), value, 4, 4, key, group)
