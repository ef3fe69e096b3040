"""A soft outline: where between object and background each edge pixel lies, and both colours without the other.

Along the inward normal of every outline pixel the picture is sampled from ground to object. The share of the object's
colour, added up along that line, places the edge to a fraction of a pixel; how it rises gives the edge's blur. Where
contrast is high each pixel gets the share of its own colour; where it is low, the edge position, smoothed along the
outline, says more than the noise in single pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from meshwright.device import check_stop
from meshwright.inputs.background import fill_behind
from meshwright.inputs.frame import CODE, blur, bounding_box, dilate, large_parts, smooth_step
from meshwright.inputs.strips import strips
from meshwright.types import Array

__all__ = ["Matte", "soften"]

_OUTSIDE = 2.5
_INSIDE = 7.0
_STEP = 0.5
_WIDEST = 3.5
_CRUMB = 0.002
_PLATEAU = 6
_CONTRAST = (20 * CODE, 50 * CODE)


@dataclass(frozen=True, kw_only=True)
class Matte:
    """A picture taken apart.

    Attributes:
        alpha: Coverage by the object, float32 [H, W].
        foreground: sRGB colours of the object, the background's share taken out at soft edges, float32 [H, W, 3];
            the picture itself where alpha is 0 or 1.
        background: sRGB colours behind it, float32 [H, W, 3]; the picture where alpha is 0.
    """

    alpha: Array
    foreground: Array
    background: Array


@dataclass(frozen=True, kw_only=True)
class _Outline:
    """Per outline pixel J: place, inward normal, edge position and width along it, colours on both sides."""

    rows: Array
    columns: Array
    normal: Array  # [J, 2], row and column
    position: Array  # [J], pixels inward from the pixel's centre
    width: Array  # [J]
    inner: Array  # [J, 3]
    outer: Array  # [J, 3]
    contrast: Array  # [J]


def soften(srgb: Array, region: Array, *, noise: float, scale: float) -> Matte:
    """Turn a region that is a few pixels too large into a soft mask.

    Args:
        srgb: The picture, float32 [H, W, 3].
        region: bool [H, W]; its outline lies 0 to 5 `scale` pixels outside the object's.
        noise: Standard deviation of the picture's grain.
        scale: Pixels of this picture per pixel in which the margins are meant.
    """
    alpha = region.astype(np.float32)
    foreground = srgb.copy()
    if region.any() and not region.all():
        box = bounding_box(region, int(6 * scale) + 4)
        soft, foreground[box] = _soften_box(srgb[box], region[box], noise, scale)
        # Faint smears come out as crumbs beside the object.
        large = large_parts(soft >= 0.5, _CRUMB)
        soft[(soft >= 0.5) & ~large] = 0
        alpha[box] = np.where(dilate(large, 3 * scale), soft, 0)
    background = fill_behind(srgb, (alpha <= 0).astype(np.float32))
    return Matte(alpha=alpha, foreground=foreground, background=background)


def _soften_box(srgb: Array, region: Array, noise: float, scale: float) -> tuple[Array, Array]:
    reach = int((_INSIDE + 1) * scale) + 4  # nothing below looks further
    distance = _signed_distance(region, reach)
    edge = region & (distance <= 0.5)
    outline = _look_across(srgb, distance, edge, noise, scale)

    rows, columns = np.nonzero((distance > -_OUTSIDE * scale - 1) & (distance < _INSIDE * scale))
    j = _nearest_outline(edge, reach)[rows, columns]

    away = np.stack([rows - outline.rows[j], columns - outline.columns[j]], -1)
    depth = (away * outline.normal[j]).sum(-1) - outline.position[j]
    by_place = np.clip(0.5 + depth / outline.width[j], 0, 1)
    by_colour = _share(srgb[rows, columns], outline.outer[j], outline.inner[j])
    limit = outline.width[j] / 2 + scale
    by_colour = np.where(depth > limit, 1, np.where(depth < -limit, 0, by_colour))
    trust = smooth_step(*_CONTRAST, outline.contrast[j])

    check_stop()
    alpha = region.astype(np.float32)
    value = (trust * by_colour + (1 - trust) * by_place).astype(np.float32)
    alpha[rows, columns] = value
    foreground = srgb.copy()
    # I = a F + (1 - a) B, hence F = I + (1 - a) (F - B): no division, so a small a does no harm.
    mended = srgb[rows, columns] + (1 - value[:, None]) * (outline.inner[j] - outline.outer[j])
    touched = (value > 0) & (value < 1)
    foreground[rows[touched], columns[touched]] = np.clip(mended[touched], 0, 1)
    return alpha, foreground


def _signed_distance(region: Array, reach: int) -> Array:
    """Pixels to the region's outline, positive inside, float32 [H, W]; exact up to `reach`, at least that beyond."""
    distance = np.empty(region.shape, np.float32)
    for rows, around, inner in strips(region.shape[0], halo=reach + 1):
        part = region[around]
        # In a strip without an outline scipy would measure to a place that is not there.
        inside = (
            ndimage.distance_transform_edt(part)[inner] if not part.all() else np.full_like(part[inner], reach, int)
        )
        outside = ndimage.distance_transform_edt(~part)[inner] if part.any() else np.full_like(part[inner], reach, int)
        distance[rows] = np.clip(np.where(part[inner], inside - 0.5, 0.5 - outside), -reach, reach)
    return distance


def _nearest_outline(edge: Array, reach: int) -> Array:
    """Number of the nearest outline pixel (they are counted row by row), int32 [H, W]; 0 further off than `reach`."""
    number = np.zeros(edge.shape, np.int32)
    number[edge] = np.arange(int(edge.sum()))
    nearest = np.zeros(edge.shape, np.int32)
    for rows, around, inner in strips(edge.shape[0], halo=reach + 1):
        part = edge[around]
        if part.any():
            row, column = ndimage.distance_transform_edt(~part, return_distances=False, return_indices=True)
            nearest[rows] = number[around][row, column][inner]
    return nearest


def _look_across(srgb: Array, distance: Array, edge: Array, noise: float, scale: float) -> _Outline:
    """Sample the picture along every outline pixel's normal and find the edge in each of these lines."""
    rows, columns = np.nonzero(edge)
    smooth = blur(distance, 1.5 * scale)
    down, right = np.gradient(smooth)
    gradient = np.stack([down[rows, columns], right[rows, columns]], -1)
    normal = gradient / (np.linalg.norm(gradient, axis=-1, keepdims=True) + 1e-6)
    check_stop()
    steps = (np.arange(-_OUTSIDE, _INSIDE + 0.01, _STEP) * scale).astype(np.float32)
    places = np.stack([rows[:, None] + steps * normal[:, :1], columns[:, None] + steps * normal[:, 1:]])
    colours = np.stack([ndimage.map_coordinates(srgb[..., c], places, order=1, mode="nearest") for c in range(3)], -1)
    depths = ndimage.map_coordinates(distance, places, order=1, mode="nearest")
    check_stop()
    # In thin parts the line comes out on the other side: stop at the deepest point.
    last = np.maximum(np.argmax(depths + 1e-3 * np.arange(len(steps)), 1), 4)
    last = _first_plateau(colours, last, noise)
    each = np.arange(len(rows))
    index = np.arange(len(steps))[None]
    pixels = _STEP * scale

    def measure(inner_at: Array, inner: Array, outer: Array) -> tuple[Array, Array]:
        share = _share(colours, outer[:, None], inner[:, None])
        share = np.maximum.accumulate(share, 1)
        share = np.where(index >= inner_at[:, None], 1, share) * (index <= last[:, None])
        missing = ((1 - share) * (index <= last[:, None])).sum(1) * pixels
        # For a linear ramp of width b the integral of a (1 - a) is b / 6.
        spread = 6 * (share * (1 - share)).sum(1) * pixels
        return steps[0] - pixels / 2 + missing, spread

    check_stop()
    inner = (colours[each, last] + colours[each, last - 1]) / 2
    outer = colours[:, :3].mean(1)
    position, spread = measure(last, inner, outer)

    # A second look with colours from just beyond the edge: shading changes towards an outline.
    def index_of(place: Array) -> Array:
        return np.asarray(np.clip(np.round((place - steps[0]) / pixels), 0, len(steps) - 1), int)

    inner_at = np.minimum(index_of(position + spread / 2), last)
    inner = sum(colours[each, np.minimum(inner_at + k, last)] for k in range(1, 4)) / 3
    outer_at = index_of(position - spread / 2 - scale)
    outer = (colours[each, outer_at] + colours[each, np.maximum(outer_at - 1, 0)]) / 2
    position, spread = measure(inner_at, inner, outer)

    check_stop()
    contrast = np.sqrt(((inner - outer) ** 2).mean(-1))
    weight = smooth_step(max(2 * CODE, 2 * noise), max(10 * CODE, 8 * noise), contrast) ** 2 + 1e-4

    def spread_along(values: Array) -> Array:
        """Sums over the neighbouring outline."""
        total = np.zeros(edge.shape, np.float32)
        total[rows, columns] = values
        return np.asarray(blur(total, 3 * scale)[rows, columns])

    weights = np.maximum(spread_along(weight), 1e-12)

    def along(values: Array) -> Array:
        """Weighted average over the neighbouring outline."""
        return np.asarray(spread_along(values * weight) / weights)

    own = smooth_step(20 * CODE, 60 * CODE, contrast)
    return _Outline(
        rows=rows,
        columns=columns,
        normal=normal,
        position=own * position + (1 - own) * along(position),
        width=np.clip(along(spread), 0.8, _WIDEST * scale),
        inner=inner,
        outer=outer,
        contrast=contrast,
    )


def _first_plateau(colours: Array, last: Array, noise: float) -> Array:
    """Where each line [J, T, 3] first rests on a colour other than the ground's, at most at `last` [J].

    A pale rim before a strong colour (piping, a sole) is object: the line must not run through to the strong colour,
    against which the rim would count as ground.
    """
    per_pixel = round(1 / _STEP)
    contrast = np.abs(colours - colours[:, :3].mean(1, keepdims=True)).max(-1)
    change = np.full(contrast.shape, np.inf)
    change[:, :-per_pixel] = np.abs(colours[:, per_pixel:] - colours[:, :-per_pixel]).max(-1)
    enough = np.maximum(max(_PLATEAU * CODE, 5 * noise), 0.04 * contrast.max(1, keepdims=True))
    rests = (contrast > enough) & (change < 0.25 * contrast)
    # Half a pixel further in, the edge's last trace is gone.
    first = np.where(rests.any(1), rests.argmax(1) + per_pixel // 2, last)
    return np.asarray(np.clip(first, 4, np.maximum(last, 4)))


def _share(colour: Array, outer: Array, inner: Array) -> Array:
    """How far a colour is on the way from `outer` to `inner`, clipped to 0..1."""
    way = inner - outer
    length = np.maximum((way * way).sum(-1), 1e-8)
    return np.asarray(np.clip(((colour - outer) * way).sum(-1) / length, 0, 1))
