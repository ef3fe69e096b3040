"""From fine voxels to coarse ones and back.

Letters: N fine voxels, M coarse voxels, C channels.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from meshwright.errors import ShapeError
from meshwright.models.reconviagen.large.sparse.keys import keys_of
from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor

__all__ = ["pool", "subdivide", "unpool"]


@dataclass(frozen=True, kw_only=True)
class _Halved:
    """The grid of half the resolution that belongs to some voxels.

    Attributes:
        coords: [M, 4], sorted.
        parents: The coarse row of every fine voxel, int64 [N].
        children: The fine rows of every coarse voxel by their place in it, int64 [M, 8]; N where there is none.
        counts: How many children there are, [M, 1].
        cache: Shared by all coarse tensors of these voxels.
    """

    coords: Tensor
    parents: Tensor
    children: Tensor
    counts: Tensor
    cache: dict[Hashable, Any] = field(default_factory=dict)


def pool(x: SparseTensor) -> SparseTensor:
    """Half the resolution: the sum of a coarse voxel's n children divided by n + 1.

    Not the mean: the published weights were trained with a zero among the children.

    Returns:
        [M, C], rows sorted by batch element, x, y, z.
    """
    halved = _halved(x)
    children = functional.pad(x.feats, (0, 0, 0, 1)).index_select(0, halved.children.reshape(-1))
    total = children.reshape(-1, 8, x.channels).sum(1, dtype=torch.float32)
    return SparseTensor((total / (halved.counts + 1)).to(x.dtype), halved.coords, cache=halved.cache)


def unpool(x: SparseTensor, fine: SparseTensor) -> SparseTensor:
    """Every voxel of `fine` gets the features of the coarse voxel that it was pooled into.

    Args:
        x: [M, C], on the voxels that `pool(fine)` has.
        fine: Any tensor with the fine voxels; its features are not looked at.
    Returns:
        [N, C], rows in the order of `fine`.
    Raises:
        ShapeError: `x` is no result of pooling `fine`.
    """
    halved = _halved(fine)
    if len(x) != len(halved.coords):
        raise ShapeError(
            f"{len(x)} coarse voxels cannot be spread over voxels whose coarse ones are {len(halved.coords)}.",
            hint="Pass the tensor that was pooled.",
        )
    return fine.replace(x.feats.index_select(0, halved.parents))


def subdivide(x: SparseTensor, *, copy: bool = True) -> SparseTensor:
    """Twice the resolution: each voxel becomes eight, which lie together, in C-order of their place within it.

    Args:
        x: [N, C].
        copy: Whether the children get their parent's features; otherwise none, [8 N, 0].
    Returns:
        [8 N, C] or [8 N, 0].
    """
    feats = x.feats.repeat_interleave(8, 0) if copy else x.feats.new_empty(8 * len(x), 0)
    spans = tuple((8 * start, 8 * stop) for start, stop in x.spans)
    return SparseTensor(feats, _children(x.coords), spans=spans, cache={"parents": x.replace(x.feats[:, :0])})


def _halved(x: SparseTensor) -> _Halved:
    return x.cached("halved", lambda: _find_halved(x.coords))


def _find_halved(coords: Tensor) -> _Halved:
    xyz = coords[:, 1:]
    coarse = torch.cat([coords[:, :1], xyz >> 1], 1)
    keys, parents = torch.unique(keys_of(coarse), return_inverse=True)
    rows = torch.arange(len(coords), device=coords.device)
    places = ((xyz[:, 0] & 1) * 4 + (xyz[:, 1] & 1) * 2 + (xyz[:, 2] & 1)).long()
    children = torch.full((len(keys), 8), len(coords), device=coords.device)
    # No two voxels have the same parent and place, so the order of writing does not matter.
    children[parents, places] = rows
    found = torch.empty((len(keys), 4), dtype=coords.dtype, device=coords.device)
    found[parents] = coarse
    counts = (children < len(coords)).sum(1, keepdim=True)
    return _Halved(coords=found, parents=parents, children=children, counts=counts)


def _children(coords: Tensor) -> Tensor:
    places = torch.tensor(
        [(0, i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=coords.dtype, device=coords.device
    )
    double = torch.tensor([1, 2, 2, 2], dtype=coords.dtype, device=coords.device)
    return ((coords * double)[:, None] + places).reshape(-1, 4)
