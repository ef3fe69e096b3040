"""From photographs with cameras to a base-colour texture: the recipe of the texture stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from meshwright._warp import wp
from meshwright.device import map_threads
from meshwright.errors import OptionError, ShapeError
from meshwright.geometry.atlas import Atlas
from meshwright.rendering import rasterize_views
from meshwright.texture import kernels
from meshwright.texture.sight import see_points, view_maps
from meshwright.texture.texels import Texels, find_texels
from meshwright.types import Array, Camera, Mesh, Monitor, TexturedMesh, View

__all__ = ["TextureConfig", "bake_texture"]


@dataclass(frozen=True, kw_only=True)
class TextureConfig:
    """How colours come from the views onto the mesh."""

    size: int = 2048
    """Side of the texture in texels; that of the atlas's padding."""
    sharpness: float = 6.0
    """A view counts by this power of the cosine of its viewing angle."""
    erode: float = 1.5
    """Pixels next to a silhouette that are not used."""
    ramp: float = 6.0
    """Pixels over which trust then rises to full."""

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 16384:
            raise OptionError(f"size={self.size} is out of range.", hint="Use 16 to 16384.")


def bake_texture(
    mesh: Mesh,
    atlas: Atlas,
    views: Sequence[View],
    cameras: Sequence[Camera],
    config: TextureConfig | None = None,
    monitor: Monitor | None = None,
    device: str = "cpu",
) -> TexturedMesh:
    """Project the views onto the mesh and blend them in its texture.

    Args:
        mesh: Geometry that explains the views.
        atlas: Its texture coordinates.
        views: Pictures with masks.
        cameras: One per view, in its pixels.
        config: How to blend.
        monitor: Asked between steps whether to stop.
        device: "cpu" or a CUDA device.
    Raises:
        ShapeError: Views and cameras do not match, or mesh and atlas.
    """
    config = config or TextureConfig()
    if len(views) != len(cameras) or not views:
        raise ShapeError(f"{len(views)} views and {len(cameras)} cameras were given; each view needs its own.")
    check = (lambda: None) if monitor is None else monitor.check
    texels = find_texels(mesh, atlas.uv, atlas.uv_faces, config.size, device=device)
    check()
    cameras = [c.resized(v.width, v.height) for v, c in zip(views, cameras, strict=True)]
    fragments = rasterize_views(mesh, cameras, device=device)
    check()
    total = np.zeros((len(texels.index), 3), np.float32)
    weights = np.zeros(len(texels.index), np.float32)

    def project(i: int) -> tuple[Array, Array]:
        maps = view_maps(views[i], cameras[i], fragments[i], config.erode, config.ramp)
        sight = see_points(maps, texels.position, texels.normal, device=device)
        weight = sight.trust * sight.cosine**config.sharpness
        return weight, sample(maps.rgb, sight.pixel, device=device)

    for weight, colour in map_threads(project, range(len(views)), device=device):
        total += weight[:, None] * colour
        weights += weight
    check()
    seen = weights > 1e-4
    colour = np.zeros_like(total)
    colour[seen] = total[seen] / weights[seen, None]
    colour[~seen] = nearest_seen(texels, colour, seen)
    return finish(mesh, atlas, texels, colour, seen)


def sample(image: Array, pixel: Array, *, device: str) -> Array:
    """Bilinear look-up of an image float32 [H, W, 3] at pixels [M, 2]."""
    out = wp.empty(len(pixel), dtype=wp.vec3, device=device)
    inputs = [wp.array(image, dtype=wp.vec3, device=device), wp.array(pixel, dtype=wp.vec2, device=device)]
    wp.launch(kernels.sample_kernel, len(pixel), inputs, [out], device=device)
    colours: Array = out.numpy()
    return colours


def nearest_seen(texels: Texels, colour: Array, seen: Array) -> Array:
    """Colour of the nearest seen texels on a similar side, for those that no view saw."""
    if not seen.any():
        return np.full((np.count_nonzero(~seen), 3), 0.5, np.float32)
    key = np.concatenate([texels.position, 0.1 * texels.normal], 1)
    known = np.flatnonzero(seen)[::4]
    distance, near = cKDTree(key[known]).query(key[~seen], k=min(4, len(known)), workers=2)
    weight = 1.0 / np.maximum(distance.reshape(len(distance), -1), 1e-6)
    colours = colour[known[near.reshape(len(distance), -1)]]
    mean: Array = ((weight[..., None] * colours).sum(1) / weight.sum(1, keepdims=True)).astype(np.float32)
    return mean


def finish(mesh: Mesh, atlas: Atlas, texels: Texels, colour: Array, seen: Array) -> TexturedMesh:
    """Texel colours into a square picture, continued beyond the charts."""
    from scipy.ndimage import distance_transform_edt

    size = texels.size
    image = np.zeros((size * size, 3), np.uint8)
    image[texels.index] = encode_srgb(colour)
    known = np.zeros(size * size, bool)
    known[texels.index] = True
    row, column = distance_transform_edt(~known.reshape(size, size), return_distances=False, return_indices=True)
    image = image.reshape(size, size, 3)[row, column]
    mask = np.zeros(size * size, bool)
    mask[texels.index[seen & texels.inside]] = True
    return TexturedMesh(
        mesh=mesh, uv=atlas.uv, uv_faces=atlas.uv_faces, base_color_srgb=image, seen=mask.reshape(size, size)
    )


def encode_srgb(linear: Array) -> Array:
    """Linear colour to sRGB codes, uint8."""
    x = np.clip(linear, 0, 1)
    return np.round(255 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)).astype(np.uint8)
