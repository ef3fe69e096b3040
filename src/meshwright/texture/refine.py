"""Make the render repeat the photographs: what a render lacks is carried back to the texels, a few times over.

Looking a photograph up at texels and the texture up at pixels blurs twice. Rendering the texture from the views'
own cameras and adding the difference, seen through the same weights, undoes it.
Source: Irani and Peleg, "Improving resolution by image registration", CVGIP 1991 (iterative back-projection).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from meshwright._warp import wp
from meshwright.device import map_threads
from meshwright.geometry.atlas import Atlas
from meshwright.texture import kernels
from meshwright.texture.finish import fill_picture
from meshwright.texture.gather import TexelLoader
from meshwright.texture.sight import JudgedView
from meshwright.texture.texels import Texels
from meshwright.types import Array, Mesh, Monitor

__all__ = ["back_project"]


def back_project(
    colour: Array,
    strength: Array,
    texels: Texels,
    loader: TexelLoader,
    mesh: Mesh,
    atlas: Atlas,
    views: Sequence[JudgedView],
    rounds: int,
    monitor: Monitor,
    *,
    device: str,
) -> Array:
    """Improve linear texel colours so that renders of them come closer to the views.

    Args:
        colour: float32 [M, 3].
        strength: How far each texel may move, 0..1 float32 [M]; 0 where no view sees it.
        rounds: How often.
    Returns:
        float32 [M, 3], in 0..1.
    """
    model = [
        wp.array(mesh.vertices, dtype=wp.vec3, device=device),
        wp.array(mesh.faces, dtype=wp.vec3i, device=device),
        wp.array(atlas.uv, dtype=wp.vec2, device=device),
        wp.array(atlas.uv_faces, dtype=wp.vec3i, device=device),
    ]

    def residual(texture: Any, view: JudgedView) -> Any:
        out = wp.empty(view.image.shape, dtype=wp.vec3, device=device)
        inputs = [view.eye, view.face_id, *model, texture, view.image, view.clean]
        wp.launch(kernels.render_residual_kernel, out.shape, inputs, [out], device=device)
        return out

    for _ in range(rounds):
        monitor.check()
        texture = wp.array(fill_picture(texels, colour), dtype=wp.vec3, device=device, copy=False)
        images = map_threads(partial(residual, texture), views, device=device)
        step = loader.gather(views, images, None, spare=0.0).detail
        step *= strength[:, None]
        colour = np.clip(np.add(colour, step, out=step), 0.0, 1.0, out=step)
    return colour
