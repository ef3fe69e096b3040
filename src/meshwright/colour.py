"""sRGB and linear light: the one transfer curve (IEC 61966-2-1) for every stage.

Pictures are stored in sRGB, 8 bits a channel; light adds up in linear RGB. Averages, filters and texture look-ups are
done in linear light, comparisons of pictures in sRGB, as they are seen.
"""

from __future__ import annotations

import functools

import numpy as np

from meshwright.types import Array

__all__ = ["decode_table", "from_srgb8", "linear_to_srgb", "srgb_to_linear", "to_srgb8"]


def srgb_to_linear(values: Array) -> Array:
    """sRGB 0..1 to linear light 0..1, elementwise, float32."""
    values = np.asarray(values, np.float32)
    high = ((np.maximum(values, 0) + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    return np.where(values <= 0.04045, values / np.float32(12.92), high).astype(np.float32)


def linear_to_srgb(values: Array) -> Array:
    """Linear light to sRGB 0..1, elementwise, float32; clipped to 0..1 first."""
    values = np.clip(np.asarray(values, np.float32), 0, 1)
    high = np.float32(1.055) * values ** np.float32(1 / 2.4) - np.float32(0.055)
    return np.where(values <= 0.0031308, values * np.float32(12.92), high).astype(np.float32)


@functools.cache
def decode_table() -> Array:
    """Linear light of the 256 sRGB codes, float32 [256]; read-only."""
    table = srgb_to_linear(np.arange(256, dtype=np.float32) / 255)
    table.flags.writeable = False
    return table


def from_srgb8(codes: Array) -> Array:
    """sRGB uint8 to linear float32, same shape."""
    result: Array = decode_table()[codes]
    return result


def to_srgb8(values: Array) -> Array:
    """Linear light to sRGB uint8, same shape, rounded to the nearest code."""
    codes: Array = np.rint(linear_to_srgb(values) * 255).astype(np.uint8)
    return codes
