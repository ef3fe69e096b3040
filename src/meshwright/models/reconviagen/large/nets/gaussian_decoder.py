"""A structured latent becomes small coloured ellipsoids, some tens a voxel.

Letters: N voxels, K gaussians of a voxel.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from meshwright.models.reconviagen.large.gaussians import GaussianConfig, Gaussians
from meshwright.models.reconviagen.large.nets.attention import SingleLayerNorm
from meshwright.models.reconviagen.large.nets.latent_torso import LatentTorso
from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor

__all__ = ["LatentGaussianDecoder", "spread_offsets"]

CHANNELS = 14
"""Of one gaussian: offset 3, colour 3, scale 3, rotation 4, opacity 1."""


class LatentGaussianDecoder(LatentTorso):
    """A latent on a grid of `resolution` to K gaussians a voxel.

    Args:
        representation_config: As in the published files (see `GaussianConfig`).
        Others: See `LatentTorso`.
    """

    offset_perturbation: Tensor

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
        self.config = GaussianConfig.from_json(representation_config)
        self.norm = SingleLayerNorm(model_channels, eps=1e-5, elementwise_affine=False)
        self.out_layer = nn.Linear(model_channels, CHANNELS * self.config.num_gaussians)
        self.register_buffer("offset_perturbation", spread_offsets(self.config))

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Latent [N, latent_channels] -> raw numbers [N, 14 K]: all offsets, then all colours, and so on."""
        h = self.norm(self.torso(x).feats.to(x.dtype))
        return x.replace(self.out_layer(h.to(self.out_layer.weight.dtype)).to(x.dtype))

    def gaussians(self, raw: SparseTensor) -> tuple[Gaussians, ...]:
        """What `forward` gave, as the gaussians of each batch element; those of a voxel lie together."""
        return tuple(self._of_element(raw.feats[a:b], raw.coords[a:b, 1:]) for a, b in raw.spans)

    def _of_element(self, raw: Tensor, coords: Tensor) -> Gaussians:
        count, rates = self.config.num_gaussians, self.config.lr
        sizes = [width * count for width in (3, 3, 3, 4, 1)]
        offset, color, scaling, rotation, opacity = (
            part.float().reshape(len(raw), count, -1) for part in torch.split(raw, sizes, dim=1)
        )
        reach = 0.5 * self.config.voxel_size / self.resolution
        centre = (coords.float() + 0.5) / self.resolution
        moved = torch.tanh(offset * rates["_xyz"] + self.offset_perturbation.float()) * reach
        return Gaussians(
            unit_xyz=(centre[:, None] + moved).flatten(0, 1),
            features_dc=(color * rates["_features_dc"]).flatten(0, 1),
            raw_scaling=(scaling * rates["_scaling"]).flatten(0, 1),
            raw_rotation=(rotation * rates["_rotation"]).flatten(0, 1),
            raw_opacity=(opacity * rates["_opacity"]).flatten(0, 1),
            config=self.config,
        )


def spread_offsets(config: GaussianConfig) -> Tensor:
    """Where in their voxel gaussians begin: evenly spread (Hammersley), as float32 [K, 3] before `tanh`."""
    count = config.num_gaussians
    points = torch.tensor(
        [(i / count, _radical_inverse(i, 2), _radical_inverse(i, 3)) for i in range(count)], dtype=torch.float64
    )
    return torch.atanh((2 * points - 1) / config.voxel_size).float()


def _radical_inverse(number: int, base: int) -> float:
    """The digits of a number mirrored at its point: 6 = 110 in base 2 becomes 0.011 = 0.375."""
    result, place = 0.0, 1.0 / base
    while number:
        number, digit = divmod(number, base)
        result += digit * place
        place /= base
    return result
