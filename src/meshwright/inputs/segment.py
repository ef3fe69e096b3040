"""Tell an object from a plain studio background."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from meshwright.inputs.background import fill_behind
from meshwright.types import Array

__all__ = ["segment"]


def segment(srgb: Array, hint: Array | None) -> Array | None:
    """Soft mask float32 [H, W] of the object, None where the frame cannot be divided.

    Args:
        srgb: sRGB-encoded picture in 0..1, float32 [H, W, 3].
        hint: Roughly where the object is, bool [H, W], None where not known.
    """
    height, width = srgb.shape[:2]
    band = max(2, min(height, width) // 50)
    border = np.zeros((height, width), bool)
    border[:band] = border[-band:] = border[:, :band] = border[:, -band:] = True
    colour = np.median(srgb[border], 0)
    noise = float(np.median(np.abs(srgb[border] - colour))) * 1.5 + 0.01
    far = np.abs(srgb - colour).max(-1) > max(0.06, 4 * noise)
    if hint is not None:
        far &= ndimage.binary_dilation(hint, iterations=max(2, width // 50))
    far = ndimage.binary_opening(far)
    labels, count = ndimage.label(far)
    if count == 0 or far.mean() > 0.95:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    solid = (sizes >= 0.002 * sizes.max())[labels]
    behind = fill_behind(srgb, (~ndimage.binary_dilation(solid, iterations=3)).astype(np.float32))
    difference = np.abs(srgb - behind).max(-1)
    soft = np.clip(difference / 0.12, 0, 1) * ndimage.binary_dilation(solid, iterations=2)
    return np.asarray(np.maximum(soft, ndimage.binary_erosion(solid, iterations=2)), np.float32)
