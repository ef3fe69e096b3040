"""What the holder of a job writes: every statement names its token, so that only the newest one has an effect.

All functions run inside a transaction of `Store.write` and may be run again when its commit went unheard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, and_, case, func, insert, literal, select, update

from meshwright.service.codes import Code
from meshwright.service.jobs.errors import LostClaim
from meshwright.service.jobs.records import Claim, JobError, JobRecord, record_of
from meshwright.service.jobs.states import FINAL
from meshwright.service.storage import FileFacts
from meshwright.service.store.tables import artefacts, deliveries, jobs, publications, webhooks
from meshwright.types import JobStatus

__all__ = ["advance", "beat", "claim", "complete", "end", "fail", "publish", "requeue", "utc_now"]

_TRIES = 20


def utc_now() -> datetime:
    """This moment, for people to read; nothing is decided by it."""
    return datetime.now(UTC)


def changed(**values: Any) -> dict[str, Any]:
    """Values of an update that others can see."""
    return {**values, "updated_at": utc_now(), "revision": jobs.c.revision + 1}


def held(job_id: str, token: int) -> ColumnElement[bool]:
    """The guard: the job is being worked on, under this very claim."""
    return and_(jobs.c.job_id == job_id, jobs.c.token == token, jobs.c.status == JobStatus.PROCESSING.value)


def claim(connection: Connection, job_id: str | None, worker: str, max_attempts: int) -> Claim | None:
    """Takes a queued job: this one, or the one that has waited longest.

    Args:
        connection: Within a transaction.
        job_id: Which one; None for any.
        worker: Names this very call; it is how a call that is repeated recognises what it did.
        max_attempts: Jobs that were tried so often are left alone.
    """
    mine = connection.execute(
        select(jobs).where(jobs.c.worker == worker, jobs.c.status == JobStatus.PROCESSING.value)
    ).first()
    if mine is not None:
        return _claim_of(record_of(mine))
    waiting = and_(jobs.c.status == JobStatus.QUEUED.value, jobs.c.attempt < max_attempts)
    for _ in range(_TRIES):
        wanted = job_id
        if wanted is None:
            wanted = connection.scalar(select(jobs.c.job_id).where(waiting).order_by(jobs.c.seq).limit(1))
        if wanted is None:
            return None
        row = connection.execute(
            update(jobs)
            .where(waiting, jobs.c.job_id == wanted)
            .values(
                changed(
                    status=JobStatus.PROCESSING.value,
                    attempt=jobs.c.attempt + 1,
                    token=jobs.c.token + 1,
                    beat=jobs.c.beat + 1,
                    worker=worker,
                    started_at=func.coalesce(jobs.c.started_at, literal(utc_now(), jobs.c.started_at.type)),
                    step="Starting",
                )
            )
            .returning(jobs)
        ).first()
        if row is not None:
            return _claim_of(record_of(row))
        if job_id is not None:
            return None
    return None


def _claim_of(record: JobRecord) -> Claim:
    return Claim(job_id=record.job_id, token=record.token, worker=record.worker or "", job=record)


def beat(connection: Connection, mine: Claim) -> bool:
    """A sign of life.

    Returns:
        Whether the owner has asked (not yet confirmed) that the job be cancelled.
    Raises:
        LostClaim: The job is somebody else's, or has ended.
    """
    row = connection.execute(
        update(jobs)
        .where(held(mine.job_id, mine.token))
        .values(beat=jobs.c.beat + 1)
        .returning(jobs.c.cancel_requested)
    ).first()
    if row is None:
        raise LostClaim(mine.job_id, mine.token)
    return bool(row.cancel_requested)


def advance(connection: Connection, mine: Claim, progress: float, model: str | None, step: str) -> None:
    """Says how far the job is; less than was said before counts as just that."""
    further = min(max(progress, 0.0), 100.0)
    done = connection.execute(
        update(jobs)
        .where(held(mine.job_id, mine.token))
        .values(
            changed(
                progress=case((jobs.c.progress < further, further), else_=jobs.c.progress),
                current_model=model,
                step=step,
                beat=jobs.c.beat + 1,
            )
        )
    )
    if done.rowcount != 1:
        raise LostClaim(mine.job_id, mine.token)


def publish(
    connection: Connection,
    mine: Claim,
    model: str,
    place: Callable[[], str],
    files: Sequence[FileFacts],
    quality: Mapping[str, Any],
) -> bool:
    """Makes the output of one model visible.

    Args:
        connection: Within a transaction.
        mine: The claim.
        model: Whose output it is.
        place: Moves the checked files to their place and says where that is; called once the claim is known to hold,
            and again if the transaction has to be repeated.
        files: What `place` brings into place, by names relative to its answer.
        quality: How good it is.
    Returns:
        False where an earlier attempt had published this model; then nothing is changed.
    Raises:
        LostClaim: The job is somebody else's, or has ended.
    """
    row = connection.execute(
        update(jobs)
        .where(held(mine.job_id, mine.token))
        .values(changed(beat=jobs.c.beat + 1))
        .returning(jobs.c.quality)
    ).first()
    if row is None:
        raise LostClaim(mine.job_id, mine.token)
    known = connection.scalar(
        select(publications.c.token).where(publications.c.job_id == mine.job_id, publications.c.model == model)
    )
    if known is not None:
        return bool(known == mine.token)
    location = place()
    connection.execute(
        insert(publications).values(
            job_id=mine.job_id, model=model, token=mine.token, location=location, published_at=utc_now()
        )
    )
    connection.execute(
        insert(artefacts),
        [
            {
                "job_id": mine.job_id,
                "model": model,
                "name": file.name,
                "key": f"{location}/{file.name}",
                "size": file.size,
                "sha256": file.sha256,
                "crc32": file.crc32,
            }
            for file in files
        ],
    )
    connection.execute(
        update(jobs).where(jobs.c.job_id == mine.job_id).values(quality={**row.quality, model: dict(quality)})
    )
    return True


def complete(connection: Connection, mine: Claim, step: str) -> JobRecord:
    """Ends the job well."""
    row = end(connection, held(mine.job_id, mine.token), JobStatus.COMPLETED, progress=100.0, step=step)
    if row is not None:
        return row
    return _ended_by_me(connection, mine, JobStatus.COMPLETED)


def fail(connection: Connection, mine: Claim, error: JobError) -> JobRecord:
    """Ends the job badly."""
    row = end(connection, held(mine.job_id, mine.token), JobStatus.FAILED, **error_values(error))
    if row is not None:
        return row
    return _ended_by_me(connection, mine, JobStatus.FAILED)


def _ended_by_me(connection: Connection, mine: Claim, status: JobStatus) -> JobRecord:
    """The record, if this is a repetition of the call that ended the job; the worker stays noted on it."""
    row = connection.execute(select(jobs).where(jobs.c.job_id == mine.job_id, jobs.c.token == mine.token)).first()
    if row is None or row.status != status.value or row.worker != mine.worker:
        raise LostClaim(mine.job_id, mine.token)
    return record_of(row)


def requeue(
    connection: Connection,
    job_id: str,
    token: int,
    *,
    beat: int | None,
    counted: bool,
    max_attempts: int,
    reason: str,
) -> JobRecord | None:
    """Puts a job whose worker is gone back into the queue, or fails it where it was tried often enough.

    Args:
        connection: Within a transaction.
        job_id: The job.
        token: The claim that is taken away.
        beat: The sign of life that was seen last; a newer one means that the worker lives. None: do not ask.
        counted: Whether the attempt counts; it does not where a worker gives its job back in good order.
        max_attempts: As often as it may be tried.
        reason: What its owner reads if this was the last attempt.
    Returns:
        The job as it is then; None where the claim was not the newest any more, or its worker lives.
    """
    guard = held(job_id, token)
    if beat is not None:
        guard = and_(guard, jobs.c.beat == beat)
    again = guard if not counted else and_(guard, jobs.c.attempt < max_attempts)
    row = connection.execute(
        update(jobs)
        .where(again)
        .values(
            changed(
                status=JobStatus.QUEUED.value,
                attempt=jobs.c.attempt if counted else jobs.c.attempt - 1,
                queued_at=utc_now(),
                worker=None,
                current_model=None,
                step="Waiting to be continued",
            )
        )
        .returning(jobs)
    ).first()
    if row is not None:
        return record_of(row)
    error = JobError(
        code=Code.UNKNOWN_ERROR.value,
        message=f"The job was begun {max_attempts} times and never finished: {reason}",
        suggestion="Try smaller pictures or a lower quality; if it happens again, ask whoever runs this service.",
    )
    return end(connection, guard, JobStatus.FAILED, **error_values(error))


def error_values(error: JobError) -> dict[str, Any]:
    """Columns of a failed job."""
    return {
        "error_code": error.code,
        "error_message": error.message,
        "error_suggestion": error.suggestion,
        "step": "Failed",
    }


def end(connection: Connection, guard: ColumnElement[bool], status: JobStatus, **values: Any) -> JobRecord | None:
    """Moves a job that `guard` names into a final state, and notes whom to tell, in the same transaction."""
    assert status in FINAL
    row = connection.execute(
        update(jobs)
        .where(guard, jobs.c.status.notin_([state.value for state in FINAL]))
        .values(changed(status=status.value, ended_at=utc_now(), current_model=None, swept=False, **values))
        .returning(jobs)
    ).first()
    if row is None:
        return None
    now = utc_now()
    hooks = connection.execute(select(webhooks.c.webhook_id).where(webhooks.c.job_id == row.job_id)).all()
    if hooks:
        connection.execute(
            insert(deliveries),
            [
                {
                    "delivery_id": f"msg_{uuid4().hex}",
                    "webhook_id": hook.webhook_id,
                    "job_id": row.job_id,
                    "event": f"job.{status.value}",
                    "state": "pending",
                    "attempts": 0,
                    "due_at": now,
                    "created_at": now,
                    "updated_at": now,
                }
                for hook in hooks
            ],
        )
    return record_of(row)
