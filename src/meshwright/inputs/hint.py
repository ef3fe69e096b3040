"""A rough silhouette (from the depth render of the same view) brought over the picture, to help where it is silent.

Depth renders are not pixel-aligned with their pictures: they were seen a few percent narrower and shifted by up to
2.5 % of the frame. Scale and shift are found by correlating with a first rough mask; what is left is a tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from meshwright.device import map_threads
from meshwright.inputs.frame import bounding_box
from meshwright.types import Array

__all__ = ["Hint", "place_hint"]

_TRUST = 0.8
"""Below this overlap with the rough mask the hint shows something else and is not used."""
_TOLERANCE = 0.02
_REACH = 0.05
_SCALES = np.arange(0.95, 1.0501, 0.01)
_STEP = 4


@dataclass(frozen=True, kw_only=True)
class Hint:
    """The placed silhouette: signed distance in pixels (positive inside, exact to beyond `tolerance`),
    float32 [h, w]; what it may be wrong by."""

    distance: Array
    tolerance: float

    @property
    def inside(self) -> Array:
        """Surely object."""
        return np.asarray(self.distance > self.tolerance)

    def cut(self, box: tuple[slice, slice]) -> Hint:
        """The same, of a part of the picture."""
        return Hint(distance=self.distance[box], tolerance=self.tolerance)


def place_hint(silhouette: Array, rough: Array) -> Hint | None:
    """Scale and shift `silhouette` (bool [h, w]) onto `rough` (bool [h, w]); None when they do not agree."""
    target, source = _reduce(rough), _reduce(silhouette)
    spectrum = np.fft.rfft2(target)
    reach = max(1, round(_REACH * max(target.shape)))
    best = (0.0, 1.0, 0, 0)
    for scale in _SCALES:
        scaled = _moved(source, float(scale), (0, 0))
        overlap = np.fft.irfft2(spectrum * np.conj(np.fft.rfft2(scaled)), target.shape)
        # Shifts wrap around: negative ones stand at the end of each axis.
        rows = np.r_[0 : reach + 1, -reach:0]
        window = overlap[np.ix_(rows, rows)]
        row, column = np.unravel_index(int(window.argmax()), window.shape)
        union = float(target.sum() + scaled.sum() - window[row, column])
        score = float(window[row, column]) / max(union, 1e-9)
        if score > best[0]:
            best = (score, float(scale), int(rows[row]), int(rows[column]))
    score, scale, down, right = best
    if score < _TRUST:
        return None
    placed = _moved(silhouette, scale, (down * _STEP, right * _STEP)) > 0.5
    if not placed.any() or placed.all():
        return None
    # Nobody asks how far off it is what lies further out than the tolerance.
    tolerance = _TOLERANCE * max(silhouette.shape)
    margin = int(tolerance) + 2
    distance = np.full(placed.shape, -float(margin), np.float32)
    box = bounding_box(placed, margin)
    part = placed[box]
    within, beyond = map_threads(ndimage.distance_transform_edt, (part, ~part))
    distance[box] = within - beyond
    return Hint(distance=distance, tolerance=tolerance)


def _reduce(region: Array) -> Array:
    """Average over blocks of 4 x 4."""
    height, width = (side // _STEP * _STEP for side in region.shape)
    blocks = region[:height, :width].reshape(height // _STEP, _STEP, width // _STEP, _STEP)
    return np.asarray(blocks.mean((1, 3), dtype=np.float32))


def _moved(image: Array, scale: float, shift: tuple[int, int]) -> Array:
    """The image scaled about its middle, then shifted by rows and columns; float32, 0 beyond its pixels.

    Linear between them: what SciPy's affine transform of order 1 gives, one axis after the other and so in a quarter of
    the time.
    """
    moved = image.astype(np.float32)
    for axis, size in enumerate(image.shape):
        middle = (size - 1) / 2
        place = (np.arange(size) - middle - shift[axis]) / scale + middle
        held = (place >= 0) & (place <= size - 1)
        low = np.clip(place.astype(int), 0, max(size - 2, 0))
        share = np.where(held, place - low, 0.0)
        near, far = (
            weight.astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1)) for weight in (held - share, share)
        )
        moved = moved.take(low, axis) * near + moved.take(np.minimum(low + 1, size - 1), axis) * far
    return moved
