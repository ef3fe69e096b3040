"""The box that a lattice fills, and what both kinds of lattice share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from meshwright.errors import OptionError, ShapeError

__all__ = ["LEAST", "Domain", "check_start", "clamped", "nearest_known"]

LEAST = 1e-3
"""How far held vertices stay from the surface, in cells."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The box that a lattice fills.

    Attributes:
        origin: Its lower corner, world units.
        cell: Edge of a cubic cell, world units.
        cells: How many along x, y, z.
        closed: Whether its border counts as outside: no surface leaves the box open.
    """

    origin: tuple[float, float, float]
    cell: float
    cells: tuple[int, int, int]
    closed: bool = True

    @classmethod
    def around(cls, low: Sequence[float], high: Sequence[float], resolution: int, *, closed: bool = True) -> Domain:
        """Whole cells over the box from `low` to `high`, `resolution` of them along its longest side."""
        sides = [b - a for a, b in zip(low, high, strict=True)]
        if len(sides) != 3 or not all(side > 0 for side in sides):
            raise ShapeError(f"The box from {list(low)} to {list(high)} has no volume.", hint="Give low < high.")
        if not 1 <= resolution <= 2**16:
            raise OptionError(f"resolution={resolution} makes no lattice.", hint="Use 1 to 65536.")
        cell = max(sides) / resolution
        nx, ny, nz = (math.ceil(side / cell - 1e-6) for side in sides)
        middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
        x, y, z = (m - n * cell / 2 for m, n in zip(middle, (nx, ny, nz), strict=True))
        return cls(origin=(x, y, z), cell=cell, cells=(nx, ny, nz), closed=closed)

    def halved(self) -> Domain:
        """The same box with cells of half the size."""
        x, y, z = self.cells
        return Domain(origin=self.origin, cell=self.cell / 2, cells=(2 * x, 2 * y, 2 * z), closed=self.closed)

    def world(self, places: torch.Tensor, unit: float) -> torch.Tensor:
        """World positions float32 [..., 3] of integer places in units of so many cells."""
        origin = torch.tensor(self.origin, dtype=torch.float64, device=places.device)
        return (origin + places.double() * (self.cell * unit)).float()


class Held(Protocol):
    """A lattice as far as these functions look at it."""

    @property
    def held(self) -> torch.Tensor:
        """float32 [V]: 1 held inside, -1 held outside, 0 free."""
        ...

    @property
    def cell(self) -> float:
        """Edge of a cubic cell, world units."""
        ...


def clamped(lattice: Held, sdf: torch.Tensor) -> torch.Tensor:
    """Signed distance [V] with held vertices on their side, at least a thousandth of a cell from the surface."""
    least = LEAST * lattice.cell
    sdf = torch.where(lattice.held > 0, sdf.clamp(min=least), sdf)
    return torch.where(lattice.held < 0, sdf.clamp(max=-least), sdf)


def check_start(lattice: Held, sdf: torch.Tensor, rings: int) -> torch.Tensor:
    """What a band can be built around: values of which some are inside and some outside, `clamped`.

    Raises:
        ShapeError: Not one value for each vertex, or no surface between them.
        OptionError: `rings` is below 1.
    """
    if sdf.shape != lattice.held.shape:
        raise ShapeError(
            f"sdf is {list(sdf.shape)}, the lattice has {len(lattice.held)} vertices.", hint="Give one value each."
        )
    if rings < 1:
        raise OptionError(f"rings={rings} keeps nothing.", hint="Use 1 or more.")
    signed = clamped(lattice, sdf.detach())
    inside = signed > 0
    if bool(inside.all()) or not bool(inside.any()):
        raise ShapeError(
            "No surface crosses the lattice, so there is nothing to stay near to.",
            hint="Start from values that are positive inside and negative outside of the object.",
        )
    return signed


def nearest_known(source: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """Replace -1 in `source` [V] by what the nearest vertex has, step by step along `edges` [E, 2].

    Of several known neighbours the one with the lowest source is taken, on every device. Where no way leads to a known
    one it is 0.
    """
    unknown = torch.iinfo(torch.int64).max
    source = torch.where(source < 0, unknown, source)
    for _ in range(len(source)):
        missing = source == unknown
        if not bool(missing.any()):
            break
        best = torch.full_like(source, unknown)
        for here, there in ((0, 1), (1, 0)):
            best.scatter_reduce_(0, edges[:, here], source[edges[:, there]], "amin")
        filled = torch.where(missing, best, source)
        if bool((filled == source).all()):
            break
        source = filled
    return torch.where(source == unknown, 0, source)
