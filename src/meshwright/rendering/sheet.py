"""Many pictures on one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meshwright.errors import ShapeError
from meshwright.types import Array

__all__ = ["contact_sheet"]


def contact_sheet(
    pictures: Sequence[Array],
    columns: int,
    *,
    labels: Sequence[str] | None = None,
    gap: int = 4,
    background: int = 255,
) -> Array:
    """Pictures in rows, left to right, top to bottom, uint8 [H, W, 3].

    Args:
        pictures: uint8 [h, w, 3] each; cells are as large as the largest, smaller ones sit in the middle of theirs.
        columns: How many in a row.
        labels: Written below each picture.
        gap: Pixels between cells and around the sheet.
        background: Grey level of the gaps.
    """
    if not pictures or columns < 1:
        raise ShapeError("A contact sheet needs at least one picture and one column.")
    if labels is not None and len(labels) != len(pictures):
        raise ShapeError(f"{len(pictures)} pictures and {len(labels)} labels do not fit together.")
    caption = 0 if labels is None else 14
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    rows = -(-len(pictures) // columns)
    columns = min(columns, len(pictures))
    step_y, step_x = height + caption + gap, width + gap
    sheet = np.full((rows * step_y + gap, columns * step_x + gap, 3), background, np.uint8)
    for index, picture in enumerate(pictures):
        top = gap + index // columns * step_y + (height - picture.shape[0]) // 2
        left = gap + index % columns * step_x + (width - picture.shape[1]) // 2
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    if labels is None:
        return sheet

    from PIL import Image, ImageDraw

    canvas = Image.fromarray(sheet)
    draw = ImageDraw.Draw(canvas)
    ink = (30, 30, 30) if background > 127 else (225, 225, 225)
    for index, label in enumerate(labels):
        at = (gap + index % columns * step_x + 2, gap + index // columns * step_y + height + 1)
        draw.text(at, label, fill=ink)
    return np.asarray(canvas)
