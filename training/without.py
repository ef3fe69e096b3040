"""What can be left out of a training, to see what it is worth, or be rarer in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from meshwright.models.reconviagen.lifting import Prior, Seen, Surfaces
from meshwright.models.reconviagen.network import NetConfig
from training.disturb import Faults

__all__ = ["CHANNELS", "FAULTS", "SHARES", "TERMS", "Blinded", "blinded", "chosen_faults"]

CHANNELS = ("colour", "depth", "front", "features", "start")
FAULTS = ("missing", "calibration", "masks", "exposure", "grey")
TERMS = ("score",)
"""Of the loss."""
SHARES = ("missing", "calibration", "masks", "depth", "grey")
"""What befalls a share of the objects (`Faults`)."""


class Blinded(Prior):
    """The networks, of which some inputs are left out for good."""

    def __init__(self, config: NetConfig, *, grid: int, without: tuple[str, ...]) -> None:
        super().__init__(config, grid=grid)
        self.without = without

    def fronts(self, seen: Seen, layers: torch.Tensor) -> torch.Tensor:
        """Nothing, where the front of the hull is left out."""
        fronts = super().fronts(seen, layers)
        return torch.zeros_like(fronts) if "front" in self.without else fronts

    def surfaces(self, seen: Seen, layers: torch.Tensor, fronts: torch.Tensor) -> Surfaces:
        """Without features, where these are left out."""
        surfaces = super().surfaces(seen, layers, fronts)
        if "features" in self.without:
            return replace(surfaces, features=torch.zeros_like(surfaces.features))
        return surfaces

    def start(self, seen: Seen, layers: torch.Tensor, surfaces: Surfaces) -> torch.Tensor:
        """Nothing but masks, where the start is left out."""
        begun = super().start(seen, layers, surfaces)
        if "start" in self.without:
            begun[:, 16:] = 0
        return begun


def chosen_faults(without: tuple[str, ...], shares: Mapping[str, float] | None = None) -> Faults:
    """Those of training, less what is left out; without depth no object comes with depth renders.

    Args:
        without: Left out.
        shares: Shares of objects in place of the usual ones, by name of `SHARES`.
    Raises:
        ValueError: A share of that name does not exist, or does not lie within 0 and 1.
    """
    shares = dict(shares or {})
    wrong = [f"{name}={share}" for name, share in shares.items() if name not in SHARES or not 0 <= share <= 1]
    if wrong:
        raise ValueError(", ".join(wrong))
    return replace(Faults(), **(shares | {name: 0.0 for name in without if name in (*FAULTS, "depth")}))


def blinded(seen: Seen, without: tuple[str, ...]) -> Seen:
    """Without colours, where that channel is left out."""
    if "colour" in without:
        picture = seen.picture.clone()
        picture[:, :, 1:4] = 0
        return replace(seen, picture=picture)
    return seen
