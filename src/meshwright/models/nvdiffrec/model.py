"""The model `nvdiffrec`: optimisation through a differentiable rasteriser (Munkberg et al., CVPR 2022).

So far its first half: shape, cameras and texture are refined from the hull with depth fused into it or, where depth
does not decide the shape, from what the learned prior believes. Topology stays as it is, materials and light come
later; `quality.json` says what was done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from meshwright.device import pick_device
from meshwright.models.base import Appearance, BaseReconstructionModel, Evidence, Proposal
from meshwright.models.nvdiffrec.config import EFFORTS
from meshwright.models.nvdiffrec.stage_two.config import LIGHTING
from meshwright.types import Camera, MaskSource, Monitor, TexturedMesh, ViewSet

__all__ = ["NvdiffrecModel"]


class NvdiffrecModel(BaseReconstructionModel):
    """Bends the first shape and moves the cameras until renders look like the views."""

    model_name: ClassVar[str] = "nvdiffrec"
    starts_from: ClassVar[str | None] = "reconviagen"
    share: ClassVar[float] = 120.0
    light_share: ClassVar[float] = 60.0

    def propose(self, evidence: Evidence, monitor: Monitor) -> Proposal:
        """The first shape, refined, and the cameras that go with it."""
        if all(view.mask_source is MaskSource.NONE for view in evidence.views.views):
            return Proposal(
                mesh=evidence.shape,
                report={"refinement": "none"},
                warnings=("Nothing was refined: the views show no object that renders could be compared with.",),
            )
        # Here, not above: models are listed without torch and Warp being loaded.
        from meshwright.models.refinement.proposal import refined

        return refined(evidence, EFFORTS[evidence.effort], monitor)

    def relight(
        self, textured: TexturedMesh, views: ViewSet, cameras: Sequence[Camera], effort: str, monitor: Monitor
    ) -> Appearance:
        """Stage two: materials in textures, and the light."""
        from meshwright.models.nvdiffrec.stage_two.lit import fit_lighting

        return fit_lighting(textured, views.views, cameras, LIGHTING[effort], monitor, pick_device(self.device))
