"""Which triangle is seen through each pixel centre: a z-buffer, one source for CPU and CUDA.

A triangle with corners `h0, h1, h2` in homogeneous image coordinates covers a point `p = (x, y, 1)` if the three
numbers `e_i = dot(cross(h_j, h_k), p) / det(h0, h1, h2)` are all positive; `e_i = bary_i / z`, so their sum is 1 / z
and they are perspective-correct weights once divided by it. Nothing here divides by w, so triangles that reach behind
the camera are as good as others.

Edge lines are computed in float64 from float32 corners: each product of two corners is exact, so the two triangles of
a shared edge see exactly opposite numbers. A pixel centre exactly on an edge is decided as if it lay an infinitesimal
step to the right (and one yet smaller step up): one of the two triangles takes it, never both, never none.
"""

# mypy: ignore-errors
# (Warp compiles these functions itself; their annotations are its own language.)

from __future__ import annotations

from meshwright._warp import wp
from meshwright.rendering.projection import image_x, image_y

wp.set_module_options({"enable_backward": False})

EMPTY = wp.constant(wp.int64(0x7FFFFFFFFFFFFFFF))
"""Farther than any fragment."""


@wp.struct
class Edges:
    """The three functions e_i(x, y) = a_i x + b_i y + c_i of one triangle; `ok` is 0 where it has no area."""

    a: wp.vec3d
    b: wp.vec3d
    c: wp.vec3d
    ok: wp.int32


@wp.func
def triangle_edges(h0: wp.vec3, h1: wp.vec3, h2: wp.vec3) -> Edges:
    """The edge functions of a triangle, positive inside whichever way it faces."""
    p0 = wp.vec3d(wp.float64(h0[0]), wp.float64(h0[1]), wp.float64(h0[2]))
    p1 = wp.vec3d(wp.float64(h1[0]), wp.float64(h1[1]), wp.float64(h1[2]))
    p2 = wp.vec3d(wp.float64(h2[0]), wp.float64(h2[1]), wp.float64(h2[2]))
    e0 = wp.cross(p1, p2)
    e1 = wp.cross(p2, p0)
    e2 = wp.cross(p0, p1)
    det = wp.dot(p0, e0)
    edges = Edges()
    # Only the sign goes in here: dividing by det would round, and shared edges would no longer cancel exactly.
    sign = wp.float64(1.0)
    if det < wp.float64(0.0):
        sign = wp.float64(-1.0)
    edges.a = wp.vec3d(e0[0], e1[0], e2[0]) * sign
    edges.b = wp.vec3d(e0[1], e1[1], e2[1]) * sign
    edges.c = wp.vec3d(e0[2], e1[2], e2[2]) * sign
    edges.ok = wp.where(det == wp.float64(0.0), 0, 1)
    return edges


@wp.func
def evaluate(edges: Edges, x: wp.float64, y: wp.float64) -> wp.vec3d:
    """(e_0, e_1, e_2) at a point of the frame, each up to the common factor |det|."""
    return edges.a * x + (edges.b * y + edges.c)


@wp.func
def side(edges: Edges, values: wp.vec3d, i: wp.int32) -> wp.bool:
    """Does the point lie inside edge i? On the edge itself: would it after a tiny step right, then up?"""
    if values[i] != wp.float64(0.0):
        return values[i] > wp.float64(0.0)
    if edges.a[i] != wp.float64(0.0):
        return edges.a[i] > wp.float64(0.0)
    return edges.b[i] > wp.float64(0.0)


@wp.func
def widen(box: wp.vec4d, x: wp.float64, y: wp.float64) -> wp.vec4d:
    """The box (x0, y0, x1, y1) with one more point in it."""
    return wp.vec4d(wp.min(box[0], x), wp.min(box[1], y), wp.max(box[2], x), wp.max(box[3], y))


@wp.func
def widen_edge(box: wp.vec4d, p: wp.vec3d, q: wp.vec3d, near: wp.float64) -> wp.vec4d:
    """Take in the start of an edge if it lies before the near plane, and where the edge crosses that plane."""
    if p[2] >= near:
        box = widen(box, p[0] / p[2], p[1] / p[2])
    if (p[2] >= near) != (q[2] >= near):
        t = (near - p[2]) / (q[2] - p[2])
        box = widen(box, (p[0] + t * (q[0] - p[0])) / near, (p[1] + t * (q[1] - p[1])) / near)
    return box


@wp.func
def pixel_box(h0: wp.vec3, h1: wp.vec3, h2: wp.vec3, near: wp.float64, height: wp.int32, width: wp.int32) -> wp.vec4i:
    """First and last column and row whose centres may lie inside: (x0, y0, x1, y1), empty where x1 < x0 or y1 < y0."""
    p0 = wp.vec3d(wp.float64(h0[0]), wp.float64(h0[1]), wp.float64(h0[2]))
    p1 = wp.vec3d(wp.float64(h1[0]), wp.float64(h1[1]), wp.float64(h1[2]))
    p2 = wp.vec3d(wp.float64(h2[0]), wp.float64(h2[1]), wp.float64(h2[2]))
    far = wp.float64(1.0e30)
    box = wp.vec4d(far, far, -far, -far)
    box = widen_edge(box, p0, p1, near)
    box = widen_edge(box, p1, p2, near)
    box = widen_edge(box, p2, p0, near)
    # 1e-6 of the frame takes up the rounding of the divisions; the edge test has the last word.
    half = wp.float64(0.5)
    one = wp.float64(1.0)
    margin = wp.float64(1.0e-6)
    x0 = (wp.clamp(box[0] - margin, -one, one) + one) * half * wp.float64(width) - half
    x1 = (wp.clamp(box[2] + margin, -one, one) + one) * half * wp.float64(width) - half
    y0 = (one - wp.clamp(box[3] + margin, -one, one)) * half * wp.float64(height) - half
    y1 = (one - wp.clamp(box[1] - margin, -one, one)) * half * wp.float64(height) - half
    if box[2] < -one or box[0] > one or box[3] < -one or box[1] > one:
        return wp.vec4i(0, 0, -1, -1)
    return wp.vec4i(
        wp.max(wp.int32(wp.ceil(x0)), 0),
        wp.max(wp.int32(wp.ceil(y0)), 0),
        wp.min(wp.int32(wp.floor(x1)), width - 1),
        wp.min(wp.int32(wp.floor(y1)), height - 1),
    )


@wp.kernel
def depth_kernel(
    # In:
    clip: wp.array[wp.vec3],  # [N]
    faces: wp.array[wp.vec3i],  # [F]
    near: wp.float64,
    lanes: wp.int32,  # rows of a triangle are shared out among so many threads
    height: wp.int32,
    width: wp.int32,
    # Out:
    nearest: wp.array2d[wp.int64],  # [H, W], EMPTY before; bits of the float depth, then the face
):
    """Note every fragment whose centre lies inside its triangle; the nearest one stays."""
    face, lane = wp.tid()
    tri = faces[face]
    h0 = clip[tri[0]]
    h1 = clip[tri[1]]
    h2 = clip[tri[2]]
    box = pixel_box(h0, h1, h2, near, height, width)
    if box[2] < box[0] or box[3] < box[1]:
        return
    edges = triangle_edges(h0, h1, h2)
    if edges.ok == 0:
        return
    w = wp.vec3d(wp.float64(h0[2]), wp.float64(h1[2]), wp.float64(h2[2]))
    for row in range(box[1] + lane, box[3] + 1, lanes):
        y = image_y(row, height)
        for column in range(box[0], box[2] + 1):
            values = evaluate(edges, image_x(column, width), y)
            if side(edges, values, 0) and side(edges, values, 1) and side(edges, values, 2):
                # values are bary_i / z up to one common positive factor.
                z = wp.dot(values, w) / (values[0] + values[1] + values[2])
                if z >= near:
                    # Positive floats order as their bits do: depth first, then the lower face.
                    bits = wp.int64(wp.cast(wp.float32(z), wp.int32))
                    wp.atomic_min(nearest, row, column, (bits << wp.int64(32)) | wp.int64(face))


@wp.kernel
def resolve_kernel(
    # In:
    clip: wp.array[wp.vec3],  # [N]
    faces: wp.array[wp.vec3i],  # [F]
    nearest: wp.array2d[wp.int64],  # [H, W]
    height: wp.int32,
    width: wp.int32,
    # Out:
    face_id: wp.array2d[wp.int32],  # [H, W]
    bary: wp.array2d[wp.vec3],  # [H, W]
    depth: wp.array2d[wp.float32],  # [H, W]
):
    """Unpack the winners and give them their weights."""
    row, column = wp.tid()
    key = nearest[row, column]
    if key == EMPTY:
        face_id[row, column] = -1
        bary[row, column] = wp.vec3(0.0, 0.0, 0.0)
        depth[row, column] = wp.inf
        return
    face = wp.int32(key & wp.int64(0xFFFFFFFF))
    tri = faces[face]
    edges = triangle_edges(clip[tri[0]], clip[tri[1]], clip[tri[2]])
    values = evaluate(edges, image_x(column, width), image_y(row, height))
    weights = values / (values[0] + values[1] + values[2])
    face_id[row, column] = face
    bary[row, column] = wp.vec3(wp.float32(weights[0]), wp.float32(weights[1]), wp.float32(weights[2]))
    depth[row, column] = wp.cast(wp.int32(key >> wp.int64(32)), wp.float32)
