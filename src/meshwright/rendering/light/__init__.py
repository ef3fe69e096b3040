"""Light from all around and how surfaces look under it, differentiably.

    light = EnvironmentLight(64)
    colour = shade_pbr(kd, ks, normal, view, light.maps())

Directions are those of the world, colours linear RGB. Everything runs on CPU and CUDA from one source, like
`meshwright.rendering.ops`, which it is built on.
"""

from __future__ import annotations

from meshwright.rendering.light.brdf import brdf_scale_bias, brdf_table
from meshwright.rendering.light.environment import EnvironmentLight, LightMaps
from meshwright.rendering.light.shade import bent_normals, shade_pbr

__all__ = ["EnvironmentLight", "LightMaps", "bent_normals", "brdf_scale_bias", "brdf_table", "shade_pbr"]
