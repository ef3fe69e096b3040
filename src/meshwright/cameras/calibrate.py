"""Calibration on silhouettes: per-view scale and offset first, then perspective and small rotations.

Levenberg-Marquardt on the hinge of `consistency`: each contour point that sticks out of what the other views allow
pulls its own camera and the one that objects. Views that agree are left exactly where they are: no point sticks out,
so nothing pulls. Priors hold what silhouettes cannot tell (a common scale, a common shift).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from meshwright.cameras.consistency import CameraParameters, Grazing, Outlines, grazing_values, search_rays
from meshwright.cameras.silhouettes import Silhouette
from meshwright.types import Array, Monitor

__all__ = [
    "Calibration",
    "CalibrationConfig",
    "calibrate",
    "calibrate_each",
    "disagreement",
    "scale_from_extents",
]


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
    return calibrate_each([start], Outlines.of(silhouettes), [-1], config, monitor)[0]


def calibrate_each(
    starts: Sequence[CameraParameters],
    outlines: Outlines,
    mirrored: Sequence[int],
    config: CalibrationConfig | None = None,
    monitor: Monitor | None = None,
) -> list[Calibration]:
    """`calibrate` from many starts at once: side by side, so that all their rays are searched together.

    Args:
        starts: Cameras and first corrections, all of the same views.
        outlines: What the views show.
        mirrored: Per start the view that is mirrored in it, or -1.
        config: What is fitted and how firmly it is held.
        monitor: Asked to stop before every step.
    """
    config = config or CalibrationConfig()
    fits = [
        _Fit(start, flipped, points, config)
        for start, flipped, points in zip(starts, mirrored, search_rays(starts, outlines, mirrored), strict=True)
    ]
    for _ in range(config.iterations):
        if monitor is not None:
            monitor.check()
        moving = [fit for fit in fits if not fit.finished]
        if not moving:
            break
        flips = [fit.mirrored for fit in moving]
        linear = _linearise(moving, outlines, flips, config)
        candidates = [fit.candidate(*system) for fit, system in zip(moving, linear, strict=True)]
        found = search_rays(candidates, outlines, flips)
        for fit, candidate, points in zip(moving, candidates, found, strict=True):
            fit.judge(candidate, points)
    return [fit.result for fit in fits]


_SETTLED = 1e-6
"""Half picture widths: outlines that stick out less on average are explained."""


class _Fit:
    """The state of one calibration between its steps."""

    def __init__(self, start: CameraParameters, mirrored: int, grazing: Grazing, config: CalibrationConfig) -> None:
        self.mirrored = mirrored
        self.current, self.grazing = start, grazing
        self._config = config
        self._views = views = len(start.focal)
        self._width = _width(config)
        self._prior = _prior(start, config)
        fitted = np.arange(views * 6).reshape(views, 6)[:, : self._width].ravel()
        self._fitted = np.append(fitted, views * 6)
        self._held = self._prior[np.ix_(self._fitted, self._fitted)]
        self._damping = 1e-3
        self._cost = _cost(grazing, start, self._prior, config)
        self._note()

    def _note(self) -> None:
        per_view = disagreement(self.grazing, self._views)
        # Steps are only taken downhill: the current state is the best one seen.
        self.result = Calibration(parameters=self.current, disagreement=float(per_view.mean()), per_view=per_view)
        self.finished = self.result.disagreement < _SETTLED

    def candidate(self, jacobian: Array, residual: Array) -> CameraParameters:
        """Where a damped step from here leads."""
        huber = self._config.huber
        size = np.abs(residual)
        weight = np.where(size > huber, huber / np.maximum(size, 1e-12), 1.0) / len(self.grazing.view)
        normal = jacobian.T @ (jacobian * weight[:, None])
        gradient = jacobian.T @ (weight * residual) + self._held @ _all_corrections(self.current)[self._fitted]
        step = -np.linalg.solve(normal + self._held + self._damping * np.diag(np.diag(normal) + 1e-9), gradient)
        return _moved(self.current, step, self._width, self._config)

    def judge(self, candidate: CameraParameters, grazing: Grazing) -> None:
        """Takes the step if it leads downhill; else the next one will be shorter."""
        cost = _cost(grazing, candidate, self._prior, self._config)
        if cost < self._cost:
            gained = (self._cost - cost) / self._cost
            self.current, self.grazing, self._cost = candidate, grazing, cost
            self._damping = max(self._damping / 5, 1e-5)
            self._note()
            self.finished |= gained < 1e-4
        else:
            self._damping *= 10
            self.finished = self._damping > 1e3


def _width(config: CalibrationConfig) -> int:
    """Corrections per view that are fitted."""
    return 6 if config.turns else 3


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
    fits: Sequence[_Fit], outlines: Outlines, mirrored: Sequence[int], config: CalibrationConfig
) -> list[tuple[Array, Array]]:
    """Derivatives [K, V * width + 1] of the hinge residuals [K] where outlines stick out, points and judges fixed."""
    sticking = [fit.grazing.where(fit.grazing.value < 0) for fit in fits]
    width, delta = _width(config), 2e-4
    steps = np.array([delta, -delta])
    # Pairs of the cameras whose rays are followed and of those that judge: each column of one, then of the other.
    view_rows, judge_rows, shifts = [], [], []
    for fit in fits:
        parameters = fit.current
        views = len(parameters.focal)
        moved = np.repeat(parameters.corrections()[None], 2 * width, 0)
        for column in range(width):
            moved[2 * column : 2 * column + 2, :, column] += steps[:, None]
        rows = np.concatenate(
            [parameters.rows_with(moved[: 2 * min(width, 3)]), parameters.rows_with(moved[2 * min(width, 3) :])]
        )
        still = np.broadcast_to(parameters.rows, rows.shape)
        shift = np.zeros((4 * width + 2 * config.perspective, views))
        of_view, of_judge = [rows, still], [still, rows]
        if config.perspective:
            refocused = [_refocused(parameters, step) for step in steps.tolist()]
            both = np.stack([other.rows for other in refocused])
            of_view, of_judge = [*of_view, both], [*of_judge, both]
            # z is measured from the camera, which moves along: keep the point, not the number.
            shift[-2:] = [
                [other.depth_of_pivot(v) - parameters.depth_of_pivot(v) for v in range(views)] for other in refocused
            ]
        view_rows.append(np.concatenate(of_view))
        judge_rows.append(np.concatenate(of_judge))
        shifts.append(shift)
    found = grazing_values(sticking, np.stack(view_rows), np.stack(judge_rows), outlines, mirrored, np.stack(shifts))
    systems = []
    for fit, points, values in zip(fits, sticking, found, strict=True):
        slopes = (values[0::2] - values[1::2]) / (2 * delta)
        jacobian = np.zeros((len(points.view), len(fit.current.focal) * width + 1))
        rows = np.arange(len(points.view))
        for column in range(width):
            jacobian[rows, points.view * width + column] += slopes[column]
            jacobian[rows, points.judge * width + column] += slopes[width + column]
        if config.perspective:
            jacobian[:, -1] = slopes[-1]
        systems.append((jacobian, points.value))
    return systems


def _refocused(parameters: CameraParameters, by: float) -> CameraParameters:
    return replace(parameters, log_focal=parameters.log_focal + by)


def _moved(parameters: CameraParameters, step: Array, width: int, config: CalibrationConfig) -> CameraParameters:
    corrections = parameters.corrections()
    corrections[:, :width] += step[:-1].reshape(-1, width)
    moved = parameters.with_corrections(corrections)
    return _refocused(moved, float(step[-1])) if config.perspective else moved
