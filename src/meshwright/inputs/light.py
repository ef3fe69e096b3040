"""Whole pictures to linear light."""

from __future__ import annotations

import numpy as np

from meshwright.colour import decode_table, srgb_to_linear
from meshwright.inputs.strips import strips
from meshwright.types import Array

__all__ = ["linear_picture"]

_CODES = np.arange(256, dtype=np.float32) / np.float32(255)


def linear_picture(srgb: Array) -> Array:
    """`srgb_to_linear` of a picture, float32 [H, W, 3] in 0..1: the same numbers in a quarter of the time.

    Most pixels of 8-bit pictures are still exactly the codes of the file, for which there is a table.
    """
    result = np.empty(srgb.shape, np.float32)
    for rows, _, _ in strips(srgb.shape[0], rows=64):
        part = srgb[rows]
        code = np.clip(part * np.float32(255) + np.float32(0.5), 0, 255).astype(np.uint8)
        linear = decode_table()[code]
        between = _CODES[code] != part
        if between.any():
            linear[between] = srgb_to_linear(part[between])
        result[rows] = linear
    return result
