"""One view, judged pixel by pixel, and what it sees of points on the surface.

Letters: H, W pixels of the view, M points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter

from meshwright._warp import wp
from meshwright.rendering.rasterize import load_kernels, rasterize_on_device
from meshwright.texture import kernels
from meshwright.types import Array, Camera, Mesh, View

__all__ = ["SOLID_MASK", "STEEP", "JudgedView", "brightened", "eye_of", "judge_view", "see_points"]

SOLID_MASK = 0.98
"""A pixel with less coverage carries background colour."""
STEEP = 12.0
"""A jump of depth over three pixels beyond so many pixels' worth is an occluding edge, not a slope (80 degrees)."""

BESIDE = 16
"""Pixels beyond the outermost clean ones that still look for the nearest clean one; those beyond continue them."""


@dataclass(frozen=True, kw_only=True)
class JudgedView:
    """A view with what is known about each of its pixels, on the device.

    Attributes:
        eye: The camera, as kernels take it.
        image: Linear colour vec3 [H, W]; pixels next to a silhouette hold the colour of the nearest one that is not.
        depth: Of the mesh, float32 [H, W]; inf where there is none.
        trust: float32 [H, W]: 0 on background and next to any silhouette, rising to 1 some pixels inside.
        photograph: Linear colour as it came, float32 [H, W, 3]; an array, or of a view judged on a GPU a tensor there.
        whole: bool [H, W], pixels that hold nothing but the colour of one surface; likewise.
    """

    eye: Any
    image: Any
    depth: Any
    trust: Any
    photograph: Any
    whole: Any


def judge_view(view: View, camera: Camera, mesh: Mesh, erode: float, ramp: float, *, device: str) -> JudgedView:
    """Find the pixels of a view that can be trusted: not background, not next to a silhouette.

    Args:
        view: Colour and mask.
        camera: In the view's pixels.
        mesh: What it sees.
        erode: Pixels next to a silhouette that count for nothing.
        ramp: Pixels over which the trust then rises to 1.
        device: Where the maps are to live.
    """
    _, _, nearest = rasterize_on_device(mesh, camera, device=device)
    depth = nearest.numpy()
    hit = np.isfinite(depth)
    solid = (view.mask >= SOLID_MASK) & hit
    slope = STEEP / camera.fl_x * np.where(hit, depth, 1.0)
    front, back = minimum_filter(np.where(hit, depth, np.inf), 3), maximum_filter(np.where(hit, depth, -np.inf), 3)
    whole = solid & (back - front <= slope)
    # Next to the outline cover and cameras decide how much background a pixel holds; whoever looks between pixels
    # must stay away from it.
    clean = whole & (minimum_filter(hit.view(np.uint8), 3) > 0)
    image = view.rgb
    trust = np.zeros(clean.shape, np.float32)
    if clean.any():
        box = _around(clean)
        near = clean[box]
        # Nothing is known beyond the frame, so its border counts as a silhouette.
        inside = distance_transform_edt(np.pad(near, 1))[1:-1, 1:-1]
        trust[box] = np.clip((inside - erode) / ramp, 0.0, 1.0)
        row, column = distance_transform_edt(~near, return_distances=False, return_indices=True)
        rest = [(part.start, length - part.stop) for part, length in zip(box, clean.shape, strict=True)]
        image = np.pad(view.rgb[box][row, column], (*rest, (0, 0)), mode="edge")
    return JudgedView(
        eye=eye_of(camera),
        image=wp.array(image, dtype=wp.vec3, device=device, copy=False),
        depth=nearest,
        trust=wp.array(trust, dtype=wp.float32, device=device, copy=False),
        photograph=view.rgb,
        whole=whole,
    )


def _around(clean: Array) -> tuple[slice, slice]:
    """The rows and columns of the clean pixels, and `BESIDE` more on every side."""
    found = (np.flatnonzero(clean.any(axis)) for axis in (1, 0))
    rows, columns = (
        slice(max(int(n[0]) - BESIDE, 0), min(int(n[-1]) + 1 + BESIDE, length))
        for n, length in zip(found, clean.shape, strict=True)
    )
    return rows, columns


def eye_of(camera: Camera) -> Any:
    """The camera as kernels take it."""
    matrix = camera.world_to_camera
    eye = kernels.Eye()
    eye.rotation = wp.mat33(*matrix[:3, :3].ravel().tolist())
    eye.shift = wp.vec3(*matrix[:3, 3].tolist())
    eye.focal = wp.vec2(camera.fl_x, camera.fl_y)
    eye.centre = wp.vec2(camera.cx, camera.cy)
    return eye


def brightened(view: JudgedView, gain: Array, *, device: str) -> JudgedView:
    """The view with its colours multiplied by a gain per channel, float32 [3]."""
    image = wp.array(view.image.numpy() * gain, dtype=wp.vec3, device=device, copy=False)
    return replace(view, image=image, photograph=view.photograph * gain)


def see_points(view: JudgedView, position: Array, normal: Array, *, device: str) -> tuple[Array, Array, Array]:
    """What a view sees of points with normals, each float32 [M, 3].

    Returns:
        Cosine of the viewing angle float32 [M], trust float32 [M] (0 where hidden), colour float32 [M, 3].
    """
    load_kernels(kernels.__name__, device)
    count = len(position)
    cosine, trust = (wp.empty(count, dtype=wp.float32, device=device) for _ in range(2))
    colour = wp.empty(count, dtype=wp.vec3, device=device)
    inputs = [
        wp.array(position, dtype=wp.vec3, device=device),
        wp.array(normal, dtype=wp.vec3, device=device),
        view.eye,
        view.depth,
        view.trust,
        view.image,
    ]
    wp.launch(kernels.see_kernel, count, inputs, [cosine, trust, colour], device=device)
    return cosine.numpy(), trust.numpy(), colour.numpy()
