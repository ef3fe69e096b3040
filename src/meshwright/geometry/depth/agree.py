"""Depth renders brought into agreement with each other.

Where two views see one patch of surface, both depths must put it in one place. Gauss-Newton on every view's affine (or
on one common unit for metric depth) makes them agree; the line fit to the hull's touching points stays in as a weaker
term, so that views without common surface keep what the hull says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from meshwright.device import check_stop
from meshwright.geometry.depth.meaning import DepthMeaning, Extremes
from meshwright.geometry.working import axes_meet
from meshwright.types import Array, Camera, DepthKind

__all__ = ["Agreement", "LaidDepth", "agree"]

_ROUNDS = (0.06, 0.05, 0.04, 0.03, 0.025, 0.02, 0.015, 0.012, 0.01, 0.01)
"""Depths that differ by more (object sides) belong to different surfaces; narrowed round by round."""


_ANCHOR = (0.25, 0.1, 0.05, 0.02, 0.01)
"""Weight of a view's touching points against that of its samples, round by round. The hull bulges a little beyond the
object where it touches, which pulls depth towards the cameras: in the end the views' own agreement has to decide."""


@dataclass(frozen=True, kw_only=True)
class LaidDepth:
    """A depth render on its picture's pixels: values float32 [H, W] (0 where unknown), valid bool [H, W]."""

    camera: Camera
    values: Array
    valid: Array


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What `agree` found.

    Attributes:
        meanings: One per render.
        unit: One unit of the frame in which every z = a * value without an offset, in units of the cameras' frame. If
            the renders come from a rig this is the rig's unit. None where the renders do not tell.
        unit_error: Its standard error, as a share.
    """

    meanings: list[DepthMeaning]
    unit: float | None
    unit_error: float


_CORRELATED = 5.0
"""Neighbouring samples err together: errors are this much larger than those of independent ones. Measured on the four
objects of the benchmark, whose units came out within 0.2 of the error that this gives on three, 0.9 on the fourth."""


def _sampled(laid: LaidDepth, count: int, seed: int) -> tuple[Array, Array]:
    rows, columns = np.nonzero(laid.valid)
    if len(rows) > count:
        chosen = np.random.default_rng(seed).choice(len(rows), count, replace=False)
        rows, columns = rows[chosen], columns[chosen]
    return np.stack([columns + 0.5, rows + 0.5], -1), laid.values[rows, columns].astype(np.float64)


def _inner(laid: LaidDepth) -> Array:
    """Pixels that are known and so are their four neighbours, bool [H, W]."""
    inner = np.zeros(laid.valid.shape, bool)
    valid = laid.valid
    inner[1:-1, 1:-1] = valid[1:-1, 1:-1] & valid[:-2, 1:-1] & valid[2:, 1:-1] & valid[1:-1, :-2] & valid[1:-1, 2:]
    return inner


def _met(
    laid: LaidDepth, inner: Array, meaning: DepthMeaning, pixels: Array, depth: Array, limit: float
) -> tuple[Array, Array, Array, Array]:
    """Which points (at `pixels`, `depth` away) lie within `limit` of a surface that does not graze.

    Returns:
        Their numbers, int [M]; float64 [M] of each: the value at the nearest pixel, how far the point lies behind the
        surface there, and the cosine of that surface.
    """
    height, width = laid.values.shape
    chosen = np.flatnonzero(
        (pixels[:, 0] >= 1) & (pixels[:, 1] >= 1) & (pixels[:, 0] < width - 1) & (pixels[:, 1] < height - 1)
    )
    column, row = pixels[chosen].astype(int).T
    known = inner[row, column]
    chosen, row, column = chosen[known], row[known], column[known]
    value = laid.values[row, column]
    z = meaning.z(value.astype(np.float64))
    residual = depth[chosen] - z
    near = (value > 0) & (np.abs(residual) < limit)
    chosen, row, column, value, z, residual = (part[near] for part in (chosen, row, column, value, z, residual))
    dx = meaning.z(laid.values[row, column + 1]) - meaning.z(laid.values[row, column - 1])
    dy = meaning.z(laid.values[row + 1, column]) - meaning.z(laid.values[row - 1, column])
    slope = 0.5 * laid.camera.fl_x / np.maximum(z, 1e-6) * np.hypot(dx, dy)
    cosine = 1 / np.sqrt(1 + slope**2)
    steep = cosine > 0.2
    return chosen[steep], value[steep], residual[steep], cosine[steep]


def _normals(laid: LaidDepth, meaning: DepthMeaning, pixels: Array) -> Array:
    """World normals [N, 3] of the depth surface at the nearest pixels, by central differences."""
    height, width = laid.values.shape
    column = np.clip(pixels[:, 0].astype(int), 1, width - 2)
    row = np.clip(pixels[:, 1].astype(int), 1, height - 2)

    camera = laid.camera

    def point(dr: int, dc: int) -> tuple[Array, Array, Array]:
        z = meaning.z(laid.values[row + dr, column + dc].astype(np.float64))
        x, y = (column + (dc + 0.5 - camera.cx)) / camera.fl_x, (camera.cy - dr - 0.5 - row) / camera.fl_y
        return x * z, y * z, -z

    # In camera axes, component by component, and turned once: NumPy's cross product and rows of three are slow.
    ax, ay, az = (one - other for one, other in zip(point(0, 1), point(0, -1), strict=True))
    bx, by, bz = (one - other for one, other in zip(point(-1, 0), point(1, 0), strict=True))
    local = np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], -1)
    normal = local @ camera.camera_to_world[:3, :3].T
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12))


def agree(
    laid: Sequence[LaidDepth],
    meanings: Sequence[DepthMeaning],
    touching: Sequence[Extremes],
    *,
    size: float,
    free_frame: bool = False,
    samples: int = 2500,
) -> Agreement:
    """Refine the meanings of all depth renders together.

    Args:
        laid: Renders on their pictures, without steep terraces: slopes tell which points meet.
        meanings: First fits, one per render. All METRIC ones share `a` (and `b` stays 0).
        touching: Row and column extremes, the anchor to the hull.
        size: The object's longest side in world units: thresholds scale with it.
        free_frame: The cameras were fitted to silhouettes, which leaves a common scale and a common shift of the world
            open. Renders with z = a * value then need an offset each, but only of the four kinds that such a change of
            frame makes: the same for all views, or along the views' optical axes.
        samples: Pixels per view.
    """
    meanings = list(meanings)
    points = [_sampled(render, samples, seed) for seed, render in enumerate(laid)]
    inner = [_inner(render) for render in laid]
    framed = [m.b == 0.0 for m in meanings]
    slots, count = _slots(laid, meanings, free_frame=free_frame)
    for round_number, limit in enumerate(_ROUNDS):
        normal = np.zeros((count, count))
        square, number = 0.0, 0
        gradient = np.zeros(count)
        for i, (pixels, values) in enumerate(points):
            check_stop()
            z = meanings[i].z(values)
            here = laid[i].camera.unproject(pixels, z)
            delta = 1e-4 * size
            ahead = laid[i].camera.unproject(pixels, z + delta)
            own = meanings[i].slopes(values)
            facing = _normals(laid[i], meanings[i], pixels)
            for j, other in enumerate(laid):
                if j == i:
                    continue
                where, depth = other.camera.project(here)
                met, value, residual, cosine = _met(other, inner[j], meanings[j], where, depth, limit * size)
                # Close by but facing another way: the far side of a thin part.
                there = _normals(other, meanings[j], where[met])
                same_side = (facing[met] * there).sum(-1) > 0.7
                if same_side.sum() < 20:
                    continue
                used, value, residual, cosine = (part[same_side] for part in (met, value, residual, cosine))
                there, where, depth = there[same_side], where[used], depth[used]
                # The other surface as a plane: how fast the point's height over it, along the other ray, changes.
                along = ahead[used] - here[used]
                other_ray = other.camera.unproject(where, depth + delta) - other.camera.unproject(where, depth)
                rate = (along * there).sum(-1) / (other_ray * there).sum(-1)
                theirs = meanings[j].slopes(value)
                scale = cosine * (1 - (residual / (limit * size)) ** 2)
                jacobian = np.zeros((len(used), count))
                _add(jacobian, slots[i], own[0][used] * rate, own[1][used] * rate)
                _add(jacobian, slots[j], -theirs[0], -theirs[1])
                jacobian *= scale[:, None]
                normal += jacobian.T @ jacobian
                weighted = residual * scale
                gradient += jacobian.T @ weighted
                square, number = square + float(weighted @ weighted), number + len(weighted)
        for i, data in enumerate(touching):
            weight = samples * _ANCHOR[min(round_number, len(_ANCHOR) - 1)]
            _anchor(normal, gradient, slots[i], meanings[i], data, limit * size, weight=weight)
        normal += 1e-9 * np.trace(normal) * np.eye(count)
        step = -np.linalg.lstsq(normal, gradient, rcond=None)[0]
        meanings = [
            replace(m, a=m.a + step[slot.a], b=m.b + float(slot.b @ step))
            for m, slot in zip(meanings, slots, strict=True)
        ]
    unit, error = None, 0.0
    if free_frame and all(framed) and number:
        common = count - 4  # the unknown of _slots that adds to every view's offset
        distance = _distance([render.camera for render in laid])
        variance = float(np.linalg.pinv(normal)[common, common]) * square / number
        # A frame k times as large around the same cameras, a distance D away: z' = k z + D (1 - k).
        offset = np.linalg.lstsq(
            np.array([[1.0, *render.camera.forward] for render in laid]), [m.b for m in meanings], rcond=None
        )[0][0]
        unit, error = 1.0 - float(offset) / distance, _CORRELATED * float(np.sqrt(max(variance, 0.0))) / distance
    return Agreement(meanings=meanings, unit=unit, unit_error=error)


def _distance(cameras: Sequence[Camera]) -> float:
    """How far the cameras stand from where their axes meet, on average."""
    pivot = axes_meet(cameras)
    return float(np.mean([np.linalg.norm(camera.position - pivot) for camera in cameras]))


@dataclass(frozen=True, kw_only=True)
class _Slot:
    """Which unknown is a view's `a`, and how its `b` depends on all unknowns, float64 [U]."""

    a: int
    b: Array


def _slots(laid: Sequence[LaidDepth], meanings: Sequence[DepthMeaning], *, free_frame: bool) -> tuple[list[_Slot], int]:
    """(a, b) per view; METRIC views share one a; where b is 0 by rule it follows the frame, if that is free."""
    columns: list[tuple[int, int]] = []
    count = 0
    shared = -1
    for meaning in meanings:
        if meaning.kind is DepthKind.METRIC:
            if shared < 0:
                shared, count = count, count + 1
            columns.append((shared, -1))
        elif meaning.b == 0.0:
            columns.append((count, -1))
            count += 1
        else:
            columns.append((count, count + 1))
            count += 2
    frame = count
    if free_frame and any(b < 0 for _, b in columns):
        count += 4
    slots = []
    for render, (a, b) in zip(laid, columns, strict=True):
        weights = np.zeros(count)
        if b >= 0:
            weights[b] = 1.0
        elif count > frame:
            weights[frame] = 1.0
            weights[frame + 1 :] = render.camera.forward
        slots.append(_Slot(a=a, b=weights))
    return slots, count


def _add(jacobian: Array, slot: _Slot, da: Array, db: Array) -> None:
    jacobian[:, slot.a] += da
    jacobian += db[:, None] * slot.b


def _anchor(
    normal: Array,
    gradient: Array,
    slot: _Slot,
    meaning: DepthMeaning,
    data: Extremes,
    limit: float,
    *,
    weight: float,
) -> None:
    """Add the touching points of one view, together worth `weight` samples at most."""
    if len(data.z) == 0:
        return
    nearest = data.high if (meaning.a > 0) == (meaning.kind is DepthKind.INVERSE) else data.low
    residual = meaning.z(nearest) - data.z
    scale = np.sqrt(weight / len(data.z)) / (1 + (residual / limit) ** 2)
    da, db = meaning.slopes(nearest)
    jacobian = np.zeros((len(residual), len(gradient)))
    _add(jacobian, slot, da, db)
    jacobian *= scale[:, None]
    normal += jacobian.T @ jacobian
    gradient += jacobian.T @ (residual * scale)
