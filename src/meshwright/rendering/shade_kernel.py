# mypy: ignore-errors
# (Warp compiles these functions itself; their annotations are its own language.)
"""Colours of the fragments, and their average over the samples of a pixel. One source for CPU and CUDA.

Every kernel runs over output pixels and loops over the `samples` x `samples` fragments inside. Colours are averaged
over the covered ones only, so they are straight: coverage goes to `alpha_out`.
"""

from __future__ import annotations

from typing import Any

from meshwright._warp import wp

wp.set_module_options({"enable_backward": False})


@wp.func
def texel(texture: wp.array2d[wp.vec3ub], decode: wp.array[wp.float32], row: wp.int32, column: wp.int32) -> wp.vec3:
    """One texel in linear light; the texture repeats beyond its edges."""
    height = texture.shape[0]
    width = texture.shape[1]
    code = texture[((row % height) + height) % height, ((column % width) + width) % width]
    return wp.vec3(decode[wp.int32(code[0])], decode[wp.int32(code[1])], decode[wp.int32(code[2])])


@wp.func
def bilinear(texture: wp.array2d[wp.vec3ub], decode: wp.array[wp.float32], uv: wp.vec2) -> wp.vec3:
    """The four nearest texels blended in linear light; v = 0 is the bottom edge of the last row."""
    x = uv[0] * wp.float32(texture.shape[1]) - 0.5
    y = (1.0 - uv[1]) * wp.float32(texture.shape[0]) - 0.5
    column = wp.int32(wp.floor(x))
    row = wp.int32(wp.floor(y))
    fx = x - wp.floor(x)
    fy = y - wp.floor(y)
    above = texel(texture, decode, row, column) * (1.0 - fx) + texel(texture, decode, row, column + 1) * fx
    below = texel(texture, decode, row + 1, column) * (1.0 - fx) + texel(texture, decode, row + 1, column + 1) * fx
    return above * (1.0 - fy) + below * fy


@wp.func
def blend(values: wp.array[Any], tri: wp.vec3i, bary: wp.vec3):
    """Values at a triangle's corners, blended."""
    return values[tri[0]] * bary[0] + values[tri[1]] * bary[1] + values[tri[2]] * bary[2]


@wp.func
def mean_of(total: wp.vec3, count: wp.float32) -> wp.vec3:
    """Mean over the covered samples, 0 where there are none."""
    return total / wp.max(count, 1.0)


@wp.func
def share_of(count: wp.float32, samples: wp.int32) -> wp.float32:
    """How much of the pixel is covered."""
    return count / wp.float32(samples * samples)


@wp.kernel
def textured_kernel(
    # In:
    face_id: wp.array2d[wp.int32],  # [H samples, W samples]
    bary: wp.array2d[wp.vec3],  # [H samples, W samples]
    uv: wp.array[wp.vec2],  # [U]
    uv_faces: wp.array[wp.vec3i],  # [F]
    texture: wp.array2d[wp.vec3ub],  # [T, T]
    decode: wp.array[wp.float32],  # [256]
    samples: wp.int32,
    # Out:
    rgb_out: wp.array2d[wp.vec3],  # [H, W]
    alpha_out: wp.array2d[wp.float32],  # [H, W]
):
    """Base colour, linear."""
    row, column = wp.tid()
    total = wp.vec3(0.0, 0.0, 0.0)
    count = wp.float32(0.0)
    for i in range(samples):
        for j in range(samples):
            face = face_id[row * samples + i, column * samples + j]
            if face >= 0:
                place = blend(uv, uv_faces[face], bary[row * samples + i, column * samples + j])
                total += bilinear(texture, decode, place)
                count += 1.0
    rgb_out[row, column] = mean_of(total, count)
    alpha_out[row, column] = share_of(count, samples)


@wp.kernel
def corner_values_kernel(
    # In:
    face_id: wp.array2d[wp.int32],  # [H samples, W samples]
    bary: wp.array2d[wp.vec3],  # [H samples, W samples]
    values: wp.array[wp.vec3],  # [K]
    faces: wp.array[wp.vec3i],  # [F], into values
    samples: wp.int32,
    # Out:
    image_out: wp.array2d[wp.vec3],  # [H, W]
    alpha_out: wp.array2d[wp.float32],  # [H, W]
):
    """Blend of the values at the three corners."""
    row, column = wp.tid()
    total = wp.vec3(0.0, 0.0, 0.0)
    count = wp.float32(0.0)
    for i in range(samples):
        for j in range(samples):
            face = face_id[row * samples + i, column * samples + j]
            if face >= 0:
                total += blend(values, faces[face], bary[row * samples + i, column * samples + j])
                count += 1.0
    image_out[row, column] = mean_of(total, count)
    alpha_out[row, column] = share_of(count, samples)


@wp.func
def line_distance(p: wp.vec2, a: wp.vec2, b: wp.vec2) -> wp.float32:
    """How far a point is from the line through two others; far away where they coincide."""
    along = b - a
    length = wp.length(along)
    if length < 1.0e-6:
        return 1.0e6
    return wp.abs(along[0] * (p[1] - a[1]) - along[1] * (p[0] - a[0])) / length


@wp.kernel
def wireframe_kernel(
    # In:
    face_id: wp.array2d[wp.int32],  # [H samples, W samples]
    pixels: wp.array[wp.vec2],  # [N], where vertices fall, in output pixels
    faces: wp.array[wp.vec3i],  # [F]
    tone: wp.array[wp.vec3],  # [F], colour of the surface
    line: wp.vec3,
    width: wp.float32,  # of a line, in output pixels
    samples: wp.int32,
    # Out:
    image_out: wp.array2d[wp.vec3],  # [H, W]
    alpha_out: wp.array2d[wp.float32],  # [H, W]
):
    """Flat faces with their edges drawn in; edges fade where triangles are hardly larger than a line is wide."""
    row, column = wp.tid()
    total = wp.vec3(0.0, 0.0, 0.0)
    count = wp.float32(0.0)
    for i in range(samples):
        for j in range(samples):
            face = face_id[row * samples + i, column * samples + j]
            if face >= 0:
                tri = faces[face]
                p0 = pixels[tri[0]]
                p1 = pixels[tri[1]]
                p2 = pixels[tri[2]]
                p = wp.vec2(
                    wp.float32(column) + (wp.float32(j) + 0.5) / wp.float32(samples),
                    wp.float32(row) + (wp.float32(i) + 0.5) / wp.float32(samples),
                )
                near = wp.min(line_distance(p, p0, p1), wp.min(line_distance(p, p1, p2), line_distance(p, p2, p0)))
                ink = wp.float32(0.0)
                if near < 0.5 * width:
                    height = wp.min(
                        line_distance(p0, p1, p2), wp.min(line_distance(p1, p2, p0), line_distance(p2, p0, p1))
                    )
                    ink = wp.clamp(height / (6.0 * width), 0.25, 1.0)
                total += tone[face] * (1.0 - ink) + line * ink
                count += 1.0
    image_out[row, column] = mean_of(total, count)
    alpha_out[row, column] = share_of(count, samples)


@wp.func
def code_of(value: wp.float32, alpha: wp.float32, linear: wp.bool) -> wp.uint8:
    """An sRGB code on white, rounded to the nearest, halves to even as NumPy does it."""
    light = wp.clamp(value, 0.0, 1.0)
    seen = light
    if linear:
        seen = light * 12.92
        if light > 0.0031308:
            seen = 1.055 * wp.pow(light, 1.0 / 2.4) - 0.055
    return wp.uint8(wp.rint((seen * alpha + (1.0 - alpha)) * 255.0))


@wp.kernel
def white_kernel(
    # In:
    image: wp.array2d[wp.vec3],  # [H, W]
    alpha: wp.array2d[wp.float32],  # [H, W]
    linear: wp.bool,  # whether the image is linear light; sRGB else
    # Out:
    codes_out: wp.array2d[wp.vec3ub],  # [H, W]
):
    """A picture on white as sRGB codes."""
    row, column = wp.tid()
    value = image[row, column]
    share = alpha[row, column]
    codes_out[row, column] = wp.vec3ub(
        code_of(value[0], share, linear), code_of(value[1], share, linear), code_of(value[2], share, linear)
    )
