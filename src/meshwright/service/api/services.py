"""What every route works with: settings, job table, storage, limits, the watcher of changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar, cast

import structlog
from anyio import CancelScope, move_on_after, to_thread
from fastapi import Request

from meshwright.service.api.events import Watcher
from meshwright.service.api.limits import RateLimits
from meshwright.service.api.metrics import Metrics
from meshwright.service.api.schemas import JobState, state_of
from meshwright.service.jobs import JobRecord, Jobs
from meshwright.service.jobs.presence import WorkerSeen
from meshwright.service.settings import Settings
from meshwright.service.storage import Storage, job_prefix
from meshwright.service.store import Store
from meshwright.types import ModelType

__all__ = ["Services", "get_services"]

log = structlog.get_logger(__name__)

Value = TypeVar("Value")

_HINT_S = 0.5


@dataclass(kw_only=True)
class Services:
    """One application's parts.

    Attributes:
        enqueue: Sends a hint that a job is queued; it may fail, since the job table is the truth.
        ping_broker: Raises where the queue does not answer.
        alive: Workers that gave a sign of life lately.
        submitting: Held from counting a caller's jobs until the next one is among them.
        keys_touched: Key id to when its use was last noted, monotonic seconds.
    """

    settings: Settings
    store: Store
    storage: Storage
    jobs: Jobs
    limits: RateLimits
    watcher: Watcher
    metrics: Metrics
    enqueue: Callable[[str, ModelType], None]
    ping_broker: Callable[[], None]
    alive: Callable[[], Sequence[WorkerSeen]]
    keys_touched: dict[str, float] = field(default_factory=dict)
    submitting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def count(self, rate: str, what: str, caller: str) -> None:
        """Counts a call; raises RATE_LIMITED."""
        if self.limits.is_shared:
            await to_thread.run_sync(self.limits.count, rate, what, caller)
        else:
            self.limits.count(rate, what, caller)

    def state(self, job: JobRecord) -> JobState:
        """What is shown of a job; for threads, since it may ask the store for the queue."""
        return state_of(job, self.jobs.places([job]).get(job.job_id))

    async def run(self, function: Callable[..., Value], *args: object, **kwargs: object) -> Value:
        """Calls something that waits for the store or for files, in a thread."""
        return await to_thread.run_sync(partial(function, *args, **kwargs))

    async def run_abandonable(self, function: Callable[[], Value]) -> Value:
        """The same, but nobody waits for the thread once this is cancelled; only for calls that change nothing."""
        return await to_thread.run_sync(function, abandon_on_cancel=True)

    async def hint(self, job_id: str, model_type: ModelType) -> None:
        """Tells the queue of a job. A hint that is lost is sent again by the reaper, so failing is no fault here."""
        try:
            with move_on_after(_HINT_S):  # whoever submitted need not wait for a queue that is away
                await to_thread.run_sync(self.enqueue, job_id, model_type, abandon_on_cancel=True)
        except Exception as error:
            log.warning("the queue was not told of a job yet", job_id=job_id, reason=type(error).__name__)

    async def discard(self, job_id: str) -> None:
        """Removes the files of a job that did not come to be, also when the request is cancelled meanwhile."""
        with CancelScope(shield=True):
            try:
                await self.run(self.storage.delete_prefix, job_prefix(job_id))
            except Exception as error:
                log.warning("files of a refused submission stay", job_id=job_id, reason=type(error).__name__)


async def get_services(request: Request) -> Services:
    """The parts of the application that got this request."""
    # Async although it waits for nothing: FastAPI would send a plain function to a thread.
    return cast("Services", request.app.state.services)
