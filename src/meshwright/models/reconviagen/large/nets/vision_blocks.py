"""What the image transformers are made of: DINOv2, VGGT's aggregator and its camera head share these blocks.

Letters: B batch, L tokens, C channels, H heads, D = C / H. The residual stream and the norms are float32 whatever the
weights are; matrices work in the precision of their own weights, so that halving those halves the work
(`halve_matrices`). In single precision nothing is cast.
Source: Dosovitskiy et al. 2020, arXiv:2010.11929; layer scale: Touvron et al. 2021, arXiv:2103.17239.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from meshwright.models.reconviagen.large.nets.vggt.rope import Turns, turn

__all__ = ["Norm", "VisionBlock", "VisionMlp", "halve_matrices", "matrix"]


def matrix(layer: nn.Module, x: Tensor) -> Tensor:
    """`layer(x)` in the precision of its weights."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return layer(x.to(weight.dtype))


def halve_matrices(network: nn.Module, dtype: torch.dtype, device: torch.device | str | None = None) -> None:
    """Puts linear layers and convolutions into `dtype`, in place; norms, tokens and positions stay as they are.

    The same numbers as under torch's autocast, with half its memory: the casts are done once, not in every call. Where
    a device is given, each layer is moved there first: a GPU casts quicker, and never holds the whole network in its
    old precision.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(device).to(dtype)


class Norm(nn.LayerNorm):
    """Layer norm in float32, whatever comes in."""

    def forward(self, input: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.float()
        bias = None if self.bias is None else self.bias.float()
        return functional.layer_norm(input.float(), self.normalized_shape, weight, bias, self.eps)


class VisionAttention(nn.Module):
    """Self-attention; `qkv` holds queries, keys and values one after the other."""

    def __init__(self, dim: int, num_heads: int, *, qk_norm: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.q_norm: nn.Module = Norm(dim // num_heads, eps=1e-5) if qk_norm else nn.Identity()
        self.k_norm: nn.Module = Norm(dim // num_heads, eps=1e-5) if qk_norm else nn.Identity()

    def forward(self, x: Tensor, turns: Turns | None = None) -> Tensor:
        """float [B, L, C] to the same; `turns` [L, D] rotate queries and keys."""
        batch, length, channels = x.shape
        packed = matrix(self.qkv, x).view(batch, length, 3, self.num_heads, channels // self.num_heads)
        q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
        q, k = self.q_norm(q), self.k_norm(k)
        if turns is not None:
            q, k = turn(q, turns), turn(k, turns)
        seen = functional.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
        return matrix(self.proj, seen.transpose(1, 2).reshape(batch, length, channels))


class VisionMlp(nn.Module):
    """Two linear layers with the exact GELU between them."""

    def __init__(self, dim: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim if out is None else out)

    def forward(self, x: Tensor) -> Tensor:
        return matrix(self.fc2, functional.gelu(matrix(self.fc1, x)))


class LayerScale(nn.Module):
    """One factor for each channel."""

    def __init__(self, dim: int, init_values: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), init_values))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma.float()


class VisionBlock(nn.Module):
    """Attention, then the MLP, each normed before and scaled after.

    Args:
        dim: Channels.
        num_heads: Heads of the attention.
        mlp_ratio: Width of the MLP's inside over `dim`.
        eps: Of the two norms.
        init_values: What the layer scales begin with.
        qk_norm: Whether queries and keys are normed within every head.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        eps: float = 1e-6,
        init_values: float = 1.0,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = Norm(dim, eps=eps)
        self.attn = VisionAttention(dim, num_heads, qk_norm=qk_norm)
        self.ls1 = LayerScale(dim, init_values)
        self.norm2 = Norm(dim, eps=eps)
        self.mlp = VisionMlp(dim, int(dim * mlp_ratio))
        self.ls2 = LayerScale(dim, init_values)

    def forward(self, x: Tensor, turns: Turns | None = None) -> Tensor:
        """float32 [B, L, C] to the same."""
        x = x + self.ls1(self.attn(self.norm1(x), turns))
        return x + self.ls2(self.mlp(self.norm2(x)))
