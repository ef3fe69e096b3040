"""Features on some of the voxels of a grid.

Letters: N voxels of all batch elements together, B batch elements, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch import Tensor

from meshwright.errors import ShapeError

__all__ = ["SparseTensor"]

Found = TypeVar("Found")


class SparseTensor:
    """One row of features a voxel; the rows of one batch element lie together, batch elements in ascending order.

    What is worked out from the coordinates alone (neighbour tables, orders of windows, parents) is kept in `cache`,
    which all tensors with the same coordinates share: it is found once a run, not once a layer.

    Attributes:
        feats: [N, C], any floating dtype.
        coords: Integer [N, 4]: batch element, x, y, z; kept as int32. No voxel occurs twice.
        cache: What was worked out from `coords`.
    Raises:
        ShapeError: Shapes, dtypes or devices do not fit; or (from `spans`) batch elements are mixed up.
    """

    def __init__(
        self,
        feats: Tensor,
        coords: Tensor,
        *,
        spans: tuple[tuple[int, int], ...] | None = None,
        cache: dict[Hashable, Any] | None = None,
    ) -> None:
        if feats.ndim != 2 or coords.ndim != 2 or coords.shape[1] != 4 or len(feats) != len(coords):
            raise ShapeError(
                f"feats {tuple(feats.shape)} and coords {tuple(coords.shape)} are no sparse tensor.",
                hint="Use feats [N, C] and coords [N, 4].",
            )
        if coords.dtype.is_floating_point or coords.dtype.is_complex or coords.dtype == torch.bool:
            raise ShapeError(f"coords are {coords.dtype}.", hint="Use integer coordinates.")
        if feats.device != coords.device:
            raise ShapeError(f"feats lie on {feats.device}, coords on {coords.device}.", hint="Use one device.")
        self.feats = feats
        self.coords = coords.to(torch.int32)
        self.cache: dict[Hashable, Any] = {} if cache is None else cache
        if spans is not None:
            self.cache["spans"] = spans

    def __len__(self) -> int:
        return len(self.feats)

    def __repr__(self) -> str:
        return f"SparseTensor({tuple(self.feats.shape)}, {self.dtype}, {self.device})"

    @property
    def device(self) -> torch.device:
        return self.feats.device

    @property
    def dtype(self) -> torch.dtype:
        return self.feats.dtype

    @property
    def channels(self) -> int:
        return self.feats.shape[1]

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """First row and one past the last row of each batch element, B pairs.

        Asks the device once for as long as the coordinates live; not at all where they were passed in.
        """
        return self.cached("spans", self._find_spans)

    @property
    def batch(self) -> int:
        """B."""
        return len(self.spans)

    def replace(self, feats: Tensor) -> SparseTensor:
        """The same voxels with other features [N, any]; what was worked out from the coordinates is shared."""
        return SparseTensor(feats, self.coords, cache=self.cache)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> SparseTensor:
        """On another device or with features of another dtype; the cache is kept as long as the device is the same."""
        feats = self.feats.to(device=device, dtype=dtype)
        if feats.device == self.device:
            return self.replace(feats)
        return SparseTensor(feats, self.coords.to(feats.device), spans=self.cache.get("spans"))

    def rows(self, values: Tensor) -> Tensor:
        """One value a batch element, [B, ...], as one a voxel, [N, ...]."""
        if len(values) != self.batch:
            raise ShapeError(f"{len(values)} rows for {self.batch} batch elements.", hint="Pass one a batch element.")
        if self.batch == 1:
            return values.expand(len(self), *values.shape[1:])
        return torch.cat([values[i].expand(stop - start, *values.shape[1:]) for i, (start, stop) in self._numbered()])

    def cached(self, key: Hashable, find: Callable[[], Found]) -> Found:
        """What `find` finds, found once for these coordinates. It must depend on them (and on `key`) alone."""
        if key not in self.cache:
            self.cache[key] = find()
        found: Found = self.cache[key]
        return found

    def _numbered(self) -> list[tuple[int, tuple[int, int]]]:
        return list(enumerate(self.spans))

    def _find_spans(self) -> tuple[tuple[int, int], ...]:
        ids = self.coords[:, 0]
        if not len(ids):
            return ()
        ordered = (ids[1:] >= ids[:-1]).all() & (ids[0] >= 0)
        if not bool(ordered):
            raise ShapeError(
                "Rows of the batch elements are mixed up, or a batch element is negative.",
                hint="Sort the rows by their first coordinate.",
            )
        stops = torch.bincount(ids).cumsum(0).tolist()
        return tuple(zip([0, *stops[:-1]], stops, strict=True))
