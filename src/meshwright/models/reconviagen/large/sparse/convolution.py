"""Convolution on listed voxels: a voxel hears its neighbours, and no voxel appears or goes.

Letters: N voxels, C channels in, O channels out.
Each output row is one product of its gathered neighbours with all weights. Rows are taken in pieces, so that what is
gathered stays small however many voxels there are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from meshwright.errors import OptionError
from meshwright.models.reconviagen.large.sparse.keys import neighbours
from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor

__all__ = ["SparseConv3d", "convolve", "convolve_subdivided", "mix"]

CPU_PIECE, GPU_PIECE = 8 * 2**20, 256 * 2**20
"""Bytes gathered at a time: what a CPU's cache can hold; what fills a GPU."""

PARENT_TAPS = (((1.0, 0, 0), (0, 1, 1)), ((1, 1, 0), (0, 0, 1)))
"""Along an axis: [child, which of the two parents it hears, tap of the kernel] (see `convolve_subdivided`)."""


class SparseConv3d(nn.Module):
    """A layer with the weights of published checkpoints: `conv.weight` [O, k, k, k, C] and `conv.bias` [O].

    With kernel size 3: cross-correlation over the 3x3x3 neighbours that exist. With kernel size 1: see `mix`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        if kernel_size not in (1, 3):
            raise OptionError(f"kernel_size={kernel_size} is not known to SparseConv3d.", hint="Use 1 or 3.")
        self.conv = _Weights(in_channels, out_channels, kernel_size)

    def forward(self, x: SparseTensor) -> SparseTensor:
        apply = mix if self.conv.weight.shape[1] == 1 else convolve
        return apply(x, self.conv.weight, self.conv.bias)


class _Weights(nn.Module):
    """Holds `weight` and `bias`, drawn as `nn.Linear` draws them."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, *[kernel_size] * 3, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))
        bound = (in_channels * kernel_size**3) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)


def mix(x: SparseTensor, weight: Tensor, bias: Tensor) -> SparseTensor:
    """Every voxel by itself, through the weights [O, 1, 1, 1, C] of a published 1x1x1 convolution.

    Their numbers are read in storage order as a [C, O] matrix: the library that they were trained with does so,
    whatever their shape says.
    """
    outputs, inputs = weight.shape[0], weight.shape[-1]
    return x.replace(torch.addmm(bias, x.feats, weight.reshape(inputs, outputs)))


def convolve(x: SparseTensor, weight: Tensor, bias: Tensor) -> SparseTensor:
    """Cross-correlation with a 3x3x3 kernel.

    Args:
        x: [N, C].
        weight: [O, 3, 3, 3, C], of the dtype of `x`.
        bias: [O].
    Returns:
        [N, O] on the same voxels.
    """
    table = neighbours(x)
    source = _with_zero_row(x.feats)
    matrix = weight.reshape(len(weight), -1)
    out = x.feats.new_empty(len(x), len(weight))
    for piece in _pieces(len(x), matrix.shape[1], x.feats):
        out[piece] = torch.addmm(bias, _gathered(source, table[piece]), matrix.t())
    return x.replace(out)


def convolve_subdivided(x: SparseTensor, fine: SparseTensor, weight: Tensor, bias: Tensor) -> SparseTensor:
    """`convolve(subdivide(x), weight, bias)`, without the subdivided features and with 8 products instead of 27.

    All eight children of a voxel have its features. So, along an axis, the three taps of a child fall on two parents:
    of the first child on the parent before (one tap) and its own (two), of the second on its own (two) and the next
    (one). Weights that meet the same parent are summed beforehand.

    Args:
        x: The parents, [N, C].
        fine: Their children, as `subdivide` lists them; the features are not looked at.
        weight: [O, 3, 3, 3, C].
        bias: [O].
    Returns:
        [8 N, O] on the voxels of `fine`.
    """
    table = neighbours(x)
    source = _with_zero_row(x.feats)
    taps = torch.tensor(PARENT_TAPS, device=x.device)
    summed = torch.einsum("pad,qbe,rcf,odefi->pqroabci", taps, taps, taps, weight.float())
    matrices = summed.to(x.dtype).reshape(8, len(weight), -1)
    parents = torch.tensor([_parents(child) for child in range(8)], device=x.device)
    out = x.feats.new_empty(len(x), 8, len(weight))
    for piece in _pieces(len(x), matrices.shape[2], x.feats):
        rows = table[piece]
        for child in range(8):
            out[piece, child] = torch.addmm(bias, _gathered(source, rows[:, parents[child]]), matrices[child].t())
    return fine.replace(out.reshape(8 * len(x), len(weight)))


def _parents(child: int) -> list[int]:
    """Columns of the parents' neighbour table that a child hears, in the order of its summed weights."""
    x, y, z = child >> 2 & 1, child >> 1 & 1, child & 1
    return [((x + i) * 3 + y + j) * 3 + z + k for i in (0, 1) for j in (0, 1) for k in (0, 1)]


def _with_zero_row(feats: Tensor) -> Tensor:
    """One more row, for neighbours that are not there."""
    return functional.pad(feats, (0, 0, 0, 1))


def _gathered(source: Tensor, rows: Tensor) -> Tensor:
    return source.index_select(0, rows.reshape(-1)).reshape(len(rows), -1)


def _pieces(count: int, width: int, like: Tensor) -> list[slice]:
    """Slices of rows whose gathered neighbours take a bounded number of bytes."""
    size = max(1, (CPU_PIECE if like.device.type == "cpu" else GPU_PIECE) // (width * like.element_size()))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
