"""Smooth deformations: a lattice of control points moves everything between them (cubic B-splines).

A free-form deformation needs no mesh: fitted through a light mesh it bends a dense one of the same object all the same.
It cannot fold as long as control points move by less than about half a cell (Choi and Lee, "Injectivity conditions of
2D and 3D uniform cubic B-spline functions", Graphical Models 2000, give 0.48 for one axis).
Source: Sederberg and Parry, "Free-form deformation of solid geometric models", SIGGRAPH 1986.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse

from meshwright.types import Array

__all__ = ["Lattice", "apply", "lattice_around"]

FOLD_FREE = 0.48
"""Cells by which control points may move without folding space."""


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """Where the control points stand.

    Attributes:
        origin: The first control point, float64 [3], world frame.
        cell: Distance of neighbours, world units.
        shape: Control points along x, y, z.
    """

    origin: Array
    cell: float
    shape: tuple[int, int, int]

    @property
    def count(self) -> int:
        """How many control points there are."""
        return int(np.prod(self.shape))

    def weights(self, points: Array) -> sparse.csr_matrix:
        """How much each control point moves each of `points` [P, 3]: float32 [P, count], 64 entries a row, sum 1."""
        place = (points.astype(np.float64) - self.origin) / self.cell
        first = np.floor(place).astype(np.int64)
        t = place - first
        basis = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
        columns, values = [], []
        for i, j, k in np.ndindex(4, 4, 4):
            index = first + np.array([i, j, k]) - 1
            columns.append((index[:, 0] * self.shape[1] + index[:, 1]) * self.shape[2] + index[:, 2])
            values.append(basis[i, :, 0] * basis[j, :, 1] * basis[k, :, 2])
        rows = np.tile(np.arange(len(points)), 64)
        entries = (np.concatenate(values).astype(np.float32), (rows, np.concatenate(columns)))
        return sparse.csr_matrix(entries, shape=(len(points), self.count))

    def bending(self, controls: torch.Tensor) -> torch.Tensor:
        """Sum of squared second differences of control displacements [count, 3], in cells: how uneven they are."""
        grid = controls.view(*self.shape, 3) / self.cell
        return sum((grid.diff(n=2, dim=axis).square().sum() for axis in range(3)), start=controls.new_zeros(()))


def lattice_around(points: Array, cell: float) -> Lattice:
    """The lattice with cells of side `cell` that covers `points` [P, 3]."""
    low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
    origin = low - 1.5 * cell
    shape = np.ceil((high - origin) / cell).astype(int) + 3
    return Lattice(origin=origin, cell=cell, shape=(int(shape[0]), int(shape[1]), int(shape[2])))


class _Product(torch.autograd.Function):
    """Constant sparse matrix times tensor, on the tensor's device."""

    @staticmethod
    def forward(ctx: Any, matrix: torch.Tensor, transposed: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        ctx.transposed = transposed
        return matrix @ x

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None, torch.Tensor]:
        return None, None, ctx.transposed @ gradients[0]


def apply(weights: tuple[torch.Tensor, torch.Tensor], controls: torch.Tensor) -> torch.Tensor:
    """Displacements [P, 3] of the points whose weights (and transposed weights) these are; differentiable."""
    moved = _Product.apply(*weights, controls)  # type: ignore[no-untyped-call]
    assert isinstance(moved, torch.Tensor)
    return moved


def on_device(weights: sparse.csr_matrix, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights, and transposed weights, as sparse tensors for `apply`."""

    def tensor(matrix: sparse.csr_matrix) -> torch.Tensor:
        entries = matrix.tocoo()
        places = torch.from_numpy(np.stack([entries.row, entries.col]).astype(np.int64))
        made = torch.sparse_coo_tensor(places, torch.from_numpy(entries.data), matrix.shape, check_invariants=False)
        return made.coalesce().to(device)

    return tensor(weights), tensor(weights.T.tocsr())
