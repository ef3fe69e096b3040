"""One view beside its render, at one working size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.sparse import csr_array

from meshwright.colour import linear_to_srgb
from meshwright.device import map_threads
from meshwright.quality.flip import Look, look_at
from meshwright.quality.metrics import DepthError, depth_error, flip, psnr, silhouette_iou, ssim
from meshwright.rendering import Picture, rasterize_mesh, render_coloured, render_textured
from meshwright.rendering.uploads import Uploads
from meshwright.types import Array, Camera, ColouredMesh, MaskSource, TexturedMesh, View

__all__ = ["Comparison", "Target", "area_resize", "compare_view", "target_of", "working_size"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A view, its render, and the numbers between them.

    Attributes:
        name: Of the view.
        reference: The input picture; one with alpha before its background (white). sRGB uint8 [H, W, 3].
        render: The mesh before the background of the view, sRGB uint8 [H, W, 3].
        error: FLIP between the two, float32 [H, W].
        mask: Coverage of the input, float32 [H, W].
        coverage: Coverage of the render, float32 [H, W].
        psnr, ssim, flip: Over the whole frame, between `reference` and `render`.
        psnr_white, ssim_white: The same with everything outside mask and mesh white.
        silhouette_iou: Between `mask` and `coverage`.
        depth: Against the view's depth render, None where it has none.
    """

    name: str
    reference: Array
    render: Array
    error: Array
    mask: Array
    coverage: Array
    psnr: float
    ssim: float
    flip: float
    psnr_white: float
    ssim_white: float
    silhouette_iou: float
    depth: DepthError | None


def working_size(width: int, height: int, longest: int) -> tuple[int, int]:
    """Width and height with the longer side at most `longest`; pictures are never enlarged."""
    scale = min(1.0, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


@dataclass(frozen=True, kw_only=True)
class Target:
    """A view at its working size: what does not depend on the mesh it is compared with.

    Attributes:
        reference: The view before its background, sRGB 0..1 on 256 steps, float32 [H, W, 3].
        reference_white: The same with everything outside the mask white.
        behind: The background, sRGB, float32 [H, W, 3].
        mask: Coverage, float32 [H, W].
        look: What the eye makes of `reference`.
    """

    reference: Array
    reference_white: Array
    behind: Array
    mask: Array
    look: Look


def target_of(view: View, longest: int) -> Target:
    """A view brought to its working size by averaging in linear light, as a render's samples are."""
    width, height = working_size(view.width, view.height, longest)
    mask = area_resize(view.mask[..., None], width, height)[..., 0]
    behind = linear_to_srgb(area_resize(view.background, width, height))
    if view.mask_source is MaskSource.ALPHA:
        weighted = area_resize(view.rgb * view.mask[..., None], width, height)
        straight = linear_to_srgb(weighted / np.maximum(mask, 1e-6)[..., None])
        reference = straight * mask[..., None] + behind * (1 - mask[..., None])
    else:
        # A photograph: its frame is what it is, and at its edges object and background are one colour.
        straight = reference = linear_to_srgb(area_resize(view.rgb, width, height))
    reference = _rounded(reference)
    return Target(
        reference=reference,
        reference_white=_rounded(straight * mask[..., None] + (1 - mask[..., None])),
        behind=behind,
        mask=mask,
        look=look_at(reference),
    )


def compare_view(
    mesh: TexturedMesh | ColouredMesh,
    camera: Camera,
    view: View,
    *,
    longest: int,
    device: str = "cpu",
    uploads: Uploads | None = None,
    target: Target | None = None,
) -> Comparison:
    """Render a mesh from a view's camera and compare.

    Compositing and comparing happen on sRGB values, rounded to 8 bit.

    Args:
        mesh: As delivered.
        camera: Of the view.
        view: The input.
        longest: Pixels of the longer side at which they are compared, see `working_size`.
        device: Where to render.
        uploads: Of that device, where the mesh is compared with more views.
        target: `target_of(view, longest)`, where that was worked out before.
    """
    if target is None:
        target = target_of(view, longest)
    height, width = target.mask.shape
    camera = camera.resized(width, height)
    picture = render(mesh, camera, device=device, uploads=uploads)
    shown, shown_white = _rounded(picture.over(target.behind)), _rounded(picture.over(1.0))
    own, white = (target.reference, shown), (target.reference_white, shown_white)
    error = np.empty_like(target.mask)

    def flipped() -> float:
        mean, error[:] = flip(*own, look=target.look)
        return mean

    # With more cores than views the others have nothing to do. FLIP first: it takes longest.
    measures: list[Callable[[], float]] = [flipped]
    measures += [partial(measure, *pair) for measure in (ssim, psnr) for pair in (own, white)]
    flip_mean, ssim_own, ssim_white, psnr_own, psnr_white = map_threads(lambda measure: measure(), measures)
    return Comparison(
        name=view.name,
        reference=_codes(target.reference),
        render=_codes(shown),
        error=error,
        mask=target.mask,
        coverage=picture.alpha,
        psnr=psnr_own,
        ssim=ssim_own,
        flip=flip_mean,
        psnr_white=psnr_white,
        ssim_white=ssim_white,
        silhouette_iou=silhouette_iou(target.mask, picture.alpha),
        depth=_compare_depth(mesh, camera, view, device, uploads),
    )


def render(
    mesh: TexturedMesh | ColouredMesh,
    camera: Camera,
    *,
    supersample: int = 2,
    device: str = "cpu",
    uploads: Uploads | None = None,
) -> Picture:
    """The look of any kind of mesh: its colours, or its material under its own light."""
    if isinstance(mesh, TexturedMesh) and mesh.material is not None:
        from meshwright.rendering.lit import render_lit  # brings torch, which colours alone do without

        return render_lit(mesh, camera, supersample=supersample, device=device, uploads=uploads)
    if isinstance(mesh, TexturedMesh):
        return render_textured(mesh, camera, supersample=supersample, device=device, uploads=uploads)
    return render_coloured(mesh, camera, supersample=supersample, device=device, uploads=uploads)


def area_resize(image: Array, width: int, height: int) -> Array:
    """Mean over the area of each new pixel, parts of old pixels included, float32 [height, width, C]."""
    if image.shape[:2] == (height, width):
        return image.astype(np.float32)
    channels = image.shape[2]
    rows = _area_weights(image.shape[0], height) @ np.asarray(image, np.float32).reshape(image.shape[0], -1)
    turned = rows.reshape(height, image.shape[1], channels).transpose(1, 0, 2).reshape(image.shape[1], -1)
    columns = _area_weights(image.shape[1], width) @ turned
    return np.ascontiguousarray(columns.reshape(width, height, channels).transpose(1, 0, 2))


def _area_weights(old: int, new: int) -> csr_array:
    """Share of each old cell in each new one, sparse float32 [new, old]; rows sum to 1."""
    edges = np.union1d(np.arange(old + 1) / old, np.arange(new + 1) / new)
    middle = (edges[1:] + edges[:-1]) / 2
    place = ((middle * new).astype(int), (middle * old).astype(int))
    return csr_array(((np.diff(edges) * new).astype(np.float32), place), shape=(new, old))


def _compare_depth(
    mesh: TexturedMesh | ColouredMesh, camera: Camera, view: View, device: str, uploads: Uploads | None
) -> DepthError | None:
    if view.depth is None:
        return None
    height, width = view.depth.values.shape
    rows = ((np.arange(camera.height) + 0.5) * height / camera.height).astype(int)
    columns = ((np.arange(camera.width) + 0.5) * width / camera.width).astype(int)
    # Nearest sample: averaging depth across a silhouette makes depths that are nowhere.
    values, valid = view.depth.values[rows][:, columns], view.depth.valid[rows][:, columns]
    z = rasterize_mesh(mesh.mesh, camera, device=device, uploads=uploads).z
    return depth_error(values, valid, z, view.depth.kind)


def _rounded(image: Array) -> Array:
    return np.asarray(np.rint(np.clip(image, 0, 1) * 255) / 255, np.float32)


def _codes(image: Array) -> Array:
    return np.asarray(np.rint(image * 255), np.uint8)
