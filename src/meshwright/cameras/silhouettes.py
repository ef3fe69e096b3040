"""Silhouettes as signed distance images and contour points, in coordinates that do not depend on the picture's size.

Image coordinates (u, v): the picture's centre is the origin, u right, v up, and half the picture's WIDTH is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import measure

from meshwright.distance import signed_distance
from meshwright.types import Array, View

__all__ = ["Silhouette", "outline_of", "silhouette_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Silhouette:
    """One view's outline.

    Attributes:
        distance: Signed distance image in units of half the picture's width, float32 [h, w], positive inside.
        contour: Points on the outline, (u, v), float64 [N, 2].
        bounds: (u_min, v_min, u_max, v_max) of the outline.
    """

    distance: Array
    contour: Array
    bounds: tuple[float, float, float, float]

    def sample(self, uv: Array) -> Array:
        """Signed distance at (u, v) [..., 2], bilinear; beyond the frame it keeps falling with the distance to it."""
        height, width = self.distance.shape
        half = width / 2
        x = uv[..., 0] * half + (width / 2 - 0.5)
        y = height / 2 - 0.5 - uv[..., 1] * half
        inside_x = np.clip(x, 0, width - 1.001)
        inside_y = np.clip(y, 0, height - 1.001)
        column, row = inside_x.astype(np.int32), inside_y.astype(np.int32)
        fx, fy = inside_x - column, inside_y - row
        flat = self.distance.reshape(-1)
        start = row * width + column
        upper = flat[start] * (1 - fx) + flat[start + 1] * fx
        lower = flat[start + width] * (1 - fx) + flat[start + width + 1] * fx
        beyond = np.abs(x - inside_x) + np.abs(y - inside_y)
        return np.asarray(upper * (1 - fy) + lower * fy - beyond / half)

    def mirrored(self) -> Silhouette:
        """The same outline, left and right exchanged."""
        left, low, right, high = self.bounds
        return Silhouette(
            distance=np.ascontiguousarray(self.distance[:, ::-1]),
            contour=self.contour * np.array([-1.0, 1.0]),
            bounds=(-right, low, -left, high),
        )

    def thinned(self, points: int) -> Silhouette:
        """The same outline with at most `points` contour points, evenly chosen."""
        if len(self.contour) <= points:
            return self
        chosen = np.linspace(0, len(self.contour) - 1, points).round().astype(int)
        return Silhouette(distance=self.distance, contour=self.contour[chosen], bounds=self.bounds)


def _resample(line: Array, spacing: float) -> Array:
    """Points every `spacing` along a polyline [N, 2]."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    count = max(int(along[-1] / spacing), 4)
    places = (np.arange(count) + 0.5) / count * along[-1]
    return np.stack([np.interp(places, along, line[:, axis]) for axis in range(2)], -1)


def silhouette_of(view: View, *, size: int = 512, points: int = 400) -> Silhouette:
    """The outline of a view's mask at a working size (long side, pixels) with about `points` contour points."""
    return outline_of(view.mask, size=size, points=points)


def outline_of(mask: Array, *, size: int = 512, points: int = 400) -> Silhouette:
    """The outline of a soft mask, float32 [H, W], as `silhouette_of` makes it."""
    shrink = max(mask.shape) / size
    if shrink > 1.0:
        shape = tuple(max(1, round(side / shrink)) for side in mask.shape)
        mask = ndimage.zoom(
            ndimage.gaussian_filter(mask, 0.5 * shrink),
            [target / side for target, side in zip(shape, mask.shape, strict=True)],
            order=1,
            grid_mode=True,
            mode="nearest",
        )
    height, width = mask.shape
    half = width / 2
    distance = signed_distance(mask) / half
    lines: Sequence[Array] = measure.find_contours(np.pad(mask, 1), 0.5)
    total = sum(float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum()) for line in lines)
    spacing = max(total / points, 0.5)
    kept = [_resample(line, spacing) for line in lines if len(line) > 8]
    rows_columns = np.concatenate(kept) - 1 if kept else np.array([[height / 2 - 0.5, width / 2 - 0.5]])
    contour = np.stack(
        [(rows_columns[:, 1] + 0.5 - width / 2) / half, (height / 2 - 0.5 - rows_columns[:, 0]) / half], -1
    )
    low, high = contour.min(0), contour.max(0)
    return Silhouette(distance=distance.astype(np.float32), contour=contour, bounds=(low[0], low[1], high[0], high[1]))
