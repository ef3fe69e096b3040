"""Decoding against PNGs written here byte by byte, every colour type and depth, plain and interlaced."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from meshwright.inputs.faults import BadFileError
from meshwright.inputs.images import decode_png

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def rows_of(samples: np.ndarray, bits: int) -> bytes:
    """Rows without filtering; samples [h, w, c] of `bits` each, packed big end first."""
    packed = b""
    for row in samples:
        flat = row.reshape(-1)
        if bits == 16:
            packed += b"\0" + flat.astype(">u2").tobytes()
        else:
            bitplane = (flat[:, None] >> np.arange(bits - 1, -1, -1)) & 1
            packed += b"\0" + np.packbits(bitplane.astype(np.uint8).reshape(-1)).tobytes()
    return packed


def encode(samples: np.ndarray, colour_type: int, bits: int, *, interlaced: bool = False, extra: bytes = b"") -> bytes:
    height, width = samples.shape[:2]
    if interlaced:
        parts = [samples[top::down, left::right] for left, top, right, down in PASSES]
        raw = b"".join(rows_of(part, bits) for part in parts if part.size)
    else:
        raw = rows_of(samples, bits)
    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, int(interlaced))
    pixels = zlib.compress(raw)
    # Two chunks: pixels may be cut anywhere.
    middle = len(pixels) // 2
    body = chunk(b"IDAT", pixels[:middle]) + chunk(b"IDAT", pixels[middle:])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + body + chunk(b"IEND", b"")


def samples_of(colour_type: int, bits: int, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 1 << bits, (17, 21, CHANNELS[colour_type])).astype(np.uint16)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_samples_come_back_exactly(colour_type: int, bits: int, interlaced: bool) -> None:
    samples = samples_of(colour_type, bits)
    picture = decode_png(encode(samples, colour_type, bits, interlaced=interlaced), max_pixels=10_000)
    assert picture.bits == bits
    assert picture.colour.dtype == (np.uint16 if bits == 16 else np.uint8)
    has_alpha = colour_type in (4, 6)
    np.testing.assert_array_equal(picture.colour, samples[..., :-1] if has_alpha else samples)
    if has_alpha:
        np.testing.assert_array_equal(picture.alpha, samples[..., -1])
    else:
        assert picture.alpha is None


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_of_grey_are_stretched_to_eight(bits: int) -> None:
    samples = samples_of(0, bits)
    picture = decode_png(encode(samples, 0, bits), max_pixels=10_000)
    np.testing.assert_array_equal(picture.colour, samples * (255 // ((1 << bits) - 1)))


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_palette(bits: int) -> None:
    samples = samples_of(3, bits)
    palette = np.random.default_rng(5).integers(0, 256, (1 << bits, 3), dtype=np.uint8)
    alpha = np.arange(1 << bits, dtype=np.uint8)
    plain = decode_png(encode(samples, 3, bits, extra=chunk(b"PLTE", palette.tobytes())), max_pixels=10_000)
    np.testing.assert_array_equal(plain.colour, palette[samples[..., 0]])
    assert plain.alpha is None
    extra = chunk(b"PLTE", palette.tobytes()) + chunk(b"tRNS", alpha.tobytes())
    clear = decode_png(encode(samples, 3, bits, extra=extra), max_pixels=10_000)
    np.testing.assert_array_equal(clear.colour, palette[samples[..., 0]])
    np.testing.assert_array_equal(clear.alpha, alpha[samples[..., 0]])


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colour_type", [0, 2])
def test_one_colour_may_be_declared_transparent(colour_type: int, bits: int) -> None:
    """At 16 bits all 16 count: a colour that differs in its low bytes only stays."""
    samples = samples_of(colour_type, bits)
    hidden = samples[4, 4].copy()
    samples[2, 3] = hidden ^ 1
    extra = chunk(b"tRNS", hidden.astype(">u2").tobytes())
    picture = decode_png(encode(samples, colour_type, bits, extra=extra), max_pixels=10_000)
    expected = (samples == hidden).all(-1)
    assert expected[4, 4]
    assert not expected[2, 3]
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha == 0, expected)
    np.testing.assert_array_equal(picture.colour, np.broadcast_to(samples, picture.colour.shape))


@pytest.mark.parametrize("interlaced", [False, True])
def test_missing_pixels_are_counted(interlaced: bool) -> None:
    """A file whose chunks are whole but whose pixel stream is one byte short."""
    samples = samples_of(2, 8)
    parts = [samples[top::down, left::right] for left, top, right, down in PASSES] if interlaced else [samples]
    raw = b"".join(rows_of(part, 8) for part in parts if part.size)[:-1]
    head = struct.pack(">IIBBBBB", 21, 17, 8, 2, 0, 0, int(interlaced))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    with pytest.raises(BadFileError, match="99 % of its pixels are there") as caught:
        decode_png(data, max_pixels=10_000)
    assert caught.value.code == "input.truncated"


def test_limits_are_read_before_anything_is_unpacked() -> None:
    """The pixel limit stops a file whose pixels would be garbage: they are never looked at."""
    head = struct.pack(">IIBBBBB", 101, 100, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"garbage") + chunk(b"IEND", b"")
    with pytest.raises(BadFileError, match="101x100 pixels; at most 10,000"):
        decode_png(data, max_pixels=10_000)
    with pytest.raises(BadFileError, match="cannot be unpacked"):
        decode_png(data, max_pixels=10_100)


@pytest.mark.parametrize("place", range(0, 400, 7))
def test_any_flipped_byte_is_noticed_or_harmless(place: int) -> None:
    """Whatever is damaged: a fault in plain words or a picture of the same size, never another exception."""
    samples = samples_of(6, 8)
    data = bytearray(encode(samples, 6, 8))
    data[place % len(data)] ^= 0x55
    try:
        picture = decode_png(bytes(data), max_pixels=10_000)
    except BadFileError as error:
        assert error.message
    else:
        assert picture.colour.shape == (17, 21, 3)
