"""Warp kernels behind `consistency`: the search along contour rays. They run on the CPU: calibration is small work."""

from __future__ import annotations

from meshwright._warp import wp

__all__ = ["inside_kernel", "search_kernel", "value_kernel"]

_PROBES = wp.constant(8)
"""Every so manieth point of a ray is looked at first."""


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
    slot: int,
    p: wp.vec3,
) -> float:
    """How far inside its outline, which stands at `slot`, `view` sees a point given relative to the pivot."""
    z = rows[view, 11] - (rows[view, 6] * p[0] + rows[view, 7] * p[1] + rows[view, 8] * p[2])
    x = rows[view, 0] * p[0] + rows[view, 1] * p[1] + rows[view, 2] * p[2] + rows[view, 9]
    y = rows[view, 3] * p[0] + rows[view, 4] * p[1] + rows[view, 5] * p[2] + rows[view, 10]
    return sample_distance(
        distance, sizes, slot, x * rows[view, 12] / z + rows[view, 14], y * rows[view, 13] / z + rows[view, 15]
    )


@wp.struct
class Verdict:
    """Who sees a point least inside, and how far inside."""

    value: wp.float32
    judge: wp.int32


@wp.func
def slot_of(view: int, mirrored: int, views: int) -> int:
    """Where the outline of a view stands in the stack: behind all plain ones stand the mirrored ones."""
    if view == mirrored:
        return view + views
    return view


@wp.func
def judge_point(
    distance: wp.array3d(dtype=wp.float32),
    sizes: wp.array(dtype=wp.vec2i),
    rows: wp.array2d(dtype=wp.float32),
    mirrored: int,
    view: int,
    p: wp.vec3,
    bar: float,
) -> Verdict:
    """The least of what all views but one see of a point; where that is below `bar`, some value below it."""
    verdict = Verdict()
    verdict.value = wp.float32(1.0e9)
    verdict.judge = wp.int32(-1)
    for other in range(rows.shape[0]):
        if other != view:
            value = distance_at(distance, sizes, rows, other, slot_of(other, mirrored, rows.shape[0]), p)
            if value < verdict.value:
                verdict.value = value
                verdict.judge = other
            if verdict.value < bar:
                break  # whatever the rest say
    return verdict


@wp.kernel
def search_kernel(
    # In:
    first: int,  # of the rays that this launch is for
    distance: wp.array3d(dtype=wp.float32),  # [V or 2 V, H, W] half picture widths; the latter V are mirrored
    sizes: wp.array(dtype=wp.vec2i),  # [V or 2 V] (width, height)
    rows: wp.array3d(dtype=wp.float32),  # [K, V, 16], see `CameraParameters.rows`
    mirrored: wp.array(dtype=wp.int32),  # [K] the view whose outline is mirrored; -1: none
    radius: wp.array(dtype=wp.float32),  # [K]
    owner: wp.array(dtype=wp.int32),  # [N] whose contour point
    contour: wp.array2d(dtype=wp.vec2),  # [1 or 2, N] (u, v); the latter are mirrored
    steps: int,
    refinements: int,
    # Out:
    z_out: wp.array2d(dtype=wp.float32),  # [K, N]
    judge_out: wp.array2d(dtype=wp.int32),  # [K, N]
    value_out: wp.array2d(dtype=wp.float32),  # [K, N]
):
    """Max over z of min over the other views: evenly first, then finer around the best."""
    ray = first + wp.tid()
    k = ray / owner.shape[0]
    i = ray - k * owner.shape[0]
    cameras = rows[k]
    flip = mirrored[k]
    view = owner[i]
    uv = contour[0, i]
    if view == flip:
        uv = contour[1, i]
    reach = radius[k]
    spacing = 2.0 * reach / float(steps - 1)
    start = cameras[view, 11] - reach
    count = wp.int32(steps)
    best_z = wp.float32(0.0)
    best_judge = wp.int32(-1)
    best = wp.float32(-1.0e9)
    for level in range(refinements + 1):
        # The ray is straight: one point and one step along it.
        here = unproject(cameras, view, uv[0], uv[1], start)
        along = unproject(cameras, view, uv[0], uv[1], start + spacing) - here
        # A few of the points first: what lies below their best need not be looked at from all sides.
        bar = wp.float32(-1.0e9)
        if level == 0:
            probe = wp.int32(_PROBES // 2)
            while probe < count:
                found = judge_point(distance, sizes, cameras, flip, view, here + float(probe) * along, bar)
                bar = wp.max(bar, found.value)
                probe += _PROBES
        strict = wp.int32(-1)  # who turned down the last point: most often the next one, too
        for s in range(count):
            p = here + float(s) * along
            if strict >= 0:
                slot = slot_of(strict, flip, cameras.shape[0])
                value = distance_at(distance, sizes, cameras, strict, slot, p)
                if value < bar or value <= best:
                    continue
            found = judge_point(distance, sizes, cameras, flip, view, p, wp.max(bar, best))
            strict = found.judge
            if found.value > best and found.value >= bar:
                best = found.value
                best_z = start + float(s) * spacing
                best_judge = found.judge
        start = best_z - spacing
        spacing = spacing / 4.0
        count = 9
    z_out[k, i] = best_z
    judge_out[k, i] = best_judge
    value_out[k, i] = best


@wp.kernel
def inside_kernel(
    # In:
    distance: wp.array3d(dtype=wp.float32),  # [V, H, W]
    sizes: wp.array(dtype=wp.vec2i),  # [V]
    rows: wp.array2d(dtype=wp.float32),  # [V, 16]
    first: int,  # of the grid's planes that this launch is for
    corner: float,  # where voxel 0 lies along each axis, relative to the pivot
    cell: float,
    # Out:
    field: wp.array3d(dtype=wp.float32),  # [X, Y, Z] the least of what the views see, half picture widths
):
    i, j, k = wp.tid()
    p = wp.vec3(corner, corner, corner) + wp.vec3(float(first + i), float(j), float(k)) * cell
    least = wp.float32(1.0e9)
    for view in range(rows.shape[0]):
        least = wp.min(least, distance_at(distance, sizes, rows, view, view, p))
    field[first + i, j, k] = least


@wp.kernel
def value_kernel(
    # In:
    distance: wp.array3d(dtype=wp.float32),  # [V or 2 V, H, W]
    sizes: wp.array(dtype=wp.vec2i),  # [V or 2 V]
    view_rows: wp.array4d(dtype=wp.float32),  # [K, D, V, 16] cameras that the contour rays follow
    judge_rows: wp.array4d(dtype=wp.float32),  # [K, D, V, 16] cameras that the judges follow
    shift: wp.array3d(dtype=wp.float32),  # [K, D, V] added to z
    mirrored: wp.array(dtype=wp.int32),  # [K]
    whose: wp.array(dtype=wp.int32),  # [P] which of the K
    owner: wp.array(dtype=wp.int32),  # [P]
    contour: wp.array(dtype=wp.vec2),  # [P]
    z: wp.array(dtype=wp.float32),  # [P]
    judge: wp.array(dtype=wp.int32),  # [P]
    # Out:
    value_out: wp.array2d(dtype=wp.float32),  # [D, P]
):
    d, i = wp.tid()
    k = whose[i]
    view = owner[i]
    p = unproject(view_rows[k, d], view, contour[i][0], contour[i][1], z[i] + shift[k, d, view])
    slot = slot_of(judge[i], mirrored[k], judge_rows.shape[2])
    value_out[d, i] = distance_at(distance, sizes, judge_rows[k, d], judge[i], slot, p)
