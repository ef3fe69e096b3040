"""VGGT's camera head: poses from the camera tokens, guessed and mended four times."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from meshwright.models.reconviagen.large.nets.vision_blocks import Norm, VisionBlock, VisionMlp, matrix

__all__ = ["CameraHead"]

_NUMBERS = 9


class CameraHead(nn.Module):
    """Camera tokens to poses as `poses` says them.

    Args:
        dim_in: Channels of the aggregator's outputs.
        trunk_depth: Blocks of the trunk.
        num_heads: Heads of every attention.
        mlp_ratio: Width of the MLPs' insides over `dim_in`.
        init_values: What the layer scales begin with.
        num_iterations: How often a pose is mended.
    """

    def __init__(
        self,
        *,
        dim_in: int = 2048,
        trunk_depth: int = 4,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        init_values: float = 0.01,
        num_iterations: int = 4,
    ) -> None:
        super().__init__()
        self.num_iterations = num_iterations
        self.trunk = nn.Sequential(
            *(
                VisionBlock(dim_in, num_heads, mlp_ratio=mlp_ratio, eps=1e-5, init_values=init_values)
                for _ in range(trunk_depth)
            )
        )
        self.token_norm = Norm(dim_in, eps=1e-5)
        self.trunk_norm = Norm(dim_in, eps=1e-5)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, _NUMBERS))
        self.embed_pose = nn.Linear(_NUMBERS, dim_in)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim_in, 3 * dim_in))
        self.pose_branch = VisionMlp(dim_in, dim_in // 2, _NUMBERS)

    def forward(self, features: Tensor) -> list[Tensor]:
        """Poses after every round, the last one best.

        Args:
            features: The aggregator's last output, float [B, S, P, C]; only each view's first token is read.
        Returns:
            float32 [B, S, 9] for each round; fields of view are never below 0.
        """
        tokens = self.token_norm(features[:, :, 0])
        plain = functional.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)
        pose = self.empty_pose_tokens.float().expand(*tokens.shape[:2], -1)
        found: list[Tensor] = []
        raw: Tensor | None = None
        for _ in range(self.num_iterations):
            guess = matrix(self.embed_pose, pose)
            shift, scale, gate = self.poseLN_modulation(guess).chunk(3, -1)
            x = self.trunk(gate * (plain * (1 + scale) + shift) + tokens)
            step = self.pose_branch(self.trunk_norm(x)).float()
            raw = step if raw is None else raw + step
            pose = raw
            found.append(torch.cat([raw[..., :7], raw[..., 7:].relu()], -1))
        return found
