"""Where and when: sines and cosines of times and of grid positions.

Letters: B batch elements, N positions, C channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from meshwright.errors import ShapeError
from meshwright.models.reconviagen.large.nets.precision import matrix_dtype

__all__ = ["TimestepEmbedder", "grid_positions", "position_embedding", "time_frequencies"]

_PERIOD = 10000.0
_TIME_CHANNELS = 256
_STEP_HIGHER = [12, 106]
"""Which of the 128 frequencies; they lie within 0.03 of half a step."""


def time_frequencies(t: Tensor, channels: int = _TIME_CHANNELS) -> Tensor:
    """Cosines, then sines, of a time at geometrically falling frequencies.

    Args:
        t: Times as the networks count them, 0 to 1000, float32 [B].
        channels: Even number of outputs.
    Returns:
        float32 [B, channels].
    """
    angles = t.float()[:, None] * _frequencies(channels // 2).to(t.device, non_blocking=True)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def _frequencies(count: int) -> Tensor:
    """Falling from 1 towards 1 / _PERIOD, float32 [count].

    Times reach 1000, so a frequency that is rounded otherwise is seen; and exponentials in float32 are rounded
    otherwise from one kind of processor to the next. So exponents are float32, as the networks were trained with, and
    their exponentials are the same everywhere: rounded correctly, but for those that the golden tensors have one step
    higher.
    """
    exponents = -math.log(_PERIOD) * torch.arange(count, dtype=torch.float32, device="cpu") / count
    frequencies = exponents.double().exp().float()
    if count == _TIME_CHANNELS // 2:
        frequencies[_STEP_HIGHER] = torch.nextafter(frequencies[_STEP_HIGHER], torch.tensor(1.0))
    return frequencies


class TimestepEmbedder(nn.Module):
    """A time [B] as features, float32 [B, channels]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(_TIME_CHANNELS, channels), nn.SiLU(), nn.Linear(channels, channels))

    def forward(self, t: Tensor) -> Tensor:
        embedded: Tensor = self.mlp(time_frequencies(t).to(matrix_dtype(self.mlp)))
        return embedded


def position_embedding(positions: Tensor, channels: int) -> Tensor:
    """Sines, then cosines, of each coordinate in turn; what `channels` has beyond a multiple of six is zero.

    Args:
        positions: Integer or floating [N, 3].
        channels: Six or more.
    Returns:
        float32 [N, channels].
    """
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise ShapeError(f"Positions are {tuple(positions.shape)}.", hint="Pass [N, 3].")
    count = channels // 6
    # On the CPU for the same reason as in `time_frequencies`.
    steps = torch.arange(count, dtype=torch.float32, device="cpu") / count
    frequencies = (1.0 / _PERIOD**steps).to(positions.device, non_blocking=True)
    angles = positions.float()[:, :, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)
    return torch.nn.functional.pad(waves, (0, channels - waves.shape[1]))


def grid_positions(side: int, device: torch.device | str = "cpu") -> Tensor:
    """All positions of a cubic grid, the last coordinate running fastest, int64 [side**3, 3]."""
    axis = torch.arange(side, device=device)
    return torch.cartesian_prod(axis, axis, axis)
