"""Warp kernels of the texture stage: what a view sees of points on the surface, and looking up its colours.

Letters: H, W pixels, M points. The centre of the top-left pixel is (0.5, 0.5).
"""

# mypy: ignore-errors
# (Warp compiles these functions itself; their annotations are its own language.)

from __future__ import annotations

from meshwright._warp import wp

wp.set_module_options({"enable_backward": False})

__all__ = ["sample_kernel", "see_kernel"]


@wp.kernel
def see_kernel(
    # In:
    position: wp.array[wp.vec3],  # [M]
    normal: wp.array[wp.vec3],  # [M]
    rotation: wp.mat33,  # world to camera
    shift: wp.vec3,
    intrinsics: wp.vec4,  # fl_x, fl_y, cx, cy
    depth: wp.array2d[wp.float32],  # [H, W], inf on background
    trust: wp.array2d[wp.float32],  # [H, W]
    # Out:
    pixel_out: wp.array[wp.vec2],  # [M]
    cosine_out: wp.array[wp.float32],  # [M]
    visible_out: wp.array[wp.float32],  # [M]
    trust_out: wp.array[wp.float32],  # [M]
):
    """Project, and compare with the depth of the four pixels around."""
    i = wp.tid()
    local = rotation * position[i] + shift
    z = -local[2]
    pixel_out[i] = wp.vec2(0.0, 0.0)
    cosine_out[i] = 0.0
    visible_out[i] = 0.0
    trust_out[i] = 0.0
    if z <= 1.0e-6:
        return
    x = intrinsics[0] * local[0] / z + intrinsics[2]
    y = -intrinsics[1] * local[1] / z + intrinsics[3]
    pixel_out[i] = wp.vec2(x, y)
    cosine = -wp.dot(rotation * normal[i], local) / wp.length(local)
    if cosine <= 0.0:
        return
    cosine_out[i] = cosine
    # Over one pixel the depth of a surface changes by tan(angle) pixels' worth; twice that, and a little for curvature.
    footprint = z / intrinsics[0]
    slack = footprint * (1.5 + 2.0 * wp.sqrt(wp.max(1.0 - cosine * cosine, 0.0)) / wp.max(cosine, 0.1))
    x0 = wp.int32(wp.floor(x - 0.5))
    y0 = wp.int32(wp.floor(y - 0.5))
    fx = x - 0.5 - wp.float32(x0)
    fy = y - 0.5 - wp.float32(y0)
    seen = float(0.0)
    trusted = float(0.0)
    for dy in range(2):
        for dx in range(2):
            column = x0 + dx
            row = y0 + dy
            if row >= 0 and row < depth.shape[0] and column >= 0 and column < depth.shape[1]:
                weight = wp.where(dx == 1, fx, 1.0 - fx) * wp.where(dy == 1, fy, 1.0 - fy)
                # A pixel beyond the silhouette does not hide the point.
                if z <= depth[row, column] + slack:
                    seen += weight
                    trusted += weight * trust[row, column]
    visible_out[i] = seen
    trust_out[i] = trusted


@wp.kernel
def sample_kernel(
    # In:
    image: wp.array2d[wp.vec3],  # [H, W]
    pixel: wp.array[wp.vec2],  # [M]
    # Out:
    colour: wp.array[wp.vec3],  # [M]
):
    """Bilinear look-up, clamped at the frame."""
    i = wp.tid()
    x = wp.clamp(pixel[i][0] - 0.5, 0.0, wp.float32(image.shape[1] - 1))
    y = wp.clamp(pixel[i][1] - 0.5, 0.0, wp.float32(image.shape[0] - 1))
    x0 = wp.min(wp.int32(x), image.shape[1] - 1)
    y0 = wp.min(wp.int32(y), image.shape[0] - 1)
    x1 = wp.min(x0 + 1, image.shape[1] - 1)
    y1 = wp.min(y0 + 1, image.shape[0] - 1)
    fx = x - wp.float32(x0)
    fy = y - wp.float32(y0)
    top = image[y0, x0] * (1.0 - fx) + image[y0, x1] * fx
    low = image[y1, x0] * (1.0 - fx) + image[y1, x1] * fx
    colour[i] = top * (1.0 - fy) + low * fy
