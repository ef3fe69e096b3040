"""The views at a working size: outlines, colours and depth renders laid onto them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from meshwright.colour import linear_to_srgb
from meshwright.device import map_threads
from meshwright.distance import signed_distance
from meshwright.geometry.depth.register import lay_onto, register
from meshwright.types import Array, Camera, DepthKind, View

__all__ = ["SeenDepth", "Sighting", "shrunk", "sightings_of", "spread_views"]

_CRUMB = 0.02
"""Parts of a mask smaller than this share of its largest part are taken for dirt."""
_FOREIGN = 0.75
"""A depth render whose outline, registered, shares less than this with the picture's shows something else."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SeenDepth:
    """A depth render on the picture's pixels; z = unit * value where the unit is known.

    Attributes:
        values: float32 [H, W]; valid: bool [H, W].
    """

    values: Array
    valid: Array
    kind: DepthKind
    unit: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Sighting:
    """One view.

    Attributes:
        camera: In pixels of what is here.
        mask: Coverage 0..1, float32 [H, W].
        distance: Signed distance to the outline in pixels, positive inside, float32 [H, W].
        colour: sRGB 0..1 of the object, float32 [H, W, 3]; 0 outside.
        depth: Where there is a render that fits the outline.
    """

    camera: Camera
    mask: Array
    distance: Array
    colour: Array
    depth: SeenDepth | None


def spread_views(cameras: Sequence[Camera], count: int) -> list[int]:
    """At most `count` of the cameras, those that look from the most different sides, in their order."""
    forward = np.stack([camera.forward for camera in cameras])
    chosen = [0]
    nearest = forward @ forward[0]
    while len(chosen) < min(count, len(cameras)):
        chosen.append(int(np.where(np.isin(np.arange(len(cameras)), chosen), np.inf, nearest).argmin()))
        nearest = np.maximum(nearest, forward @ forward[chosen[-1]])
    return sorted(chosen)


def sightings_of(views: Sequence[View], cameras: Sequence[Camera], size: int, *, depth: bool = True) -> list[Sighting]:
    """Views with the long side at most `size` pixels, with their depth renders if these are wanted."""

    def sight(pair: tuple[View, Camera]) -> Sighting:
        view, camera = pair
        factor = min(1.0, size / max(view.width, view.height))
        width, height = max(8, round(view.width * factor)), max(8, round(view.height * factor))
        full = _without_crumbs(view.mask)
        mask = np.clip(_boxed(full, width, height), 0.0, 1.0)
        light = np.stack([_boxed(view.rgb[..., c] * full, width, height) for c in range(3)], -1)
        distance = signed_distance(mask)
        return Sighting(
            camera=camera.resized(width, height),
            mask=mask,
            distance=distance,
            colour=linear_to_srgb(light / np.maximum(mask, 1e-3)[..., None]),
            depth=_laid(view, mask, distance) if depth else None,
        )

    return map_threads(sight, list(zip(views, cameras, strict=True)))


def shrunk(sightings: Sequence[Sighting], factor: int) -> list[Sighting]:
    """The same at 1 / `factor` of the size."""

    def shrink(sighting: Sighting) -> Sighting:
        height, width = sighting.mask.shape
        rows, columns = max(8, height // factor), max(8, width // factor)
        mask = np.clip(_boxed(sighting.mask, columns, rows), 0.0, 1.0)
        weighed = sighting.colour * sighting.mask[..., None]
        colour = np.stack([_boxed(weighed[..., c], columns, rows) for c in range(3)], -1)
        depth = sighting.depth
        if depth is not None:
            # Depths are never mixed: the pixel in the middle speaks for those around it.
            middle = np.ix_(
                ((np.arange(rows) + 0.5) * height / rows).astype(int),
                ((np.arange(columns) + 0.5) * width / columns).astype(int),
            )
            depth = SeenDepth(values=depth.values[middle], valid=depth.valid[middle], kind=depth.kind, unit=depth.unit)
        return Sighting(
            camera=sighting.camera.resized(columns, rows),
            mask=mask,
            distance=signed_distance(mask),
            colour=np.clip(colour / np.maximum(mask, 1e-3)[..., None], 0.0, 1.0),
            depth=depth,
        )

    return [shrink(sighting) for sighting in sightings]


def _without_crumbs(mask: Array) -> Array:
    """The mask without parts that are much smaller than its largest one, float32 [H, W]."""
    label, count = ndimage.label(mask >= 0.5)
    if count < 2:
        return mask
    sizes = np.bincount(label.ravel())[1:]
    small = np.flatnonzero(sizes < _CRUMB * sizes.max()) + 1
    if len(small) == 0:
        return mask
    return np.where(ndimage.binary_dilation(np.isin(label, small)), np.float32(0), mask)


def _boxed(image: Array, width: int, height: int) -> Array:
    """Area averages, float32 [height, width]."""
    if image.shape == (height, width):
        return np.asarray(image, np.float32)
    picture = Image.fromarray(np.ascontiguousarray(image, np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX))


def _laid(view: View, mask: Array, distance: Array) -> SeenDepth | None:
    depth = view.depth
    if depth is None or not depth.valid.any():
        return None
    height, width = mask.shape
    values, valid = lay_onto(depth, register(depth, distance), width, height)
    inside = mask > 0.5
    if (valid & inside).sum() < _FOREIGN * max(1, int((valid | inside).sum())):
        return None
    return SeenDepth(values=values, valid=valid & inside, kind=depth.kind, unit=depth.unit)
