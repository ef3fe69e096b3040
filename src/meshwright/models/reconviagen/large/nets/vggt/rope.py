"""Rotary positions in two dimensions: half of every head is turned by the row, the other half by the column.

Source: Su et al. 2021, arXiv:2104.09864; Heo et al. 2024, arXiv:2403.13298.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Turns", "patch_positions", "turn", "turns_of"]

Turns = tuple[Tensor, Tensor]
"""Cosines and sines, float32 [L, D] each."""


def patch_positions(rows: int, columns: int, special: int, device: torch.device) -> Tensor:
    """Row and column of every token of one picture, float32 [special + P, 2].

    Patches count from 1, row by row; special tokens stand before them, at (0, 0).
    """
    y = torch.arange(1, rows + 1, device=device, dtype=torch.float32)
    x = torch.arange(1, columns + 1, device=device, dtype=torch.float32)
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flatten(0, 1)
    return torch.cat([torch.zeros(special, 2, device=device), grid])


def turns_of(positions: Tensor, head_dim: int, frequency: float) -> Turns:
    """The turns of tokens at `positions` [L, 2] for heads of `head_dim` channels."""
    quarter = head_dim // 4
    steps = torch.arange(quarter, device=positions.device, dtype=torch.float32) * 2 / (head_dim // 2)
    angles = positions[..., None] * frequency**-steps
    angles = torch.cat([angles, angles], -1).flatten(-2)
    return angles.cos(), angles.sin()


def turn(x: Tensor, turns: Turns) -> Tensor:
    """Queries or keys [..., L, D] turned by their tokens' places; float32."""
    cosine, sine = turns
    first, second = x.float().reshape(*x.shape[:-1], 2, 2, x.shape[-1] // 4).unbind(-2)
    across = torch.stack([-second, first], -2).flatten(-3)
    return x * cosine + across * sine
