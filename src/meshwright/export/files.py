"""Files that appear whole or not at all, PNGs with the same bytes for the same pixels, and animations."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import (
    Image,
    WebPImagePlugin,  # noqa: F401  (known by name, it spares the import of all forty formats when WebP is written)
)

from meshwright.errors import OutputError, ShapeError
from meshwright.types import Array

__all__ = ["encode_png", "write_animation", "write_atomic", "write_png"]

RUNS = 3
"""zlib's Z_RLE: of filtered pixels it finds only runs. On textures and renders that is half of the time of level 4 for
files that are smaller by 3 to 12 per cent; lines on white get larger by 10."""


def write_atomic(path: Path, data: bytes) -> Path:
    """Write a file under a passing name beside its place, then move it there.

    Raises:
        OutputError: The file cannot be written; nothing is left behind.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # the folder itself is not there or not ours: nothing was written
            partial.unlink(missing_ok=True)
        raise OutputError(
            f"{path.name!r} cannot be written: {error.strerror}.", hint="Is there space, and may you write there?"
        ) from error
    return path


def encode_png(image: Array) -> bytes:
    """The bytes of a PNG file; `image` is uint8 [H, W, 3] or [H, W] in sRGB, row 0 on top."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ShapeError(f"A PNG is made from uint8 [H, W, 3] or [H, W], got {image.dtype} {image.shape}.")
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, "PNG", compress_type=RUNS)
    return stream.getvalue()


def write_png(path: Path, image: Array) -> Path:
    """`encode_png` to a file, whole or not at all."""
    return write_atomic(path, encode_png(image))


def write_animation(path: Path, frames: Sequence[Array], seconds: float) -> Path:
    """An endless animated WebP, whole or not at all.

    Args:
        path: Ends in `.webp`.
        frames: uint8 [H, W, 3] in sRGB each, at least one, all of one size.
        seconds: How long one round takes.
    """
    if not frames or any(frame.dtype != np.uint8 or frame.shape != (*frames[0].shape[:2], 3) for frame in frames):
        raise ShapeError("An animation is made from at least one picture, uint8 [H, W, 3] and all of one size.")
    first, *others = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    stream = io.BytesIO()
    pause = round(1000 * seconds / len(frames))
    first.save(stream, "WEBP", save_all=True, append_images=others, duration=pause, loop=0, quality=80, method=2)
    return write_atomic(path, stream.getvalue())
