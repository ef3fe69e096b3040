"""From photographs with cameras to a base-colour texture: the recipe of the texture stage."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from meshwright.colour import srgb_to_linear
from meshwright.device import map_threads
from meshwright.errors import ShapeError
from meshwright.geometry.atlas import Atlas
from meshwright.rendering.rasterize import kernel as raster_kernel
from meshwright.rendering.rasterize import load_kernels
from meshwright.texture import kernels
from meshwright.texture.choice import blend_base, choose_views, coarse_bands, rate_views
from meshwright.texture.config import TextureConfig
from meshwright.texture.exposure import find_gains
from meshwright.texture.fit import fitted
from meshwright.texture.sight import JudgedView, see_points
from meshwright.texture.surface import SurfaceGraph, build_graph
from meshwright.types import Array, Camera, ColouredMesh, Mesh, Monitor, SilentMonitor, TexturedMesh, View

__all__ = ["bake_texture", "blend_texture"]


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
    scene = looked_at(mesh, atlas, views, cameras, config, monitor, device)
    graph, texels, judged = scene.graph, scene.texels, scene.judged
    rating, shown, steps = scene.rating, scene.shown, steps_for(device)
    coarse = coarse_bands(graph, rating, shown, config.coarse)
    if config.match_exposure:
        gains = find_gains(rating, coarse).astype(np.float32)
        shown, coarse = shown * gains[:, None], coarse * gains[:, None]
        judged = tuple(steps.brightened(view, gain, device=device) for view, gain in zip(judged, gains, strict=True))
    share = averaged(choose_views(graph, rating, shown, config.change), rating, config.average)
    monitor.check()
    believed = None if unseen is None else colours_at(unseen, graph.mesh.vertices)
    base = blend_base(graph, rating, share, shown, coarse, config.coarse, believed)
    monitor.check()

    picture, seen = steps.paint(
        mesh,
        atlas,
        graph,
        texels,
        list(zip(judged, scene.cameras, strict=True)),
        share,
        coarse,
        base,
        config=config,
        monitor=monitor,
        device=device,
    )
    return TexturedMesh(mesh=mesh, uv=atlas.uv, uv_faces=atlas.uv_faces, base_color_srgb=picture, seen=seen)


def blend_texture(
    mesh: Mesh,
    atlas: Atlas,
    views: Sequence[View],
    cameras: Sequence[Camera],
    size: int,
    monitor: Monitor | None = None,
    device: str = "cpu",
) -> TexturedMesh:
    """What a fit of the texture may begin with: everywhere the mean of the views, by how squarely they see it.

    A fraction of the work of `bake_texture`, and a ghost where views disagree. What no view sees gets the mean colour.

    Args:
        mesh: Geometry that explains the views.
        atlas: Its texture coordinates.
        views: Pictures with masks.
        cameras: One per view.
        size: Side of the texture in texels.
        monitor: Asked between steps whether to stop.
        device: "cpu" or a CUDA device.
    Raises:
        ShapeError: Views and cameras do not match, or mesh and atlas.
        Cancelled: The monitor wants to stop.
    """
    config = TextureConfig(size=size)
    scene = looked_at(mesh, atlas, views, cameras, config, monitor or SilentMonitor(), device)
    total = scene.rating.sum(0)
    share = scene.rating / np.maximum(total, 1e-9)
    base = (share[..., None] * scene.shown).sum(0)
    seen = total > 0
    base[~seen] = base[seen].mean(0) if seen.any() else 0.5
    picture, seen = steps_for(device).blend(scene.graph, scene.texels, scene.judged, share, base, device=device)
    return TexturedMesh(mesh=mesh, uv=atlas.uv, uv_faces=atlas.uv_faces, base_color_srgb=picture, seen=seen)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the views show of a mesh.

    Attributes:
        graph: The surface.
        texels: Where texels lie, as the steps for the device take it.
        cameras: One per view, of the pictures as they were fitted to the texels.
        judged: Which pixels of the views can be trusted.
        rating: How well each view sees each vertex of the graph, float32 [V, G].
        shown: What it shows there, linear, float32 [V, G, 3].
    """

    graph: SurfaceGraph
    texels: Any
    cameras: tuple[Camera, ...]
    judged: tuple[JudgedView, ...]
    rating: Array
    shown: Array


def looked_at(
    mesh: Mesh,
    atlas: Atlas,
    views: Sequence[View],
    cameras: Sequence[Camera],
    config: TextureConfig,
    monitor: Monitor,
    device: str,
) -> Scene:
    """What can be known before anything is blended; arguments and errors are those of `bake_texture`."""
    if len(views) != len(cameras) or not views:
        raise ShapeError(f"{len(views)} views and {len(cameras)} cameras were given; each view needs its own.")
    # Before threads use them: Warp's loader is not meant to be entered twice.
    load_kernels(kernels.__name__, device)
    load_kernels(raster_kernel.__name__, device)
    steps = steps_for(device)
    graph = build_graph(mesh)
    texels = steps.find_texels(mesh, atlas.uv, atlas.uv_faces, config.size, graph, device=device)
    monitor.check()

    fits = map_threads(lambda pair: fitted(*pair, mesh, texels.spacing), list(zip(views, cameras, strict=True)))

    def judge(fit: tuple[View, Camera]) -> tuple[JudgedView, tuple[Array, Array, Array]]:
        view, camera = fit
        judged = steps.judge_view(view, camera, mesh, config.erode, max(config.ramp * view.width, 1e-3), device=device)
        return judged, see_points(judged, graph.mesh.vertices, graph.normals, device=device)

    # A GPU does one view after the other: threads would only wait for each other.
    found = map_threads(judge, fits) if device == "cpu" else [judge(fit) for fit in fits]
    judged, sights = zip(*found, strict=True)
    monitor.check()
    return Scene(
        graph=graph,
        texels=texels,
        cameras=tuple(camera for _, camera in fits),
        judged=judged,
        rating=rate_views(np.stack([s[0] for s in sights]), np.stack([s[1] for s in sights])),
        shown=np.stack([s[2] for s in sights]),
    )


def steps_for(device: str) -> Any:
    """How the heavy steps are done: by NumPy and SciPy on a CPU, in torch's tensors where they stay on a GPU."""
    return importlib.import_module("meshwright.texture." + ("on_host" if device == "cpu" else "on_device"))


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
