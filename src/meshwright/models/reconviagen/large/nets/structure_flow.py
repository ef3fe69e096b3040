"""The flow that turns noise into the latent of the structure: which voxels of a coarse grid the object fills.

Letters: B batch elements, R cells along a side, P side of a patch, C channels, K tokens of the condition.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from meshwright.errors import OptionError, ShapeError
from meshwright.models.reconviagen.large.nets.attention import Context, ModulatedBlock, modulation
from meshwright.models.reconviagen.large.nets.embeddings import TimestepEmbedder, grid_positions, position_embedding
from meshwright.models.reconviagen.large.nets.precision import cast_matrices, matrix_dtype
from meshwright.models.reconviagen.large.nets.volumes import channels_to_cells, patches_to_channels

__all__ = ["StructureFlow"]


class StructureFlow(nn.Module):
    """A transformer over all patches of the grid that predicts the velocity of a noisy latent.

    Args:
        resolution: R.
        in_channels: Channels of the latent.
        model_channels: C.
        cond_channels: Channels of the condition.
        out_channels: Channels of the velocity.
        num_blocks: Number of blocks.
        num_heads: Heads of attention; or leave it out and give `num_head_channels`.
        num_head_channels: Channels of a head.
        mlp_ratio: Width of the feed-forwards in C.
        patch_size: P.
        pe_mode: Only "ape" is known: positions are told by sines and cosines.
        use_fp16: Weights of the blocks are kept in half precision, and the blocks compute in it.
        share_mod: All blocks are modulated alike.
        qk_rms_norm: Queries and keys of self-attentions are normed.
        qk_rms_norm_cross: Those of cross-attentions are.
    """

    pos_emb: Tensor

    def __init__(
        self,
        *,
        resolution: int,
        in_channels: int,
        model_channels: int,
        cond_channels: int,
        out_channels: int,
        num_blocks: int,
        num_heads: int | None = None,
        num_head_channels: int = 64,
        mlp_ratio: float = 4.0,
        patch_size: int = 1,
        pe_mode: str = "ape",
        use_fp16: bool = False,
        share_mod: bool = False,
        qk_rms_norm: bool = False,
        qk_rms_norm_cross: bool = False,
    ) -> None:
        super().__init__()
        if pe_mode != "ape":
            raise OptionError(f"pe_mode={pe_mode!r} is not known here.", hint="Use 'ape'.")
        if resolution % patch_size:
            raise OptionError(f"A grid of {resolution} has no patches of {patch_size}.", hint="Use a divisor.")
        self.resolution, self.in_channels, self.patch_size = resolution, in_channels, patch_size
        self.out_channels, self.share_mod = out_channels, share_mod
        self.t_embedder = TimestepEmbedder(model_channels)
        if share_mod:
            self.adaLN_modulation = modulation(model_channels)
        positions = grid_positions(resolution // patch_size)
        self.register_buffer("pos_emb", position_embedding(positions, model_channels))
        self.input_layer = nn.Linear(in_channels * patch_size**3, model_channels)
        self.blocks = nn.ModuleList(
            ModulatedBlock(
                model_channels,
                cond_channels,
                num_heads or model_channels // num_head_channels,
                mlp_ratio=mlp_ratio,
                qk_rms_norm=qk_rms_norm,
                qk_rms_norm_cross=qk_rms_norm_cross,
                share_mod=share_mod,
            )
            for _ in range(num_blocks)
        )
        self.out_layer = nn.Linear(model_channels, out_channels * patch_size**3)
        if use_fp16:
            self.cast_torso(torch.float16)

    def cast_torso(self, dtype: torch.dtype) -> None:
        """Changes what the blocks compute in; what comes before and after them stays as it is."""
        cast_matrices(self.blocks, dtype)

    def forward(self, x: Tensor, t: Tensor, cond: Context) -> Tensor:
        """Predicts the velocity.

        Args:
            x: Noisy latent [B, in_channels, R, R, R].
            t: Times, 0 to 1000, [B].
            cond: Condition [B, K, cond_channels].
        Returns:
            Velocity [B, out_channels, R, R, R] in the dtype of `x`.
        """
        if x.shape[1:] != (self.in_channels, *[self.resolution] * 3):
            raise ShapeError(
                f"The latent is {tuple(x.shape)}.",
                hint=f"Use [B, {self.in_channels}] and {self.resolution} cells a side.",
            )
        patches = patches_to_channels(x, self.patch_size)
        tokens = self.input_layer(patches.flatten(2).transpose(1, 2)) + self.pos_emb
        time = self.t_embedder(t)
        if self.share_mod:
            time = self.adaLN_modulation(time)

        dtype = matrix_dtype(self.blocks)
        tokens, time = tokens.to(dtype), time.to(dtype)
        cond = cond.to(dtype) if isinstance(cond, Tensor) else [one.to(dtype) for one in cond]
        for block in self.blocks:
            tokens = block(tokens, time, cond)

        tokens = tokens.to(x.dtype)
        velocity = self.out_layer(functional.layer_norm(tokens, tokens.shape[-1:]))
        volume = velocity.transpose(1, 2).unflatten(2, patches.shape[2:])
        return channels_to_cells(volume, self.patch_size)
