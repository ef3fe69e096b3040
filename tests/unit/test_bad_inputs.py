"""Every bad input that was thought of: which error, exactly, and that it leaves nothing behind on disk.

Each row builds its input from the same good one: six 48x48 views (`views/`) and six depth renders (`depth/`).
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meshwright.errors import CameraError, InputFilesError, MeshwrightError, OptionError
from meshwright.inputs import InputConfig, read_inputs
from meshwright.types import VIEW_NAMES

SIDE = 48
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(width: int, height: int, *, bits: int = 8, colour: int = 2) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))


def disc() -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    return np.hypot(x, y) < SIDE / 3


def good_view() -> np.ndarray:
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 200, (SIDE, SIDE, 4), dtype=np.uint8)
    picture[..., 3] = disc() * 255
    return picture


def good_depth() -> np.ndarray:
    return (disc() * 180).astype(np.uint8)


VIEW = png(good_view())
DEPTH = png(good_depth())
BLANK = png(np.full((SIDE, SIDE, 3), 128, np.uint8))


@dataclass
class Given:
    """What one row works on, and what it hands to `read_inputs`."""

    root: Path
    path: Path
    depth_dir: Path | None = None
    config: InputConfig | None = None

    @property
    def views(self) -> Path:
        return self.root / "views"

    @property
    def depth(self) -> Path:
        return self.root / "depth"

    def put(self, name: str, data: bytes) -> None:
        (self.root / name).write_bytes(data)

    def zip(self, entries: Iterable[tuple[str | zipfile.ZipInfo, bytes]], **options: object) -> None:
        """Make `input.zip` of these entries the input."""
        self.path = self.root.parent / "input.zip"
        with zipfile.ZipFile(self.path, "w", zipfile.ZIP_DEFLATED, **options) as archive:  # type: ignore[arg-type]
            for name, data in entries:
                archive.writestr(name, data)

    def nerf(self, change: Callable[[dict], None] | None = None) -> None:
        """Make a NeRF-synthetic folder the input."""
        shutil.rmtree(self.depth)
        frames = [{"file_path": f"./views/{name}", "transform_matrix": np.eye(4).tolist()} for name in VIEW_NAMES]
        document = {"camera_angle_x": 0.45, "frames": frames}
        if change is not None:
            change(document)
        self.put("transforms_train.json", json.dumps(document).encode())


Fault = tuple[str, str, str]


@dataclass
class Row:
    build: Callable[[Given], object]
    faults: list[Fault] | str
    error: type[MeshwrightError] = InputFilesError


ROWS: dict[str, Row] = {}


def files(name: str, *faults: Fault) -> Callable[[Callable[[Given], object]], Callable[[Given], object]]:
    """Register a row that ends in `InputFilesError` with exactly these faults."""

    def register(build: Callable[[Given], object]) -> Callable[[Given], object]:
        ROWS[name] = Row(build, list(faults))
        return build

    return register


def cameras(name: str, message: str) -> Callable[[Callable[[Given], object]], Callable[[Given], object]]:
    """Register a row that ends in `CameraError` with exactly this message."""

    def register(build: Callable[[Given], object]) -> Callable[[Given], object]:
        ROWS[name] = Row(build, message, CameraError)
        return build

    return register


def entries(skip: str = "") -> list[tuple[str | zipfile.ZipInfo, bytes]]:
    return [(f"{name}.png", VIEW) for name in VIEW_NAMES if name != skip]


# --- the set -----------------------------------------------------------------------------------------------------


@files("five views", ("given/views", "input.count", "expected 6 views, found 5; missing: top"))
def _(given: Given) -> None:
    (given.views / "top.png").unlink()


@files(
    "seven files",
    ("views/extra.png", "input.unknown_view", "the name does not say which view it is, while other names do"),
    ("given/views", "input.count", "expected 6 views, found 7"),
)
def _(given: Given) -> None:
    given.put("views/extra.png", VIEW)


@files("seven files without names", ("given/views", "input.count", "expected 6 views, found 7"))
def _(given: Given) -> None:
    for index, name in enumerate(VIEW_NAMES):
        (given.views / f"{name}.png").rename(given.views / f"shot{index}.png")
    given.put("views/shot6.png", VIEW)


@files(
    "two fronts",
    (
        "views/view_front.png",
        "input.duplicate_view",
        "a second view for 'front', besides views/front.png; there is none for back",
    ),
)
def _(given: Given) -> None:
    (given.views / "back.png").rename(given.views / "view_front.png")


@files(
    "one name that says nothing",
    (
        "views/IMG_7.png",
        "input.unknown_view",
        "the name does not say which view it is, while other names do; there is none for bottom",
    ),
)
def _(given: Given) -> None:
    (given.views / "bottom.png").rename(given.views / "IMG_7.png")


@files(
    "a name that says two views",
    ("views/front_left.png", "input.ambiguous_name", "the name says front and left; keep one of them"),
)
def _(given: Given) -> None:
    (given.views / "front.png").rename(given.views / "front_left.png")


@files("no image at all", ("given", "input.no_images", "no image in it"))
def _(given: Given) -> None:
    shutil.rmtree(given.views)
    shutil.rmtree(given.depth)
    given.put("notes.txt", b"nothing here")


@files("missing folder", ("nowhere", "input.missing", "there is no such folder or file"))
def _(given: Given) -> None:
    given.path = given.root / "nowhere"


@files("missing depth folder", ("nowhere", "input.missing", "there is no such folder or file"))
def _(given: Given) -> None:
    given.depth_dir = given.root / "nowhere"


@files("a file that is no folder and no ZIP", ("front.png", "input.archive", "neither a folder nor a ZIP"))
def _(given: Given) -> None:
    given.path = given.views / "front.png"


@files("too much in total", ("given", "input.total_too_large", "1.2 MB of images; at most 1.0 MB are accepted"))
def _(given: Given) -> None:
    # Padding in a private chunk: a valid file of the wanted size.
    for name in VIEW_NAMES:
        given.put(f"views/{name}.png", VIEW[:-12] + chunk(b"paDd", bytes(200_000 - len(VIEW) - 12)) + VIEW[-12:])
        (given.depth / f"{name}.png").unlink()
    given.config = InputConfig(max_total_mb=1)


# --- single files ------------------------------------------------------------------------------------------------


@files("JPEG called PNG", ("views/left.png", "input.not_png", "not a PNG: the content is a JPEG"))
def _(given: Given) -> None:
    stream = io.BytesIO()
    Image.fromarray(good_view()[..., :3]).save(stream, "JPEG")
    given.put("views/left.png", stream.getvalue())


@files("JPEG called JPEG", ("views/left.jpg", "input.not_png", "not a PNG: the content is a JPEG"))
def _(given: Given) -> None:
    stream = io.BytesIO()
    Image.fromarray(good_view()[..., :3]).save(stream, "JPEG")
    (given.views / "left.png").unlink()
    given.put("views/left.jpg", stream.getvalue())


@files("WebP called PNG", ("views/left.png", "input.not_png", "not a PNG: the content is a WebP"))
def _(given: Given) -> None:
    given.put("views/left.png", b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(40))


@files("text called PNG", ("views/left.png", "input.not_png", "not a PNG: the content is text"))
def _(given: Given) -> None:
    given.put("views/left.png", b"front view, please imagine")


@files("noise called PNG", ("views/left.png", "input.not_png", "not a PNG: the content is not known"))
def _(given: Given) -> None:
    given.put("views/left.png", bytes([200, 7, 255, 3]) * 50)


@files("empty file", ("views/right.png", "input.empty", "the file is empty (0 bytes)"))
def _(given: Given) -> None:
    given.put("views/right.png", b"")


CUT = len(VIEW) - 700


@files(
    "cut off in its pixels",
    (
        "views/top.png",
        "input.truncated",
        f"the PNG ends early, in its pixels, after {CUT} bytes; copy or upload it again",
    ),
)
def _(given: Given) -> None:
    given.put("views/top.png", VIEW[:CUT])


@files(
    "cut off in its header",
    (
        "views/top.png",
        "input.truncated",
        "the PNG ends early, before its pixels, after 20 bytes; copy or upload it again",
    ),
)
def _(given: Given) -> None:
    given.put("views/top.png", VIEW[:20])


@files(
    "pixels missing though every chunk is whole",
    ("views/top.png", "input.truncated", "damaged PNG: 50 % of its pixels are there"),
)
def _(given: Given) -> None:
    pixels = zlib.compress(bytes((3 * SIDE + 1) * (SIDE // 2)))
    given.put("views/top.png", SIGNATURE + header(SIDE, SIDE) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


@files("no pixels", ("views/top.png", "input.corrupt", "damaged PNG: it holds no pixels (IDAT)"))
def _(given: Given) -> None:
    given.put("views/top.png", SIGNATURE + header(SIDE, SIDE) + chunk(b"IEND", b""))


@files("wrong checksum", ("views/top.png", "input.corrupt", "damaged PNG: wrong checksum in its IDAT chunk"))
def _(given: Given) -> None:
    data = bytearray(VIEW)
    data[data.index(b"IDAT") + 40] ^= 0xFF
    given.put("views/top.png", bytes(data))


@files("pixels that do not unpack", ("views/top.png", "input.corrupt", "damaged PNG: its pixels cannot be unpacked"))
def _(given: Given) -> None:
    given.put("views/top.png", SIGNATURE + header(SIDE, SIDE) + chunk(b"IDAT", b"\x00" * 90) + chunk(b"IEND", b""))


@files("senseless header", ("views/top.png", "input.corrupt", "damaged PNG: its header (IHDR) makes no sense"))
def _(given: Given) -> None:
    given.put("views/top.png", SIGNATURE + header(SIDE, SIDE, bits=3) + chunk(b"IEND", b""))


@files("palette missing", ("views/top.png", "input.corrupt", "damaged PNG: its palette (PLTE) is missing"))
def _(given: Given) -> None:
    pixels = zlib.compress(bytes((SIDE + 1) * SIDE))
    data = SIGNATURE + header(SIDE, SIDE, colour=3) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    given.put("views/top.png", data)


@files(
    "pixel bomb",
    ("views/top.png", "input.too_many_pixels", "60000x60000 pixels; at most 16,777,216 pixels are accepted"),
)
def _(given: Given) -> None:
    given.put("views/top.png", SIGNATURE + header(60_000, 60_000) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


@files("file too large", ("views/top.png", "input.file_too_large", "0.2 MB; at most 0.1 MB are accepted for one file"))
def _(given: Given) -> None:
    given.put("views/top.png", VIEW[:-12] + chunk(b"paDd", bytes(200_000)) + VIEW[-12:])
    given.config = InputConfig(max_file_mb=0.1)


@files("1x1", ("views/top.png", "input.too_small", "1x1 pixels; at least 16x16 are needed"))
def _(given: Given) -> None:
    given.put("views/top.png", png(np.zeros((1, 1, 3), np.uint8)))


@files("15 rows", ("views/top.png", "input.too_small", "200x15 pixels; at least 16x16 are needed"))
def _(given: Given) -> None:
    given.put("views/top.png", png(np.zeros((15, 200, 3), np.uint8)))


@files("animated", ("views/top.png", "input.animated", "an animated PNG; a view is one still picture"))
def _(given: Given) -> None:
    stream = io.BytesIO()
    still = Image.fromarray(good_view())
    still.save(stream, "PNG", save_all=True, append_images=[still.rotate(90)], duration=100)
    given.put("views/top.png", stream.getvalue())


@files("a folder called front.png", ("views/front.png", "input.not_a_file", "a folder, where a PNG file is expected"))
def _(given: Given) -> None:
    (given.views / "front.png").unlink()
    (given.views / "front.png").mkdir()


@files("a link to nowhere", ("views/front.png", "input.unreadable", "a link that leads nowhere"))
def _(given: Given) -> None:
    (given.views / "front.png").unlink()
    (given.views / "front.png").symlink_to(given.root / "gone.png")


@files("a link to itself", ("views/front.png", "input.unreadable", "a link that leads nowhere"))
def _(given: Given) -> None:
    (given.views / "front.png").unlink()
    (given.views / "front.png").symlink_to(given.views / "front.png")


@files(
    "a name that is no text",
    (r"views/front\udcff.png", "input.bad_name", "its name holds characters that are no text; rename it"),
)
def _(given: Given) -> None:
    try:
        (given.views / "front.png").rename(given.views / os.fsdecode(b"front\xff.png"))
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")


@files(
    "three bad files, one report",
    ("views/back.png", "input.empty", "the file is empty (0 bytes)"),
    ("views/left.png", "input.not_png", "not a PNG: the content is text"),
    ("depth/top.png", "input.too_small", "8x8 pixels; at least 16x16 are needed"),
)
def _(given: Given) -> None:
    given.put("views/back.png", b"")
    given.put("views/left.png", b"hello")
    given.put("depth/top.png", png(np.ones((8, 8), np.uint8)))


# --- what the pictures show --------------------------------------------------------------------------------------


@files(
    "one blank view", ("views/left.png", "input.blank", "it shows one colour only, while other views show an object")
)
def _(given: Given) -> None:
    shutil.rmtree(given.depth)
    given.put("views/left.png", BLANK)


@files(
    "one view with empty alpha",
    ("views/left.png", "input.blank", "its alpha channel hides everything, while other views show an object"),
)
def _(given: Given) -> None:
    given.put("views/left.png", png(np.zeros((SIDE, SIDE, 4), np.uint8)))


@files(
    "no plain background",
    *[(f"views/{name}.png", "input.background", "no object stands out from a plain background") for name in VIEW_NAMES],
)
def _(given: Given) -> None:
    shutil.rmtree(given.depth)
    rng = np.random.default_rng(0)
    for name in VIEW_NAMES:
        given.put(f"views/{name}.png", png(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)))


@files("five depth renders", ("given/depth", "input.count", "expected 6 depth renders, found 5; missing: back"))
def _(given: Given) -> None:
    (given.depth / "back.png").unlink()


@files(
    "depth names that match no view",
    (
        "depth/middle.png",
        "input.unknown_view",
        "the name does not say which view it is, while other names do; there is none for back",
    ),
)
def _(given: Given) -> None:
    (given.depth / "back.png").rename(given.depth / "middle.png")


@files(
    "coloured depth",
    ("depth/back.png", "input.depth_colour", "a coloured picture; a depth render is grey (its channels are equal)"),
)
def _(given: Given) -> None:
    given.put("depth/back.png", png(good_view()[..., :3]))


@files(
    "one black depth render",
    ("depth/back.png", "input.depth_blank", "all black: this depth render shows no object, while others do"),
)
def _(given: Given) -> None:
    given.put("depth/back.png", png(np.zeros((SIDE, SIDE), np.uint8)))


@files("empty depth folder", ("elsewhere", "input.no_images", "no depth render in it; expected six PNG files"))
def _(given: Given) -> None:
    given.depth_dir = given.root.parent / "elsewhere"
    given.depth_dir.mkdir()


# --- ZIP ---------------------------------------------------------------------------------------------------------


@files("ZIP that climbs out", ("../front.png", "input.path_escape", "its name leads out of the archive"))
def _(given: Given) -> None:
    given.zip([*entries("front"), ("../front.png", VIEW)])


@files("ZIP with an absolute name", ("/etc/front.png", "input.path_escape", "its name leads out of the archive"))
def _(given: Given) -> None:
    given.zip([*entries("front"), ("/etc/front.png", VIEW)])


@files(
    "encrypted ZIP",
    *[(f"{name}.png", "input.encrypted", "encrypted; pack the archive without a password") for name in VIEW_NAMES],
)
def _(given: Given) -> None:
    given.zip(entries())
    data = bytearray(given.path.read_bytes())
    # The flag in every local header (offset 6) and directory entry (offset 8) is all that marks encryption.
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(mark)
        while start >= 0:
            data[start + offset] |= 1
            start = data.find(mark, start + 4)
    given.path.write_bytes(bytes(data))


@files("ZIP bomb", ("front.png", "input.zip_bomb", "unpacks to 1028 times its size; at most 200 is accepted"))
def _(given: Given) -> None:
    given.zip([*entries("front"), ("front.png", bytes(30_000_000))])


@files(
    "ZIP that unpacks to too much",
    ("input.zip", "input.total_too_large", "unpacks to 0.6 MB; at most 0.1 MB are accepted"),
)
def _(given: Given) -> None:
    noise = np.random.default_rng(0).bytes(100_000)
    given.zip([(f"{name}.png", noise) for name in VIEW_NAMES])
    given.config = InputConfig(max_set_mb=0.1)


@files("ZIP with nothing", ("input.zip", "input.no_images", "no image in it"))
def _(given: Given) -> None:
    given.zip([])


@files("ZIP with only an operating system's notes", ("input.zip", "input.no_images", "no image in it"))
def _(given: Given) -> None:
    given.zip([("__MACOSX/._front.png", VIEW), (".DS_Store", b"x"), ("Thumbs.db", b"x")])


@files("cut-off ZIP", ("input.zip", "input.archive", "a damaged ZIP: it ends early or its directory is broken"))
def _(given: Given) -> None:
    given.zip(entries())
    given.path.write_bytes(given.path.read_bytes()[:-200])


@files("empty ZIP file", ("input.zip", "input.archive", "the file is empty (0 bytes)"))
def _(given: Given) -> None:
    given.path = given.root.parent / "input.zip"
    given.path.write_bytes(b"")


@files("damage inside a ZIP", ("front.png", "input.archive_entry", "damaged inside the archive; pack it again"))
def _(given: Given) -> None:
    given.zip([("front.png", VIEW), *entries("front")])
    data = bytearray(given.path.read_bytes())
    data[200] ^= 0xFF
    given.path.write_bytes(bytes(data))


@files(
    "ZIP in a ZIP",
    ("more.zip", "input.nested_archive", "an archive inside the archive; pack the images themselves"),
)
def _(given: Given) -> None:
    given.zip([*entries(), ("more.zip", b"PK")])


@files(
    "two files of one name in a ZIP", ("front.png", "input.duplicate_entry", "the archive holds two files of this name")
)
def _(given: Given) -> None:
    given.path = given.root.parent / "input.zip"
    with zipfile.ZipFile(given.path, "w") as archive:
        for name, data in entries():
            archive.writestr(name, data)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("front.png", VIEW)


@files("a link in a ZIP", ("front.png", "input.not_a_file", "a link, where a file is expected"))
def _(given: Given) -> None:
    link = zipfile.ZipInfo("front.png")
    link.create_system = 3
    link.external_attr = 0o120777 << 16
    given.zip([*entries("front"), (link, b"/etc/passwd")])


@files("too many entries in a ZIP", ("input.zip", "input.too_many_files", "5001 entries; at most 5000 are accepted"))
def _(given: Given) -> None:
    given.zip([(f"{index}.txt", b"") for index in range(5001)])


FEWER = "expected 3 views (front, left, top), "
UNKNOWN = "the name does not say which view it is, while other names do"


@files("five views in a ZIP", ("input.zip", "input.count", "expected 6 views, found 5; missing: back"))
def _(given: Given) -> None:
    given.zip(entries("back"))


# --- NeRF-synthetic ----------------------------------------------------------------------------------------------


@cameras("cameras are not JSON", "transforms_train.json is not JSON (line 1).")
def _(given: Given) -> None:
    given.put("transforms_train.json", b'{"frames": [')


@cameras("cameras are binary", "transforms_train.json is not JSON.")
def _(given: Given) -> None:
    given.put("transforms_train.json", b"\xff\xfe\x00\xd8\x00")


@cameras("no frames", "transforms_train.json has no frames.")
def _(given: Given) -> None:
    given.nerf(lambda document: document.update(frames=[]))


@cameras("a list instead of an object", "transforms_train.json has no frames.")
def _(given: Given) -> None:
    given.put("transforms_train.json", b"[1, 2]")


@files(
    "a picture is missing",
    ("./views/nothing", "input.missing", "named by the camera file, but not there"),
)
def _(given: Given) -> None:
    given.nerf(lambda document: document["frames"][2].update(file_path="./views/nothing"))


@files("a picture outside", ("../../secret", "input.path_escape", "its name leads out of the folder"))
def _(given: Given) -> None:
    given.nerf(lambda document: document["frames"][2].update(file_path="../../secret"))


@files("size mismatch", ("views/back.png", "input.size_mismatch", "48x48 pixels, but the camera file says 64x48"))
def _(given: Given) -> None:
    given.nerf(lambda document: document["frames"][1].update(w=64, h=48))


# --- some of the views -------------------------------------------------------------------------------------------


@files("a view that was asked for is missing", ("given/views", "input.count", FEWER + "found 2; missing: top"))
def _(given: Given) -> None:
    for name in ("top", "bottom", "back", "right"):
        (given.views / f"{name}.png").unlink()
    given.config = InputConfig(views="front,left,top")


@files(
    "a view that was asked for is misspelt, and a picture is bad",
    ("views/tpo.png", "input.unknown_view", UNKNOWN + "; there is none for top"),
    ("views/left.png", "input.empty", "the file is empty (0 bytes)"),
)
def _(given: Given) -> None:
    (given.views / "top.png").rename(given.views / "tpo.png")
    (given.views / "left.png").write_bytes(b"")
    given.config = InputConfig(views="front,left,top")


@cameras("cameras of some views", "cameras.json has no camera for: top.")
def _(given: Given) -> None:
    given.nerf(lambda document: document["frames"].pop(4))
    (given.root / "transforms_train.json").rename(given.root / "cameras.json")
    given.config = InputConfig(cameras=given.root / "cameras.json", views="front,back,top")


def faulty(message: str) -> str:
    return f"transforms_train.json: 1 faults in its cameras:\n  frame 1 (./views/back): {message}\n"


@cameras("matrix with NaN", faulty("transform_matrix holds a value that is not finite"))
def _(given: Given) -> None:
    given.nerf(lambda document: document["frames"][1]["transform_matrix"][0].__setitem__(3, math.nan))


@cameras("matrix of 3x4", faulty("transform_matrix is 3x4, expected 4x4"))
def _(given: Given) -> None:
    given.nerf(lambda document: document["frames"][1]["transform_matrix"].pop())


@cameras("matrix of words", faulty("transform_matrix is not a 4x4 table of numbers"))
def _(given: Given) -> None:
    given.nerf(lambda document: document["frames"][1].update(transform_matrix=[["a"] * 4] * 4))


@cameras("sheared matrix", faulty("the 3x3 of transform_matrix is not a rotation"))
def _(given: Given) -> None:
    given.nerf(lambda document: document["frames"][1]["transform_matrix"][0].__setitem__(1, 0.3))


@cameras(
    "mirrored matrix",
    faulty("transform_matrix mirrors; expected a rotation in OpenGL axes (x right, y up, looks along -z)"),
)
def _(given: Given) -> None:
    given.nerf(lambda document: document["frames"][1]["transform_matrix"][2].__setitem__(2, -1.0))


@cameras("transposed matrix", faulty("the last row of transform_matrix is not 0 0 0 1 (is it transposed?)"))
def _(given: Given) -> None:
    given.nerf(lambda document: document["frames"][1]["transform_matrix"][3].__setitem__(0, 2.0))


@cameras("no matrix", faulty("it has no transform_matrix"))
def _(given: Given) -> None:
    given.nerf(lambda document: document["frames"][1].pop("transform_matrix"))


@cameras(
    "lens distortion", faulty("its lens is distorted; undistort the images first (only pinhole cameras are known)")
)
def _(given: Given) -> None:
    given.nerf(lambda document: document["frames"][1].update(k1=0.1))


@cameras(
    "no angle",
    "transforms_train.json: 6 faults in its cameras:\n"
    + "".join(
        f"  frame {index} (./views/{name}): no focal length: neither fl_x nor camera_angle_x is given\n"
        for index, name in enumerate(VIEW_NAMES)
    ),
)
def _(given: Given) -> None:
    given.nerf(lambda document: document.pop("camera_angle_x"))


@files("a broken picture in a posed set", ("views/back.png", "input.empty", "the file is empty (0 bytes)"))
def _(given: Given) -> None:
    given.nerf()
    given.put("views/back.png", b"")


@files(
    "depth renders missing for a posed set",
    *[(f"{name}.png", "input.missing", "no depth render of this name in elsewhere") for name in VIEW_NAMES],
)
def _(given: Given) -> None:
    given.nerf()
    given.depth_dir = given.root.parent / "elsewhere"
    given.depth_dir.mkdir()


# --- cameras given beside six views ------------------------------------------------------------------------------


@cameras("camera file missing", "Camera file 'cameras.json' cannot be read.")
def _(given: Given) -> None:
    given.config = InputConfig(cameras=given.root / "cameras.json")


@cameras("camera file without the top", "cameras.json has no camera for: top.")
def _(given: Given) -> None:
    given.nerf(lambda document: document["frames"].pop(4))
    (given.root / "transforms_train.json").rename(given.root / "cameras.json")
    given.config = InputConfig(cameras=given.root / "cameras.json")


@cameras(
    "cameras of another frame shape",
    "cameras.json: the camera of 'front' is 64x48, but views/front.png is 48x48: not the same shape of frame.",
)
def _(given: Given) -> None:
    given.nerf(lambda document: document.update(w=64, h=48))
    (given.root / "transforms_train.json").rename(given.root / "cameras.json")
    given.config = InputConfig(cameras=given.root / "cameras.json")


def _everything(folder: Path) -> dict[str, bytes | None]:
    """Every name below a folder with its content: what must not change."""
    found: dict[str, bytes | None] = {}
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(parent) / name
            found[os.path.relpath(path, folder)] = path.read_bytes() if path.is_file() else None
    return found


@pytest.mark.parametrize("name", ROWS)
def test_bad_input(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = ROWS[name]
    root = tmp_path / "work" / "given"
    for folder, data in (("views", VIEW), ("depth", DEPTH)):
        (root / folder).mkdir(parents=True)
        for view in VIEW_NAMES:
            (root / folder / f"{view}.png").write_bytes(data)
    given = Given(root=root, path=root)
    row.build(given)

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.chdir(scratch)
    before = _everything(tmp_path)
    with pytest.raises(MeshwrightError) as caught:
        read_inputs(given.path, given.config, depth_dir=given.depth_dir)

    error = caught.value
    assert type(error) is row.error
    if isinstance(row.faults, str):
        assert error.code == "camera.unresolved"
        assert error.message == row.faults
    else:
        assert isinstance(error, InputFilesError)
        assert error.code == "input.files"
        assert [(fault.file, fault.code, fault.message) for fault in error.faults] == row.faults
    # Whoever reads it on a terminal or through the service sees no path of this machine.
    assert str(tmp_path) not in str(error)
    str(error).encode("utf-8")
    json.dumps(error.details)
    assert _everything(tmp_path) == before


def test_the_table_is_long_and_the_good_input_is_good(tmp_path: Path) -> None:
    """Each row breaks one thing of an input that is otherwise accepted."""
    assert len(ROWS) >= 25
    for name in VIEW_NAMES:
        (tmp_path / f"{name}.png").write_bytes(VIEW)
        (tmp_path / f"{name}_depth.png").write_bytes(DEPTH)
    views = read_inputs(tmp_path)
    assert [view.name for view in views.views] == list(VIEW_NAMES)
    assert all(view.depth is not None for view in views.views)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth_unit": "yard"}, "depth_unit='yard' is not known"),
        ({"depth_unit": -1.0}, "is not a length above 0"),
        ({"depth_unit": "mm", "depth_kind": "linear"}, "contradicts depth_kind='linear'"),
        ({"max_file_mb": 0}, "max_file_mb=0 is not above 0"),
        ({"max_pixels": 10}, "max_pixels=10 is not between"),
        ({"views": "front"}, "views='front': one picture does not say how deep"),
        ({"views": ""}, "views='': '' is no view"),
        ({"views": "front, frnt,front,side"}, "'frnt' is no view; 'side' is no view; 'front' is named twice"),
        ({"views": ("top", "bottom")}, "views='top,bottom': these two face each other"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    from meshwright.types import DepthKind

    if "depth_kind" in options:
        options = {**options, "depth_kind": DepthKind(options["depth_kind"])}
    with pytest.raises(OptionError, match=message):
        InputConfig(**options)  # type: ignore[arg-type]
