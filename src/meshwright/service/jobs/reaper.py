"""Finds jobs whose worker is gone, and jobs that nobody seems to have heard of.

Expiry is never judged by comparing clocks of different machines or of different moments: every sign of life raises a
counter, and each reaper measures with its own monotonic clock for how long a counter has stood still. Any number of
reapers may run: what they do is guarded by token and counter in the job table.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from meshwright.service.jobs.identity import is_dead
from meshwright.service.jobs.records import JobRecord
from meshwright.service.jobs.repository import Jobs
from meshwright.types import JobStatus

__all__ = ["Reaper"]

log = logging.getLogger(__name__)

_HINTED = 4
"""So many of the longest waiting jobs are hinted at again; the next ones follow as these are taken."""
_FIRST_HINT_S = 2.0
_LONGEST_PAUSE_S = 60.0


@dataclass
class _Stand:
    """Since when a job's counter has stood where it stands, on our own clock."""

    token: int
    beat: int
    since: float


@dataclass
class _Hint:
    """When a waiting job is hinted at next, on our own clock."""

    due: float
    pause: float


class Reaper:
    """Looks at all open jobs whenever `tick` is called.

    Args:
        jobs: The job table.
        lease_s: How long a counter may stand still.
        hint: Sends the queue message of a job again; may fail.
        clock: Monotonic seconds.
        dead: Whether a worker has certainly ended.
    """

    def __init__(
        self,
        jobs: Jobs,
        lease_s: float,
        hint: Callable[[JobRecord], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        dead: Callable[[str], bool] = is_dead,
    ) -> None:
        self.jobs = jobs
        self.lease_s = lease_s
        self.hint = hint
        self.clock = clock
        self.dead = dead
        self._stands: dict[str, _Stand] = {}
        self._hints: dict[str, _Hint] = {}

    def tick(self) -> tuple[str, ...]:
        """One look.

        Returns:
            Ids of jobs that were taken from a worker that is gone.
        Raises:
            StoreUnavailable: The store does not answer; nothing is lost by trying again later.
        """
        taken = self._reap()
        self._remind()
        return taken

    def _reap(self) -> tuple[str, ...]:
        running = self.jobs.in_state(JobStatus.PROCESSING)
        now = self.clock()
        stands: dict[str, _Stand] = {}
        gone = []
        for job in running:
            stand = self._stands.get(job.job_id)
            if stand is None or (stand.token, stand.beat) != (job.token, job.beat):
                stand = _Stand(job.token, job.beat, now)
            stands[job.job_id] = stand
            silent = now - stand.since >= self.lease_s
            if not silent and not self.dead(job.worker or ""):
                continue
            # The counter is part of the guard only where silence is the reason: the dead do not come back.
            after = self.jobs.requeue(job.job_id, job.token, beat=job.beat if silent else None)
            if after is not None:
                log.warning(
                    "job %s: its worker %s; it is %s now",
                    job.job_id,
                    "gave no sign of life" if silent else "has ended",
                    after.status.value,
                )
                gone.append(job.job_id)
        self._stands = stands
        return tuple(gone)

    def _remind(self) -> None:
        waiting = self.jobs.in_state(JobStatus.QUEUED, limit=_HINTED)
        now = self.clock()
        hints: dict[str, _Hint] = {}
        for job in waiting:
            hint = self._hints.get(job.job_id) or _Hint(now + _FIRST_HINT_S, _FIRST_HINT_S)
            hints[job.job_id] = hint
            if now >= hint.due:
                hint.pause = min(hint.pause * 2, _LONGEST_PAUSE_S)
                hint.due = now + hint.pause
                self.hint(job)
        self._hints = hints
