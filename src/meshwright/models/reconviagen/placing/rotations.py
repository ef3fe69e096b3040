"""Rotations by the thousand: spread evenly, small ones from axis and angle, and how far two are apart."""

from __future__ import annotations

import math

import numpy as np

from meshwright.types import Array

__all__ = ["angles_between", "spread_rotations", "turned"]

_PSI = 1.533751168755204288118041
"""Real root of psi^4 = psi + 4: with the square root of 2 the pair that fills the space of rotations most evenly."""


def spread_rotations(count: int) -> Array:
    """`count` rotation matrices that leave no part of the space of rotations out, float64 [count, 3, 3].

    Any rotation is within about 205 / count^(1/3) degrees of one of them.
    Source: Alexa, "Super-Fibonacci Spirals: Fast, Low-Discrepancy Sampling of SO(3)", CVPR 2022.
    """
    place = np.arange(count) + 0.5
    inner, outer = np.sqrt(place / count), np.sqrt(1 - place / count)
    first, second = 2 * np.pi * place / math.sqrt(2.0), 2 * np.pi * place / _PSI
    x, y = inner * np.sin(first), inner * np.cos(first)
    z, w = outer * np.sin(second), outer * np.cos(second)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def turned(vectors: Array) -> Array:
    """Rotations about `vectors` [..., 3] by their lengths in radians, float64 [..., 3, 3] (Rodrigues' formula)."""
    vectors = np.asarray(vectors, np.float64)
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(vectors, -1, 0)
    nothing = np.zeros_like(x)
    cross = np.stack([nothing, -z, y, z, nothing, -x, -y, x, nothing], -1).reshape(*x.shape, 3, 3)
    # sin(a)/a and (1 - cos(a))/a^2 through sinc, which knows the limit at 0.
    first, second = np.sinc(angle / np.pi), 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    return np.asarray(np.eye(3) + first * cross + second * (cross @ cross))


def angles_between(one: Array, other: Array) -> Array:
    """Degrees by which rotations [..., 3, 3] differ, float64 [...]; shapes broadcast."""
    difference = np.asarray(one, np.float64) - other
    # From the chord: |A - B|_F = 2 sqrt(2) sin(angle / 2). The trace would lose small angles to rounding.
    chord = np.sqrt((difference**2).sum((-2, -1))) / (2 * math.sqrt(2.0))
    return np.asarray(np.degrees(2 * np.arcsin(np.clip(chord, 0.0, 1.0))))
