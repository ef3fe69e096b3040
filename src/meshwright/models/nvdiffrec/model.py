"""The model `nvdiffrec`: optimisation through a differentiable rasteriser (Munkberg et al., CVPR 2022).

With views from all around its first stage fits a surface of any topology and its materials to them. Then, and with
fewer views at once, shape, cameras and texture are refined from there: from the hull with depth fused into it or,
where depth does not decide the shape, from what the learned prior believes. `quality.json` says what was done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from meshwright.device import pick_device
from meshwright.models.base import Appearance, BaseReconstructionModel, Evidence, Proposal
from meshwright.models.nvdiffrec.config import EFFORTS
from meshwright.models.nvdiffrec.stage_two.config import lighting_of
from meshwright.progress import Plan, Stage
from meshwright.types import Camera, MaskSource, Monitor, TexturedMesh, ViewSet

__all__ = ["NvdiffrecModel"]

_OUTLINES = 0.01
"""Doubt of a shape made of outlines alone; where depth had a part in it pictures would only blur it."""
_PLAN = Plan(
    (
        Stage(name="stage_one", title="Fitting shape and materials", share=60.0),
        Stage(name="refinement", title="Refining shape and cameras", share=60.0),
    )
)


class NvdiffrecModel(BaseReconstructionModel):
    """Fits a surface to views from all around; bends it and moves the cameras until renders look like the views."""

    model_name: ClassVar[str] = "nvdiffrec"
    starts_from: ClassVar[str | None] = "reconviagen"
    share: ClassVar[float] = 120.0
    light_share: ClassVar[float] = 60.0

    def warm_up(self, device: str) -> None:
        """Loads what the refinement calls."""
        from meshwright.models.refinement.warming import warm_up

        warm_up(device)

    def propose(self, evidence: Evidence, monitor: Monitor) -> Proposal:
        """The first shape, fitted and refined, and the cameras that go with it."""
        if all(view.mask_source is MaskSource.NONE for view in evidence.views.views):
            return Proposal(
                mesh=evidence.shape,
                report={"refinement": "none"},
                warnings=("Nothing was refined: the views show no object that renders could be compared with.",),
            )
        # Here, not above: models are listed without torch and Warp being loaded.
        from meshwright.models.refinement.proposal import refined
        from meshwright.models.sides import from_all_around

        effort = EFFORTS[evidence.effort]
        if evidence.doubt < _OUTLINES or not from_all_around(evidence.cameras):
            return refined(evidence, effort, monitor)
        from meshwright.models.nvdiffrec.stage_one.proposal import rest_of, stage_one

        first = stage_one(evidence, _PLAN.monitor("stage_one", monitor))
        found = refined(rest_of(evidence, first), effort, _PLAN.monitor("refinement", monitor))
        return replace(
            found,
            colours=first.colours,  # vertices move, but stay the same ones
            report=dict(first.report) | dict(found.report),
            warnings=(*first.warnings, *found.warnings),
        )

    def relight(
        self, textured: TexturedMesh, views: ViewSet, cameras: Sequence[Camera], effort: str, monitor: Monitor
    ) -> Appearance:
        """Stage two: materials in textures, and the light."""
        from meshwright.models.nvdiffrec.stage_two.lit import fit_lighting

        device = pick_device(self.device)
        return fit_lighting(textured, views.views, cameras, lighting_of(effort, device), monitor, device)
