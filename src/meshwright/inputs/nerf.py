"""A posed image set in NeRF-synthetic form: which images, their cameras, and depth where there is some."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePosixPath

from meshwright.inputs.config import InputConfig
from meshwright.inputs.faults import BadFileError, Faults
from meshwright.inputs.source import Blob, Source, read_limited
from meshwright.transforms import find_image, parse_cameras
from meshwright.types import VIEW_NAMES, Camera

__all__ = ["PosedFiles", "find_posed", "is_posed"]

_CAMERA_FILES = ("transforms_train.json", "transforms.json")
_HEADER = 24


@dataclass(frozen=True, kw_only=True)
class PosedFiles:
    """Images of a posed set in frame order; six frames named as the six views come in their order.

    Attributes:
        names: View names, unique.
        images: (file name, file) per frame.
        depth: The same, None where a frame has no depth render.
        cameras: One per frame, named as in `names`.
    """

    names: tuple[str, ...]
    images: tuple[tuple[str, Blob], ...]
    depth: tuple[tuple[str, Blob] | None, ...]
    cameras: tuple[Camera, ...]


def is_posed(source: Source) -> bool:
    """Whether the top of what was given holds a camera file of the NeRF-synthetic form."""
    return any(name in source.files for name in _CAMERA_FILES)


def find_posed(source: Source, depth_source: Source | None, config: InputConfig) -> PosedFiles:
    """Read the camera file and find every image it names.

    Depth renders are named by `depth_file_path` in the frame, or lie in `depth_source` under the image's name (or
    `<name>_depth.png`).

    Raises:
        CameraError: the camera file cannot be used.
        InputFilesError: images are missing or lie outside what was given; lists all.
    """
    label = next(name for name in _CAMERA_FILES if name in source.files)
    faults = Faults()
    try:
        text = read_limited(source.files[label], config)
    except BadFileError as error:
        faults.add_error(label, error)
        faults.raise_if_any()
        raise AssertionError from error
    try:
        pairs = parse_cameras(text, label, lambda file_path: _size_in(source, file_path))
    except Exception:
        # A missing image is the deeper reason where its size is what the cameras lack.
        _check_missing(text, source, faults)
        faults.raise_if_any(hint=f"Every file_path of {label} names a PNG inside the same folder.")
        raise
    depth_paths = _depth_paths(text)
    images: list[tuple[str, Blob]] = []
    depth: list[tuple[str, Blob] | None] = []
    for file_path, _ in pairs:
        images.append(_find(source, file_path, faults))
        named = depth_paths.get(file_path)
        if named is not None:
            depth.append(_find(source, named, faults))
        else:
            depth.append(_depth_beside(depth_source, file_path, faults) if depth_source is not None else None)
    faults.raise_if_any(hint=f"Every file_path of {label} names a PNG inside the same folder.")
    names = _unique_names([camera.name for _, camera in pairs], [file_path for file_path, _ in pairs])
    order = [names.index(name) for name in VIEW_NAMES] if set(names) == set(VIEW_NAMES) else list(range(len(names)))
    return PosedFiles(
        names=tuple(names[i] for i in order),
        images=tuple(images[i] for i in order),
        depth=tuple(depth[i] for i in order),
        cameras=tuple(_renamed(pairs[i][1], names[i]) for i in order),
    )


def _inside(file_path: str) -> bool:
    path = PurePosixPath(file_path.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and path.parts[:1] != () and ":" not in path.parts[0]


def _find(source: Source, file_path: str, faults: Faults) -> tuple[str, Blob]:
    nothing = (file_path, Blob(size=0, read=lambda _: b""))
    if not _inside(file_path):
        faults.add(file_path, "input.path_escape", "its name leads out of the folder")
        return nothing
    for name in find_image(file_path):
        if name in source.files:
            return name, source.files[name]
    faults.add(file_path, "input.missing", "named by the camera file, but not there")
    return nothing


def _size_in(source: Source, file_path: str) -> tuple[int, int] | None:
    for name in find_image(file_path):
        blob = source.files.get(name)
        if blob is not None and blob.fault is None:
            try:
                head = blob.read(_HEADER)
            except BadFileError:
                return None
            if len(head) == _HEADER and head.startswith(b"\x89PNG\r\n\x1a\n"):
                return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
            # Any size will do here: decoding the file says what is really wrong with it.
            return 1, 1
    return None


def _frames(text: bytes) -> list[dict[str, object]]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return []
    frames = document.get("frames") if isinstance(document, dict) else None
    return [frame for frame in frames if isinstance(frame, dict)] if isinstance(frames, list) else []


def _check_missing(text: bytes, source: Source, faults: Faults) -> None:
    for frame in _frames(text):
        file_path = frame.get("file_path")
        if isinstance(file_path, str) and file_path:
            _find(source, file_path, faults)


def _depth_paths(text: bytes) -> dict[str, str]:
    return {
        str(frame["file_path"]): str(frame["depth_file_path"])
        for frame in _frames(text)
        if isinstance(frame.get("file_path"), str) and isinstance(frame.get("depth_file_path"), str)
    }


def _depth_beside(source: Source, file_path: str, faults: Faults) -> tuple[str, Blob] | None:
    stem = PurePosixPath(file_path.replace("\\", "/")).name.removesuffix(".png")
    for name in (f"{stem}.png", f"{stem}_depth.png", f"{stem}_depth_0001.png"):
        if name in source.files:
            return f"{source.label}/{name}", source.files[name]
    faults.add(f"{stem}.png", "input.missing", f"no depth render of this name in {source.label}")
    return None


def _unique_names(stems: list[str], paths: list[str]) -> list[str]:
    """Stems where they differ, else the whole path without its ending."""
    if len(set(stems)) == len(stems):
        return stems
    return [str(PurePosixPath(path.replace("\\", "/"))).removesuffix(".png") for path in paths]


def _renamed(camera: Camera, name: str) -> Camera:
    from dataclasses import replace

    return replace(camera, name=name)
