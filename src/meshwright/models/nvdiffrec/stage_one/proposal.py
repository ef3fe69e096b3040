"""Stage one within the model: where it is worth its while, and how its result goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from meshwright.device import check_vram_available
from meshwright.errors import InputError
from meshwright.models.base import Evidence, Proposal
from meshwright.models.nvdiffrec.appearance.config import VolumeConfig
from meshwright.models.nvdiffrec.stage_one.chapters import Chapter
from meshwright.models.nvdiffrec.stage_one.config import CarveConfig, StageLevel, StageOneConfig
from meshwright.models.nvdiffrec.stage_one.fit import fit_stage_one
from meshwright.models.nvdiffrec.stage_one.judging import box_of, explained
from meshwright.models.nvdiffrec.stage_one.memory import vram_needed
from meshwright.models.stepping_down import said_of
from meshwright.rendering.ops.hashgrid.layout import HashGrid
from meshwright.types import MaskSource, Mesh, Monitor

__all__ = ["plan_of", "rest_of", "stage_one"]

_CPU = {
    "draft": StageOneConfig(
        levels=(StageLevel(cells=64, pixels=256, steps=60),),
        carve=CarveConfig(cells=(32, 64), steps=(50, 70)),
        views_at_once=4,
    ),
    "standard": StageOneConfig(
        levels=(StageLevel(cells=64, pixels=256, steps=60), StageLevel(cells=128, pixels=400, steps=40)),
        carve=CarveConfig(cells=(32, 64), steps=(60, 100)),
        views_at_once=4,
    ),
    "high": StageOneConfig(
        levels=(StageLevel(cells=64, pixels=256, steps=100), StageLevel(cells=128, pixels=512, steps=150)),
        carve=CarveConfig(cells=(32, 64, 96), steps=(80, 120, 120), pixels=192),
    ),
}
_FOG = CarveConfig(cells=(32, 64, 128), steps=(100, 150, 250), rays=2**16, pixels=256)
_GPU = {
    "draft": StageOneConfig(
        levels=(StageLevel(cells=64, pixels=256, steps=100), StageLevel(cells=128, pixels=400, steps=100)),
        carve=replace(_FOG, steps=(60, 80, 100)),
        views_at_once=8,
        grid=128,
    ),
    "standard": StageOneConfig(
        levels=(StageLevel(cells=64, pixels=256, steps=150), StageLevel(cells=128, pixels=512, steps=250)),
        carve=_FOG,
        views_at_once=8,
        grid=160,
    ),
    "high": StageOneConfig(
        levels=(
            StageLevel(cells=64, pixels=256, steps=50),
            StageLevel(cells=128, pixels=512, steps=100),
            StageLevel(cells=256, pixels=1024, steps=100),
        ),
        carve=replace(_FOG, steps=(38, 62, 100)),
        volume=VolumeConfig(grid=HashGrid(levels=14, coarsest=8, finest=1024, log2_size=18)),
        # With less, the surface begins to follow single pixels where a cell is about as large (docs/stage-one.md).
        laplacian_weight=1.0,
        views_at_once=8,
        grid=192,
    ),
}
_WORSE = 0.05
"""dB by which the first shape has to explain the views better to be kept; the measure is no finer."""


def plan_of(effort: str, device: str) -> StageOneConfig:
    """How much is done: by the quality asked for and the kind of device, never by a clock."""
    return (_CPU if device == "cpu" else _GPU)[effort]


def stage_one(evidence: Evidence, monitor: Monitor) -> Proposal:
    """The shape that the views agree on; the first one, with a warning, where they agree on none.

    Where the first shape explains the views better, it stays; the report says so.

    Raises:
        Cancelled: The monitor wants to stop.
    """
    finished = None if evidence.memory is None else Chapter(evidence.memory, "stage_one_result")
    kept = None if finished is None else finished.recall()
    if kept is None:
        try:
            kept = _fitted(evidence, monitor)
        except InputError as error:
            return Proposal(mesh=evidence.shape, report={"stage_one": "none"}, warnings=(error.message,))
        if finished is not None:
            finished.keep(kept)
    report = dict(kept["report"])
    warnings = said_of(report["levels"], "shape and materials were fitted")
    if not report["taken"]:
        return Proposal(mesh=evidence.shape, report={"stage_one": report}, warnings=warnings)
    mesh = Mesh(vertices=kept["vertices"], faces=kept["faces"])
    return Proposal(mesh=mesh, colours=kept["colours"], report={"stage_one": report}, warnings=warnings)


def _fitted(evidence: Evidence, monitor: Monitor) -> dict[str, Any]:
    """The surface, its colours, and whether it is the better one, for a memory."""
    memory = None if evidence.memory is None else Chapter(evidence.memory, "stage_one")
    views, device = evidence.views.views, evidence.device
    config = plan_of(evidence.effort, device)
    # One view in a step is what it cannot do without: where there is room for that, but not for more, it steps down.
    check_vram_available(vram_needed(config, views, at_once=1), device)
    given = not evidence.free_cameras
    found = fit_stage_one(views, evidence.cameras, config, monitor, device, given_cameras=given, memory=memory)
    pairs = [pair for pair in zip(views, evidence.cameras, strict=True) if pair[0].mask_source is not MaskSource.NONE]
    shown, cameras = zip(*pairs, strict=True)
    monitor.check()
    box = box_of(evidence.shape, found.mesh)
    before = explained(evidence.shape, box, shown, cameras, device)
    monitor.check()
    after = explained(found.mesh, box, shown, cameras, device)
    report = {
        "taken": after > before - _WORSE,
        "views_predicted_before_db": round(before, 2),
        "views_predicted_after_db": round(after, 2),
        **found.report,
    }
    return {
        "vertices": found.mesh.vertices,
        "faces": found.mesh.faces,
        "colours": found.colours,
        "report": report,
    }


def rest_of(evidence: Evidence, first: Proposal) -> Evidence:
    """What comes after begins with what stage one found, and keeps its own notes."""
    memory = None if evidence.memory is None else Chapter(evidence.memory, "refinement")
    return replace(evidence, shape=first.mesh, memory=memory)
