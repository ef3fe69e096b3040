"""Directions in which a rough surface gathers light, spread evenly by how much each counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from meshwright.types import Array

__all__ = ["Lobe", "ggx_density", "ggx_lobe", "lobe_on", "solid_angles"]

GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


@dataclass(frozen=True)
class Lobe:
    """A GGX lobe about a mirrored direction, sampled for cube maps of one size.

    Attributes:
        alpha: Width, the square of roughness.
        samples: How many directions.
        size: Texels along an edge of the first level that is looked up.
    """

    alpha: float
    samples: int
    size: int


def ggx_density(cosine: Array, alpha: float) -> Array:
    """Normal distribution of GGX (Trowbridge-Reitz) over the cosine between half vector and normal."""
    squared = alpha * alpha
    density: Array = squared / (math.pi * (cosine * cosine * (squared - 1) + 1) ** 2)
    return density


def solid_angles(size: int) -> Array:
    """Of the texels of a face, float64 [6, size, size] (all faces alike); they sum to 4 pi."""
    edge = 2 * np.arange(size + 1) / size - 1
    s, t = np.meshgrid(edge, edge)
    corner = np.arctan2(s * t, np.sqrt(s * s + t * t + 1))
    face = corner[1:, 1:] - corner[1:, :-1] - corner[:-1, 1:] + corner[:-1, :-1]
    return np.broadcast_to(face, (6, size, size)).copy()


@lru_cache(maxsize=256)
def ggx_lobe(lobe: Lobe) -> tuple[Array, Array]:
    """Directions about +Z with the level to look each up in, float64 [S, 4], and their weights [S].

    Directions are drawn by the density of half vectors, evenly: equal steps of it outwards, golden angles around. Each
    stands for the solid angle 1 / (S density) and is looked up where a texel covers as much, so few are enough.
    Source: Karis 2013, "Real Shading in Unreal Engine 4"; levels as in Krivanek and Colbert 2008.
    """
    u = (np.arange(lobe.samples) + 0.5) / lobe.samples
    cosine = np.sqrt((1 - u) / (1 + (lobe.alpha**2 - 1) * u))  # of the half vector
    around = np.arange(lobe.samples) * GOLDEN_ANGLE
    height = 2 * cosine**2 - 1  # of the mirrored direction
    radius = 2 * cosine * np.sqrt(1 - cosine**2)
    covers = 4 / (lobe.samples * ggx_density(cosine, lobe.alpha))
    texel = 4 * math.pi / (6 * lobe.size**2)
    level = 0.5 * np.log2(np.maximum(covers / texel, 1e-12))
    rays = np.stack([radius * np.cos(around), radius * np.sin(around), height, level], 1)
    weights = np.clip(height, 0, None)  # what comes from below the surface does not count
    kept = weights > 0
    return rays[kept], weights[kept] / weights.sum()


@lru_cache(maxsize=256)
def lobe_on(lobe: Lobe, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The same for kernels: float32 [S, 4] and [S]; directions without weight are filled up with 0."""
    rays, weights = ggx_lobe(lobe)
    table = np.zeros((lobe.samples, 5), np.float32)
    table[:, 2] = 1
    table[: len(rays), :4], table[: len(rays), 4] = rays, weights
    on_device = torch.from_numpy(table).to(device)
    return on_device[:, :4].contiguous(), on_device[:, 4].contiguous()
