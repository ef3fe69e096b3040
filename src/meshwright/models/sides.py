"""From where an object is seen: straight at its six sides, or from all around."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meshwright.geometry.working import axes_meet
from meshwright.types import Array, Camera

__all__ = ["SIDES", "from_all_around", "look_straight", "sides_seen"]

SIDES = ((0, 0, 1), (0, 0, -1), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0))
"""Where a camera stands that looks straight at each side; the order of `VIEW_NAMES`."""
_STRAIGHT = 0.8
"""Cosine of the largest angle between a view and its side."""
_FEW = 9
"""So many views, from wherever, leave a surface open that only pictures describe."""


def sides_seen(cameras: Sequence[Camera], centre: Array) -> dict[int, int]:
    """Which camera looks at which side: the one that looks most nearly straight at it. Others look at none."""
    found: dict[int, int] = {}
    best: dict[int, float] = {}
    for index, camera in enumerate(cameras):
        away = camera.position - centre
        cosines = [float(np.dot(away, stand) / np.linalg.norm(away)) for stand in SIDES]
        side = int(np.argmax(cosines))
        if cosines[side] > max(_STRAIGHT, best.get(side, 0.0)):
            found[side], best[side] = index, cosines[side]
    return found


def look_straight(cameras: Sequence[Camera]) -> bool:
    """Whether two thirds of the views look straight at a side of their own, as in the training of the networks.

    Of views from all around, the networks see too few: with 10 and 20 posed views of an object what they believed had
    F@0.01 0.814 and 0.917, the hull of all views 0.838 and 0.943 (benchmarks/posed.py).
    """
    return 3 * len(sides_seen(cameras, axes_meet(cameras))) >= 2 * len(cameras)


def from_all_around(cameras: Sequence[Camera]) -> bool:
    """Whether there are enough views, from enough directions, for a surface to be fitted to pictures alone."""
    return len(cameras) > _FEW and not look_straight(cameras)
