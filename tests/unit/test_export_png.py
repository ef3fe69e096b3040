"""PNG files made in bands: what decoders read from them, and what they are made of."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

import meshwright.device
import meshwright.export.png as png
from meshwright.errors import ShapeError
from meshwright.export import encode_png
from meshwright.types import Array


def decoded(data: bytes) -> Array:
    with Image.open(io.BytesIO(data)) as image:
        image.verify()  # the chunks' sums
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode in ("RGB", "L")
        return np.asarray(image)


def unpacked(data: bytes) -> bytes:
    """What IDAT holds; zlib checks header and Adler-32."""
    at, found = 8, b""
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            found += data[at + 8 : at + 8 + size]
        at += 12 + size
    return zlib.decompress(found)


def painted(height: int, width: int, channels: int, seed: int) -> Array:
    """Noise, a slope, one colour and stripes, some rows of each."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:height, :width]
    kinds = [rng.integers(0, 256, (height, width)), row + 2 * column, np.full((height, width), 255), 255 * (column % 2)]
    planes = [np.choose((row + shift) // 3 % 4, kinds) for shift in range(channels)]
    image = np.stack(planes, -1).astype(np.uint8)
    return image[..., 0] if channels == 1 else image


@pytest.mark.parametrize("band", [1, 100, 1 << 19])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (40, 7), (33, 50)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_come_back(band: int, shape: tuple[int, int], channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "BAND", band)
    image = painted(*shape, channels, seed=band)
    np.testing.assert_array_equal(decoded(encode_png(image)), image)
    turned = np.rot90(image)  # rows that do not lie one after the other
    np.testing.assert_array_equal(decoded(encode_png(turned)), turned)


def test_bytes_do_not_depend_on_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "BAND", 600)
    image, found = painted(64, 40, 3, seed=1), []
    for cores in (1, 2, 7):
        monkeypatch.setattr(meshwright.device, "cpu_threads", lambda cores=cores: cores)
        found.append(encode_png(image))
    assert found[0] == found[1] == found[2]


def test_bands_filter_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first row of a band refers to the last one of the band before."""
    image = painted(30, 20, 3, seed=2)
    whole = unpacked(encode_png(image))
    monkeypatch.setattr(png, "BAND", 4 * 60)
    assert unpacked(encode_png(image)) == whole


def test_filters_by_hand() -> None:
    """Each row is what its best filter makes nought of; a row that none can shorten stays as it is."""
    level = np.full(8, 7)
    image = np.array([level, level, 10 * np.arange(8)], np.uint8)
    rows = np.frombuffer(unpacked(encode_png(image)), np.uint8).reshape(3, 9)
    # Row 0: left predicts all but the first (Paeth does too, and comes first). Row 1: above predicts everything, by
    # Paeth as well. Row 2: from the left, steps of ten.
    np.testing.assert_array_equal(rows[0], [4, 7, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(rows[1], [4, 0, 0, 0, 0, 0, 0, 0, 0])
    assert rows[2, 0] == 1
    np.testing.assert_array_equal(rows[2, 1:], [0, 10, 10, 10, 10, 10, 10, 10])
    image = np.array([[100, 100, 100, 100], [1, 255, 1, 255]], np.uint8)
    rows = np.frombuffer(unpacked(encode_png(image)), np.uint8).reshape(2, 5)
    np.testing.assert_array_equal(rows[1], [0, 1, 255, 1, 255])


def test_joined_sums_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(3)
    for first, second in ((0, 0), (1, 0), (0, 5), (70_000, 3), (5, 70_000)):
        a, b = rng.bytes(first), b"\xff" * second
        assert png._joined_adler(zlib.adler32(a), zlib.adler32(b), len(b)) == zlib.adler32(a + b)


def test_no_larger_than_pillow_makes_it() -> None:
    """A smooth picture with some noise, as textures are; 1 % for the ends of bands."""
    rng = np.random.default_rng(4)
    row, column = np.mgrid[:500, :700] / 100
    image = 128 + 90 * np.sin(row)[..., None] * np.cos([column, column + 1, 2 * column]).transpose(1, 2, 0)
    image = (image + rng.normal(0, 2, image.shape)).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_type=3)
    assert len(encode_png(image)) < 1.01 * len(stream.getvalue())


def test_other_arrays_are_refused() -> None:
    for image in (np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2), np.uint16), np.zeros((0, 2, 3), np.uint8)):
        with pytest.raises(ShapeError, match="PNG"):
            encode_png(image)
