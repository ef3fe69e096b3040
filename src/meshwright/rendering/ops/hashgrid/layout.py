"""Which lattices a hash grid has, and where their entries are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch

from meshwright.errors import OptionError

__all__ = ["HashGrid"]


@dataclass(frozen=True, kw_only=True)
class HashGrid:
    """Lattices over the unit cube, each some times finer than the one before, with features at their points.

    The cells of a level are 1 / N_l wide, N_l = floor(coarsest * b**l) with b such that the last level has `finest` of
    them. A level whose (N_l + 1)**3 points are more than 2**log2_size shares so many entries among them by a hash.
    Source: Mueller et al. 2022, arXiv:2201.05989, equations 2 to 4.
    """

    levels: int = 16
    features: int = 2
    """Numbers at each lattice point: 1, 2 or 4."""
    coarsest: int = 16
    """Cells along an edge of the cube at the first level."""
    finest: int = 1024
    """And at the last."""
    log2_size: int = 19
    """Entries of a hashed level, as a power of two; memory and the time of an optimiser's step grow with them."""

    def __post_init__(self) -> None:
        faults = []
        if not 1 <= self.levels <= 32:
            faults.append(f"levels={self.levels} is not 1 to 32")
        if self.features not in (1, 2, 4):
            faults.append(f"features={self.features} is not 1, 2 or 4")
        if not 1 <= self.coarsest <= self.finest <= 32767:
            faults.append(f"coarsest={self.coarsest}, finest={self.finest} do not rise from 1 to 32767")
        if not 4 <= self.log2_size <= 24:
            faults.append(f"log2_size={self.log2_size} is not 4 to 24")
        if faults:
            raise OptionError(f"There is no such hash grid: {'; '.join(faults)}.", hint="Use the defaults.")

    @cached_property
    def resolutions(self) -> tuple[int, ...]:
        """N_l, cells along an edge of the cube at each level."""
        if self.levels == 1:
            return (self.coarsest,)
        growth = (self.finest / self.coarsest) ** (1 / (self.levels - 1))
        # The last level is `finest` exactly: rounding in the power must not take one off.
        return tuple(int(self.coarsest * growth**level + 1e-6) for level in range(self.levels))

    @cached_property
    def hashed(self) -> tuple[bool, ...]:
        """Which levels share entries."""
        return tuple((cells + 1) ** 3 > 2**self.log2_size for cells in self.resolutions)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Entries of each level."""
        pairs = zip(self.resolutions, self.hashed, strict=True)
        return tuple(2**self.log2_size if hashed else (cells + 1) ** 3 for cells, hashed in pairs)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The first entry of each level."""
        return tuple(sum(self.sizes[:level]) for level in range(self.levels))

    @property
    def entries(self) -> int:
        """Of all levels."""
        return sum(self.sizes)

    @property
    def width(self) -> int:
        """Numbers that a point is encoded as."""
        return self.levels * self.features

    def new_table(self, device: torch.device | str = "cpu", generator: torch.Generator | None = None) -> torch.Tensor:
        """Features to begin with, float32 [entries, features]: evenly random in +-1e-4, as in the paper.

        `generator` is one of the CPU, so that all devices begin with the same numbers.
        """
        table = torch.rand((self.entries, self.features), generator=generator)
        return ((table * 2 - 1) * 1e-4).to(device)


@lru_cache(maxsize=64)
def levels_on(grid: HashGrid, device: torch.device) -> torch.Tensor:
    """For kernels, int32 [L, 4]: resolution, first entry, entries, whether they are hashed."""
    rows = zip(grid.resolutions, grid.starts, grid.sizes, grid.hashed, strict=True)
    return torch.tensor([[int(number) for number in row] for row in rows], dtype=torch.int32, device=device)
