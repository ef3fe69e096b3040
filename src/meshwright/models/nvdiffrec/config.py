"""How much refinement each quality gets."""

from __future__ import annotations

from meshwright.models.refinement.config import COARSE, FINE, MIDDLE, Level, RefineConfig, Yielding

__all__ = ["EFFORTS"]

_YIELDING = Yielding(
    levels=(
        Level(pixels=256, cell=0.12, steps=60, move=0.002, turn=0.0015),
        Level(pixels=256, cell=0.06, steps=60, move=0.0015, turn=0.0008),
        Level(pixels=512, cell=0.035, steps=70, move=0.001, turn=0.0004),
        Level(pixels=512, cell=0.02, steps=80, move=0.0007, turn=0.0003),
        Level(pixels=512, cell=0.012, steps=80, move=0.0006, turn=0.0003),
        Level(pixels=512, cell=0.008, steps=60, move=0.0004, turn=0.0002),
    )
)
"""What views contradict each other in lies finer than what they agree in, and farther from where depth has the
surface."""

EFFORTS = {
    "draft": RefineConfig(levels=(COARSE,), faces=15_000),
    "standard": RefineConfig(),
    "high": RefineConfig(
        levels=(COARSE, MIDDLE, FINE, Level(pixels=768, cell=0.025, steps=60, move=0.0006, turn=0.0003)),
        faces=50_000,
        yielding=_YIELDING,
    ),
}
"""By the name of the quality asked for."""
