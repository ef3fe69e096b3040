"""Pictures as the encoders take them: the object alone on black, cropped to a square, all of one size.

Letters: H rows, W columns, N pictures. Pictures are uint8 RGBA [H, W, 4], sRGB, row 0 on top, straight alpha.
The numbers (threshold, margin, rounding) are those that the released networks were shown.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as functional
from PIL import Image
from torch import Tensor

from meshwright.colour import linear_to_srgb
from meshwright.errors import InputError, ShapeError
from meshwright.types import Array, View

__all__ = ["SIDE", "picture_of", "prepared", "stacked", "with_mask"]

SIDE = 518
"""Side of the pictures that the networks take, pixels: 37 patches of 14."""
_LARGEST = 1024
"""Longest side of a picture that comes with a mask of its own."""
_SOLID = 0.8
"""What is covered more than this belongs to the object."""
_MARGIN = 1.1
"""Side of the crop over the longer side of the object's box, where the object comes to the middle."""


def picture_of(view: View) -> Array:
    """A view's object as a picture."""
    rgb = np.rint(np.clip(linear_to_srgb(view.rgb), 0, 1) * 255)
    alpha = np.rint(np.clip(view.mask, 0, 1) * 255)
    return np.concatenate([rgb, alpha[..., None]], -1).astype(np.uint8)


def with_mask(rgb: Array, mask: Array) -> Array:
    """A picture from colours uint8 [H, W, 3] and a mask [H, W], which is object where it is not 0.

    The picture is shrunk to sides of 1024 at most; a mask of another size is brought to the picture's.
    """
    image = Image.fromarray(np.ascontiguousarray(rgb[..., :3]))
    share = _LARGEST / max(image.size)
    if share < 1:
        image = image.resize((int(image.width * share), int(image.height * share)), Image.Resampling.LANCZOS)
    cover = Image.fromarray(((np.asarray(mask) != 0) * 255).astype(np.uint8))
    if cover.size != image.size:
        cover = cover.resize(image.size, Image.Resampling.NEAREST)
    return np.dstack([np.asarray(image), np.asarray(cover)])


def prepared(picture: Array, *, side: int = SIDE, recenter: bool = True, no_background: bool = True) -> Array:
    """The object of a picture, cropped.

    Args:
        picture: Of any size; its alpha says where the object is.
        side: Of what comes out, pixels.
        recenter: Whether the object comes to the middle; else the picture's middle stays in the middle.
        no_background: Whether what is not object becomes black; else the crop stays within the picture.
    Returns:
        uint8 [side, side, 4].
    Raises:
        ShapeError: This is no RGBA picture.
        InputError: No pixel belongs to the object.
    """
    picture = np.asarray(picture)
    if picture.ndim != 3 or picture.shape[2] != 4 or picture.dtype != np.uint8:
        raise ShapeError(f"A picture is {picture.dtype} {picture.shape}.", hint="Use uint8 [H, W, 4].")
    left, top, right, bottom = _crop_box(picture[..., 3], recenter=recenter, inside=not no_background)
    crop = picture[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    height, width = crop.shape[:2]
    longer = max(height, width)
    square = np.zeros((longer, longer, 4), np.uint8)
    down, across = (longer - height) // 2, (longer - width) // 2
    square[down : down + height, across : across + width] = crop
    values = torch.from_numpy(square).permute(2, 0, 1)[None].float() / 255
    values = functional.interpolate(values, size=(side, side), mode="bilinear", align_corners=False)[0]
    if no_background:
        values = torch.cat([values[:3] * (values[3:] > _SOLID), values[3:]])
    return (values * 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def stacked(pictures: Sequence[Array], device: str = "cpu") -> Tensor:
    """Colours of prepared pictures, float32 [N, 3, side, side] in 0..1."""
    colours = np.stack([picture[..., :3] for picture in pictures])
    return torch.from_numpy(colours).to(device).permute(0, 3, 1, 2).contiguous().float() / 255


def _crop_box(alpha: Array, *, recenter: bool, inside: bool) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the square to cut out, in pixels; it may reach beyond the picture."""
    solid = alpha > _SOLID * 255
    if not solid.any():
        raise InputError(
            "A view shows no object: no pixel of its mask is solid.",
            hint="Check the masks of the views, or leave it out.",
        )
    height, width = alpha.shape
    columns, rows = np.flatnonzero(solid.any(0)), np.flatnonzero(solid.any(1))
    x0, x1, y0, y1 = (int(v) for v in (columns[0], columns[-1], rows[0], rows[-1]))
    if recenter:
        cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
        size: float = int(max(x1 - x0, y1 - y0) * _MARGIN)
    else:
        cx, cy = width / 2, height / 2
        # Without a margin: so the released code has it.
        size = max(x1 - x0, y1 - y0, 2 * max(abs(x0 - cx), abs(x1 - cx), abs(y0 - cy), abs(y1 - cy)))
    if inside:
        if height > width:
            cx, cy = width / 2, min(max(cy, width / 2), height - width / 2)
        else:
            cx, cy = min(max(cx, height / 2), width - height / 2), height / 2
        size = 2 * min(cx, cy, width - cx, height - cy, size)
    half = size // 2
    # Rounded towards 0 before the picture's edges cut it, as int() does.
    box = int(cx - half), int(cy - half), int(cx + half), int(cy + half)
    return max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)
