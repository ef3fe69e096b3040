"""Depth renders laid onto their RGB views.

Tools render depth with another camera or crop than the picture: narrower by a percent or two, shifted by some pixels.
The two show one outline, so scale and offset that bring the depth's outline onto the mask's are the registration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import measure

from meshwright.device import check_stop
from meshwright.geometry.working import box_around
from meshwright.types import Array, DepthMap

__all__ = ["Registration", "lay_onto", "register"]

_ALIGNED = 0.75
"""Pixels of the working image: outlines this close on average need no registration."""


@dataclass(frozen=True, kw_only=True)
class Registration:
    """Where depth pixels lie on the picture: mask pixel = scale * depth pixel + offset, both at the working size.

    Attributes:
        scale: One number for x and y, float64 [2] (equal unless the frames differ in shape).
        offset: float64 [2], (x, y).
        error: Mean distance of the depth's outline to the mask's afterwards, in working pixels.
    """

    scale: Array
    offset: Array
    error: float


def register(depth: DepthMap, outline: Array) -> Registration:
    """Find where a depth render lies on its picture.

    Args:
        depth: As read.
        outline: Signed distance to the picture's mask in pixels, float32 [H, W], positive inside.
    Returns:
        The registration; plain resizing where outlines already agree or where the depth render is empty.
    """
    height, width = outline.shape
    base = np.array([width / depth.values.shape[1], height / depth.values.shape[0]])
    contour = _contour(depth.valid)
    if contour is None:
        return Registration(scale=base, offset=np.zeros(2), error=float("nan"))
    points = contour * base

    def distance(parameters: Array) -> Array:
        moved = _move(points, parameters, width, height)
        return np.asarray(
            ndimage.map_coordinates(outline, [moved[:, 1] - 0.5, moved[:, 0] - 0.5], order=1, mode="nearest")
        )

    start = np.zeros(3)
    error = float(np.abs(distance(start)).mean())
    if error < _ALIGNED:
        return Registration(scale=base, offset=np.zeros(2), error=error)
    best, best_error = start, error
    for first in (start, _from_boxes(points, outline, width, height)):
        found = _descend(first, distance)
        found_error = float(np.abs(distance(found)).mean())
        if found_error < best_error:
            best, best_error = found, found_error
    factor = float(np.exp(best[0]))
    centre = np.array([width, height]) / 2
    return Registration(scale=base * factor, offset=centre * (1 - factor) + best[1:], error=best_error)


def _move(points: Array, parameters: Array, width: int, height: int) -> Array:
    centre = np.array([width, height]) / 2
    return np.asarray((points - centre) * np.exp(parameters[0]) + centre + parameters[1:])


def _contour(valid: Array) -> Array | None:
    """Outline points (x, y) in pixels of the depth render, holes left out; None where there is no object."""
    check_stop()
    filled = ndimage.binary_fill_holes(valid)
    lines = measure.find_contours(np.pad(filled.astype(np.float32), 1), 0.5)
    lines = [line for line in lines if len(line) > 20]
    if not lines:
        return None
    return np.concatenate(lines)[:, ::-1] - 1 + 0.5


def _from_boxes(points: Array, outline: Array, width: int, height: int) -> Array:
    """Scale and offset that bring the bounding boxes together."""
    rows, columns = np.nonzero(outline > 0)
    if len(rows) == 0:
        return np.zeros(3)
    low, high = np.array([columns.min(), rows.min()]), np.array([columns.max() + 1, rows.max() + 1])
    mine_low, mine_high = points.min(0), points.max(0)
    factor = float(np.sqrt(np.prod((high - low) / np.maximum(mine_high - mine_low, 1))))
    centre = np.array([width, height]) / 2
    return np.array([np.log(factor), *((low + high) / 2 - ((mine_low + mine_high) / 2 - centre) * factor - centre)])


def _descend(parameters: Array, distance: object) -> Array:
    """Gauss-Newton on the robust outline distance."""
    assert callable(distance)
    step_sizes = np.array([1e-3, 0.25, 0.25])
    for _ in range(15):
        check_stop()
        residual = distance(parameters)
        columns = [
            (distance(parameters + delta) - distance(parameters - delta)) / (2 * size)
            for size, delta in zip(step_sizes, np.diag(step_sizes), strict=True)
        ]
        jacobian = np.stack(columns, -1)
        weight = 1 / (1 + (residual / 3.0) ** 2)
        normal = jacobian.T @ (jacobian * weight[:, None]) + np.diag([1e-3, 1e-6, 1e-6])
        step = -np.linalg.solve(normal, jacobian.T @ (weight * residual))
        parameters = parameters + np.clip(step, [-0.05, -20, -20], [0.05, 20, 20])
        if np.abs(step / step_sizes).max() < 0.05:
            break
    return parameters


def lay_onto(depth: DepthMap, registration: Registration, width: int, height: int) -> tuple[Array, Array]:
    """Values and validity of a depth render on the picture's pixels, float32 and bool [height, width].

    Bilinear where the four neighbours belong to one surface, else the nearest: depths are never mixed across an edge.
    """
    xs = ((np.arange(width) + 0.5) - registration.offset[0]) / registration.scale[0] - 0.5
    ys = ((np.arange(height) + 0.5) - registration.offset[1]) / registration.scale[1] - 0.5
    rows, columns = depth.values.shape
    inside = ((ys > -0.5) & (ys < rows - 0.5))[:, None] & ((xs > -0.5) & (xs < columns - 0.5))[None, :]
    near_y = np.clip(np.round(ys).astype(int), 0, rows - 1)
    near_x = np.clip(np.round(xs).astype(int), 0, columns - 1)
    laid = depth.values[np.ix_(near_y, near_x)].astype(np.float32)
    valid = depth.valid[np.ix_(near_y, near_x)] & inside
    # Only where it shows anything; numbers elsewhere mean nothing.
    box = box_around(valid)
    xs, ys = xs[box[1]], ys[box[0]]
    x0 = np.clip(np.floor(xs).astype(int), 0, columns - 2)
    y0 = np.clip(np.floor(ys).astype(int), 0, rows - 2)
    fx = np.clip(xs - x0, 0, 1)[None, :]
    fy = np.clip(ys - y0, 0, 1)[:, None]
    corners = [depth.values[np.ix_(y0 + r, x0 + c)] for r in (0, 1) for c in (0, 1)]
    known = np.logical_and.reduce([depth.valid[np.ix_(y0 + r, x0 + c)] for r in (0, 1) for c in (0, 1)])
    span = np.maximum.reduce(corners) - np.minimum.reduce(corners)
    smooth = known & (span < max(4 * depth.step, 0.01))
    mixed = (corners[0] * (1 - fx) + corners[1] * fx) * (1 - fy) + (corners[2] * (1 - fx) + corners[3] * fx) * fy
    laid[box] = np.where(smooth, mixed, laid[box])
    return laid, valid
