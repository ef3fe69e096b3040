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
from meshwright.rendering import Fragments
from meshwright.texture import kernels
from meshwright.texture.finish import fill_picture
from meshwright.texture.gather import TexelLoader
from meshwright.texture.sight import JudgedView
from meshwright.texture.texels import Texels
from meshwright.types import Array, Monitor

__all__ = ["back_project"]


def back_project(
    colour: Array,
    strength: Array,
    texels: Texels,
    loader: TexelLoader,
    atlas: Atlas,
    views: Sequence[JudgedView],
    fragments: Sequence[Fragments],
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
    uv = wp.array(atlas.uv, dtype=wp.vec2, device=device)
    uv_faces = wp.array(atlas.uv_faces, dtype=wp.vec3i, device=device)
    prepared = [
        (
            wp.array(f.face_id, dtype=wp.int32, device=device, copy=False),
            wp.array(f.bary, dtype=wp.vec3, device=device, copy=False),
            wp.array(v.clean, dtype=wp.bool, device=device, copy=False),
        )
        for v, f in zip(views, fragments, strict=True)
    ]

    def residual(texture: Any, i: int) -> Any:
        face_id, bary, use = prepared[i]
        out = wp.empty(face_id.shape, dtype=wp.vec3, device=device)
        inputs = [face_id, bary, uv, uv_faces, texture, views[i].image, use]
        wp.launch(kernels.render_residual_kernel, face_id.shape, inputs, [out], device=device)
        return out

    for _ in range(rounds):
        monitor.check()
        texture = wp.array(fill_picture(texels, colour), dtype=wp.vec3, device=device, copy=False)
        images = map_threads(partial(residual, texture), range(len(views)), device=device)
        step = loader.gather(views, images, None).detail
        step *= strength[:, None]
        colour = np.clip(np.add(colour, step, out=step), 0.0, 1.0, out=step)
    return colour
