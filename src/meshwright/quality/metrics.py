"""How alike two pictures, two silhouettes or two depth maps are.

Pictures are sRGB 0..1, float32 [H, W, 3], the first one the reference. PSNR: higher is better, in dB. SSIM: 0..1,
higher is better. FLIP: 0..1, lower is better, the difference a person sees when flipping between the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meshwright.device import map_threads
from meshwright.errors import ShapeError
from meshwright.quality.flip import Look, flip_map, look_at
from meshwright.types import Array, DepthKind

__all__ = ["DepthError", "depth_error", "flip", "psnr", "silhouette_iou", "ssim"]

SSIM_BAND = 1 << 16
"""Values of a picture that are worked on at once: with what is made of them, they stay in a core's cache."""
SMALLEST_MSE = 1e-10
"""Equal pictures get 100 dB instead of infinity, which JSON does not know."""


def psnr(reference: Array, image: Array) -> float:
    """Peak signal-to-noise ratio in dB, at most 100."""
    _same(reference, image)
    error = np.mean((reference.astype(np.float64) - image) ** 2)
    return float(-10 * np.log10(max(float(error), SMALLEST_MSE)))


def ssim(reference: Array, image: Array) -> float:
    """Structural similarity with a uniform 7x7 window (smaller for pictures below 7 pixels), mean over channels.

    Over windows that lie in the picture as a whole, with the sample covariance: what scikit-image computes, in a
    quarter of its time.
    Source: Wang et al. 2004.
    """
    _same(reference, image)
    height, width, channels = reference.shape
    side = min(height, width)
    if side < 3:
        raise ShapeError(f"SSIM needs pictures of at least 3x3 pixels, got {reference.shape[:2]}.")
    window = min(7, side - 1 + side % 2)
    pair = [np.ascontiguousarray(picture, np.float32).reshape(height, -1) for picture in (reference, image)]
    count = max(1, SSIM_BAND // (width * channels))

    def total(start: int) -> float:
        one, other = (rows[start : start + count + window - 1] for rows in pair)
        return float(_similarity(one, other, window, channels).sum(dtype=np.float64))

    windows = (height - window + 1) * (width - window + 1) * channels
    return sum(map_threads(total, range(0, height - window + 1, count))) / windows


def _similarity(one: Array, other: Array, window: int, channels: int) -> Array:
    """SSIM of each window; rows [R, W * C] of float32 with the channels of a pixel side by side."""
    area = np.float32(window * window)
    a, b, aa, bb, ab = (
        _window_sums(values, window, channels) / area for values in (one, other, one * one, other * other, one * other)
    )
    product, squares = a * b, a * a + b * b
    sample = np.float32(2) * area / (area - 1)
    covariance, variances = sample * (ab - product), np.float32(0.5) * sample * (aa + bb - squares)
    # Wang's constants for values from 0 to 1: 0.01 ** 2 and 0.03 ** 2.
    means, spreads = np.float32(1e-4), np.float32(9e-4)
    result: Array = (2 * product + means) * (covariance + spreads) / ((squares + means) * (variances + spreads))
    return result


def _window_sums(rows: Array, window: int, channels: int) -> Array:
    height, width = len(rows) - window + 1, rows.shape[1] - (window - 1) * channels
    down = rows[:height] + rows[1 : height + 1]
    for shift in range(2, window):
        down += rows[shift : height + shift]
    across: Array = down[:, :width] + down[:, channels : width + channels]
    for shift in range(2 * channels, window * channels, channels):
        across += down[:, shift : width + shift]
    return across


def flip(reference: Array, image: Array, *, look: Look | None = None) -> tuple[float, Array]:
    """Mean FLIP and its map, float32 [H, W], at 67 pixels per degree.

    Args:
        reference: sRGB 0..1, float32 [H, W, 3].
        image: Of the same size.
        look: `look_at(reference)`, where that was worked out before.
    Source: Andersson et al. 2020; the numbers are those of NVIDIA's flip-evaluator.
    """
    _same(reference, image)
    if look is None:
        look, ours = map_threads(look_at, (reference, image))
    else:
        ours = look_at(image)
    error = flip_map(look, ours)
    return float(error.mean(dtype=np.float64)), error


def silhouette_iou(reference: Array, coverage: Array) -> float:
    """Intersection over union of two coverages [H, W]; half covered counts as inside. Two empty ones agree: 1."""
    _same(reference, coverage)
    a, b = reference >= 0.5, coverage >= 0.5
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 1.0


@dataclass(frozen=True, kw_only=True)
class DepthError:
    """How far a depth render and a mesh are apart once scale and shift are taken out.

    Attributes:
        mean: Mean absolute difference along the optical axis, world units.
        median: The median of it.
        kind: How the render was read, LINEAR or INVERSE.
        pixels: On how many pixels both have a depth.
    """

    mean: float
    median: float
    kind: DepthKind
    pixels: int


def depth_error(values: Array, valid: Array, z: Array, kind: DepthKind = DepthKind.AUTO) -> DepthError | None:
    """Compare a depth render with rendered depths.

    The render is brought to depths by the two numbers that fit best: z = a v + b, or 1/z = a v + b for inverse depth.
    Pixels far off (3 times the median difference) are left out of the fit, in the second and third of three rounds, but
    not out of the error. AUTO takes the reading with the smaller median error: few wrong pixels decide a mean.

    Args:
        values: The render's numbers, float [H, W].
        valid: Where they mean something, bool [H, W].
        z: Rendered depth along the optical axis, float [H, W]; not finite on background.
        kind: What the numbers mean.
    Returns:
        None where fewer than 16 pixels have both, or the render is flat.
    """
    _same(values, z)
    both = valid & np.isfinite(z)
    v, target = values[both].astype(np.float64), z[both].astype(np.float64)
    if len(v) < 16 or np.ptp(v) == 0:
        return None
    readings = {
        DepthKind.AUTO: (DepthKind.LINEAR, DepthKind.INVERSE),
        DepthKind.METRIC: (DepthKind.LINEAR,),
    }.get(kind, (kind,))
    results = []
    for candidate in readings:
        difference = _aligned_difference(v, target, candidate is DepthKind.INVERSE)
        results.append(
            DepthError(
                mean=float(difference.mean()), median=float(np.median(difference)), kind=candidate, pixels=len(v)
            )
        )
    return min(results, key=lambda result: result.median)


def _aligned_difference(v: Array, z: Array, inverse: bool) -> Array:
    """Absolute difference in z after the best scale and shift."""
    target = 1 / z if inverse else z
    keep = np.ones(len(v), bool)
    difference = np.zeros(len(v))
    for _ in range(3):
        system = np.stack([v[keep], np.ones(int(keep.sum()))], 1)
        scale, shift = np.linalg.lstsq(system, target[keep], rcond=None)[0]
        fitted = scale * v + shift
        if inverse:
            # A shift that sends far pixels beyond infinity must not give them a negative depth.
            fitted = 1 / np.maximum(fitted, 0.25 / z.max())
        difference = np.abs(fitted - z)
        keep = difference <= 3 * np.median(difference) + 1e-12
    return difference


def _same(a: Array, b: Array) -> None:
    if a.shape != b.shape:
        raise ShapeError(f"Pictures of {a.shape} and {b.shape} cannot be compared.", hint="Bring them to one size.")
