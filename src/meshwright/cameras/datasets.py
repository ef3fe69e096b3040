"""Datasets in NeRF-synthetic form: `images/`, `depth/` where there is depth, and `transforms_train.json`."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from meshwright.colour import linear_to_srgb
from meshwright.errors import CameraError, OptionError, OutputError, ShapeError
from meshwright.transforms import find_image, png_size, read_cameras, write_cameras
from meshwright.types import Array, Camera, DepthMap, View, ViewSet

__all__ = ["validate_nerf_dataset", "write_nerf_dataset"]

_CAMERA_FILE = "transforms_train.json"
_SIDES = (16, 8192)


def write_nerf_dataset(views: ViewSet, cameras: Sequence[Camera], output_dir: Path, image_size: int) -> None:
    """Write views as a NeRF-synthetic dataset.

    Args:
        views: What to write; names become file names.
        cameras: One per view, in pixels of the views; they are rescaled with the pictures.
        output_dir: Is made where missing; older files of the same names are replaced, the camera file last, so that a
            broken run leaves no camera file that names missing pictures.
        image_size: Longer side of the pictures in pixels; shorter sides follow.

    Raises:
        OptionError: `image_size` is out of range.
        ShapeError: views and cameras do not fit together.
        OutputError: files cannot be written.
    """
    if not _SIDES[0] <= image_size <= _SIDES[1]:
        raise OptionError(f"image_size={image_size} is not between {_SIDES[0]} and {_SIDES[1]} pixels.")
    if len(views.views) != len(cameras):
        raise ShapeError(f"{len(views.views)} views but {len(cameras)} cameras.")
    for view, camera in zip(views.views, cameras, strict=True):
        if (view.width, view.height) != (camera.width, camera.height):
            raise ShapeError(
                f"View {view.name!r} is {view.width}x{view.height}, its camera {camera.width}x{camera.height} pixels."
            )
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial_", dir=output_dir) as name:
            stage = Path(name)
            made = _write_files(views, cameras, stage, image_size)
            for relative in made:
                target = output_dir / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(stage / relative, target)
    except OSError as error:
        raise OutputError(
            f"The dataset cannot be written: {error.strerror or error}.", hint="Is there room and permission?"
        ) from error


def _write_files(views: ViewSet, cameras: Sequence[Camera], folder: Path, image_size: int) -> list[str]:
    """Everything, under `folder`; returns relative names, the camera file last."""
    images: list[str] = []
    depth: list[str | None] = []
    scaled: list[Camera] = []
    for view, camera in zip(views.views, cameras, strict=True):
        size = _fit(view, image_size)
        stem = view.name.replace("/", "_")
        images.append(f"images/{stem}.png")
        _save(_rgba(view, size), folder / images[-1])
        depth.append(None)
        if view.depth is not None:
            depth[-1] = f"depth/{stem}.png"
            _save(_depth_codes(view.depth, size), folder / f"depth/{stem}.png")
        scaled.append(camera.resized(*size))
    if len(set(images)) < len(images):
        raise ShapeError("Two views have the same name.")
    # Readers of this form append `.png` themselves.
    write_cameras(folder / _CAMERA_FILE, scaled, [path.removesuffix(".png") for path in images], depth_paths=depth)
    return [*images, *(path for path in depth if path is not None), _CAMERA_FILE]


def _fit(view: View, image_size: int) -> tuple[int, int]:
    factor = image_size / max(view.width, view.height)
    return max(1, round(view.width * factor)), max(1, round(view.height * factor))


def _rgba(view: View, size: tuple[int, int]) -> Image.Image:
    """Straight alpha, sRGB, 8 bits; averaged in linear light with coverage as weight, so edges keep their colour."""
    mask = np.clip(view.mask, 0, 1).astype(np.float32)
    alpha = np.clip(_resize(mask, size), 0, 1)
    # A trace of weight everywhere: uncovered pixels keep the picture's colours instead of black.
    weight = mask * np.float32(0.999) + np.float32(0.001)
    total = _resize(weight, size)
    colour = np.stack([_resize(view.rgb[..., c] * weight, size) / total for c in range(3)], -1)
    pixels = np.concatenate([linear_to_srgb(colour), alpha[..., None]], -1)
    return Image.fromarray(np.round(pixels * 255).astype(np.uint8))


def _depth_codes(depth: DepthMap, size: tuple[int, int]) -> Image.Image:
    """The numbers of the file, in its own bit depth; never mixed across edges, so the nearest one is taken."""
    sixteen = depth.step < 1 / 255
    codes = np.round(np.where(depth.valid, depth.values, 0) * (65535 if sixteen else 255))
    rows = ((np.arange(size[1]) + 0.5) * codes.shape[0] / size[1]).astype(int)
    columns = ((np.arange(size[0]) + 0.5) * codes.shape[1] / size[0]).astype(int)
    return Image.fromarray(codes[rows[:, None], columns].astype(np.uint16 if sixteen else np.uint8))


def _resize(plane: Array, size: tuple[int, int]) -> Array:
    """Area averaging when shrinking, linear when enlarging; float32."""
    height, width = plane.shape
    smaller = size[0] < width or size[1] < height
    method = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane, np.float32)).resize(size, method))


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="PNG")


def validate_nerf_dataset(folder: Path | str) -> dict[str, object]:
    """Whether a folder is a whole NeRF-synthetic dataset.

    Checked: the camera file, that every picture it names is there, opens to its last byte and has the size its camera
    says.

    Args:
        folder: Holds `transforms_train.json`.

    Returns:
        `{"valid": True, "frame_count": int, "camera_angle_x": float}` (horizontal field of view of the first frame,
        radians), or `{"valid": False, "error": str}`. Never raises for what it finds.
    """
    folder = Path(folder)
    path = folder / _CAMERA_FILE
    if not path.is_file():
        return {"valid": False, "error": f"{_CAMERA_FILE} is missing"}
    try:
        pairs = read_cameras(path)
    except CameraError as error:
        return {"valid": False, "error": " ".join(str(error).split())}
    for file_path, camera in pairs:
        fault = _image_fault(folder, file_path, camera)
        if fault:
            return {"valid": False, "error": f"{file_path}: {fault}"}
    first = pairs[0][1]
    return {
        "valid": True,
        "frame_count": len(pairs),
        "camera_angle_x": _stated_angle(path) or 2 * math.atan(first.width / (2 * first.fl_x)),
    }


def _stated_angle(path: Path) -> float | None:
    """`camera_angle_x` as written at the top of the file: exactly what other readers will use."""
    value = json.loads(path.read_bytes()).get("camera_angle_x")
    return float(value) if isinstance(value, int | float) else None


def _image_fault(folder: Path, file_path: str, camera: Camera) -> str:
    image = next((folder / name for name in find_image(file_path) if (folder / name).is_file()), None)
    if image is None:
        return "the picture is missing"
    size = png_size(image)
    if size is None:
        return "the picture is not a PNG"
    if size != (camera.width, camera.height):
        return f"the picture is {size[0]}x{size[1]}, its camera {camera.width}x{camera.height} pixels"
    try:
        with Image.open(image, formats=("PNG",)) as opened:
            opened.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "the picture is damaged"
    return ""
