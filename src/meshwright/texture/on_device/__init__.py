"""The steps of baking on a GPU: all that is large is made there and stays there until the picture is done.

They run on a CPU as well, where tests compare them with `meshwright.texture.on_host`; that is faster there.

Letters: V views, G vertices of the surface graph, T side of the texture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meshwright.geometry.atlas import Atlas
from meshwright.texture.config import TextureConfig
from meshwright.texture.on_device.paint import blend_views, fill_picture, linear_to_srgb, seen_picture
from meshwright.texture.on_device.sight import brightened, judge_view
from meshwright.texture.on_device.solve import look_up, solve_texture
from meshwright.texture.on_device.texels import DeviceTexels, find_texels
from meshwright.texture.sight import JudgedView
from meshwright.texture.surface import SurfaceGraph
from meshwright.types import Array, Camera, Mesh, Monitor

__all__ = ["blend", "brightened", "find_texels", "judge_view", "paint"]


def paint(
    mesh: Mesh,
    atlas: Atlas,
    graph: SurfaceGraph,
    texels: DeviceTexels,
    views: Sequence[tuple[JudgedView, Camera]],
    share: Array,
    coarse: Array,
    base: Array,
    *,
    config: TextureConfig,
    monitor: Monitor,
    device: str,
) -> tuple[Array, Array]:
    """As `meshwright.texture.on_host.paint`."""
    judged = [view for view, _ in views]
    colour, strength = blend_views(texels, graph, share, judged, coarse, base, device=device)
    monitor.check()
    looks = []
    for view, camera in views:  # one after the other: each needs much memory for a moment, and waits for nothing
        monitor.check()
        looks.append(look_up(mesh, atlas, texels.size, view, camera, device=device))
    found = solve_texture(
        linear_to_srgb(colour),
        texels,
        looks,
        stiff=config.stiff,
        hold=config.hold,
        doubt=config.doubt,
        monitor=monitor,
    )
    return fill_picture(texels, found), seen_picture(texels, strength > 0.0)


def blend(
    graph: SurfaceGraph, texels: DeviceTexels, views: Sequence[JudgedView], share: Array, base: Array, *, device: str
) -> tuple[Array, Array]:
    """As `meshwright.texture.on_host.blend`."""
    coarse = np.broadcast_to(base, (len(views), *base.shape))
    colour, strength = blend_views(texels, graph, share, views, coarse, base, device=device)
    return fill_picture(texels, linear_to_srgb(colour)), seen_picture(texels, strength > 0.0)
