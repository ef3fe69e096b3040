"""Normalisation of sparse features.

Letters: N voxels, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor

__all__ = ["SparseGroupNorm"]


class SparseGroupNorm(nn.GroupNorm):
    """Group norm over all voxels of a batch element; statistics in float32, the dtype of the features kept."""

    def __init__(self, num_groups: int, num_channels: int) -> None:
        super().__init__(num_groups, num_channels, eps=1e-5)

    def forward(self, x: SparseTensor) -> SparseTensor:  # type: ignore[override]
        return x.replace(torch.cat([self._normalised(x.feats[start:stop]) for start, stop in x.spans] or [x.feats]))

    def _normalised(self, feats: Tensor) -> Tensor:
        """Of the voxels of one batch element, [n, C]."""
        if not len(feats):
            return feats
        grouped = feats.float().reshape(len(feats), self.num_groups, -1)
        variance, mean = torch.var_mean(grouped, (0, 2), correction=0)
        each = self.num_channels // self.num_groups
        scale = (variance + self.eps).rsqrt().repeat_interleave(each) * self.weight.float()
        shift = self.bias.float() - mean.repeat_interleave(each) * scale
        return torch.addcmul(shift, grouped.reshape(feats.shape), scale).to(feats.dtype)
