"""Colours of surfaces under light from all around."""

from __future__ import annotations

import torch

from meshwright.errors import ShapeError
from meshwright.rendering.light.brdf import brdf_scale_bias
from meshwright.rendering.light.environment import LightMaps

__all__ = ["bent_normals", "shade_pbr"]

DIELECTRIC = 0.04
"""Reflectance at normal incidence of what is no metal, as in glTF."""
GRAZING = 1e-4
"""The least cosine between normal and view: below, a surface is seen from behind."""


def shade_pbr(
    kd: torch.Tensor,
    ks: torch.Tensor,
    normal: torch.Tensor,
    view: torch.Tensor,
    light: LightMaps,
    *,
    conserve: bool = True,
) -> torch.Tensor:
    """Light that surfaces throw towards the viewer, by the split-sum approximation.

    Args:
        kd: Base colour, linear RGB 0 .. 1, float32 [..., 3].
        ks: Occlusion (1 is open, as in glTF), roughness and metalness, each 0 .. 1, float32 [..., 3].
        normal: Unit vectors in the world, float32 [..., 3].
        view: Unit vectors from the surface to the viewer, float32 [..., 3].
        light: From `EnvironmentLight.maps()`.
        conserve: What is mirrored is missing in what is scattered, so that white surfaces under white light are white;
            the paper adds both.
    Returns:
        Linear RGB, float32 [..., 3].
    Raises:
        ShapeError: The tensors are not of one size.

    Metals tint what they mirror with their base colour and scatter nothing; all else mirrors 4 %. Gradients reach all
    tensors and the light.
    Source: Karis 2013; Munkberg et al. 2022, arXiv:2111.12503.
    """
    for name, tensor in (("kd", kd), ("ks", ks), ("normal", normal), ("view", view)):
        if tensor.shape != kd.shape or tensor.shape[-1:] != (3,):
            raise ShapeError(
                f"{name} is {list(tensor.shape)}, kd is {list(kd.shape)}.", hint="All four are [..., 3] of one size."
            )
    occlusion, roughness, metal = ks[..., :1], ks[..., 1], ks[..., 2:]
    facing = (normal * view).sum(-1, keepdim=True)
    mirrored = 2 * facing * normal - view
    scale, bias = brdf_scale_bias(facing[..., 0].clamp(GRAZING, 1), roughness)
    f0 = DIELECTRIC * (1 - metal) + kd * metal
    reflectance = f0 * scale[..., None] + bias[..., None]
    scattered = kd * (1 - metal) * light.scattered(normal)
    if conserve:
        scattered = scattered * (1 - reflectance)
    return occlusion * (scattered + reflectance * light.mirrored(mirrored, roughness))


def bent_normals(normal: torch.Tensor, local: torch.Tensor, tangent: torch.Tensor | None = None) -> torch.Tensor:
    """Unit normals in the world from those of a normal map.

    Args:
        normal: Of the surface, unit vectors in the world, float32 [..., 3].
        local: In tangent space, +Z along the normal, float32 [..., 3], of any length.
        tangent: Along +X of tangent space; need not be at right angles or of unit length, but must not be parallel to
            the normal. Without it, one follows from the normal alone (Duff et al. 2017): fine for surfaces without
            texture coordinates, but it turns suddenly where normals pass through the plane z = 0.
    """
    if tangent is None:
        way = torch.where(normal[..., 2] >= 0, 1.0, -1.0)
        a = -1 / (way + normal[..., 2])
        x, y = normal[..., 0], normal[..., 1]
        tangent = torch.stack([1 + way * x * x * a, way * x * y * a, -way * x], -1)
    else:
        tangent = tangent - (tangent * normal).sum(-1, keepdim=True) * normal
        tangent = torch.nn.functional.normalize(tangent, dim=-1)
    bitangent = torch.linalg.cross(normal, tangent, dim=-1)
    bent = local[..., :1] * tangent + local[..., 1:2] * bitangent + local[..., 2:] * normal
    return torch.nn.functional.normalize(bent, dim=-1)
