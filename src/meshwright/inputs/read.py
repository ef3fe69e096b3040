"""`read_inputs`: from what the user gave to judged, decoded views."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from meshwright.device import map_threads
from meshwright.errors import CameraError, OptionError
from meshwright.inputs.config import InputConfig
from meshwright.inputs.depth import decide_kind, read_depth
from meshwright.inputs.faults import BadFileError, Faults
from meshwright.inputs.folder import find_six
from meshwright.inputs.images import Picture, decode_png
from meshwright.inputs.light import linear_picture
from meshwright.inputs.masks import find_silhouette
from meshwright.inputs.names import read_name
from meshwright.inputs.nerf import find_posed, is_posed
from meshwright.inputs.source import Blob, Source, megabytes, open_source, read_limited
from meshwright.transforms import read_cameras
from meshwright.types import Camera, DepthKind, DepthMap, MaskSource, View, ViewSet

__all__ = ["Spread", "read_inputs"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Spread(Protocol):
    """How work on several pictures is spread over cores, as `map_threads` does."""

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """`[function(item) for item in items]`"""


_BLANK_WARNING = (
    "Nothing in the frame could be told from the background in any view: the whole frame counts as the object."
)
_MOST_JUDGED = 24
"""With more files than this their number is what is wrong, and decoding them all would only take time."""
_BLANK_HINT = "Photograph the object on a plain background, give PNGs with an alpha channel, or add depth renders."


def read_inputs(
    path: Path, config: InputConfig | None = None, *, depth_dir: Path | None = None, spread: Spread = map_threads
) -> ViewSet:
    """Read, judge and decode six views (+ depth), or a posed image set.

    Args:
        path: A folder or a ZIP. With `transforms_train.json` or `transforms.json` at its top it is a posed image set
            in NeRF-synthetic form, else it holds six views, or those that `config.views` names (layouts:
            `meshwright.inputs.folder`).
        config: Limits, what depth means, cameras given separately; defaults where None.
        depth_dir: Folder (or ZIP) of depth renders, where they do not lie with the views.
        spread: Calls a function with each of several items, and gives back what it returned: in one view after the
            other the object is found.

    Returns:
        Views in the order of `VIEW_NAMES` (frame order for posed sets), with cameras where they are given.

    Raises:
        InputFilesError: lists every file that cannot be used, and why.
        CameraError: a camera file cannot be used, or does not fit its images.
        OptionError: `config.views` names views of a posed image set.

    Can be stopped at any time through `device.checking`.
    """
    config = InputConfig() if config is None else config
    with ExitStack() as stack:
        source = stack.enter_context(open_source(Path(path), config))
        depth_source = None if depth_dir is None else stack.enter_context(open_source(Path(depth_dir), config))
        if is_posed(source) and config.cameras is None:
            if config.chosen_views is not None:
                raise OptionError(
                    f"{source.label} is a posed image set: views={','.join(config.chosen_views)!r} names none of it.",
                    hint="Take frames out of its camera file, or give a folder that holds the named views alone.",
                )
            return _read_posed(source, depth_source, config, spread)
        return _read_six(source, depth_source, config, spread)


def _read_six(source: Source, depth_source: Source | None, config: InputConfig, spread: Spread) -> ViewSet:
    faults = Faults()
    found = find_six(source, depth_source, faults, wanted=config.chosen_views)
    files_found = [*found.all_views.values(), *found.all_depth.values()]
    _check_total(files_found, source.label, config.max_total_mb, faults)
    if len(files_found) > _MOST_JUDGED:
        faults.raise_if_any(hint=found.hint)
    # Every image is decoded even when names or counts are wrong: one round of mending should be enough.
    pictures = _decode_all(found.all_views, config, faults)
    depth_pictures = _decode_all(found.all_depth, config, faults)
    depth_maps = _read_depth(depth_pictures, config, faults)
    faults.raise_if_any(hint=found.hint)
    files = {view: name for view, (name, _) in found.views.items()}
    depth = {view: depth_maps[name] for view, (name, _) in found.depth.items()}
    cameras = None if config.cameras is None else _given_cameras(config.cameras, files, pictures)
    warnings = list(found.warnings)
    views = _build_views(
        [(view, files[view], pictures[files[view]], depth.get(view)) for view in files],
        {view: name for view, (name, _) in found.depth.items()},
        faults,
        warnings,
        spread,
    )
    return ViewSet(views=views, cameras=cameras, warnings=tuple(warnings))


def _read_posed(source: Source, depth_source: Source | None, config: InputConfig, spread: Spread) -> ViewSet:
    faults = Faults()
    found = find_posed(source, depth_source, config)
    pictures = _decode_all(dict(found.images), config, faults)
    depth_files = {name: blob for name, blob in filter(None, found.depth)}
    depth_pictures = _decode_all(depth_files, config, faults)
    _check_total([*dict(found.images).values(), *depth_files.values()], source.label, config.max_set_mb, faults)
    depth_maps = _read_depth(depth_pictures, config, faults)
    faults.raise_if_any()
    rows = []
    for view, (name, _), depth, camera in zip(found.names, found.images, found.depth, found.cameras, strict=True):
        height, width = pictures[name].colour.shape[:2]
        if (camera.width, camera.height) != (width, height):
            faults.add(
                name,
                "input.size_mismatch",
                f"{width}x{height} pixels, but the camera file says {camera.width}x{camera.height}",
            )
        rows.append((view, name, pictures[name], depth_maps[depth[0]] if depth else None))
    faults.raise_if_any()
    depth_names = {view: depth[0] for view, depth in zip(found.names, found.depth, strict=True) if depth}
    warnings: list[str] = []
    views = _build_views(rows, depth_names, faults, warnings, spread)
    return ViewSet(views=views, cameras=found.cameras, warnings=tuple(warnings))


def _decode_all(files: dict[str, Blob], config: InputConfig, faults: Faults) -> dict[str, Picture]:
    def decode(item: tuple[str, Blob]) -> Picture | BadFileError:
        try:
            return decode_png(read_limited(item[1], config), max_pixels=config.max_pixels)
        except BadFileError as error:
            return error

    pictures: dict[str, Picture] = {}
    for name, result in zip(files, map_threads(decode, files.items()), strict=True):
        if isinstance(result, BadFileError):
            faults.add_error(name, result)
        else:
            pictures[name] = result
    return pictures


def _check_total(files: list[Blob], label: str, limit_mb: float, faults: Faults) -> None:
    total = sum(blob.size for blob in files)
    if total > limit_mb * 1e6:
        limit = megabytes(limit_mb * 1e6)
        faults.add(label, "input.total_too_large", f"{megabytes(total)} of images; at most {limit} are accepted")


def _read_depth(pictures: dict[str, Picture], config: InputConfig, faults: Faults) -> dict[str, DepthMap]:
    """Depth maps by file name; a blank one among others is a fault, all blank is no depth at all (empty maps)."""

    def read(picture: Picture) -> DepthMap | BadFileError:
        try:
            return read_depth(picture, config)
        except BadFileError as error:
            return error

    maps: dict[str, DepthMap] = {}
    for name, result in zip(pictures, map_threads(read, pictures.values()), strict=True):
        if isinstance(result, BadFileError):
            faults.add_error(name, result)
        else:
            maps[name] = result
    blank = [name for name, depth in maps.items() if not depth.valid.any()]
    if blank and len(blank) < len(maps):
        for name in blank:
            faults.add(name, "input.depth_blank", "all black: this depth render shows no object, while others do")
    elif maps and not blank and all(depth.kind is DepthKind.AUTO for depth in maps.values()):
        kind = decide_kind(list(maps.values()))
        maps = {name: replace(depth, kind=kind) for name, depth in maps.items()}
    return maps


def _given_cameras(path: Path, files: dict[str, str], pictures: dict[str, Picture]) -> tuple[Camera, ...]:
    """One camera per view from a separate camera file, in pixels of the views."""
    by_view: dict[str, Camera] = {}
    for file_path, camera in read_cameras(path):
        views = read_name(file_path).views
        if len(views) == 1 and not read_name(file_path).is_depth:
            by_view.setdefault(views[0], camera)
    missing = [view for view in files if view not in by_view]
    if missing:
        raise CameraError(
            f"{path.name} has no camera for: {', '.join(missing)}.",
            hint="Each frame's file_path must name its view (front, back, left, right, top, bottom).",
        )
    cameras = []
    for view in files:
        camera = by_view[view]
        height, width = pictures[files[view]].colour.shape[:2]
        if abs(camera.width * height - camera.height * width) > max(width, height):
            raise CameraError(
                f"{path.name}: the camera of {view!r} is {camera.width}x{camera.height}, but {files[view]} is "
                f"{width}x{height}: not the same shape of frame."
            )
        cameras.append(replace(camera.resized(width, height), name=view))
    return tuple(cameras)


def _build_views(
    rows: list[tuple[str, str, Picture, DepthMap | None]],
    depth_names: dict[str, str],
    faults: Faults,
    warnings: list[str],
    spread: Spread,
) -> tuple[View, ...]:
    """Masks, backgrounds and linear colour; blank views are faults unless all are blank."""

    def work(row: tuple[str, str, Picture, DepthMap | None]) -> tuple[View, str, str]:
        name, file, picture, depth = row
        usable = depth if depth is not None and depth.valid.any() else None
        silhouette = find_silhouette(picture, usable)
        view = View(
            name=name,
            rgb=linear_picture(silhouette.foreground),
            mask=silhouette.mask,
            mask_source=silhouette.source,
            background=linear_picture(silhouette.background),
            depth=usable,
            source=file,
        )
        return view, silhouette.code, silhouette.reason

    found = spread(work, rows)
    views = tuple(view for view, _, _ in found)
    blank = [row for row in found if row[0].mask_source is MaskSource.NONE]
    if blank and len(blank) == len(views) and all(code == "input.blank" for _, code, _ in blank):
        warnings.append(_BLANK_WARNING)
        if depth_names:
            warnings.append("The depth renders are all black and were not used.")
        return tuple(replace(view, mask=np.ones_like(view.mask)) for view in views)
    for view, code, reason in blank:
        hint = "" if len(blank) == len(views) else ", while other views show an object"
        faults.add(view.source, code, f"{reason}{hint}")
    faults.raise_if_any(hint=_BLANK_HINT)
    return views
