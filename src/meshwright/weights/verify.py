"""Whether the files of a family are there, whole, in their places, of the right shapes, and the ones they should be.

Every fault has a code of its own:

    weights.missing      not there
    weights.truncated    ends before its end
    weights.renamed      there under another name, or another network's file under this name
    weights.unreadable   not a weights file, or a JSON that is none
    weights.shape        a tensor has another shape than the arguments beside it ask for
    weights.hash         other contents than this version of meshwright, or this machine's record, knows

`examine` looks at directories of files only and takes milliseconds; `verify` reads every byte.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from meshwright.errors import FileFault, OutputError, WeightsFilesError, WeightsNotInstalledError
from meshwright.types import Monitor, SilentMonitor
from meshwright.weights.catalogue import Family, FileEntry, Network, Part
from meshwright.weights.headers import BadFileError, Shapes, read_shapes
from meshwright.weights.layouts import LAYOUTS, expected_shapes
from meshwright.weights.store import FileRecord, Store, now

__all__ = [
    "NetworkFiles",
    "Verification",
    "examine",
    "fetch_command",
    "hash_file",
    "locate",
    "raise_faults",
    "verify",
    "wrong_contents",
]

_WEIGHTS = (".safetensors", ".pth", ".pt", ".bin")
_CHUNK = 8 << 20


@dataclass(frozen=True, kw_only=True)
class NetworkFiles:
    """Where one network lies: its weights, and the JSON with its arguments (None where it has none)."""

    weights: Path
    config: Path | None


@dataclass(kw_only=True)
class Verification:
    """What was found.

    Attributes:
        faults: Everything that is wrong.
        notes: What is odd but no reason to stop.
        pinned: Files whose hash nobody knew before: from now on it is this one.
        checked: Number of files whose contents were compared.
    """

    faults: list[FileFault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pinned: list[str] = field(default_factory=list)
    checked: int = 0


def fetch_command(family: Family) -> str:
    """What to type so that everything of a family is there."""
    command = f"meshwright weights fetch {family.name} --accept-licence"
    return command if importlib.util.find_spec("huggingface_hub") else f"pip install 'meshwright[weights]' && {command}"


def raise_faults(family: Family, store: Store, faults: list[FileFault]) -> None:
    """Does nothing without faults.

    Raises:
        WeightsNotInstalledError: Files are missing: every part of which some are is named, with the command.
        WeightsFilesError: Files are there and wrong.
    """
    if not faults:
        return
    if family.packaged:
        raise WeightsFilesError(family.name, faults, hint="Install meshwright again.", command="")
    command = fetch_command(family)
    missing = [fault for fault in faults if fault.code == "weights.missing"]
    if len(missing) < len(faults):
        raise WeightsFilesError(family.name, faults, hint=_advice(family, faults, command), command=command)
    lines = []
    for part in family.parts:
        names = [fault.file.removeprefix(f"{part.folder}/") for fault in missing if fault.file.startswith(part.folder)]
        if names:
            needed = [entry for entry in part.files if entry.needed]
            what = "nothing of it is there" if len(names) == len(needed) else "missing: " + ", ".join(names)
            lines.append(f"  {part.folder} ({part.title}): {what}")
    raise WeightsNotInstalledError(
        f"The weights {family.name} are not installed:\n" + "\n".join(lines) + "\n",
        hint=f"Fetch them ({size_in_words(family.size)}): {command}",
        family=family.name,
        missing=[fault.file for fault in missing],
        folder=str(store.folder),
        command=command,
    )


def _advice(family: Family, faults: list[FileFault], command: str) -> str:
    codes = {fault.code for fault in faults}
    if codes == {"weights.renamed"}:
        return "Give every file its own name again, then: meshwright weights verify " + family.name
    if codes == {"weights.shape"}:
        return (
            "The arguments (.json) and the weights (.safetensors) beside each other do not belong together. Both are "
            f"fetched again by: {command}"
        )
    return f"What is broken or missing is fetched again, and nothing else, by: {command}"


def size_in_words(size: int) -> str:
    """Bytes for people, such as `8.1 GB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB" if size else "size not known"


def locate(family: Family, store: Store) -> dict[str, NetworkFiles]:
    """Name of network -> its files. Where the pipeline file of the family names other places, those count."""
    named = _named_places(family, store)
    found = {}
    for network in family.networks:
        folder = store.part_folder(family, family.part(network.part))
        stem = named.get(network.name)
        weights, config = (f"{stem}.safetensors", f"{stem}.json") if stem else (network.weights, network.config)
        found[network.name] = NetworkFiles(weights=folder / weights, config=folder / config if config else None)
    return found


def _named_places(family: Family, store: Store) -> dict[str, str]:
    """What the pipeline file says: network -> path without suffix, below the part; nothing that leads out of it."""
    if family.pipeline is None:
        return {}
    part, name = family.pipeline
    try:
        document = json.loads((store.part_folder(family, family.part(part)) / name).read_text(encoding="utf-8"))
        models = document["args"]["models"]
        pairs = {str(key): PurePosixPath(value) for key, value in models.items() if isinstance(value, str)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {key: str(path) for key, path in pairs.items() if not path.is_absolute() and ".." not in path.parts}


def examine(family: Family, store: Store) -> tuple[list[FileFault], list[str]]:
    """Faults and notes that show without reading tensors: presence, wholeness, names, shapes, recorded sizes."""
    faults: list[FileFault] = []
    notes: list[str] = []
    places = locate(family, store)
    networks = {(network.part, network.weights): network for network in family.networks}
    for part in family.parts:
        folder = store.part_folder(family, part)
        for entry in part.files:
            name = f"{part.folder}/{entry.path}"
            network = networks.get((part.folder, entry.path))
            path = places[network.name].weights if network else folder / entry.path
            if not path.is_file():
                if entry.needed:
                    faults.append(_missing(name, network, places, folder, part))
                continue
            fault = _recorded_size(name, path, store.file_record(part.folder, entry.path))
            if fault is None and network is not None:
                fault, said = _judge(name, network, places)
                notes.extend(said)
            elif fault is None and entry.path.endswith(".json"):
                fault = _json_fault(name, path, family, part, entry)
            if fault is not None:
                faults.append(fault)
    return faults, notes


def _missing(
    name: str, network: Network | None, places: Mapping[str, NetworkFiles], folder: Path, part: Part
) -> FileFault:
    """That a file is not there, or stands there under another name."""
    if network is not None and folder.is_dir():
        own = {folder / entry.path for entry in part.files}
        for path in sorted(folder.rglob("*")):
            if path.suffix in _WEIGHTS and path not in own and path.is_file() and _fits(network, path, places):
                return FileFault(
                    file=name,
                    code="weights.renamed",
                    message=f"is not there, but {path.relative_to(folder).as_posix()} holds its tensors: rename that",
                )
    return FileFault(file=name, code="weights.missing", message="is not there")


def _arguments(files: NetworkFiles) -> dict[str, Any]:
    """The arguments in the JSON beside the weights; empty where there are none to read."""
    if files.config is None:
        return {}
    try:
        document = json.loads(files.config.read_text(encoding="utf-8"))
        arguments = document.get("args", document)
        return dict(arguments)
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _fits(network: Network, path: Path, places: Mapping[str, NetworkFiles]) -> bool:
    """Whether `path` holds all tensors of `network`."""
    try:
        found = read_shapes(path)
    except BadFileError:
        return False
    expected = expected_shapes(network.name, _arguments(places[network.name]), found)
    return bool(expected) and all(found.get(key) == shape for key, shape in (expected or {}).items())


def _judge(name: str, network: Network, places: Mapping[str, NetworkFiles]) -> tuple[FileFault | None, list[str]]:
    """What is wrong with the tensors of a network, as its file lists them."""
    path = places[network.name].weights
    try:
        found = read_shapes(path)
    except BadFileError as error:
        return FileFault(file=name, code=error.code, message=error.message), []
    expected = expected_shapes(network.name, _arguments(places[network.name]), found)
    if network.name not in LAYOUTS:
        return None, []
    wrong = [key for key, shape in (expected or {}).items() if key in found and found[key] != shape]
    mostly = expected is not None and 2 * sum(key in found for key in expected) > len(expected)
    if wrong or not mostly:
        other = next((item for item in places if item != network.name and _is_of(item, found, places)), None)
        if other is not None:
            message = f"holds the tensors of {other}, which belong into {places[other].weights.name}"
            return FileFault(file=name, code="weights.renamed", message=message), []
    if expected is None and network.name not in ("vggt", "dinov2"):
        return None, [f"{name}: its arguments describe a network whose shapes are not known here"]
    if expected is None or not mostly:
        message = f"does not hold the tensors of {network.name}, nor of another network of the family"
        return FileFault(file=name, code="weights.unreadable", message=message), []
    if wrong:
        said = "; ".join(f"{key} is {list(found[key])}, not {list(expected[key])}" for key in wrong[:3])
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return FileFault(file=name, code="weights.shape", message=f"has wrong shapes: {said}{more}"), []
    notes = []
    lacking = [key for key in expected if key not in found]
    if lacking:
        notes.append(f"{name}: {len(lacking)} of {len(expected)} tensors are not in the file, such as {lacking[0]}")
    return None, notes


def _is_of(network: str, found: Shapes, places: Mapping[str, NetworkFiles]) -> bool:
    expected = expected_shapes(network, _arguments(places[network]), found)
    return bool(expected) and all(found.get(key) == shape for key, shape in (expected or {}).items())


def _json_fault(name: str, path: Path, family: Family, part: Part, entry: FileEntry) -> FileFault | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return FileFault(file=name, code="weights.unreadable", message=f"is not a JSON file ({error})")
    if not isinstance(document, dict):
        return FileFault(file=name, code="weights.unreadable", message="does not hold a JSON object")
    if family.pipeline == (part.folder, entry.path):
        models = document.get("args", {}).get("models") if isinstance(document.get("args"), dict) else None
        wanted = [network.name for network in family.networks if network.part == part.folder]
        lacking = [item for item in wanted if not isinstance(models, dict) or not isinstance(models.get(item), str)]
        if lacking:
            message = "does not say where these networks lie: " + ", ".join(lacking)
            return FileFault(file=name, code="weights.unreadable", message=message)
    return None


def _recorded_size(name: str, path: Path, record: FileRecord | None) -> FileFault | None:
    size = path.stat().st_size
    if record is None or size == record.size:
        return None
    code = "weights.truncated" if size < record.size else "weights.hash"
    return FileFault(file=name, code=code, message=f"has {size:,} bytes; when it came it had {record.size:,}")


def wrong_contents(name: str, digest: str, entry: FileEntry, record: FileRecord | None) -> FileFault | None:
    """That a file is not the one it should be; None where it is, or where nobody knows."""
    if entry.sha256 and digest != entry.sha256:
        message = f"has other contents than the published file (SHA-256 {digest[:12]}…, published {entry.sha256[:12]}…)"
        return FileFault(file=name, code="weights.hash", message=message)
    if record is not None and digest != record.sha256:
        message = f"has changed since it came (SHA-256 {digest[:12]}…, then {record.sha256[:12]}…)"
        return FileFault(file=name, code="weights.hash", message=message)
    return None


def verify(family: Family, store: Store, monitor: Monitor | None = None) -> Verification:
    """Reads every file of a family and compares it with what is known of it.

    Files whose hash nobody recorded are pinned on first use: their hash is recorded now, and holds from then on.

    Raises:
        Cancelled: The monitor wants to stop.
    """
    monitor = monitor or SilentMonitor()
    faults, notes = examine(family, store)
    found = Verification(faults=faults, notes=notes)
    broken = {fault.file for fault in faults}
    places = locate(family, store)
    weights = {(network.part, network.weights): places[network.name].weights for network in family.networks}
    todo = []
    for part in family.parts:
        for entry in part.files:
            path = weights.get((part.folder, entry.path), store.part_folder(family, part) / entry.path)
            if path.is_file() and f"{part.folder}/{entry.path}" not in broken:
                todo.append((part, entry, path))
    total = sum(path.stat().st_size for _, _, path in todo) or 1
    done = 0
    for part, entry, path in todo:
        name = f"{part.folder}/{entry.path}"
        record = store.file_record(part.folder, entry.path)
        size = path.stat().st_size
        digest = hash_file(path, _Share(monitor, done / total, size / total, f"Reading {name}"))
        done += size
        found.checked += 1
        fault = wrong_contents(name, digest, entry, record)
        if fault is not None:
            found.faults.append(fault)
        elif record is None and not family.packaged:
            fresh = FileRecord(size=size, sha256=digest, source="found here", moment=now())
            try:
                store.keep_files(part.folder, {entry.path: fresh})
            except OutputError as error:  # others look after this store, and may write there
                if not any(note.startswith("hashes") for note in found.notes):
                    found.notes.append(f"hashes that nobody knew are not recorded: {error.message}")
            else:
                if not entry.sha256:
                    found.pinned.append(name)
    return found


class _Share:
    """The monitor of one file among many: 0-100 of it is its share of the whole."""

    def __init__(self, whole: Monitor, start: float, share: float, step: str) -> None:
        self.whole, self.start, self.share, self.step = whole, start, share, step

    def report(self, percent: float, step: str) -> None:
        del step
        self.whole.report(min(100 * self.start + self.share * percent, 99.9), self.step)

    def check(self) -> None:
        self.whole.check()


def hash_file(path: Path, monitor: Monitor | None = None) -> str:
    """SHA-256 of the contents, as 64 hexadecimal digits."""
    monitor = monitor or SilentMonitor()
    monitor.report(0.0, "")
    digest, done, size = hashlib.sha256(), 0, max(path.stat().st_size, 1)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            monitor.check()
            monitor.report(100 * done / size, "")
    return digest.hexdigest()
