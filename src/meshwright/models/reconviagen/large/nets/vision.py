"""The image encoder: DINOv2's ViT-L/14 with registers, as it is released and as VGGT carries one inside.

Letters: N pictures, h x w patches, P = h * w, R registers, C channels. Tokens: class, registers, patches row by row.
Source: Oquab et al. 2023, arXiv:2304.07193; registers: Darcet et al. 2023, arXiv:2309.16588.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from meshwright.errors import ShapeError
from meshwright.models.reconviagen.large.nets.vision_blocks import Norm, VisionBlock, matrix

__all__ = ["VisionTransformer", "normalised"]

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def normalised(images: Tensor) -> Tensor:
    """Pictures [..., 3, H, W] in 0..1 to the mean and spread of ImageNet, channel by channel."""
    channels = [(images[..., i, :, :] - _MEAN[i]) / _STD[i] for i in range(3)]
    # Stacked from numbers, not from a tensor of them: that would be one more copy to the device, and a wait.
    return torch.stack(channels, -3)


class PatchEmbed(nn.Module):
    """Squares of the picture to tokens."""

    def __init__(self, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return matrix(self.proj, x).flatten(2).transpose(1, 2).float()


class VisionTransformer(nn.Module):
    """Pictures to tokens.

    Args:
        img_size: Side of the pictures that the positions were trained on, pixels.
        patch_size: Side of a patch, pixels.
        embed_dim: Channels.
        depth: Blocks.
        num_heads: Heads of every attention.
        mlp_ratio: Width of the MLPs' insides over `embed_dim`.
        num_register_tokens: Registers, between the class token and the patches.
        init_values: What the layer scales begin with.
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
        init_values: float = 1.0,
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.num_register_tokens = num_register_tokens
        self.side = img_size // patch_size
        self.patch_embed = PatchEmbed(patch_size, embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.side**2, embed_dim))
        self.register_tokens = nn.Parameter(torch.zeros(1, num_register_tokens, embed_dim))
        self.mask_token = nn.Parameter(torch.zeros(1, embed_dim))  # of training; the files have it
        self.blocks = nn.ModuleList(
            VisionBlock(embed_dim, num_heads, mlp_ratio=mlp_ratio, eps=1e-6, init_values=init_values)
            for _ in range(depth)
        )
        self.norm = Norm(embed_dim, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """Tokens before the last norm.

        Args:
            images: Normalised pictures, float [N, 3, H, W], both sides multiples of the patch.
        Returns:
            float32 [N, 1 + R + P, C].
        """
        height, width = images.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise ShapeError(
                f"A picture of {width} x {height} is not cut into patches of {self.patch_size}.",
                hint=f"Both sides must be multiples of {self.patch_size}.",
            )
        patches = self.patch_embed(images)
        x = torch.cat([self.cls_token.float().expand(len(images), -1, -1), patches], 1)
        x = x + self._positions(height // self.patch_size, width // self.patch_size)
        registers = self.register_tokens.float().expand(len(images), -1, -1)
        x = torch.cat([x[:, :1], registers, x[:, 1:]], 1)
        for block in self.blocks:
            x = block(x)
        return x

    def patch_tokens(self, images: Tensor) -> Tensor:
        """Normed patches alone, float32 [N, P, C], as VGGT takes them."""
        return self.norm(self(images)[:, 1 + self.num_register_tokens :])

    def image_condition(self, images: Tensor) -> Tensor:
        """All tokens of pictures in 0..1, normed without the trained norm: what the condition networks take.

        Args:
            images: float [N, 3, H, W] in 0..1.
        Returns:
            float32 [N, 1 + R + P, C].
        """
        x = self(normalised(images))
        return functional.layer_norm(x, x.shape[-1:], eps=1e-5)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Positions of class and patches, float32 [1, 1 + P, C]; resized where the picture has another size."""
        positions = self.pos_embed.float()
        if rows == columns == self.side:
            return positions
        grid = positions[:, 1:].reshape(1, self.side, self.side, -1).permute(0, 3, 1, 2)
        grid = functional.interpolate(grid, size=(rows, columns), mode="bicubic", antialias=True)
        return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], 1)
