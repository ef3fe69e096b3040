"""Which uploaded file shows which view, and whether it can be a picture at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from meshwright.inputs.config import InputConfig
from meshwright.inputs.faults import Faults
from meshwright.inputs.names import match_names
from meshwright.service.api.archives import unpack_views
from meshwright.service.api.forms import Form, ReceivedFile, shown
from meshwright.service.api.pngs import BadPngError, check_png
from meshwright.service.api.problems import Problem
from meshwright.service.settings import Settings
from meshwright.types import VIEW_NAMES

__all__ = ["Pictures", "judge_pictures"]

Pictures = Mapping[tuple[str, str], Path]
"""Kind (`views` or `depth`) and view name, to the file that shows it."""

_SETS = {"views": "view", "depth_renders": "depth render"}


def judge_pictures(form: Form, settings: Settings) -> Pictures:
    """Kind (`views`, `depth`) and view name to the file that shows it."""
    config = InputConfig(
        max_file_mb=settings.max_file_bytes / 1e6,
        max_total_mb=settings.max_total_bytes / 1e6,
        max_set_mb=settings.max_total_bytes / 1e6,
    )
    pictures = _judge_archive(form, config) if "archive" in form.counts else _judge_sets(form)
    _judge_pngs(pictures, form, config)
    return pictures


def _judge_archive(form: Form, config: InputConfig) -> dict[tuple[str, str], Path]:
    if form.counts["archive"] > 1 or len(form.counts) > 1:
        raise Problem(
            "INVALID_FILE_COUNT",
            "An archive comes alone.",
            fields={"archive": "Expected one ZIP, and neither views nor depth_renders beside it"},
        )
    views, depth = unpack_views(form.files[0].path, form.folder, config)
    return {
        **{("views", view): path for view, path in views.items()},
        **{("depth", view): path for view, path in depth.items()},
    }


def _judge_sets(form: Form) -> dict[tuple[str, str], Path]:
    wrong = {
        name: f"Expected 6 files, got {form.counts.get(name, 0)}" for name in _SETS if form.counts.get(name, 0) != 6
    }
    if wrong:
        raise Problem("INVALID_FILE_COUNT", "Six views and six depth renders are needed.", fields=wrong)
    pictures = {}
    faults: dict[str, str] = {}
    for name, what in _SETS.items():
        # Numbered, so that equal names stay apart; what a view is, is told from the last part alone.
        files = {f"{number}/{shown(file.name)}": file for number, file in enumerate(_of(form, name))}
        found = Faults()
        matched, _ = match_names(list(files), what, name, found)
        if found.found:
            faults[name] = "; ".join(
                f"{fault.file.partition('/')[2] or name}: {fault.message}" for fault in found.found
            )
            continue
        kind = "views" if name == "views" else "depth"
        pictures.update({(kind, view): files[file].path for view, file in matched.items()})
    if faults:
        raise Problem(
            "VALIDATION_FAILED",
            "The file names do not tell the views apart.",
            fields=faults,
            suggestion=f"Name the files after their views ({', '.join(VIEW_NAMES)}), or send them in that order "
            "under names that say nothing.",
        )
    return pictures


def _of(form: Form, name: str) -> list[ReceivedFile]:
    return [file for file in form.files if file.field == name]


def _judge_pngs(pictures: Mapping[tuple[str, str], Path], form: Form, config: InputConfig) -> None:
    names = {file.path: (file.field, shown(file.name)) for file in form.files}
    faults: dict[str, list[str]] = {}
    for (kind, view), path in pictures.items():
        try:
            check_png(path, max_pixels=config.max_pixels)
        except BadPngError as error:
            field, name = names.get(path, ("archive", f"{kind}/{view}.png"))
            faults.setdefault(field, []).append(f"{name}: {error}")
    if faults:
        count = sum(map(len, faults.values()))
        raise Problem(
            "INVALID_FILE_FORMAT",
            "1 file is not a usable PNG." if count == 1 else f"{count} files are not usable PNGs.",
            fields={field: "; ".join(lines) for field, lines in faults.items()},
        )
