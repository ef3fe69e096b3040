"""The folder that weights lie in, and what is recorded about them.

STORE/
    Stable-X/trellis-vggt-v0-2/pipeline.json, ckpts/...    as published; a plain copy of the repository will do
    Stable-X/vggt-object-v0-1/...
    facebookresearch/dinov2/...
    .meshwright/record.json      revisions, sizes and hashes of what came; accepted licences
    .meshwright/partial/         what has not come whole yet; never looked at as weights
    .meshwright/lock             held while something is fetched or imported
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from meshwright.errors import OutputError
from meshwright.weights.catalogue import Family, Part

__all__ = ["RECORD", "VARIABLE", "FileRecord", "Store", "default_folder"]

VARIABLE = "MESHWRIGHT_WEIGHTS"
"""Variable that names the store's folder."""
_OWN = ".meshwright"
RECORD = f"{_OWN}/record.json"
"""What is recorded, below the store's folder."""
_PACKAGED = Path(__file__).parents[1] / "models" / "reconviagen" / "checkpoints"


def default_folder() -> Path:
    """`MESHWRIGHT_WEIGHTS`, or `meshwright/weights` in the user's data folder."""
    named = os.environ.get(VARIABLE, "")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "meshwright" / "weights"


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """What was true of a file when it came.

    Attributes:
        size: Bytes.
        sha256: Of its contents.
        source: Where it came from: `hub`, an address, `import`, or `found here`.
        moment: When, UTC, ISO 8601.
    """

    size: int
    sha256: str
    source: str
    moment: str


class Store:
    """Paths and records of one store. Nothing is made before something is written.

    Args:
        folder: Its home; None for the one that this machine uses.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (default_folder() if folder is None else folder).absolute()

    # --- where things are -------------------------------------------------------------------------------------------

    @property
    def partial(self) -> Path:
        """Where files are kept until they are whole."""
        return self.folder / _OWN / "partial"

    @property
    def record_path(self) -> Path:
        return self.folder / RECORD

    def part_folder(self, family: Family, part: Part) -> Path:
        """Where the files of `part` lie."""
        return _PACKAGED if family.packaged else self.folder / part.folder

    # --- what is known of files --------------------------------------------------------------------------------------

    def file_record(self, part: str, path: str) -> FileRecord | None:
        """What was recorded of a file; None where nothing was."""
        found = self._read()["parts"].get(part, {}).get("files", {}).get(path)
        try:
            return None if found is None else FileRecord(**found)
        except TypeError:
            return None  # of another version

    def revision(self, part: str) -> str:
        """The commit that a part was fetched from; empty where that is not known."""
        return str(self._read()["parts"].get(part, {}).get("revision", ""))

    def keep_files(self, part: str, files: Mapping[str, FileRecord], *, revision: str = "") -> None:
        """Records what came, beside what was recorded before."""
        record = self._read()
        entry = record["parts"].setdefault(part, {"revision": "", "files": {}})
        if revision:
            entry["revision"] = revision
        entry["files"].update({path: vars(file) for path, file in files.items()})
        self._write(record)

    def forget(self, part: str) -> None:
        """Drops what was recorded of the files of a part; accepted licences stay accepted."""
        record = self._read()
        if record["parts"].pop(part, None) is not None:
            self._write(record)

    # --- licences ----------------------------------------------------------------------------------------------------

    def acceptance(self, part: str) -> tuple[str, str] | None:
        """When the terms of a part were accepted, and the hash of their text."""
        found = self._read()["licences"].get(part)
        return None if found is None else (str(found.get("accepted", "")), str(found.get("text_sha256", "")))

    def keep_acceptances(self, accepted: Mapping[str, tuple[str, str]]) -> None:
        """Records part -> (name of the licence, hash of the text) as accepted now."""
        record = self._read()
        for part, (name, text) in accepted.items():
            record["licences"][part] = {"accepted": now(), "licence": name, "text_sha256": text}
        self._write(record)

    # --- writing -----------------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One program at a time puts weights here.

        Raises:
            OutputError: Another one does, or the folder cannot be written to.
        """
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / _OWN / "lock").open("w")
        except OSError as error:
            raise self._unwritable(error) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise OutputError(
                    f"Another program is putting weights into {str(self.folder)!r}.",
                    hint="Wait for it. Nothing of what it has fetched has to be fetched again.",
                ) from error
            yield
        with suppress(OSError):
            self.partial.rmdir()  # if nothing is left to go on with

    def free_bytes(self) -> int:
        """Free space on the disk that the store is on."""
        folder = self.folder
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def put(self, unfinished: Path, target: Path) -> None:
        """Moves a whole file to its place; it appears there at once.

        Raises:
            OutputError: That is not possible.
        """
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished.replace(target)
        except OSError as error:
            raise self._unwritable(error) from error

    def _read(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"format": 1, "licences": {}, "parts": {}}
        try:
            found = json.loads(self.record_path.read_text(encoding="utf-8"))
            if all(isinstance(found[name], dict) for name in ("licences", "parts")):
                return dict(found)
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none yet, or not one of ours: what is not recorded is asked for again
        return empty

    def _write(self, record: Mapping[str, Any]) -> None:
        unfinished = self.record_path.with_suffix(".tmp")
        try:
            unfinished.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            unfinished.replace(self.record_path)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"The folder of weights {str(self.folder)!r} cannot be written to: {error.strerror or error}.",
            hint=f"Name another one with {VARIABLE}, or ask whoever may write there.",
        )


def now() -> str:
    """The moment as it is recorded."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
