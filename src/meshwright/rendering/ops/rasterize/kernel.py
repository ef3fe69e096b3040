"""Which triangle each pixel centre of each view sees, and how its corners' positions move what is seen there.

A triangle with corners `(x, y, z, w)` covers a centre where its three edge functions `e_i` are positive (see
`meshwright.rendering.rasterize.kernel`, whose edges and tie rule these are). With `S = e_0 + e_1 + e_2`: u = e_0 / S,
v = e_1 / S, z/w = sum(z_i e_i) / sum(w_i e_i). Nothing divides by the w of a corner, so triangles that reach behind
the camera need no clipping; their pixels with |z/w| > 1 are left out one by one.
"""

# mypy: ignore-errors

from __future__ import annotations

from meshwright._warp import wp
from meshwright.rendering.ops.scatter import Sum, add, alike
from meshwright.rendering.projection import image_x
from meshwright.rendering.rasterize.kernel import EMPTY, Edges, evaluate, side, triangle_edges, widen

wp.set_module_options({"enable_backward": False})

LANES = wp.constant(wp.int32(32))
"""The fewest threads that share a large triangle."""


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
def pixel_box(p0: wp.vec4, p1: wp.vec4, p2: wp.vec4, height: wp.int32, width: wp.int32) -> wp.vec4i:
    """First and last column and row whose centres may lie inside: (x0, y0, x1, y1), empty where x1 < x0 or y1 < y0."""
    a = wp.vec4d(p0)
    b = wp.vec4d(p1)
    c = wp.vec4d(p2)
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
def fragment(
    edges: Edges,
    z: wp.vec3d,
    w: wp.vec3d,
    x: wp.float64,
    y: wp.float64,
    face: wp.int32,
) -> wp.int64:
    """What a triangle bids for a pixel: depth in the upper half, then the face; EMPTY where it does not cover it."""
    values = evaluate(edges, x, y)
    if side(edges, values, 0) and side(edges, values, 1) and side(edges, values, 2):
        over = wp.dot(values, w)
        one = wp.float64(1.0)
        depth = wp.dot(values, z) / over
        if over > wp.float64(0.0) and depth >= -one and depth <= one:
            # 31 bits of z/w, evenly spaced: float32 would waste most of its own on the half next to the camera.
            code = wp.min(wp.int64((depth + one) * wp.float64(1073741824.0)), wp.int64(2147483647))
            return (code << wp.int64(32)) | wp.int64(face)
    return EMPTY


@wp.kernel
def depth_kernel(
    # In:
    pos: wp.array[wp.vec4],  # [N V]
    tri: wp.array[wp.vec3i],  # [F]
    view: wp.int32,  # of the first thread
    vertices: wp.int32,
    faces: wp.int32,
    height: wp.int32,
    width: wp.int32,
    top: wp.int32,  # rows from here
    bottom: wp.int32,  # to before here are drawn
    large: wp.int32,  # a triangle with more pixels than this in its box is put off
    counter: wp.int32,  # N H W, the place in `nearest` that counts those down from EMPTY
    # Out:
    nearest: wp.array[wp.int64],  # [N H W + 1], EMPTY before
    put_off: wp.array[wp.int32],  # [N F]
):
    """One thread a triangle and view: bid for every pixel; of each pixel the nearest bid stays."""
    index = wp.tid()
    seen = view + index // faces
    face = index % faces
    corner = tri[face]
    p0 = pos[seen * vertices + corner[0]]
    p1 = pos[seen * vertices + corner[1]]
    p2 = pos[seen * vertices + corner[2]]
    box = pixel_box(p0, p1, p2, height, width)
    y0 = wp.max(box[1], top)
    y1 = wp.min(box[3], bottom - 1)
    if box[2] < box[0] or y1 < y0:
        return
    if (box[2] - box[0] + 1) * (y1 - y0 + 1) > large:
        put_off[wp.int32(EMPTY - wp.atomic_sub(nearest, counter, wp.int64(1)))] = index
        return
    edges = triangle_edges(outline(p0), outline(p1), outline(p2))
    if edges.ok == 0:
        return
    z = wp.vec3d(wp.float64(p0[2]), wp.float64(p1[2]), wp.float64(p2[2]))
    w = wp.vec3d(wp.float64(p0[3]), wp.float64(p1[3]), wp.float64(p2[3]))
    for row in range(y0, y1 + 1):
        y = image_x(row, height)
        start = (seen * height + row) * width
        for column in range(box[0], box[2] + 1):
            bid = fragment(edges, z, w, image_x(column, width), y, face)
            if bid != EMPTY:
                wp.atomic_min(nearest, start + column, bid)


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
    """What was put off: as many threads a triangle as there are, side by side along the rows of its box."""
    count = wp.int32(EMPTY - nearest[counter])
    if count == 0:
        return
    lanes = wp.max(threads // count, LANES)
    groups = threads // lanes
    lane = wp.tid() % lanes
    for slot in range(wp.tid() // lanes, wp.where(wp.tid() // lanes < groups, count, 0), groups):
        index = put_off[slot]
        seen = index // faces
        face = index % faces
        corner = tri[face]
        p0 = pos[seen * vertices + corner[0]]
        p1 = pos[seen * vertices + corner[1]]
        p2 = pos[seen * vertices + corner[2]]
        edges = triangle_edges(outline(p0), outline(p1), outline(p2))
        if edges.ok == 1:
            box = pixel_box(p0, p1, p2, height, width)
            z = wp.vec3d(wp.float64(p0[2]), wp.float64(p1[2]), wp.float64(p2[2]))
            w = wp.vec3d(wp.float64(p0[3]), wp.float64(p1[3]), wp.float64(p2[3]))
            columns = box[2] - box[0] + 1
            for i in range(lane, columns * (box[3] - box[1] + 1), lanes):
                row = box[1] + i // columns
                column = box[0] + i % columns
                bid = fragment(edges, z, w, image_x(column, width), image_x(row, height), face)
                if bid != EMPTY:
                    wp.atomic_min(nearest, (seen * height + row) * width + column, bid)


@wp.func
def same_until(nearest: wp.array[wp.int64], p: wp.int32, stop: wp.int32, face: wp.int32) -> wp.int32:
    """The end of the run of pixels with the same winner that begins at p."""
    q = p + 1
    while q < stop:
        if wp.int32(nearest[q] & wp.int64(0xFFFFFFFF)) != face:
            break
        q += 1
    return q


@wp.kernel
def resolve_kernel(
    # In:
    first: wp.int32,
    last: wp.int32,
    span: wp.int32,
    pos: wp.array[wp.vec4],  # [N V]
    tri: wp.array[wp.vec3i],  # [F]
    nearest: wp.array[wp.int64],  # [N H W + 1]
    vertices: wp.int32,
    height: wp.int32,
    width: wp.int32,
    derivatives: wp.int32,  # 0: leave rast_db alone
    # Out:
    rast: wp.array[wp.vec4],  # [N H W], u, v, z/w, face + 1
    rast_db: wp.array[wp.vec4],  # [N H W], du/dX, du/dY, dv/dX, dv/dY, X and Y in pixels
):
    """What is seen through each pixel centre. Neighbours that see the same triangle share its edges."""
    p = first + wp.tid() * span
    stop = wp.min(p + span, last)
    while p < stop:
        key = nearest[p]
        face = wp.int32(key & wp.int64(0xFFFFFFFF))
        end = same_until(nearest, p, stop, face)
        if key == EMPTY:
            for q in range(p, end):
                rast[q] = wp.vec4(0.0, 0.0, 0.0, 0.0)
            if derivatives == 1:
                for q in range(p, end):
                    rast_db[q] = wp.vec4(0.0, 0.0, 0.0, 0.0)
        else:
            row = (p // width) % height
            offset = (p // width // height) * vertices
            corner = tri[face]
            p0 = pos[offset + corner[0]]
            p1 = pos[offset + corner[1]]
            p2 = pos[offset + corner[2]]
            edges = triangle_edges(outline(p0), outline(p1), outline(p2))
            z = wp.vec3d(wp.float64(p0[2]), wp.float64(p1[2]), wp.float64(p2[2]))
            w = wp.vec3d(wp.float64(p0[3]), wp.float64(p1[3]), wp.float64(p2[3]))
            sum_a = edges.a[0] + edges.a[1] + edges.a[2]
            sum_b = edges.b[0] + edges.b[1] + edges.b[2]
            y = image_x(row, height)
            for q in range(p, end):
                e = evaluate(edges, image_x(q % width, width), y)
                scale = wp.float64(1.0) / (e[0] + e[1] + e[2])
                u = e[0] * scale
                v = e[1] * scale
                depth = wp.dot(e, z) / wp.dot(e, w)
                rast[q] = wp.vec4(wp.float32(u), wp.float32(v), wp.float32(depth), wp.float32(face + 1))
                if derivatives == 1:
                    sx = scale * wp.float64(2.0) / wp.float64(width)
                    sy = scale * wp.float64(2.0) / wp.float64(height)
                    rast_db[q] = wp.vec4(
                        wp.float32((edges.a[0] - u * sum_a) * sx),
                        wp.float32((edges.b[0] - u * sum_b) * sy),
                        wp.float32((edges.a[1] - v * sum_a) * sx),
                        wp.float32((edges.b[1] - v * sum_b) * sy),
                    )
        p = end


@wp.func
def add_corner(dpos: Sum, vertex: wp.int32, value: wp.vec3d, among: wp.bool):
    """Add to the gradient of a corner's x, y and w; z has none."""
    add(dpos, 4 * vertex, wp.float32(value[0]), among)
    add(dpos, 4 * vertex + 1, wp.float32(value[1]), among)
    add(dpos, 4 * vertex + 3, wp.float32(value[2]), among)


@wp.func
def is_zero(a: wp.vec4, b: wp.vec4) -> wp.bool:
    """No gradient comes in: nothing to do."""
    return a[0] == 0.0 and a[1] == 0.0 and b[0] == 0.0 and b[1] == 0.0 and b[2] == 0.0 and b[3] == 0.0


@wp.kernel
def gradient_kernel(
    # In:
    first: wp.int32,
    last: wp.int32,
    span: wp.int32,
    pos: wp.array[wp.vec4],  # [N V]
    tri: wp.array[wp.vec3i],  # [F]
    rast: wp.array[wp.vec4],  # [N H W]
    drast: wp.array[wp.vec4],  # [N H W] or null
    drast_db: wp.array[wp.vec4],  # [N H W] or null
    vertices: wp.int32,
    height: wp.int32,
    width: wp.int32,
    # Out:
    dpos: Sum,  # [N V 4]
):
    """From u, v and their derivatives back to the corners."""
    p = first + wp.tid() * span
    stop = wp.min(p + span, last)
    zero = wp.float64(0.0)
    sx = wp.float64(2.0) / wp.float64(width)
    sy = wp.float64(2.0) / wp.float64(height)
    while p < stop:
        name = rast[p][3]
        end = p + 1
        while end < stop:
            if rast[end][3] != name:
                break
            end += 1
        if name > 0.0:
            offset = (p // width // height) * vertices
            corner = tri[wp.int32(name) - 1]
            h0 = outline(pos[offset + corner[0]])
            h1 = outline(pos[offset + corner[1]])
            h2 = outline(pos[offset + corner[2]])
            edges = triangle_edges(h0, h1, h2)
            y = image_x((p // width) % height, height)
            sum_a = edges.a[0] + edges.a[1] + edges.a[2]
            sum_b = edges.b[0] + edges.b[1] + edges.b[2]
            # Gradients of the coefficients of e_i = a_i x + b_i y + c_i.
            da = wp.vec3d(zero, zero, zero)
            db = wp.vec3d(zero, zero, zero)
            dc = wp.vec3d(zero, zero, zero)
            for q in range(p, end):
                du = wp.vec4(0.0, 0.0, 0.0, 0.0)
                dd = wp.vec4(0.0, 0.0, 0.0, 0.0)
                if drast:
                    du = drast[q]
                if drast_db:
                    dd = drast_db[q]
                if not is_zero(du, dd):
                    x = image_x(q % width, width)
                    e = evaluate(edges, x, y)
                    scale = wp.float64(1.0) / (e[0] + e[1] + e[2])
                    u = e[0] * scale
                    v = e[1] * scale
                    hux = wp.float64(dd[0]) * sx * scale
                    huy = wp.float64(dd[1]) * sy * scale
                    hvx = wp.float64(dd[2]) * sx * scale
                    hvy = wp.float64(dd[3]) * sy * scale
                    # du/dX = (a_0 - u sum_a) / S and so on: what u, v and S weigh in them.
                    gu = wp.float64(du[0]) - hux * sum_a - huy * sum_b
                    gv = wp.float64(du[1]) - hvx * sum_a - hvy * sum_b
                    gs = (
                        hux * (edges.a[0] - u * sum_a)
                        + huy * (edges.b[0] - u * sum_b)
                        + hvx * (edges.a[1] - v * sum_a)
                        + hvy * (edges.b[1] - v * sum_b)
                        + gu * u
                        + gv * v
                    ) * scale
                    de = wp.vec3d(gu * scale - gs, gv * scale - gs, -gs)
                    tx = hux * u + hvx * v
                    ty = huy * u + hvy * v
                    da += de * x + wp.vec3d(hux - tx, hvx - tx, -tx)
                    db += de * y + wp.vec3d(huy - ty, hvy - ty, -ty)
                    dc += de
            # The lines are cross products of the corners, up to the sign that triangle_edges chose.
            p0 = wp.vec3d(h0)
            p1 = wp.vec3d(h1)
            p2 = wp.vec3d(h2)
            if wp.dot(p0, wp.cross(p1, p2)) < zero:
                da = -da
                db = -db
                dc = -dc
            l0 = wp.vec3d(da[0], db[0], dc[0])
            l1 = wp.vec3d(da[1], db[1], dc[1])
            l2 = wp.vec3d(da[2], db[2], dc[2])
            among = alike(wp.int32(name)) and alike(offset)
            add_corner(dpos, offset + corner[0], wp.cross(l1, p2) + wp.cross(p1, l2), among)
            add_corner(dpos, offset + corner[1], wp.cross(l2, p0) + wp.cross(p2, l0), among)
            add_corner(dpos, offset + corner[2], wp.cross(l0, p1) + wp.cross(p0, l1), among)
        p = end
