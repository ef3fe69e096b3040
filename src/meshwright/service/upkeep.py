"""What every process of the service does on the side: bring back lost jobs, remove what is not needed any more."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from meshwright.errors import MeshwrightError
from meshwright.service.jobs import JobRecord, Jobs
from meshwright.service.jobs.identity import is_dead
from meshwright.service.jobs.presence import WorkerSeen, WorkerWatch, forget_worker, show_worker
from meshwright.service.jobs.reaper import Reaper
from meshwright.service.settings import Settings
from meshwright.service.storage import Storage, job_prefix
from meshwright.types import JobStatus

__all__ = ["Presence", "Sender", "Upkeep", "WorkerSeen", "WorkerWatch", "sweep_job"]

log = logging.getLogger(__name__)

_SWEEP_S = 3.0
_EXPIRE_S = 60.0
_ORPHANS_S = 600.0
_ORPHAN_AGE_S = 3600.0
"""Files without a job are left alone for so long: an upload may be on its way."""


class Sender(Protocol):
    """What sends hints; `tasks.Queue` is one."""

    def send(self, job_id: str, model_type: str) -> None:
        """Says that a job is queued; may raise a `MeshwrightError`."""


@dataclass(frozen=True, kw_only=True)
class Presence:
    """A worker process, and what it says of itself."""

    worker_id: str
    about: Callable[[], Mapping[str, Any]]


class Upkeep:
    """A thread that looks after things; any number of processes may run one.

    Args:
        settings: Lease and retention.
        jobs: The job table.
        storage: Its files.
        queue: Sends the queue message of a job again; it may fail.
        presence: The worker that this process is, and what to say of it; None where it is none.
    """

    def __init__(
        self,
        settings: Settings,
        jobs: Jobs,
        storage: Storage,
        queue: Sender,
        *,
        presence: Presence | None = None,
    ) -> None:
        self.settings = settings
        self.jobs = jobs
        self.storage = storage
        self.reaper = Reaper(jobs, settings.lease_s, lambda job: queue.send(job.job_id, job.model_type.value))
        self.watch = WorkerWatch(jobs.store, settings.lease_s, dead=is_dead)
        self.presence = presence
        self.pause_s = min(1.0, settings.lease_s / 6)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._first_seen: dict[str, float] = {}
        self._orphans: dict[str, float] = {}
        self._due = {
            "presence": 0.0,
            "sweep": 0.0,
            "workplaces": 0.0,
            "expire": 0.0,
            "orphans": time.monotonic() + _ORPHANS_S,
        }

    def start(self) -> None:
        """Begins to look, and goes on until `stop`."""
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends after the look that is going on."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
        if self.presence is not None:
            worker_id = self.presence.worker_id
            self._guarded(lambda: forget_worker(self.jobs.store, worker_id))

    def tick(self) -> None:
        """One look at everything that is due."""
        self._guarded(self.reaper.tick)
        self._guarded(self.watch.tick)
        for name, pause, chore in (
            ("presence", self.settings.heartbeat_s, self.show_presence),
            ("sweep", min(_SWEEP_S, self.settings.lease_s), self.sweep),
            ("workplaces", _EXPIRE_S, self.sweep_workplaces),
            ("expire", _EXPIRE_S, self.expire),
            ("orphans", _ORPHANS_S, self.remove_orphans),
        ):
            if time.monotonic() >= self._due[name]:
                self._guarded(chore)
                self._due[name] = time.monotonic() + pause

    def show_presence(self) -> None:
        """Says that this worker is there: in the table, and by the age of a file for whoever watches the process."""
        if self.presence is not None:
            show_worker(self.jobs.store, self.presence.worker_id, self.presence.about())
            (self.settings.data_dir / "worker.alive").touch()

    def sweep(self) -> None:
        """Removes what ended jobs have left in storage."""
        now = time.monotonic()
        waiting = self.jobs.unswept()
        self._first_seen = {job.job_id: self._first_seen.get(job.job_id, now) for job in waiting}
        for job in waiting:
            # A worker that has not noticed yet that its job ended may write a moment longer.
            if job.token == 0 or now - self._first_seen[job.job_id] >= _SWEEP_S:
                sweep_job(self.jobs, self.storage, job)

    def sweep_workplaces(self) -> None:
        """Removes what attempts left on this machine whose process was killed."""
        held = {(job.job_id, job.token) for job in self.jobs.in_state(JobStatus.PROCESSING)}
        self.storage.sweep_workplaces(lambda job_id, token: (job_id, token) in held)

    def expire(self) -> None:
        """Ends the time for which files are kept."""
        if self.settings.retention_s is not None:
            before = datetime.now(UTC) - timedelta(seconds=self.settings.retention_s)
            while self.jobs.expire(before):
                pass

    def remove_orphans(self) -> None:
        """Removes files of submissions that never became a job: their process died in between."""
        now = time.monotonic()
        names = self.storage.folders("jobs")
        known: set[str] = set()
        for first in range(0, len(names), 500):
            known |= set(self.jobs.many(names[first : first + 500]))
        self._orphans = {name: self._orphans.get(name, now) for name in names if name not in known}
        for name, since in self._orphans.items():
            if now - since >= _ORPHAN_AGE_S:
                self.storage.delete_prefix(job_prefix(name))

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except MeshwrightError as error:
            log.warning("upkeep: %s", error.message)  # store or storage are away: later, then
        except Exception:
            log.exception("upkeep stumbled")

    def _run(self) -> None:
        while not self._stop.wait(self.pause_s):
            self.tick()


def sweep_job(jobs: Jobs, storage: Storage, job: JobRecord) -> None:
    """Leaves of an ended job only what is to be kept: nothing of a cancelled or expired one, else input and output."""
    prefix = job_prefix(job.job_id)
    if job.status is JobStatus.CANCELLED or job.expired_at is not None:
        storage.delete_prefix(prefix)
    else:
        storage.delete_prefix(f"{prefix}/checkpoints")
        storage.delete_prefix(f"{prefix}/attempts")
        visible = {artefact.key for artefact in jobs.artefacts(job.job_id)}
        for item in list(storage.list(f"{prefix}/output")):
            if item.key not in visible:
                storage.delete(item.key)
    jobs.mark_swept(job)
