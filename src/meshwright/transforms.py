"""Camera files in the NeRF-synthetic form: `transforms_train.json` and our own `cameras.json`.

Per frame: `file_path` and `transform_matrix` (camera to world, 4x4, OpenGL axes: x right, y up, looks along -z).
Intrinsics stand in the frame or, for all frames, at the top: `fl_x, fl_y, cx, cy, w, h` in pixels, or
`camera_angle_x` (horizontal field of view in radians). A frame's own value wins, and `fl_x` wins over the angle.
Without `w` and `h` the size is read from the header of the image that `file_path` names.

A uniform scale in the upper 3x3 (a scaled camera object in Blender) does not change what a camera sees and is taken
out; shear, unequal scale and mirroring are refused.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from meshwright.errors import CameraError, OutputError
from meshwright.types import Array, Camera

__all__ = ["find_image", "parse_cameras", "png_size", "read_cameras", "write_cameras"]

_ORTHONORMAL = 2e-3
"""How far the normalised 3x3 may be from a rotation, per entry: files with three decimals pass."""
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")

SizeOf = Callable[[str], tuple[int, int] | None]


def read_cameras(path: Path) -> tuple[tuple[str, Camera], ...]:
    """Cameras of a NeRF-synthetic JSON file, in file order.

    Args:
        path: The JSON file; images are looked for relative to its folder, only where `w` and `h` are missing.

    Returns:
        Pairs of `file_path` as written and the camera, whose name is the stem of `file_path`.

    Raises:
        CameraError: the file cannot be read or is not this form; names every fault.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise CameraError(
            f"Camera file {path.name!r} cannot be read.", hint="Give the path of a camera JSON file."
        ) from error

    def size_of(file_path: str) -> tuple[int, int] | None:
        for candidate in find_image(file_path):
            size = png_size(path.parent / candidate)
            if size is not None:
                return size
        return None

    return parse_cameras(text, path.name, size_of)


def find_image(file_path: str) -> tuple[str, ...]:
    """Names under which the image of a frame may lie: as written, and with `.png`."""
    plain = str(PurePosixPath(file_path.replace("\\", "/")))
    return (plain,) if plain.lower().endswith(".png") else (f"{plain}.png", plain)


def png_size(path: Path) -> tuple[int, int] | None:
    """Width and height from a PNG's header, None where there is no such PNG."""
    try:
        with path.open("rb") as stream:
            head = stream.read(24)
    except OSError:
        return None
    if len(head) < 24 or not head.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    width, height = struct.unpack(">II", head[16:24])
    return int(width), int(height)


def parse_cameras(text: bytes, label: str, size_of: SizeOf) -> tuple[tuple[str, Camera], ...]:
    """What `read_cameras` does, for text from anywhere (a ZIP).

    Args:
        text: The JSON document.
        label: What to call it in messages.
        size_of: Gives (width, height) of the image a `file_path` names, or None.

    Raises:
        CameraError: names every fault.
    """
    try:
        document = json.loads(text)
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise CameraError(f"{label} is not JSON{where}.", hint="Is it cut short, or another file?") from error
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(frames, list) or not frames:
        raise CameraError(f"{label} has no frames.", hint="The NeRF-synthetic form needs a list named 'frames'.")
    cameras: list[tuple[str, Camera]] = []
    faults: list[str] = []
    for index, frame in enumerate(frames):
        try:
            cameras.append(_parse_frame(frame, document, size_of))
        except _FrameError as error:
            name = frame.get("file_path") if isinstance(frame, dict) else None
            faults.append(f"frame {index}{f' ({name})' if isinstance(name, str) else ''}: {error}")
    paths = [file_path for file_path, _ in cameras]
    faults += [f"{name} appears {paths.count(name)} times" for name in dict.fromkeys(paths) if paths.count(name) > 1]
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise CameraError(f"{label}: {len(faults)} faults in its cameras:\n{lines}\n", faults=faults)
    return tuple(cameras)


class _FrameError(Exception):
    """One frame cannot be used."""


def _parse_frame(frame: object, document: Mapping[str, Any], size_of: SizeOf) -> tuple[str, Camera]:
    if not isinstance(frame, dict):
        raise _FrameError("it is not an object")
    file_path = frame.get("file_path")
    if not isinstance(file_path, str) or not file_path or "\0" in file_path:
        raise _FrameError("it has no file_path")
    matrix = _parse_matrix(frame.get("transform_matrix"))
    values = {**document, **frame}
    if any(abs(_number(values, key) or 0.0) > 1e-9 for key in _DISTORTION) or values.get("is_fisheye"):
        raise _FrameError("its lens is distorted; undistort the images first (only pinhole cameras are known)")
    width, height = _parse_size(values, file_path, size_of)
    fl_x, fl_y = _parse_focal(frame, document, width, height)
    cx, cy = _number(values, "cx"), _number(values, "cy")
    camera = Camera(
        name=PurePosixPath(file_path.replace("\\", "/")).name.removesuffix(".png"),
        camera_to_world=matrix,
        fl_x=fl_x,
        fl_y=fl_y,
        cx=width / 2 if cx is None else cx,
        cy=height / 2 if cy is None else cy,
        width=width,
        height=height,
    )
    return file_path, camera


def _number(values: Mapping[str, Any], key: str) -> float | None:
    """A finite number, None where the key is absent."""
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _FrameError(f"{key} is {value!r}, which is not a finite number")
    return float(value)


def _parse_matrix(value: object) -> Array:
    """Camera to world, float64 [4, 4], its 3x3 an exact rotation."""
    if value is None:
        raise _FrameError("it has no transform_matrix")
    try:
        matrix = np.asarray(value, np.float64)
    except (ValueError, TypeError):
        raise _FrameError("transform_matrix is not a 4x4 table of numbers") from None
    if matrix.shape != (4, 4):
        shape = "x".join(map(str, matrix.shape)) or "a single value"
        raise _FrameError(f"transform_matrix is {shape}, expected 4x4")
    if not np.isfinite(matrix).all():
        raise _FrameError("transform_matrix holds a value that is not finite")
    if np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise _FrameError("the last row of transform_matrix is not 0 0 0 1 (is it transposed?)")
    axes = matrix[:3, :3]
    determinant = float(np.linalg.det(axes))
    if determinant < 0:
        raise _FrameError(
            "transform_matrix mirrors; expected a rotation in OpenGL axes (x right, y up, looks along -z)"
        )
    scale = determinant ** (1 / 3)
    if scale < 1e-6 or np.abs(axes.T @ axes / scale**2 - np.eye(3)).max() > 2 * _ORTHONORMAL:
        raise _FrameError("the 3x3 of transform_matrix is not a rotation")
    left, _, right = np.linalg.svd(axes / scale)
    rigid = np.eye(4)
    rigid[:3, :3] = left @ right
    rigid[:3, 3] = matrix[:3, 3]
    return rigid


def _parse_size(values: Mapping[str, Any], file_path: str, size_of: SizeOf) -> tuple[int, int]:
    width, height = _number(values, "w"), _number(values, "h")
    if width is None or height is None:
        size = size_of(file_path)
        if size is None:
            raise _FrameError("the image size is not known: no w and h, and no readable image")
        return size
    if width < 1 or height < 1 or width != int(width) or height != int(height):
        raise _FrameError(f"the image size {width:g}x{height:g} makes no sense")
    return int(width), int(height)


def _parse_focal(frame: Mapping[str, Any], document: Mapping[str, Any], width: int, height: int) -> tuple[float, float]:
    """Focal lengths in pixels; the frame's own come first, whichever way they are given."""
    for values in (frame, document):
        fl_x, fl_y = _number(values, "fl_x"), _number(values, "fl_y")
        if fl_x is None:
            fl_x = _focal_from_angle(values, "camera_angle_x", width)
            if fl_y is None:
                fl_y = _focal_from_angle(values, "camera_angle_y", height)
        if fl_x is not None:
            fl_y = fl_x if fl_y is None else fl_y
            if fl_x <= 0 or fl_y <= 0:
                raise _FrameError(f"its focal length ({fl_x:g}, {fl_y:g}) is not above 0")
            return fl_x, fl_y
    raise _FrameError("no focal length: neither fl_x nor camera_angle_x is given")


def _focal_from_angle(values: Mapping[str, Any], key: str, pixels: int) -> float | None:
    angle = _number(values, key)
    if angle is None:
        return None
    if not 1e-4 < angle < math.pi - 1e-4:
        raise _FrameError(f"{key}={angle:g} is not between 0 and pi radians")
    return pixels / (2 * math.tan(angle / 2))


def write_cameras(
    path: Path,
    cameras: Sequence[Camera],
    file_paths: Sequence[str],
    *,
    depth_paths: Sequence[str | None] | None = None,
) -> None:
    """Write cameras in the NeRF-synthetic form, with `fl_x, fl_y, cx, cy, w, h` in every frame.

    `camera_angle_x` stands at the top when all cameras share it (to a millionth), else in each frame, so that plain
    NeRF readers find it too.

    Args:
        path: Where to write; its folder must exist. The file appears whole or not at all.
        cameras: What to write.
        file_paths: One per camera, relative to the file's folder.
        depth_paths: Likewise for depth renders (`depth_file_path` in the frame), None where a frame has none.

    Raises:
        CameraError: counts differ.
        OutputError: the file cannot be written.
    """
    depth = [None] * len(cameras) if depth_paths is None else list(depth_paths)
    if not len(cameras) == len(file_paths) == len(depth):
        raise CameraError(f"{len(cameras)} cameras but {len(file_paths)} file names and {len(depth)} depth names.")
    angles = [2 * math.atan(camera.width / (2 * camera.fl_x)) for camera in cameras]
    shared = bool(angles) and max(angles) - min(angles) < 1e-6
    document: dict[str, object] = {"camera_angle_x": angles[0]} if shared else {}
    document["frames"] = [
        {
            "file_path": file_path,
            **({} if depth_path is None else {"depth_file_path": depth_path}),
            **({} if shared else {"camera_angle_x": angle}),
            "fl_x": float(camera.fl_x),
            "fl_y": float(camera.fl_y),
            "cx": float(camera.cx),
            "cy": float(camera.cy),
            "w": int(camera.width),
            "h": int(camera.height),
            "transform_matrix": np.asarray(camera.camera_to_world, np.float64).tolist(),
        }
        for camera, file_path, depth_path, angle in zip(cameras, file_paths, depth, angles, strict=True)
    ]
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"Camera file {path.name!r} cannot be written: {error.strerror}.") from error
