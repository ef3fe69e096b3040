"""Take soft shadows and glows away from a region that holds the object and what lies dark around it.

A studio shadow has the hue of the ground, only darker, and it fades: from ground to dark it takes many more pixels
than the outline of an object in the same picture. Where it touches the object, hue changes or a sharp edge stands.
The inside of an object can look the same (the dark lining of a shoe): such a patch has coloured object below it, not
only ground, and stays.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from meshwright.inputs.frame import CODE, Frame, blur, connected, dilate, erode, opened, without_threads
from meshwright.inputs.hint import Hint
from meshwright.types import Array

__all__ = ["edge_width", "remove_shadows", "typical_edge_width"]

_WINDOW = 4
_SOFT = 4.2
"""Edges wider than this many pixels are soft, when the picture's outlines are sharp (2.5 to 3.5)."""
_DARK = 0.75
"""A shadow that needs more than `glow` gets at least this dark somewhere (share of the ground's brightness)."""
_SHADE = 0.8
"""Darker than this, shadow and pale object are no longer alike."""
_NEAR = 14
"""How far around a shadow's dark part its rim is looked for."""
_WEDGE = 7
"""Dark grey left-overs thinner than twice this are wedges of shadow."""
_PLATEAU = 6
"""How far from its slope a flat dark patch still counts as shadow."""
_TINT = 0.13
"""How much hue, relative to brightness, a black shadow may have (measured beside a red sole: 0.11)."""


def edge_width(frame: Frame) -> Array:
    """How many pixels a change takes: contrast in a 9x9 window over the steepest slope in 7x7, float32 [h, w]."""
    light = frame.colour @ np.full(3, 1 / 3, np.float32)
    size = 2 * _WINDOW + 1
    contrast = ndimage.maximum_filter(light, size) - ndimage.minimum_filter(light, size)
    steepest = ndimage.maximum_filter(frame.slope, size - 2)
    return np.asarray(contrast / np.maximum(steepest, frame.flat), np.float32)


def typical_edge_width(frame: Frame, width: Array, region: Array) -> float:
    """Median width of the region's clear outlines; 0 where it has none."""
    rim = region & ~erode(region, _WINDOW) & (ndimage.maximum_filter(frame.slope, 7) > 3 * frame.flat)
    return float(np.median(width[rim])) if rim.any() else 0.0


def remove_shadows(
    frame: Frame, region: Array, behind: Array, width: Array, typical: float, hint: Hint | None
) -> Array:
    """The region without soft shadows.

    Args:
        frame: The picture.
        region: Object, shadows and a margin of a few pixels, bool [h, w].
        behind: What the ground looks like everywhere, float32 [h, w, 3].
        width: `edge_width(frame)`.
        typical: `typical_edge_width` of the region.
        hint: The depth silhouette, where there is one.
    """
    colour = blur(frame.colour, 1.2)  # hue needs no sharpness, but calm
    shade = np.einsum("hwc,hwc->hw", colour, behind) / np.einsum("hwc,hwc->hw", behind, behind)
    off = [np.abs(colour[..., channel] - shade * behind[..., channel]) for channel in range(3)]
    off_hue = np.maximum(np.maximum(off[0], off[1]), off[2]) / (np.maximum(shade, 0) + 0.06)
    # Coloured light from the object tints its shadow; the darker, the more.
    tint = max(5 * CODE, 5 * frame.noise) + _TINT * np.clip(1 - shade, 0, 0.9)
    grey = (off_hue < tint) & (shade < 1.02)
    neutral = grey & region
    if hint is not None:
        neutral &= ~hint.inside
    soft = (width > max(_SOFT, 1.5 * typical)) | (frame.slope < frame.flat)
    # Between light and dark a shadow is always on its way; a plateau there is a pale part of the object.
    # Inside the dark, a few codes of structure are grain and mirrored light.
    in_dark = (shade < _SHADE) & (soft | (frame.slope < min(4 * frame.flat, 6 * CODE)))
    body = neutral & (in_dark | (soft & (frame.slope > 2 * frame.flat)))
    # A flat dark patch is a shadow next to its slope; further in it may be a dark part that touches it.
    slope_near = dilate(neutral & soft & (frame.slope > 2 * frame.flat), _PLATEAU)
    body &= slope_near if hint is None else slope_near | (hint.distance < -hint.tolerance)
    body = _only_shadows(body, shade, region & ~grey, hint)
    core = body & (shade < 0.85)
    fringe = neutral & (shade > 0.88) & (frame.slope < 3 * frame.flat) & dilate(core, _NEAR)
    # Light shadows all around (an object lying on the ground) have no dark core, but gentle slopes.
    glow = neutral & soft & (frame.slope < 3 * frame.flat) & (shade > _SHADE)
    open_ground = ~region
    glow = connected(erode(glow | open_ground, 1.5), erode(open_ground, 1.5))
    removed = connected(body | fringe | open_ground | dilate(glow, 1.5), open_ground)
    removed |= _ground_behind(neutral & (shade > 0.93) & (frame.slope < frame.flat), removed)
    kept = region & ~removed
    if not (core & removed).any():
        return kept
    # What stays of a shadow is thin: its rim anywhere near it, and flat dark wedges with a sharp side.
    near = dilate(core & removed, _NEAR)
    thin = kept & ~opened(kept, 3)
    wedge = neutral & (shade < 0.85) & kept & ~opened(kept, _WEDGE)
    return np.asarray(kept & ~(near & (thin | wedge)))


def _ground_behind(lit: Array, removed: Array) -> Array:
    """Open ground that only the shadow had cut off, such as between legs; through channels of some width."""
    wide = erode(lit | removed, 2)
    return np.asarray(dilate(connected(wide, wide & removed), 2) & lit)


def _only_shadows(body: Array, shade: Array, coloured: Array, hint: Hint | None) -> Array:
    """Parts that get really dark and do not lie on the object."""
    labels, count = ndimage.label(body, np.ones((3, 3)))
    if count == 0:
        return body
    sizes = np.maximum(np.bincount(labels.ravel(), minlength=count + 1), 1)
    dark = np.bincount(labels.ravel(), (body & (shade < _DARK)).ravel(), minlength=count + 1)
    solid = without_threads(coloured)
    on_object = np.cumsum(solid[::-1], 0)[::-1] > 3
    if hint is not None:
        on_object &= hint.distance > -hint.tolerance
    share = np.bincount(labels.ravel(), on_object.ravel(), minlength=count + 1) / sizes
    keep = (dark >= 20) & (share < 0.5)
    keep[0] = False
    return np.asarray(keep[labels])
