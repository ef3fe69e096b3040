"""What the outlines of all views leave of each cell, as a Warp kernel. One source for CPU and CUDA."""

from __future__ import annotations

from meshwright._warp import wp

__all__ = ["least_kernel"]

wp.set_module_options({"enable_backward": False})


@wp.func
def bilinear(layers: wp.array4d(dtype=wp.float32), image: int, layer: int, x: float, y: float) -> float:
    """A layer at (x, y) in pixels, the centre of the first being (0, 0); nothing lies beyond the picture."""
    column = int(wp.floor(x))
    row = int(wp.floor(y))
    total = wp.float32(0.0)
    for i in range(2):
        for j in range(2):
            r = row + i
            c = column + j
            if r >= 0 and c >= 0 and r < layers.shape[2] and c < layers.shape[3]:
                weight = 1.0 - wp.abs(y - float(r))
                total += weight * (1.0 - wp.abs(x - float(c))) * layers[image, layer, r, c]
    return total


@wp.kernel
def least_kernel(
    # In:
    layers: wp.array4d(dtype=wp.float32),  # [B * V, L, M, M] blurred masks, of which the first two are used
    present: wp.array2d(dtype=wp.float32),  # [B, V]
    rotation: wp.array2d(dtype=wp.mat33),  # [B, V] world to camera
    position: wp.array2d(dtype=wp.vec3),  # [B, V]
    lens: wp.array2d(dtype=wp.vec3),  # [B, V] focal length, shift right, shift up; half pictures
    half: float,
    first: int,  # slabs along x before this one
    # Out:
    least_out: wp.array4d(dtype=wp.float32),  # [B * 16, X, N, N]: object, layer, which eighth of the cell
):
    """The least over the views, at the centres of the eight parts of each cell."""
    b, i, j, k = wp.tid()
    side = float(2 * least_out.shape[2])
    size = float(layers.shape[2])
    for part in range(8):
        place = wp.vec3(
            float(2 * (i + first) + part // 4) + 0.5,
            float(2 * j + (part // 2) % 2) + 0.5,
            float(2 * k + part % 2) + 0.5,
        )
        p = place / side * (2.0 * half) - wp.vec3(half, half, half)
        sharp = wp.float32(1.0)
        soft = wp.float32(1.0)
        for view in range(present.shape[1]):
            if present[b, view] > 0.5:
                local = rotation[b, view] * (p - position[b, view])
                z = wp.max(-local[2], 1.0e-3)
                glass = lens[b, view]
                x = ((glass[0] * local[0] / z + glass[1]) * 0.5 + 0.5) * size - 0.5
                y = (0.5 - (glass[0] * local[1] / z + glass[2]) * 0.5) * size - 0.5
                image = b * present.shape[1] + view
                sharp = wp.min(sharp, bilinear(layers, image, 0, x, y))
                soft = wp.min(soft, bilinear(layers, image, 1, x, y))
        least_out[16 * b + part, i, j, k] = sharp
        least_out[16 * b + 8 + part, i, j, k] = soft
