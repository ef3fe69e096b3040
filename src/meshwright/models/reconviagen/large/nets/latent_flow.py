"""The flow that turns noise on the filled voxels into the latent that all decoders start from.

Letters: N filled voxels, M voxels of the grid of half the resolution, B batch elements, C channels, K tokens of a view.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from meshwright.errors import OptionError, ShapeError
from meshwright.models.reconviagen.large.nets.attention import Context, ModulatedBlock, SingleLayerNorm, modulation
from meshwright.models.reconviagen.large.nets.embeddings import TimestepEmbedder, position_embedding
from meshwright.models.reconviagen.large.nets.precision import cast_matrices, matrix_dtype
from meshwright.models.reconviagen.large.sparse.convolution import SparseConv3d
from meshwright.models.reconviagen.large.sparse.pooling import pool, unpool
from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor

__all__ = ["LatentFlow"]


class LatentFlow(nn.Module):
    """Predicts the velocity of a noisy latent: convolutions on the voxels, a transformer on the voxels of half the
    resolution, convolutions again, with links across.

    Args:
        resolution: Cells along a side of the grid that the voxels are of; told for the record, any coordinates do.
        in_channels: Channels of the latent.
        model_channels: C of the transformer.
        cond_channels: Channels of the condition.
        out_channels: Channels of the velocity.
        num_blocks: Number of blocks of the transformer.
        num_heads: Heads of attention; or leave it out and give `num_head_channels`.
        num_head_channels: Channels of a head.
        mlp_ratio: Width of the feed-forwards in C.
        patch_size: By how much the transformer's grid is coarser: 2 to the number of `io_block_channels`.
        num_io_res_blocks: Convolution blocks at each finer resolution, on the way in and on the way out.
        io_block_channels: Widths of the finer resolutions, from fine to coarse.
        pe_mode: Only "ape" is known: positions are told by sines and cosines.
        use_fp16: Weights of all blocks are kept in half precision, and the blocks compute in it.
        use_skip_connection: The links across.
        share_mod: All blocks are modulated alike.
        qk_rms_norm: Queries and keys of self-attentions are normed.
        qk_rms_norm_cross: Those of cross-attentions are.
    """

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
        patch_size: int = 2,
        num_io_res_blocks: int = 2,
        io_block_channels: Sequence[int] = (128,),
        pe_mode: str = "ape",
        use_fp16: bool = False,
        use_skip_connection: bool = True,
        share_mod: bool = False,
        qk_rms_norm: bool = False,
        qk_rms_norm_cross: bool = False,
    ) -> None:
        super().__init__()
        widths = list(io_block_channels)
        if pe_mode != "ape":
            raise OptionError(f"pe_mode={pe_mode!r} is not known here.", hint="Use 'ape'.")
        if not widths or num_io_res_blocks < 1 or patch_size != 2 ** len(widths):
            raise OptionError(
                f"patch_size={patch_size} does not go with io_block_channels={widths} and "
                f"num_io_res_blocks={num_io_res_blocks}.",
                hint="Every width halves the resolution once: use 2 to their number, and at least one block.",
            )
        self.resolution, self.in_channels, self.model_channels = resolution, in_channels, model_channels
        self.share_mod, self.use_skip_connection = share_mod, use_skip_connection
        self.t_embedder = TimestepEmbedder(model_channels)
        if share_mod:
            self.adaLN_modulation = modulation(model_channels)
        self.input_layer = nn.Linear(in_channels, widths[0])

        inward: list[nn.Module] = []
        for width, coarser in zip(widths, [*widths[1:], model_channels], strict=True):
            inward += [_ResBlock(width, width, model_channels) for _ in range(num_io_res_blocks - 1)]
            inward.append(_ResBlock(width, coarser, model_channels, down=True))
        self.input_blocks = nn.ModuleList(inward)
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
        links = 2 if use_skip_connection else 1
        outward: list[nn.Module] = []
        for coarser, width in zip([model_channels, *widths[:0:-1]], widths[::-1], strict=True):
            outward.append(_ResBlock(coarser * links, width, model_channels, up=True))
            outward += [_ResBlock(width * links, width, model_channels) for _ in range(num_io_res_blocks - 1)]
        self.out_blocks = nn.ModuleList(outward)
        self.out_layer = nn.Linear(widths[0], out_channels)
        if use_fp16:
            self.cast_torso(torch.float16)

    def cast_torso(self, dtype: torch.dtype) -> None:
        """Changes what all blocks compute in; what comes before and after them stays as it is."""
        for part in (self.input_blocks, self.blocks, self.out_blocks):
            cast_matrices(part, dtype)

    def forward(self, x: SparseTensor, t: Tensor, cond: Context) -> SparseTensor:
        """Predicts the velocity.

        Args:
            x: Noisy latent, [N, in_channels].
            t: Times, 0 to 1000, [B].
            cond: Condition [B, K, cond_channels]; or one such tensor a view: every cross-attention then takes the mean
                of what it finds in each.
        Returns:
            Velocity [N, out_channels] on the same voxels, in the dtype of `x`.
        """
        if x.channels != self.in_channels:
            raise ShapeError(f"The latent has {x.channels} channels.", hint=f"Use {self.in_channels}.")
        dtype = matrix_dtype(self.blocks)
        time = self.t_embedder(t)
        shared = self.adaLN_modulation(time).to(dtype) if self.share_mod else None
        time = time.to(dtype)
        conds = [one.to(dtype) for one in ([cond] if isinstance(cond, Tensor) else cond)]

        h = x.replace(self.input_layer(x.feats).to(dtype))
        levels, links = [h], []
        for block in self.input_blocks:
            h = block(h, time, levels)
            links.append(h.feats)
        h = self._transformed(h, time if shared is None else shared, conds)
        for block in self.out_blocks:
            if self.use_skip_connection:
                h = h.replace(torch.cat([h.feats, links.pop()], dim=1))
            h = block(h, time, levels)

        normed = functional.layer_norm(h.feats, h.feats.shape[-1:]).to(x.dtype)
        return x.replace(self.out_layer(normed))

    def _transformed(self, h: SparseTensor, time: Tensor, conds: list[Tensor]) -> SparseTensor:
        """Batch elements have nothing to do with each other, so each goes through by itself, as dense tokens."""
        tokens = h.feats + position_embedding(h.coords[:, 1:], self.model_channels).to(h.dtype)
        results = []
        for i, (start, stop) in enumerate(h.spans):
            one = tokens[None, start:stop]
            for block in self.blocks:
                one = block(one, time[i : i + 1], [cond[i : i + 1] for cond in conds])
            results.append(one[0])
        return h.replace(torch.cat(results) if results else tokens)


class _ResBlock(nn.Module):
    """Two convolutions with the time between them, added to what came in; on a coarser or finer grid, if asked."""

    def __init__(
        self, channels: int, out_channels: int, time_channels: int, *, down: bool = False, up: bool = False
    ) -> None:
        super().__init__()
        self.down, self.up = down, up
        self.norm1 = SingleLayerNorm(channels, eps=1e-6)
        self.norm2 = SingleLayerNorm(out_channels, eps=1e-6, elementwise_affine=False)
        self.conv1 = SparseConv3d(channels, out_channels, 3)
        self.conv2 = SparseConv3d(out_channels, out_channels, 3)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time_channels, 2 * out_channels))
        self.skip_connection = nn.Linear(channels, out_channels) if channels != out_channels else nn.Identity()

    def forward(self, x: SparseTensor, time: Tensor, levels: list[SparseTensor]) -> SparseTensor:
        """[N, channels] -> [N or M, out_channels].

        `levels` says where the voxels of the finer grids are: a block that goes down adds its own, one that goes up
        takes it away.
        """
        if self.down:
            x = pool(x)
            levels.append(x)
        elif self.up:
            levels.pop()
            x = unpool(x, levels[-1])
        scale, shift = self.emb_layers(time).chunk(2, dim=-1)
        h = self.conv1(x.replace(functional.silu(self.norm1(x.feats))))
        feats = self.norm2(h.feats) * (1 + x.rows(scale)) + x.rows(shift)
        h = self.conv2(x.replace(functional.silu(feats)))
        return x.replace(h.feats + self.skip_connection(x.feats))
