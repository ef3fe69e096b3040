"""Judge and decode one PNG: by its content, never by its name, and never beyond the limits.

The chunks are walked first (signature, sizes, checksums, animation), so that a damaged or hostile file is named as
what it is before any pixel is decoded. Pillow then inflates and unfilters. It has no 16-bit RGB mode and would
keep only the upper byte of each sample, therefore 16-bit colour is decoded twice, once for each byte: its unpackers
`RGB;16B` and `RGB;16L` keep the first and the second byte of a sample.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin

from meshwright.device import check_stop
from meshwright.inputs.faults import BadFileError
from meshwright.types import Array

__all__ = ["MIN_SIDE", "Picture", "decode_png"]

MIN_SIDE = 16
"""Smallest usable width and height in pixels."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_SIDE = 32_768

_OTHERS = (
    (b"\xff\xd8\xff", "a JPEG"),
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"II*\x00", "a TIFF"),
    (b"MM\x00*", "a TIFF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"%PDF", "a PDF"),
    (b"v/1\x01", "an OpenEXR image"),
)
_COLOUR_TYPES: dict[int, tuple[str, tuple[int, ...]]] = {
    0: ("grey", (1, 2, 4, 8, 16)),
    2: ("RGB", (8, 16)),
    3: ("palette", (1, 2, 4, 8)),
    4: ("grey with alpha", (8, 16)),
    6: ("RGBA", (8, 16)),
}


_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A decoded PNG, samples as in the file.

    Attributes:
        colour: uint8 or uint16 [H, W, C], C = 1 (grey) or 3 (RGB); sRGB-encoded unless it is depth.
        alpha: Same type, [H, W], or None where the file has no transparency.
        bits: 8 or 16 per sample.
    """

    colour: Array
    alpha: Array | None
    bits: Literal[8, 16]


def decode_png(data: bytes, *, max_pixels: int) -> Picture:
    """Judge the bytes of a file and decode them.

    Raises:
        BadFileError: `input.empty`, `input.not_png`, `input.truncated`, `input.corrupt`, `input.animated`,
            `input.too_small`, `input.too_many_pixels`.
    """
    bits, colour_type = _judge_chunks(data, max_pixels)
    image = _open(data)
    transparency = image.info.get("transparency")
    if bits == 16:
        return _decode_16(data, colour_type, transparency)
    if colour_type == 3 or transparency is not None:
        # Pillow knows palettes and the "this colour is transparent" chunk.
        plain = np.asarray(_load(image).convert("RGBA"))
        has_alpha = transparency is not None
        return Picture(colour=plain[..., :3], alpha=plain[..., 3] if has_alpha else None, bits=8)
    loaded = _load(image)
    check_stop()
    pixels = np.asarray(loaded.convert("L") if loaded.mode == "1" else loaded)
    if pixels.ndim == 2:
        return Picture(colour=pixels[..., None], alpha=None, bits=8)
    channels = pixels.shape[-1]
    if channels in (2, 4):
        return Picture(colour=pixels[..., :-1], alpha=pixels[..., -1], bits=8)
    return Picture(colour=pixels, alpha=None, bits=8)


def _judge_chunks(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Walk all chunks; returns bits per sample as decoded (8 or 16) and colour type."""
    if not data:
        raise BadFileError("input.empty", "the file is empty (0 bytes)")
    if not data.startswith(_SIGNATURE):
        raise BadFileError("input.not_png", f"not a PNG: {_what_else(data)}")
    position = len(_SIGNATURE)
    bits, colour_type = 8, 0
    seen: list[bytes] = []
    pixels: list[memoryview] = []
    expected = 0
    while True:
        if position + 8 > len(data):
            raise BadFileError("input.truncated", _truncated(data, seen))
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise BadFileError("input.truncated", _truncated(data, seen))
        body = data[position + 8 : position + 8 + length] if kind == b"IHDR" else b""
        if not seen:
            if kind != b"IHDR" or length != 13:
                raise BadFileError("input.corrupt", "damaged PNG: it does not begin with a header (IHDR)")
            # Checked before the checksum of anything else, and before any decoding.
            bits, colour_type = _judge_header(body, max_pixels)
            expected = _packed_size(body)
        checksum = zlib.crc32(memoryview(data)[position + 4 : position + 8 + length])
        if checksum != struct.unpack_from(">I", data, end - 4)[0]:
            name = kind.decode("latin-1") if kind.isalpha() else "unknown"
            raise BadFileError("input.corrupt", f"damaged PNG: wrong checksum in its {name} chunk")
        if kind == b"IDAT":
            pixels.append(memoryview(data)[position + 8 : position + 8 + length])
        if kind == b"acTL":
            raise BadFileError("input.animated", "an animated PNG; a view is one still picture")
        seen.append(kind)
        position = end
        if kind == b"IEND":
            break
    if b"IDAT" not in seen:
        raise BadFileError("input.corrupt", "damaged PNG: it holds no pixels (IDAT)")
    if colour_type == 3 and b"PLTE" not in seen:
        raise BadFileError("input.corrupt", "damaged PNG: its palette (PLTE) is missing")
    _judge_amount(pixels, expected)
    return bits, colour_type


def _packed_size(header: bytes) -> int:
    """Bytes of all rows, each with its filter byte, for a header that makes sense."""
    width, height, depth, colour_type, _, _, interlace = struct.unpack(">IIBBBBB", header)
    bits_per_pixel = depth * _CHANNELS[colour_type]
    # Adam7: first column, first row, column step, row step of its seven passes.
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    total = 0
    for left, top, right, down in passes if interlace else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits_per_pixel // 8))
    return total


def _judge_amount(pixels: list[memoryview], expected: int) -> None:
    """Unpack without keeping: Pillow shows missing rows as black and says nothing."""
    inflater = zlib.decompressobj()
    found = 0
    try:
        for part in pixels:
            pending = bytes(part)
            while pending and found <= expected and not inflater.eof:
                check_stop()
                found += len(inflater.decompress(pending, 1 << 20))
                pending = inflater.unconsumed_tail
        if not inflater.eof and found < expected:
            found += len(inflater.flush())
    except zlib.error as error:
        raise BadFileError("input.corrupt", "damaged PNG: its pixels cannot be unpacked") from error
    if found < expected:
        raise BadFileError("input.truncated", f"damaged PNG: {found * 100 // expected} % of its pixels are there")


def _judge_header(body: bytes, max_pixels: int) -> tuple[int, int]:
    width, height, depth, colour_type, compression, filtering, interlace = struct.unpack(">IIBBBBB", body)
    kind = _COLOUR_TYPES.get(colour_type)
    if kind is None or depth not in kind[1] or compression or filtering or interlace > 1 or not width or not height:
        raise BadFileError("input.corrupt", "damaged PNG: its header (IHDR) makes no sense")
    if width * height > max_pixels or max(width, height) > _MAX_SIDE:
        raise BadFileError(
            "input.too_many_pixels", f"{width}x{height} pixels; at most {max_pixels:,} pixels are accepted"
        )
    if min(width, height) < MIN_SIDE:
        raise BadFileError("input.too_small", f"{width}x{height} pixels; at least {MIN_SIDE}x{MIN_SIDE} are needed")
    return (16 if depth == 16 else 8), colour_type


def _what_else(data: bytes) -> str:
    for start, name in _OTHERS:
        if data.startswith(start):
            return f"the content is {name}"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "the content is a WebP"
    if data[4:8] == b"ftyp":
        return "the content is an AVIF or HEIC"
    try:
        data[:512].decode("utf-8")
    except UnicodeDecodeError:
        return "the content is not known"
    return "the content is text"


def _truncated(data: bytes, seen: list[bytes]) -> str:
    place = "in its pixels" if b"IDAT" in seen or b"IDAT" in data[8:4096] else "before its pixels"
    return f"the PNG ends early, {place}, after {len(data)} bytes; copy or upload it again"


def _open(data: bytes) -> ImageFile.ImageFile:
    try:
        return Image.open(io.BytesIO(data), formats=("PNG",))
    except (OSError, SyntaxError, ValueError) as error:
        raise BadFileError("input.corrupt", "damaged PNG: it cannot be opened") from error


def _load(image: Image.Image) -> Image.Image:
    check_stop()
    try:
        image.load()
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        code = "input.truncated" if "truncated" in str(error) else "input.corrupt"
        what = "its pixels end early" if code == "input.truncated" else "its pixels cannot be decoded"
        raise BadFileError(code, f"damaged PNG: {what}") from error
    return image


def _decode_16(data: bytes, colour_type: int, transparency: object) -> Picture:
    if colour_type == 0:
        grey = _decode_as(data, "I;16", "I;16B").astype(np.uint16)
        shown: Array | None = None
        if isinstance(transparency, int):
            shown = np.where(grey == transparency, 0, 65535).astype(np.uint16)
        return Picture(colour=grey[..., None], alpha=shown, bits=16)
    if colour_type == 4:
        # Two 16-bit samples are four bytes, the layout of RGBA.
        both = _decode_as(data, "RGBA", "RGBA").astype(np.uint16)
        return Picture(colour=(both[..., :1] << 8) | both[..., 1:2], alpha=(both[..., 2] << 8) | both[..., 3], bits=16)
    mode = "RGB" if colour_type == 2 else "RGBA"
    high = _decode_as(data, mode, f"{mode};16B").astype(np.uint16)
    samples = (high << 8) | _decode_as(data, mode, f"{mode};16L")
    alpha: Array | None = samples[..., 3] if mode == "RGBA" else None
    if isinstance(transparency, tuple):
        hidden = (samples == np.array(transparency, np.uint16)).all(-1)
        alpha = np.where(hidden, 0, 65535).astype(np.uint16)
    return Picture(colour=samples[..., :3], alpha=alpha, bits=16)


def _decode_as(data: bytes, mode: str, raw_mode: str) -> Array:
    """The pixels, with another unpacker than the one Pillow would choose."""
    image = _open(data)
    assert isinstance(image, PngImagePlugin.PngImageFile)
    image.tile = [image.tile[0]._replace(args=raw_mode)]
    image._mode = mode
    # "Make this colour transparent" refers to the true samples; the caller applies it.
    image.info.pop("transparency", None)
    return np.asarray(_load(image))
