"""Shape, materials and light by optimisation through a differentiable rasteriser (Munkberg et al., CVPR 2022).

So far it starts where the optimisation starts and stops there: the hull with depth fused into it. `quality.json` says
so (`refinement: none`).
"""

from __future__ import annotations

from typing import ClassVar

from meshwright.models.base import BaseReconstructionModel, Evidence, Proposal
from meshwright.types import Monitor

__all__ = ["NvdiffrecModel"]


class NvdiffrecModel(BaseReconstructionModel):
    """Proposes the initial shape of the optimisation, and says that it was not refined."""

    model_name: ClassVar[str] = "nvdiffrec"

    def propose(self, evidence: Evidence, monitor: Monitor) -> Proposal:
        """The initial shape is the proposal."""
        monitor.check()
        return Proposal(
            mesh=evidence.shape,
            report={"refinement": "none"},
            warnings=("nvdiffrec does not optimise yet in this version: the result equals that of --model hull.",),
        )
