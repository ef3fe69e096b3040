"""Silhouettes cut through pixels: how much of each side a pixel shows, and how moving an edge changes that.

Wherever two neighbouring pixels see different triangles, the nearer triangle ends between their centres or goes on into
another one. Where it ends in a silhouette, the edge crosses the line from the near pixel's centre to the other's at a
share t of the way. The near surface then covers t of that line: if t > 1/2 it reaches into the other pixel, which takes
t - 1/2 of the near pixel's colour; if t < 1/2 the other surface shows in the near pixel, which takes 1/2 - t of it.

Few pixels have a silhouette beside them. Those are listed first; each of them then looks at its four neighbours itself,
so nothing is written twice and no order matters.
"""

# mypy: ignore-errors

from __future__ import annotations

from meshwright._warp import wp
from meshwright.rendering.ops.scatter import Sum, add
from meshwright.rendering.ops.warps import load4, next_place, place_of

wp.set_module_options({"enable_backward": False})

SLACK = wp.constant(wp.float64(0.0625))
"""An edge may miss the line between the centres by so much of a pixel: a centre may lie on an edge, up to rounding."""


@wp.func
def triple(a: wp.vec4, b: wp.vec4, c: wp.vec4) -> wp.float64:
    """Twice the area of a projected triangle times its w's: exact in sign but for the last rounding."""
    return wp.dot(
        wp.vec3d(wp.float64(a[0]), wp.float64(a[1]), wp.float64(a[3])),
        wp.cross(
            wp.vec3d(wp.float64(b[0]), wp.float64(b[1]), wp.float64(b[3])),
            wp.vec3d(wp.float64(c[0]), wp.float64(c[1]), wp.float64(c[3])),
        ),
    )


@wp.kernel
def silhouette_kernel(
    # In:
    first: wp.int32,
    pos: wp.array[wp.vec4],  # [N V]
    tri: wp.array[wp.vec3i],  # [F]
    opposite: wp.array[wp.vec3i],  # [F], the third corner of the triangle beyond edge i, or -1
    vertices: wp.int32,
    faces: wp.int32,
    # Out:
    edges: wp.array[wp.uint8],  # [N F], bit i: edge i is a silhouette
):
    """One thread a triangle and view: an edge is a silhouette if nothing is beyond it, or what is folds back."""
    index = first + wp.tid()
    offset = (index // faces) * vertices
    corner = tri[index % faces]
    beyond = opposite[index % faces]
    p0 = load4(pos, offset + corner[0])
    p1 = load4(pos, offset + corner[1])
    p2 = load4(pos, offset + corner[2])
    area = triple(p0, p1, p2)
    zero = wp.float64(0.0)
    found = wp.int32(0)
    for i in range(3):
        if beyond[i] < 0:
            found += wp.int32(1) << i
        else:
            o = load4(pos, offset + beyond[i])
            a = p1
            b = p2
            own = p0
            if i == 1:
                a = p2
                b = p0
                own = p1
            if i == 2:
                a = p0
                b = p1
                own = p2
            # Signs of the projected areas on both sides of the edge; the w's of the edge itself cancel.
            turn = area * triple(o, a, b)
            if (own[3] < 0.0) != (o[3] < 0.0):
                turn = -turn
            if turn >= zero:
                found += wp.int32(1) << i
    edges[index] = wp.uint8(found)


@wp.struct
class Meeting:
    """An edge of the nearer triangle that crosses the line between two pixel centres."""

    ok: wp.int32
    share: wp.float64  # of the line that the nearer triangle covers, 0 .. 1
    clamped: wp.int32  # the edge misses the line by a rounding: `share` does not move with it
    near_first: wp.int32  # the nearer triangle is seen by the first of the two pixels
    p: wp.int32  # the ends of the edge, as vertices of this view
    q: wp.int32
    p_along: wp.float64  # where they are from the near pixel's centre, in pixels, towards the other one
    p_across: wp.float64
    q_along: wp.float64
    q_across: wp.float64


@wp.func
def crossing(p_along: wp.float64, p_across: wp.float64, q_along: wp.float64, q_across: wp.float64) -> wp.float64:
    """Where the line along through the centre meets an edge; far behind if it does not."""
    if (p_across < wp.float64(0.0)) == (q_across < wp.float64(0.0)):
        return wp.float64(-1.0e30)
    return p_along - (q_along - p_along) * p_across / (q_across - p_across)


@wp.func
def meet(
    pos: wp.array[wp.vec4],
    tri: wp.array[wp.vec3i],
    next_faces: wp.array[wp.vec3i],
    reach: wp.int32,
    edges: wp.array[wp.uint8],
    rast: wp.array[wp.float32],
    first: wp.int32,  # two neighbouring pixels
    second: wp.int32,
    vertical: wp.int32,  # 1: the second is above the first, 0: to its right
    offset: wp.int32,  # of the view's vertices
    face_offset: wp.int32,
    column: wp.int32,  # of the first pixel
    row: wp.int32,
    height: wp.int32,
    width: wp.int32,
) -> Meeting:
    """Does a silhouette run between two pixels that see different triangles?"""
    result = Meeting()
    result.ok = 0
    face = wp.int32(rast[4 * first + 3])
    other = wp.int32(rast[4 * second + 3])
    result.near_first = 1
    step = wp.float64(1.0)
    x = wp.float64(column)
    y = wp.float64(row)
    if face == 0 or (other > 0 and rast[4 * second + 2] <= rast[4 * first + 2]):
        result.near_first = 0
        face = other
        step = wp.float64(-1.0)
        if vertical == 1:
            y += wp.float64(1.0)
        else:
            x += wp.float64(1.0)
    # Only a line that ends in the background is followed from triangle to triangle.
    steps = wp.where(other == 0 or rast[4 * first + 3] == 0.0, reach, 0)
    found = wp.int32(edges[face_offset + face - 1])
    if found == 0 and steps == 0:
        return result
    corner = tri[face - 1]
    half = wp.float64(0.5)
    far = wp.vec3d()
    aside = wp.vec3d()
    share = wp.float64(0.0)
    edge = wp.int32(0)
    going = wp.int32(1)
    while going == 1:
        for i in range(3):
            p = pos[offset + corner[i]]
            w = wp.float64(p[3])
            px = (wp.float64(p[0]) / w + wp.float64(1.0)) * half * wp.float64(width) - half - x
            py = (wp.float64(p[1]) / w + wp.float64(1.0)) * half * wp.float64(height) - half - y
            if vertical == 1:
                far[i] = py * step
                aside[i] = px
            else:
                far[i] = px * step
                aside[i] = py
        # The line from the near centre leaves the triangle where it crosses it last.
        share = crossing(far[1], aside[1], far[2], aside[2])
        edge = wp.int32(0)
        t = crossing(far[2], aside[2], far[0], aside[0])
        if t > share:
            share = t
            edge = wp.int32(1)
        t = crossing(far[0], aside[0], far[1], aside[1])
        if t > share:
            share = t
            edge = wp.int32(2)
        if not (share >= -SLACK and share <= wp.float64(1.0) + SLACK):
            return result
        going = 0
        if (found >> edge) % 2 == 0:
            # The surface goes on beyond this edge, all the more thinly the nearer its outline is.
            if steps == 0:
                return result
            face = next_faces[face - 1][edge] + 1
            if face == 0:
                return result
            steps -= 1
            corner = tri[face - 1]
            found = wp.int32(edges[face_offset + face - 1])
            going = 1
    a = (edge + 1) % 3
    b = (edge + 2) % 3
    # An edge belongs to the pairs that it runs across, not to those it runs along: else it would count twice.
    if wp.abs(aside[a] - aside[b]) < wp.abs(far[a] - far[b]):
        return result
    result.ok = 1
    result.share = wp.clamp(share, wp.float64(0.0), wp.float64(1.0))
    result.clamped = wp.where(result.share == share, 0, 1)
    result.p = corner[a]
    result.q = corner[b]
    result.p_along = far[a]
    result.p_across = aside[a]
    result.q_along = far[b]
    result.q_across = aside[b]
    return result


@wp.func
def weight(found: Meeting) -> wp.float32:
    """How much of the second pixel's colour the first one takes; below 0: how much the second takes of the first."""
    excess = wp.float32(found.share) - 0.5
    return wp.where(found.near_first == 1, -excess, excess)


@wp.func
def neighbour(
    pos: wp.array[wp.vec4],
    tri: wp.array[wp.vec3i],
    next_faces: wp.array[wp.vec3i],
    reach: wp.int32,
    edges: wp.array[wp.uint8],
    rast: wp.array[wp.float32],
    q: wp.int32,
    side: wp.int32,  # 0 right, 1 above, 2 left, 3 below
    vertices: wp.int32,
    faces: wp.int32,
    height: wp.int32,
    width: wp.int32,
) -> Meeting:
    """The meeting of a pixel with one of its neighbours."""
    line = q // width
    view = line // height
    column = q - line * width
    row = line - view * height
    vertical = side & 1
    if side >= 2:
        column -= 1 - vertical
        row -= vertical
    first = (view * height + row) * width + column
    second = first + wp.where(vertical == 1, width, 1)
    return meet(
        pos,
        tri,
        next_faces,
        reach,
        edges,
        rast,
        first,
        second,
        vertical,
        view * vertices,
        view * faces,
        column,
        row,
        height,
        width,
    )


@wp.func
def differing(
    rast: wp.array[wp.float32], q: wp.int32, row: wp.int32, column: wp.int32, height: wp.int32, width: wp.int32
) -> wp.int32:
    """Which neighbours see another triangle: bit 0 right, 1 above, 2 left, 3 below."""
    name = rast[4 * q + 3]
    # Beyond the frame a pixel is its own neighbour.
    right = wp.where(column + 1 < width, q + 1, q)
    above = wp.where(row + 1 < height, q + width, q)
    left = wp.where(column > 0, q - 1, q)
    below = wp.where(row > 0, q - width, q)
    return (
        wp.where(rast[4 * right + 3] != name, 1, 0)
        + wp.where(rast[4 * above + 3] != name, 2, 0)
        + wp.where(rast[4 * left + 3] != name, 4, 0)
        + wp.where(rast[4 * below + 3] != name, 8, 0)
    )


@wp.func
def beside(q: wp.int32, side: wp.int32, width: wp.int32) -> wp.int32:
    """The pixel on one side of another."""
    step = wp.where(side % 2 == 0, 1, width)
    return wp.where(side < 2, q + step, q - step)


@wp.func
def has_silhouette(edges: wp.array[wp.uint8], offset: wp.int32, name: wp.float32) -> wp.bool:
    """Whether any edge of what a pixel sees is a silhouette."""
    if name == 0.0:
        return False
    return edges[offset + wp.int32(name) - 1] != wp.uint8(0)


@wp.kernel
def find_kernel(
    # In:
    first: wp.int32,
    last: wp.int32,
    span: wp.int32,
    height: wp.int32,
    width: wp.int32,
    rast: wp.array[wp.float32],  # [N H W 4]
    edges: wp.array[wp.uint8],  # [N F]
    faces: wp.int32,
    reach: wp.int32,
    # Out:
    listed: wp.array[wp.int32],  # [N H W], from `first` on
    counts: wp.array[wp.int32],  # [N H], the one of the first row
):
    """List the pixels with a silhouette of their own or of a neighbour that sees another triangle."""
    place = place_of(wp.tid(), first, last, span, height, width)
    offset = place.view * faces
    for q in range(place.first, place.stop):
        pairs = differing(rast, q, place.row, place.column + q - place.first, height, width)
        if pairs > 0:
            name = rast[4 * q + 3]
            found = has_silhouette(edges, offset, name) or (reach > 0 and name == 0.0)
            for side in range(4):
                if (pairs >> side) & 1 == 1 and not found:
                    other = rast[4 * beside(q, side, width) + 3]
                    found = has_silhouette(edges, offset, other) or (reach > 0 and other == 0.0)
            if found:
                listed[first + next_place(counts, first // width)] = q


@wp.kernel
def blend_kernel(
    # In:
    first: wp.int32,
    threads: wp.int32,
    height: wp.int32,
    width: wp.int32,
    listed: wp.array[wp.int32],  # [N H W], see find_kernel
    counts: wp.array[wp.int32],  # [N H]
    color: wp.array[wp.float32],  # [N H W C]
    rast: wp.array[wp.float32],  # [N H W 4]
    pos: wp.array[wp.vec4],  # [N V]
    tri: wp.array[wp.vec3i],  # [F]
    next_faces: wp.array[wp.vec3i],  # [F] the triangle beyond edge i, or -1; null where reach is 0
    reach: wp.int32,  # how many triangles a line may be followed through
    edges: wp.array[wp.uint8],  # [N F]
    channels: wp.int32,
    vertices: wp.int32,
    faces: wp.int32,
    # In and out:
    out: wp.array[wp.float32],  # [N H W C], as color before
):
    """Listed pixels take from their neighbours what silhouettes between them let through."""
    for i in range(wp.tid(), counts[first // width], threads):
        q = listed[first + i]
        line = q // width
        pairs = differing(rast, q, line % height, q - line * width, height, width)
        for side in range(4):
            if (pairs >> side) & 1 == 1:
                found = neighbour(pos, tri, next_faces, reach, edges, rast, q, side, vertices, faces, height, width)
                if found.ok == 1:
                    share = wp.where(side < 2, weight(found), -weight(found))
                    if share > 0.0:
                        to = q * channels
                        from_ = beside(q, side, width) * channels
                        for c in range(channels):
                            out[to + c] = out[to + c] + share * (color[from_ + c] - color[to + c])


@wp.func
def add_vertex(
    dpos: Sum,
    pos: wp.array[wp.vec4],
    vertex: wp.int32,
    along: wp.float64,
    across: wp.float64,
    vertical: wp.int32,
    height: wp.int32,
    width: wp.int32,
):
    """From a gradient in pixels to that of a clip-space corner."""
    gx = along
    gy = across
    if vertical == 1:
        gx = across
        gy = along
    p = pos[vertex]
    w = wp.float64(p[3])
    gx = gx * wp.float64(0.5) * wp.float64(width) / w
    gy = gy * wp.float64(0.5) * wp.float64(height) / w
    add(dpos, 4 * vertex, wp.float32(gx))
    add(dpos, 4 * vertex + 1, wp.float32(gy))
    add(dpos, 4 * vertex + 3, wp.float32(-(gx * wp.float64(p[0]) + gy * wp.float64(p[1])) / w))


@wp.kernel
def gradient_kernel(
    # In:
    first: wp.int32,
    threads: wp.int32,
    height: wp.int32,
    width: wp.int32,
    listed: wp.array[wp.int32],  # [N H W], see find_kernel
    counts: wp.array[wp.int32],  # [N H]
    color: wp.array[wp.float32],  # [N H W C]
    rast: wp.array[wp.float32],  # [N H W 4]
    pos: wp.array[wp.vec4],  # [N V]
    tri: wp.array[wp.vec3i],  # [F]
    next_faces: wp.array[wp.vec3i],  # [F] the triangle beyond edge i, or -1; null where reach is 0
    reach: wp.int32,  # how many triangles a line may be followed through
    edges: wp.array[wp.uint8],  # [N F]
    dout: wp.array[wp.float32],  # [N H W C]
    channels: wp.int32,
    vertices: wp.int32,
    faces: wp.int32,
    pos_wanted: wp.int32,
    # In and out:
    dcolor: wp.array[wp.float32],  # [N H W C], as dout before, or null
    # Out:
    dpos: Sum,  # [N V 4]
):
    """Colours get their share of what was taken, edges the difference of the colours that they part."""
    for i in range(wp.tid(), counts[first // width], threads):
        q = listed[first + i]
        to = q * channels
        line = q // width
        view = line // height
        pairs = differing(rast, q, line - view * height, q - line * width, height, width)
        for side in range(4):
            if (pairs >> side) & 1 == 1:
                found = neighbour(pos, tri, next_faces, reach, edges, rast, q, side, vertices, faces, height, width)
                if found.ok == 1:
                    from_ = beside(q, side, width) * channels
                    share = wp.where(side < 2, weight(found), -weight(found))
                    taker = wp.where(share > 0.0, to, from_)
                    if dcolor:
                        for c in range(channels):
                            dcolor[to + c] = dcolor[to + c] - share * dout[taker + c]
                    # The pixel to the left or below does it for both.
                    if side < 2 and pos_wanted == 1 and found.clamped == 0:
                        total = wp.float64(0.0)
                        for c in range(channels):
                            difference = color[to + c] - color[from_ + c]
                            total += wp.float64(dout[taker + c]) * wp.float64(difference)
                        step = wp.float64(1.0)
                        if found.near_first == 0:
                            total = -total
                            step = wp.float64(-1.0)
                        scale = total / (found.q_across - found.p_across)
                        along = scale * step
                        across = scale * (found.q_along - found.p_along) / (found.q_across - found.p_across)
                        p = view * vertices + found.p
                        end = view * vertices + found.q
                        p_across = found.p_across
                        q_across = found.q_across
                        add_vertex(dpos, pos, p, along * q_across, -across * q_across, side, height, width)
                        add_vertex(dpos, pos, end, -along * p_across, across * p_across, side, height, width)
