"""Six views (and depth renders) in one ZIP, taken out of it only after the archive as a whole was judged."""

from __future__ import annotations

import struct
from contextlib import ExitStack
from pathlib import Path

from meshwright.errors import FileFault, InputFilesError
from meshwright.inputs.config import InputConfig
from meshwright.inputs.faults import BadFileError, Faults
from meshwright.inputs.folder import find_six
from meshwright.inputs.source import open_source, read_limited
from meshwright.service.api.problems import Problem

__all__ = ["problem_of_faults", "unpack_views"]

_MAX_DIRECTORY = 1_000_000
"""Bytes of a ZIP's directory. Reading it makes objects of every entry, so it is limited before that; 12 entries with
long names take less than 10 KB."""
_TOO_LARGE = {"input.file_too_large", "input.total_too_large"}
_COUNTS = {"input.count", "input.no_images", "input.too_many_files"}
_NAMES = {"input.ambiguous_name", "input.duplicate_view", "input.unknown_view"}


def unpack_views(archive: Path, folder: Path, config: InputConfig) -> tuple[dict[str, Path], dict[str, Path]]:
    """Take the twelve files out of a ZIP.

    Args:
        archive: The ZIP, of any name.
        folder: Where to put them, under names of our own.
        config: Limits of one file and of all together.
    Returns:
        View name to file, for the views and for the depth renders (empty where there are none).
    Raises:
        Problem: The archive is damaged or hostile, or what is in it is not six views; nothing was unpacked if so.
    """
    _check_directory(archive)
    faults = Faults()
    with ExitStack() as stack:
        try:
            source = stack.enter_context(open_source(archive, config))
            found = find_six(source, None, faults)
            faults.raise_if_any()
            taken: dict[str, dict[str, Path]] = {"views": {}, "depth": {}}
            total = 0
            for kind, files in (("views", found.views), ("depth", found.depth)):
                for view, (name, blob) in files.items():
                    try:
                        data = read_limited(blob, config)
                    except BadFileError as error:
                        faults.add_error(name, error)
                        continue
                    total += len(data)
                    if total > config.max_total_mb * 1e6:
                        raise InputFilesError(
                            [FileFault(file=name, code="input.total_too_large", message="unpacks to too much")]
                        )
                    path = folder / f"{kind}-{view}"
                    path.write_bytes(data)
                    taken[kind][view] = path
            faults.raise_if_any()
        except InputFilesError as error:
            raise problem_of_faults(error, "archive", label=archive.name) from error
    return taken["views"], taken["depth"]


def problem_of_faults(error: InputFilesError, field: str, label: str = "") -> Problem:
    """What the input reader found, as an answer; the field's message lists every fault.

    Args:
        label: Our own name for the whole, which means nothing to the sender.
    """
    codes = {fault.code for fault in error.faults}
    if "input.zip_bomb" in codes:
        code = "INVALID_FILE_FORMAT"
    elif codes & _TOO_LARGE:
        code = "FILE_TOO_LARGE"
    elif codes <= _COUNTS:
        code = "INVALID_FILE_COUNT"
    elif codes <= _COUNTS | _NAMES:
        code = "VALIDATION_FAILED"
    else:
        code = "INVALID_FILE_FORMAT"
    lines = []
    for fault in error.faults[:12]:
        name = fault.file.removeprefix(label).lstrip("/") if label else fault.file
        lines.append(f"{name}: {fault.message}" if name else fault.message)
    if len(error.faults) > 12:
        lines.append(f"and {len(error.faults) - 12} more")
    noun = "fault" if len(error.faults) == 1 else "faults"
    return Problem(code, f"{len(error.faults)} {noun} in {field}.", fields={field: "; ".join(lines)})


def _check_directory(path: Path) -> None:
    """Refuses a ZIP whose directory is missing or unreasonably large, before anything reads it."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - 65_557))
        tail = stream.read()
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) - place < 22:
        raise _bad_archive("neither a ZIP nor whole")
    entries, length = struct.unpack_from("<HI", tail, place + 10)
    if entries == 0xFFFF or length == 0xFFFFFFFF or length > _MAX_DIRECTORY:
        raise _bad_archive("a ZIP with far too many entries")


def _bad_archive(what: str) -> Problem:
    return Problem("INVALID_FILE_FORMAT", "The archive cannot be used.", fields={"archive": what})
