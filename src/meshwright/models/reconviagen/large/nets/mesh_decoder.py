"""A structured latent becomes what a surface is extracted from: distances, offsets, weights and colours of fine cubes.

Letters: N voxels of the latent, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as functional
from torch import nn

from meshwright.errors import OptionError
from meshwright.models.reconviagen.large.nets.latent_torso import LatentTorso
from meshwright.models.reconviagen.large.nets.precision import cast_matrices
from meshwright.models.reconviagen.large.sparse.convolution import SparseConv3d, convolve_subdivided
from meshwright.models.reconviagen.large.sparse.norm import SparseGroupNorm
from meshwright.models.reconviagen.large.sparse.pooling import subdivide
from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor

__all__ = ["CUBE_CHANNELS", "LatentMeshDecoder", "SubdivideBlock"]

CUBE_CHANNELS = 101
"""8 distances, 8 x 3 offsets, 21 weights, 8 x 6 colours and normals (see `extraction`)."""

GROUPS = 32


class SubdivideBlock(nn.Module):
    """Every voxel becomes eight; a residual block follows on these.

    The children of a voxel begin with its features, all eight alike. Neither these copies nor what the skip connection
    makes of them are ever written down: both are worked out on the parents.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.act_layers = nn.ModuleDict({"0": SparseGroupNorm(GROUPS, channels)})
        self.out_layers = nn.ModuleDict(
            {
                "0": SparseConv3d(channels, out_channels, 3),
                "1": SparseGroupNorm(GROUPS, out_channels),
                "3": SparseConv3d(out_channels, out_channels, 3),
            }
        )
        self.skip_connection = SparseConv3d(channels, out_channels, 1)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """[N, channels] -> [8 N, out_channels]."""
        fine = subdivide(x, copy=False)
        first = cast(SparseConv3d, self.out_layers["0"]).conv
        h = convolve_subdivided(_silu(self.act_layers["0"](x)), fine, first.weight, first.bias)
        h = self.out_layers["3"](_silu(self.out_layers["1"](h)))
        families = h.feats.unflatten(0, (-1, 8)) + self.skip_connection(x).feats[:, None]
        return h.replace(families.flatten(0, 1))


class LatentMeshDecoder(LatentTorso):
    """A latent on a grid of `resolution` to cubes on a grid four times as fine.

    Args:
        representation_config: `use_color` must be true: published decoders give colours.
        Others: See `LatentTorso`.
    """

    def __init__(
        self,
        *,
        resolution: int,
        model_channels: int,
        latent_channels: int,
        num_blocks: int,
        num_heads: int | None = None,
        num_head_channels: int = 64,
        mlp_ratio: float = 4.0,
        attn_mode: str = "swin",
        window_size: int = 8,
        pe_mode: str = "ape",
        use_fp16: bool = False,
        representation_config: Mapping[str, object],
    ) -> None:
        super().__init__(
            resolution=resolution,
            model_channels=model_channels,
            latent_channels=latent_channels,
            num_blocks=num_blocks,
            num_heads=num_heads,
            num_head_channels=num_head_channels,
            mlp_ratio=mlp_ratio,
            attn_mode=attn_mode,
            window_size=window_size,
            pe_mode=pe_mode,
            use_fp16=use_fp16,
        )
        if dict(representation_config) != {"use_color": True}:
            raise OptionError(
                f"representation_config={dict(representation_config)!r} is not known to the mesh decoder.",
                hint='Use {"use_color": true}.',
            )
        self.upsample = nn.ModuleList(
            [
                SubdivideBlock(model_channels, model_channels // 4),
                SubdivideBlock(model_channels // 4, model_channels // 8),
            ]
        )
        self.out_layer = nn.Linear(model_channels // 8, CUBE_CHANNELS)
        if use_fp16:
            cast_matrices(self.upsample, torch.float16)

    @property
    def cube_resolution(self) -> int:
        """Cubes along an edge of the grid that the result lies on."""
        return 4 * self.resolution

    def cast_torso(self, dtype: torch.dtype) -> None:
        super().cast_torso(dtype)
        cast_matrices(self.upsample, dtype)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Latent [N, latent_channels] -> cubes [64 N, 101], the 64 of a voxel together."""
        h = self.torso(x)
        for block in self.upsample:
            h = block(h)
        return h.replace(self.out_layer(h.feats.to(self.out_layer.weight.dtype)).to(x.dtype))


def _silu(x: SparseTensor) -> SparseTensor:
    """In place: norms give features that nothing else holds."""
    return x.replace(functional.silu(x.feats, inplace=True))
