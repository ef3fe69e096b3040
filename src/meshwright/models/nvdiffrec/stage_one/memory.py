"""How much memory stage one takes on a GPU, by its plan.

Fitted to what `benchmarks/growth.py` saw on an H200 (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from meshwright.models.nvdiffrec.stage_one.config import StageOneConfig
from meshwright.models.nvdiffrec.stage_one.pictures import picture_size
from meshwright.types import View

__all__ = ["vram_needed"]

_GIB = 2.0**30
_ALWAYS = 0.3 * _GIB
_PIXEL = 720.0
"""Bytes for a pixel that a step looks at: positions, features, what gradients need."""
_TARGET = 16.0
"""Bytes for a pixel of all views, which stay on the device."""
_DEPTH = 8.0
"""The same for those of views with depth: it and its weight."""
_CELL = 20_000.0
"""Bytes of lattice and surface for a square of cells: both grow as the area."""
_SPARE = 1.25
"""What torch and Warp keep for later, and objects with more surface."""


def vram_needed(config: StageOneConfig, views: Sequence[View], *, at_once: int) -> float:
    """GiB for the level that needs most.

    Args:
        config: The plan.
        views: All of them; their size counts where it is less than the plan's.
        at_once: Views in a step.
    """
    most, deep = 0.0, any(view.depth is not None for view in views) and config.depth_weight > 0
    target = _TARGET + (_DEPTH if deep else 0)
    for level in config.levels:
        width, height = picture_size(views, level.pixels)
        pixels = width * height
        surface = _CELL * level.cells**2
        most = max(most, _PIXEL * at_once * pixels + target * len(views) * pixels + surface)
    return _SPARE * (_ALWAYS + most) / _GIB
