"""Stage one as a whole: from posed pictures to a coloured mesh."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from meshwright.colour import to_srgb8
from meshwright.errors import InputError
from meshwright.geometry.extract import keep_large_parts
from meshwright.geometry.tetra import ShapeField
from meshwright.models.base import Memory
from meshwright.models.nvdiffrec.stage_one.config import StageLevel, StageOneConfig
from meshwright.models.nvdiffrec.stage_one.depths import known_depth
from meshwright.models.nvdiffrec.stage_one.level import LevelFit, leaves_kept, put_leaves
from meshwright.models.nvdiffrec.stage_one.scene import Scene
from meshwright.models.nvdiffrec.stage_one.start import Start, first_field, kept_start, start_again, start_of
from meshwright.models.refinement.diary import Diary
from meshwright.types import Array, Camera, MaskSource, Mesh, Monitor, View

__all__ = ["StageOne", "fit_stage_one"]

_CARVING = 0.3
"""The share of the whole that finding hollows takes."""

Look = Callable[[ShapeField, Scene], None]


@dataclass(frozen=True, kw_only=True)
class StageOne:
    """What was found.

    Attributes:
        mesh: Closed.
        colours: Of the vertices, sRGB uint8 [V, 3].
        report: JSON-able: where it began, losses and seconds by level.
    """

    mesh: Mesh
    colours: Array
    report: dict[str, object]


def fit_stage_one(
    views: Sequence[View],
    cameras: Sequence[Camera],
    config: StageOneConfig,
    monitor: Monitor,
    device: str,
    *,
    given_cameras: bool = True,
    memory: Memory | None = None,
    pause_s: float = 10.0,
    look: Look | None = None,
) -> StageOne:
    """Fit a surface, its materials and, with "pbr", the light.

    Args:
        views: Pictures; those without a mask are left aside.
        cameras: One per view; they stay.
        config: See `StageOneConfig`.
        monitor: Asked to stop before every step; hears progress.
        device: "cpu" or a CUDA device.
        given_cameras: Their unit is that of metric depth; fitted cameras have one of their own.
        memory: Where what was reached is kept, and taken from.
        pause_s: Seconds between two times that something is kept.
        look: Called after every step, for who wants to watch.
    Raises:
        Cancelled: The monitor wants to stop.
        InputError: No view has a mask, or no surface is left.
    """
    pairs = [pair for pair in zip(views, cameras, strict=True) if pair[0].mask_source is not MaskSource.NONE]
    if not pairs:
        raise InputError("No view shows what is object and what is not.", hint="Give pictures with masks.")
    views, cameras = zip(*pairs, strict=True)
    weight = 0.0 if config.carve is None else _CARVING
    subject = [np.stack([camera.camera_to_world for camera in cameras]), np.frombuffer(repr(config).encode(), np.uint8)]
    diary = Diary(memory, subject, pause_s)
    before = diary.begin()
    begun = time.perf_counter()
    start = _start(before, views, cameras, config, monitor, weight, device)
    depth = None
    if config.depth_weight > 0:
        depth = known_depth(views, cameras, config.grid, device, given_cameras=given_cameras)
    field = first_field(start, config, device)
    scene = Scene(start.low, start.high, cameras, config, device)
    begin: dict[str, Any] = {"start": kept_start(start), "start_seconds": time.perf_counter() - begun}
    if before is not None:
        begin["start_seconds"] = float(before["start_seconds"])
    reports: list[dict[str, object]] = []
    ended: list[list[Array]] = []
    if before is not None:
        _restore_modules(scene, before["modules"])
        reports = list(before["reports"])
    total, done = sum(level.steps for level in config.levels), 0
    for index, level in enumerate(config.levels):
        if index > 0:
            field = _next(field, config.levels[index - 1], level)
        if before is not None and index < len(before["ended"]):
            put_leaves(field, before["ended"][index])
        else:
            fit = LevelFit(scene, field, views, config, index, depth)
            if before is not None and index == len(before["ended"]):
                fit.restore(before["fit"])
            state = partial(_reached, scene, begin, list(reports), list(ended), fit)
            say = partial(_say, monitor, weight, done, total)
            fit.run(say, partial(_keep, diary, state, fit, scene, look), time.perf_counter)
            reports.append(fit.report())
        ended.append(leaves_kept(field))
        done += level.steps
    report = {
        "begun_as": start.kind,
        "begun_seconds": round(begin["start_seconds"], 3),
        "carving": start.report,
        "views_with_depth": 0 if depth is None else len(depth.prepared.report),
        "levels": reports,
    }
    return _result(field, scene, report)


def _start(
    before: Mapping[str, Any] | None,
    views: Sequence[View],
    cameras: Sequence[Camera],
    config: StageOneConfig,
    monitor: Monitor,
    weight: float,
    device: str,
) -> Start:
    """The first shape; that of a killed run, for on a GPU it would not come out the same to the last bit."""
    if before is not None:
        return start_again(before["start"], cameras, config)

    def say(share: float) -> None:
        monitor.check()
        monitor.report(100 * weight * share, "Finding hollows")

    monitor.check()
    return start_of(views, cameras, config, device, say)


def _say(monitor: Monitor, weight: float, done: int, total: int, step: int) -> None:
    monitor.check()
    monitor.report(100 * (weight + (1 - weight) * (done + step) / total), "Fitting shape and materials")


def _reached(
    scene: Scene, begin: dict[str, Any], reports: list[dict[str, object]], ended: list[list[Array]], fit: LevelFit
) -> dict[str, Any]:
    """Everything that the next step depends on: what finished levels found, and where the present one stands."""
    modules = {name: _state(module) for name, module in scene.modules().items()}
    return {**begin, "modules": modules, "reports": reports, "ended": ended, "fit": fit.state()}


def _keep(diary: Diary, state: Callable[[], Mapping[str, Any]], fit: LevelFit, scene: Scene, look: Look | None) -> None:
    diary.write(state)
    if look is not None:
        look(fit.field, scene)


def _next(field: ShapeField, before: StageLevel, level: StageLevel) -> ShapeField:
    """The field that the next level begins with: the same shape, around where it is by now."""
    field = field.recentred()
    return field.refined() if level.cells > before.cells else field


def _state(module: torch.nn.Module) -> dict[str, Array]:
    return {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}


def _restore_modules(scene: Scene, kept: Mapping[str, Mapping[str, Array]]) -> None:
    for name, module in scene.modules().items():
        module.load_state_dict({key: torch.from_numpy(value) for key, value in kept[name].items()})


@torch.no_grad()
def _result(field: ShapeField, scene: Scene, report: dict[str, object]) -> StageOne:
    mesh, dropped = keep_large_parts(field.surface(final=True).mesh())
    if len(mesh.faces) == 0 or not np.isfinite(mesh.vertices).all():
        raise InputError(
            "Fitting the pictures left no surface.", hint="Look at the masks and cameras: they contradict each other."
        )
    colours = to_srgb8(scene.colours(mesh.vertices))
    return StageOne(mesh=mesh, colours=colours, report=report | {"dropped_parts": dropped, "faces": len(mesh.faces)})
