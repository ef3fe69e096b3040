"""Server-sent events of a job, and the one poll that wakes all who wait for a change.

The job table is the truth and other processes write it, so this process looks; but however many clients follow, it
looks once per interval, and not at all while nobody follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping

import structlog
from anyio import Event, to_thread
from sqlalchemy import select
from sse_starlette import ServerSentEvent

from meshwright.errors import MeshwrightError
from meshwright.service.api.schemas import JobState
from meshwright.service.jobs import FINAL, JobNotFound
from meshwright.service.store import Store
from meshwright.service.store.tables import jobs as table

__all__ = ["Watcher", "follow", "read_revisions"]

log = structlog.get_logger(__name__)

_RETRY_MS = 2000
_LEAVING_S = 0.5
"""How often a stream without news looks whether the server is about to end."""


def read_revisions(store: Store, job_ids: Collection[str]) -> dict[str, int]:
    """The revisions of these jobs, as far as there are such."""
    query = select(table.c.job_id, table.c.revision).where(table.c.job_id.in_(list(job_ids)))
    return {row.job_id: row.revision for row in store.read(lambda connection: connection.execute(query).all())}


class Watcher:
    """Looks for changes of watched jobs.

    Args:
        read: Job ids to their revisions; runs in a thread.
        interval_s: Pause between two looks.
    """

    def __init__(self, read: Callable[[Collection[str]], Mapping[str, int]], *, interval_s: float = 0.25) -> None:
        self._read = read
        self._interval_s = interval_s
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._seen: dict[str, int] = {}
        self._somebody = asyncio.Event()

    @contextlib.contextmanager
    def watch(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the job may have changed."""
        changed = asyncio.Event()
        self._waiting.setdefault(job_id, set()).add(changed)
        self._somebody.set()
        try:
            yield changed
        finally:
            waiting = self._waiting[job_id]
            waiting.discard(changed)
            if not waiting:
                del self._waiting[job_id]
                self._seen.pop(job_id, None)

    async def run(self) -> None:
        """Looks, until cancelled."""
        while True:
            if not self._waiting:
                self._somebody.clear()
                await self._somebody.wait()
            try:
                found = await to_thread.run_sync(self._read, list(self._waiting))
            except MeshwrightError as error:
                log.warning("changes of jobs cannot be seen for now", reason=str(error))
                await asyncio.sleep(1.0)
                continue
            for job_id, changes in self._waiting.items():
                # A job that is gone wakes its followers too.
                revision = found.get(job_id, -1)
                if self._seen.get(job_id) != revision:
                    self._seen[job_id] = revision
                    for changed in changes:
                        changed.set()
            await asyncio.sleep(self._interval_s)


async def follow(
    get: Callable[[], JobState],
    watcher: Watcher,
    job_id: str,
    last_seen: int,
    *,
    limit_s: float,
    leaving: Event,
) -> AsyncIterator[ServerSentEvent]:
    """Every state of a job that is newer than `last_seen`, as events, until it ends or the time is over.

    Args:
        get: Reads the job; runs in a thread.
        last_seen: Revision that the client has.
        limit_s: After this the stream ends, and the client comes back with `Last-Event-ID`.
        leaving: Set when the server is about to end; the stream then ends in good order.
    """
    deadline = time.monotonic() + limit_s
    with watcher.watch(job_id) as changed:
        while True:
            changed.clear()
            try:
                job = await to_thread.run_sync(get)
            except JobNotFound:
                return
            except MeshwrightError as error:
                # The client keeps what it has; it comes back after the pause that the last event named.
                log.warning("a stream of events ends early", job_id=job_id, reason=str(error))
                return
            if job.revision > last_seen:
                last_seen = job.revision
                body = job.model_dump_json()
                yield ServerSentEvent(data=body, event="status", id=str(job.revision), retry=_RETRY_MS)
            if job.status in FINAL:
                return
            while True:
                left = deadline - time.monotonic()
                if left <= 0 or leaving.is_set():
                    return
                if changed.is_set():
                    break
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), min(left, _LEAVING_S))
