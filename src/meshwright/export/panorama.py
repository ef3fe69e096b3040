"""Light from all around as a Radiance picture (.hdr), which every renderer and image library opens.

RGBE: three mantissas of 8 bits share one exponent. Scanlines are written as runs of literals of the run-length scheme,
never as bare pixels, some values of which readers would take for a run.
Source: Ward, "Real Pixels", Graphics Gems II, 1991; the Radiance reference manual, "File Formats".
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from meshwright.errors import InputError, ShapeError
from meshwright.export.files import write_atomic
from meshwright.types import Array

__all__ = ["LIGHT_SUFFIX", "read_hdr", "rgbe_decode", "rgbe_encode", "write_hdr"]

LIGHT_SUFFIX = "_light.hdr"
"""The light that a mesh was seen under lies beside its file, under the same name with this at the end."""
LONGEST = 32767
"""Pixels of a run-length coded scanline; below 8 they are not coded."""
MOST_PIXELS = 2**26


def write_hdr(path: Path, picture: Array) -> Path:
    """Writes linear RGB, float [H, W, 3], not negative, row 0 on top.

    Raises:
        ShapeError: It is something else, or narrower than 8 pixels.
        OutputError: The file cannot be written.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or not 8 <= picture.shape[1] <= LONGEST or not len(picture):
        raise ShapeError(f"The panorama is {list(picture.shape)}.", hint="Expected [H, W, 3], W from 8 to 32767.")
    if not (np.isfinite(picture).all() and picture.min() >= 0):
        raise ShapeError("The panorama holds values that are negative or not finite.")
    height, width = picture.shape[:2]
    start = np.array([2, 2, width >> 8, width & 255], np.uint8).tobytes()
    lines = []
    for line in rgbe_encode(picture):
        lines.append(start)
        for channel in line.T:
            for first in range(0, width, 128):
                run = channel[first : first + 128]
                lines += [bytes([len(run)]), run.tobytes()]
    head = f"#?RADIANCE\nSOFTWARE=meshwright\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n"
    return write_atomic(path, head.encode() + b"".join(lines))


def read_hdr(path: Path) -> Array:
    """Linear RGB, float32 [H, W, 3], row 0 on top.

    Raises:
        InputError: The file is no such picture, or not whole.
    """
    try:
        data = path.read_bytes()
        head, found, rest = data.partition(b"\n\n")
        size = re.match(rb"-Y (\d+) \+X (\d+)\n", rest)
        if not (found and head.startswith(b"#?") and b"32-bit_rle_rgbe" in head and size):
            raise ValueError("it does not begin as one")
        height, width = int(size[1]), int(size[2])
        if not 0 < height * width <= MOST_PIXELS:
            raise ValueError(f"{width} x {height} pixels")
        return rgbe_decode(_pixels(np.frombuffer(rest, np.uint8)[size.end() :], height, width))
    except OSError as error:
        raise InputError(f"{path.name!r} cannot be read: {error.strerror}.") from error
    except (ValueError, IndexError) as error:
        raise InputError(
            f"{path.name!r} is no whole Radiance picture: {error}.",
            hint="Write it again as RGBE, rows from top to bottom.",
        ) from error


def _pixels(codes: Array, height: int, width: int) -> Array:
    """The codes of all pixels, uint8 [height, width, 4]."""
    if len(codes) >= 4 and not (codes[0] == 2 and codes[1] == 2 and codes[2] < 128 and 8 <= width <= LONGEST):
        return codes[: height * width * 4].reshape(height, width, 4)
    picture = np.empty((height, 4, width), np.uint8)
    at = 0
    for line in picture:
        if tuple(codes[at : at + 4]) != (2, 2, width >> 8, width & 255):
            raise ValueError("a scanline does not begin as one")
        at += 4
        for channel in line:
            done = 0
            while done < width:
                count = int(codes[at])
                length = count - 128 if count > 128 else count
                if not 0 < length <= width - done:
                    raise ValueError("a run is too long")
                channel[done : done + length] = codes[at + 1] if count > 128 else codes[at + 1 : at + 1 + length]
                at += 2 if count > 128 else 1 + length
                done += length
    return picture.transpose(0, 2, 1)


def rgbe_encode(picture: Array) -> Array:
    """Codes uint8 [..., 4] of linear RGB [..., 3]."""
    most = np.asarray(picture, np.float64).max(-1, keepdims=True)
    share, exponent = np.frexp(most)
    # What would round up to 256 gets the next exponent.
    exponent = np.clip(exponent + (share * 256 >= 255.5), -127, 127)
    mantissa = np.rint(np.ldexp(np.asarray(picture, np.float64), 8 - exponent))
    dark = most < 1e-38
    codes = np.concatenate([np.clip(mantissa, 0, 255), exponent + 128], -1)
    return np.where(dark, 0, codes).astype(np.uint8)


def rgbe_decode(codes: Array) -> Array:
    """Linear RGB float32 [..., 3] of codes [..., 4]; exponent 0 is black.

    Mantissas count from 0, as most readers have it; Ward's own adds half a step.
    """
    values = np.ldexp(codes[..., :3].astype(np.float64), codes[..., 3:].astype(np.int64) - 136)
    return np.where(codes[..., 3:] == 0, 0, values).astype(np.float32)
