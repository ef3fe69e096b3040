"""Is an uploaded file a PNG? Told from its chunks alone, without decoding a pixel.

This is the cheap check, so that an upload that cannot work is refused at once. Pixels, checksums and what the pictures
show are judged in the worker, by `meshwright.inputs`, with its own limits.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

__all__ = ["BadPngError", "check_png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MIN_SIDE = 16
_MAX_SIDE = 32_768
_MAX_CHUNKS = 65_536
"""Writers cut pixels into chunks of 8 KB or more: 20 MB make 2,500. Walking many more would cost time."""
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_OTHERS = {
    b"\xff\xd8\xff": "a JPEG",
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"II*\x00": "a TIFF",
    b"MM\x00*": "a TIFF",
    b"PK\x03\x04": "a ZIP archive",
    b"%PDF": "a PDF",
    b"RIFF": "a WebP",
    b"v/1\x01": "an OpenEXR image",
    b"<": "HTML, XML or SVG",
}


class BadPngError(Exception):
    """The file is no usable PNG; the message says why, without its name."""


def check_png(path: Path, *, max_pixels: int) -> tuple[int, int]:
    """Walk the chunks of a PNG.

    Args:
        path: The file.
        max_pixels: Most pixels, width times height.
    Returns:
        Width and height in pixels.
    Raises:
        BadPngError: It is something else, ends early, goes on after its end, is animated, or too small or large.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8 + 25)
        if not start:
            raise BadPngError("the file is empty")
        if not start.startswith(_SIGNATURE):
            raise BadPngError(f"not a PNG: the content is {_what_else(start)}")
        if len(start) < 33:
            raise BadPngError("the PNG ends early")
        width, height = _check_header(start[8:], max_pixels)
        position, pixels = 33, 0
        for _ in range(_MAX_CHUNKS):
            stream.seek(position, os.SEEK_SET)
            head = stream.read(8)
            if len(head) < 8:
                raise BadPngError(f"the PNG ends early, after {size} bytes")
            length, kind = struct.unpack(">I4s", head)
            position += 12 + length
            if position > size:
                raise BadPngError(f"the PNG ends early, after {size} bytes")
            if kind == b"IEND":
                break
            if kind == b"acTL":
                raise BadPngError("an animated PNG; a view is one still picture")
            pixels += length if kind == b"IDAT" else 0
        else:
            raise BadPngError(f"the PNG has more than {_MAX_CHUNKS} chunks")
    if not pixels:
        raise BadPngError("the PNG holds no pixels")
    if position != size:
        raise BadPngError(f"{size - position} bytes follow the end of the PNG")
    return width, height


def _check_header(chunk: bytes, max_pixels: int) -> tuple[int, int]:
    length, kind, width, height, depth, colour, packing, filtering, interlace, checksum = struct.unpack(
        ">I4sIIBBBBBI", chunk
    )
    if kind != b"IHDR" or length != 13 or checksum != zlib.crc32(chunk[4:21]):
        raise BadPngError("damaged PNG: its header cannot be read")
    if depth not in _DEPTHS.get(colour, ()) or packing or filtering or interlace > 1:
        raise BadPngError("damaged PNG: its header makes no sense")
    if width * height > max_pixels or max(width, height) > _MAX_SIDE:
        raise BadPngError(f"{width}x{height} pixels; at most {max_pixels:,} pixels are accepted")
    if min(width, height) < _MIN_SIDE:
        raise BadPngError(f"{width}x{height} pixels; at least {_MIN_SIDE}x{_MIN_SIDE} are needed")
    return width, height


def _what_else(start: bytes) -> str:
    return next((name for signature, name in _OTHERS.items() if start.startswith(signature)), "not known")
