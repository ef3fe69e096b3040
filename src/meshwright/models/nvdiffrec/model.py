"""The model `nvdiffrec`: optimisation through a differentiable rasteriser (Munkberg et al., CVPR 2022).

So far its first half: shape, cameras and texture are refined from the hull with depth fused into it or, where depth
does not decide the shape, from what the learned prior believes. Topology stays as it is, materials and light come
later; `quality.json` says what was done.
"""

from __future__ import annotations

from typing import ClassVar

from meshwright.models.base import BaseReconstructionModel, Evidence, Proposal
from meshwright.models.nvdiffrec.config import EFFORTS
from meshwright.types import MaskSource, Monitor

__all__ = ["NvdiffrecModel"]


class NvdiffrecModel(BaseReconstructionModel):
    """Bends the first shape and moves the cameras until renders look like the views."""

    model_name: ClassVar[str] = "nvdiffrec"
    starts_from: ClassVar[str | None] = "reconviagen"
    share: ClassVar[float] = 120.0

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
