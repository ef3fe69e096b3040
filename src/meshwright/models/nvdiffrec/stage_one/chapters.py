"""One memory for two things done one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshwright.models.base import Memory

__all__ = ["Chapter"]


class Chapter:
    """A part of a memory, by name; see `models.base.Memory`. What other parts hold stays."""

    def __init__(self, memory: Memory, name: str) -> None:
        self.memory = memory
        self.name = name

    def recall(self) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = (self.memory.recall() or {}).get(self.name)
        return found

    def keep(self, state: Mapping[str, Any]) -> None:
        self.memory.keep({**(self.memory.recall() or {}), self.name: dict(state)})
