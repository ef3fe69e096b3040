"""Where a run writes, and how its results get into place whole or not at all.

Beside the output folder `OUT` stands `OUT.partial` while a run lasts:

    OUT.partial/lock           held by the run that is going on
    OUT.partial/checkpoints/   results of finished stages
    OUT.partial/result/        the files as they are written; moved to OUT at the very end

A run that ends by itself (finished, failed, stopped with Ctrl-C) removes it. One that is killed cannot, and the next
run with the same output goes on from its checkpoints.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import IO

from meshwright.errors import DiskFullError, OutputError

__all__ = ["Workspace"]


class Workspace:
    """The temporary home of one run; a context manager.

    Args:
        output: The folder that the results go to.
        own_names: Names of everything that a result consists of.
        overwrite: Put results into a folder that holds other files too (those stay; only `own_names` are replaced).
        needed_bytes: Free disk space without which the run does not start.
    Raises (on entering):
        OutputError: The folder cannot be written, holds files that are not ours, or another run is at it.
        DiskFullError: Too little space is free.
    """

    def __init__(
        self, output: Path, *, own_names: Collection[str], overwrite: bool = False, needed_bytes: int = 0
    ) -> None:
        self.output = output.absolute()
        self.own_names = frozenset(own_names)
        self.overwrite = overwrite
        self.needed_bytes = needed_bytes
        self.partial = self.output.with_name(self.output.name + ".partial")
        self._lock: IO[str] | None = None
        self._made: list[Path] = []

    @property
    def checkpoints(self) -> Path:
        """Where results of finished stages are kept."""
        return self.partial / "checkpoints"

    @property
    def result(self) -> Path:
        """Where the files are written before they are moved into place."""
        return self.partial / "result"

    def __enter__(self) -> Workspace:
        self._check_output()
        self._made = [folder for folder in self.partial.parents if not folder.exists()]
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
            self._lock = (self.partial / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._unlock()
            raise OutputError(
                f"Another run is writing to {self.output.name!r}.", hint="Wait for it, or choose another output folder."
            ) from None
        except OSError as error:
            self._remove()
            raise OutputError(
                f"The output folder {self.output.name!r} cannot be made: {error.strerror}.",
                hint="Choose a folder that you may write to.",
            ) from error
        try:
            self._check_space()
            shutil.rmtree(self.result, ignore_errors=True)
            self.result.mkdir()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def commit(self) -> None:
        """Moves the files into place.

        Raises:
            OutputError: They cannot be moved.
        """
        try:
            if not self.output.exists():
                self.result.rename(self.output)
                return
            # The folder is there (empty, an earlier result of ours, or --overwrite): only our own names are replaced.
            # The old files step aside first, so that a failure half-way can put them back.
            aside = self.partial / "replaced"
            aside.mkdir(exist_ok=True)
            old = [entry for entry in sorted(self.output.iterdir()) if entry.name in self.own_names]
            for entry in old:
                shutil.move(entry, aside / entry.name)
            try:
                for entry in sorted(self.result.iterdir()):
                    shutil.move(entry, self.output / entry.name)
            except OSError:
                for entry in aside.iterdir():
                    _delete(self.output / entry.name)
                    shutil.move(entry, self.output / entry.name)
                raise
        except OSError as error:
            raise OutputError(
                f"The results cannot be moved to {self.output.name!r}: {error.strerror}.",
                hint="Choose a folder that you may write to.",
            ) from error

    def _check_output(self) -> None:
        if not self.output.exists():
            return
        if not self.output.is_dir():
            raise OutputError(f"The output {self.output.name!r} is a file, not a folder.", hint="Give a folder.")
        entries = {entry.name for entry in self.output.iterdir()}
        if not entries or self.overwrite:
            return
        foreign = entries - self.own_names
        if foreign or not _is_earlier_result(self.output):
            shown = ", ".join(sorted(foreign or entries)[:5])
            raise OutputError(
                f"The output folder {self.output.name!r} is not empty and not an earlier result ({shown}).",
                hint="Choose another folder, or pass --overwrite: files of the same names are replaced, others stay.",
            )

    def _check_space(self) -> None:
        free = shutil.disk_usage(self.partial).free
        if free < self.needed_bytes:
            raise DiskFullError(
                f"About {self.needed_bytes / 1e6:.0f} MB are needed on the disk, {free / 1e6:.0f} MB are free.",
                hint="Free some space, choose an output folder on another disk, or a smaller --texture-size.",
                needed_bytes=self.needed_bytes,
                free_bytes=free,
            )

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _remove(self) -> None:
        self._unlock()
        shutil.rmtree(self.partial, ignore_errors=True)
        # Folders on the way to the output that this run made go too, if nothing came to lie in them.
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                break


def _is_earlier_result(folder: Path) -> bool:
    """Whether meshwright wrote this folder: its `quality.json` names the version that did."""
    try:
        document = json.loads((folder / "quality.json").read_text(encoding="utf-8"))
        return "meshwright" in document["versions"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
