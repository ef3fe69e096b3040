"""Tell an object from a plain studio background.

1. The ground is flooded from the frame's border over everything without an edge. A channel narrower than a few pixels
   is no way through, so that a weak spot in an outline does not let the flood in.
2. Soft shadows, which are too steep for the flood, are taken away (`shadows`).
3. Ground that shows through holes is found by its colour.
4. The outline is made soft and precise (`matte`).
The depth render of the same view, if there is one, keeps the flood out of the surely inside and tells holes and
shadows from white patches and linings (`hint`).
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from meshwright.inputs.background import fill_behind
from meshwright.inputs.frame import (
    CODE,
    Frame,
    bounding_box,
    connected,
    dilate,
    erode,
    large_parts,
    largest,
    make_frame,
    opened,
    shrink,
    without_threads,
)
from meshwright.inputs.hint import Hint, place_hint
from meshwright.inputs.matte import Matte, soften
from meshwright.inputs.shadows import edge_width, remove_shadows, typical_edge_width
from meshwright.types import Array

__all__ = ["segment"]

_SIDES = (1024, 512, 256)
_BLURRED = 4.5
"""Outlines wider than this: the picture is blurred or enlarged, and a smaller one shows as much."""
_CHANNEL = 2.0
"""Half the width of the narrowest way that the flood takes."""
_SPECK = 0.002
"""Parts below this share of the largest one are specks."""
_BIT = 5.0
"""Pale bits thinner than twice this, sticking out of the object, are smears."""
_SMEAR = 12
_SMEAR_SHARE = 0.035
"""Within so many pixels, compression leaves up to this share of a strong colour (quality 75: measured 0.03)."""
_MARGIN = 24
_HOLE = 0.002
"""Smallest hole without a depth render, as a share of the object: eyes and highlights are smaller."""


def segment(srgb: Array, hint: Array | None) -> Matte | None:
    """Divide a picture into object and background.

    Args:
        srgb: sRGB-encoded picture in 0..1, float32 [H, W, 3].
        hint: Roughly where the object is, coverage [H, W] from the depth render, or None.

    Returns:
        The parts, or None where the border is not plain or nothing stands out from it.
    """
    best: tuple[Array, Frame] | None = None
    for side in _SIDES:
        frame = make_frame(shrink(srgb, side))
        rough = None if hint is None else shrink(hint, side) >= 0.5
        region, typical = _find_region(frame, rough) if frame.is_plain else (None, 0.0)
        if region is None:
            break
        best = region, frame
        if typical <= _BLURRED or min(region.shape) < 2 * 96:
            break
    if best is None:
        return None
    region, frame = best
    scale = srgb.shape[1] / region.shape[1]
    return soften(srgb, _enlarge(region, srgb.shape[:2]), noise=frame.grain, scale=max(scale, 1.0))


def _find_region(frame: Frame, rough_hint: Array | None) -> tuple[Array | None, float]:
    """Object plus a margin of about 3 pixels, bool [h, w], and how wide its outlines are."""
    region = ~_flood(frame)
    if not _is_object(region):
        return None, 0.0
    region = large_parts(region, _SPECK)
    hint = None
    if rough_hint is not None:
        # Dark grey may be shadow, which the depth render does not have.
        dark_grey = (largest(frame.colour) + largest(-frame.colour) < 10 * CODE) & (largest(frame.colour) < 0.7)
        hint = place_hint(rough_hint, without_threads(region & ~dark_grey))
    if hint is not None:
        region |= hint.inside
        region = connected(region, region & (hint.distance > 0))
    if not region.any():
        return None, 0.0

    # All that follows is local: a box around the object is enough.
    box = bounding_box(region, _MARGIN)
    whole = np.zeros_like(region)
    whole[box], typical = _refine(frame.cut(box), region[box], None if hint is None else hint.cut(box))
    return (whole if _is_object(whole) else None), typical


def _refine(frame: Frame, region: Array, hint: Hint | None) -> tuple[Array, float]:
    """The region without shadows, smears and holes, and how wide its outlines are."""
    width = edge_width(frame)
    typical = typical_edge_width(frame, width, region)
    behind = _ground_everywhere(frame, region)
    region = remove_shadows(frame, region, behind, width, typical, hint)
    region = _without_pale_rim(frame, region, hint)
    region &= ~_holes(frame, region, hint)
    # Even a hair has the margin on both sides: what is thinner is a left-over.
    return large_parts(opened(region, 2.5), _SPECK), typical


def _flood(frame: Frame) -> Array:
    """Ground reached from the border over flat pixels, bool [h, w]."""
    flat = frame.slope < frame.flat
    pad = 4
    # Outside the frame the ground goes on: the border itself is no narrow channel.
    wide = erode(np.pad(flat, pad, constant_values=True), _CHANNEL)[pad:-pad, pad:-pad]
    return np.asarray(dilate(connected(wide, frame.ground & wide), _CHANNEL) & flat)


def _is_object(region: Array) -> bool:
    share = float(region.mean())
    return 1e-4 < share < 0.97


def _ground_everywhere(frame: Frame, region: Array) -> Array:
    """The ground's colour, filled in behind the region, float32 [h, w, 3]."""
    filled = fill_behind(frame.colour, erode(~region, 2).astype(np.float32))
    return np.maximum(filled, 0.02)


def _without_pale_rim(frame: Frame, region: Array, hint: Hint | None) -> Array:
    """Takes away faint smears beside the object that are steeper than ground but have its colour."""
    behind = _ground_everywhere(frame, region)
    off = largest(np.abs(frame.colour - behind))
    # Compression smears strong colours over their neighbourhood; they stay a small share of what they come from.
    strong = ndimage.maximum_filter(off, 2 * _SMEAR + 1)
    same = off < np.maximum(max(3 * CODE, 4 * frame.noise), _SMEAR_SHARE * strong)
    # A little more contrast is allowed to bits that stick out and are thin.
    pale = off < max(10 * CODE, 6 * frame.noise)
    if hint is not None:
        same &= ~hint.inside
        pale &= hint.distance < 0
    wide = erode(same | ~region, _CHANNEL)
    reached = dilate(connected(wide, ~region & wide), _CHANNEL)
    region = region & ~(reached & same)
    return np.asarray(region & ~(pale & ~opened(region, _BIT)))


def _holes(frame: Frame, region: Array, hint: Hint | None) -> Array:
    """Ground that shows through the object."""
    behind = _ground_everywhere(frame, region)
    # Filling in knows local ground, the plane knows a gradient across the frame: a hole fits one of them.
    off = np.minimum(largest(np.abs(frame.colour - behind)), largest(np.abs(frame.colour - frame.plane)))
    same = off < max(2.5 * CODE, 5 * frame.noise)
    flat = without_threads(region & same & (frame.slope < frame.flat))
    labels, count = ndimage.label(flat)
    if count == 0:
        return np.zeros_like(region)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    if hint is None:
        is_hole = sizes >= _HOLE * float(region.sum())
    else:
        outside = np.bincount(labels.ravel(), (hint.distance < 0.2 * hint.tolerance).ravel(), minlength=count + 1)
        is_hole = (sizes >= 30) & (outside > 0.5 * sizes)
    is_hole[0] = False
    return np.asarray(dilate(is_hole[labels], 2) & (frame.slope < 2 * frame.flat))


def _enlarge(region: Array, shape: tuple[int, ...]) -> Array:
    if region.shape == tuple(shape[:2]):
        return region
    image = Image.fromarray(region.astype(np.uint8) * 255)
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)) >= 128
