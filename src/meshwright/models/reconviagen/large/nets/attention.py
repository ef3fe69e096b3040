"""Transformer blocks of the flow and condition networks.

Letters: B batch elements, L tokens, K tokens of a context, C channels, H heads, D = C / H channels of a head.
Linear maps compute in the dtype that their weights have; norms in float32, and give back the dtype that they got.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as functional
from torch import Tensor, nn, ones

from meshwright.errors import ShapeError

__all__ = [
    "Context",
    "ContextBlock",
    "CrossAttention",
    "FeedForward",
    "HeadNorm",
    "ModulatedBlock",
    "SelfAttention",
    "SingleLayerNorm",
    "modulation",
]

Context = Tensor | Sequence[Tensor]
"""What is attended to, [B, K, channels]; or several of them (views), which are attended to one by one and averaged."""

_EPS = 1e-6


class SingleLayerNorm(nn.LayerNorm):
    """Layer norm over the last axis, worked out in float32 (single precision) for any dtype."""

    def forward(self, x: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.float()
        bias = None if self.bias is None else self.bias.float()
        return functional.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


class HeadNorm(nn.Module):
    """Each head's vector at root-mean-square 1, times a learned gain; in float32."""

    def __init__(self, heads: int, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(ones(heads, channels))

    def forward(self, x: Tensor) -> Tensor:
        """[..., H, D] -> the same."""
        scale = self.gamma.float() * math.sqrt(self.gamma.shape[-1])
        return (functional.normalize(x.float(), dim=-1) * scale).to(x.dtype)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k / sqrt(D)) v over tokens: q [B, L, H, D], k and v [B, K, H, D] -> [B, L, H*D]."""
    mixed = functional.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    return mixed.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Tokens attend to all tokens of their batch element, [B, L, C] -> [B, L, C]."""

    def __init__(self, channels: int, num_heads: int, *, qk_rms_norm: bool = False) -> None:
        super().__init__()
        self.num_heads = _checked_heads(channels, num_heads)
        self.to_qkv = nn.Linear(channels, 3 * channels)
        if qk_rms_norm:
            self.q_rms_norm = HeadNorm(num_heads, channels // num_heads)
            self.k_rms_norm = HeadNorm(num_heads, channels // num_heads)
        self.qk_rms_norm = qk_rms_norm
        self.to_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        if self.qk_rms_norm:
            q, k = self.q_rms_norm(q), self.k_rms_norm(k)
        y: Tensor = self.to_out(_attend(q, k, v))
        return y


class CrossAttention(nn.Module):
    """Tokens attend to a context, x [B, L, C] and context [B, K, ctx_channels] -> [B, L, C]."""

    def __init__(self, channels: int, ctx_channels: int, num_heads: int, *, qk_rms_norm: bool = False) -> None:
        super().__init__()
        self.num_heads = _checked_heads(channels, num_heads)
        self.to_q = nn.Linear(channels, channels)
        self.to_kv = nn.Linear(ctx_channels, 2 * channels)
        if qk_rms_norm:
            self.q_rms_norm = HeadNorm(num_heads, channels // num_heads)
            self.k_rms_norm = HeadNorm(num_heads, channels // num_heads)
        self.qk_rms_norm = qk_rms_norm
        self.to_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Several contexts: the mean of what attending to each gives.

        The last map is affine, so the mean is taken before it: it runs once, whatever the number of contexts.
        """
        contexts = [context] if isinstance(context, Tensor) else list(context)
        if not contexts:
            raise ShapeError("There is nothing to attend to.", hint="Pass at least one context.")
        q = self.to_q(x).unflatten(-1, (self.num_heads, -1))
        if self.qk_rms_norm:
            q = self.q_rms_norm(q)
        total = self._attended(q, contexts[0])
        for other in contexts[1:]:
            total = total + self._attended(q, other)
        y: Tensor = self.to_out(total / len(contexts) if len(contexts) > 1 else total)
        return y

    def _attended(self, q: Tensor, context: Tensor) -> Tensor:
        k, v = self.to_kv(context).unflatten(-1, (2, self.num_heads, -1)).unbind(2)
        if self.qk_rms_norm:
            k = self.k_rms_norm(k)
        return _attend(q, k, v)


class FeedForward(nn.Module):
    """Two linear maps with a GELU between them, in its form by tanh."""

    def __init__(self, channels: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = int(channels * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.mlp(x)
        return y


class _Block(nn.Module):
    """What both kinds of block are made of."""

    def __init__(
        self,
        channels: int,
        ctx_channels: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        qk_rms_norm: bool = False,
        qk_rms_norm_cross: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = SingleLayerNorm(channels, eps=_EPS, elementwise_affine=False)
        self.norm2 = SingleLayerNorm(channels, eps=_EPS)
        self.norm3 = SingleLayerNorm(channels, eps=_EPS, elementwise_affine=False)
        self.self_attn = SelfAttention(channels, num_heads, qk_rms_norm=qk_rms_norm)
        self.cross_attn = CrossAttention(channels, ctx_channels, num_heads, qk_rms_norm=qk_rms_norm_cross)
        self.mlp = FeedForward(channels, mlp_ratio)


class ContextBlock(_Block):
    """Attention to the tokens themselves, then to a context, then a feed-forward; each added to what came in.

    Args:
        channels: C.
        ctx_channels: Channels of the context.
        num_heads: H.
        mlp_ratio: Width of the feed-forward in C.
        qk_rms_norm: Queries and keys of the self-attention are normed.
        qk_rms_norm_cross: Those of the cross-attention are.
    """

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """[B, L, C] -> [B, L, C]."""
        x = x + self.self_attn(self.norm1(x))
        x = x + self.cross_attn(self.norm2(x), context)
        y: Tensor = x + self.mlp(self.norm3(x))
        return y


def modulation(channels: int) -> nn.Sequential:
    """Features of the time [B, C] -> shift, scale, gate of the self-attention, then of the feed-forward, [B, 6*C]."""
    return nn.Sequential(nn.SiLU(), nn.Linear(channels, 6 * channels))


class ModulatedBlock(_Block):
    """A `ContextBlock` whose self-attention and feed-forward are shifted, scaled and gated by the time.

    Args:
        share_mod: The network works out shifts, scales and gates once for all its blocks; the block has no map for it.
    """

    def __init__(
        self,
        channels: int,
        ctx_channels: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        qk_rms_norm: bool = False,
        qk_rms_norm_cross: bool = False,
        share_mod: bool = False,
    ) -> None:
        super().__init__(
            channels,
            ctx_channels,
            num_heads,
            mlp_ratio=mlp_ratio,
            qk_rms_norm=qk_rms_norm,
            qk_rms_norm_cross=qk_rms_norm_cross,
        )
        self.share_mod = share_mod
        if not share_mod:
            self.adaLN_modulation = modulation(channels)

    def forward(self, x: Tensor, time: Tensor, context: Context) -> Tensor:
        """[B, L, C] -> [B, L, C]; `time` is [B, C], or what `modulation` gives, [B, 6*C], where that is shared."""
        parts = time if self.share_mod else self.adaLN_modulation(time)
        shift1, scale1, gate1, shift2, scale2, gate2 = parts.unsqueeze(1).chunk(6, dim=-1)
        x = x + gate1 * self.self_attn(self.norm1(x) * (1 + scale1) + shift1)
        x = x + self.cross_attn(self.norm2(x), context)
        y: Tensor = x + gate2 * self.mlp(self.norm3(x) * (1 + scale2) + shift2)
        return y


def _checked_heads(channels: int, num_heads: int) -> int:
    if num_heads < 1 or channels % num_heads:
        raise ShapeError(f"{channels} channels do not part into {num_heads} heads.", hint="Use a divisor.")
    return num_heads
