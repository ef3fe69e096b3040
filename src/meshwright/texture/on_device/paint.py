"""From judged views to the texture's picture, wholly on a device.

Letters: V views, M texels, G vertices of the surface graph, T side of the texture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from meshwright._warp import wp
from meshwright.rendering.rasterize import load_kernels
from meshwright.texture import kernels
from meshwright.texture.gather import SPARE
from meshwright.texture.on_device.texels import DeviceTexels
from meshwright.texture.sight import JudgedView
from meshwright.texture.surface import SurfaceGraph
from meshwright.types import Array

__all__ = ["blend_views", "fill_picture", "linear_to_srgb", "seen_picture"]


def blend_views(
    texels: DeviceTexels,
    graph: SurfaceGraph,
    share: Array,
    views: Sequence[JudgedView],
    coarse: Array,
    base: Array,
    *,
    device: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The detail of the views over the base, as `TexelLoader` does it.

    Args:
        texels: Where texels lie.
        graph: The surface.
        share: Of each view at each vertex, float32 [V, G].
        views: What can be seen.
        coarse: What is not detail in each view, float32 [V, G, 3].
        base: What takes its place, float32 [G, 3].
        device: Where views and texels are.
    Returns:
        Colour, linear, float32 [M, 3], and how much of the views' detail is in it, float32 [M].
    """
    load_kernels(kernels.__name__, device)
    count = len(texels.index)
    where = [wp.from_torch(texels.graph_face), wp.from_torch(texels.graph_bary, dtype=wp.vec3)]
    faces = wp.array(graph.mesh.faces, dtype=wp.vec3i, device=device)
    surface = [faces, *_vectors(graph.mesh.vertices, device), *_vectors(graph.mesh.vertex_normals(), device)]
    total = wp.zeros(count, dtype=wp.vec3, device=device)
    weight, grade = (wp.zeros(count, dtype=wp.float32, device=device) for _ in range(2))
    for i, view in enumerate(views):
        wanted = wp.array(share[i], dtype=wp.float32, device=device)
        inputs = [*where, *surface, wanted, *_vectors(coarse[i], device)]
        inputs += [view.eye, view.depth, view.trust, view.image, SPARE]
        wp.launch(kernels.gather_kernel, count, inputs, [total, weight, grade], device=device)
    strength = strength_of(wp.to_torch(grade))
    colour = wp.to_torch(total) / wp.to_torch(weight).clamp_min(1e-9)[:, None] * strength[:, None]
    inputs = [*where, faces, *_vectors(base, device)]
    wp.launch(kernels.look_up_kernel, count, inputs, [wp.from_torch(colour, dtype=wp.vec3)], device=device)
    return colour, strength


def _vectors(values: Array, device: str) -> list[wp.array]:
    return [wp.array(np.ascontiguousarray(values, np.float32), dtype=wp.vec3, device=device)]


def strength_of(grade: torch.Tensor) -> torch.Tensor:
    """As in `meshwright.texture.bake`."""
    t = ((grade - 0.02) / 0.08).clamp(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def linear_to_srgb(values: torch.Tensor) -> torch.Tensor:
    """As `meshwright.colour.linear_to_srgb`."""
    values = values.clamp(0.0, 1.0)
    return torch.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def fill_picture(texels: DeviceTexels, colour: torch.Tensor) -> Array:
    """As `meshwright.texture.finish.fill_picture`, from sRGB 0..1 float32 [M, 3] to uint8 [T, T, 3] on the host."""
    codes = (colour * 255).round().byte()
    picture: Array = codes[texels.nearest].reshape(texels.size, texels.size, 3).cpu().numpy()
    return picture


def seen_picture(texels: DeviceTexels, seen: torch.Tensor) -> Array:
    """As `meshwright.texture.finish.seen_picture`."""
    flat = torch.zeros(texels.size * texels.size, dtype=torch.bool, device=seen.device)
    flat[texels.index.long()] = seen & texels.inside
    picture: Array = flat.reshape(texels.size, texels.size).cpu().numpy()
    return picture
