"""A family as one file, or one folder, for machines without internet access.

A bundle is an uncompressed tar. Its first member, `manifest.json`, names every file with size and SHA-256; the files
follow under the names they have in a store. Importing takes nothing from the tar but those bytes: which files there may
be and where they go is the catalogue's to say, so a bundle from anywhere can write nothing else and nowhere else.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from meshwright.errors import (
    DiskFullError,
    FileFault,
    OutputError,
    WeightsFetchError,
    WeightsFilesError,
)
from meshwright.types import Monitor, SilentMonitor
from meshwright.weights.catalogue import FAMILIES, Family, FileEntry, Part, family_named
from meshwright.weights.headers import BadFileError, read_shapes
from meshwright.weights.licences import shown
from meshwright.weights.store import FileRecord, Store, now
from meshwright.weights.verify import raise_faults, size_in_words, verify, wrong_contents

__all__ = ["export_bundle", "family_of", "import_from"]

_CHUNK = 8 << 20
_LONGEST_MANIFEST = 1 << 20


@dataclass(frozen=True, kw_only=True)
class _Member:
    """One file of a bundle; `sha256` is empty where its maker knew none."""

    part: Part
    entry: FileEntry
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.part.folder}/{self.entry.path}"


# --- out -----------------------------------------------------------------------------------------------------------


def export_bundle(family: Family, store: Store, target: Path, monitor: Monitor | None = None) -> int:
    """Writes a family into one tar, and gives its size.

    All files are read and compared first. The tar appears under its name when it is whole.

    Raises:
        WeightsNotInstalledError: Files are missing or wrong.
        DiskFullError, OutputError: The tar cannot be written, or stands there already.
        Cancelled: The monitor wants to stop; nothing is left behind.
    """
    monitor = monitor or SilentMonitor()
    if family.packaged:
        raise WeightsFetchError(f"{family.name} comes with meshwright; there is nothing to export.")
    if target.exists():
        raise OutputError(f"{target.name!r} exists already.", hint="Choose another name, or remove it first.")
    raise_faults(family, store, verify(family, store, _Half(monitor, 0)).faults)
    members = []
    for part in family.parts:
        for entry in part.files:
            record = store.file_record(part.folder, entry.path)
            if record is not None and (store.part_folder(family, part) / entry.path).is_file():
                members.append(_Member(part=part, entry=entry, size=record.size, sha256=record.sha256))
    total = sum(member.size for member in members)
    unfinished = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_space(target.parent, total)
        with tarfile.open(unfinished, "w", format=tarfile.PAX_FORMAT) as tar:
            text = json.dumps(_manifest(family, store, members), indent=2).encode()
            tar.addfile(_plain("manifest.json", len(text)), io.BytesIO(text))
            done = 0
            for member in members:
                path = store.part_folder(family, member.part) / member.entry.path
                with path.open("rb") as file:
                    tar.addfile(
                        _plain(member.name, member.size), _Watched(file, done, total, _Half(monitor, 50), member.name)
                    )
                done += member.size
        unfinished.replace(target)
    except OSError as error:
        raise OutputError(
            f"The bundle {target.name!r} cannot be written: {error.strerror or error}.",
            hint="Choose a folder that you may write to, with enough space.",
        ) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    monitor.report(100.0, "Exported")
    return target.stat().st_size


def _manifest(family: Family, store: Store, members: list[_Member]) -> dict[str, Any]:
    return {
        "meshwright_weights": 1,
        "family": family.name,
        "parts": {part.folder: {"revision": store.revision(part.folder)} for part in family.parts},
        "licences": {part.folder: shown(part) for part in family.parts},
        "files": [{"path": member.name, "size": member.size, "sha256": member.sha256} for member in members],
    }


def _plain(name: str, size: int) -> tarfile.TarInfo:
    """The same bytes whoever exports, and whenever."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info


class _Watched:
    """A file that says how much of it was read, and checks for a wish to stop."""

    def __init__(self, file: IO[bytes], done: int, total: int, monitor: Monitor, name: str) -> None:
        self.file, self.done, self.total, self.monitor, self.name = file, done, max(total, 1), monitor, name

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.done += len(data)
        self.monitor.check()
        self.monitor.report(100 * self.done / self.total, f"Writing {self.name}")
        return data


class _Half:
    """One of two halves of the way."""

    def __init__(self, whole: Monitor, start: float) -> None:
        self.whole, self.start = whole, start

    def report(self, percent: float, step: str) -> None:
        self.whole.report(min(self.start + percent / 2, 99.9), step)

    def check(self) -> None:
        self.whole.check()


# --- in ------------------------------------------------------------------------------------------------------------


def family_of(source: Path) -> Family:
    """Which family a bundle or folder holds.

    Raises:
        WeightsFetchError: It holds none, or cannot be read.
    """
    if source.is_dir():
        for family in FAMILIES:
            if not family.packaged and any(_folder_of(source, part) for part in family.parts):
                return family_named(family.name)
        known = ", ".join(part.folder for family in FAMILIES if not family.packaged for part in family.parts)
        raise WeightsFetchError(
            f"The folder {source.name!r} holds no weights that are known here.",
            hint=f"Looked for is one of these folders in it: {known}.",
        )
    with _opened(source) as tar:
        return _read_manifest(tar, source)[0]


def import_from(source: Path, store: Store, monitor: Monitor | None = None) -> tuple[Family, int]:
    """Brings a bundle, or a folder laid out like a store, into the store; gives family and number of files.

    Every file is compared with the catalogue (and the manifest) before it appears in its place.

    Raises:
        WeightsFetchError: It is no bundle, or a damaged one.
        WeightsFilesError: Files in it are cut short, or not the ones they should be. None of these came in.
        DiskFullError, OutputError: The store cannot be written to.
        Cancelled: The monitor wants to stop.
    """
    monitor = monitor or SilentMonitor()
    family = family_of(source)
    with store.writing():
        count = _from_folder(source, family, store, monitor) if source.is_dir() else _from_tar(source, store, monitor)
    monitor.report(100.0, "Imported")
    return family, count


def _folder_of(source: Path, part: Part) -> Path | None:
    """Where a part lies in a folder: as in a store, under its bare name, or in the cache of huggingface_hub."""
    owner, name = part.folder.split("/")
    cached = sorted((source / f"models--{owner}--{name}" / "snapshots").glob("*"))
    mine = [folder for folder in cached if folder.name == part.revision]
    for folder in (source / owner / name, source / name, *mine, *cached):
        if folder.is_dir():
            return folder
    bare = part.files[0].path
    return source if len(part.files) == 1 and (source / bare).is_file() else None


def _from_folder(source: Path, family: Family, store: Store, monitor: Monitor) -> int:
    files: list[tuple[_Member, Path]] = []
    for part in family.parts:
        folder = _folder_of(source, part)
        for entry in part.files if folder else ():
            assert folder is not None
            path = folder / entry.path
            if path.is_file():
                files.append((_Member(part=part, entry=entry, size=path.stat().st_size, sha256=""), path))
    total = sum(member.size for member, _ in files)
    _check_space(store.folder, total)
    done = 0
    for member, path in files:
        with path.open("rb") as file:
            _take(member, _Watched(file, done, total, monitor, member.name), family, store, revision="")
        done += member.size
    return len(files)


def _from_tar(source: Path, store: Store, monitor: Monitor) -> int:
    with _opened(source) as tar:
        family, members, revisions = _read_manifest(tar, source)
        total = sum(member.size for member in members)
        _check_space(store.folder, total)
        done, waiting = 0, {member.name: member for member in members}
        try:
            while (info := tar.next()) is not None:
                member = waiting.pop(info.name, None)
                if member is None or not info.isfile() or info.size != member.size:
                    raise _damaged(source, f"{info.name!r} is not as its manifest says")
                file = tar.extractfile(info)
                assert file is not None
                reader = _Watched(file, done, total, monitor, member.name)
                _take(member, reader, family, store, revision=revisions.get(member.part.folder, ""))
                done += member.size
        except (tarfile.TarError, EOFError) as error:
            raise _damaged(source, f"it ends too early ({error})") from error
        if waiting:
            raise _damaged(source, f"{next(iter(waiting))!r} and {len(waiting) - 1} more of its files are not in it")
    return len(members)


def _take(member: _Member, reader: _Watched, family: Family, store: Store, *, revision: str) -> None:
    """One file, through the partial folder, into its place."""
    unfinished = store.partial / f"{hashlib.sha256(member.name.encode()).hexdigest()[:16]}.import"
    digest = hashlib.sha256()
    try:
        try:
            with unfinished.open("wb") as file:
                while chunk := reader.read(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
        except OSError as error:
            raise OutputError(
                f"{member.name} cannot be copied: {error.strerror or error}.", hint="Free some disk space."
            ) from error
        fault = wrong_contents(member.name, digest.hexdigest(), member.entry, None)
        if member.sha256 and digest.hexdigest() != member.sha256:
            fault = FileFault(
                file=member.name, code="weights.hash", message="has other contents than the manifest says"
            )
        suffix = Path(member.entry.path).suffix
        if fault is None and suffix in (".safetensors", ".pth"):
            try:
                read_shapes(unfinished, suffix)
            except BadFileError as error:
                fault = FileFault(file=member.name, code=error.code, message=error.message)
        if fault is not None:
            raise WeightsFilesError(
                family.name, [fault], hint="Copy it anew from where it came from. What came before it is in place."
            )
        store.put(unfinished, store.part_folder(family, member.part) / member.entry.path)
    finally:
        unfinished.unlink(missing_ok=True)
    record = FileRecord(size=member.size, sha256=digest.hexdigest(), source="import", moment=now())
    store.keep_files(member.part.folder, {member.entry.path: record}, revision=revision)


def _opened(source: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(source, "r:")
    except FileNotFoundError as error:
        raise WeightsFetchError(f"There is no {str(source)!r}.", hint="Give a bundle (.tar) or a folder.") from error
    except (tarfile.TarError, OSError, EOFError) as error:
        raise _damaged(source, f"it is no tar ({error})") from error


def _read_manifest(tar: tarfile.TarFile, source: Path) -> tuple[Family, list[_Member], dict[str, str]]:
    try:
        first = tar.next()
        if first is None or first.name != "manifest.json" or not first.isfile() or first.size > _LONGEST_MANIFEST:
            raise ValueError("its first file is not a manifest")
        stream = tar.extractfile(first)
        assert stream is not None
        document = json.loads(stream.read())
        if document["meshwright_weights"] != 1:
            raise ValueError("it was made by another version of meshwright")
        name = str(document["family"])
        if name not in {family.name for family in FAMILIES if not family.packaged}:
            raise ValueError(f"it holds {name!r}, which is not known here")
        family = family_named(name)
        known = {f"{part.folder}/{entry.path}": (part, entry) for part in family.parts for entry in part.files}
        members = []
        for item in document["files"]:
            if item["path"] not in known:
                raise ValueError(f"it holds {item['path']!r}, which does not belong to {name}")
            part, entry = known[item["path"]]
            members.append(_Member(part=part, entry=entry, size=int(item["size"]), sha256=str(item["sha256"])))
        revisions = {str(part): str(says.get("revision", "")) for part, says in document["parts"].items()}
    except (tarfile.TarError, OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise _damaged(source, str(error)) from error
    return family, members, revisions


def _damaged(source: Path, why: str) -> WeightsFetchError:
    return WeightsFetchError(
        f"{source.name!r} is not a bundle of weights, or a damaged one: {why}.",
        hint="`meshwright weights export` makes them; `meshwright weights import` also takes a folder.",
    )


def _check_space(folder: Path, needed: int) -> None:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed + (64 << 20):
        raise DiskFullError(
            f"{size_in_words(needed)} are needed on the disk of {str(folder)!r}, {size_in_words(free)} are free.",
            hint="Free some space, or choose another disk (for the store: MESHWRIGHT_WEIGHTS).",
            needed_bytes=needed,
            free_bytes=free,
        )
