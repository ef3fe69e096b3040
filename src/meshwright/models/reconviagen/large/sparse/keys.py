"""Voxels as sortable numbers, and the look-up of a voxel's neighbours among them.

Letters: N voxels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor

__all__ = ["NEIGHBOURS", "keys_of", "neighbours"]

NEIGHBOURS = tuple((x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1))
"""The 27 voxels of a 3x3x3 kernel, in the order of its weights; number 13 is the voxel itself."""

BITS = 16
"""Of each of the four numbers of a voxel. Fixed, so that packing needs no question to the device."""


def keys_of(coords: Tensor) -> Tensor:
    """One number a voxel, int64 [N]; they sort as the rows of `coords` do (batch element, then x, y, z).

    Coordinates may be from -1 to 65,534, so that every neighbour of a voxel has a key of its own too.
    """
    wide = coords.long()
    key = wide[:, 0]
    for axis in (1, 2, 3):
        key = (key << BITS) + wide[:, axis] + 1
    return key


def neighbours(x: SparseTensor) -> Tensor:
    """The rows of the 27 neighbours of every voxel, int32 [N, 27] in the order of `NEIGHBOURS`; N where there is none.

    Found once for as long as the coordinates live. Voxels that came out of `subdivide` know theirs from their parents'.
    """
    parents: SparseTensor | None = x.cache.get("parents")
    if parents is not None:
        return x.cached("neighbours", lambda: _children_of(neighbours(parents)))
    return x.cached("neighbours", lambda: _searched(x.coords))


def _searched(coords: Tensor) -> Tensor:
    count = len(coords)
    table = torch.empty((count, len(NEIGHBOURS)), dtype=torch.int32, device=coords.device)
    if not count:
        return table
    keys = keys_of(coords)
    sorted_keys, order = keys.sort()
    order = order.int()
    for column, (dx, dy, dz) in enumerate(NEIGHBOURS):
        wanted = keys + ((((dx << BITS) + dy) << BITS) + dz)
        place = torch.searchsorted(sorted_keys, wanted).clamp_(max=count - 1)
        table[:, column] = torch.where(sorted_keys[place] == wanted, order[place], count)
    return table


def _children_of(table: Tensor) -> Tensor:
    """The table of 8 N children, which lie together and in C-order of their place within the parent.

    Child o's neighbour at d is a child of the parent's neighbour at floor((o + d) / 2): nothing has to be searched.
    """
    columns, within = [], []
    for child in range(8):
        place = (child >> 2 & 1, child >> 1 & 1, child & 1)
        for offset in NEIGHBOURS:
            moved = [o + d for o, d in zip(place, offset, strict=True)]
            x, y, z = (m // 2 + 1 for m in moved)
            columns.append((x * 3 + y) * 3 + z)
            within.append((moved[0] % 2) * 4 + (moved[1] % 2) * 2 + moved[2] % 2)
    count = len(table)
    of_parent = table[:, torch.tensor(columns, device=table.device)]
    rows = of_parent * 8 + torch.tensor(within, dtype=torch.int32, device=table.device)
    # A parent that is not there has number N, its children numbers from 8 N on: all of them become 8 N.
    return rows.clamp_(max=8 * count).reshape(8 * count, len(NEIGHBOURS))
