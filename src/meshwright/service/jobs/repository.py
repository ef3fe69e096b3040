"""The job table as the rest of the service sees it: one method for everything that can happen to a job.

Methods that change something run in one transaction each and may safely be called again. `owner` limits a call to the
jobs of one API key; None means all.
"""

from __future__ import annotations

import secrets
import string
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from meshwright.errors import OptionError
from meshwright.service.jobs import claims
from meshwright.service.jobs.claims import changed, end, error_values, utc_now
from meshwright.service.jobs.errors import IdempotencyConflict, JobEnded, JobNotFound, JobOpen
from meshwright.service.jobs.records import (
    Artefact,
    Claim,
    JobError,
    JobPage,
    JobRecord,
    NewJob,
    plain_inputs,
    record_of,
)
from meshwright.service.jobs.states import FINAL, OPEN
from meshwright.service.storage import FileFacts
from meshwright.service.store import Store
from meshwright.service.store.tables import artefacts, deliveries, idempotency, jobs, publications, webhooks
from meshwright.types import JobStatus

__all__ = ["Jobs", "new_job_id"]

_ALPHABET = string.ascii_lowercase + string.digits
_FINAL = [state.value for state in FINAL]
_OPEN = [state.value for state in OPEN]


def new_job_id() -> str:
    """Eight characters of a-z0-9, drawn so that nobody can guess another's."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(8))


class Jobs:
    """All jobs.

    Args:
        store: Where they are kept.
        max_attempts: How often a job is begun before it counts as failed.
    """

    def __init__(self, store: Store, *, max_attempts: int = 3) -> None:
        self.store = store
        self.max_attempts = max_attempts

    # --- what owners do ---

    def submit(self, new: NewJob) -> JobRecord:
        """Queues a job.

        Returns:
            The job; another one than `new.job_id` where the idempotency key was used before with the same content.
        Raises:
            IdempotencyConflict: It was used before with other content.
        """
        try:
            return self.store.write(lambda connection: _submit(connection, new))
        except IntegrityError:
            # Two at once with the same key: the table let one through; now the other finds it.
            return self.store.write(lambda connection: _submit(connection, new))

    def get(self, job_id: str, owner: str | None = None) -> JobRecord:
        """One job.

        Raises:
            JobNotFound: There is none, or it is not the owner's.
        """
        return self.store.read(lambda connection: _one(connection, job_id, owner))

    def many(self, job_ids: Iterable[str]) -> dict[str, JobRecord]:
        """Those of these jobs that there are, in one query."""
        wanted = list(job_ids)
        rows = self.store.read(lambda c: c.execute(select(jobs).where(jobs.c.job_id.in_(wanted))).all())
        return {row.job_id: record_of(row) for row in rows}

    def page(
        self,
        cursor: str | None = None,
        status: JobStatus | None = None,
        limit: int = 50,
        owner: str | None = None,
    ) -> JobPage:
        """Jobs, newest first.

        Args:
            cursor: From the page before; None for the newest.
            status: Only jobs in this state.
            limit: Most jobs on the page, 1-200.
            owner: Only this key's jobs.
        Raises:
            OptionError: The cursor is none of ours.
        """
        query = select(jobs).order_by(jobs.c.seq.desc()).limit(min(max(limit, 1), 200) + 1)
        if cursor is not None:
            query = query.where(jobs.c.seq < _position(cursor))
        if status is not None:
            query = query.where(jobs.c.status == status.value)
        if owner is not None:
            query = query.where(jobs.c.owner_key == owner)
        rows = self.store.read(lambda connection: connection.execute(query).all())
        found = tuple(record_of(row) for row in rows)
        if len(found) <= min(max(limit, 1), 200):
            return JobPage(jobs=found, cursor=None)
        return JobPage(jobs=found[:-1], cursor=f"j{found[-2].seq:x}")

    def places(self, found: Iterable[JobRecord]) -> dict[str, int]:
        """Where those of these jobs that wait stand in the queue: 1 is the next."""
        waiting = sorted((job.seq, job.job_id) for job in found if job.status is JobStatus.QUEUED)
        if not waiting:
            return {}
        query = (
            select(jobs.c.seq)
            .where(jobs.c.status == JobStatus.QUEUED.value, jobs.c.seq <= waiting[-1][0])
            .order_by(jobs.c.seq)
        )
        queue = self.store.read(lambda c: c.execute(query).scalars().all())
        return {job_id: bisect_right(queue, seq) or 1 for seq, job_id in waiting}

    def seconds(self, limit: int = 200) -> dict[tuple[str, str], float]:
        """Median time of the newest completed jobs, by model type and the quality asked for (empty: none was)."""
        query = (
            select(jobs.c.model_type, jobs.c.options, jobs.c.started_at, jobs.c.ended_at)
            .where(jobs.c.status == JobStatus.COMPLETED.value)
            .order_by(jobs.c.seq.desc())
            .limit(limit)
        )
        found: dict[tuple[str, str], list[float]] = {}
        for row in self.store.read(lambda c: c.execute(query).all()):
            if row.started_at is not None and row.ended_at is not None:
                times = found.setdefault((row.model_type, str(row.options.get("quality", ""))), [])
                times.append((row.ended_at - row.started_at).total_seconds())
        return {what: median(times) for what, times in found.items()}

    def remove(self, job_id: str, owner: str | None = None) -> JobRecord:
        """Forgets an ended job altogether; its files are the caller's to remove.

        Raises:
            JobNotFound: There is none.
            JobOpen: It has not ended.
        """
        return self.store.write(lambda c: _remove(c, job_id, owner))

    def request_cancellation(self, job_id: str, owner: str | None = None) -> JobRecord:
        """The first of two steps: notes that the owner wants the job cancelled.

        Raises:
            JobNotFound: There is none.
            JobEnded: There is nothing left to cancel.
        """
        return self.store.write(lambda c: _mark(c, job_id, owner, cancel_requested=True))

    def clear_cancellation(self, job_id: str, owner: str | None = None) -> JobRecord:
        """Takes the first step back, as long as the second was not done."""
        return self.store.write(lambda c: _mark(c, job_id, owner, cancel_requested=False))

    def confirm_cancellation(self, job_id: str, owner: str | None = None) -> JobRecord:
        """The second step: the job is cancelled from this moment on. Its worker, if any, notices and stops.

        Raises:
            JobNotFound: There is none.
            JobEnded: It had completed or failed before.
        """
        return self.store.write(lambda c: _cancel(c, job_id, owner))

    def is_cancelled(self, job_id: str) -> bool:
        """Whether the second step was done."""
        query = select(jobs.c.status).where(jobs.c.job_id == job_id)
        return self.store.read(lambda c: c.scalar(query)) == JobStatus.CANCELLED.value

    # --- what workers do ---

    def claim(self, job_id: str | None, worker: str) -> Claim | None:
        """Takes a queued job to work on it; None where it is not (or none is) to be had."""
        nonce = f"{worker}#{uuid4().hex[:12]}"
        return self.store.write(lambda c: claims.claim(c, job_id, nonce, self.max_attempts))

    def beat(self, mine: Claim) -> bool:
        """A sign of life; answers whether cancellation was requested. Raises `LostClaim`."""
        return self.store.write(lambda c: claims.beat(c, mine))

    def advance(self, mine: Claim, progress: float, model: str | None, step: str) -> None:
        """How far the job is, 0-100 of the whole; it never falls. Raises `LostClaim`."""
        self.store.write(lambda c: claims.advance(c, mine, progress, model, step))

    def publish(
        self,
        mine: Claim,
        model: str,
        location: str | Callable[[], str],
        files: Sequence[FileFacts],
        quality: Mapping[str, Any],
    ) -> bool:
        """Makes a model's output visible; see `claims.publish`. Raises `LostClaim`."""
        place = location if callable(location) else lambda: location
        return self.store.write(lambda c: claims.publish(c, mine, model, place, files, quality))

    def complete(self, mine: Claim, step: str = "Done") -> JobRecord:
        """Ends the job well. Raises `LostClaim`."""
        return self.store.write(lambda c: claims.complete(c, mine, step))

    def fail(self, job: Claim | str, error: JobError) -> JobRecord:
        """Ends the job badly.

        Args:
            job: The claim; or the id of a job that nobody can claim any more, whoever holds it.
            error: Why.
        Raises:
            LostClaim: The claim does not hold.
            JobNotFound, JobEnded: By id.
        """
        if isinstance(job, Claim):
            return self.store.write(lambda c: claims.fail(c, job, error))
        return self.store.write(lambda c: _fail(c, job, error))

    def requeue(
        self,
        job_id: str,
        token: int,
        *,
        beat: int | None = None,
        counted: bool = True,
        reason: str = "its worker died.",
    ) -> JobRecord | None:
        """Takes a job from a worker that is gone; see `claims.requeue`."""
        return self.store.write(
            lambda c: claims.requeue(
                c, job_id, token, beat=beat, counted=counted, max_attempts=self.max_attempts, reason=reason
            )
        )

    # --- what was published ---

    def published(self, job_id: str) -> dict[str, str]:
        """Models whose output is visible, and where it lies in storage."""
        query = select(publications.c.model, publications.c.location).where(publications.c.job_id == job_id)
        return {row.model: row.location for row in self.store.read(lambda c: c.execute(query).all())}

    def artefacts(self, job_id: str, model: str | None = None) -> tuple[Artefact, ...]:
        """Visible files, in the order of their names."""
        query = select(artefacts).where(artefacts.c.job_id == job_id).order_by(artefacts.c.model, artefacts.c.name)
        if model is not None:
            query = query.where(artefacts.c.model == model)
        return tuple(Artefact(**row._mapping) for row in self.store.read(lambda c: c.execute(query).all()))

    def artefact(self, job_id: str, model: str, name: str) -> Artefact | None:
        """One visible file."""
        query = select(artefacts).where(
            artefacts.c.job_id == job_id, artefacts.c.model == model, artefacts.c.name == name
        )
        row = self.store.read(lambda c: c.execute(query).first())
        return None if row is None else Artefact(**row._mapping)

    # --- what keeps the house in order ---

    def expire(self, before: datetime, limit: int = 100) -> tuple[str, ...]:
        """Hides the files of jobs that ended before this moment; `unswept` then lists them for removal."""
        return self.store.write(lambda c: _expire(c, before, limit))

    def unswept(self, limit: int = 100) -> tuple[JobRecord, ...]:
        """Ended jobs in whose storage something may be left that should not."""
        query = select(jobs).where(jobs.c.swept.is_(False), jobs.c.status.in_(_FINAL)).order_by(jobs.c.seq).limit(limit)
        return tuple(record_of(row) for row in self.store.read(lambda c: c.execute(query).all()))

    def mark_swept(self, job: JobRecord) -> None:
        """Nothing is left; counts only for the job as it was seen."""
        statement = update(jobs).where(jobs.c.job_id == job.job_id, jobs.c.revision == job.revision).values(swept=True)
        self.store.write(lambda c: c.execute(statement))

    def in_state(self, status: JobStatus, limit: int = 1000) -> tuple[JobRecord, ...]:
        """Jobs in this state, oldest first."""
        query = select(jobs).where(jobs.c.status == status.value).order_by(jobs.c.seq).limit(limit)
        return tuple(record_of(row) for row in self.store.read(lambda c: c.execute(query).all()))

    def counts(self) -> dict[JobStatus, int]:
        """How many jobs are in each state."""
        query = select(jobs.c.status, func.count()).group_by(jobs.c.status)
        rows = self.store.read(lambda c: c.execute(query).all())
        found: dict[str, int] = {status: count for status, count in rows}
        return {status: found.get(status.value, 0) for status in JobStatus}

    def open_count(self, owner: str | None = None) -> int:
        """How many jobs have not ended."""
        query = select(func.count()).select_from(jobs).where(jobs.c.status.in_(_OPEN))
        if owner is not None:
            query = query.where(jobs.c.owner_key == owner)
        return int(self.store.read(lambda c: c.scalar(query)) or 0)

    def queue_age(self) -> float:
        """Seconds that the longest waiting job has waited; 0 where none does."""
        query = select(func.min(jobs.c.queued_at)).where(jobs.c.status == JobStatus.QUEUED.value)
        since = self.store.read(lambda c: c.scalar(query))
        return 0.0 if since is None else max(0.0, (utc_now() - since).total_seconds())


def _one(connection: Connection, job_id: str, owner: str | None) -> JobRecord:
    query = select(jobs).where(jobs.c.job_id == job_id)
    if owner is not None:
        query = query.where(jobs.c.owner_key == owner)
    row = connection.execute(query).first()
    if row is None:
        raise JobNotFound(job_id)
    return record_of(row)


def _submit(connection: Connection, new: NewJob) -> JobRecord:
    earlier = connection.execute(select(jobs).where(jobs.c.job_id == new.job_id)).first()
    if earlier is not None:  # this very call, repeated
        return record_of(earlier)
    if new.idempotency_key is not None:
        known = connection.execute(
            select(idempotency.c.job_id, idempotency.c.fingerprint).where(
                idempotency.c.owner_key == (new.owner_key or ""),
                idempotency.c.idempotency_key == new.idempotency_key,
            )
        ).first()
        if known is not None:
            if known.fingerprint != new.fingerprint:
                raise IdempotencyConflict
            return _one(connection, known.job_id, None)
    now = utc_now()
    row = connection.execute(
        insert(jobs)
        .values(
            job_id=new.job_id,
            owner_key=new.owner_key,
            model_type=new.model_type.value,
            options=dict(new.options),
            inputs=plain_inputs(new.inputs),
            status=JobStatus.QUEUED.value,
            step="Waiting for a worker",
            quality={},
            created_at=now,
            updated_at=now,
            queued_at=now,
        )
        .returning(jobs)
    ).one()
    if new.idempotency_key is not None:
        connection.execute(
            insert(idempotency).values(
                owner_key=new.owner_key or "",
                idempotency_key=new.idempotency_key,
                fingerprint=new.fingerprint,
                job_id=new.job_id,
                created_at=now,
            )
        )
    if new.webhooks:
        connection.execute(
            insert(webhooks),
            [
                {
                    "webhook_id": f"wh_{uuid4().hex}",
                    "job_id": new.job_id,
                    "url": hook.url,
                    "secret": hook.secret,
                    "created_at": now,
                }
                for hook in new.webhooks
            ],
        )
    return record_of(row)


def _mark(connection: Connection, job_id: str, owner: str | None, *, cancel_requested: bool) -> JobRecord:
    _one(connection, job_id, owner)
    connection.execute(
        update(jobs)
        .where(jobs.c.job_id == job_id, jobs.c.status.in_(_OPEN), jobs.c.cancel_requested.is_not(cancel_requested))
        .values(changed(cancel_requested=cancel_requested))
    )
    job = _one(connection, job_id, owner)
    if job.has_ended:
        raise JobEnded(job_id, job.status)
    return job


def _cancel(connection: Connection, job_id: str, owner: str | None) -> JobRecord:
    _one(connection, job_id, owner)
    ended = end(
        connection,
        and_(jobs.c.job_id == job_id, jobs.c.status.in_(_OPEN)),
        JobStatus.CANCELLED,
        cancel_requested=True,
        step="Cancelled",
    )
    if ended is None:
        ended = _one(connection, job_id, owner)
        if ended.status is not JobStatus.CANCELLED:
            raise JobEnded(job_id, ended.status)
    else:
        # What an earlier model of the same job had published goes too: a cancelled job leaves nothing.
        connection.execute(delete(artefacts).where(artefacts.c.job_id == job_id))
        connection.execute(delete(publications).where(publications.c.job_id == job_id))
    return ended


def _remove(connection: Connection, job_id: str, owner: str | None) -> JobRecord:
    job = _one(connection, job_id, owner)
    if not job.has_ended:
        raise JobOpen(job_id, job.status)
    # In this order, since not every database is told to cascade.
    hooks = select(webhooks.c.webhook_id).where(webhooks.c.job_id == job_id)
    connection.execute(delete(deliveries).where(deliveries.c.webhook_id.in_(hooks)))
    for table in (webhooks, idempotency, artefacts, publications, jobs):
        connection.execute(delete(table).where(table.c.job_id == job_id))
    return job


def _fail(connection: Connection, job_id: str, error: JobError) -> JobRecord:
    job = _one(connection, job_id, None)
    ended = end(connection, jobs.c.job_id == job_id, JobStatus.FAILED, **error_values(error))
    if ended is None:
        raise JobEnded(job_id, job.status)
    return ended


def _expire(connection: Connection, before: datetime, limit: int) -> tuple[str, ...]:
    old = (
        select(jobs.c.job_id)
        .where(jobs.c.status.in_(_FINAL), jobs.c.expired_at.is_(None), jobs.c.ended_at < before)
        .order_by(jobs.c.seq)
        .limit(limit)
    )
    found = tuple(connection.execute(old).scalars())
    if found:
        connection.execute(delete(artefacts).where(artefacts.c.job_id.in_(found)))
        connection.execute(delete(publications).where(publications.c.job_id.in_(found)))
        connection.execute(
            update(jobs).where(jobs.c.job_id.in_(found)).values(changed(expired_at=utc_now(), swept=False))
        )
    return found


def _position(cursor: str) -> int:
    try:
        if not cursor.startswith("j") or len(cursor) > 17:
            raise ValueError
        return int(cursor[1:], 16)
    except ValueError:
        raise OptionError(
            "This cursor is not one of ours.", hint="Use the cursor of the page before as it is, or none."
        ) from None
