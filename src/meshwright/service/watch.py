"""The thread beside an attempt: signs of life, progress on its way to the table, and the wish to stop on its way back.

Nothing that computes ever waits for the store: `report` only notes, `check` only looks at a flag.
"""

from __future__ import annotations

import enum
import logging
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType

from meshwright.errors import Cancelled, MeshwrightError
from meshwright.service.jobs import Claim, Jobs, LostClaim
from meshwright.service.settings import Settings
from meshwright.types import JobStatus

__all__ = ["Reason", "Watch"]

log = logging.getLogger(__name__)

_GRACE_S = 1.4
"""Time to stop by itself for a stage whose job was cancelled; with what polling takes it stays below two seconds."""
_REPORT_S = 0.25
"""Time between two reports of progress."""


class Reason(enum.Enum):
    """Why an attempt has to stop."""

    LOST = "lost"
    """The job was cancelled, or belongs to somebody else."""
    TIME = "time"
    """It took too long."""
    SHUTDOWN = "shutdown"
    """This worker is told to end."""


class Watch:
    """Keeps a claim alive; a context manager.

    Args:
        claim: The claim.
        jobs: The job table.
        settings: Pauses and limits.
        leaving: Whether the worker was told to end.
        end_process: Ends this process at once; called where the work does not stop by itself in time. None where the
            process is not this attempt's alone.
    """

    def __init__(
        self,
        claim: Claim,
        jobs: Jobs,
        settings: Settings,
        *,
        leaving: Callable[[], bool] = lambda: False,
        end_process: Callable[[], None] | None = None,
    ) -> None:
        self.claim = claim
        self.jobs = jobs
        self.settings = settings
        self.leaving = leaving
        self.end_process = end_process
        self.reason: Reason | None = None
        self._said: tuple[float, str | None, str] | None = None
        self._written: tuple[float, str | None, str] | None = None
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch-{claim.job_id}", daemon=True)
        self._began = time.monotonic()

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finished.set()
        self._thread.join(timeout=5)

    def say(self, percent: float, model: str | None, step: str) -> None:
        """How far the whole job is."""
        self._said = (percent, model, step)

    def check(self) -> None:
        """Raises `Cancelled` if the attempt has to stop."""
        if self.reason is not None:
            raise Cancelled("The job was stopped.", hint="")

    def _run(self) -> None:
        pause = self.settings.cancel_poll_s
        next_beat = next_report = 0.0
        while not self._finished.wait(pause):
            now = time.monotonic()
            try:
                if self._said is not None and self._said != self._written and now >= next_report:
                    said = self._said
                    self.jobs.advance(self.claim, *said)
                    self._written, next_report, next_beat = said, now + _REPORT_S, now + self.settings.heartbeat_s
                elif now >= next_beat:
                    self.jobs.beat(self.claim)
                    next_beat = now + self.settings.heartbeat_s
                elif not self._held():
                    raise LostClaim(self.claim.job_id, self.claim.token)
            except LostClaim:
                self._stop(Reason.LOST)
                return
            except MeshwrightError as error:  # the store is away: the work goes on, the lease may run out
                log.warning("job %s: %s", self.claim.job_id, error.message)
            except Exception:
                log.exception("job %s: its watch stumbled", self.claim.job_id)
            if self.leaving():
                self._stop(Reason.SHUTDOWN)
                return
            if time.monotonic() - self._began > self.settings.soft_limit_s:
                self._stop(Reason.TIME)
                return

    def _held(self) -> bool:
        job = self.jobs.many([self.claim.job_id]).get(self.claim.job_id)
        return job is not None and job.token == self.claim.token and job.status is JobStatus.PROCESSING

    def _stop(self, reason: Reason) -> None:
        self.reason = reason
        grace = _GRACE_S
        if reason is not Reason.LOST:
            grace = min(self.settings.shutdown_s / 2, self.settings.hard_limit_s - self.settings.soft_limit_s)
        if self._finished.wait(grace) or self.end_process is None:
            return
        log.warning("job %s: the work does not stop by itself; ending its process %d", self.claim.job_id, os.getpid())
        self.end_process()
