"""The whole object, unseen sides included, from a pretrained flow model (Chang et al., arXiv 2510.23306).

Its checkpoints are not part of meshwright and cannot be installed with this version: `load_weights` says so.
"""

from __future__ import annotations

from typing import ClassVar, NoReturn

from meshwright.errors import WeightsNotInstalledError
from meshwright.models.base import BaseReconstructionModel, Evidence
from meshwright.types import Monitor

__all__ = ["ReconviagenModel"]


class ReconviagenModel(BaseReconstructionModel):
    """Known by name, so that asking for it is answered with what is missing."""

    model_name: ClassVar[str] = "reconviagen"

    def load_weights(self) -> NoReturn:
        """Raises `WeightsNotInstalledError`: this version ships no loader for the checkpoints."""
        raise WeightsNotInstalledError(
            "The model reconviagen needs the pretrained ReconViaGen, TRELLIS and VGGT checkpoints; this version of "
            "meshwright cannot load them.",
            hint="Use --model hull or --model nvdiffrec: both work from the six views alone.",
            model=self.model_name,
            instead=["hull", "nvdiffrec"],
        )

    def propose(self, evidence: Evidence, monitor: Monitor) -> NoReturn:
        """Without weights there is no proposal."""
        del evidence, monitor
        self.load_weights()
