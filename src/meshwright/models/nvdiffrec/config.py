"""How much refinement each quality gets."""

from __future__ import annotations

from meshwright.models.refinement.config import COARSE, FINE, MIDDLE, Level, RefineConfig

__all__ = ["EFFORTS"]

EFFORTS = {
    "draft": RefineConfig(levels=(COARSE,), faces=15_000),
    "standard": RefineConfig(),
    "high": RefineConfig(
        levels=(COARSE, MIDDLE, FINE, Level(pixels=768, cell=0.025, steps=60, move=0.0006, turn=0.0003)),
        faces=50_000,
        texture_size=2048,
    ),
}
"""By the name of the quality asked for."""
