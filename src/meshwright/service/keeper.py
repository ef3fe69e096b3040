"""Brings what finished stages leave into storage while a model runs: results, so that another machine can go on from
them, and pictures, so that people can see them."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from meshwright.errors import MeshwrightError
from meshwright.service.storage import FileMissing, Storage

__all__ = ["Keeper"]

log = logging.getLogger(__name__)

_LOOK_S = 0.2


class Keeper:
    """Copies what appears in a folder; a context manager.

    Args:
        storage: Where to.
        prefix: Under which folder.
        folder: The folder that is looked at. Files in it appear whole, by rename, and are never changed.
    """

    def __init__(self, storage: Storage, prefix: str, folder: Path) -> None:
        self.storage = storage
        self.prefix = prefix
        self.folder = folder
        self._known: dict[str, tuple[int, int]] = {}
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def restore(self) -> None:
        """Brings back what earlier attempts kept."""
        for item in list(self.storage.list(self.prefix)):
            target = self.folder / item.key.rpartition("/")[2]
            with suppress(FileMissing):
                self.storage.get_file(item.key, target)
                self._known[target.name] = _stamp(target)

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finished.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._finished.wait(_LOOK_S):
            self._look()

    def _look(self) -> None:
        for path in sorted([*self.folder.glob("*.npz"), *self.folder.glob("live_*.png")]):
            try:
                stamp = _stamp(path)
                if self._known.get(path.name) != stamp:
                    self.storage.put_file(f"{self.prefix}/{path.name}", path)
                    self._known[path.name] = stamp
            except FileNotFoundError:
                continue  # the model has finished and cleaned up
            except MeshwrightError as error:
                # Without it the stage is done again after a crash; that is no reason to stop.
                log.warning("a checkpoint could not be kept: %s", error.message)
                return


def _stamp(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_mtime_ns, about.st_size
