"""From views to cameras: take what was given, or resolve the rig and calibrate it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from meshwright.cameras.calibrate import Calibration, CalibrationConfig, calibrate, calibrate_each, disagreement
from meshwright.cameras.colour import small_picture
from meshwright.cameras.consistency import CameraParameters, Outlines, grazing_points
from meshwright.cameras.resolve import Resolution, resolve
from meshwright.cameras.rigs import RIGS, Rig, default_rig
from meshwright.cameras.silhouettes import Silhouette, outline_of, silhouette_of
from meshwright.device import map_threads
from meshwright.errors import CameraError
from meshwright.types import VIEW_NAMES, Array, Camera, MaskSource, Monitor, View, ViewSet

__all__ = ["CameraConfig", "CameraSolution", "solve_cameras"]

_EXPLAINED = 0.0004
"""Half picture widths: outlines that stick out less than this on average (a fifth of a pixel of 1024) need no more
degrees of freedom."""
_WORTH = 0.85
"""A richer camera model is kept when it leaves less than this share of the disagreement."""
_LOOSE = 1.0
"""Prior of scale, offset and perspective at the end. Firm priors lead past poor minima but, outlines pulling less and
less as they come to agree, leave corrections short of the truth by up to 2 % of scale; loose ones then leave a third of
that. Photographs taken from close by need half the focal length of the rig."""

_FOCAL_STARTS = (1.0, 0.5, 0.25)
"""Where the search for the rig of the depth renders begins, as shares of the usual rig's focal length (26, 50 and 86
degrees of view): from one start alone it stops halfway."""
_FREE = 30.0
"""Prior of the logarithm of the focal length that is none."""
_ONE_RIG = 0.02
"""Pixels: renders of one rig disagree by less than this on average. The shoe's do by 0.002, its pictures by 0.1."""


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """How cameras are found."""

    rig: str = "auto"
    """`auto` tries all 32 rigs; a rig's name (`Rig.parse`) takes it as true and only looks for mirrored views."""
    refine: bool = False
    """Also refine cameras that were given."""
    contour_points: int = 300


@dataclass(frozen=True, kw_only=True)
class CameraSolution:
    """Cameras, and the views they belong to.

    Attributes:
        views: As read, but views found mirrored are flipped back.
        cameras: One per view, in pixels of its picture.
        frame: "given": the user's frame; "rig": exactly the rig's; "free": scale and origin were fitted, so that
            whoever exports may choose them.
        report: JSON-able account: rig, ranking, margin, corrections, disagreement.
        warnings: Plain sentences.
    """

    views: ViewSet
    cameras: tuple[Camera, ...]
    frame: str
    report: dict[str, object]
    warnings: tuple[str, ...]


_BEGIN_POINTS = 120


def solve_cameras(views: ViewSet, config: CameraConfig, monitor: Monitor) -> CameraSolution:
    """Find where each view was taken from.

    Args:
        views: Some or all of the six named views without cameras, or any views with cameras.
        config: See `CameraConfig`.
        monitor: For cancellation.
    Raises:
        CameraError: Views without cameras are not of the six named ones, or all look along one axis.
    """
    if views.cameras is not None:
        return _given(views, views.cameras, config, monitor)
    names = tuple(view.name for view in views.views)
    _check_names(names)
    sizes = [(view.width, view.height) for view in views.views]
    if all(view.mask_source is MaskSource.NONE for view in views.views):
        # Nothing to calibrate on; the reader already warned why.
        return CameraSolution(
            views=views,
            cameras=default_rig(sizes, names),
            frame="rig",
            report={"source": "default rig", "reason": "no silhouettes"},
            warnings=(),
        )
    outlines = map_threads(lambda v: silhouette_of(v, points=config.contour_points), views.views)
    pictures = map_threads(small_picture, views.views)
    rigs = RIGS if config.rig == "auto" else (Rig.parse(config.rig),)
    verdict = resolve(outlines, pictures, sizes, monitor, names=names, rigs=rigs)
    monitor.check()
    mirrored = verdict.best.mirrored
    if mirrored is not None:
        outlines = [o.mirrored() if o_name == mirrored else o for o_name, o in zip(names, outlines, strict=True)]
        views = replace(views, views=tuple(v.mirrored() if v.name == mirrored else v for v in views.views))
    calibration, model = _calibrate_in_steps(
        verdict.best.calibration.parameters, outlines, views.views, config, monitor
    )
    parameters = calibration.parameters
    untouched = not np.any(parameters.corrections()) and parameters.log_focal == 0.0
    report = _report(views.views, calibration, model) | {
        "source": "resolved",
        "rig": verdict.best.rig.name,
        "mirrored": mirrored,
        "margin": round(verdict.margin, 3),
        "decided_by_colour": verdict.by_colour,
        "undecided": list(verdict.undecided),
        "ranking": [
            {"name": h.name, "disagreement_percent": round(50 * h.calibration.disagreement, 4)}
            for h in verdict.ranking[:8]
        ],
    }
    return CameraSolution(
        views=views,
        cameras=parameters.cameras(sizes, names),
        frame="rig" if untouched else "free",
        report=report,
        warnings=_warnings(verdict, calibration, names, fixed=config.rig != "auto"),
    )


def _check_names(names: Sequence[str]) -> None:
    if len(set(names)) < len(names) or not set(names) <= set(VIEW_NAMES):
        raise CameraError(
            f"{len(names)} views came without cameras; only {', '.join(VIEW_NAMES)}, each once, can do without.",
            hint="Give cameras as transforms.json in NeRF-synthetic form (--cameras), or some of the six views.",
        )
    if len({VIEW_NAMES.index(name) // 2 for name in names}) < 2:
        raise CameraError(
            f"{' and '.join(names) or 'No view'} alone came without cameras: nothing says how deep the object is.",
            hint="Add a view from another side, or give cameras (--cameras).",
        )


def _given(views: ViewSet, cameras: tuple[Camera, ...], config: CameraConfig, monitor: Monitor) -> CameraSolution:
    if not config.refine:
        return CameraSolution(views=views, cameras=cameras, frame="given", report={"source": "given"}, warnings=())
    outlines = map_threads(lambda v: silhouette_of(v, points=config.contour_points), views.views)
    start = CameraParameters.from_cameras(cameras)
    calibration = calibrate(
        start,
        outlines,
        CalibrationConfig(iterations=30, turns=True, log_scale_prior=0.01, offset_prior=0.01, turn_prior=0.01),
        monitor,
    )
    names = [view.name for view in views.views]
    return CameraSolution(
        views=views,
        cameras=calibration.parameters.cameras([(v.width, v.height) for v in views.views], names),
        frame="given",
        report=_report(views.views, calibration, "given cameras, refined") | {"source": "given"},
        warnings=(),
    )


def _calibrate_in_steps(
    start: CameraParameters,
    outlines: Sequence[Silhouette],
    views: Sequence[View],
    config: CameraConfig,
    monitor: Monitor,
) -> tuple[Calibration, str]:
    """Scale and offset; then, only where they leave something and if they help, perspective and small rotations."""
    untouched = start.with_corrections(np.zeros((len(outlines), 6)))
    before = disagreement(grazing_points(untouched, outlines), len(outlines))
    if before.mean() < _EXPLAINED / 8:
        # The rig as it stands explains the views: any correction would only follow noise.
        return Calibration(parameters=untouched, disagreement=float(before.mean()), per_view=before), "rig"
    # Where the fits on whole outlines begin is found on a few of their points.
    thin = [outline.thinned(_BEGIN_POINTS) for outline in outlines]
    firm = calibrate(start, thin, CalibrationConfig(iterations=40), monitor)
    loose = CalibrationConfig(iterations=40, log_scale_prior=_LOOSE, offset_prior=_LOOSE, log_focal_prior=_LOOSE)
    best, model = calibrate(firm.parameters, outlines, loose, monitor), "scale and offset"
    if best.disagreement >= _EXPLAINED:
        rig = _rig_of_depth(untouched, views, config, monitor)
        if rig is not None:
            firm = calibrate(rig, thin, CalibrationConfig(iterations=40), monitor)
            found = calibrate(firm.parameters, outlines, loose, monitor)
            if found.disagreement < best.disagreement:
                return found, "rig of the depth renders, scale and offset"
    for name, richer_config in (
        ("scale, offset and perspective", replace(loose, perspective=True)),
        ("scale, offset, perspective and rotation", replace(loose, perspective=True, turns=True)),
    ):
        if best.disagreement < _EXPLAINED:
            break
        richer = calibrate(best.parameters, outlines, richer_config, monitor)
        if richer.disagreement < _WORTH * best.disagreement:
            best, model = richer, name
    return best, model


def _rig_of_depth(
    start: CameraParameters, views: Sequence[View], config: CameraConfig, monitor: Monitor
) -> CameraParameters | None:
    """The cameras of the depth renders, where these agree so well that one program must have rendered them all.

    Photographs and repainted renders are off in scale and position, each in its own way, and leave the focal length
    open by a fifth; the depth renders beside them often come straight from a rig, and tell it to a thousandth.
    """
    masks = [view.depth.valid for view in views if view.depth is not None and view.depth.valid.any()]
    if len(masks) < len(views):
        return None
    outlines = map_threads(lambda m: outline_of(m.astype(np.float32), points=config.contour_points), masks)
    held = CalibrationConfig(iterations=20)
    starts = [replace(start, log_focal=float(np.log(focal))) for focal in _FOCAL_STARTS]
    thin = Outlines.of([outline.thinned(_BEGIN_POINTS) for outline in outlines])
    tried = calibrate_each(starts, thin, [-1] * len(starts), held, monitor)
    first = min(tried, key=lambda found: found.disagreement)
    free = CalibrationConfig(
        iterations=40, log_scale_prior=_LOOSE, offset_prior=_LOOSE, log_focal_prior=_FREE, perspective=True
    )
    found = calibrate(first.parameters, outlines, free, monitor)
    pixel = 2.0 / min(mask.shape[1] for mask in masks)
    return found.parameters if found.disagreement < _ONE_RIG * pixel else None


def _report(views: Sequence[View], calibration: Calibration, model: str) -> dict[str, object]:
    parameters = calibration.parameters
    rows = []
    for index, view in enumerate(views):
        correction: Array = parameters.corrections()[index]
        rows.append(
            {
                "view": view.name,
                "scale": round(float(np.exp(correction[0])), 5),
                "offset_pixels": [round(float(c) * view.width / 2, 2) for c in (correction[1], -correction[2])],
                "rotation_degrees": [round(float(np.degrees(c)), 3) for c in correction[3:]],
                "disagreement_percent": round(50 * float(calibration.per_view[index]), 4),
            }
        )
    return {
        "model": model,
        "disagreement_percent": round(50 * calibration.disagreement, 4),
        "focal_factor": round(float(np.exp(parameters.log_focal)), 4),
        "views": rows,
    }


def _warnings(verdict: Resolution, calibration: Calibration, names: Sequence[str], *, fixed: bool) -> tuple[str, ...]:
    warnings = []
    best = verdict.best
    if best.mirrored is not None:
        how = "colours" if verdict.by_colour else "outlines"
        warnings.append(
            f"The {best.mirrored} view is mirrored (its {how} fit the others only when flipped); it was flipped back."
        )
    if best.rig.left == "-x" and not fixed:
        warnings.append(
            "Left and right are exchanged: the left view shows the object's right side (its camera stands on -X)."
        )
    if (best.rig.top_up, best.rig.bottom_up) != ("+z", "+z") and not fixed:
        warnings.append(
            f"The top view has {best.rig.top_up} up and the bottom view {best.rig.bottom_up}; +z was expected for both."
        )
    if verdict.margin < 1.15:
        second = next((h.name for h in verdict.ranking if h.name != best.name), "none")
        warnings.append(
            f"Which way the views look was a narrow decision (margin {verdict.margin:.2f}; taken {best.name}, "
            f"next {second}). Check the previews, or name the rig with --rig."
        )
    if calibration.disagreement > 0.015:
        worst = names[int(calibration.per_view.argmax())]
        warnings.append(
            f"The outlines contradict each other by {50 * calibration.disagreement:.1f} % of the picture's width on "
            f"average, most in {worst}: the views may show different objects or poses, or the masks are wrong."
        )
    return tuple(warnings)
