"""Warp kernels over a voxel grid: the visual hull, and depth fused into it. One source for CPU and CUDA."""

from __future__ import annotations

from meshwright._warp import wp

__all__ = ["fuse_kernel", "hull_kernel", "march_kernel", "seek_kernel"]


@wp.func
def to_camera(rows: wp.array2d(dtype=wp.float32), view: int, p: wp.vec3) -> wp.vec3:
    """World point to camera axes (x right, y up, looks along -z)."""
    return wp.vec3(
        rows[view, 0] * p[0] + rows[view, 1] * p[1] + rows[view, 2] * p[2] + rows[view, 3],
        rows[view, 4] * p[0] + rows[view, 5] * p[1] + rows[view, 6] * p[2] + rows[view, 7],
        rows[view, 8] * p[0] + rows[view, 9] * p[1] + rows[view, 10] * p[2] + rows[view, 11],
    )


@wp.func
def outline_at(
    outline: wp.array3d(dtype=wp.float32), rows: wp.array2d(dtype=wp.float32), view: int, x: float, y: float
) -> float:
    """Signed distance in pixels at pixel (x, y), bilinear; beyond the frame it falls with the distance to it."""
    width = rows[view, 16]
    height = rows[view, 17]
    cx = wp.clamp(x - 0.5, 0.0, width - 1.001)
    cy = wp.clamp(y - 0.5, 0.0, height - 1.001)
    column = int(cx)
    row = int(cy)
    fx = cx - float(column)
    fy = cy - float(row)
    upper = outline[view, row, column] * (1.0 - fx) + outline[view, row, column + 1] * fx
    lower = outline[view, row + 1, column] * (1.0 - fx) + outline[view, row + 1, column + 1] * fx
    beyond = wp.abs(x - 0.5 - cx) + wp.abs(y - 0.5 - cy)
    return upper * (1.0 - fy) + lower * fy - beyond


@wp.func
def hull_at(outline: wp.array3d(dtype=wp.float32), rows: wp.array2d(dtype=wp.float32), p: wp.vec3) -> float:
    """The least signed distance over all views, in world units at the point's depth."""
    least = wp.float32(1.0e9)
    for view in range(rows.shape[0]):
        local = to_camera(rows, view, p)
        z = -local[2]
        if z > 1.0e-6:
            x = rows[view, 12] * local[0] / z + rows[view, 14]
            y = -rows[view, 13] * local[1] / z + rows[view, 15]
            least = wp.min(least, outline_at(outline, rows, view, x, y) * z / rows[view, 12])
        else:
            least = wp.min(least, z - 1.0e-3)
    return least


@wp.kernel
def hull_kernel(
    # In:
    outline: wp.array3d(dtype=wp.float32),  # [V, H, W] pixels
    rows: wp.array2d(dtype=wp.float32),  # [V, 20]
    origin: wp.vec3,  # centre of voxel (0, 0, 0)
    cell: float,
    # Out:
    field: wp.array3d(dtype=wp.float32),  # [X, Y, Z] world units, positive inside
):
    i, j, k = wp.tid()
    p = origin + wp.vec3(float(i), float(j), float(k)) * cell
    field[i, j, k] = hull_at(outline, rows, p)


@wp.kernel
def fuse_kernel(
    # In:
    depth: wp.array3d(dtype=wp.vec4),  # [V, H, W] z (0 where unknown) and the camera-axes normal
    trust: wp.array3d(dtype=wp.float32),  # [V, H, W] 0..1
    rows: wp.array2d(dtype=wp.float32),  # [V, 20]
    band: wp.array(dtype=wp.float32),  # [V] how far depth may be wrong, world units
    slack: wp.array(dtype=wp.float32),  # [V] how far in front of its surface a view still calls nothing empty
    shell: float,  # how thick a seen surface is solid against other views' objection
    origin: wp.vec3,
    cell: float,
    # In and out:
    field: wp.array3d(dtype=wp.float32),  # [X, Y, Z] the hull on the way in
):
    """Carve the hull by depth.

    For each view the signed distance behind its depth surface is (z - depth) times the cosine of the surface. Where
    views contradict each other (one sees through what another sees as solid) the nearest surface decides, within
    `shell` behind it. Views whose surface faces the same way there, and agree within their bands, are averaged, which
    evens out the noise of single views. Views that face another way are never averaged in: they look at the other side
    of a thin part.
    """
    i, j, k = wp.tid()
    hull = field[i, j, k]
    if hull < -4.0 * cell:
        return
    p = origin + wp.vec3(float(i), float(j), float(k)) * cell
    free = wp.float32(1.0e9)
    free_view = wp.int32(-1)
    solid = wp.float32(1.0e9)
    solid_view = wp.int32(-1)
    deep = wp.float32(1.0e9)
    deep_view = wp.int32(-1)
    for view in range(rows.shape[0]):
        seen = look(depth, trust, rows, slack, view, p)
        if seen.sure > 0.02:
            if seen.distance < 0.0:
                if -seen.distance < free:
                    free = -seen.distance
                    free_view = view
            else:
                if seen.distance < deep:
                    deep = seen.distance
                    deep_view = view
                if seen.distance < solid and seen.sure > 0.6:
                    solid = seen.distance
                    solid_view = view
    value = wp.float32(0.0)
    reference = wp.int32(-1)
    if free_view < 0:
        if deep_view < 0:
            return
        value = deep
        reference = deep_view
    elif solid_view >= 0 and solid < free and solid < shell:
        value = solid
        reference = solid_view
    else:
        value = -free
        reference = free_view
    own = look(depth, trust, rows, slack, reference, p)
    facing_to = to_world(rows, reference, own.normal)
    total = wp.float32(0.0)
    weight = wp.float32(0.0)
    for view in range(rows.shape[0]):
        seen = look(depth, trust, rows, slack, view, p)
        if seen.sure > 0.02:
            facing = wp.dot(to_world(rows, view, seen.normal), facing_to)
            if facing > 0.5 and wp.abs(seen.distance - value) < 2.0 * (band[view] + band[reference]):
                w = seen.cosine * seen.cosine * seen.sure * facing
                total += w * seen.distance
                weight += w
    if weight > 0.0:
        value = total / weight
    field[i, j, k] = wp.min(hull, value)


@wp.struct
class Look:
    """What a view says about a point of space."""

    sure: wp.float32  # trust in it, 0..1; 0 where the view knows no surface there
    distance: wp.float32  # how far the point lies behind the surface, with the view's slack; negative before it
    cosine: wp.float32  # between the surface's normal and the ray
    normal: wp.vec3  # in camera axes


@wp.func
def look(
    depth: wp.array3d(dtype=wp.vec4),
    trust: wp.array3d(dtype=wp.float32),
    rows: wp.array2d(dtype=wp.float32),
    slack: wp.array(dtype=wp.float32),
    view: int,
    p: wp.vec3,
) -> Look:
    """Look at a world point from a view with depth."""
    seen = Look()
    local = to_camera(rows, view, p)
    z = -local[2]
    if z > 1.0e-6:
        x = rows[view, 12] * local[0] / z + rows[view, 14]
        y = -rows[view, 13] * local[1] / z + rows[view, 15]
        sample = depth_at(depth, trust, rows, view, x, y)
        if sample[0] > 0.0:
            seen.sure = sample[4]
            seen.normal = wp.vec3(sample[1], sample[2], sample[3])
            seen.cosine = view_cosine(seen.normal, local)
            seen.distance = (z - sample[0]) * wp.max(seen.cosine, 0.15) + slack[view]
    return seen


vec5 = wp.types.vector(length=5, dtype=wp.float32)


@wp.func
def depth_at(
    depth: wp.array3d(dtype=wp.vec4),
    trust: wp.array3d(dtype=wp.float32),
    rows: wp.array2d(dtype=wp.float32),
    view: int,
    x: float,
    y: float,
) -> vec5:
    """Depth, normal and trust at pixel (x, y): bilinear over neighbours that lie on the nearest pixel's surface."""
    width = int(rows[view, 16])
    height = int(rows[view, 17])
    if x < 0.5 or y < 0.5 or x > float(width) - 0.5 or y > float(height) - 0.5:
        return vec5(0.0, 0.0, 0.0, 0.0, 0.0)
    column = wp.min(int(x - 0.5), width - 2)
    row = wp.min(int(y - 0.5), height - 2)
    fx = x - 0.5 - float(column)
    fy = y - 0.5 - float(row)
    near = depth[view, row + int(fy + 0.5), column + int(fx + 0.5)]
    if near[0] <= 0.0:
        return vec5(0.0, 0.0, 0.0, 0.0, 0.0)
    pixel = near[0] / rows[view, 12]
    limit = 4.0 * pixel / wp.max(near[3], 0.15)
    z = wp.float32(0.0)
    total = wp.float32(0.0)
    sure = wp.float32(0.0)
    for r in range(2):
        for c in range(2):
            w = (fx * float(c) + (1.0 - fx) * float(1 - c)) * (fy * float(r) + (1.0 - fy) * float(1 - r))
            other = depth[view, row + r, column + c]
            if other[0] > 0.0 and wp.abs(other[0] - near[0]) < limit:
                z += w * other[0]
                total += w
                sure += w * trust[view, row + r, column + c]
    if total <= 0.0:
        return vec5(0.0, 0.0, 0.0, 0.0, 0.0)
    return vec5(z / total, near[1], near[2], near[3], sure / total)


@wp.func
def view_cosine(normal: wp.vec3, local: wp.vec3) -> float:
    """Cosine between a surface normal and the direction to the camera, both in camera axes."""
    return wp.dot(normal, -wp.normalize(local))


@wp.func
def to_world(rows: wp.array2d(dtype=wp.float32), view: int, n: wp.vec3) -> wp.vec3:
    """Camera-axes direction to world axes."""
    return wp.vec3(
        rows[view, 0] * n[0] + rows[view, 4] * n[1] + rows[view, 8] * n[2],
        rows[view, 1] * n[0] + rows[view, 5] * n[1] + rows[view, 9] * n[2],
        rows[view, 2] * n[0] + rows[view, 6] * n[1] + rows[view, 10] * n[2],
    )


@wp.func
def field_at(field: wp.array3d(dtype=wp.float32), g: wp.vec3) -> float:
    """Trilinear value at grid coordinates; far outside below zero."""
    nx = field.shape[0]
    ny = field.shape[1]
    nz = field.shape[2]
    if g[0] < 0.0 or g[1] < 0.0 or g[2] < 0.0:
        return -1.0e3
    i = int(g[0])
    j = int(g[1])
    k = int(g[2])
    if i > nx - 2 or j > ny - 2 or k > nz - 2:
        return -1.0e3
    x = g[0] - float(i)
    y = g[1] - float(j)
    z = g[2] - float(k)
    a = field[i, j, k] * (1.0 - z) + field[i, j, k + 1] * z
    b = field[i, j + 1, k] * (1.0 - z) + field[i, j + 1, k + 1] * z
    c = field[i + 1, j, k] * (1.0 - z) + field[i + 1, j, k + 1] * z
    d = field[i + 1, j + 1, k] * (1.0 - z) + field[i + 1, j + 1, k + 1] * z
    return (a * (1.0 - y) + b * y) * (1.0 - x) + (c * (1.0 - y) + d * y) * x


@wp.func
def through_pixel(rows: wp.array2d(dtype=wp.float32), view: int, row: int, column: int) -> wp.vec3:
    """World direction through a pixel's centre, with unit step along the optical axis."""
    x = (float(column) + 0.5 - rows[view, 14]) / rows[view, 12]
    y = -(float(row) + 0.5 - rows[view, 15]) / rows[view, 13]
    return to_world(rows, view, wp.vec3(x, y, -1.0))


@wp.func
def span_within(d: wp.vec3, middle: wp.vec3, radius: float) -> wp.vec2:
    """Between which multiples of `d` a ray can lie within a ball around `middle`, as seen from the camera."""
    slant = wp.length(d)
    reach = wp.dot(middle, d) / (slant * slant)
    return wp.vec2(reach - radius / slant, reach + radius / slant)


@wp.kernel
def march_kernel(
    # In:
    field: wp.array3d(dtype=wp.float32),  # [X, Y, Z] positive inside
    rows: wp.array2d(dtype=wp.float32),  # [V, 20]
    view: int,
    first_row: int,  # of the pixels that this launch is for
    centre: wp.vec3,  # camera position
    origin: wp.vec3,
    cell: float,
    radius: float,  # the grid lies within this distance of its middle
    middle: wp.vec3,
    # Out:
    entry: wp.array2d(dtype=wp.float32),  # [H, W] z where the ray enters; 0 where it misses
    leave: wp.array2d(dtype=wp.float32),  # [H, W] z where it leaves for the last time
):
    line, column = wp.tid()
    row = first_row + line
    d = through_pixel(rows, view, row, column)
    span = span_within(d, middle - centre, radius)
    z = span[0]
    stop = span[1]
    step = 0.7 * cell / wp.length(d)
    first = wp.float32(0.0)
    last = wp.float32(0.0)
    before = wp.float32(-1.0e3)
    walked = wp.float32(0.0)
    while z < stop:
        p = centre + d * z
        value = field_at(field, (p - origin) / cell)
        if value >= 0.0:
            if first == 0.0:
                first = z
                if before > -1.0e2:
                    first = z - walked * value / (value - before)
            last = z
        elif before >= 0.0 and value > -1.0e2:  # just left the inside
            last = z - walked * value / (value - before)
        before = value
        # The field is about a distance: far from the surface longer steps are safe.
        walked = step * wp.clamp(wp.abs(value) / cell, 1.0, 5.0)
        z += walked
    entry[row, column] = first
    leave[row, column] = last


@wp.kernel
def seek_kernel(
    # In:
    field: wp.array3d(dtype=wp.float32),  # [X, Y, Z] positive inside
    rows: wp.array2d(dtype=wp.float32),  # [V, 20]
    view: int,
    pixels: wp.array(dtype=wp.vec2i),  # [K] row and column
    centre: wp.vec3,  # camera position
    origin: wp.vec3,
    cell: float,
    radius: float,  # the grid lies within this distance of its middle
    middle: wp.vec3,
    # Out:
    best: wp.array(dtype=wp.vec4),  # [K] most inner point of the ray and its value; the first one inside, if any is
):
    i = wp.tid()
    d = through_pixel(rows, view, pixels[i][0], pixels[i][1])
    span = span_within(d, middle - centre, radius)
    z = span[0]
    stop = span[1]
    step = 0.7 * cell / wp.length(d)
    top = wp.float32(-1.0e3)
    top_point = wp.vec3(0.0, 0.0, 0.0)
    while z < stop and top < 0.0:
        p = centre + d * z
        value = field_at(field, (p - origin) / cell)
        if value > top:
            top = value
            top_point = p
        # As in march_kernel.
        z += step * wp.clamp(wp.abs(value) / cell, 1.0, 5.0)
    best[i] = wp.vec4(top_point[0], top_point[1], top_point[2], top)
