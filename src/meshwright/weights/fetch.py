"""What is missing of a family comes from where it was published, or from a mirror, and is put in place once whole.

    survey(...)   what is missing, where it is, how large        asks servers, fetches nothing
    fetch(...)    fetches it                                     each file: transfer, hash, then moved into place

Mirrors: `HF_ENDPOINT` names another server that speaks as the Hugging Face hub does. `mirror` is the address of any web
server that serves a folder laid out as a store is (another machine's, for example).
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from meshwright.errors import DiskFullError, FileFault, WeightsFetchError, WeightsFilesError
from meshwright.progress import Plan, Stage
from meshwright.types import Monitor, SilentMonitor
from meshwright.weights.catalogue import Family, FileEntry, Part
from meshwright.weights.headers import BadFileError, read_shapes
from meshwright.weights.store import RECORD, FileRecord, Store, now
from meshwright.weights.transfer import Resource, look_up, transfer
from meshwright.weights.verify import Verification, hash_file, size_in_words, verify, wrong_contents

__all__ = ["Wanted", "fetch", "plan_of", "survey"]

_SPARE_BYTES = 64 << 20
"""What has to stay free beside the weights."""
_TRIES = 3
_PAUSE_S = 1.0
_BYTES_PER_SECOND = 20e6
"""How fast a download is taken to be until it is seen."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file that is to be fetched, and how much of it is here already."""

    part: Part
    entry: FileEntry
    resource: Resource
    target: Path
    unfinished: Path

    @property
    def name(self) -> str:
        return f"{self.part.folder}/{self.entry.path}"

    @property
    def size(self) -> int:
        """Bytes, as well as they are known."""
        return self.resource.size or self.entry.size

    @property
    def here(self) -> int:
        """Bytes that an earlier try has brought."""
        return self.unfinished.stat().st_size if self.unfinished.is_file() else 0


def survey(
    family: Family, store: Store, *, mirror: str = "", monitor: Monitor | None = None
) -> tuple[list[Wanted], Verification]:
    """What has to be fetched so that `family` is whole: what is missing, cut short, changed or renamed.

    Files that are there are read and compared first, so nothing that is right is fetched again. Servers are only asked
    if something is wanted.

    Raises:
        WeightsFetchError: A server does not answer, refuses, or has other files than this version of meshwright knows.
    """
    monitor = monitor or SilentMonitor()
    if family.packaged:
        raise WeightsFetchError(f"{family.name} comes with meshwright; nothing is to be fetched.")
    found = verify(family, store, monitor)
    broken = {fault.file for fault in found.faults}
    wrong = {fault.file for fault in found.faults if fault.code == "weights.shape"}
    # Which of the two does not fit the other cannot be seen.
    broken |= {
        f"{net.part}/{net.config}" for net in family.networks if net.config and f"{net.part}/{net.weights}" in wrong
    }
    if not broken:
        return [], found
    wanted = []
    recorded = _recorded_at(mirror) if mirror else {}
    for part in family.parts:
        folder = store.part_folder(family, part)
        fresh = not folder.is_dir()
        for entry in part.files:
            name = f"{part.folder}/{entry.path}"
            if name not in broken and not (fresh and not entry.needed):
                continue
            monitor.check()
            resource = _find(part, entry, mirror, recorded.get(name, ""))
            if resource is None:
                if entry.needed:
                    raise WeightsFetchError(
                        f"{name} is not to be had: the server has no such file in revision "
                        f"{part.revision or 'as published'}.",
                        hint="Check the mirror, or set another revision (docs/weights.md says how).",
                        file=name,
                    )
                continue
            wanted.append(
                Wanted(
                    part=part,
                    entry=entry,
                    resource=resource,
                    target=folder / entry.path,
                    unfinished=store.partial / _partial_name(name, part, resource),
                )
            )
    return wanted, found


def plan_of(wanted: Sequence[Wanted]) -> Plan:
    """The stages of a download: one per part, as long as its bytes take."""
    seconds: dict[str, float] = {}
    for item in wanted:
        seconds[item.part.folder] = (
            seconds.get(item.part.folder, 0.0) + max(item.size - item.here, 1) / _BYTES_PER_SECOND
        )
    return Plan(
        [Stage(name=name, title=f"Fetching {name.rpartition('/')[2]}", share=share) for name, share in seconds.items()]
    )


def fetch(wanted: Sequence[Wanted], store: Store, monitor: Monitor | None = None) -> int:
    """Fetches what `survey` found, and gives the number of bytes that came.

    A file appears in its place when all of it is there and its hash is right. What came of others stays, and the next
    call goes on after it.

    Raises:
        WeightsFetchError: A server does not answer, refuses, or sends something else than it announced.
        DiskFullError: Too little space is free; nothing was fetched.
        OutputError: The store cannot be written to, or another program is writing.
        Cancelled: The monitor wants to stop.
    """
    monitor = monitor or SilentMonitor()
    if not wanted:
        return 0
    plan = plan_of(wanted)
    came = 0
    with store.writing():
        _check_space(wanted, store)
        for part in dict.fromkeys(item.part.folder for item in wanted):
            items = [item for item in wanted if item.part.folder == part]
            progress = _Progress(plan.monitor(part, monitor), items)
            for item in items:
                came += _fetch_one(item, store, progress)
    monitor.report(100.0, "Fetched")
    return came


class _Progress:
    """Bytes of one part, as 0-100 and in words."""

    def __init__(self, monitor: Monitor, items: Sequence[Wanted]) -> None:
        self.monitor = monitor
        self.total = max(sum(item.size - item.here for item in items), 1)
        self.whole = sum(item.size for item in items)
        self.begun = sum(item.here for item in items)
        self.done = 0
        self.now = 0

    def said(self, before: int, at: int) -> None:
        self.now = max(at - before, 0)
        unit, name = (1e9, "GB") if self.whole >= 1e9 else (1e6, "MB")
        step = f"{(self.begun + self.done + self.now) / unit:.1f} of {self.whole / unit:.1f} {name}"
        self.monitor.report(min(100.0 * (self.done + self.now) / self.total, 99.9), step)

    def next(self) -> None:
        self.done, self.now = self.done + self.now, 0


def _fetch_one(item: Wanted, store: Store, progress: _Progress) -> int:
    try:
        item.unfinished.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsFetchError(f"{str(item.unfinished.parent)!r} cannot be made: {error.strerror}.") from error
    for attempt in range(2):
        before = item.here
        progress.said(before, before)
        transfer(item.resource, item.unfinished, progress.monitor, partial(progress.said, before))
        digest = hash_file(item.unfinished, _CheckOnly(progress.monitor))
        fault = _fault_of(item, digest)
        if fault is None:
            break
        item.unfinished.unlink()
        # What came in several tries may be of two versions of a file: then it is fetched once more, in one go.
        if attempt or not before:
            raise WeightsFilesError(
                item.part.folder,
                [fault],
                hint="The server sends something else than was published. Nothing of it was kept. Try again later, or "
                "another mirror.",
            )
    size = item.unfinished.stat().st_size
    record = FileRecord(size=size, sha256=digest, source=item.resource.url, moment=now())
    store.put(item.unfinished, item.target)
    store.keep_files(item.part.folder, {item.entry.path: record}, revision=item.resource.revision)
    progress.next()
    return size - before


class _CheckOnly:
    """Lets a wish to stop through while a hash is made, whose progress is not shown."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor

    def report(self, percent: float, step: str) -> None:
        """It takes seconds at most."""

    def check(self) -> None:
        self.monitor.check()


def _fault_of(item: Wanted, digest: str) -> FileFault | None:
    """What is wrong with a file that has come."""
    fault = wrong_contents(item.name, digest, item.entry, None)
    if fault is not None:
        return fault
    if item.resource.sha256 and digest != item.resource.sha256:
        message = f"has other contents than the server announced (SHA-256 {digest[:12]}…)"
        return FileFault(file=item.name, code="weights.hash", message=message)
    if item.resource.git_sha1 and _git_sha1(item.unfinished) != item.resource.git_sha1:
        return FileFault(file=item.name, code="weights.hash", message="has other contents than the server announced")
    suffix = Path(item.entry.path).suffix
    if suffix in (".safetensors", ".pth"):
        try:
            read_shapes(item.unfinished, suffix)
        except BadFileError as error:
            return FileFault(file=item.name, code=error.code, message=error.message)
    return None


def _git_sha1(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _partial_name(name: str, part: Part, resource: Resource) -> str:
    """Another version of a file has another name, so that nobody goes on with the wrong one."""
    version = "\n".join([name, part.revision, resource.sha256, resource.git_sha1, str(resource.size)])
    return f"{Path(name).name}.{hashlib.sha256(version.encode()).hexdigest()[:16]}.part"


def _check_space(wanted: Sequence[Wanted], store: Store) -> None:
    needed = sum(max(item.size - item.here, 0) for item in wanted) + _SPARE_BYTES
    free = store.free_bytes()
    if free < needed:
        raise DiskFullError(
            f"{size_in_words(needed)} are needed in {str(store.folder)!r}, {size_in_words(free)} are free.",
            hint="Free some space, or name a folder on another disk with MESHWRIGHT_WEIGHTS.",
            needed_bytes=needed,
            free_bytes=free,
        )


# --- where files are -----------------------------------------------------------------------------------------------


def _recorded_at(mirror: str) -> dict[str, str]:
    """Name -> SHA-256 of the files of a mirror, if the record of its store is served too."""
    try:
        answer = httpx.get(f"{mirror.rstrip('/')}/{RECORD}", follow_redirects=True, timeout=30)
        parts = answer.raise_for_status().json()["parts"]
        return {f"{part}/{path}": str(file["sha256"]) for part in parts for path, file in parts[part]["files"].items()}
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # then the hashes of the catalogue, as far as it has any, are what files are held to


def _find(part: Part, entry: FileEntry, mirror: str, recorded: str) -> Resource | None:
    """Where a file is to be had; None where the server has none of that name."""
    if mirror:
        resource = look_up(f"{mirror.rstrip('/')}/{part.folder}/{entry.path}")
        if resource is not None:
            resource.sha256 = recorded
    elif part.url:
        resource = look_up(f"{part.url.rstrip('/')}/{entry.path}")
    else:
        resource = _on_hub(part, entry)
    if resource is None:
        return None
    if entry.sha256 and resource.sha256 and entry.sha256 != resource.sha256:
        raise WeightsFilesError(
            part.folder,
            [
                FileFault(
                    file=f"{part.folder}/{entry.path}",
                    code="weights.hash",
                    message=f"the server has another file (SHA-256 {resource.sha256[:12]}…) than was published "
                    f"({entry.sha256[:12]}…)",
                )
            ],
            hint="Nothing was fetched. Use another mirror, or set the hash anew (MESHWRIGHT_WEIGHTS_CATALOGUE).",
        )
    resource.sha256 = resource.sha256 or entry.sha256
    return resource


def _on_hub(part: Part, entry: FileEntry) -> Resource | None:
    """Asks the hub, with the user's token if there is one."""
    try:
        from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HfHubHTTPError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
        from huggingface_hub.utils import build_hf_headers
    except ImportError as error:
        raise WeightsFetchError(
            "Fetching weights needs the package huggingface_hub, which is not installed.",
            hint="pip install 'meshwright[weights]'",
        ) from error
    if constants.HF_HUB_OFFLINE:
        raise WeightsFetchError(
            "HF_HUB_OFFLINE is set: the hub is not to be asked.",
            hint="Unset it, or bring the files with `meshwright weights import`.",
        )
    url = hf_hub_url(
        part.folder, entry.path, revision=part.revision or "main", endpoint=os.environ.get("HF_ENDPOINT") or None
    )
    for attempt in range(_TRIES):
        try:
            answer = get_hf_file_metadata(url, timeout=30)
            break
        except EntryNotFoundError:
            return None
        except GatedRepoError as error:
            raise WeightsFetchError(
                f"{part.folder} is only given to those who have accepted its conditions on its page.",
                hint=f"Open https://huggingface.co/{part.folder}, accept them, and set HF_TOKEN to a token of yours.",
            ) from error
        except (RepositoryNotFoundError, RevisionNotFoundError) as error:
            raise WeightsFetchError(
                f"The hub has no {part.folder} in revision {part.revision or 'main'}, or does not show it to you.",
                hint="If it asks for a login, set HF_TOKEN. If the repository has moved, docs/weights.md says how to "
                "name another revision.",
            ) from error
        except Exception as error:  # whichever HTTP library this version of huggingface_hub uses
            status = getattr(getattr(error, "response", None), "status_code", 0)
            refused = isinstance(error, HfHubHTTPError)
            if attempt + 1 < _TRIES and (not refused or status in (429, 500, 502, 503, 504)):
                time.sleep(_PAUSE_S * (attempt + 1))
                continue
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            raise WeightsFetchError(
                f"The hub {'refuses' if refused else 'does not answer'} ({said}).",
                hint="Check the network (and HF_ENDPOINT, HTTPS_PROXY) and type the same again. Without internet "
                "access: `meshwright weights import`.",
            ) from error
    etag = answer.etag or ""
    return Resource(
        url,
        headers={key: value for key, value in build_hf_headers().items() if key.lower() == "authorization"},
        size=answer.size or 0,
        sha256=etag if re.fullmatch("[0-9a-f]{64}", etag) else "",
        git_sha1=etag if re.fullmatch("[0-9a-f]{40}", etag) else "",
        revision=answer.commit_hash or part.revision,
    )
