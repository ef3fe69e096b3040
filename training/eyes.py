"""Where training's cameras stand: six sides, as users' rigs have them, and looser."""

from __future__ import annotations

import math

import numpy as np

from meshwright.synth.rig import SIX_VIEWS

__all__ = ["EYE", "HALF", "cameras"]

HALF = 0.6
"""The cube that everything is computed in spans -HALF..HALF; objects reach 0.5 along their longest side."""
EYE = np.dtype(
    [("eye", "<f4", 3), ("right", "<f4", 3), ("up", "<f4", 3), ("forward", "<f4", 3), ("focal", "<f4"),
     ("shift_x", "<f4"), ("shift_y", "<f4")]
)  # fmt: skip
"""The layout of `fields.EyeData`."""


def cameras(rng: np.random.Generator, count: int, *, loose: bool) -> np.ndarray:
    """Six cameras for each of `count` objects; `loose` ones stand nearer or farther, and not quite straight."""
    eyes = np.zeros((count, 6), EYE)
    for b in range(count):
        distance = 2.5
        if loose and rng.random() < 0.4:
            distance = float(np.exp(rng.uniform(np.log(1.6), np.log(8.0))))
        for v, (stand, up) in enumerate(SIX_VIEWS.values()):
            back, top = np.array(stand, float), np.array(up, float)
            axes = np.stack([np.cross(top, back), top, back], 1)
            if loose:
                axes = _small_turn(rng.normal(size=3) * math.radians(rng.choice([0.0, 0.5, 2.0]))) @ axes
            away = distance * (1 + 0.03 * rng.normal() * loose)
            eye = eyes[b, v]
            eye["eye"], eye["right"], eye["up"], eye["forward"] = axes[:, 2] * away, axes[:, 0], axes[:, 1], -axes[:, 2]
            zoom = float(np.exp(0.02 * rng.normal())) if loose else 1.0
            eye["focal"] = (away - HALF) / 0.62 * zoom
            if loose:
                eye["shift_x"], eye["shift_y"] = 0.015 * rng.normal(size=2)
    return eyes


def _small_turn(axis: np.ndarray) -> np.ndarray:
    angle = float(np.linalg.norm(axis))
    if angle < 1e-9:
        return np.eye(3)
    x, y, z = axis / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
