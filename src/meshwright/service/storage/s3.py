"""Storage in S3-compatible object storage. Keys of output are never written twice: the job table makes them visible."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from meshwright.errors import OptionError
from meshwright.service.settings import Settings
from meshwright.service.storage.base import (
    CHUNK,
    FileMissing,
    Storage,
    StorageUnavailable,
    Stored,
    check_key,
    job_prefix,
)

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

__all__ = ["S3Storage"]

_BATCH = 500
"""Keys that are deleted with one request; servers take up to 1000."""


class S3Storage(Storage):
    """A bucket, or a prefix in one. Credentials come from the AWS_ variables, as with every other program.

    Args:
        settings: `storage_url`, `storage_endpoint`, `storage_region`; scratch lies under `data_dir`.
    """

    def __init__(self, settings: Settings) -> None:
        bucket, _, prefix = settings.storage_url.removeprefix("s3://").partition("/")
        if not bucket:
            raise OptionError("MESHWRIGHT_STORAGE_URL names no bucket.", hint="Use s3://bucket/prefix.")
        self.local = settings.data_dir / "scratch"
        self.local.mkdir(parents=True, exist_ok=True, mode=0o700)
        config: S3Config = {"region": settings.storage_region}
        client: ClientConfig = {"connect_timeout": "5s", "timeout": "120s"}
        if settings.storage_endpoint:
            config["endpoint"] = settings.storage_endpoint
            client["allow_http"] = settings.storage_endpoint.startswith("http://")
        retry: RetryConfig = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
        self.store = S3Store(
            bucket, prefix=prefix.strip("/") or None, config=config, client_options=client, retry_config=retry
        )

    def put_file(self, key: str, path: Path) -> Stored:
        with _told(key, missing=False):
            obstore.put(self.store, check_key(key), path)
        return self._stored(key)

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> Stored:
        # Through a local file: an upload that breaks off half-way must leave nothing, whatever the server thinks.
        part = self.scratch() / f"{os.urandom(8).hex()}.part"
        try:
            with part.open("xb") as file:
                for chunk in chunks:
                    file.write(chunk)
            return self.put_file(key, part)
        finally:
            part.unlink(missing_ok=True)

    def get_file(self, key: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        try:
            with part.open("wb") as file:
                for chunk in self.open(key):
                    file.write(chunk)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        if length == 0:
            self._stored(key)
            return iter(())
        options: Any = {}
        if length is not None:
            options["range"] = (start, start + length)
        elif start:
            options["range"] = {"offset": start}
        with _told(key):
            answer = obstore.get(self.store, check_key(key), options=options)
            stream = answer.stream(min_chunk_size=CHUNK)
        return _chunks(key, stream)

    def about(self, key: str) -> Stored | None:
        try:
            return self._stored(key)
        except FileMissing:
            return None

    def list(self, prefix: str) -> Iterator[Stored]:
        with _told(prefix):
            for batch in obstore.list(self.store, check_key(prefix)):
                for item in batch:
                    yield Stored(key=item["path"], size=item["size"], etag=(item["e_tag"] or "").strip('"'))

    def folders(self, prefix: str) -> tuple[str, ...]:
        with _told(prefix):
            found = obstore.list_with_delimiter(self.store, check_key(prefix))
        return tuple(sorted(path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"]))

    def delete(self, key: str) -> None:
        with _told(key, missing=False):
            obstore.delete(self.store, check_key(key))

    def delete_prefix(self, prefix: str) -> None:
        keys = [item.key for item in self.list(prefix)]
        with _told(prefix, missing=False):
            for first in range(0, len(keys), _BATCH):
                obstore.delete(self.store, keys[first : first + _BATCH])

    def workplace(self, job_id: str, token: int) -> Path:
        folder = self.local / f"{check_key(job_id)}-{token}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def sweep_workplaces(self, current: Callable[[str, int], bool]) -> None:
        for folder in self.local.iterdir():
            job_id, dash, token = folder.name.rpartition("-")
            if dash and token.isdecimal() and not current(job_id, int(token)):
                shutil.rmtree(folder, ignore_errors=True)

    def stage(self, job_id: str, model: str, token: int, folder: Path) -> StagedObjects:
        staged = StagedObjects(self, f"{job_prefix(job_id)}/output/{check_key(model)}/{token}")
        sent = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name = path.relative_to(folder).as_posix()
                sent[f"{staged.location}/{name}"] = path.stat().st_size
                self.put_file(f"{staged.location}/{name}", path)
        there = {item.key: item.size for item in self.list(staged.location)}
        if there != sent:
            raise StorageUnavailable("What was sent to the storage is not all there.", hint="Try again in a moment.")
        return staged

    def scratch(self) -> Path:
        folder = self.local / "passing"
        folder.mkdir(exist_ok=True)
        return folder

    def free_bytes(self) -> int | None:
        return shutil.disk_usage(self.local).free  # an attempt works here first

    def check(self) -> None:
        with _told("", missing=False):
            obstore.list_with_delimiter(self.store, "jobs-none")

    def _stored(self, key: str) -> Stored:
        with _told(key):
            about = obstore.head(self.store, check_key(key))
        return Stored(key=key, size=about["size"], etag=(about["e_tag"] or "").strip('"'))


class StagedObjects:
    """Objects under a key that no other attempt uses; see `Staged`."""

    def __init__(self, storage: S3Storage, location: str) -> None:
        self.storage = storage
        self.location = location

    def place(self) -> str:
        return self.location

    def discard(self) -> None:
        self.storage.delete_prefix(self.location)


def _chunks(key: str, stream: Iterable[Any]) -> Iterator[bytes]:
    with _told(key):
        for chunk in stream:
            yield bytes(chunk)


@contextmanager
def _told(key: str, *, missing: bool = True) -> Iterator[None]:
    """Says in the service's own terms what the server refused."""
    try:
        yield
    except FileNotFoundError as error:
        if missing:
            raise FileMissing(key) from error
        raise StorageUnavailable("The bucket is not there.", hint="Make it, or name another one.") from error
    except (BaseError, OSError) as error:
        # The library's messages name addresses and keys: they are for the log only.
        raise StorageUnavailable(
            "The storage does not answer, or refuses.",
            hint="Try again in a moment.",
            reason=str(error).splitlines()[0][:300] if str(error) else type(error).__name__,
        ) from error
