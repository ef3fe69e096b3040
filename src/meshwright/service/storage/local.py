"""Storage in a folder. Files appear by rename, after their content has reached the disk."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from meshwright.errors import DiskFullError
from meshwright.service.storage.base import (
    CHUNK,
    FileMissing,
    Storage,
    StorageUnavailable,
    Stored,
    check_key,
    job_prefix,
)

__all__ = ["LocalStorage"]


class LocalStorage(Storage):
    """A folder, also one that several machines have mounted.

    Args:
        root: Made if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        with _told():
            root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put_file(self, key: str, path: Path) -> Stored:
        with _told(), self._new(key) as part:
            try:
                os.link(path, part)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES):
                    raise
                shutil.copyfile(path, part)  # another disk, or one without links
            _sync(part)
        return self._stored(key)

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> Stored:
        with _told(), self._new(key) as part:
            with part.open("xb") as file:
                for chunk in chunks:
                    file.write(chunk)
            _sync(part)
        return self._stored(key)

    def get_file(self, key: str, path: Path) -> None:
        with _told(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            try:
                os.link(self._path(key), path)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES):
                    raise
                shutil.copyfile(self._path(key), path)

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        with _told(key):
            file = self._path(key).open("rb")
        return _chunks(file, start, length)

    def about(self, key: str) -> Stored | None:
        try:
            return self._stored(key)
        except FileMissing:
            return None

    def list(self, prefix: str) -> Iterator[Stored]:
        folder = self._path(prefix)
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                key = path.relative_to(self.root).as_posix()
                found = self.about(key)
                if found is not None:
                    yield found

    def folders(self, prefix: str) -> tuple[str, ...]:
        with _told():
            try:
                return tuple(sorted(entry.name for entry in os.scandir(self._path(prefix)) if entry.is_dir()))
            except FileNotFoundError:
                return ()

    def delete(self, key: str) -> None:
        with _told():
            self._path(key).unlink(missing_ok=True)

    def delete_prefix(self, prefix: str) -> None:
        folder = self._path(prefix)
        with _told():
            for _ in range(3):  # somebody who has not noticed yet may still be writing there
                shutil.rmtree(folder, ignore_errors=True)
                if not folder.exists():
                    return
            raise OSError(errno.ENOTEMPTY, "a folder cannot be removed")

    def workplace(self, job_id: str, token: int) -> Path:
        folder = self._path(f"{job_prefix(job_id)}/attempts/{token}")
        with _told():
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def sweep_workplaces(self, current: Callable[[str, int], bool]) -> None:
        # They lie in the folders of their jobs: the next attempt removes them, or the sweep of the ended job.
        del current

    def stage(self, job_id: str, model: str, token: int, folder: Path) -> StagedFolder:
        with _told():
            for path in sorted(folder.rglob("*"), reverse=True):
                _sync(path)
            _sync(folder)
        return StagedFolder(self.root, f"{job_prefix(job_id)}/output/{check_key(model)}", token, folder)

    def scratch(self) -> Path:
        folder = self.root / "scratch"
        with _told():
            folder.mkdir(exist_ok=True)
        return folder

    def free_bytes(self) -> int | None:
        with _told():
            return shutil.disk_usage(self.root).free

    def check(self) -> None:
        with _told():
            if not self.root.is_dir() or not os.access(self.root, os.W_OK):
                raise OSError(errno.EACCES, "the folder cannot be written")

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _stored(self, key: str) -> Stored:
        with _told(key):
            about = self._path(key).stat()
        return Stored(key=key, size=about.st_size, etag=f"{about.st_mtime_ns:x}-{about.st_ino:x}-{about.st_size:x}")

    @contextmanager
    def _new(self, key: str) -> Iterator[Path]:
        """A name beside the target; what is written there takes its place in the end, or goes."""
        target = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{uuid4().hex}.part")
        try:
            yield part
            part.replace(target)
            _sync(target.parent)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)


class StagedFolder:
    """A folder that waits to be moved; see `Staged`."""

    def __init__(self, root: Path, wanted: str, token: int, folder: Path) -> None:
        self.root = root
        self.wanted = wanted
        self.token = token
        self.folder = folder
        self.location: str | None = None

    def place(self) -> str:
        if self.location is None:
            # A rename never replaces a folder that holds something. What lies there without being named by the table
            # is from a process that died (or was given up) between rename and commit: it stays invisible and is swept.
            with _told():
                self.location = self._move(self.wanted) or self._move(f"{self.wanted}~{self.token}")
                if self.location is None:
                    raise OSError(errno.EEXIST, "the place of the output is taken")
        return self.location

    def discard(self) -> None:
        with _told():
            shutil.rmtree(self.folder if self.location is None else self.root / self.location, ignore_errors=True)

    def _move(self, place: str) -> str | None:
        target = self.root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(self.folder, target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return None
            raise
        _sync(target.parent)
        return place


def _chunks(file: IO[bytes], start: int, length: int | None) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while length is None or length > 0:
            chunk = file.read(CHUNK if length is None else min(CHUNK, length))
            if not chunk:
                return
            if length is not None:
                length -= len(chunk)
            yield chunk


def _sync(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told(key: str = "") -> Iterator[None]:
    """Says in the service's own terms what the system refused."""
    try:
        yield
    except FileNotFoundError as error:
        if key:
            raise FileMissing(key) from error
        raise StorageUnavailable("The storage lacks a folder that was there.", hint="Try again in a moment.") from error
    except IsADirectoryError as error:
        raise FileMissing(key) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError("The disk of the storage is full.", hint="Free some space.") from error
        raise StorageUnavailable(f"The storage refuses: {error.strerror}.", hint="Try again in a moment.") from error
