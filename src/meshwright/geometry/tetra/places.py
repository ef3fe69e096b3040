"""Lists of integer places: what is in them, where, and without repeats.

A place is a point with integer coordinates, int64 [..., 3]. In a list each stands once, ordered by x, then y, then z,
so that the same surface gives the same lattice on every device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["Box", "distinct", "find"]


@dataclass(frozen=True)
class Box:
    """The range of coordinates in which places have numbers."""

    low: int
    """The least coordinate along each axis."""
    sides: tuple[int, int, int]
    """How many coordinates there are along each axis."""

    def number(self, places: torch.Tensor) -> torch.Tensor:
        """int64 [...], rising with x, then y, then z; -1 outside."""
        shifted = places - self.low
        sides = torch.tensor(self.sides, device=places.device)
        within = ((shifted >= 0) & (shifted < sides)).all(-1)
        number = (shifted[..., 0] * self.sides[1] + shifted[..., 1]) * self.sides[2] + shifted[..., 2]
        return torch.where(within, number, -1)

    def place(self, number: torch.Tensor) -> torch.Tensor:
        """The place of each number, int64 [..., 3]."""
        line = number // self.sides[2]
        place = torch.stack([line // self.sides[1], line % self.sides[1], number % self.sides[2]], -1)
        return place + self.low

    def steps(self, steps: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """What each step (x, y, z) adds to a number, int64 [S]; on the CPU."""
        return torch.tensor([(x * self.sides[1] + y) * self.sides[2] + z for x, y, z in steps])


def distinct(numbers: torch.Tensor) -> torch.Tensor:
    """Sorted and without repeats and without those below 0, int64 [N]."""
    numbers = numbers.reshape(-1)
    if numbers.device.type == "cpu":  # NumPy sorts several times as fast as torch here
        ordered = np.sort(numbers.numpy())
        kept = np.ones(len(ordered), bool)
        kept[1:] = ordered[1:] != ordered[:-1]
        kept &= ordered >= 0
        return torch.from_numpy(ordered[kept])
    found = torch.unique(numbers)
    found = found[found >= 0]
    assert isinstance(found, torch.Tensor)
    return found


def find(numbers: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Where each of `wanted` stands in the sorted list `numbers`, int64; -1 if it does not."""
    if len(numbers) == 0:
        return torch.full_like(wanted, -1)
    spot = torch.searchsorted(numbers, wanted).clamp_(max=len(numbers) - 1)
    found: torch.Tensor = torch.where(numbers[spot] == wanted, spot, -1)
    return found
