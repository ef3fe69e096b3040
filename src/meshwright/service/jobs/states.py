"""The states of a job and the moves between them.

queued ──▶ processing ──▶ completed
  ▲  │          │  │  └──▶ failed
  │  │          │  └─────▶ cancelled
  │  ├─▶ failed │
  │  └─▶ cancelled
  └─────────────┘   (its worker died or was stopped)
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from meshwright.types import JobStatus

__all__ = ["FINAL", "MOVES", "OPEN", "can_move"]

MOVES: Mapping[JobStatus, frozenset[JobStatus]] = MappingProxyType(
    {
        JobStatus.QUEUED: frozenset({JobStatus.PROCESSING, JobStatus.FAILED, JobStatus.CANCELLED}),
        JobStatus.PROCESSING: frozenset({JobStatus.QUEUED, JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}),
        JobStatus.COMPLETED: frozenset(),
        JobStatus.FAILED: frozenset(),
        JobStatus.CANCELLED: frozenset(),
    }
)
"""Where each state can lead."""

FINAL = frozenset(state for state, following in MOVES.items() if not following)
"""States that a job never leaves."""

OPEN = frozenset(MOVES) - FINAL
"""States in which something is still to happen."""


def can_move(before: JobStatus, after: JobStatus) -> bool:
    """Whether a job may go from `before` to `after`."""
    return after in MOVES[before]
