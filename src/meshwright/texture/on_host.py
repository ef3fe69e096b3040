"""The steps of baking on a CPU, by NumPy and SciPy, view by view in threads.

Letters: V views, G vertices of the surface graph, T side of the texture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meshwright.colour import linear_to_srgb
from meshwright.device import map_threads
from meshwright.geometry.atlas import Atlas
from meshwright.texture.config import TextureConfig
from meshwright.texture.finish import fill_picture, seen_picture
from meshwright.texture.gather import TexelLoader
from meshwright.texture.sight import JudgedView, brightened, judge_view
from meshwright.texture.solve import render_matrix, solve_texture
from meshwright.texture.surface import SurfaceGraph
from meshwright.texture.texels import Texels, find_texels
from meshwright.types import Array, Camera, Mesh, Monitor

__all__ = ["blend", "brightened", "find_texels", "judge_view", "paint"]


def paint(
    mesh: Mesh,
    atlas: Atlas,
    graph: SurfaceGraph,
    texels: Texels,
    views: Sequence[tuple[JudgedView, Camera]],
    share: Array,
    coarse: Array,
    base: Array,
    *,
    config: TextureConfig,
    monitor: Monitor,
    device: str,
) -> tuple[Array, Array]:
    """Blend the views over the base and fit the result to them.

    Args:
        mesh: Geometry.
        atlas: Its texture coordinates.
        graph: Its surface.
        texels: Where texels lie.
        views: What can be seen, and from where.
        share: Of each view at each vertex, float32 [V, G].
        coarse: What is not detail in each view, float32 [V, G, 3].
        base: What takes its place, float32 [G, 3].
        config: How to fit.
        monitor: Asked between steps whether to stop.
        device: Where views and texels are.
    Returns:
        The texture, sRGB uint8 [T, T, 3], and which texels any view saw, bool [T, T].
    """
    start, strength = _blended(graph, texels, [view for view, _ in views], share, coarse, base, device=device)
    monitor.check()
    pixels = map_threads(lambda pair: render_matrix(mesh, atlas, texels, *pair, device=device), views)
    monitor.check()
    found = solve_texture(
        start, texels, pixels, stiff=config.stiff, hold=config.hold, doubt=config.doubt, monitor=monitor
    )
    picture = fill_picture(texels, np.rint(found * 255).astype(np.uint8))
    return picture, seen_picture(texels, strength > 0.0)


def blend(
    graph: SurfaceGraph, texels: Texels, views: Sequence[JudgedView], share: Array, base: Array, *, device: str
) -> tuple[Array, Array]:
    """What `paint` gives without the fit where all that is coarse agrees with the base."""
    coarse = np.broadcast_to(base, (len(views), *base.shape))
    colour, strength = _blended(graph, texels, views, share, coarse, base, device=device)
    picture = fill_picture(texels, np.rint(colour * 255).astype(np.uint8))
    return picture, seen_picture(texels, strength > 0.0)


def _blended(
    graph: SurfaceGraph,
    texels: Texels,
    views: Sequence[JudgedView],
    share: Array,
    coarse: Array,
    base: Array,
    *,
    device: str,
) -> tuple[Array, Array]:
    """Colours of the texels, sRGB float32 [M, 3], and how much of the views' detail is in them, float32 [M]."""
    loader = TexelLoader(texels, graph, share, device=device)
    gathered = loader.gather(views, [v.image for v in views], list(coarse))
    strength = strength_of(gathered.grade)
    colour = gathered.detail
    colour *= strength[:, None]
    loader.add(base, colour)
    return linear_to_srgb(np.clip(colour, 0.0, 1.0, out=colour)), strength


def strength_of(grade: Array) -> Array:
    """How much of the views' detail a texel takes: none below a grade of 0.02, all from 0.1 on, smooth between."""
    t = np.clip((grade - 0.02) / 0.08, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
