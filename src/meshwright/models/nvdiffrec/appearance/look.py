"""How materials look: as they are, or under a light."""

from __future__ import annotations

import torch

from meshwright.models.nvdiffrec.appearance.volume import Materials
from meshwright.rendering.light import LightMaps, bent_normals, shade_pbr

__all__ = ["look"]


def look(
    materials: Materials,
    normal: torch.Tensor,
    view: torch.Tensor,
    light: LightMaps | None,
    *,
    tangent: torch.Tensor | None = None,
) -> torch.Tensor:
    """Colours, linear RGB, float32 [..., 3].

    Args:
        materials: Of the surface, [..., 3] each.
        normal: Of the surface, unit vectors in the world, [..., 3].
        view: Unit vectors from the surface to the viewer, [..., 3].
        light: From `EnvironmentLight.maps()`. Without it lighting is "baked": the base colour is what is seen, whatever
            made it so, and only it gets gradients.
        tangent: Along +X of tangent space, [..., 3]; see `bent_normals`.
    """
    if light is None:
        return materials.kd
    return shade_pbr(materials.kd, materials.ks, bent_normals(normal, materials.normal, tangent), view, light)
