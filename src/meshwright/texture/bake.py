"""From photographs with cameras to a base-colour texture: the recipe of the texture stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from meshwright.colour import linear_to_srgb, srgb_to_linear
from meshwright.device import map_threads
from meshwright.errors import OptionError, ShapeError
from meshwright.geometry.atlas import Atlas
from meshwright.rendering.rasterize import kernel as raster_kernel
from meshwright.rendering.rasterize import load_kernels
from meshwright.texture import kernels
from meshwright.texture.choice import blend_base, choose_views, coarse_bands, rate_views
from meshwright.texture.exposure import find_gains
from meshwright.texture.finish import fill_picture, seen_picture
from meshwright.texture.fit import fitted
from meshwright.texture.gather import TexelLoader
from meshwright.texture.sight import JudgedView, brightened, judge_view, see_points
from meshwright.texture.solve import render_matrix, solve_texture
from meshwright.texture.surface import build_graph
from meshwright.texture.texels import find_texels
from meshwright.types import Array, Camera, ColouredMesh, Mesh, Monitor, SilentMonitor, TexturedMesh, View

__all__ = ["TextureConfig", "bake_texture"]


@dataclass(frozen=True, kw_only=True)
class TextureConfig:
    """How colours come from the views onto the mesh."""

    size: int = 2048
    """Side of the texture in texels; that of the atlas's padding."""
    erode: float = 1.0
    """Pixels next to a silhouette that are never used."""
    ramp: float = 0.001
    """Share of the picture's width over which trust then rises to full."""
    change: float = 0.006
    """Half-width of the change from one view's detail to the next one's, as a share of the object's extent."""
    coarse: float = 0.025
    """Structures wider than this share of the extent are blended between all views that see them."""
    average: float = 0.0
    """How much of the detail is averaged over all views that see a place, by how squarely they see it; the rest comes
    from one view per region. 0 is crispest, 1 is closest to all pictures at once but doubles what they disagree on."""
    match_exposure: bool = False
    """Whether to even out differences in brightness and white balance between the views."""
    stiff: float = 0.3
    """How much of the blend's own pattern is kept where the fit to the views changes its colours."""
    hold: float = 0.005
    """Pull of the blend on each texel, against 1 for each pixel."""
    doubt: float = 0.3
    """Difference from the texture, in sRGB, that halves a pixel's say."""

    def __post_init__(self) -> None:
        faults = []
        if not 16 <= self.size <= 16384:
            faults.append(f"size={self.size} (use 16 to 16384)")
        for name, most in (
            ("erode", 1000),
            ("ramp", 1),
            ("change", 1),
            ("coarse", 1),
            ("average", 1),
            ("stiff", 1000),
            ("hold", 1000),
            ("doubt", 1000),
        ):
            least = 1e-6 if name in ("hold", "doubt") else 0
            if not least <= getattr(self, name) <= most:
                faults.append(f"{name}={getattr(self, name)} (use {least} to {most})")
        if faults:
            raise OptionError("Texture options out of range: " + "; ".join(faults) + ".")


def bake_texture(
    mesh: Mesh,
    atlas: Atlas,
    views: Sequence[View],
    cameras: Sequence[Camera],
    config: TextureConfig | None = None,
    monitor: Monitor | None = None,
    device: str = "cpu",
    *,
    unseen: ColouredMesh | None = None,
) -> TexturedMesh:
    """Project the views onto the mesh and blend them in its texture.

    Args:
        mesh: Geometry that explains the views.
        atlas: Its texture coordinates.
        views: Pictures with masks.
        cameras: One per view; another picture size than the view's is taken as the same frame.
        config: How to blend.
        monitor: Asked between steps whether to stop.
        device: "cpu" or a CUDA device.
        unseen: About the same surface with colours of its own, for what no view sees; None: such places take the
            colours of those next to them.
    Raises:
        ShapeError: Views and cameras do not match, or mesh and atlas.
        Cancelled: The monitor wants to stop.
    """
    config = config or TextureConfig()
    monitor = monitor or SilentMonitor()
    if len(views) != len(cameras) or not views:
        raise ShapeError(f"{len(views)} views and {len(cameras)} cameras were given; each view needs its own.")
    # Before threads use them: Warp's loader is not meant to be entered twice.
    load_kernels(kernels.__name__, device)
    load_kernels(raster_kernel.__name__, device)
    graph = build_graph(mesh)
    texels = find_texels(mesh, atlas.uv, atlas.uv_faces, config.size, graph, device=device)
    monitor.check()

    def judge(i: int) -> tuple[JudgedView, Camera, tuple[Array, Array, Array]]:
        view, camera = fitted(views[i], cameras[i], mesh, texels.spacing)
        ramp = max(config.ramp * view.width, 1e-3)
        judged = judge_view(view, camera, mesh, config.erode, ramp, device=device)
        return judged, camera, see_points(judged, graph.mesh.vertices, graph.normals, device=device)

    judged, seen_by, sights = zip(*map_threads(judge, range(len(views)), device=device), strict=True)
    monitor.check()
    rating = rate_views(np.stack([s[0] for s in sights]), np.stack([s[1] for s in sights]))
    shown = np.stack([s[2] for s in sights])
    coarse = coarse_bands(graph, rating, shown, config.coarse)
    if config.match_exposure:
        gains = find_gains(rating, coarse).astype(np.float32)
        shown, coarse = shown * gains[:, None], coarse * gains[:, None]
        judged = tuple(brightened(view, gain, device=device) for view, gain in zip(judged, gains, strict=True))
    share = averaged(choose_views(graph, rating, shown, config.change), rating, config.average)
    monitor.check()
    believed = None if unseen is None else colours_at(unseen, graph.mesh.vertices)
    base = blend_base(graph, rating, share, shown, coarse, config.coarse, believed)
    monitor.check()

    loader = TexelLoader(texels, graph, share, device=device)
    gathered = loader.gather(judged, [v.image for v in judged], list(coarse))
    monitor.check()
    strength = strength_of(gathered.grade)
    colour = gathered.detail
    colour *= strength[:, None]
    loader.add(base, colour)
    start = linear_to_srgb(np.clip(colour, 0.0, 1.0, out=colour))
    pixels = map_threads(
        lambda pair: render_matrix(mesh, atlas, texels, *pair, device=device), list(zip(judged, seen_by, strict=True))
    )
    monitor.check()
    found = solve_texture(
        start, texels, pixels, stiff=config.stiff, hold=config.hold, doubt=config.doubt, monitor=monitor
    )
    return TexturedMesh(
        mesh=mesh,
        uv=atlas.uv,
        uv_faces=atlas.uv_faces,
        base_color_srgb=fill_picture(texels, np.rint(found * 255).astype(np.uint8)),
        seen=seen_picture(texels, strength > 0.0),
    )


def colours_at(coloured: ColouredMesh, points: Array) -> Array:
    """Linear colours of the vertices nearest to points [G, 3]: the mean of three, by closeness; float32 [G, 3]."""
    colours = srgb_to_linear(coloured.colors_srgb.astype(np.float32) / 255.0)
    far, nearest = cKDTree(coloured.mesh.vertices).query(points, k=min(3, len(colours)))
    far, nearest = far.reshape(len(points), -1), nearest.reshape(len(points), -1)
    weight = 1.0 / (far + 1e-9)
    weight /= weight.sum(1, keepdims=True)
    return np.einsum("gk,gkc->gc", weight, colours[nearest]).astype(np.float32)


def averaged(share: Array, rating: Array, amount: float) -> Array:
    """Shares float32 [V, G] moved by `amount` (0..1) towards those of the rating-weighted mean."""
    mean = rating / np.maximum(rating.sum(0, keepdims=True), 1e-9)
    return np.where(share.sum(0, keepdims=True) > 0, (1 - amount) * share + amount * mean, 0.0).astype(np.float32)


def strength_of(grade: Array) -> Array:
    """How much of the views' detail a texel takes: none below a grade of 0.02, all from 0.1 on, smooth between."""
    t = np.clip((grade - 0.02) / 0.08, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
