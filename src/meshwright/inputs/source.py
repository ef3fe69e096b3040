"""A folder or a ZIP seen as one thing: relative names and how to read each. Nothing is ever unpacked to disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from meshwright.errors import FileFault, InputFilesError
from meshwright.inputs.config import InputConfig
from meshwright.inputs.faults import BadFileError, shown

__all__ = ["Blob", "Source", "is_ignored", "list_folder", "megabytes", "open_source", "read_limited"]

_MB = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Blob:
    """One file.

    Attributes:
        size: Bytes as announced; `read` enforces the limit again on what really comes.
        read: Called with the most bytes to accept; raises BadFileError.
        fault: Why it cannot be read at all, known from the listing.
    """

    size: int
    read: Callable[[int], bytes]
    fault: BadFileError | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """What the user gave.

    Attributes:
        label: Name for messages about the whole.
        files: Relative POSIX path to file. A folder comes in natural order, a ZIP in its own.
        is_ordered: Whether that order was chosen by the user (a ZIP), so that it can stand for the upload order.
    """

    label: str
    files: Mapping[str, Blob]
    is_ordered: bool = False

    def folders(self) -> set[str]:
        """Every folder that holds a file, `""` for the top."""
        return {"" if str(p) == "." else str(p) for p in (PurePosixPath(path).parent for path in self.files)}


def megabytes(size: float) -> str:
    """A size for people: `23.5 MB`."""
    return f"{size / _MB:.1f} MB"


def is_ignored(path: str) -> bool:
    """Whether a file is an operating system's note to itself (`__MACOSX/...`, `.DS_Store`, `Thumbs.db`)."""
    parts = PurePosixPath(path).parts
    return (
        any(part.startswith(".") for part in parts)
        or "__MACOSX" in parts
        or parts[-1].lower() in {"thumbs.db", "desktop.ini"}
    )


def read_limited(blob: Blob, config: InputConfig) -> bytes:
    """All bytes of a file.

    Raises:
        BadFileError: it cannot be read, or is larger than `config.max_file_mb`.
    """
    if blob.fault is not None:
        raise blob.fault
    limit = int(config.max_file_mb * _MB)
    data = blob.read(limit + 1) if blob.size <= limit else b""
    size = max(blob.size, len(data))
    if size > limit:
        raise BadFileError(
            "input.file_too_large", f"{megabytes(size)}; at most {megabytes(limit)} are accepted for one file"
        )
    return data


@contextmanager
def open_source(path: Path, config: InputConfig) -> Iterator[Source]:
    """Open a folder or a ZIP for reading.

    Raises:
        InputFilesError: it is not there, is neither, or the ZIP is damaged, hostile or encrypted.
    """
    label = shown(path.name or str(path))
    try:
        info = path.stat()
    except OSError as error:
        what = "there is no such folder or file" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise InputFilesError(
            [FileFault(file=label, code="input.missing", message=what)],
            hint="Give a folder or a ZIP that holds the six views.",
        ) from error
    if stat.S_ISDIR(info.st_mode):
        yield Source(label=label, files=list_folder(path))
        return
    from meshwright.inputs.archive import open_archive

    with open_archive(path, label, config) as files:
        yield Source(label=label, files=files, is_ordered=True)


_DEPTH_OF_TREE = 4
_MOST_FILES = 20_000


def list_folder(root: Path) -> dict[str, Blob]:
    """Files in a folder and its subfolders (four levels), in natural order.

    Raises:
        InputFilesError: the folder cannot be listed or holds an unreasonable number of files.
    """
    from meshwright.inputs.names import natural_key

    found: dict[str, Blob] = {}
    pending = [(root, "", 0)]
    while pending:
        folder, prefix, level = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: natural_key(entry.name))
        except OSError as failure:
            fault = FileFault(
                file=shown(prefix) or root.name, code="input.unreadable", message="the folder cannot be listed"
            )
            raise InputFilesError([fault]) from failure
        for entry in entries:
            relative = f"{prefix}{entry.name}"
            if is_ignored(relative):
                continue
            # A link to a folder is not followed: links can go round in circles.
            if entry.is_dir(follow_symlinks=False) and not entry.name.lower().endswith(".png"):
                if level < _DEPTH_OF_TREE:
                    pending.append((Path(entry.path), f"{relative}/", level + 1))
                continue
            if relative.isprintable():
                found[relative] = _blob_on_disk(Path(entry.path))
            else:
                error = BadFileError("input.bad_name", "its name holds characters that are no text; rename it")
                found[relative] = Blob(size=0, read=lambda _: b"", fault=error)
        if len(found) > _MOST_FILES:
            fault = FileFault(
                file=shown(root.name), code="input.too_many_files", message=f"over {_MOST_FILES} files in it"
            )
            raise InputFilesError([fault], hint="Give the folder that holds the views.")
    return found


def _blob_on_disk(path: Path) -> Blob:
    def read(limit: int) -> bytes:
        try:
            with path.open("rb") as stream:
                return stream.read(limit)
        except OSError as error:
            raise BadFileError("input.unreadable", "the file cannot be read") from error

    try:
        info = path.stat()
    except OSError:
        what = "a link that leads nowhere" if path.is_symlink() else "the file cannot be read"
        return Blob(size=0, read=read, fault=BadFileError("input.unreadable", what))
    if not stat.S_ISREG(info.st_mode):
        what = "a folder" if stat.S_ISDIR(info.st_mode) else "not a regular file"
        return Blob(size=0, read=read, fault=BadFileError("input.not_a_file", f"{what}, where a PNG file is expected"))
    return Blob(size=info.st_size, read=read)
