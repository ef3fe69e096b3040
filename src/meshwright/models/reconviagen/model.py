"""The model `reconviagen`: the whole object, unseen sides included, from learned networks.

Named after Chang et al., "ReconViaGen", arXiv 2510.23306, whose large networks need gigabytes and a GPU. What is in the
box is `mini`: small networks of meshwright's own, trained on objects that `training/` makes (docs/prior.md).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from meshwright.models.base import BaseReconstructionModel, Evidence, Proposal
from meshwright.models.reconviagen.weights import load_checkpoint, packaged
from meshwright.progress import Plan, Stage
from meshwright.types import MaskSource, Monitor

if TYPE_CHECKING:
    from meshwright.models.reconviagen.weights import Checkpoint

__all__ = ["ReconviagenModel"]

_GRIDS = {"draft": 144, "standard": 224, "high": 320}
_OUTLINES = 0.01
"""Doubt of a shape that was made of outlines alone; whatever depth had a part in is less in doubt, and better than what
the networks make of it (docs/prior.md)."""
_BELIEF = 0.005
"""Doubt of what the networks believe."""
_PLAN = Plan(
    (
        Stage(name="proposal", title="Asking the networks", share=9.0),
        Stage(name="refinement", title="Refining shape and cameras", share=8.0),
    )
)


class ReconviagenModel(BaseReconstructionModel):
    """Proposes what the networks believe, held to the outlines; where depth decided the shape already, that stands.

    Except at `draft`, a brief refinement then brings outlines and colours of the views to lie on each other.
    """

    model_name: ClassVar[str] = "reconviagen"
    share: ClassVar[float] = 30.0
    start_share: ClassVar[float] = 16.0
    checkpoint_path: ClassVar[Path] = packaged()

    _checkpoint: Checkpoint | None = None

    def load_weights(self) -> None:
        """Loads the checkpoint; it needs no GPU and no download.

        Raises:
            WeightsNotInstalledError: The checkpoint is not there.
        """
        if self._checkpoint is None:
            self._checkpoint = load_checkpoint(self.checkpoint_path, "cpu")

    def propose(self, evidence: Evidence, monitor: Monitor) -> Proposal:
        """What the networks believe, or the first shape where depth decided it; then briefly refined."""
        from meshwright.models.reconviagen.shape import PriorConfig, prior_shape
        from meshwright.models.refinement.config import BRIEF
        from meshwright.models.refinement.proposal import refined

        self.load_weights()
        assert self._checkpoint is not None
        checkpoint = self._checkpoint
        named = {"checkpoint": checkpoint.family} | {
            name: checkpoint.about[name] for name in ("data_version", "objects") if name in checkpoint.about
        }
        if all(view.mask_source is MaskSource.NONE for view in evidence.views.views):
            return Proposal(
                mesh=evidence.shape,
                report={"refinement": "none"} | named,
                warnings=("The networks were not asked: the views show no object.",),
            )
        if evidence.doubt < _OUTLINES:
            shape = Proposal(mesh=evidence.shape, report={"proposal": "none: depth decides the shape"})
        else:
            checkpoint.prior.to(evidence.device)
            mesh, report = prior_shape(
                evidence.views.views,
                evidence.cameras,
                checkpoint,
                _PLAN.monitor("proposal", monitor),
                evidence.device,
                PriorConfig(grid=_GRIDS[evidence.effort]),
            )
            shape = Proposal(mesh=mesh, doubt=_BELIEF, report={"proposal": "learned prior"} | report)
        if not evidence.delivered or evidence.effort == "draft":
            return replace(shape, report={"refinement": "none"} | dict(shape.report) | named)
        doubt = evidence.doubt if shape.doubt is None else shape.doubt
        rest = monitor if shape.doubt is None else _PLAN.monitor("refinement", monitor)
        found = refined(replace(evidence, shape=shape.mesh, doubt=doubt), BRIEF, rest)
        return replace(found, doubt=shape.doubt, report=dict(shape.report) | dict(found.report) | named)

    def cleanup(self) -> None:
        """Forgets the networks too."""
        self._checkpoint = None
        super().cleanup()
