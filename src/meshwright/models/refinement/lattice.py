"""Smooth deformations: a lattice of control points moves everything between them (cubic B-splines).

A free-form deformation needs no mesh: fitted through a light mesh it bends a dense one of the same object all the same.
It cannot fold as long as control points move by less than about half a cell (Choi and Lee, "Injectivity conditions of
2D and 3D uniform cubic B-spline functions", Graphical Models 2000, give 0.48 for one axis).
Source: Sederberg and Parry, "Free-form deformation of solid geometric models", SIGGRAPH 1986.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse

from meshwright._warp import load_kernels, wp
from meshwright.device import map_threads
from meshwright.models.refinement import kernels
from meshwright.types import Array

__all__ = ["FOLD_FREE", "Lattice", "Weights", "apply", "lattice_around", "on_device"]

FOLD_FREE = 0.48
"""Cells by which control points may move without folding space."""
_AT_ONCE = 2**14
"""Points that one thread moves."""


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
        first = np.floor(place)
        t = (place - first).T
        basis = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], -1)
        x, y, z = (basis / 6).astype(np.float32)
        values = (x[:, :, None] * y[:, None, :])[..., None] * z[:, None, None, :]
        strides = np.array([self.shape[1] * self.shape[2], self.shape[2], 1], np.int32)
        corner = (first.astype(np.int32) - 1) @ strides
        i, j, k = np.ogrid[:4, :4, :4]
        around = (i * strides[0] + j * strides[1] + k).astype(np.int32).ravel()
        columns = corner[:, None] + around
        starts = np.arange(len(points) + 1, dtype=np.int32) * 64
        return sparse.csr_matrix((values.ravel(), columns.ravel(), starts), shape=(len(points), self.count))

    def displaced(self, points: Array, controls: Array) -> Array:
        """How far `points` [P, 3], which it covers, move with displacements of the control points [count, 3].

        Returns:
            float64 [P, 3].
        """
        load_kernels(kernels.__name__, "cpu")
        field = wp.array(np.reshape(controls, (*self.shape, 3)), dtype=wp.vec3d, device="cpu")
        moved = np.zeros((len(points), 3))

        def move(start: int) -> None:
            part = slice(start, start + _AT_ONCE)
            given = wp.array(points[part], dtype=wp.vec3d, device="cpu")
            found = wp.array(moved[part], dtype=wp.vec3d, device="cpu", copy=False)
            inputs = [given, wp.vec3d(*self.origin.tolist()), self.cell, field]
            wp.launch(kernels.displace_kernel, len(given), inputs, [found], device="cpu")

        map_threads(move, range(0, len(points), _AT_ONCE))
        return moved

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


class Weights(NamedTuple):
    """A constant sparse matrix on a device, row by row.

    Attributes:
        columns: Of the entries, int32 [N].
        starts: The first entry of each row, int32 [P].
        values: float32 [N].
    """

    columns: torch.Tensor
    starts: torch.Tensor
    values: torch.Tensor

    def times(self, x: torch.Tensor) -> torch.Tensor:
        """The product with a dense matrix; no gradients."""
        # Five times as fast as torch's sparse product on a CPU; on a GPU one kernel, always adding in the same order.
        bag = torch.nn.functional.embedding_bag
        return bag(self.columns, x, self.starts, mode="sum", per_sample_weights=self.values)


class _Product(torch.autograd.Function):
    """Constant sparse matrix times tensor, on the tensor's device."""

    @staticmethod
    def forward(ctx: Any, matrix: Weights, transposed: Weights, x: torch.Tensor) -> torch.Tensor:
        ctx.transposed = transposed
        return matrix.times(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None, torch.Tensor]:
        return None, None, ctx.transposed.times(gradients[0].contiguous())


def apply(weights: tuple[Weights, Weights], controls: torch.Tensor) -> torch.Tensor:
    """Displacements [P, 3] of the points whose weights (and transposed weights) these are; differentiable."""
    moved = _Product.apply(*weights, controls)  # type: ignore[no-untyped-call]
    assert isinstance(moved, torch.Tensor)
    return moved


def on_device(weights: sparse.csr_matrix, device: str) -> tuple[Weights, Weights]:
    """Weights, and transposed weights, for `apply`."""

    def tensors(matrix: sparse.csr_matrix) -> Weights:
        kinds = (np.int32, np.int32, np.float32)
        parts = zip((matrix.indices, matrix.indptr[:-1], matrix.data), kinds, strict=True)
        return Weights(*(torch.from_numpy(part.astype(kind, copy=False)).to(device) for part, kind in parts))

    plain = tensors(weights)
    # A GPU sorts faster than a second matrix comes to it.
    return plain, tensors(weights.T.tocsr()) if device == "cpu" else transposed(plain, weights.shape[1])


def transposed(weights: Weights, count: int) -> Weights:
    """Weights of `count` columns, column by column, each column's in the order of the rows."""
    columns, order = torch.sort(weights.columns, stable=True)
    entries = torch.arange(len(order), dtype=torch.int32, device=order.device)
    rows = torch.searchsorted(weights.starts, entries, right=True, out_int32=True) - 1
    starts = torch.searchsorted(columns, torch.arange(count, dtype=torch.int32, device=order.device), out_int32=True)
    return Weights(rows[order], starts, weights.values[order])
