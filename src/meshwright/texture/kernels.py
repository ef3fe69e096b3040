"""Warp kernels of the texture stage: texels on the surface, what a view sees of them, and carrying colour across.

Letters: H, W pixels of a view, T side of the texture, M texels, F faces, G vertices of the surface graph.
The centre of the top-left pixel is (0.5, 0.5), in views and in the texture.
"""

# mypy: ignore-errors
# (Warp compiles these functions itself; their annotations are its own language.)

from __future__ import annotations

from meshwright._warp import wp

wp.set_module_options({"enable_backward": False})

__all__ = ["gather_kernel", "look_up_kernel", "place_kernel", "see_kernel"]


@wp.struct
class Eye:
    """A camera as kernels need it."""

    rotation: wp.mat33  # world to camera
    shift: wp.vec3
    focal: wp.vec2  # pixels
    centre: wp.vec2  # pixels


@wp.struct
class Glance:
    """What a view sees of one point."""

    pixel: wp.vec2
    cosine: wp.float32  # between normal and the direction to the camera; 0 when turned away
    visible: wp.float32  # 0..1
    trust: wp.float32  # 0..1, 0 where not visible


@wp.func
def glance(
    eye: Eye,
    depth: wp.array2d[wp.float32],
    trust: wp.array2d[wp.float32],
    position: wp.vec3,
    normal: wp.vec3,
) -> Glance:
    """Project a point, and compare it with the depth of the four pixels around."""
    result = Glance()
    local = eye.rotation * position + eye.shift
    z = -local[2]
    if z <= 1.0e-6:
        return result
    x = eye.focal[0] * local[0] / z + eye.centre[0]
    y = eye.centre[1] - eye.focal[1] * local[1] / z
    result.pixel = wp.vec2(x, y)
    cosine = -wp.dot(eye.rotation * normal, local) / wp.length(local)
    if cosine <= 0.0:
        return result
    result.cosine = cosine
    # Over one pixel the depth of a surface changes by tan(angle) pixels' worth; allow twice that, and a little.
    slope = wp.sqrt(wp.max(1.0 - cosine * cosine, 0.0)) / wp.max(cosine, 0.1)
    slack = z / eye.focal[0] * (1.5 + 2.0 * slope)
    x0 = wp.int32(wp.floor(x - 0.5))
    y0 = wp.int32(wp.floor(y - 0.5))
    fx = x - 0.5 - wp.float32(x0)
    fy = y - 0.5 - wp.float32(y0)
    for dy in range(2):
        for dx in range(2):
            column = x0 + dx
            row = y0 + dy
            if row >= 0 and row < depth.shape[0] and column >= 0 and column < depth.shape[1]:
                weight = wp.where(dx == 1, fx, 1.0 - fx) * wp.where(dy == 1, fy, 1.0 - fy)
                # A pixel beyond the silhouette has infinite depth: it does not hide the point, and has no trust.
                if z <= depth[row, column] + slack:
                    result.visible += weight
                    result.trust += weight * trust[row, column]
    return result


@wp.func
def cubic_weights(t: wp.float32) -> wp.vec4:
    """Catmull-Rom weights of the four samples around a point at `t` between the middle two."""
    t2 = t * t
    t3 = t2 * t
    return wp.vec4(
        0.5 * (-t3 + 2.0 * t2 - t),
        0.5 * (3.0 * t3 - 5.0 * t2 + 2.0),
        0.5 * (-3.0 * t3 + 4.0 * t2 + t),
        0.5 * (t3 - t2),
    )


@wp.func
def sample_cubic(image: wp.array2d[wp.vec3], pixel: wp.vec2) -> wp.vec3:
    """Look up an image between its pixels without blurring it; clamped at the frame."""
    x = pixel[0] - 0.5
    y = pixel[1] - 0.5
    x0 = wp.int32(wp.floor(x))
    y0 = wp.int32(wp.floor(y))
    wx = cubic_weights(x - wp.float32(x0))
    wy = cubic_weights(y - wp.float32(y0))
    total = wp.vec3(0.0, 0.0, 0.0)
    for dy in range(4):
        row = wp.clamp(y0 + dy - 1, 0, image.shape[0] - 1)
        line = wp.vec3(0.0, 0.0, 0.0)
        for dx in range(4):
            line += wx[dx] * image[row, wp.clamp(x0 + dx - 1, 0, image.shape[1] - 1)]
        total += wy[dy] * line
    return total


@wp.func
def sample_linear(image: wp.array2d[wp.vec3], pixel: wp.vec2) -> wp.vec3:
    """Bilinear look-up, clamped at the frame."""
    x = wp.clamp(pixel[0] - 0.5, 0.0, wp.float32(image.shape[1] - 1))
    y = wp.clamp(pixel[1] - 0.5, 0.0, wp.float32(image.shape[0] - 1))
    x0 = wp.int32(x)
    y0 = wp.int32(y)
    x1 = wp.min(x0 + 1, image.shape[1] - 1)
    y1 = wp.min(y0 + 1, image.shape[0] - 1)
    fx = x - wp.float32(x0)
    fy = y - wp.float32(y0)
    top = image[y0, x0] * (1.0 - fx) + image[y0, x1] * fx
    low = image[y1, x0] * (1.0 - fx) + image[y1, x1] * fx
    return top * (1.0 - fy) + low * fy


@wp.kernel
def place_kernel(
    # In:
    index: wp.array[wp.int32],  # [M] row * T + column
    face: wp.array[wp.int32],  # [M]
    size: wp.int32,  # T
    uv: wp.array[wp.vec2],  # [U]
    uv_faces: wp.array[wp.vec3i],  # [F]
    levels: wp.int32,  # how often each face was split in four for the graph
    # Out:
    graph_face: wp.array[wp.int32],  # [M]
    graph_bary: wp.array[wp.vec3],  # [M]
):
    """Where a texel lies in the surface graph. Texels off their face continue its plane: some weight is negative."""
    i = wp.tid()
    f = face[i]
    t = uv_faces[f]
    side = wp.float64(size)
    # Faces are a few texels wide and lie anywhere in the texture: float32 areas would lose three digits.
    px = (wp.float64(index[i] % size) + wp.float64(0.5)) / side
    py = wp.float64(1.0) - (wp.float64(index[i] / size) + wp.float64(0.5)) / side
    ax = wp.float64(uv[t[0]][0]) - px
    ay = wp.float64(uv[t[0]][1]) - py
    bx = wp.float64(uv[t[1]][0]) - px
    by = wp.float64(uv[t[1]][1]) - py
    cx = wp.float64(uv[t[2]][0]) - px
    cy = wp.float64(uv[t[2]][1]) - py
    wa = bx * cy - by * cx
    wb = cx * ay - cy * ax
    wc = ax * by - ay * bx
    area = wa + wb + wc
    if area == wp.float64(0.0):
        area = wp.float64(1.0)
        wa = wp.float64(1.0)
    w = wp.vec3(wp.float32(wa / area), wp.float32(wb / area), wp.float32(wc / area))
    for _ in range(levels):
        # The children of (a, b, c) are (a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca).
        if w[0] >= 0.5:
            f = 4 * f
            w = wp.vec3(2.0 * w[0] - 1.0, 2.0 * w[1], 2.0 * w[2])
        elif w[1] >= 0.5:
            f = 4 * f + 1
            w = wp.vec3(2.0 * w[0], 2.0 * w[1] - 1.0, 2.0 * w[2])
        elif w[2] >= 0.5:
            f = 4 * f + 2
            w = wp.vec3(2.0 * w[0], 2.0 * w[1], 2.0 * w[2] - 1.0)
        else:
            f = 4 * f + 3
            w = wp.vec3(1.0 - 2.0 * w[2], 1.0 - 2.0 * w[0], 1.0 - 2.0 * w[1])
    graph_face[i] = f
    graph_bary[i] = w


@wp.kernel
def see_kernel(
    # In:
    position: wp.array[wp.vec3],  # [M]
    normal: wp.array[wp.vec3],  # [M]
    eye: Eye,
    depth: wp.array2d[wp.float32],  # [H, W], inf on background
    trust: wp.array2d[wp.float32],  # [H, W]
    image: wp.array2d[wp.vec3],  # [H, W]
    # Out:
    cosine_out: wp.array[wp.float32],  # [M]
    trust_out: wp.array[wp.float32],  # [M]
    colour_out: wp.array[wp.vec3],  # [M]
):
    """What a view sees of some points: angle, trust (0 where hidden) and colour."""
    i = wp.tid()
    seen = glance(eye, depth, trust, position[i], normal[i])
    cosine_out[i] = seen.cosine
    trust_out[i] = seen.trust
    colour_out[i] = sample_linear(image, seen.pixel)


@wp.func
def inner(weights: wp.vec3) -> wp.vec3:
    """The nearest weights inside of the face, for what must not be continued beyond it."""
    w = wp.max(weights, wp.vec3(0.0, 0.0, 0.0))
    return w / (w[0] + w[1] + w[2])


@wp.kernel
def gather_kernel(
    # In:
    graph_face: wp.array[wp.int32],  # [M]
    graph_bary: wp.array[wp.vec3],  # [M]
    graph_faces: wp.array[wp.vec3i],  # faces of the graph
    vertices: wp.array[wp.vec3],  # [G]
    normals: wp.array[wp.vec3],  # [G]
    share: wp.array[wp.float32],  # [G] how much this view is wanted at each graph vertex
    base: wp.array[wp.vec3],  # [G] what to subtract from the view's colour
    eye: Eye,
    depth: wp.array2d[wp.float32],  # [H, W]
    trust: wp.array2d[wp.float32],  # [H, W]
    image: wp.array2d[wp.vec3],  # [H, W]
    spare: wp.float32,  # weight of views that are not wanted but see the texel
    # In and out:
    total: wp.array[wp.vec3],  # [M] sum of weight * (colour - base)
    weight: wp.array[wp.float32],  # [M] sum of weights
    grade: wp.array[wp.float32],  # [M] best trust * cosine of any view
):
    """Add one view's contribution to each texel that it sees."""
    i = wp.tid()
    k = graph_faces[graph_face[i]]
    free = graph_bary[i]
    w = inner(free)
    wanted = w[0] * share[k[0]] + w[1] * share[k[1]] + w[2] * share[k[2]]
    if wanted + spare < 1.0e-6:
        return
    position = free[0] * vertices[k[0]] + free[1] * vertices[k[1]] + free[2] * vertices[k[2]]
    normal = wp.normalize(w[0] * normals[k[0]] + w[1] * normals[k[1]] + w[2] * normals[k[2]])
    seen = glance(eye, depth, trust, position, normal)
    if seen.trust <= 0.0:
        return
    square = seen.cosine * seen.cosine
    much = seen.trust * (wanted + spare * square * square)
    grade[i] = wp.max(grade[i], seen.trust * seen.cosine)
    if much > 1.0e-9:
        floor = w[0] * base[k[0]] + w[1] * base[k[1]] + w[2] * base[k[2]]
        total[i] = total[i] + much * (sample_cubic(image, seen.pixel) - floor)
        weight[i] = weight[i] + much


@wp.kernel
def look_up_kernel(
    # In:
    graph_face: wp.array[wp.int32],  # [M]
    graph_bary: wp.array[wp.vec3],  # [M]
    graph_faces: wp.array[wp.vec3i],  # faces of the graph
    field: wp.array[wp.vec3],  # [G]
    # In and out:
    value: wp.array[wp.vec3],  # [M]
):
    """Add a field on the graph's vertices to the texels."""
    i = wp.tid()
    k = graph_faces[graph_face[i]]
    w = inner(graph_bary[i])
    value[i] = value[i] + w[0] * field[k[0]] + w[1] * field[k[1]] + w[2] * field[k[2]]
