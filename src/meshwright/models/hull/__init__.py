"""The plain baseline: the visual hull with depth fused into it, as it stands. Nothing is optimised."""

from __future__ import annotations

from typing import ClassVar

from meshwright.models.base import BaseReconstructionModel, Evidence, Proposal
from meshwright.types import Monitor

__all__ = ["HullModel"]


class HullModel(BaseReconstructionModel):
    """Proposes the shape it was given."""

    model_name: ClassVar[str] = "hull"

    def propose(self, evidence: Evidence, monitor: Monitor) -> Proposal:
        """The first shape is the proposal."""
        monitor.check()
        return Proposal(mesh=evidence.shape, report={"refinement": "none"})
