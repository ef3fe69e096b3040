"""Attention among listed voxels.

Letters: N voxels of all batch elements, H heads, D channels of a head, W windows, T voxels of a window.
Everything runs through torch's own scaled dot product attention, softmax scale D ** -0.5. Windows differ in how many
voxels they hold: those of similar length are padded to the longest among them and computed at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from meshwright.models.reconviagen.large.sparse.keys import keys_of
from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor

__all__ = ["attend_windows", "attend_within"]

Spans = tuple[tuple[int, int], ...]

PADDING = 0.75
"""Windows shorter than this share of the longest of their group go to the next group."""

GROUP_TOKENS = 2**15
"""Padded tokens of a group at most, which bounds the memory of one call, and how many windows it has: kernels have a
limit there."""


def attend_within(q: Tensor, k: Tensor, v: Tensor, spans: Spans) -> Tensor:
    """Every voxel attends to all voxels of its batch element.

    Args:
        q: Queries, [N, H, D]; likewise keys and values.
        k: See `q`.
        v: See `q`.
        spans: Rows of the batch elements (see `SparseTensor`).
    Returns:
        [N, H, D].
    """
    parts = [_attend(q[None, a:b], k[None, a:b], v[None, a:b])[0] for a, b in spans]
    return torch.cat(parts) if parts else q


def attend_windows(x: SparseTensor, q: Tensor, k: Tensor, v: Tensor, window: int, shift: int) -> Tensor:
    """Every voxel attends to the voxels of its batch element that lie in the same window.

    Two voxels share a window if floor((coordinate + shift) / window) is the same on all three axes.

    Args:
        x: Says where the voxels are; its features are not looked at.
        q: Queries, [N, H, D]; likewise keys and values.
        k: See `q`.
        v: See `q`.
        window: Edge of a window, voxels.
        shift: Added to the coordinates first, voxels.
    Returns:
        [N, H, D].
    """
    if not len(x):
        return q
    windows = x.cached(("windows", window, shift), lambda: _find_windows(x.coords, window, shift))
    results = []
    for rows, mask in zip(windows.rows, windows.masks, strict=True):
        results.append(_attend(_picked(q, rows), _picked(k, rows), _picked(v, rows), mask).flatten(0, 1))
    return torch.cat(results).index_select(0, windows.back)


@dataclass(frozen=True, kw_only=True)
class _Windows:
    """Voxels by window, in groups of windows of similar length.

    Attributes:
        rows: Of each group the voxels of its windows, int64 [W, T]; short windows repeat their last voxel.
        masks: Of each group what is no repetition, bool [W, 1, 1, T]; None where all windows have T voxels.
        back: Where in all groups' results, laid end to end, each voxel is; int64 [N].
    """

    rows: tuple[Tensor, ...]
    masks: tuple[Tensor | None, ...]
    back: Tensor


def _find_windows(coords: Tensor, window: int, shift: int) -> _Windows:
    placed = coords.clone()
    placed[:, 1:] = torch.div(coords[:, 1:] + shift, window, rounding_mode="floor")
    _, ids, lengths = torch.unique(keys_of(placed), return_inverse=True, return_counts=True)
    order = ids.argsort(stable=True)
    starts = lengths.cumsum(0) - lengths
    # From long to short; stable, so that the result is the same on every run and device.
    by_length = lengths.argsort(descending=True, stable=True)
    sorted_starts, sorted_lengths = starts[by_length], lengths[by_length]
    rows, masks, padded = [], [], 0
    back = torch.empty(len(coords), dtype=torch.int64, device=coords.device)
    for first, last, longest, shortest in _groups(sorted_lengths.tolist()):
        step = torch.arange(longest, device=coords.device)
        length = sorted_lengths[first:last, None]
        place = sorted_starts[first:last, None] + torch.minimum(step, length - 1)
        group = order[place]
        real = step < length
        # Repetitions stand behind their voxel and must not take its place: they write to where the voxel already is.
        here = padded + torch.arange(last - first, device=coords.device)[:, None] * longest
        back[group] = here + torch.minimum(step, length - 1)
        rows.append(group)
        masks.append(None if shortest == longest else real[:, None, None])
        padded += group.numel()
    return _Windows(rows=tuple(rows), masks=tuple(masks), back=back)


def _groups(lengths: list[int]) -> list[tuple[int, int, int, int]]:
    """First window, one past the last, longest and shortest length of each group; `lengths` descend."""
    groups, first = [], 0
    for i in range(1, len(lengths) + 1):
        longest = lengths[first]
        if i == len(lengths) or lengths[i] < PADDING * longest or (i + 1 - first) * longest > GROUP_TOKENS:
            groups.append((first, i, longest, lengths[i - 1]))
            first = i
    return groups


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """[W, T, H, D] each; `mask` says which keys count."""
    mixed = functional.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask)
    return mixed.transpose(1, 2)


def _picked(values: Tensor, rows: Tensor) -> Tensor:
    """[N, H, D] and [W, T] -> [W, T, H, D]."""
    return values.index_select(0, rows.reshape(-1)).reshape(*rows.shape, *values.shape[1:])
