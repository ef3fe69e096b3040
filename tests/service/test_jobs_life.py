"""The life of jobs under any order of events: a Hypothesis state machine against the job table."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from sqlalchemy import delete

from meshwright.service.jobs import (
    Claim,
    JobEnded,
    JobError,
    JobRecord,
    Jobs,
    LostClaim,
    NewJob,
    can_move,
    new_job_id,
)
from meshwright.service.settings import load_settings
from meshwright.service.storage import FileFacts
from meshwright.service.store import Store, open_store
from meshwright.service.store.tables import metadata
from meshwright.types import JobStatus, ModelType

MAX_ATTEMPTS = 3
MODELS = ("reconviagen", "nvdiffrec")


@dataclass
class Expected:
    """What the table must say of a job."""

    status: JobStatus = JobStatus.QUEUED
    token: int = 0
    attempt: int = 0
    progress: float = 0.0
    published: dict[str, int] = field(default_factory=dict)
    expired: bool = False


_store: Store | None = None


def _shared_store() -> Store:
    global _store
    if _store is None:
        folder = Path(tempfile.mkdtemp(prefix="meshwright-life-"))
        _store = open_store(load_settings(data_dir=folder, database_url="", broker_url="", storage_url=""))
    return _store


class Life(RuleBasedStateMachine):
    jobs_known = Bundle("jobs_known")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.store = _shared_store()
        for table in reversed(metadata.sorted_tables):
            self.store.write(lambda c, table=table: c.execute(delete(table)))
        self.jobs = Jobs(self.store, max_attempts=MAX_ATTEMPTS)
        self.expected: dict[str, Expected] = {}
        self.last: dict[str, JobRecord] = {}

    @initialize(target=claims)
    def begin(self) -> object:
        return self.claim(self.submit())

    def holds(self, claim: Claim) -> bool:
        expected = self.expected[claim.job_id]
        return expected.status is JobStatus.PROCESSING and expected.token == claim.token

    @rule(target=jobs_known)
    def submit(self) -> str:
        job_id = new_job_id()
        self.jobs.submit(NewJob(job_id=job_id, model_type=ModelType.BOTH))
        self.expected[job_id] = Expected()
        return job_id

    @rule(target=claims, job_id=jobs_known)
    def claim(self, job_id: str) -> object:
        expected = self.expected[job_id]
        claim = self.jobs.claim(job_id, "worker")
        assert (claim is not None) == (expected.status is JobStatus.QUEUED)
        if claim is None:
            return multiple()
        self.took(claim)
        return claim

    @rule(target=claims)
    def claim_any(self) -> object:
        claim = self.jobs.claim(None, "worker")
        waiting = [key for key, item in self.expected.items() if item.status is JobStatus.QUEUED]
        assert (claim is None) == (not waiting)
        if claim is None:
            return multiple()
        assert claim.job_id == waiting[0]
        self.took(claim)
        return claim

    def took(self, claim: Claim) -> None:
        expected = self.expected[claim.job_id]
        expected.status = JobStatus.PROCESSING
        expected.token += 1
        expected.attempt += 1
        assert (claim.token, claim.job.attempt) == (expected.token, expected.attempt)
        assert expected.attempt <= MAX_ATTEMPTS

    @rule(claim=claims)
    def beat(self, claim: Claim) -> None:
        if self.holds(claim):
            self.jobs.beat(claim)
        else:
            with pytest.raises(LostClaim):
                self.jobs.beat(claim)

    @rule(claim=claims, reports=strategies.lists(strategies.floats(-10, 120), min_size=1, max_size=4))
    def advance(self, claim: Claim, reports: list[float]) -> None:
        for progress in reports:
            if self.holds(claim):
                self.jobs.advance(claim, progress, MODELS[0], "working")
                expected = self.expected[claim.job_id]
                expected.progress = max(expected.progress, min(progress, 100.0))
            else:
                with pytest.raises(LostClaim):
                    self.jobs.advance(claim, progress, MODELS[0], "working")

    @rule(claim=claims, model=strategies.sampled_from(MODELS))
    def publish(self, claim: Claim, model: str) -> None:
        facts = [FileFacts(name="mesh.obj", size=1, sha256="0" * 64, crc32=1)]
        if not self.holds(claim):
            with pytest.raises(LostClaim):
                self.jobs.publish(claim, model, f"place/{claim.token}", facts, {})
            return
        published = self.expected[claim.job_id].published
        shown = self.jobs.publish(claim, model, f"place/{claim.token}", facts, {"token": claim.token})
        assert shown == (published.setdefault(model, claim.token) == claim.token)

    @rule(claim=claims, well=strategies.booleans())
    def end(self, claim: Claim, well: bool) -> None:
        def call() -> JobRecord:
            return self.jobs.complete(claim) if well else self.jobs.fail(claim, JobError(code="X", message="x"))

        status = JobStatus.COMPLETED if well else JobStatus.FAILED
        expected = self.expected[claim.job_id]
        if self.holds(claim):
            call()
            expected.status = status
            expected.progress = 100.0 if well else expected.progress
        elif (
            expected.status is status
            and expected.token == claim.token
            and self.last[claim.job_id].worker == claim.worker
        ):
            call()  # the same call, repeated: nothing changes
        else:
            with pytest.raises(LostClaim):
                call()

    @rule(claim=claims, counted=strategies.booleans(), fresh=strategies.booleans())
    def requeue(self, claim: Claim, counted: bool, fresh: bool) -> None:
        expected = self.expected[claim.job_id]
        beat = self.jobs.get(claim.job_id).beat
        after = self.jobs.requeue(claim.job_id, claim.token, counted=counted, beat=beat if fresh else beat - 1)
        assert (after is not None) == (self.holds(claim) and fresh)
        if after is None:
            return
        if not counted:
            expected.attempt -= 1
        expected.status = JobStatus.QUEUED
        if counted and expected.attempt >= MAX_ATTEMPTS:
            expected.status = JobStatus.FAILED

    @rule(job_id=jobs_known, step=strategies.sampled_from(["request", "clear", "confirm"]))
    def cancel(self, job_id: str, step: str) -> None:
        expected = self.expected[job_id]
        call = {
            "request": self.jobs.request_cancellation,
            "clear": self.jobs.clear_cancellation,
            "confirm": self.jobs.confirm_cancellation,
        }[step]
        is_open = expected.status in (JobStatus.QUEUED, JobStatus.PROCESSING)
        if is_open or (step == "confirm" and expected.status is JobStatus.CANCELLED):
            job = call(job_id)
            assert job.cancel_requested == (step != "clear")
            if step == "confirm":
                expected.status = JobStatus.CANCELLED
                expected.published.clear()
        else:
            with pytest.raises(JobEnded):
                call(job_id)

    @rule(claim=consumes(claims))
    def forget(self, claim: Claim) -> None:
        """A worker that is never heard of again."""

    @rule()
    def expire(self) -> None:
        gone = self.jobs.expire(datetime.now(UTC) + timedelta(days=1))
        for job_id in gone:
            expected = self.expected[job_id]
            assert not expected.expired
            assert expected.status not in (JobStatus.QUEUED, JobStatus.PROCESSING)
            expected.expired = True
            expected.published.clear()

    @invariant()
    def table_is_as_expected(self) -> None:
        found = self.jobs.many(self.expected)
        assert len(found) == len(self.expected)
        for job_id, job in found.items():
            expected = self.expected[job_id]
            assert (job.status, job.token, job.attempt) == (expected.status, expected.token, expected.attempt)
            assert job.progress == pytest.approx(expected.progress)
            assert (job.expired_at is not None) == expected.expired
            assert set(self.jobs.published(job_id)) == set(expected.published)
            before = self.last.get(job_id)
            if before is not None:
                assert job.revision >= before.revision
                assert job.progress >= before.progress
                assert job.status == before.status or can_move(before.status, job.status)
                if (job.status, job.progress, job.step) != (before.status, before.progress, before.step):
                    assert job.revision > before.revision
            self.last[job_id] = job


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
