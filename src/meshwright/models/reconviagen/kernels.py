"""What the outlines of all views leave of each cell and of each ray, as Warp kernels. One source for CPU and CUDA."""

from __future__ import annotations

from meshwright._warp import wp

__all__ = ["front_kernel", "start_kernel"]

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


@wp.func
def outside_of_outline(sharp: float, soft: float) -> float:
    """Signed distance to an outline in pixels, negative inside, from the mask blurred by 1 and by 4 pixels.

    Near a straight outline a mask blurred by s is the normal distribution's integral of distance / s; the logistic
    curve of slope 1.702 stands in for that.
    """
    near = wp.clamp(sharp, 0.02, 0.98)
    distance = -wp.log(near / (1.0 - near)) / 1.702
    if sharp < 0.03 or sharp > 0.97:
        far = wp.clamp(soft, 0.001, 0.999)
        wide = -4.0 * wp.log(far / (1.0 - far)) / 1.702
        distance = wp.where(sharp < 0.5, wp.max(distance, wide), wp.min(distance, wide))
    return distance


@wp.func
def surface_at(maps: wp.array4d(dtype=wp.float32), image: int, x: float, y: float) -> wp.vec4:
    """Depth, likely error and cosine of a view's surface at (x, y) in pixels, over pixels that show the object.

    Fourth: the weight of these. Across an edge between near and far the near one stands.
    """
    column = int(wp.floor(x))
    row = int(wp.floor(y))
    total = wp.vec3(0.0, 0.0, 0.0)
    weights = wp.float32(0.0)
    nearest = wp.float32(-1.0e3)
    farthest = wp.float32(1.0e3)
    for i in range(2):
        for j in range(2):
            r = row + i
            c = column + j
            if r >= 0 and c >= 0 and r < maps.shape[2] and c < maps.shape[3]:  # noqa: SIM102
                # Apart, because Warp works out both sides of an `and`.
                if maps[image, 3, r, c] > 0.5:
                    weight = (1.0 - wp.abs(y - float(r))) * (1.0 - wp.abs(x - float(c)))
                    depth = maps[image, 0, r, c]
                    total += weight * wp.vec3(depth, maps[image, 1, r, c], maps[image, 2, r, c])
                    weights += weight
                    nearest = wp.max(nearest, depth)
                    farthest = wp.min(farthest, depth)
    mean = total / wp.max(weights, 1.0e-6)
    depth = mean[0]
    if nearest - farthest > 0.03:
        depth = nearest
    return wp.vec4(depth, mean[1], mean[2], weights)


@wp.kernel
def start_kernel(
    # In:
    layers: wp.array4d(dtype=wp.float32),  # [B * V, L, M, M] masks blurred by 1 and by 4 pixels
    maps: wp.array4d(dtype=wp.float32),  # [B * V, 4, P, P] depth, likely error, cosine, whether the object is there
    present: wp.array2d(dtype=wp.float32),  # [B, V]
    rotation: wp.array2d(dtype=wp.mat33),  # [B, V] world to camera
    position: wp.array2d(dtype=wp.vec3),  # [B, V]
    lens: wp.array2d(dtype=wp.vec3),  # [B, V] focal length, shift right, shift up; half pictures
    half: float,
    limit: float,
    first: int,  # slabs along x before this one
    # Out:
    start_out: wp.array4d(dtype=wp.float32),  # [B * 24, X, N, N]: object, layer, which eighth of the cell
):
    """Least of the sharp and of the soft masks, and what outlines and surfaces carve, in the eight parts of each cell.

    Carved: the largest over the views of the signed distance to its outline and, within that, to its surface less
    the surface's likely error; positive outside, cut off at `limit`.
    """
    b, i, j, k = wp.tid()
    side = float(2 * start_out.shape[2])
    size = float(layers.shape[2])
    small = float(maps.shape[2])
    for part in range(8):
        place = wp.vec3(
            float(2 * (i + first) + part // 4) + 0.5,
            float(2 * j + (part // 2) % 2) + 0.5,
            float(2 * k + part % 2) + 0.5,
        )
        p = place / side * (2.0 * half) - wp.vec3(half, half, half)
        sharp = wp.float32(1.0)
        soft = wp.float32(1.0)
        carved = wp.float32(-limit)
        for view in range(present.shape[1]):
            if present[b, view] > 0.5:
                turn = rotation[b, view]
                local = turn * (p - position[b, view])
                z = wp.max(-local[2], 1.0e-3)
                glass = lens[b, view]
                u = (glass[0] * local[0] / z + glass[1]) * 0.5 + 0.5
                v = 0.5 - (glass[0] * local[1] / z + glass[2]) * 0.5
                image = b * present.shape[1] + view
                mine = bilinear(layers, image, 0, u * size - 0.5, v * size - 0.5)
                wide = bilinear(layers, image, 1, u * size - 0.5, v * size - 0.5)
                sharp = wp.min(sharp, mine)
                soft = wp.min(soft, wide)
                pixel = 2.0 * z / (glass[0] * size)
                carved = wp.max(carved, outside_of_outline(mine, wide) * pixel)
                if mine > 0.5:
                    found = surface_at(maps, image, u * small - 0.5, v * small - 0.5)
                    if found[3] > 0.2:
                        # The camera's own distance to the cube's centre, along its axis.
                        centre = wp.dot(wp.transpose(turn) * wp.vec3(0.0, 0.0, 1.0), position[b, view])
                        before = (centre - z - found[0]) * found[2] - found[1]
                        carved = wp.max(carved, before)
        start_out[24 * b + part, i, j, k] = sharp
        start_out[24 * b + 8 + part, i, j, k] = soft
        start_out[24 * b + 16 + part, i, j, k] = wp.clamp(carved, -limit, limit)


@wp.func
def inside(
    layers: wp.array4d(dtype=wp.float32),
    present: wp.array2d(dtype=wp.float32),
    rotation: wp.array2d(dtype=wp.mat33),
    position: wp.array2d(dtype=wp.vec3),
    lens: wp.array2d(dtype=wp.vec3),
    b: int,
    p: wp.vec3,
) -> float:
    """The least mask over the views that are there, at a point; 1 where there are none."""
    size = float(layers.shape[2])
    least = wp.float32(1.0)
    for view in range(present.shape[1]):
        if least > 0.5 and present[b, view] > 0.5:
            local = rotation[b, view] * (p - position[b, view])
            z = wp.max(-local[2], 1.0e-3)
            glass = lens[b, view]
            x = ((glass[0] * local[0] / z + glass[1]) * 0.5 + 0.5) * size - 0.5
            y = (0.5 - (glass[0] * local[1] / z + glass[2]) * 0.5) * size - 0.5
            least = wp.min(least, bilinear(layers, b * present.shape[1] + view, 0, x, y))
    return least


@wp.kernel
def front_kernel(
    # In:
    layers: wp.array4d(dtype=wp.float32),  # [B * V, L, M, M] blurred masks, of which the first is used
    present: wp.array2d(dtype=wp.float32),  # [B, V]
    rotation: wp.array2d(dtype=wp.mat33),  # [B, V] world to camera
    position: wp.array2d(dtype=wp.vec3),  # [B, V]
    lens: wp.array2d(dtype=wp.vec3),  # [B, V] focal length, shift right, shift up; half pictures
    half: float,
    steps: int,
    first: int,  # images before this one
    # Out:
    front_out: wp.array4d(dtype=wp.float32),  # [I, 3, P, P]: front, thickness, whether the ray meets the hull
):
    """Where each pixel's ray enters and leaves what all outlines leave; depth relative to the cube's centre."""
    i, row, column = wp.tid()
    image = i + first
    b = image // present.shape[1]
    view = image - b * present.shape[1]
    front_out[i, 0, row, column] = 0.0
    front_out[i, 1, row, column] = 0.0
    front_out[i, 2, row, column] = 0.0
    if present[b, view] < 0.5:
        return
    size = float(front_out.shape[2])
    glass = lens[b, view]
    u = (float(column) + 0.5) / size * 2.0 - 1.0
    v = 1.0 - (float(row) + 0.5) / size * 2.0
    back = wp.transpose(rotation[b, view])
    ray = back * wp.vec3((u - glass[1]) / glass[0], (v - glass[2]) / glass[0], -1.0)
    start = position[b, view]
    distance = wp.dot(back * wp.vec3(0.0, 0.0, 1.0), start)
    width = 2.0 * half / float(steps)
    entered = wp.float32(-1.0)
    left = wp.float32(-1.0)
    for k in range(steps):
        z = distance - half + (float(k) + 0.5) * width
        if inside(layers, present, rotation, position, lens, b, start + z * ray) > 0.5:
            if entered < 0.0:
                entered = z
            left = z
    if entered < 0.0:
        return
    outer = wp.float32(entered - width)
    for _k in range(5):
        middle = 0.5 * (outer + entered)
        if inside(layers, present, rotation, position, lens, b, start + middle * ray) > 0.5:
            entered = middle
        else:
            outer = middle
    front_out[i, 0, row, column] = distance - entered
    front_out[i, 1, row, column] = left + 0.5 * width - entered
    front_out[i, 2, row, column] = 1.0
