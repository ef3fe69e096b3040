"""Calibration on silhouettes: per-view scale and offset first, then perspective and small rotations.

Levenberg-Marquardt on the hinge of `consistency`: each contour point that sticks out of what the other views allow
pulls its own camera and the one that objects. Views that agree are left exactly where they are: no point sticks out,
so nothing pulls. Weak priors hold what silhouettes cannot tell (a common scale, a common shift).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from meshwright.cameras.consistency import CameraParameters, Grazing, grazing_points, grazing_values
from meshwright.cameras.silhouettes import Silhouette
from meshwright.types import Array

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
    twelve extents, three object sides and six scales, scales drawn to 1. The offset centres each outline.
    """
    rows, values = [], []
    for view, silhouette in enumerate(silhouettes):
        left, low, right, high = silhouette.bounds
        weak = np.log(parameters.focal_of(view) / parameters.depth_of_pivot(view))
        for axis, extent in ((0, right - left), (1, high - low)):
            row = np.zeros(9)
            row[np.abs(parameters.rotation[view][axis]).argmax()] = 1
            row[3 + view] = 1
            rows.append(row)
            values.append(np.log(max(extent, 1e-3)) - weak)
        prior = np.zeros(9)
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
    start: CameraParameters, silhouettes: Sequence[Silhouette], config: CalibrationConfig | None = None
) -> Calibration:
    """Fit the corrections of `start` so that the silhouettes agree.

    Args:
        start: Cameras and first corrections.
        silhouettes: One per camera.
        config: What is fitted and how firmly it is held.
    Returns:
        The best state seen. Its disagreement is never above the start's.
    """
    config = config or CalibrationConfig()
    views = len(silhouettes)
    width = 6 if config.turns else 3
    sigma = np.array([config.log_scale_prior, config.offset_prior, config.offset_prior, *[config.turn_prior] * 3])
    current = start
    grazing = grazing_points(current, silhouettes)
    best, best_cost = current, _cost(grazing, current, sigma, config)
    damping = 1e-3
    cost = best_cost
    for _ in range(config.iterations):
        if disagreement(grazing, views).mean() < 1e-5:
            break
        jacobian, residual = _linearise(grazing, current, silhouettes, width, config)
        size = np.abs(residual)
        weight = np.where(size > config.huber, config.huber / np.maximum(size, 1e-12), 1.0) / len(residual)
        prior_weight = _prior_weight(sigma[:width], views, config)
        corrections = np.concatenate([current.corrections()[:, :width].ravel(), [current.log_focal]])
        normal = jacobian.T @ (jacobian * weight[:, None])
        gradient = jacobian.T @ (weight * residual) + prior_weight * corrections
        step = -np.linalg.solve(normal + np.diag(prior_weight + damping * (np.diag(normal) + 1e-9)), gradient)
        candidate = _moved(current, step, width, config)
        grazing_new = grazing_points(candidate, silhouettes)
        cost_new = _cost(grazing_new, candidate, sigma, config)
        if cost_new < cost:
            gained = (cost - cost_new) / cost
            current, grazing, cost = candidate, grazing_new, cost_new
            damping = max(damping / 5, 1e-5)
            if cost < best_cost:
                best, best_cost = current, cost
            if gained < 1e-3:
                break
        else:
            damping *= 10
            if damping > 1e3:
                break
    per_view = disagreement(grazing_points(best, silhouettes), views)
    return Calibration(parameters=best, disagreement=float(per_view.mean()), per_view=per_view)


_PRIOR_PIXEL = 0.002
"""A view's correction of one prior standard deviation costs as much as all outlines sticking out by this."""


def _prior_weight(sigma: Array, views: int, config: CalibrationConfig) -> Array:
    per_view = np.tile((_PRIOR_PIXEL / sigma) ** 2 / views, views)
    return np.concatenate([per_view, [(_PRIOR_PIXEL / config.log_focal_prior) ** 2]])


def _cost(grazing: Grazing, parameters: CameraParameters, sigma: Array, config: CalibrationConfig) -> float:
    hinge = np.maximum(-grazing.value, 0.0)
    h = config.huber
    data = np.where(hinge <= h, 0.5 * hinge**2, h * (hinge - 0.5 * h)).mean()
    corrections = np.concatenate([parameters.corrections().ravel(), [parameters.log_focal]])
    return float(data + 0.5 * (_prior_weight(sigma, len(parameters.focal), config) * corrections**2).sum())


def _linearise(
    grazing: Grazing,
    parameters: CameraParameters,
    silhouettes: Sequence[Silhouette],
    width: int,
    config: CalibrationConfig,
) -> tuple[Array, Array]:
    """Derivatives [N, V * width + 1] of the hinge residuals [N], points and judges held fixed."""
    active = grazing.value < 0
    views, count = len(silhouettes), len(grazing.view)
    jacobian = np.zeros((count, views * width + 1))
    rows = np.arange(count)
    base = parameters.corrections()
    delta = 2e-4
    for column in range(width):
        low, high = base.copy(), base.copy()
        low[:, column] -= delta
        high[:, column] += delta
        below, above = parameters.with_corrections(low), parameters.with_corrections(high)
        for owner, as_view, as_judge in ((grazing.view, True, False), (grazing.judge, False, True)):
            up = grazing_values(
                grazing, above if as_view else parameters, above if as_judge else parameters, silhouettes
            )
            down = grazing_values(
                grazing, below if as_view else parameters, below if as_judge else parameters, silhouettes
            )
            jacobian[rows, owner * width + column] += (up - down) / (2 * delta)
    if config.perspective:
        above, below = _refocused(parameters, delta), _refocused(parameters, -delta)
        # z is measured from the camera, which moves along: keep the point, not the number.
        shift = np.array([above.depth_of_pivot(v) - parameters.depth_of_pivot(v) for v in range(views)])
        up = grazing_values(_shifted(grazing, shift[grazing.view]), above, above, silhouettes)
        down = grazing_values(_shifted(grazing, -shift[grazing.view]), below, below, silhouettes)
        jacobian[:, -1] = (up - down) / (2 * delta)
    jacobian *= active[:, None]
    return jacobian, np.minimum(grazing.value, 0.0)


def _shifted(grazing: Grazing, by: Array) -> Grazing:
    return replace(grazing, z=(grazing.z + by).astype(np.float32))


def _refocused(parameters: CameraParameters, by: float) -> CameraParameters:
    return replace(parameters, log_focal=parameters.log_focal + by)


def _moved(parameters: CameraParameters, step: Array, width: int, config: CalibrationConfig) -> CameraParameters:
    corrections = parameters.corrections()
    corrections[:, :width] += step[:-1].reshape(-1, width)
    moved = parameters.with_corrections(corrections)
    return _refocused(moved, float(step[-1])) if config.perspective else moved
