"""A depth render's file becomes a `DepthMap`: numbers as they are, background and stray pixels marked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from meshwright.inputs.config import InputConfig
from meshwright.inputs.faults import BadFileError
from meshwright.inputs.images import Picture
from meshwright.types import Array, DepthKind, DepthMap

__all__ = ["decide_kind", "read_depth"]

_STRAY_SHARE = 1e-3
"""Islands below this share of the largest one are stray pixels of the renderer, not parts of the object."""


def read_depth(picture: Picture, config: InputConfig) -> DepthMap:
    """Numbers of one depth render, float32 in [0, 1], 0 on background.

    Raises:
        BadFileError: `input.depth_colour` for a coloured picture. Blankness is judged by the caller, who knows
            whether all are blank.
    """
    colour = picture.colour
    if colour.shape[-1] == 3 and not (
        np.array_equal(colour[..., 0], colour[..., 1]) and np.array_equal(colour[..., 0], colour[..., 2])
    ):
        raise BadFileError("input.depth_colour", "a coloured picture; a depth render is grey (its channels are equal)")
    top = 65535 if picture.bits == 16 else 255
    codes = colour[..., 0]
    valid = codes > 0
    if picture.alpha is not None:
        valid &= picture.alpha > top // 2
    valid = _without_stray(valid)
    length = config.depth_code_length
    return DepthMap(
        values=np.where(valid, codes.astype(np.float32) / top, 0).astype(np.float32),
        valid=valid,
        step=1 / top,
        kind=DepthKind.METRIC if length is not None else config.depth_kind,
        unit=None if length is None else length * top,
    )


def decide_kind(maps: Sequence[DepthMap]) -> DepthKind:
    """What AUTO means for these depth renders, seen together.

    16-bit numbers are taken as metric, because nobody needs so many steps for a picture, unless every view is
    stretched to the very end of the range: that is what normalising each view by itself looks like.
    """
    sixteen = all(depth.step < 1 / 255 for depth in maps)
    stretched = all(float(depth.values.max()) >= 1 - 2 * depth.step for depth in maps)
    return DepthKind.METRIC if sixteen and not stretched else DepthKind.AUTO


def _without_stray(valid: Array) -> Array:
    labels, count = ndimage.label(valid, np.ones((3, 3)))
    if count < 2:
        return valid
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= max(4, _STRAY_SHARE * sizes.max()))[labels])
