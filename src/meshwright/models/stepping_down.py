"""What to do when a GPU's memory is full in the middle of a fit: fewer views in a step, then smaller pictures."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from meshwright.device import cleanup_gpu_memory
from meshwright.errors import VramError

__all__ = ["Load", "is_out_of_memory", "lighter", "said_of"]

LEAST_PIXELS = 96
"""Below this, pictures say too little."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a step takes on.

    Attributes:
        at_once: Views in a step.
        pixels: Long side of their pictures.
    """

    at_once: int
    pixels: int


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Warp found no room on a device."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    # Warp has no class of its own for it.
    return isinstance(error, RuntimeError) and "Failed to allocate" in str(error)


def lighter(load: Load, error: BaseException) -> Load:
    """Half of the views, or, where it is one already, pictures of half the side; memory nobody uses is given back.

    Raises:
        VramError: Less would say too little.
    """
    traceback.clear_frames(error.__traceback__)  # they hold what the step had made so far
    cleanup_gpu_memory()
    if load.at_once > 1:
        return replace(load, at_once=load.at_once // 2)
    if load.pixels // 2 >= LEAST_PIXELS:
        return replace(load, pixels=load.pixels // 2)
    raise VramError(
        f"The GPU's memory is full, even with one view of {load.pixels} pixels in a step.",
        hint="Close other programs on this GPU, use a lower --quality, or --device cpu.",
    ) from error


def said_of(levels: Iterable[Mapping[str, Any]], doing: str) -> tuple[str, ...]:
    """What a user should know where levels of a fit took on less than planned.

    Args:
        levels: Their reports; those concerned hold a load as `stepped_down`.
        doing: What was done, such as "shape and cameras were refined".
    """
    loads = [level["stepped_down"] for level in levels if "stepped_down" in level]
    if not loads:
        return ()
    at_once, pixels = min(load["at_once"] for load in loads), loads[-1]["pixels"]
    views = f"{at_once} view{'s' if at_once > 1 else ''} of {pixels} pixels in a step"
    return (f"The GPU's memory was full: {doing} with {views}, which is less than planned.",)
