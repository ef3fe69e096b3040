"""Warp kernels behind `consistency`: the search along contour rays. They run on the CPU: calibration is small work."""

from __future__ import annotations

from meshwright._warp import wp

__all__ = ["search_kernel", "value_kernel"]


@wp.func
def sample_distance(
    distance: wp.array3d(dtype=wp.float32), sizes: wp.array(dtype=wp.vec2i), view: int, u: float, v: float
) -> float:
    """As `Silhouette.sample`: bilinear; beyond the frame it keeps falling with the distance to it."""
    width = sizes[view][0]
    height = sizes[view][1]
    half = 0.5 * float(width)
    x = u * half + half - 0.5
    y = 0.5 * float(height) - 0.5 - v * half
    cx = wp.clamp(x, 0.0, float(width) - 1.001)
    cy = wp.clamp(y, 0.0, float(height) - 1.001)
    column = int(cx)
    row = int(cy)
    fx = cx - float(column)
    fy = cy - float(row)
    upper = distance[view, row, column] * (1.0 - fx) + distance[view, row, column + 1] * fx
    lower = distance[view, row + 1, column] * (1.0 - fx) + distance[view, row + 1, column + 1] * fx
    return upper * (1.0 - fy) + lower * fy - (wp.abs(x - cx) + wp.abs(y - cy)) / half


@wp.func
def unproject(rows: wp.array2d(dtype=wp.float32), view: int, u: float, v: float, z: float) -> wp.vec3:
    """(u, v) at depth z to a point relative to the pivot."""
    a = (u - rows[view, 14]) / rows[view, 12] * z - rows[view, 9]
    b = (v - rows[view, 15]) / rows[view, 13] * z - rows[view, 10]
    c = rows[view, 11] - z
    return wp.vec3(
        rows[view, 0] * a + rows[view, 3] * b + rows[view, 6] * c,
        rows[view, 1] * a + rows[view, 4] * b + rows[view, 7] * c,
        rows[view, 2] * a + rows[view, 5] * b + rows[view, 8] * c,
    )


@wp.func
def distance_at(
    distance: wp.array3d(dtype=wp.float32),
    sizes: wp.array(dtype=wp.vec2i),
    rows: wp.array2d(dtype=wp.float32),
    view: int,
    p: wp.vec3,
) -> float:
    """How far inside its outline `view` sees a point given relative to the pivot."""
    z = rows[view, 11] - (rows[view, 6] * p[0] + rows[view, 7] * p[1] + rows[view, 8] * p[2])
    x = rows[view, 0] * p[0] + rows[view, 1] * p[1] + rows[view, 2] * p[2] + rows[view, 9]
    y = rows[view, 3] * p[0] + rows[view, 4] * p[1] + rows[view, 5] * p[2] + rows[view, 10]
    return sample_distance(
        distance, sizes, view, x * rows[view, 12] / z + rows[view, 14], y * rows[view, 13] / z + rows[view, 15]
    )


@wp.kernel
def search_kernel(
    # In:
    distance: wp.array3d(dtype=wp.float32),  # [V, H, W] half picture widths
    sizes: wp.array(dtype=wp.vec2i),  # [V] (width, height)
    rows: wp.array2d(dtype=wp.float32),  # [V, 16], see `CameraParameters.rows`
    owner: wp.array(dtype=wp.int32),  # [N] whose contour point
    contour: wp.array(dtype=wp.vec2),  # [N] (u, v)
    radius: float,
    steps: int,
    refinements: int,
    # Out:
    z_out: wp.array(dtype=wp.float32),  # [N]
    judge_out: wp.array(dtype=wp.int32),  # [N]
    value_out: wp.array(dtype=wp.float32),  # [N]
):
    """Max over z of min over the other views: evenly first, then finer around the best."""
    i = wp.tid()
    view = owner[i]
    u = contour[i][0]
    v = contour[i][1]
    spacing = 2.0 * radius / float(steps - 1)
    start = rows[view, 11] - radius
    count = wp.int32(steps)
    best_z = wp.float32(0.0)
    best_judge = wp.int32(-1)
    best = wp.float32(-1.0e9)
    for _level in range(refinements + 1):
        # The ray is straight: one point and one step along it.
        here = unproject(rows, view, u, v, start)
        along = unproject(rows, view, u, v, start + spacing) - here
        for s in range(count):
            p = here + float(s) * along
            least = wp.float32(1.0e9)
            judge = wp.int32(-1)
            for other in range(rows.shape[0]):
                if other != view:
                    value = distance_at(distance, sizes, rows, other, p)
                    if value < least:
                        least = value
                        judge = other
                    if least <= best:
                        break  # whatever the rest say
            if least > best:
                best = least
                best_z = start + float(s) * spacing
                best_judge = judge
        start = best_z - spacing
        spacing = spacing / 4.0
        count = 9
    z_out[i] = best_z
    judge_out[i] = best_judge
    value_out[i] = best


@wp.kernel
def value_kernel(
    # In:
    distance: wp.array3d(dtype=wp.float32),  # [V, H, W]
    sizes: wp.array(dtype=wp.vec2i),  # [V]
    view_rows: wp.array3d(dtype=wp.float32),  # [K, V, 16] cameras that the contour rays follow
    judge_rows: wp.array3d(dtype=wp.float32),  # [K, V, 16] cameras that the judges follow
    shift: wp.array2d(dtype=wp.float32),  # [K, V] added to z
    owner: wp.array(dtype=wp.int32),  # [N]
    contour: wp.array(dtype=wp.vec2),  # [N]
    z: wp.array(dtype=wp.float32),  # [N]
    judge: wp.array(dtype=wp.int32),  # [N]
    # Out:
    value_out: wp.array2d(dtype=wp.float32),  # [K, N]
):
    k, i = wp.tid()
    view = owner[i]
    p = unproject(view_rows[k], view, contour[i][0], contour[i][1], z[i] + shift[k, view])
    value_out[k, i] = distance_at(distance, sizes, judge_rows[k], judge[i], p)
