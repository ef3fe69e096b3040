"""What the decoders of a structured latent share: a transformer on its voxels whose attention stays within windows.

Letters: N voxels, C channels.
"""

from __future__ import annotations

import torch
from torch import nn

from meshwright.errors import OptionError
from meshwright.models.reconviagen.large.nets.attention import FeedForward, SelfAttention, SingleLayerNorm
from meshwright.models.reconviagen.large.nets.embeddings import position_embedding
from meshwright.models.reconviagen.large.nets.precision import cast_matrices, matrix_dtype
from meshwright.models.reconviagen.large.sparse.attention import attend_windows, attend_within
from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor

__all__ = ["LatentTorso", "SparseSelfAttention"]


class SparseSelfAttention(SelfAttention):
    """Voxels attend to the voxels of their window, or of their whole batch element.

    Args:
        channels: C.
        num_heads: A divisor of C.
        window_size: Edge of a window in voxels; None for all voxels of the batch element.
        shift: Added to the coordinates before they are parted into windows.
        qk_rms_norm: Queries and keys are normed.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        window_size: int | None = None,
        shift: int = 0,
        qk_rms_norm: bool = False,
    ) -> None:
        super().__init__(channels, num_heads, qk_rms_norm=qk_rms_norm)
        self.window_size = window_size
        self.shift = shift

    def forward(self, x: SparseTensor) -> SparseTensor:  # type: ignore[override]
        q, k, v = self.to_qkv(x.feats).unflatten(-1, (3, self.num_heads, -1)).unbind(1)
        if self.qk_rms_norm:
            q, k = self.q_rms_norm(q), self.k_rms_norm(k)
        if self.window_size is None:
            mixed = attend_within(q, k, v, x.spans)
        else:
            mixed = attend_windows(x, q, k, v, self.window_size, self.shift)
        return x.replace(self.to_out(mixed.flatten(1)))


class _Block(nn.Module):
    """Attention, then a feed-forward; each added to what came in."""

    def __init__(self, channels: int, num_heads: int, mlp_ratio: float, window_size: int | None, shift: int) -> None:
        super().__init__()
        self.norm1 = SingleLayerNorm(channels, eps=1e-6, elementwise_affine=False)
        self.norm2 = SingleLayerNorm(channels, eps=1e-6, elementwise_affine=False)
        self.attn = SparseSelfAttention(channels, num_heads, window_size=window_size, shift=shift)
        self.mlp = FeedForward(channels, mlp_ratio)

    def forward(self, x: SparseTensor) -> SparseTensor:
        x = x.replace(x.feats + self.attn(x.replace(self.norm1(x.feats))).feats)
        return x.replace(x.feats + self.mlp(self.norm2(x.feats)))


class LatentTorso(nn.Module):
    """From a latent's few channels to many; every other block shifts its windows by half a window.

    Args:
        resolution: Voxels along an edge of the latent's grid.
        model_channels: C.
        latent_channels: Channels that come in.
        num_blocks: How many blocks there are.
        num_heads: A divisor of C; or leave it out and give `num_head_channels`.
        num_head_channels: Channels of a head.
        mlp_ratio: Width of the feed-forwards in C.
        attn_mode: `swin` (shifted windows) or `full` (everything attends to everything).
        window_size: Edge of a window, voxels.
        pe_mode: `ape`: positions are told apart by sines added once.
        use_fp16: Matrices of the blocks are kept, and compute, in half precision.
    Raises:
        OptionError: A mode is not known.
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
    ) -> None:
        super().__init__()
        if attn_mode not in ("swin", "full"):
            raise OptionError(f"attn_mode={attn_mode!r} is not known to this decoder.", hint="Use swin or full.")
        if pe_mode != "ape":
            raise OptionError(f"pe_mode={pe_mode!r} is not known to this decoder.", hint="Use ape.")
        self.resolution = resolution
        self.model_channels = model_channels
        self.use_fp16 = use_fp16
        heads = num_heads or model_channels // num_head_channels
        window = window_size if attn_mode == "swin" else None
        self.input_layer = nn.Linear(latent_channels, model_channels)
        self.blocks = nn.ModuleList(
            _Block(model_channels, heads, mlp_ratio, window, window_size // 2 * (number % 2))
            for number in range(num_blocks)
        )
        if use_fp16:
            cast_matrices(self.blocks, torch.float16)

    def cast_torso(self, dtype: torch.dtype) -> None:
        """Changes what all blocks compute in; what comes before and after them stays as it is."""
        cast_matrices(self.blocks, dtype)

    def torso(self, x: SparseTensor) -> SparseTensor:
        """Latent [N, latent_channels] -> features [N, C] in the dtype of the blocks."""
        h = self.input_layer(x.feats.to(self.input_layer.weight.dtype))
        h = h + position_embedding(x.coords[:, 1:], self.model_channels).to(h.dtype)
        y = x.replace(h.to(matrix_dtype(self.blocks)))
        for block in self.blocks:
            y = block(y)
        return y
