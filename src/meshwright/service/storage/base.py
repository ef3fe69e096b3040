"""What every storage can do; see the two that there are, `local` and `s3`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from meshwright.errors import MeshwrightError, OptionError
from meshwright.service.settings import Settings

__all__ = [
    "CHUNK",
    "FileMissing",
    "Staged",
    "Storage",
    "StorageUnavailable",
    "Stored",
    "check_key",
    "job_prefix",
    "open_storage",
]

CHUNK = 256 * 1024
"""Bytes that are read at once."""


class FileMissing(MeshwrightError):  # noqa: N818  (an answer, not a fault)
    """There is no such file in storage."""

    code = "storage.missing"

    def __init__(self, key: str) -> None:
        super().__init__("A file is not in storage.", hint="It was removed, or never there.", key=key)


class StorageUnavailable(MeshwrightError):  # noqa: N818
    """The storage does not answer, or refuses; asking again later may help."""

    code = "storage.unavailable"


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One file in storage; `etag` changes whenever its content does."""

    key: str
    size: int
    etag: str


class Staged(Protocol):
    """Checked output that lies ready to be shown."""

    def place(self) -> str:
        """Brings the files to their place and says where that is.

        Never replaces anything. A second call answers the same, so that it can stand in a transaction that is repeated.
        """

    def discard(self) -> None:
        """Removes the files, wherever they lie by now."""


class Storage(Protocol):
    """Files by key: relative paths with `/`, such as `jobs/ab12cd34/views/front.png`.

    A file is there whole or not at all, and survives a loss of power once its call has returned. All calls may come
    from several threads and processes. Every call may raise `StorageUnavailable`, and those that write
    `DiskFullError`; then nothing of the file is there.
    """

    def put_file(self, key: str, path: Path) -> Stored:
        """Stores a file, replacing what was there. `path` stays; its content must not be changed afterwards."""

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> Stored:
        """Stores what `chunks` yields; nothing, if it raises."""

    def get_file(self, key: str, path: Path) -> None:
        """Makes `path` (and its folder) hold the content; it must not be changed. Raises `FileMissing`."""

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The content from byte `start` on, `length` bytes or all. Raises `FileMissing` at once, not on first use."""

    def about(self, key: str) -> Stored | None:
        """Size and tag; None if there is no such file."""

    def list(self, prefix: str) -> Iterator[Stored]:
        """All files below a folder, by key."""

    def folders(self, prefix: str) -> tuple[str, ...]:
        """Names of the folders that lie directly in a folder."""

    def delete(self, key: str) -> None:
        """Removes a file, if it is there."""

    def delete_prefix(self, prefix: str) -> None:
        """Removes a folder and everything below it, if it is there."""

    def workplace(self, job_id: str, token: int) -> Path:
        """A local folder of its own for one attempt at a job; it is made if it is not there."""

    def sweep_workplaces(self, current: Callable[[str, int], bool]) -> None:
        """Removes workplaces on this machine that `current` (asked with job and token) says nobody works in."""

    def stage(self, job_id: str, model: str, token: int, folder: Path) -> Staged:
        """Makes ready the output of one model, which lies in `folder` in the attempt's workplace."""

    def scratch(self) -> Path:
        """A local folder for files on their way into storage, on the same disk where there is one."""

    def free_bytes(self) -> int | None:
        """Free space; None where storage has no limit that can be known."""

    def check(self) -> None:
        """Raises `StorageUnavailable` unless the storage answers now."""


def job_prefix(job_id: str) -> str:
    """The folder of a job."""
    return f"jobs/{job_id}"


_KEY = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")


def check_key(key: str) -> str:
    """The key, if it names a place inside the storage and nothing hidden.

    Raises:
        ValueError: It does not; keys are never made of what users send, so this is a fault of ours.
    """
    if len(key) > 512 or not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} cannot be a key")
    return key


def open_storage(settings: Settings) -> Storage:
    """The storage that the settings name.

    Raises:
        OptionError: The address cannot be understood.
        StorageUnavailable: The folder cannot be made.
    """
    url = settings.storage_url
    if url.startswith("s3://"):
        from meshwright.service.storage.s3 import S3Storage

        return S3Storage(settings)
    if "://" in url and not url.startswith("file://"):
        raise OptionError(
            "MESHWRIGHT_STORAGE_URL is neither s3://bucket/prefix nor a folder.",
            hint="Leave it empty for a folder under MESHWRIGHT_DATA_DIR.",
        )
    from meshwright.service.storage.local import LocalStorage

    root = Path(url.removeprefix("file://")).expanduser().absolute() if url else settings.data_dir / "storage"
    return LocalStorage(root)
