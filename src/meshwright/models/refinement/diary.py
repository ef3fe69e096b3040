"""When a long fit keeps what it has reached, and whether what was kept still fits."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from meshwright.errors import OutputError
from meshwright.models.base import Memory
from meshwright.types import Array

__all__ = ["Diary"]

log = logging.getLogger(__name__)


class Diary:
    """Writes into a memory, at most every few seconds.

    Args:
        memory: Where to; nothing is written where it is None.
        subject: What is worked on, as arrays. It is made anew by every run; should it come out otherwise, what was
            kept would not fit, so their hash stands beside it.
        pause_s: Seconds between two entries.
    """

    def __init__(self, memory: Memory | None, subject: Sequence[Array], pause_s: float) -> None:
        self.memory = memory
        self.pause_s = pause_s
        digest = hashlib.blake2b()
        for array in subject:
            digest.update(np.ascontiguousarray(array).data)
        self._subject = digest.hexdigest()
        self._last = time.monotonic()

    def begin(self) -> Mapping[str, Any] | None:
        """What an earlier, killed run has reached."""
        kept = None if self.memory is None else self.memory.recall()
        if kept is None or kept.get("subject") != self._subject:
            return None
        log.info("the fit goes on from its last kept step")
        return kept

    def write(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """Keeps `state()`, if it is time again."""
        if self.memory is None or time.monotonic() - self._last < self.pause_s:
            return
        try:
            self.memory.keep({**state(), "subject": self._subject})
        except OutputError as error:
            log.warning("a step could not be kept: %s", error.message)  # it is only for the case of a crash
        self._last = time.monotonic()
