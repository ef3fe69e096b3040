"""What is to become small: one term for each network, and one for the score itself."""

from __future__ import annotations

import torch
import torch.nn.functional as functional

from meshwright.models.reconviagen.lifting import Seen, Surfaces
from meshwright.models.reconviagen.network import COARSE_LIMIT, FINE_LIMIT, halved
from training.scenes import Scenes

__all__ = ["losses"]

_TAU = 0.01 / FINE_LIMIT
"""The distance, in FINE_LIMITs, within which a point counts as found."""
_NEAR, _BAND = 0.9, 2 * _TAU


def losses(
    fine: torch.Tensor, coarse: torch.Tensor, surfaces: Surfaces, scenes: Scenes, seen: Seen, *, score: float = 1.0
) -> dict[str, torch.Tensor]:
    """Terms by name; their sum is what a step lowers. `score` is the weight of the term of that name."""
    truth = (scenes.field / FINE_LIMIT).clamp(-1, 1)
    half = halved(scenes.field[:, None])[:, 0]
    rough = (half / COARSE_LIMIT).clamp(-1, 1)
    sure = (seen.present[:, :, None, None] * (scenes.cover > 0.99)).float()
    count = sure.sum() + 1
    distance = seen.distance[..., None, None]
    off = (surfaces.depth - (distance - scenes.depth)).abs() * sure
    # Seitzer et al. 2022, arXiv:2203.09168: weighed by its own likely error, or surfaces that are nearly known would
    # push a thousand times as hard as others. What is most likely stays so.
    weight = torch.exp(0.5 * surfaces.spread.detach())
    likely = ((off * torch.exp(-surfaces.spread) + surfaces.spread * sure) * weight).sum() / count
    facing = ((1 - (surfaces.normal * scenes.normal).sum(2)) * sure).sum() / count
    return {
        "fine": _distance_loss(fine, truth),
        "coarse": _distance_loss(coarse, rough),
        "score": score * _missed(fine, truth),
        "depth": 0.5 * likely,
        "normal": 0.3 * facing,
    }


def _distance_loss(guess: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Absolute differences, near the surface four times as heavy; beyond the limit only the side counts."""
    near = 1 + 3 * (truth.abs() < _NEAR).float()
    over = torch.where(truth.abs() >= 0.999, functional.relu(1 - guess * truth), (guess - truth).abs())
    return (over * near).sum() / near.sum() * 4


def _missed(guess: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """A smooth count of what the score counts: how much of both surfaces is farther from the other than `_TAU`.

    Looked at are cells at the true surface, for what is found of it, and at the guessed one, for how much of that is
    true. Half counts what is off by `_TAU`, and how far off a miss is matters ever less: where the surface is in doubt
    it pays to choose, while absolute differences lead to the middle.
    """
    band = (torch.minimum(truth.abs(), guess.detach().abs()) < _BAND).float()
    off = (guess.clamp(-1, 1) - truth).abs()
    return (off / (off + _TAU) * band).sum() / (band.sum() + 1)
