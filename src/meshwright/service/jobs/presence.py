"""Which workers there are: each raises a counter of its own, and who wants to know watches it move."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select, update

from meshwright.service.jobs.claims import utc_now
from meshwright.service.store import Store
from meshwright.service.store.tables import workers

__all__ = ["WorkerSeen", "WorkerWatch", "forget_worker", "show_worker"]

_FORGOTTEN_S = 600.0


@dataclass(frozen=True, kw_only=True)
class WorkerSeen:
    """A worker process.

    Attributes:
        worker_id: See `identity.own_identity`.
        about: Device, memory, models and whether their weights are installed, as the worker says.
    """

    worker_id: str
    about: Mapping[str, Any]


def show_worker(store: Store, worker_id: str, about: Mapping[str, Any]) -> None:
    """A worker says that it is there."""
    now = utc_now()

    def write(connection: Any) -> None:
        found = connection.execute(
            update(workers)
            .where(workers.c.worker_id == worker_id)
            .values(beat=workers.c.beat + 1, about=dict(about), seen_at=now)
        )
        if found.rowcount == 0:
            connection.execute(
                insert(workers).values(worker_id=worker_id, beat=1, about=dict(about), started_at=now, seen_at=now)
            )

    store.write(write)


def forget_worker(store: Store, worker_id: str) -> None:
    """A worker that ends in good order takes itself off the list."""
    store.write(lambda c: c.execute(delete(workers).where(workers.c.worker_id == worker_id)))


class WorkerWatch:
    """Knows who is alive, judged by our own monotonic clock.

    Args:
        store: The store.
        lease_s: How long a worker may be silent.
        clock: Monotonic seconds.
        dead: Whether a worker has certainly ended.
    """

    def __init__(
        self,
        store: Store,
        lease_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        dead: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.store = store
        self.lease_s = lease_s
        self.clock = clock
        self.dead = dead
        self._seen: dict[str, tuple[int, float]] = {}
        self._alive: tuple[WorkerSeen, ...] = ()

    def tick(self) -> None:
        """Looks at the counters; call it every few seconds."""
        rows = self.store.read(lambda c: c.execute(select(workers)).all())
        now = self.clock()
        seen: dict[str, tuple[int, float]] = {}
        alive = []
        for row in rows:
            # Who was there before our first look counts as living until the counter has had time to stand still.
            beat, since = self._seen.get(row.worker_id, (row.beat, now))
            seen[row.worker_id] = (row.beat, now if beat != row.beat else since)
            silent = now - seen[row.worker_id][1]
            gone = self.dead(row.worker_id)
            if silent >= _FORGOTTEN_S or gone:
                forget_worker(self.store, row.worker_id)
            elif silent < self.lease_s:
                alive.append(WorkerSeen(worker_id=row.worker_id, about=row.about))
        self._seen = seen
        self._alive = tuple(alive)

    def alive(self) -> tuple[WorkerSeen, ...]:
        """Workers that showed themselves lately, as of the last `tick`."""
        return self._alive
