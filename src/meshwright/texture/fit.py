"""Views no finer than the texture can hold: what a texel covers is averaged, not picked from.

Letters: H, W pixels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from meshwright.types import Array, Camera, Mesh, View

__all__ = ["fitted"]

FINER = 1.2
"""So many pixels of a view may fall on one texel: a little more than one keeps the picture's sharpness."""


def fitted(view: View, camera: Camera, mesh: Mesh, spacing: float) -> tuple[View, Camera]:
    """The view at a size that suits the texture, and its camera.

    Args:
        view: Any size.
        camera: Any size of the same frame.
        mesh: Tells how far away the surface is.
        spacing: Distance of neighbouring texels on the surface, in mesh units.
    Returns:
        The view itself if its pixels are not much finer than the texels, else a smaller one: averaged in linear light,
        weighted by the mask, so that background does not mix in.
    """
    middle = 0.5 * (mesh.vertices.min(0) + mesh.vertices.max(0)).astype(np.float64)
    distance = float((middle - camera.position) @ camera.forward)
    pixels = camera.resized(view.width, view.height).fl_x / max(distance, 1e-9) * spacing
    if pixels <= FINER * 1.05:
        return view, camera.resized(view.width, view.height)
    width = max(1, round(view.width * FINER / pixels))
    height = max(1, round(view.height * FINER / pixels))
    mask = shrunk(view.mask, width, height)
    weight = np.maximum(mask, 1e-6)
    rgb = np.stack([shrunk(view.rgb[..., c] * view.mask, width, height) / weight for c in range(3)], -1)
    smaller = replace(view, rgb=np.ascontiguousarray(rgb), mask=mask, depth=None)
    return smaller, camera.resized(width, height)


def shrunk(channel: Array, width: int, height: int) -> Array:
    """A smaller picture, float32 [height, width]; each pixel is a smooth mean over what it covers."""
    image = Image.fromarray(np.ascontiguousarray(channel, np.float32), mode="F")
    return np.asarray(image.resize((width, height), Image.Resampling.HAMMING), np.float32)
