"""Pictures and depth as the files that users have: straight-alpha PNG, 16-bit metric and 8-bit relative depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from meshwright.colour import to_srgb8
from meshwright.synth.trace import SynthPicture
from meshwright.types import Array

__all__ = ["DEPTH_ENCODERS", "on_white", "rgba8", "save_png"]


def rgba8(picture: SynthPicture) -> Array:
    """Straight-alpha sRGB, uint8 [H, W, 4]; colour is 0 where nothing is covered."""
    alpha = np.rint(picture.alpha * 255).astype(np.uint8)
    rgb = np.where(alpha[..., None] > 0, to_srgb8(picture.rgb), 0)
    return np.concatenate([rgb, alpha[..., None]], -1).astype(np.uint8)


def on_white(rgba: Array) -> Array:
    """Laid over white as viewers do it, in sRGB codes: uint8 [H, W, 3]."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def metric16(z: Array) -> Array:
    """Codes of 1/10000 unit, uint16; 0 = background."""
    return np.rint(np.clip(z, 0, 6.5535) * 10000).astype(np.uint16)


def linear8(z: Array) -> Array:
    """Share of the farthest depth of this view, uint8: far = bright, 0 = background."""
    return np.rint(255 * z / max(float(z.max()), 1e-6)).astype(np.uint8)


def norm8(z: Array) -> Array:
    """Inverse depth stretched over 120..255 per view, uint8: near = bright, 0 = background."""
    hit = z > 0
    if not hit.any():
        return np.zeros(z.shape, np.uint8)
    inverse = 1 / np.where(hit, z, 1)
    low, high = float(inverse[hit].min()), float(inverse[hit].max())
    codes = 120 + 135 * (inverse - low) / max(high - low, 1e-9)
    return np.where(hit, np.rint(codes), 0).astype(np.uint8)


DEPTH_ENCODERS = {"metric": metric16, "linear8": linear8, "norm": norm8}
"""Each makes file codes [H, W] of a depth picture, float32 [H, W], 0 = background."""


def save_png(path: Path, codes: Array) -> None:
    """Write uint8 [H, W, 3 or 4], uint8 [H, W], or uint16 [H, W] codes; the folder is made."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(codes)).save(path)
