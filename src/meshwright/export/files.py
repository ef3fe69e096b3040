"""Files that appear whole or not at all, and PNGs with the same bytes for the same pixels."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from meshwright.errors import OutputError, ShapeError
from meshwright.types import Array

__all__ = ["encode_png", "write_atomic", "write_png"]

COMPRESSION = 4
"""zlib level: 6 takes twice as long on photographic textures and saves two per cent."""


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
    Image.fromarray(np.ascontiguousarray(image)).save(stream, "PNG", compress_level=COMPRESSION)
    return stream.getvalue()


def write_png(path: Path, image: Array) -> Path:
    """`encode_png` to a file, whole or not at all."""
    return write_atomic(path, encode_png(image))
