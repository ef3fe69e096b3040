"""Masks as files, so that the user can see what was taken for the object."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from meshwright.colour import linear_to_srgb
from meshwright.device import map_threads
from meshwright.errors import OutputError
from meshwright.inputs.strips import strips
from meshwright.types import Array, View, ViewSet

__all__ = ["write_masks"]

_TILE = 384
_COLUMNS = 3
_COMPRESSION = 4
"""zlib level; more takes twice as long and saves a few per cent."""
_MOST_TILES = 60
_OUTLINE = np.array([0.0, 0.75, 0.25], np.float32)


def write_masks(views: ViewSet, folder: Path) -> None:
    """Write `<view>.png` (8-bit coverage) for every view and `contact_sheet.png`, an overlay of all.

    In the overlay the background is tinted magenta and the silhouette is outlined in green.

    Args:
        views: What to show; names with `/` become `_`.
        folder: Is made where missing. Each file appears whole or not at all.

    Raises:
        OutputError: a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)

        def write(view: View) -> None:
            coverage = np.round(np.clip(view.mask, 0, 1) * 255).astype(np.uint8)
            _save(Image.fromarray(coverage), folder / f"{view.name.replace('/', '_')}.png")

        map_threads(write, views.views)
        _save(_contact_sheet(views.views[:_MOST_TILES]), folder / "contact_sheet.png")
    except OSError as error:
        raise OutputError(
            f"Masks cannot be written: {error.strerror}.", hint="Is there room and permission?"
        ) from error


def _contact_sheet(views: tuple[View, ...]) -> Image.Image:
    rows = -(-len(views) // _COLUMNS)
    sheet = Image.new("RGB", (_TILE * min(_COLUMNS, len(views)), _TILE * rows), "white")
    for index, (view, tile) in enumerate(zip(views, map_threads(_overlay, views), strict=True)):
        left, top = _TILE * (index % _COLUMNS), _TILE * (index // _COLUMNS)
        sheet.paste(tile, (left + (_TILE - tile.width) // 2, top + (_TILE - tile.height) // 2))
        ImageDraw.Draw(sheet).text((left + 6, top + 4), f"{view.name} ({view.mask_source.value})", fill="black")
    return sheet


def _overlay(view: View) -> Image.Image:
    factor = _TILE / max(view.height, view.width)
    size = (max(1, round(view.width * factor)), max(1, round(view.height * factor)))
    codes = np.empty(view.rgb.shape, np.uint8)
    for rows, _, _ in strips(view.height):
        codes[rows] = np.round(linear_to_srgb(view.rgb[rows]) * 255)
    picture = Image.fromarray(codes).resize(size, Image.Resampling.BOX)
    coverage = Image.fromarray((np.clip(view.mask, 0, 1) * 255).astype(np.uint8)).resize(size, Image.Resampling.BOX)
    colour = np.asarray(picture, np.float32) / 255
    mask = np.asarray(coverage, np.float32)[..., None] / 255
    tinted = colour * mask + (1 - mask) * (0.6 * colour + 0.4 * np.array([0.85, 0.2, 0.85], np.float32))
    tinted[_edge(mask[..., 0] >= 0.5)] = _OUTLINE
    return Image.fromarray(np.round(np.clip(tinted, 0, 1) * 255).astype(np.uint8))


def _edge(inside: Array) -> Array:
    """Pixels inside that have a neighbour outside."""
    padded = np.pad(inside, 1, mode="edge")
    around = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(inside & ~around)


def _save(image: Image.Image, path: Path) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        image.save(partial, format="PNG", compress_level=_COMPRESSION)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
