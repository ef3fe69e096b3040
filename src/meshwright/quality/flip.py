"""FLIP: the difference that a person sees when flipping between two pictures.

Source: Andersson, Nilsson, Akenine-Moeller, Oskarsson, Astrom, Fairchild, "FLIP: A Difference Evaluator for Alternating
Images", HPG 2020. It gives the numbers of NVIDIA's flip-evaluator, which keeps all other threads waiting meanwhile.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from meshwright.colour import srgb_to_linear
from meshwright.device import map_threads
from meshwright.types import Array

__all__ = ["Look", "flip_map", "look_at"]

PIXELS_PER_DEGREE = 67.0206432
"""A screen of 3840 pixels and 0.7 m, seen from 0.7 m."""

_TO_XYZ = np.array(
    [
        [10135552 / 24577794, 8788810 / 24577794, 4435075 / 24577794],
        [2613072 / 12288897, 8788810 / 12288897, 887015 / 12288897],
        [1425312 / 73733382, 8788810 / 73733382, 70074185 / 73733382],
    ]
)
_WHITE = _TO_XYZ.sum(1)
_TO_WHITES = (_TO_XYZ / _WHITE[:, None]).astype(np.float32)
"""Linear RGB to X, Y, Z as shares of white's."""
_FROM_WHITES = np.linalg.inv(_TO_XYZ / _WHITE[:, None]).astype(np.float32)

_SENSITIVITY = (
    ((1.0, 0.0047),),
    ((1.0, 0.0053),),
    ((34.1, 0.04), (13.5, 0.025)),
)
"""What the eye makes of luminance, red-green and blue-yellow: Gaussians, amplitude and width (degrees squared)."""
_EXPONENT = 0.7
_KNEE, _KNEE_AT = 0.4, 0.95
_FEATURE = 0.082
"""Width of the features that are looked for, in degrees."""


@dataclass(frozen=True)
class Look:
    """What the eye makes of a picture, each float32 [H, W].

    Attributes:
        lab: L*, a*, b* of what it still resolves, with less colour where it is dark.
        edges: How much of an edge there is.
        points: How much of a point.
    """

    lab: tuple[Array, Array, Array]
    edges: Array
    points: Array


def look_at(srgb: Array) -> Look:
    """What the eye makes of a picture, sRGB 0..1, float32 [H, W, 3]."""
    planes = _opponent(srgb)
    found: dict[str, tuple[Array, ...]] = {}

    def perceive() -> None:
        found["lab"] = _perceived(planes)

    def find() -> None:
        found["features"] = _features(planes[0])

    map_threads(lambda part: part(), (perceive, find))
    light, a, b = found["lab"]
    edges, points = found["features"]
    return Look((light, a, b), edges, points)


def flip_map(reference: Look, image: Look) -> Array:
    """FLIP of each pixel, float32 [H, W] in 0..1."""
    one, other = reference.lab, image.lab
    colour = _hyab(one, other) ** np.float32(_EXPONENT)
    most = _most()
    knee = np.float32(_KNEE * most)
    low = colour * np.float32(_KNEE_AT / knee)
    high = np.float32(_KNEE_AT) + (colour - knee) * np.float32((1 - _KNEE_AT) / (most - knee))
    colour = np.where(colour < knee, low, high)
    edges, points = np.abs(reference.edges - image.edges), np.abs(reference.points - image.points)
    feature = np.sqrt(np.clip(np.maximum(edges, points) / np.float32(np.sqrt(2)), 0, 1))
    return np.asarray(np.clip(colour, 0, 1) ** (1 - feature), np.float32)


def _opponent(srgb: Array) -> tuple[Array, Array, Array]:
    """Luminance (1 is white), red-green and blue-yellow: linear, so that filters may be applied."""
    x, y, z = _turned(_TO_WHITES, tuple(srgb_to_linear(np.ascontiguousarray(srgb[..., c])) for c in range(3)))
    return y, x - y, y - z


def _turned(matrix: Array, planes: tuple[Array, ...]) -> tuple[Array, Array, Array]:
    a, b, c = planes
    x, y, z = (row[0] * a + row[1] * b + row[2] * c for row in matrix)
    return x, y, z


def _perceived(planes: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    """L*, a*, b* of what the eye still resolves, with less colour where it is dark (Hunt)."""
    y, red, blue = (_seen(plane, gaussians) for plane, gaussians in zip(planes, _SENSITIVITY, strict=True))
    rgb = _turned(_FROM_WHITES, (red + y, y, y - blue))
    return _lab(tuple(np.clip(plane, 0, 1) for plane in rgb))


def _seen(plane: Array, gaussians: tuple[tuple[float, float], ...]) -> Array:
    steps = np.arange(-_reach(), _reach() + 1) / PIXELS_PER_DEGREE
    rows = [np.exp(-(np.pi**2) * steps**2 / width) for _, width in gaussians]
    # Amplitudes are those of the two-dimensional Gaussians; together they weigh 1.
    shares = [
        high * np.sqrt(np.pi / width) * row.sum() ** 2 for (high, width), row in zip(gaussians, rows, strict=True)
    ]
    total = sum(shares)
    return sum(
        np.float32(share / total) * _along(_along(plane, row / row.sum(), 1), row / row.sum(), 0)
        for share, row in zip(shares, rows, strict=True)
    )  # type: ignore[return-value]


def _reach() -> int:
    widest = max(width for gaussians in _SENSITIVITY for _, width in gaussians)
    return int(np.ceil(3 * np.sqrt(widest / (2 * np.pi**2)) * PIXELS_PER_DEGREE))


def _along(plane: Array, weights: Array, axis: int) -> Array:
    return np.asarray(ndimage.correlate1d(plane, weights, axis, mode="nearest"))


def _lab(rgb: tuple[Array, ...]) -> tuple[Array, Array, Array]:
    x, y, z = (_bent(share) for share in _turned(_TO_WHITES, rgb))
    light = 116 * y - 16
    hunt = light / 100
    return light, 500 * (x - y) * hunt, 200 * (y - z) * hunt


def _bent(share: Array) -> Array:
    delta = 6 / 29
    return np.where(share > delta**3, np.cbrt(share), share / np.float32(3 * delta**2) + np.float32(4 / 29))


def _hyab(one: tuple[Array, Array, Array], other: tuple[Array, Array, Array]) -> Array:
    light, a, b = (p - q for p, q in zip(one, other, strict=True))
    return np.asarray(np.abs(light) + np.sqrt(a * a + b * b))


@functools.cache
def _most() -> float:
    """The largest difference of colours there is: green from blue."""
    green, blue = (_lab(tuple(np.array([c], np.float32) for c in rgb)) for rgb in ((0, 1, 0), (0, 0, 1)))
    return float(_hyab(green, blue)[0]) ** _EXPONENT


def _features(luminance: Array) -> tuple[Array, Array]:
    """How much of an edge and of a point there is at each pixel."""
    spread = 0.5 * _FEATURE * PIXELS_PER_DEGREE
    reach = int(np.ceil(3 * spread))
    steps = np.arange(-reach, reach + 1)
    bell = np.exp(-(steps**2) / (2 * spread**2))
    found = []
    for shape in (-steps * bell, (steps**2 / spread**2 - 1) * bell):
        weights = np.where(shape < 0, shape / -shape[shape < 0].sum(), shape / shape[shape > 0].sum())
        parts = [_along(_along(luminance, bell / bell.sum(), 1 - axis), weights, axis) for axis in (0, 1)]
        found.append(np.hypot(*parts))
    return found[0], found[1]
