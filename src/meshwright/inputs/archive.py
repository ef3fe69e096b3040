"""Look into a ZIP without unpacking it: names that leave it, bombs, encryption and nesting are refused first."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from meshwright.errors import FileFault, InputFilesError
from meshwright.inputs.config import InputConfig
from meshwright.inputs.faults import BadFileError, Faults
from meshwright.inputs.source import Blob, is_ignored, megabytes

__all__ = ["open_archive"]

_MAX_ENTRIES = 5_000
_MAX_RATIO = 200
"""Uncompressed to compressed size of one entry. Depth renders of a small object on black reach about 100."""
_RATIO_FREE_BYTES = 1_000_000
"""Below this size no ratio is suspicious: a blank 512x512 picture packs extremely well."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextmanager
def open_archive(path: Path, label: str, config: InputConfig) -> Iterator[dict[str, Blob]]:
    """The files of a ZIP, in its own order; a single folder around everything is taken off.

    Raises:
        InputFilesError: the archive as a whole, or names in it, cannot be trusted.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error, EOFError) as error:
        raise InputFilesError(
            [FileFault(file=label, code="input.archive", message=_why_no_zip(path))],
            hint="Give a folder or a ZIP that holds the six views.",
        ) from error
    with archive:
        entries = _judge_entries(archive, label, config)
        yield _without_wrapper({name: _blob_in_zip(archive, entry) for name, entry in entries.items()})


def _why_no_zip(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError:
        return "the file cannot be read"
    if not start:
        return "the file is empty (0 bytes)"
    if start == b"PK\x03\x04":
        return "a damaged ZIP: it ends early or its directory is broken"
    return "neither a folder nor a ZIP"


def _judge_entries(archive: zipfile.ZipFile, label: str, config: InputConfig) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > _MAX_ENTRIES:
        fault = FileFault(
            file=label,
            code="input.too_many_files",
            message=f"{len(infos)} entries; at most {_MAX_ENTRIES} are accepted",
        )
        raise InputFilesError([fault])
    faults = Faults()
    entries: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for info in infos:
        # A name that climbs out is reported even where it would be ignored as a dotfile.
        if _escapes(info.filename):
            faults.add(info.filename, "input.path_escape", "its name leads out of the archive")
            continue
        if info.is_dir() or is_ignored(info.filename):
            continue
        name = str(PurePosixPath(info.filename))
        if name in entries:
            faults.add(name, "input.duplicate_entry", "the archive holds two files of this name")
        elif info.flag_bits & 0x1:
            faults.add(name, "input.encrypted", "encrypted; pack the archive without a password")
        elif (info.external_attr >> 16) & 0o170000 == 0o120000:
            faults.add(name, "input.not_a_file", "a link, where a file is expected")
        elif name.lower().endswith((".zip", ".7z", ".rar", ".gz", ".tgz", ".tar", ".xz", ".bz2")):
            faults.add(name, "input.nested_archive", "an archive inside the archive; pack the images themselves")
        elif info.compress_type not in _METHODS:
            faults.add(name, "input.archive", "packed by a method other than store or deflate")
        elif info.file_size > _RATIO_FREE_BYTES and info.file_size > _MAX_RATIO * max(info.compress_size, 1):
            ratio = info.file_size / max(info.compress_size, 1)
            faults.add(
                name, "input.zip_bomb", f"unpacks to {ratio:.0f} times its size; at most {_MAX_RATIO} is accepted"
            )
        entries[name] = info
        total += info.file_size
    if total > config.max_set_mb * 1e6:
        limit = megabytes(config.max_set_mb * 1e6)
        faults.add(label, "input.total_too_large", f"unpacks to {megabytes(total)}; at most {limit} are accepted")
    faults.raise_if_any()
    return entries


def _escapes(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or (len(name) > 1 and name[1] == ":") or "\0" in name


def _without_wrapper(files: dict[str, Blob]) -> dict[str, Blob]:
    """`shoe/views/front.png` to `views/front.png`, when everything lies in `shoe/`.

    A folder that itself holds the pictures is kept out of this: its name (`views`) may say what they are, and it
    makes no difference to where they are found.
    """
    tops = {PurePosixPath(name).parts[0] for name in files}
    if len(tops) != 1 or any(len(PurePosixPath(name).parts) < 2 for name in files):
        return files
    if next(iter(tops)).lower() in {"views", "depth", "depth_renders", "images", "rgb"}:
        return files
    return {str(PurePosixPath(*PurePosixPath(name).parts[1:])): blob for name, blob in files.items()}


def _blob_in_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Blob:
    def read(limit: int) -> bytes:
        try:
            with archive.open(info) as stream:
                return stream.read(limit)
        except (zipfile.BadZipFile, OSError, EOFError, zlib.error, struct.error, NotImplementedError) as error:
            raise BadFileError("input.archive_entry", "damaged inside the archive; pack it again") from error

    return Blob(size=info.file_size, read=read)
