"""Find six views and their depth renders among the files that were given.

Layouts: `views/` with `depth/` or `depth_renders/` beside it; one folder with `front.png ... front_depth.png ...`;
the six views at the top with a depth folder below; depth in a folder of its own, named by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from meshwright.errors import FileFault, InputFilesError
from meshwright.inputs.faults import Faults
from meshwright.inputs.names import match_names, read_name
from meshwright.inputs.source import Blob, Source
from meshwright.types import VIEW_NAMES

__all__ = ["SixFiles", "find_six"]

_VIEW_FOLDERS = ("views", "view", "rgb", "images")
_DEPTH_FOLDERS = ("depth", "depth_renders", "depths", "depth_maps")
_IMAGE_ENDINGS = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".avif", ".heic", ".exr", ".hdr"),
}


@dataclass(frozen=True, kw_only=True)
class SixFiles:
    """Which file shows which view; names are as the user knows them.

    Attributes:
        views, depth: View name to (file name, file); `depth` is empty where none was given, both where the names
            are at fault.
        all_views, all_depth: Every file of either sort, by file name, to be judged whatever its name says.
        warnings: What was found odd but usable.
    """

    views: dict[str, tuple[str, Blob]]
    depth: dict[str, tuple[str, Blob]]
    all_views: dict[str, Blob]
    all_depth: dict[str, Blob]
    warnings: tuple[str, ...]


def find_six(source: Source, depth_source: Source | None, faults: Faults) -> SixFiles:
    """Sort the files into six views and none or six depth renders.

    Args:
        source: Folder or ZIP with the views.
        depth_source: Folder with depth renders named by the caller, else None.
        faults: Where to note what is wrong with names and counts.

    Raises:
        InputFilesError: there is no image at all.
    """
    warnings: list[str] = []
    view_folder = _pick(source, _VIEW_FOLDERS)
    if view_folder is None and not _images(source, ""):
        view_folder = _only_folder_with_images(source)
    views = _images(source, view_folder or "")
    # In a folder of views a depth render is told by its name.
    flat_depth = {name: blob for name, blob in views.items() if read_name(name).is_depth}
    if flat_depth and len(flat_depth) < len(views):
        views = {name: blob for name, blob in views.items() if name not in flat_depth}
    else:
        flat_depth = {}
    if not views:
        raise InputFilesError(
            [FileFault(file=source.label, code="input.no_images", message="no image in it")],
            hint=f"Put six PNG files in it: {', '.join(f'{name}.png' for name in VIEW_NAMES)}.",
        )

    depth, depth_label = flat_depth, source.label
    if depth_source is not None:
        # Named with its folder: otherwise both `front.png` would be called the same in messages.
        depth_label = depth_source.label
        depth = {f"{depth_label}/{name}": blob for name, blob in _images(depth_source, "").items()}
        if not depth:
            faults.add(depth_label, "input.no_images", "no depth render in it; expected six PNG files")
    elif not flat_depth:
        depth_folder = _pick(source, _DEPTH_FOLDERS)
        if depth_folder is not None:
            depth, depth_label = _images(source, depth_folder), f"{source.label}/{depth_folder}"
        else:
            unused = sorted(name for name in source.folders() if name.lower().startswith("depth") and "/" not in name)
            if unused:
                warnings.append(f"Depth was not used: name one of {', '.join(unused)} as the depth folder.")

    view_label = f"{source.label}/{view_folder}" if view_folder else source.label
    matched = _match(list(views), "view", view_label, faults, warnings)
    depth_matched = _match(list(depth), "depth render", depth_label, faults, warnings) if depth else {}
    return SixFiles(
        views={view: (name, views[name]) for view, name in matched.items()},
        depth={view: (name, depth[name]) for view, name in depth_matched.items()},
        all_views=views,
        all_depth=depth,
        warnings=tuple(warnings),
    )


def _match(names: list[str], what: str, label: str, faults: Faults, warnings: list[str]) -> dict[str, str]:
    matched, by_name = match_names(names, what, label, faults)
    if matched and not by_name:
        order = ", ".join(f"{view}={matched[view]}" for view in VIEW_NAMES)
        warnings.append(f"No {what}'s file name says which view it shows; they were taken in order: {order}.")
    return matched


def _images(source: Source, folder: str) -> dict[str, Blob]:
    """Files directly in `folder` that claim to be pictures; notes and JSON beside them are no concern of ours."""
    return {
        path: blob
        for path, blob in source.files.items()
        if PurePosixPath(path).parent == PurePosixPath(folder or ".")
        and PurePosixPath(path).suffix.lower() in _IMAGE_ENDINGS
    }


def _pick(source: Source, wanted: tuple[str, ...]) -> str | None:
    """The first of the wanted folder names that exists and holds an image."""
    folders = {name.lower(): name for name in source.folders() if name and "/" not in name}
    for name in wanted:
        if name in folders and _images(source, folders[name]):
            return folders[name]
    return None


def _only_folder_with_images(source: Source) -> str | None:
    """A folder of any name, when it is the only one that holds images and is not a depth folder."""
    holders = [name for name in source.folders() if _images(source, name) and not read_name(name).is_depth]
    return holders[0] if len(holders) == 1 else None
