"""How good the networks are on objects that training does not have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from meshwright.models.reconviagen.lifting import HALF, Prior, Seen, Surfaces, blurred
from meshwright.models.reconviagen.network import FINE_LIMIT, unfolded
from meshwright.synth.objects import get_object, list_objects
from training.disturb import Faults, shown
from training.measure import f_score
from training.objects import draw, pack
from training.scenes import Scenes, render
from training.without import blinded

__all__ = ["CASES", "prepare_validation", "validate"]

CASES = {
    "six": ((1, 1, 1, 1, 1, 1), False),
    "six+depth": ((1, 1, 1, 1, 1, 1), True),
    "four": ((1, 1, 1, 1, 0, 0), False),
    "three": ((1, 0, 1, 0, 1, 0), False),
}
"""What is shown: which views, and whether with depth."""
FRESH_CASES = ("six", "three")
"""Of these also on fresh objects."""
_FRESH_SEED = 2**31
"""A seed that no training has."""
_STILL = Faults(
    missing=0, calibration=0, masks=0, depth=0, depth_offset=0, depth_scale=0, depth_steps=0, grey=0, exposure=0
)
_SURE = 2.0
"""A chance above one."""


def prepare_validation(device: str, grid: int, *, known: int = 12, fresh: int = 16) -> dict[str, list[Scenes]]:
    """Objects to look at.

    Args:
        device: "cpu" or "cuda:N".
        grid: Cells along the fine grid's side.
        known: How many of the catalogue of `meshwright synth`, kinds that training never sees.
        fresh: How many of training's own kinds, from a seed of their own.
    """
    names = [str(getattr(item, "name", item)) for item in list_objects()][:known]
    packs = [pack([get_object(name)]) for name in names]
    rng = np.random.default_rng(_FRESH_SEED)
    new = [draw(rng, 1) for _ in range(fresh)]
    return {
        name: [render(p, grid=grid, device=device) for p in chosen] for name, chosen in (("", packs), ("fresh", new))
    }


@torch.no_grad()
def validate(net: Prior, objects: dict[str, list[Scenes]], without: tuple[str, ...]) -> dict[str, Any]:
    """Mean F-score at 0.01 by case, and of each object of the catalogue with six views and no depth."""
    net.eval()
    scores: dict[str, Any] = {}
    for case, (present, with_depth) in CASES.items():
        for name, chosen in objects.items():
            if not chosen or (name and case not in FRESH_CASES):
                continue
            found = [_score(net, scenes, present, with_depth, without) for scenes in chosen]
            scores[f"{case} {name}".strip()] = round(float(np.mean(found)), 4)
            if case == "six" and not name:
                scores["each"] = [round(f, 3) for f in found]
    return scores


def _score(net: Prior, scenes: Scenes, present: tuple[int, ...], with_depth: bool, without: tuple[str, ...]) -> float:
    device = scenes.field.device
    faults = replace(_STILL, depth=_SURE if with_depth else 0.0)
    seen = blinded(shown(scenes, faults, torch.Generator(device).manual_seed(1)), without)
    there = torch.tensor([present], device=device, dtype=torch.float32)
    seen = replace(
        seen,
        present=there,
        mask=seen.mask * there[..., None, None],
        picture=seen.picture * there[..., None, None, None],
    )
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu"):
        fine, _, surfaces = net(seen)
    # Whatever is believed is cut by the outlines afterwards.
    return f_score(torch.maximum(fine[0].float(), hull(net, seen, surfaces)[0]), scenes.field[0], HALF)


def hull(net: Prior, seen: Seen, surfaces: Surfaces) -> torch.Tensor:
    """Signed distance to what the outlines alone leave, in FINE_LIMITs, [B, N, N, N], whatever is left out."""
    blind = replace(seen, picture=torch.zeros_like(seen.picture))
    return unfolded(Prior.start(net, blind, blurred(seen.mask), surfaces)[:, 16:]) / FINE_LIMIT
