"""Texel colours become a picture."""

from __future__ import annotations

import numpy as np

from meshwright.texture.texels import Texels
from meshwright.types import Array

__all__ = ["fill_picture", "seen_picture"]


def fill_picture(texels: Texels, colour: Array) -> Array:
    """Lay texel colours [M, C] into the square; what lies beyond the charts gets the colour of the nearest texel.

    Returns:
        [T, T, C], same type. Charts therefore never show what lies between them, however far a viewer mip-maps.
    """
    picture: Array = colour[texels.nearest].reshape(texels.size, texels.size, -1)
    return picture


def seen_picture(texels: Texels, seen: Array) -> Array:
    """Mark the texels inside of charts that some view saw; `seen` bool [M], result bool [T, T]."""
    flat = np.zeros(texels.size * texels.size, bool)
    flat[texels.index[seen & texels.inside]] = True
    return flat.reshape(texels.size, texels.size)
