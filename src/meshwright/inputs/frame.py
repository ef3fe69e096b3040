"""A picture prepared for segmentation: lightly smoothed, with its slopes and its noise measured.

Everything here works on a reduced picture of at most about 1024 pixels, so that "a pixel" means the same for every
input. Colours are sRGB-encoded in 0..1: equal steps look about equal, which linear light would not give.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy import ndimage

from meshwright.device import check_stop, map_threads
from meshwright.inputs.strips import strips
from meshwright.types import Array

__all__ = [
    "CODE",
    "Frame",
    "blur",
    "bounding_box",
    "connected",
    "dilate",
    "erode",
    "large_parts",
    "largest",
    "make_frame",
    "opened",
    "shrink",
    "smooth_step",
    "without_threads",
]

CODE = 1 / 255
"""One step of an 8-bit file."""

_BORDER_SHARE = 1 / 60


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What segmentation looks at.

    Attributes:
        colour: float32 [h, w, 3], sRGB, lightly smoothed.
        slope: Largest change per pixel over the three channels, float32 [h, w].
        grain: Standard deviation of the background's noise in the picture itself.
        noise: The same in `colour`.
        flat: Slopes below this are no edges.
        ground: Border pixels that fit a smooth background, bool [h, w]; where the background surely begins.
        plane: Colours as a linear function of place, fitted to the border, float32 [h, w, 3].
        is_plain: Whether enough of the border fits.
    """

    colour: Array
    slope: Array
    grain: float
    noise: float
    flat: float
    ground: Array
    plane: Array
    is_plain: bool

    def cut(self, box: tuple[slice, slice]) -> Frame:
        """The same, of a part of the picture."""
        return replace(
            self,
            colour=self.colour[box],
            slope=self.slope[box],
            ground=self.ground[box],
            plane=self.plane[box],
        )


_LARGE = 500_000
"""Numbers: smaller images are not worth more than one thread."""


def blur(image: Array, sigma: float) -> Array:
    """Gaussian blur over rows and columns, float32."""
    result = np.empty(image.shape, np.float32)
    given, taken = (layers.reshape(*image.shape[:2], -1) for layers in (image, result))

    def of(channel: int) -> None:
        plane = np.ascontiguousarray(given[..., channel])
        for rows, around, inner in strips(len(plane), halo=int(3 * sigma) + 2):
            blurred = ndimage.gaussian_filter(plane[around], sigma, truncate=3.0, mode="nearest")
            taken[rows, :, channel] = blurred[inner]

    # Starting threads takes as long as blurring a strip.
    if image.size > _LARGE:
        map_threads(of, range(given.shape[2]))
    else:
        for channel in range(given.shape[2]):
            of(channel)
    return result


def bounding_box(region: Array, margin: int) -> tuple[slice, slice]:
    """Rows and columns that hold the region (which is not empty) and a margin, cut at the picture's edges."""
    rows, columns = np.nonzero(region.any(1))[0], np.nonzero(region.any(0))[0]
    return (
        slice(max(0, int(rows[0]) - margin), min(region.shape[0], int(rows[-1]) + margin + 1)),
        slice(max(0, int(columns[0]) - margin), min(region.shape[1], int(columns[-1]) + margin + 1)),
    )


def dilate(region: Array, radius: float) -> Array:
    """All pixels within `radius` of the region."""
    result = np.zeros_like(region)
    for rows, around, inner in strips(region.shape[0], halo=int(radius) + 1):
        part = region[around]
        if part.any():
            result[rows] = _within(part, radius)[inner]
    return result


def _within(region: Array, radius: float) -> Array:
    """A disc of that radius laid on every pixel of the region: far quicker than distances, for the radii used here."""
    height = region.shape[0]
    reach = int(radius)
    # How far the disc's row so many rows from its middle goes to both sides.
    sides = np.arange(reach + 1)
    spans = [int(sides[np.hypot(sides, row) <= radius][-1]) for row in range(reach + 1)]
    result = np.zeros_like(region)
    wide, span = region.copy(), 0
    for row in range(min(reach, height - 1), -1, -1):
        for side in range(span + 1, spans[row] + 1):
            wide[:, side:] |= region[:, :-side]
            wide[:, :-side] |= region[:, side:]
        span = spans[row]
        result[row:] |= wide[: height - row]
        if row:
            result[: height - row] |= wide[row:]
    return result


def erode(region: Array, radius: float) -> Array:
    """Pixels of the region further than `radius` from everything else."""
    return ~dilate(~region, radius)


def opened(region: Array, radius: float) -> Array:
    """The region without its parts thinner than twice the radius."""
    return np.asarray(dilate(erode(region, radius), radius + 0.5) & region)


def without_threads(region: Array) -> Array:
    """The region without what a cross five pixels high and wide (a diamond) finds no room in.

    As `scipy.ndimage.binary_opening` with two iterations, in a tenth of the time.
    """
    for _ in range(2):
        held = np.pad(region, 1)
        region = region & held[:-2, 1:-1] & held[2:, 1:-1] & held[1:-1, :-2] & held[1:-1, 2:]
    for _ in range(2):
        held = np.pad(region, 1)
        region = region | held[:-2, 1:-1] | held[2:, 1:-1] | held[1:-1, :-2] | held[1:-1, 2:]
    return region


def connected(region: Array, seed: Array) -> Array:
    """The parts of the region that touch the seed (which may lie in it)."""
    check_stop()
    labels, count = ndimage.label(region)
    keep = np.zeros(count + 1, bool)
    keep[np.unique(labels[seed])] = True
    keep[0] = False
    return np.asarray(keep[labels])


def large_parts(region: Array, share: float) -> Array:
    """Parts of at least `share` of the largest one's area."""
    labels, count = ndimage.label(region)
    if count < 2:
        return region
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= share * sizes.max())[labels])


def largest(image: Array) -> Array:
    """The largest channel of [..., 3]; NumPy's own maximum along so short an axis takes ten times as long."""
    return np.asarray(np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2]))


def smooth_step(low: float, high: float, values: Array) -> Array:
    """0 below `low`, 1 above `high`, a smooth rise between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def shrink(image: Array, side: int) -> Array:
    """The picture (or map) with its longer side at most `side`, by area averaging."""
    height, width = image.shape[:2]
    if max(height, width) <= side:
        return image.astype(np.float32)
    factor = side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    planes = image[..., None] if image.ndim == 2 else image
    small = []
    for plane in np.moveaxis(planes, -1, 0):
        check_stop()
        picture = Image.fromarray(np.ascontiguousarray(plane, np.float32))
        small.append(np.asarray(picture.resize(size, Image.Resampling.BOX)))
    return small[0] if image.ndim == 2 else np.stack(small, -1)


def make_frame(srgb: Array) -> Frame:
    """Measure a picture: float32 [h, w, 3], already small."""
    height, width = srgb.shape[:2]
    band = max(2, round(min(height, width) * _BORDER_SHARE))
    border = np.zeros((height, width), bool)
    border[:band] = border[-band:] = border[:, :band] = border[:, -band:] = True

    grain = _border_noise(srgb, band, 2.0)
    # More noise needs more smoothing before slopes mean anything; 0.9 alone keeps thin parts apart.
    colour = blur(srgb, 0.9 + min(1.5, 100 * grain))
    noise = _border_noise(colour, band, 4.0)
    slope = np.zeros((height, width), np.float32)
    for rows, around, _ in strips(height, halo=1, rows=32):
        part = colour[around]
        steep = np.zeros((part.shape[0] - 2, width - 2), np.float32)
        for plane in (np.ascontiguousarray(part[..., channel]) for channel in range(3)):
            down, right = plane[2:, 1:-1] - plane[:-2, 1:-1], plane[1:-1, 2:] - plane[1:-1, :-2]
            np.maximum(steep, down * down + right * right, out=steep)
        first = max(rows.start, 1)
        slope[first : first + len(steep), 1:-1] = np.sqrt(steep) / 2
    # The outermost rows have no slope of their own.
    slope[0], slope[-1], slope[:, 0], slope[:, -1] = slope[1], slope[-2], slope[:, 1], slope[:, -2]

    plane = _plane_through(colour, border)
    ground = np.zeros_like(border)
    ground[border] = largest(np.abs(colour[border] - plane[border])) < max(20 * CODE, 8 * noise)
    flat = 1.2 * CODE
    if ground.any():
        flat = max(flat, 4 * _deviation(slope[ground]))
    return Frame(
        colour=colour,
        slope=slope,
        grain=grain,
        noise=noise,
        flat=flat,
        ground=ground,
        plane=plane,
        is_plain=float(ground.sum()) > 0.3 * float(border.sum()) and flat < 12 * CODE,
    )


def _deviation(values: Array) -> float:
    """Standard deviation from the median of absolute values: an object that reaches the border has no say."""
    return 1.4826 * float(np.median(np.abs(values)))


def _border_noise(colour: Array, band: int, sigma: float) -> float:
    """What a blur of `sigma` takes from the strips along the border."""
    strip = band + int(3 * sigma)
    parts = []
    turned = colour.swapaxes(0, 1)
    for side in (colour, colour[::-1], turned, turned[::-1]):
        rows = side[:strip]
        parts.append((rows - blur(rows, sigma))[:band].ravel())
    return _deviation(np.concatenate(parts))


def _plane_through(colour: Array, border: Array) -> Array:
    """The border's colours as a + b x + c y, fitted so that outliers (an object at the edge) have no say."""
    height, width = border.shape
    ys, xs = np.nonzero(border)
    terms = np.stack([np.ones_like(xs), xs / width - 0.5, ys / height - 0.5], -1).astype(np.float64)
    values = colour[ys, xs].astype(np.float64)
    middle = np.median(values, 0)
    coefficients: Array = np.zeros((3, 3))
    for round_number in range(5):
        off = largest(np.abs(values - (middle if round_number == 0 else terms @ coefficients)))
        weights = 1 / (1 + (off / (8 * CODE)) ** 2)
        weighted = (terms * weights[:, None]).T
        coefficients = np.linalg.lstsq(weighted @ terms, weighted @ values, rcond=None)[0]
    x = (np.arange(width, dtype=np.float32) / width - 0.5)[None, :]
    y = (np.arange(height, dtype=np.float32) / height - 0.5)[:, None]
    plane = np.empty((height, width, 3), np.float32)
    for channel, (level, across, down) in enumerate(coefficients.astype(np.float32).T):
        plane[..., channel] = (level + across * x) + down * y
    return plane
