"""The model `reconviagen`: the whole object, unseen sides included, from learned networks.

Named after Chang et al., "ReconViaGen", arXiv 2510.23306. Two families of networks can be asked: the released large
ones, which need gigabytes and a GPU and are fetched (docs/large.md), and `mini`, which is in the box: small networks of
meshwright's own, trained on objects that `training/` makes (docs/prior.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from meshwright.device import check_vram_available, pick_device
from meshwright.errors import WeightsFilesError, WeightsNotInstalledError
from meshwright.models.base import BaseReconstructionModel, Evidence, Proposal
from meshwright.models.generation import Generation, generation_of
from meshwright.models.reconviagen.weights import describe_checkpoint, load_checkpoint, packaged
from meshwright.progress import Plan, Stage
from meshwright.types import MaskSource, Monitor
from meshwright.weights import LARGE, MINI, Installed, installed

if TYPE_CHECKING:
    from meshwright.models.reconviagen.weights import Checkpoint

__all__ = ["ReconviagenModel"]

_GRIDS = {"draft": 144, "standard": 224, "high": 320}
_OUTLINES = 0.01
"""Doubt of a shape that was made of outlines alone; whatever depth had a part in is less in doubt, and better than what
the networks make of it (docs/prior.md)."""
_BELIEF = 0.005
"""Doubt of what the networks believe."""
_LARGE_VRAM_GB, _LARGE_VRAM_GB_A_VIEW = 2.6, 0.16
"""What the large networks ask of a GPU, one after the other: half as much again as was measured (docs/large.md)."""
_PLANS = {
    family: Plan(
        (
            Stage(name="proposal", title="Asking the networks", share=share),
            Stage(name="refinement", title="Refining shape and cameras", share=18.0),
        )
    )
    for family, share in ((MINI, 9.0), (LARGE, 30.0))
}


class ReconviagenModel(BaseReconstructionModel):
    """Proposes what the networks believe; where depth decided the shape already, that stands.

    Except at `draft`, a refinement then brings outlines and colours of the views to lie on each other: a brief one
    where depth decided, a longer one where networks did.
    """

    model_name: ClassVar[str] = "reconviagen"
    share: ClassVar[float] = 30.0
    start_share: ClassVar[float] = 16.0
    checkpoint_path: ClassVar[Path] = packaged()

    _about: Mapping[str, str] | None = None
    """What is said of `mini`, where that is asked."""
    _checkpoint: Checkpoint | None = None
    _large: Installed | None = None
    _worked: bool = False
    """Whether networks or a refinement were at the device."""

    @property
    def generation(self) -> Generation:
        """Which networks are asked, and how."""
        return generation_of(self.options.get("generation"))  # type: ignore[arg-type]

    def load_weights(self) -> None:
        """Looks whether the networks are there: all files of the large ones, or `mini`.

        They are loaded when a shape is asked of them: where depth decides it, none is.

        Raises:
            WeightsNotInstalledError: The checkpoint that was asked for is not there.
        """
        if self._about is not None or self._large is not None:
            return
        self._large = self._find_large()
        if self._large is None:
            self._about = describe_checkpoint(self.checkpoint_path)

    def _find_large(self) -> Installed | None:
        """The large networks where they are to be used; `auto` takes them where they are ready and a GPU is used."""
        wanted = self.generation.checkpoint
        if wanted == LARGE:
            return installed(LARGE)
        if wanted == MINI or pick_device(self.device) == "cpu":
            return None
        try:
            return installed(LARGE)
        except WeightsFilesError:
            raise  # somebody has brought them here, and should hear that they are broken
        except WeightsNotInstalledError:
            return None

    def propose(self, evidence: Evidence, monitor: Monitor) -> Proposal:
        """What the networks believe, or the first shape where depth decided it; then briefly refined."""
        from meshwright.models.refinement.config import BELIEVED, BRIEF
        from meshwright.models.refinement.proposal import refined

        self.load_weights()
        named = self._named()
        if all(view.mask_source is MaskSource.NONE for view in evidence.views.views):
            return Proposal(
                mesh=evidence.shape,
                report={"refinement": "none"} | named,
                warnings=("The networks were not asked: the views show no object.",),
            )
        plan = _PLANS[MINI if self._large is None else LARGE]
        shape = self._shape(evidence, plan.monitor("proposal", monitor))
        if not evidence.delivered or evidence.effort == "draft" or not self.generation.refine:
            return replace(shape, report={"refinement": "none"} | dict(shape.report) | named)
        asked = shape.doubt is not None or shape.colours is not None
        doubt = evidence.doubt if shape.doubt is None else shape.doubt
        rest = plan.monitor("refinement", monitor) if asked else monitor
        effort = BELIEVED if shape.doubt is not None else BRIEF
        self._worked = True
        found = refined(replace(evidence, shape=shape.mesh, doubt=doubt), effort, rest)
        return replace(
            found,
            doubt=shape.doubt,
            colours=shape.colours,  # vertices move, but stay the same ones
            report=dict(shape.report) | dict(found.report) | named,
            warnings=(*shape.warnings, *found.warnings),
        )

    def _shape(self, evidence: Evidence, monitor: Monitor) -> Proposal:
        """What the networks believe; the shape of the evidence where depth, or many views, decided it."""
        from meshwright.models.reconviagen.crops import look_straight

        decided = evidence.doubt < _OUTLINES
        if self._large is not None and not (decided and not self.generation.unseen_colours):
            return self._large_shape(self._large, evidence, monitor, decided=decided)
        if decided:
            return Proposal(mesh=evidence.shape, report={"proposal": "none: depth decides the shape"})
        if not look_straight(evidence.cameras):
            return Proposal(mesh=evidence.shape, report={"proposal": "none: views from all around decide the shape"})
        return self._mini_shape(evidence, monitor)

    def _large_shape(self, large: Installed, evidence: Evidence, monitor: Monitor, *, decided: bool) -> Proposal:
        from meshwright.models.reconviagen.large.networks import FileNetworks
        from meshwright.models.reconviagen.large.proposal import proposed

        if evidence.device != "cpu":
            views = len(evidence.views.views)
            check_vram_available(_LARGE_VRAM_GB + views * _LARGE_VRAM_GB_A_VIEW, evidence.device)
        assert large.pipeline is not None
        self._worked = True
        networks = FileNetworks(large.networks, large.pipeline)
        shape = proposed(evidence, networks, self.generation, monitor, keep_shape=decided)
        kind = "generated; depth decides the shape" if decided else "generated"
        return replace(shape, report={"proposal": kind} | dict(shape.report), warnings=(*large.notes, *shape.warnings))

    def _mini_shape(self, evidence: Evidence, monitor: Monitor) -> Proposal:
        from meshwright.models.reconviagen.shape import PriorConfig, prior_shape

        self._worked = True
        if self._checkpoint is None:
            self._checkpoint = load_checkpoint(self.checkpoint_path, "cpu")
        self._checkpoint.prior.to(evidence.device)
        mesh, report = prior_shape(
            evidence.views.views,
            evidence.cameras,
            self._checkpoint,
            monitor,
            evidence.device,
            PriorConfig(grid=_GRIDS[evidence.effort]),
        )
        return Proposal(mesh=mesh, doubt=_BELIEF, report={"proposal": "learned prior"} | report)

    def _named(self) -> dict[str, object]:
        """What the result says about the networks behind it."""
        if self._large is not None:
            return {"checkpoint": self._large.name, "revisions": dict(self._large.revisions)}
        about = self._about
        assert about is not None
        named: dict[str, object] = {"checkpoint": about.get("family", "mini")}
        return named | {name: about[name] for name in ("data_version", "objects") if name in about}

    def cleanup(self) -> None:
        """Forgets the networks too; a device that nothing was done on is left alone."""
        self._about = None
        self._checkpoint = None
        self._large = None
        if self._worked:
            self._worked = False
            super().cleanup()
