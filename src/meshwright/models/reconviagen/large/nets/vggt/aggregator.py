"""VGGT's aggregator: tokens of every picture, attended within pictures and across them in turn.

Letters: B objects, S views, h x w patches, P = 5 + h * w tokens a view (camera, 4 registers, patches), C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from meshwright.models.reconviagen.large.nets.vggt.rope import patch_positions, turns_of
from meshwright.models.reconviagen.large.nets.vision import VisionTransformer, normalised
from meshwright.models.reconviagen.large.nets.vision_blocks import VisionBlock

__all__ = ["Aggregator"]


class Aggregator(nn.Module):
    """Views to features, one output for each pair of a frame block and a global block.

    Args:
        img_size: Side of the pictures that the positions were trained on, pixels.
        patch_size: Side of a patch, pixels.
        embed_dim: Channels.
        depth: Pairs of blocks.
        num_heads: Heads of every attention.
        mlp_ratio: Width of the MLPs' insides over `embed_dim`.
        num_register_tokens: Registers of every view.
        qk_norm: Whether queries and keys are normed within every head.
        rope_freq: Base of the rotary frequencies.
        init_values: What the layer scales begin with.
        patch_embed: Arguments of the `VisionTransformer` inside, where they differ from the published ones.
    """

    def __init__(
        self,
        *,
        img_size: int = 518,
        patch_size: int = 14,
        embed_dim: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        num_register_tokens: int = 4,
        qk_norm: bool = True,
        rope_freq: float = 100.0,
        init_values: float = 0.01,
        patch_embed: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.depth = depth
        self.head_dim = embed_dim // num_heads
        self.rope_freq = float(rope_freq)
        self.special = 1 + num_register_tokens
        self.patch_embed = VisionTransformer(
            **{"img_size": img_size, "patch_size": patch_size, "embed_dim": embed_dim} | dict(patch_embed or {})
        )
        # Index 0 is the first view's, index 1 every other view's.
        self.camera_token = nn.Parameter(torch.zeros(1, 2, 1, embed_dim))
        self.register_token = nn.Parameter(torch.zeros(1, 2, num_register_tokens, embed_dim))

        def blocks() -> nn.ModuleList:
            return nn.ModuleList(
                VisionBlock(
                    embed_dim, num_heads, mlp_ratio=mlp_ratio, eps=1e-5, init_values=init_values, qk_norm=qk_norm
                )
                for _ in range(depth)
            )

        self.frame_blocks = blocks()
        self.global_blocks = blocks()

    def forward(
        self,
        images: Tensor,
        keep: Sequence[int] | None = None,
        *,
        views_at_once: int = 8,
        between: Callable[[int], None] | None = None,
    ) -> dict[int, Tensor]:
        """Features after the pairs of blocks that are asked for.

        Args:
            images: float [B, S, 3, H, W] in 0..1.
            keep: Which outputs are wanted, counted from 0; None: all. Those after the last one are not computed.
            views_at_once: Views that go through what looks at single views together; memory grows with it.
            between: Called with the number of each pair of blocks before it runs; may raise.
        Returns:
            Output number to float32 [B, S, P, 2 C]: frame channels, then global channels.
        """
        batch, views, _, height, width = images.shape
        wanted = tuple(range(self.depth)) if keep is None else tuple(keep)
        parts = torch.split(images.flatten(0, 1), views_at_once)
        patches = torch.cat([self.patch_embed.patch_tokens(normalised(part)) for part in parts])
        camera, registers = (self._per_view(token, batch, views) for token in (self.camera_token, self.register_token))
        x = torch.cat([camera, registers, patches], 1)
        rows, columns = height // self.patch_size, width // self.patch_size
        places = patch_positions(rows, columns, self.special, images.device)
        within = turns_of(places, self.head_dim, self.rope_freq)
        across = within[0].repeat(views, 1), within[1].repeat(views, 1)
        outputs = {}
        length = x.shape[1]
        for index in range(max(wanted, default=-1) + 1):
            if between is not None:
                between(index)
            frame = torch.cat([self.frame_blocks[index](part, within) for part in torch.split(x, views_at_once)])
            whole = self.global_blocks[index](frame.view(batch, views * length, -1), across)
            x = whole.view(batch * views, length, -1)
            if index in wanted:
                outputs[index] = torch.cat([frame, x], -1).view(batch, views, length, -1)
        return outputs

    @staticmethod
    def _per_view(token: Tensor, batch: int, views: int) -> Tensor:
        """[1, 2, T, C] to [B * S, T, C]: the first entry for each object's first view, the second for the others."""
        first, other = token.float().unbind(1)
        per_view = torch.cat([first[None], other[None].expand(-1, views - 1, -1, -1)], 1)
        return per_view.expand(batch, -1, -1, -1).flatten(0, 1)
