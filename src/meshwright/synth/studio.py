"""A photographer's ground: near-white, a little darker to one side, with the object's soft shadow."""

from __future__ import annotations

import numpy as np

from meshwright.types import VIEW_NAMES, Array

__all__ = ["lay_on_studio_ground"]


def lay_on_studio_ground(rgba: Array, view: str, *, seed: int = 0) -> Array:
    """Lay a straight-alpha picture, uint8 [H, W, 4], on a studio ground: uint8 [H, W, 3].

    Args:
        rgba: The picture.
        view: Seen from the side an object throws its shadow on the floor below it; from above, all around it.
        seed: Of the gradient's direction and strength, drawn per view.
    """
    from scipy.ndimage import gaussian_filter, shift

    rng = np.random.default_rng((seed, VIEW_NAMES.index(view)))
    height, width = rgba.shape[:2]
    alpha = rgba[..., 3].astype(np.float64) / 255
    y, x = np.mgrid[0:height, 0:width]
    angle, strength, level = rng.uniform(0, 2 * np.pi), rng.uniform(0.01, 0.035), rng.uniform(0.955, 0.985)
    across = (x / width - 0.5) * np.cos(angle) + (y / height - 0.5) * np.sin(angle)
    ground = (level + strength * across)[..., None] * (1 + rng.uniform(-0.004, 0.004, 3))
    if view in ("top", "bottom"):
        shadow = 0.10 * gaussian_filter(shift(alpha, (0.012 * height, 0.008 * width), order=1), 0.02 * width)
    else:
        shadow = 0.22 * _floor_shadow(alpha)
    ground = np.clip(ground * (1 - shadow[..., None]), 0, 1) * 255
    mixed = rgba[..., :3] * alpha[..., None] + ground * (1 - alpha[..., None])
    # Half a code of noise breaks the steps that an 8-bit gradient would show.
    mixed += rng.uniform(-0.5, 0.5, mixed.shape) * (alpha[..., None] < 1)
    return np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)


def _floor_shadow(alpha: Array) -> Array:
    """Coverage of the lowest part of the object, flattened onto the floor line and blurred: float64 [H, W], 0..1."""
    from scipy.ndimage import gaussian_filter

    height, width = alpha.shape
    rows = np.flatnonzero((alpha > 0.5).any(1))
    shadow = np.zeros_like(alpha)
    if len(rows) == 0:
        return shadow
    floor = int(rows[-1])
    low = max(floor - height // 25, 0)
    profile = alpha[low : floor + 1].max(0)
    shadow[max(floor - height // 80, 0) : min(floor + height // 80, height)] = profile
    blurred: Array = gaussian_filter(shadow, (0.012 * height, 0.02 * width))
    return np.clip(blurred / max(float(blurred.max()), 1e-6), 0, 1)
