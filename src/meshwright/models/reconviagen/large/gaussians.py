"""Gaussians: small coloured ellipsoids that a scene is drawn with, and the PLY files that viewers of them read.

Letters: G gaussians.
World: the object's cube, [-0.5, 0.5] on every axis, z up. Quaternions have their real part first.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from meshwright.errors import OptionError

__all__ = ["GaussianConfig", "Gaussians"]

SH_DC = 0.28209479177387814
"""The constant spherical harmonic, 1 / (2 sqrt(pi)): colours are stored as its coefficient around middle grey."""

RATES = ("_xyz", "_features_dc", "_opacity", "_scaling", "_rotation")

JSON_NAMES = {"2d_filter_kernel_size": "filter_2d", "3d_filter_kernel_size": "filter_3d"}


@dataclass(frozen=True, kw_only=True)
class GaussianConfig:
    """How raw numbers of the decoder are to be read; `representation_config` of the published files."""

    num_gaussians: int
    """Gaussians of a voxel."""
    voxel_size: float
    """How far from its voxel's centre a gaussian may lie, in halves of a voxel."""
    scaling_bias: float
    """Standard deviation that a raw 0 stands for."""
    opacity_bias: float
    """Opacity that a raw 0 stands for."""
    filter_3d: float
    """Standard deviation that is added (in squares) to every gaussian's."""
    filter_2d: float
    """The same in pixels, added when drawing."""
    lr: Mapping[str, float]
    """Factors of the raw numbers, by field."""
    perturb_offset: bool = True
    scaling_activation: str = "softplus"

    def __post_init__(self) -> None:
        faults = []
        if set(self.lr) != set(RATES):
            faults.append(f"lr has the fields {sorted(self.lr)}, expected {sorted(RATES)}")
        if not self.perturb_offset:
            faults.append("perturb_offset is false")
        if self.scaling_activation != "softplus":
            faults.append(f"scaling_activation is {self.scaling_activation!r}, expected 'softplus'")
        if not 0 < self.opacity_bias < 1:
            faults.append(f"opacity_bias is {self.opacity_bias}, expected more than 0 and less than 1")
        if self.scaling_bias <= 0 or self.num_gaussians < 1 or self.voxel_size < 1:
            faults.append("scaling_bias must be above 0, num_gaussians and voxel_size 1 at least")
        if faults:
            raise OptionError(
                f"Gaussians of this kind are not known: {'; '.join(faults)}.", hint="Use the published configuration."
            )

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> GaussianConfig:
        """From `representation_config`.

        Raises:
            OptionError: Names are missing or not known.
        """
        renamed: dict[str, Any] = {JSON_NAMES.get(name, name): value for name, value in values.items()}
        fields = {field.name: field for field in dataclasses.fields(cls)}
        unknown = sorted(set(renamed) - set(fields))
        missing = sorted(n for n, f in fields.items() if f.default is dataclasses.MISSING and n not in renamed)
        if unknown or missing:
            raise OptionError(
                f"representation_config of the gaussian decoder: unknown {unknown}, missing {missing}.",
                hint="Use the published configuration.",
            )
        return cls(**renamed)


@dataclass(frozen=True, kw_only=True)
class Gaussians:
    """Raw fields as the decoder gives them, and what they stand for.

    Attributes:
        unit_xyz: Centres in [0, 1] (those of voxels at the border may lie a little outside), float32 [G, 3].
        features_dc: Colour as coefficient of the constant spherical harmonic, [G, 3].
        raw_scaling: [G, 3].
        raw_rotation: Without the 1 of the real part, [G, 4].
        raw_opacity: [G, 1].
        config: How to read them.
    """

    unit_xyz: Tensor
    features_dc: Tensor
    raw_scaling: Tensor
    raw_rotation: Tensor
    raw_opacity: Tensor
    config: GaussianConfig

    def __len__(self) -> int:
        return len(self.unit_xyz)

    @property
    def centres(self) -> Tensor:
        """World, [G, 3]."""
        return self.unit_xyz - 0.5

    @property
    def scales(self) -> Tensor:
        """Standard deviations along the own axes, world units, [G, 3]."""
        # The inverse of softplus, so that a raw 0 is the bias itself.
        bias = self.config.scaling_bias + math.log(-math.expm1(-self.config.scaling_bias))
        return (functional.softplus(self.raw_scaling + bias).square() + self.config.filter_3d**2).sqrt()

    @property
    def quaternions(self) -> Tensor:
        """Not of unit length, [G, 4]."""
        return self.raw_rotation + self.raw_rotation.new_tensor([1.0, 0.0, 0.0, 0.0])

    @property
    def rotations(self) -> Tensor:
        """Unit quaternions, [G, 4]."""
        return functional.normalize(self.quaternions, dim=-1)

    @property
    def opacity_logits(self) -> Tensor:
        """[G, 1]."""
        bias = self.config.opacity_bias
        return self.raw_opacity + math.log(bias / (1 - bias))

    @property
    def opacities(self) -> Tensor:
        """0 to 1, [G, 1]."""
        return self.opacity_logits.sigmoid()

    @property
    def colors(self) -> Tensor:
        """sRGB in 0 to 1, [G, 3]."""
        return (self.features_dc * SH_DC + 0.5).clamp(0, 1)

    def ply(self) -> bytes:
        """A binary PLY file as viewers of gaussians read it: opacity as logit, scales as logarithm."""
        columns: list[tuple[tuple[str, ...], Tensor]] = [
            (("x", "y", "z"), self.centres),
            (("nx", "ny", "nz"), torch.zeros_like(self.unit_xyz)),
            (("f_dc_0", "f_dc_1", "f_dc_2"), self.features_dc),
            (("opacity",), self.opacity_logits),
            (("scale_0", "scale_1", "scale_2"), self.scales.log()),
            (("rot_0", "rot_1", "rot_2", "rot_3"), self.quaternions),
        ]
        names = [f"property float {name}\n" for group, _ in columns for name in group]
        header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(self)}\n{''.join(names)}end_header\n"
        rows = torch.cat([values.detach().float() for _, values in columns], 1).cpu().numpy()
        return header.encode() + np.ascontiguousarray(rows, dtype="<f4").tobytes()
