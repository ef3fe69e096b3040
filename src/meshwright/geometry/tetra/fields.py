"""A surface as numbers to be fitted: one interface for both extractors.

    field = TetraField.near(low, high, 64, volume_distance(volume))    # or any function of points
    optimiser = torch.optim.Adam(field.leaves(), lr=...)
    surface = field.surface()            # vertices with gradients, faces
    field = field.refined()              # half the cell size near the surface, the same shape; a new optimiser

Signed distance is a leaf of its own, in world units. Offsets are bounded: `reach * cell * tanh(raw)`, half a cell
unless said otherwise. When a field is refined its offsets become part of where the new lattice rests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from meshwright.geometry.tetra.carry import Carry
from meshwright.geometry.tetra.cubes import CubeLattice, cube_lattice
from meshwright.geometry.tetra.domain import clamped
from meshwright.geometry.tetra.flexible import WEIGHTS, march_cubes_dual
from meshwright.geometry.tetra.lattice import TetraLattice, tetra_lattice
from meshwright.geometry.tetra.marching import march_tetrahedra
from meshwright.geometry.tetra.regularise import sign_changes
from meshwright.geometry.tetra.surface import Capacity, Surface
from meshwright.geometry.volume import Volume

__all__ = ["CubeField", "ShapeField", "TetraField", "volume_distance"]

REACH = 0.5
"""How far a vertex may move along each axis, in cells."""

WHOLE = 32
"""Cells a side up to which a whole grid is made; finer ones are refined from it near the surface."""

Distance = Callable[[torch.Tensor], torch.Tensor]
"""Signed distance, positive inside, [P] at points [P, 3]."""


class ShapeField(Protocol):
    """What a fit needs of a surface, whichever extractor is behind it."""

    @property
    def sdf(self) -> torch.Tensor:
        """Signed distance, positive inside, float32 [V]."""
        ...

    def leaves(self) -> list[torch.Tensor]:
        """The tensors to fit: the signed distance first."""
        ...

    def positions(self) -> torch.Tensor:
        """Where the lattice's vertices are, float32 [V, 3]."""
        ...

    def surface(self, *, final: bool = False, capacity: Capacity | None = None) -> Surface:
        """The mesh; `final`: as it is to be kept, not to be fitted on."""
        ...

    def sign_changes(self, surface: Surface) -> torch.Tensor:
        """See `regularise.sign_changes`; one logit a cell."""
        ...

    def refined(self, *, rings: int = 2) -> ShapeField:
        """Half the cell size near the surface."""
        ...

    def recentred(self, *, rings: int = 2) -> ShapeField:
        """The same cells around where the surface is now."""
        ...


def volume_distance(volume: Volume) -> Distance:
    """The field of a voxel grid between its voxels, trilinear; beyond the grid it falls with the distance to it.

    Args:
        volume: Such as the visual hull with depth carved in, positive inside.
    """
    field = torch.from_numpy(np.ascontiguousarray(volume.field, np.float32))[None, None]

    def distance(points: torch.Tensor) -> torch.Tensor:
        size = torch.tensor(volume.field.shape, device=points.device) - 1
        place = (points - torch.from_numpy(volume.origin).to(points)) / volume.cell
        within = torch.minimum(place.clamp(min=0), size)
        # Torch counts the last axis first, and from -1 to 1.
        grid = (2 * within / size - 1).flip(1).view(1, -1, 1, 1, 3)
        values = functional.grid_sample(field.to(points), grid, align_corners=True).view(-1)
        found: torch.Tensor = values - (place - within).norm(dim=1) * volume.cell
        return found

    return distance


def _coarse(resolution: int) -> int:
    """Where to begin: halved until a whole grid is small."""
    while resolution > WHOLE and resolution % 2 == 0:
        resolution //= 2
    return resolution


def _leaf(values: torch.Tensor) -> torch.Tensor:
    return values.detach().clone().requires_grad_()


@dataclass(frozen=True, kw_only=True, eq=False)
class TetraField:
    """Signed distance and bounded offsets on tetrahedra, extracted by marching tetrahedra (DMTet).

    Attributes:
        lattice: The tetrahedra.
        sdf: Signed distance, positive inside, float32 [V], a leaf.
        offsets: Raw offsets, float32 [V, 3], a leaf.
        reach: Bound of an offset along each axis, in cells.
    """

    lattice: TetraLattice
    sdf: torch.Tensor
    offsets: torch.Tensor
    reach: float = REACH

    @classmethod
    def start(cls, lattice: TetraLattice, distance: Distance, *, reach: float = REACH) -> TetraField:
        """From a signed distance function."""
        sdf = _leaf(distance(lattice.rest).float())
        return cls(lattice=lattice, sdf=sdf, offsets=_leaf(torch.zeros_like(lattice.rest)), reach=reach)

    @classmethod
    def near(
        cls,
        low: Sequence[float],
        high: Sequence[float],
        resolution: int,
        distance: Distance,
        *,
        rings: int = 2,
        thicker: float = 0.0,
        device: str | torch.device = "cpu",
    ) -> TetraField:
        """From a signed distance function over a box, at any resolution for what the surface costs.

        Resolutions above 32 should be even many times: a grid of at most 32 cells is refined, with values of the
        function at each level. What is thinner than its cells is not found; `thicker`, in cells of each coarser level,
        is added to the distance while the finer cells are chosen, so that thin parts are, but not thin gaps. `rings`
        have to reach further than that.
        """
        lattice = tetra_lattice(low, high, _coarse(resolution), device=device)
        field = cls.start(lattice, distance)
        while max(lattice.domain.cells) < resolution:
            lattice, _ = lattice.refined(field.sdf + thicker * lattice.cell, rings=rings)
            field = cls.start(lattice, distance)
        return field

    def leaves(self) -> list[torch.Tensor]:
        return [self.sdf, self.offsets]

    def positions(self) -> torch.Tensor:
        return self.lattice.rest + self.reach * self.lattice.cell * torch.tanh(self.offsets)

    def surface(self, *, final: bool = False, capacity: Capacity | None = None) -> Surface:
        del final  # there is one way to cut a tetrahedron
        return march_tetrahedra(self.lattice, self.sdf, self.positions(), capacity=capacity)

    def sign_changes(self, surface: Surface) -> torch.Tensor:
        return sign_changes(self.sdf, surface.crossings, 1 / self.lattice.cell)

    def refined(self, *, rings: int = 2) -> TetraField:
        """With tetrahedra of half the size; the surface stays as it is."""
        return self._on(*self.lattice.refined(self.sdf, self.positions(), rings=rings))

    def recentred(self, *, rings: int = 2) -> TetraField:
        return self._on(*self.lattice.recentred(self.sdf, self.positions(), rings=rings))

    def _on(self, lattice: TetraLattice, carry: Carry) -> TetraField:
        offsets = _leaf(torch.zeros_like(lattice.rest))
        return TetraField(
            lattice=lattice,
            sdf=_leaf(carry(clamped(self.lattice, self.sdf.detach()))),
            offsets=offsets,
            reach=self.reach,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class CubeField:
    """Signed distance, bounded offsets and cube weights, extracted as dual vertices (FlexiCubes).

    Attributes:
        lattice: The cubes.
        sdf: Signed distance, positive inside, float32 [V], a leaf.
        offsets: Raw offsets, float32 [V, 3], a leaf.
        weights: Raw weights, float32 [C, 21], a leaf; see `flexible.WEIGHTS`.
        reach: Bound of an offset along each axis, in cells.
    """

    lattice: CubeLattice
    sdf: torch.Tensor
    offsets: torch.Tensor
    weights: torch.Tensor
    reach: float = REACH

    @classmethod
    def start(cls, lattice: CubeLattice, distance: Distance, *, reach: float = REACH) -> CubeField:
        """From a signed distance function."""
        return cls(
            lattice=lattice,
            sdf=_leaf(distance(lattice.rest).float()),
            offsets=_leaf(torch.zeros_like(lattice.rest)),
            weights=_leaf(lattice.rest.new_zeros((len(lattice.cubes), WEIGHTS))),
            reach=reach,
        )

    @classmethod
    def near(
        cls,
        low: Sequence[float],
        high: Sequence[float],
        resolution: int,
        distance: Distance,
        *,
        rings: int = 2,
        thicker: float = 0.0,
        device: str | torch.device = "cpu",
    ) -> CubeField:
        """As `TetraField.near`."""
        lattice = cube_lattice(low, high, _coarse(resolution), device=device)
        field = cls.start(lattice, distance)
        while max(lattice.domain.cells) < resolution:
            lattice, _ = lattice.refined(field.sdf + thicker * lattice.cell, rings=rings)
            field = cls.start(lattice, distance)
        return field

    def leaves(self) -> list[torch.Tensor]:
        return [self.sdf, self.offsets, self.weights]

    def positions(self) -> torch.Tensor:
        return self.lattice.rest + self.reach * self.lattice.cell * torch.tanh(self.offsets)

    def surface(self, *, final: bool = False, capacity: Capacity | None = None) -> Surface:
        return march_cubes_dual(
            self.lattice, self.sdf, self.positions(), self.weights, middles=not final, capacity=capacity
        )

    def sign_changes(self, surface: Surface) -> torch.Tensor:
        return sign_changes(self.sdf, surface.crossings, 1 / self.lattice.cell)

    def refined(self, *, rings: int = 2) -> CubeField:
        """With cubes of half the size; the surface stays about as it is, and weights begin anew."""
        lattice, carry = self.lattice.refined(self.sdf, self.positions(), rings=rings)
        return self._on(lattice, carry, lattice.rest.new_zeros((len(lattice.cubes), WEIGHTS)))

    def recentred(self, *, rings: int = 2) -> CubeField:
        lattice, carry = self.lattice.recentred(self.sdf, self.positions(), rings=rings)
        assert carry.cells is not None
        weights = self.weights.detach()[carry.cells.clamp(min=0)] * (carry.cells >= 0)[:, None]
        return self._on(lattice, carry, weights)

    def _on(self, lattice: CubeLattice, carry: Carry, weights: torch.Tensor) -> CubeField:
        return CubeField(
            lattice=lattice,
            sdf=_leaf(carry(clamped(self.lattice, self.sdf.detach()))),
            offsets=_leaf(torch.zeros_like(lattice.rest)),
            weights=_leaf(weights),
            reach=self.reach,
        )
