"""The second half of the split sum: how much of white light a rough surface reflects."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch

from meshwright.rendering.ops.texture import texture
from meshwright.types import Array

__all__ = ["brdf_scale_bias", "brdf_table"]

SIDE = 64
"""Entries of the table along cosine and roughness, from 0 to 1 both included."""
OUTWARDS, AROUND = 48, 32
"""Half vectors summed up for each cell."""


@lru_cache(maxsize=1)
def brdf_table() -> Array:
    """Scale and bias of the reflectance at normal incidence, float64 [SIDE, SIDE, 2]; rows roughness, columns cosine.

    Under white light a surface reflects f0 * scale + bias. Entry k stands for k / (SIDE - 1).
    GGX with Smith's shadowing in Schlick's form, k = roughness**2 / 2, and Schlick's Fresnel term.
    Source: Karis 2013, "Real Shading in Unreal Engine 4". Takes a third of a second, once; off by 0.0004 (rms).
    """
    place = np.linspace(0, 1, SIDE)
    cosine = np.maximum(place, 1e-3)  # its limit at 0, where nothing is seen
    return np.stack([_scale_bias(cosine, roughness) for roughness in place])


def _scale_bias(cosine: Array, roughness: float) -> Array:
    """For one roughness and many cosines between normal and view [N]: [N, 2]."""
    alpha = roughness**2
    nodes, share = np.polynomial.legendre.leggauss(OUTWARDS)
    u = (nodes + 1) / 2
    h_cosine = np.sqrt((1 - u) / (1 + (alpha**2 - 1) * u))[:, None]
    h_sine = np.sqrt(1 - h_cosine**2)
    around = (np.arange(AROUND) + 0.5) * math.pi / AROUND  # the other half is alike
    along = cosine[:, None, None]
    vh = np.clip(np.sqrt(1 - along**2) * h_sine * np.cos(around) + along * h_cosine, 0, 1)
    nl = 2 * vh * h_cosine - along
    k = alpha / 2
    shadow = along / (along * (1 - k) + k) * np.clip(nl, 0, None) / (np.clip(nl, 0, None) * (1 - k) + k)
    visible = np.where(nl > 0, shadow * vh / (h_cosine * along), 0)
    fresnel = (1 - vh) ** 5
    weight = (share / 2)[:, None] / AROUND
    both = [(visible * part * weight).sum((1, 2)) for part in (1 - fresnel, fresnel)]
    return np.stack(both, -1)


@lru_cache(maxsize=16)
def _table_on(device: torch.device) -> torch.Tensor:
    return torch.from_numpy(brdf_table().astype(np.float32))[None].to(device)


def brdf_scale_bias(cosine: torch.Tensor, roughness: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and bias of the reflectance at normal incidence, each float32 [...].

    Args:
        cosine: Between normal and view, 0 .. 1, float32 [...].
        roughness: As perceived (alpha is its square), 0 .. 1, float32 [...].
    Gradients reach both.
    """
    if cosine.numel() == 0:
        return cosine, roughness
    # Cut into rows that several cores of a CPU can share, and of which a GPU fills tiles.
    across = math.gcd(cosine.numel(), 64)
    uv = (torch.stack([cosine, roughness], -1) * (SIDE - 1) + 0.5) / SIDE
    uv = uv.view(1, -1, across, 2)
    found = texture(_table_on(cosine.device), uv, filter="linear", boundary="clamp")
    return found[..., 0].view(cosine.shape), found[..., 1].view(cosine.shape)
