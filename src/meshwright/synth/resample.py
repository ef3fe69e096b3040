"""Move and scale pictures, depth renders and cameras alike, at sub-pixel positions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from meshwright.colour import from_srgb8, to_srgb8
from meshwright.types import Array, Camera

__all__ = ["Disturbance", "disturbed_camera", "read_codes", "resample_depth", "resample_picture"]


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """What happens to one view.

    Attributes:
        shows: The direction that the picture was really taken from.
        scale: Factor about the image centre.
        offset: Shift afterwards, x right and y down, as a share of the width.
        depth_scale, depth_shift: The same of the depth render, after it followed its view; the shift in pixels.
        gain: Factor of brightness, linear light.
        mirrored: Flipped left to right at the very end.
    """

    shows: str
    scale: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)
    depth_scale: float = 1.0
    depth_shift: tuple[float, float] = (0.0, 0.0)
    gain: float = 1.0
    mirrored: bool = False


def resample_picture(codes: Array, change: Disturbance) -> Array:
    """An sRGB picture, uint8 [H, W, 3 or 4], moved and scaled; borders repeat outwards (alpha ones are empty)."""
    from PIL import Image

    height, width = codes.shape[:2]
    alpha = codes[..., 3:] / np.float32(255) if codes.shape[2] == 4 else np.ones((height, width, 1), np.float32)
    layers = np.concatenate([from_srgb8(codes[..., :3]) * alpha * np.float32(change.gain), alpha], -1)
    pad = 4 + int(max(height, width) * 0.5)
    layers = np.pad(layers, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    dx, dy = change.offset[0] * width, change.offset[1] * width
    # Pillow asks where in the source an output pixel lies: source = centre + (output - centre - offset) / scale.
    k = 1 / change.scale
    matrix = (k, 0.0, pad + width / 2 * (1 - k) - dx * k, 0.0, k, pad + height / 2 * (1 - k) - dy * k)
    # Keys' cubic rings on one pixel only, and to the dark side there: clipping leaves no halo.
    moved = np.stack(
        [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(layers[..., c])).transform(
                    (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
                )
            )
            for c in range(4)
        ],
        -1,
    )
    coverage = np.clip(moved[..., 3:], 0, 1)
    straight = np.clip(moved[..., :3], 0, None) / np.maximum(moved[..., 3:], 1e-4)
    rgb = to_srgb8(straight)
    if codes.shape[2] == 3:
        return rgb
    alpha8 = np.rint(coverage * 255).astype(np.uint8)
    return np.concatenate([np.where(alpha8 > 0, rgb, 0).astype(np.uint8), alpha8], -1)


def resample_depth(codes: Array, change: Disturbance) -> Array:
    """Depth codes [H, W], moved with their view and then by their own share; 0 stays background.

    Between four neighbours on one surface the value is blended; at silhouettes and steps the nearest one is taken.
    """
    height, width = codes.shape
    scale = change.scale * change.depth_scale
    # The view's offset is a share of the width, so depth renders of another size than the view move alike.
    shift_x = change.offset[0] * width * change.depth_scale + change.depth_shift[0]
    shift_y = change.offset[1] * width * change.depth_scale + change.depth_shift[1]
    x = width / 2 + (np.arange(width) + 0.5 - width / 2 - shift_x) / scale - 0.5
    y = height / 2 + (np.arange(height) + 0.5 - height / 2 - shift_y) / scale - 0.5
    padded = np.pad(codes.astype(np.float64), 1)

    def at(rows: Array, columns: Array) -> Array:
        rows, columns = np.clip(rows + 1, 0, height + 1), np.clip(columns + 1, 0, width + 1)
        values: Array = padded[rows.astype(int)[:, None], columns.astype(int)[None]]
        return values

    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = (x - x0)[None], (y - y0)[:, None]
    corners = np.stack([at(y0, x0), at(y0, x0 + 1), at(y0 + 1, x0), at(y0 + 1, x0 + 1)])
    blended = (corners[0] * (1 - fx) + corners[1] * fx) * (1 - fy) + (corners[2] * (1 - fx) + corners[3] * fx) * fy
    nearest = at(np.rint(y), np.rint(x))
    # A step of 2 % of the largest value is taken for an edge; a sloping surface stays below that per pixel.
    smooth = (corners.min(0) > 0) & (corners.max(0) - corners.min(0) <= 0.02 * max(float(codes.max()), 1.0))
    return np.rint(np.where(smooth, blended, nearest)).astype(codes.dtype)


def disturbed_camera(camera: Camera, change: Disturbance) -> Camera:
    """The camera that fits a picture after `resample_picture` (before any mirroring)."""
    width, height, s = camera.width, camera.height, change.scale
    return replace(
        camera,
        fl_x=camera.fl_x * s,
        fl_y=camera.fl_y * s,
        cx=width / 2 + s * (camera.cx - width / 2) + change.offset[0] * width,
        cy=height / 2 + s * (camera.cy - height / 2) + change.offset[1] * width,
    )


def read_codes(path: Path) -> Array:
    """File codes of a PNG: uint8 [H, W], [H, W, 3], [H, W, 4], or uint16 [H, W]."""
    from PIL import Image

    with Image.open(path) as image:
        if image.mode in ("L", "I;16", "I", "RGB", "RGBA"):
            codes = np.asarray(image)
        else:
            codes = np.asarray(image.convert("RGB"))
    return codes.astype(np.uint16) if codes.dtype == np.int32 else codes
