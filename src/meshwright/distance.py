"""Signed distance of soft masks, for calibration and for the visual hull."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from meshwright.types import Array

__all__ = ["signed_distance"]


def signed_distance(mask: Array) -> Array:
    """Distance to the mask's outline in pixels, positive inside, float32 [H, W].

    The outline is where the soft mask crosses 0.5. On the outline's own pixels the coverage says where it runs within
    the pixel; farther away the exact Euclidean distance transform takes over. The frame's edge counts as outline where
    the mask reaches it: pictures cropped to the object have flat sides there, beyond which nothing may grow.
    """
    framed = np.pad(mask, 1)
    inside = framed >= 0.5
    distance = np.where(
        inside, ndimage.distance_transform_edt(inside) - 0.5, 0.5 - ndimage.distance_transform_edt(~inside)
    )[1:-1, 1:-1]
    partial = (mask > 0.02) & (mask < 0.98) & (np.abs(distance) < 1.0)
    return np.where(partial, mask - 0.5, distance).astype(np.float32)
