"""Materials as a function of space, so that a surface can change its shape while they are fitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from meshwright.errors import OptionError, ShapeError
from meshwright.models.nvdiffrec.appearance.config import Bounds, VolumeConfig
from meshwright.models.nvdiffrec.appearance.network import new_network
from meshwright.types import Array

__all__ = ["MaterialVolume", "Materials"]

OUTPUTS = 8
"""Base colour, occlusion, roughness, metalness, and the lean of the normal along two tangents."""
START = (0.0, 0.0, 0.0, 2.0, 0.0, -2.0)
"""Where the first six begin, before the sigmoid: mid-grey, open, half rough, hardly a metal."""


class Materials(NamedTuple):
    """What a surface is made of, at some points.

    Attributes:
        kd: Base colour, linear RGB, float32 [..., 3].
        ks: Occlusion (1 is open), roughness, metalness, float32 [..., 3].
        normal: In tangent space, unit vectors with +Z along that of the surface, float32 [..., 3].
    """

    kd: torch.Tensor
    ks: torch.Tensor
    normal: torch.Tensor


class MaterialVolume(torch.nn.Module):
    """A trainable volume of materials within a box.

    Source: Munkberg et al. 2022, arXiv:2111.12503, "volumetric texture".
    """

    def __init__(
        self,
        lower: Array | Sequence[float],
        upper: Array | Sequence[float],
        config: VolumeConfig | None = None,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        """A volume that is mid-grey, half rough, hardly metallic and flat at first.

        Args:
            lower: Least corner of the box, [3], in the units of the points.
            upper: Its other corner. Points beyond get what is at the border.
            config: See `VolumeConfig`; the defaults without one.
            device: "cpu" or a CUDA device.
        Raises:
            OptionError: The box is none, or tiny-cuda-nn is asked for and missing.
        """
        super().__init__()
        config = VolumeConfig() if config is None else config
        corners = np.array([lower, upper], np.float32)
        if corners.shape != (2, 3) or not np.isfinite(corners).all() or not (corners[0] < corners[1]).all():
            raise OptionError(
                f"{np.asarray(lower).tolist()} to {np.asarray(upper).tolist()} is no box.",
                hint="Give the least and the greatest x, y and z.",
            )
        # A cube, so that features are as fine along all axes.
        centre, half = corners.mean(0), float((corners[1] - corners[0]).max()) / 2
        self.register_buffer("corner", torch.from_numpy(centre - half).to(device))
        self.edge = 2 * half
        self.network = new_network(config, OUTPUTS, device)
        low, high = _spans(config.bounds)
        self.register_buffer("low", torch.tensor(low, device=device))
        self.register_buffer("span", torch.tensor(high, device=device) - self.low)
        self.register_buffer("start", torch.tensor(START, device=device))
        self.tilt = config.bounds.tilt

    corner: torch.Tensor
    low: torch.Tensor
    span: torch.Tensor
    start: torch.Tensor

    def forward(self, points: torch.Tensor) -> Materials:
        """Materials at points float32 [..., 3]; gradients reach the volume and, where it is asked for, the points."""
        if points.shape[-1:] != (3,):
            raise ShapeError(f"points is {list(points.shape)}.", hint="Expected [..., 3].")
        shape = points.shape
        found = self.network(((points - self.corner) / self.edge).reshape(-1, 3))
        values = self.low + self.span * torch.sigmoid(found[:, :6] + self.start)
        lean = self.tilt * torch.tanh(found[:, 6:])
        normal = torch.nn.functional.normalize(torch.cat([lean, torch.ones_like(lean[:, :1])], 1), dim=1)
        return Materials(values[:, :3].reshape(shape), values[:, 3:].reshape(shape), normal.reshape(shape))


def _spans(bounds: Bounds) -> tuple[list[float], list[float]]:
    """Least and most of the six bounded numbers."""
    pairs = [bounds.kd] * 3 + [bounds.occlusion, bounds.roughness, bounds.metalness]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
