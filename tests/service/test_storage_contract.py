"""What every storage must do, on a folder and on a real S3-compatible server."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshwright.errors import DiskFullError, OptionError
from meshwright.service.storage import FileMissing, Storage, StorageUnavailable, facts_of, open_storage
from meshwright.service.storage.local import LocalStorage
from service_stack import Stack, set_environment


@pytest.fixture
def storage(stack: Stack) -> Iterator[Storage]:
    with set_environment(stack.env):
        yield open_storage(stack.settings())


def content(storage: Storage, key: str, start: int = 0, length: int | None = None) -> bytes:
    return b"".join(storage.open(key, start, length))


def test_put_and_read(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "picture.png"
    source.write_bytes(bytes(range(256)) * 5000)
    stored = storage.put_file("jobs/aaaaaaaa/views/front.png", source)
    assert stored.size == 1_280_000
    assert content(storage, stored.key) == source.read_bytes()
    assert storage.about(stored.key) == stored
    assert source.exists()


@pytest.mark.parametrize(("start", "length"), [(0, 1), (0, 10), (5, 3), (9, 1), (3, None), (0, 0), (4, 100)])
def test_ranges(storage: Storage, start: int, length: int | None) -> None:
    storage.put_stream("a/b", [b"01234", b"56789"])
    expected = b"0123456789"[start:] if length is None else b"0123456789"[start : start + length]
    assert content(storage, "a/b", start, length) == expected


def test_replaced_content_has_another_tag(storage: Storage) -> None:
    first = storage.put_stream("a/b", [b"one"])
    second = storage.put_stream("a/b", [b"two"])
    assert first.etag != second.etag
    assert content(storage, "a/b") == b"two"


def test_what_is_missing(storage: Storage, tmp_path: Path) -> None:
    assert storage.about("a/none") is None
    with pytest.raises(FileMissing):
        storage.open("a/none")
    with pytest.raises(FileMissing):
        storage.get_file("a/none", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    storage.delete("a/none")
    storage.delete_prefix("a")
    assert list(storage.list("a")) == []
    assert storage.folders("a") == ()


def test_a_stream_that_breaks_leaves_nothing(storage: Storage) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise RuntimeError("the sender went away")

    with pytest.raises(RuntimeError):
        storage.put_stream("a/b", broken())
    assert storage.about("a/b") is None
    assert list(storage.list("a")) == []
    assert list(storage.scratch().iterdir()) == []


def test_list_folders_and_delete(storage: Storage) -> None:
    for key in ("jobs/a/views/1", "jobs/a/depth/1", "jobs/ab/views/1", "jobs/b/output/m/previews/x.png"):
        storage.put_stream(key, [key.encode()])
    assert [item.key for item in storage.list("jobs/a")] == ["jobs/a/depth/1", "jobs/a/views/1"]
    assert storage.folders("jobs") == ("a", "ab", "b")
    storage.delete_prefix("jobs/a")
    # The names of folders that have become empty may linger on a server; files never do.
    assert set(storage.folders("jobs")) - {"a"} == {"ab", "b"}
    assert list(storage.list("jobs/a")) == []
    assert len(list(storage.list("jobs"))) == 2
    storage.delete("jobs/ab/views/1")
    assert list(storage.list("jobs/ab")) == []


def test_get_file(storage: Storage, tmp_path: Path) -> None:
    storage.put_stream("a/b", [b"text"])
    target = tmp_path / "deep" / "file"
    storage.get_file("a/b", target)
    storage.get_file("a/b", target)
    assert target.read_bytes() == b"text"


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".hidden", "a/.x", "ä", "a\nb", "a b"]
)
def test_keys_that_lead_elsewhere_are_refused(storage: Storage, key: str) -> None:
    with pytest.raises(ValueError, match="cannot be a key"):
        storage.put_stream(key, [b"x"])


def output(folder: Path, text: str = "mesh") -> Path:
    (folder / "previews").mkdir(parents=True)
    (folder / "mesh.obj").write_text(text)
    (folder / "previews" / "a.png").write_text("picture")
    return folder


def test_staged_output_comes_into_place(storage: Storage) -> None:
    work = storage.workplace("aaaaaaaa", 1)
    staged = storage.stage("aaaaaaaa", "nvdiffrec", 1, output(work / "out"))
    place = staged.place()
    assert staged.place() == place
    assert place.startswith("jobs/aaaaaaaa/output/nvdiffrec")
    assert content(storage, f"{place}/mesh.obj") == b"mesh"
    assert content(storage, f"{place}/previews/a.png") == b"picture"


def test_placing_never_replaces(storage: Storage) -> None:
    """Two attempts at one job, the older waking up late: what the newer one placed stays as it is."""
    old = storage.stage("aaaaaaaa", "m", 1, output(storage.workplace("aaaaaaaa", 1) / "out", "old"))
    new = storage.stage("aaaaaaaa", "m", 2, output(storage.workplace("aaaaaaaa", 2) / "out", "new"))
    place = new.place()
    other = old.place()
    assert place != other
    assert content(storage, f"{place}/mesh.obj") == b"new"
    old.discard()
    assert content(storage, f"{place}/mesh.obj") == b"new"
    assert list(storage.list(other)) == []


def test_discarded_output_is_gone(storage: Storage) -> None:
    staged = storage.stage("aaaaaaaa", "m", 1, output(storage.workplace("aaaaaaaa", 1) / "out"))
    staged.discard()
    assert [item for item in storage.list("jobs/aaaaaaaa") if "/output/" in item.key] == []


def test_readers_see_old_or_new_and_nothing_between(storage: Storage) -> None:
    versions = [bytes([n]) * 300_000 for n in range(6)]
    storage.put_stream("a/b", [versions[0]])
    seen: list[bytes] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append(content(storage, "a/b"))

    reader = threading.Thread(target=read)
    reader.start()
    for version in versions[1:]:
        storage.put_stream("a/b", [version[:100_000], version[100_000:]])
    stop.set()
    reader.join()
    assert seen
    assert all(item in versions for item in seen)


def test_facts(tmp_path: Path) -> None:
    folder = output(tmp_path / "out")
    os.symlink("/etc/passwd", folder / "link")
    facts = facts_of(folder)
    assert [fact.name for fact in facts] == ["mesh.obj", "previews/a.png"]
    assert facts[0].size == 4
    assert facts[0].crc32 == 0x58E4C9A3 or facts[0].crc32 > 0


def test_space_and_check(storage: Storage) -> None:
    assert (storage.free_bytes() or 1) > 0
    storage.check()


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(tmp_path / "s")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="full"):
        storage.put_stream("a/b", [b"x"])
    assert list((tmp_path / "s" / "a").iterdir()) == []


def test_a_server_that_is_away(embedded: Stack) -> None:
    env = embedded.env | {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    with set_environment(env):
        settings = embedded.settings(
            storage_url="s3://bucket/p",
            storage_endpoint="http://127.0.0.1:9",
        )
        storage = open_storage(settings)
        storage.store = type(storage.store)(  # type: ignore[attr-defined]
            "bucket",
            config={"endpoint": "http://127.0.0.1:9", "region": "x"},
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        with pytest.raises(StorageUnavailable):
            storage.check()
        with pytest.raises(StorageUnavailable):
            storage.put_stream("a/b", [b"x"])


def test_addresses_that_are_none(embedded: Stack) -> None:
    with pytest.raises(OptionError, match="STORAGE_URL"):
        open_storage(embedded.settings(storage_url="ftp://x/y"))
    with pytest.raises(OptionError, match="bucket"):
        open_storage(embedded.settings(storage_url="s3://"))
