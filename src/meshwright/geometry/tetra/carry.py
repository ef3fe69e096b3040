"""From the vertices of one lattice to those of the next: values are means of a few old ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["Carry"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Carry:
    """Which old vertices each new one takes its values from.

    Attributes:
        sources: int64 [V', K]; their mean is the new value. One vertex may be named several times.
        cells: Old cell of each new cell, int64 [C'], for lattices whose cells have values.
        new: Vertices that had no place in the old lattice and take the values of the nearest one, bool [V'].
    """

    sources: torch.Tensor
    cells: torch.Tensor | None = None
    new: torch.Tensor | None = None

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Values [V, ...] of the old vertices to values [V', ...] of the new ones.

        Give signed distance as the old lattice saw it (`domain.clamped`): what it held may be free in the new one.
        """
        return values[self.sources].mean(1)
