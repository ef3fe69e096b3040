"""What a caller may ask of networks that propose a shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from meshwright.errors import OptionError
from meshwright.weights import LARGE, MINI

__all__ = ["CHECKPOINTS", "Generation", "generation_of"]

CHECKPOINTS = ("auto", MINI, LARGE)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Which networks, and how they are sampled; steps, guidance and seed matter to the large ones only."""

    checkpoint: str = "auto"
    """`mini`, `trellis-vggt-v0-2`, or `auto`: the large networks where they are installed and a GPU is used."""
    seed: int = 42
    """Of the noise that sampling starts from; the same seed gives the same object on the same device."""
    structure_steps: int = 30
    """Sampling steps of the occupied structure."""
    structure_guidance: float = 7.5
    """How strongly the views steer it; 1 is no extra strength."""
    detail_steps: int = 12
    """Sampling steps of the detail on it."""
    detail_guidance: float = 7.5
    """How strongly the views steer the detail."""
    refine: bool = True
    """Whether the proposal is then briefly refined against the views (never at `draft`)."""
    unseen_colours: bool = True
    """Whether the large networks' colours fill what no view sees."""

    def __post_init__(self) -> None:
        faults = []
        if self.checkpoint not in CHECKPOINTS:
            faults.append(f"checkpoint={self.checkpoint!r} (use {', '.join(CHECKPOINTS)})")
        if not 0 <= self.seed < 2**63:
            faults.append(f"seed={self.seed} (use 0 to 2**63 - 1)")
        for name in ("structure_steps", "detail_steps"):
            if not 1 <= getattr(self, name) <= 1000:
                faults.append(f"{name}={getattr(self, name)} (use 1 to 1000)")
        for name in ("structure_guidance", "detail_guidance"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= 100):
                faults.append(f"{name}={value} (use 0 to 100)")
        if faults:
            raise OptionError("Options of the networks out of range: " + "; ".join(faults) + ".")


def generation_of(value: Generation | Mapping[str, Any] | None) -> Generation:
    """From fields by name, as they come out of JSON; None stands for the defaults.

    Raises:
        OptionError: There is no such field, or it cannot have this value.
    """
    if isinstance(value, Generation):
        return value
    values = dict(value or {})
    known = [item.name for item in fields(Generation)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise OptionError(
            f"There is no option {unknown[0]!r} of the networks.", hint=f"Options are {', '.join(known)}."
        )
    return Generation(**values)
