"""Find six views and their depth renders among the files that were given.

Layouts: `views/` with `depth/` or `depth_renders/` beside it; one folder with `front.png ... front_depth.png ...`;
the six views at the top with a depth folder below; depth in a folder of its own, named by the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        hint: What to do about a view that is missing; empty where none is.
    """

    views: dict[str, tuple[str, Blob]]
    depth: dict[str, tuple[str, Blob]]
    all_views: dict[str, Blob]
    all_depth: dict[str, Blob]
    warnings: tuple[str, ...]
    hint: str = ""


def find_six(
    source: Source, depth_source: Source | None, faults: Faults, *, wanted: Sequence[str] | None = None
) -> SixFiles:
    """Sort the files into six views and none or six depth renders, or fewer where the caller says so.

    Args:
        source: Folder or ZIP with the views.
        depth_source: Folder with depth renders named by the caller, else None.
        faults: Where to note what is wrong with names and counts.
        wanted: The views that there must be, where not all six are meant. Others are left aside, and depth renders
            may be there for some of these only; warnings say so.

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
    matched, views = _match(views, "view", view_label, faults, warnings, wanted)
    depth_matched: dict[str, str] = {}
    if depth:
        depth_matched, depth = _match(depth, "depth render", depth_label, faults, warnings, wanted)
        without = [view for view in matched if view not in depth_matched]
        if depth_matched and without:
            warnings.append(f"There is no depth render of: {', '.join(without)}.")
    return SixFiles(
        views={view: (name, views[name]) for view, name in matched.items()},
        depth={view: (name, depth[name]) for view, name in depth_matched.items()},
        all_views=views,
        all_depth=depth,
        warnings=tuple(warnings),
        hint=_hint(views) if wanted is None and not matched else "",
    )


def _match(
    files: dict[str, Blob],
    what: str,
    label: str,
    faults: Faults,
    warnings: list[str],
    wanted: Sequence[str] | None,
) -> tuple[dict[str, str], dict[str, Blob]]:
    """View name to file name, and the files that are to be judged: all where names or counts are at fault."""
    before = len(faults.found)
    some = wanted is not None and what != "view"
    matched, by_name = match_names(list(files), what, label, faults, wanted=wanted or VIEW_NAMES, some=some)
    if matched and not by_name:
        order = ", ".join(f"{view}={name}" for view, name in matched.items())
        warnings.append(f"No {what}'s file name says which view it shows; they were taken in order: {order}.")
    if len(faults.found) > before:
        return {}, files
    used = set(matched.values())
    aside = [name for name in files if name not in used]
    if aside:
        warnings.append(f"Only {', '.join(wanted or ())} were asked for; left aside: {', '.join(aside)}.")
    return matched, {name: blob for name, blob in files.items() if name in used}


def _hint(files: dict[str, Blob]) -> str:
    """How to say that views are missing on purpose, where their names say which there are."""
    said = [read_name(name).views for name in files]
    there = [view for view in VIEW_NAMES if (view,) in said]
    if not any(said) and 1 < len(files) < len(VIEW_NAMES):
        return "Give all six views, or say which ones these are: --views with their names, in the order of the files."
    if not all(said) or not 1 < len(there) < len(VIEW_NAMES):
        return ""
    return f"If there are no other views, say so: --views {','.join(there)} (in Python views=...)."


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
