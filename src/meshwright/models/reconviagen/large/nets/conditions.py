"""What the flows are told about the pictures: one set of tokens for the structure, one set a view for the latent.

Letters: B batch elements, N views, P tokens of a view (5 special ones, then its patches), C channels.
Both networks read the same two things: tokens of four layers of the geometry network (each view seen together with the
others), and tokens of the picture network (each view by itself).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from meshwright.errors import OptionError, ShapeError
from meshwright.models.reconviagen.large.nets.attention import ContextBlock
from meshwright.models.reconviagen.large.nets.precision import cast_matrices, matrix_dtype

__all__ = ["GEOMETRY_LAYERS", "SPECIAL_TOKENS", "LatentCondition", "StructureCondition"]

GEOMETRY_LAYERS = (4, 11, 17, 23)
"""Which outputs of the geometry network are read, counted from 0; the others need not be kept."""
SPECIAL_TOKENS = 5
"""Of each view, ahead of its patches: one of the camera (or the class), four registers."""


class StructureCondition(nn.Module):
    """All views fused into one set of tokens, which the flow of the structure attends to.

    Learned tokens attend to themselves and to the patches of all views, once a layer of the geometry network.

    Args:
        channels: C of the tokens.
        ctx_channels: Channels of both networks' tokens together.
        num_heads: Heads of attention.
        mlp_ratio: Width of the feed-forwards in `channels`.
        attn_mode: Only "full" is known.
        qk_rms_norm: Queries and keys of self-attentions are normed.
        qk_rms_norm_cross: Those of cross-attentions are.
        num_init_tokens: Number of learned tokens.
        use_fp16: Weights of linear maps and learned tokens are kept in half precision.
    """

    def __init__(
        self,
        *,
        channels: int = 1024,
        ctx_channels: int = 3072,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        attn_mode: str = "full",
        qk_rms_norm: bool = True,
        qk_rms_norm_cross: bool = False,
        num_init_tokens: int = 4096,
        use_fp16: bool = False,
    ) -> None:
        super().__init__()
        if attn_mode != "full":
            raise OptionError(f"attn_mode={attn_mode!r} is not known here.", hint="Use 'full'.")
        self.multiview_cond_tokens = nn.Parameter(torch.randn(1, num_init_tokens, channels))
        self.cond_blocks = nn.ModuleList(
            ContextBlock(
                channels,
                ctx_channels,
                num_heads,
                mlp_ratio=mlp_ratio,
                qk_rms_norm=qk_rms_norm,
                qk_rms_norm_cross=qk_rms_norm_cross,
            )
            for _ in GEOMETRY_LAYERS
        )
        if use_fp16:
            cast_matrices(self, torch.float16)

    def forward(self, geometry: Mapping[int, Tensor], picture: Tensor) -> Tensor:
        """Fuses the views.

        Args:
            geometry: Tokens of each of `GEOMETRY_LAYERS`, [B, N, P, ctx_channels - 1024], special ones included.
            picture: Tokens of patches alone, [B, N, P - 5, 1024].
        Returns:
            [B, num_init_tokens, C], in the dtype of the weights.
        """
        dtype = matrix_dtype(self.cond_blocks)
        picture = picture.to(dtype)
        tokens = self.multiview_cond_tokens.to(dtype).expand(len(picture), -1, -1)
        for layer, block in zip(GEOMETRY_LAYERS, self.cond_blocks, strict=True):
            patches = _layer(geometry, layer)[:, :, SPECIAL_TOKENS:].to(dtype)
            tokens = block(tokens, _joined(patches, picture).flatten(1, 2))
        return tokens


class LatentCondition(nn.Module):
    """A set of tokens for each view, which the flow of the latent attends to one view after the other.

    Args:
        channels: C, that of the picture network's tokens.
        ctx_channels: Channels of the geometry network's tokens and C together.
        use_fp16: Weights are kept in half precision.
    """

    def __init__(self, *, channels: int = 1024, ctx_channels: int = 3072, use_fp16: bool = False) -> None:
        super().__init__()
        self.linear_blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(ctx_channels, channels), nn.ReLU()) for _ in GEOMETRY_LAYERS
        )
        if use_fp16:
            cast_matrices(self, torch.float16)

    def forward(self, geometry: Mapping[int, Tensor], picture: Tensor) -> Tensor:
        """Mixes the two networks' tokens, each token by itself: views may be given in any number of portions.

        Args:
            geometry: Tokens of each of `GEOMETRY_LAYERS`, [B, N, P, ctx_channels - C].
            picture: [B, N, P, C], special tokens included.
        Returns:
            [B*N, P, C], in the dtype of the weights.
        """
        dtype = matrix_dtype(self)
        picture = picture.to(dtype)
        tokens = picture
        for layer, block in zip(GEOMETRY_LAYERS, self.linear_blocks, strict=True):
            tokens = block(_joined(_layer(geometry, layer).to(dtype), tokens)) + picture
        return tokens.flatten(0, 1)


def _layer(geometry: Mapping[int, Tensor], layer: int) -> Tensor:
    if layer not in geometry:
        raise ShapeError(
            f"Output {layer} of the geometry network is missing; there are {sorted(geometry)}.",
            hint=f"Keep outputs {', '.join(map(str, GEOMETRY_LAYERS))}.",
        )
    return geometry[layer]


def _joined(geometry: Tensor, picture: Tensor) -> Tensor:
    """Channels of the geometry network first."""
    if geometry.shape[:-1] != picture.shape[:-1]:
        raise ShapeError(
            f"Tokens {tuple(geometry.shape)} and {tuple(picture.shape)} are not of the same views and patches.",
            hint="Leave special tokens out of the picture's tokens for the structure, keep them for the latent.",
        )
    return torch.cat([geometry, picture], dim=-1)
