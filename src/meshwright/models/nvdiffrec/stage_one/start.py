"""Where stage one begins: the hull of all outlines, carved, where there is one, else a ball."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from meshwright.errors import InputError
from meshwright.geometry.shape import outline_hull, rounded
from meshwright.geometry.tetra import CubeField, ShapeField, TetraField, volume_distance
from meshwright.geometry.tetra.fields import Distance
from meshwright.geometry.volume import Volume
from meshwright.geometry.working import axes_meet, working_views
from meshwright.models.nvdiffrec.stage_one.carving import carved
from meshwright.models.nvdiffrec.stage_one.config import CarveConfig, StageOneConfig
from meshwright.types import Array, Camera, View

__all__ = ["Start", "first_field", "kept_start", "start_again", "start_of"]

_THICKER = 0.4
"""Coarse cells by which the shape is taken for thicker while its finer ones are chosen: legs must not slip through."""
_WORKING = 400
"""Long side of the masks that the hull is made of, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """A first shape.

    Attributes:
        distance: Signed distance, positive inside.
        low, high: The box that the surface may be in, float64 [3] each.
        kind: `carved`, `hull` or `ball`.
        report: JSON-able.
        volume: Where `distance` comes from; None for the ball.
    """

    distance: Distance
    low: Array
    high: Array
    kind: str
    report: dict[str, object] = field(default_factory=dict)
    volume: Volume | None = None


def start_of(
    views: Sequence[View],
    cameras: Sequence[Camera],
    config: StageOneConfig,
    device: str,
    say: Callable[[float], None] = lambda share: None,
) -> Start:
    """The hull of the masks, carved or rounded; a ball in the middle of what the cameras look at if it is empty.

    `say` hears the share that is done, and may raise.
    """
    working = working_views(views, cameras, _WORKING)
    try:
        hull = outline_hull(working, config.grid, device)
    except InputError:
        return _ball(cameras, config)
    if config.carve is None:
        found = _within(rounded(hull), "hull", {}, config)
    else:
        found = _within(*_carved(hull, views, cameras, config.carve, say, device), config)
    return found or _ball(cameras, config)


def _carved(
    hull: Volume,
    views: Sequence[View],
    cameras: Sequence[Camera],
    config: CarveConfig,
    say: Callable[[float], None],
    device: str,
) -> tuple[Volume, str, dict[str, object]]:
    volume, report = carved(hull, views, cameras, config, say, device)
    return volume, "carved", report


def _within(volume: Volume, kind: str, report: dict[str, object], config: StageOneConfig) -> Start | None:
    """A start in a box around the volume; None where that is empty."""
    inside = np.argwhere(volume.field > 0)
    if len(inside) == 0:
        return None
    low = volume.origin + (inside.min(0) - 1) * volume.cell
    high = volume.origin + (inside.max(0) + 1) * volume.cell
    room = config.margin * float((high - low).max())
    distance = volume_distance(volume)
    return Start(distance=distance, low=low - room, high=high + room, kind=kind, report=report, volume=volume)


def kept_start(start: Start) -> dict[str, Any]:
    """A start as arrays, numbers and mappings."""
    if start.volume is None:
        return {"kind": start.kind}
    volume = {"field": start.volume.field, "origin": start.volume.origin, "cell": start.volume.cell}
    return {"kind": start.kind, "report": dict(start.report), **volume}


def start_again(kept: Mapping[str, Any], cameras: Sequence[Camera], config: StageOneConfig) -> Start:
    """The start that was kept."""
    found = None
    if "field" in kept:
        volume = Volume(field=kept["field"], origin=kept["origin"], cell=float(kept["cell"]))
        found = _within(volume, str(kept["kind"]), dict(kept["report"]), config)
    return found or _ball(cameras, config)


def _ball(cameras: Sequence[Camera], config: StageOneConfig) -> Start:
    """As large as half of what the camera with the narrowest view sees."""
    centre = axes_meet(cameras)
    half = min(
        float(np.linalg.norm(c.position - centre)) * min(c.width / c.fl_x, c.height / c.fl_y) / 2 for c in cameras
    )
    radius = half / 2

    def distance(points: torch.Tensor) -> torch.Tensor:
        away: torch.Tensor = (points - torch.from_numpy(centre).to(points)).norm(dim=1)
        return radius - away

    reach = half * (1 + config.margin)
    return Start(distance=distance, low=centre - reach, high=centre + reach, kind="ball")


def first_field(start: Start, config: StageOneConfig, device: str) -> ShapeField:
    """The field of the first level."""
    kind: type[TetraField] | type[CubeField] = TetraField if config.extractor == "tetrahedra" else CubeField
    low, high, cells = start.low.tolist(), start.high.tolist(), config.levels[0].cells
    return kind.near(low, high, cells, start.distance, device=device, rings=3, thicker=_THICKER)
