"""Calibration on silhouettes: per-view scale and offset first, then perspective and small rotations.

Levenberg-Marquardt on the hinge of `consistency`: each contour point that sticks out of what the other views allow
pulls its own camera and the one that objects. Views that agree are left exactly where they are: no point sticks out,
so nothing pulls. Priors hold what silhouettes cannot tell (a common scale, a common shift).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from meshwright.cameras.consistency import CameraParameters, Grazing, grazing_points, grazing_values
from meshwright.cameras.silhouettes import Silhouette
from meshwright.types import Array, Monitor

__all__ = ["Calibration", "CalibrationConfig", "calibrate", "disagreement", "scale_from_extents"]


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """How cameras are fitted. The priors are standard deviations of the corrections that real views need."""

    iterations: int = 12
    log_scale_prior: float = 0.05
    offset_prior: float = 0.05
    """In half picture widths."""
    turn_prior: float = 0.03
    """Radians; only used with `turns`."""
    log_focal_prior: float = 0.3
    common_prior: float = 0.05
    """Of a scale (and, in half picture widths, of a shift of the object) that all views share: it changes no
    disagreement, so nothing else would keep it from drifting where the priors of single views are loose."""
    turns: bool = False
    """Fit small rotations too."""
    perspective: bool = False
    """Fit the common focal length (with distance, so that size stays) too."""
    huber: float = 0.004
    """Half picture widths: beyond it, an outline that sticks out counts by its area, not by its square."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Fitted cameras, and the mean distance (half picture widths) by which outlines still stick out."""

    parameters: CameraParameters
    disagreement: float
    per_view: Array
    """The same for each view, float64 [V]."""


def disagreement(grazing: Grazing, views: int) -> Array:
    """Mean hinge per view in half picture widths, float64 [V]."""
    hinge = np.maximum(-grazing.value, 0.0)
    count = np.bincount(grazing.view, minlength=views)
    return np.bincount(grazing.view, hinge, minlength=views) / np.maximum(count, 1)


def scale_from_extents(parameters: CameraParameters, silhouettes: Sequence[Silhouette]) -> CameraParameters:
    """A first guess of scales and offsets for axis-aligned views.

    Each silhouette's width and height is an object extent times the view's scale: least squares in logarithms over
    two extents a view, three object sides and one scale a view, scales drawn to 1. The offset centres each outline.
    """
    rows, values = [], []
    unknowns = 3 + len(silhouettes)
    for view, silhouette in enumerate(silhouettes):
        left, low, right, high = silhouette.bounds
        weak = np.log(parameters.focal_of(view) / parameters.depth_of_pivot(view))
        for axis, extent in ((0, right - left), (1, high - low)):
            row = np.zeros(unknowns)
            row[np.abs(parameters.rotation[view][axis]).argmax()] = 1
            row[3 + view] = 1
            rows.append(row)
            values.append(np.log(max(extent, 1e-3)) - weak)
        prior = np.zeros(unknowns)
        prior[3 + view] = 0.3
        rows.append(prior)
        values.append(0.0)
    solution = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    corrections = parameters.corrections()
    corrections[:, 0] = solution[3:]
    bounds = np.array([s.bounds for s in silhouettes])
    corrections[:, 1:3] = (bounds[:, :2] + bounds[:, 2:]) / 2
    return parameters.with_corrections(corrections)


def calibrate(
    start: CameraParameters,
    silhouettes: Sequence[Silhouette],
    config: CalibrationConfig | None = None,
    monitor: Monitor | None = None,
) -> Calibration:
    """Fit the corrections of `start` so that the silhouettes agree.

    Args:
        start: Cameras and first corrections.
        silhouettes: One per camera.
        config: What is fitted and how firmly it is held.
        monitor: Asked to stop before every step: with many views a step takes a second.
    Returns:
        The best state seen. Its disagreement is never above the start's.
    """
    config = config or CalibrationConfig()
    views = len(silhouettes)
    width = 6 if config.turns else 3
    prior = _prior(start, config)
    fitted = np.concatenate([np.arange(views * 6).reshape(views, 6)[:, :width].ravel(), [views * 6]])
    held = prior[np.ix_(fitted, fitted)]
    current = start
    grazing = grazing_points(current, silhouettes)
    best, best_cost = current, _cost(grazing, current, prior, config)
    damping = 1e-3
    cost = best_cost
    for _ in range(config.iterations):
        if monitor is not None:
            monitor.check()
        if disagreement(grazing, views).mean() < 1e-6:
            break
        jacobian, residual = _linearise(grazing, current, silhouettes, width, config)
        size = np.abs(residual)
        weight = np.where(size > config.huber, config.huber / np.maximum(size, 1e-12), 1.0) / len(grazing.view)
        normal = jacobian.T @ (jacobian * weight[:, None])
        gradient = jacobian.T @ (weight * residual) + held @ _all_corrections(current)[fitted]
        step = -np.linalg.solve(normal + held + damping * np.diag(np.diag(normal) + 1e-9), gradient)
        candidate = _moved(current, step, width, config)
        grazing_new = grazing_points(candidate, silhouettes)
        cost_new = _cost(grazing_new, candidate, prior, config)
        if cost_new < cost:
            gained = (cost - cost_new) / cost
            current, grazing, cost = candidate, grazing_new, cost_new
            damping = max(damping / 5, 1e-5)
            if cost < best_cost:
                best, best_cost = current, cost
            if gained < 1e-4:
                break
        else:
            damping *= 10
            if damping > 1e3:
                break
    per_view = disagreement(grazing_points(best, silhouettes), views)
    return Calibration(parameters=best, disagreement=float(per_view.mean()), per_view=per_view)


_PRIOR_PIXEL = 0.002
"""A view's correction of one prior standard deviation costs as much as all outlines sticking out by this."""


def _prior(parameters: CameraParameters, config: CalibrationConfig) -> Array:
    """What corrections cost: the matrix P of 0.5 c^T P c, [6 V + 1, 6 V + 1], last comes log_focal."""
    views = len(parameters.focal)
    sigma = np.array([config.log_scale_prior, config.offset_prior, config.offset_prior, *[config.turn_prior] * 3])
    prior = np.zeros((6 * views + 1, 6 * views + 1))
    prior[:-1, :-1] = np.diag(np.tile((_PRIOR_PIXEL / sigma) ** 2 / views, views))
    prior[-1, -1] = (_PRIOR_PIXEL / config.log_focal_prior) ** 2
    # What all views share: one size, and the picture of an object shifted along x, y or z by half a picture width.
    common = np.zeros((4, views, 6))
    common[0, :, 0] = 1.0
    for view in range(views):
        axes = parameters.axes(view)
        common[1:, view, 0] = axes[2] / parameters.focal_of(view)
        common[1:, view, 1] = axes[0]
        common[1:, view, 2] = axes[1] * parameters.aspect[view]
    for direction in common.reshape(4, -1):
        amplitude = direction / (direction @ direction)
        prior[:-1, :-1] += (_PRIOR_PIXEL / config.common_prior) ** 2 * np.outer(amplitude, amplitude)
    return prior


def _all_corrections(parameters: CameraParameters) -> Array:
    return np.concatenate([parameters.corrections().ravel(), [parameters.log_focal]])


def _cost(grazing: Grazing, parameters: CameraParameters, prior: Array, config: CalibrationConfig) -> float:
    hinge = np.maximum(-grazing.value, 0.0)
    h = config.huber
    data = np.where(hinge <= h, 0.5 * hinge**2, h * (hinge - 0.5 * h)).mean()
    corrections = _all_corrections(parameters)
    return float(data + 0.5 * corrections @ prior @ corrections)


def _linearise(
    grazing: Grazing,
    parameters: CameraParameters,
    silhouettes: Sequence[Silhouette],
    width: int,
    config: CalibrationConfig,
) -> tuple[Array, Array]:
    """Derivatives [K, V * width + 1] of the hinge residuals [K] where outlines stick out, points and judges fixed."""
    grazing = grazing.where(grazing.value < 0)
    views, count = len(silhouettes), len(grazing.view)
    jacobian = np.zeros((count, views * width + 1))
    rows = np.arange(count)
    base = parameters.corrections()
    delta = 2e-4
    # Pairs of the cameras whose rays are followed and of those that judge: each column of one, then of the other.
    moved = []
    for column in range(width):
        for step in (delta, -delta):
            values = base.copy()
            values[:, column] += step
            moved.append(parameters.with_corrections(values))
    still = [parameters] * len(moved)
    of_view, of_judge = [*moved, *still], [*still, *moved]
    shift = np.zeros((len(of_view) + 2, views))
    if config.perspective:
        refocused = [_refocused(parameters, step) for step in (delta, -delta)]
        of_view, of_judge = [*of_view, *refocused], [*of_judge, *refocused]
        # z is measured from the camera, which moves along: keep the point, not the number.
        shift[-2:] = [[p.depth_of_pivot(v) - parameters.depth_of_pivot(v) for v in range(views)] for p in refocused]
    found = grazing_values(grazing, of_view, of_judge, silhouettes, shift[: len(of_view)])
    slopes = (found[0::2] - found[1::2]) / (2 * delta)
    for column in range(width):
        jacobian[rows, grazing.view * width + column] += slopes[column]
        jacobian[rows, grazing.judge * width + column] += slopes[width + column]
    if config.perspective:
        jacobian[:, -1] = slopes[-1]
    return jacobian, grazing.value


def _refocused(parameters: CameraParameters, by: float) -> CameraParameters:
    return replace(parameters, log_focal=parameters.log_focal + by)


def _moved(parameters: CameraParameters, step: Array, width: int, config: CalibrationConfig) -> CameraParameters:
    corrections = parameters.corrections()
    corrections[:, :width] += step[:-1].reshape(-1, width)
    moved = parameters.with_corrections(corrections)
    return _refocused(moved, float(step[-1])) if config.perspective else moved
