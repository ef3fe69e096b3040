"""The job table: every change that can happen to a job, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select, text

from meshwright.errors import OptionError
from meshwright.service.jobs import (
    FINAL,
    Claim,
    IdempotencyConflict,
    InputFile,
    JobEnded,
    JobError,
    JobNotFound,
    Jobs,
    LostClaim,
    NewJob,
    Webhook,
    can_move,
    cancellation,
    new_job_id,
)
from meshwright.service.settings import Settings
from meshwright.service.storage import FileFacts
from meshwright.service.store import Store, StoreUnavailable, open_store
from meshwright.service.store.migrate import HEAD, migrate
from meshwright.service.store.tables import deliveries, metadata
from meshwright.types import JobStatus, ModelType
from service_stack import Stack

FACTS = [FileFacts(name="mesh.obj", size=3, sha256="0" * 64, crc32=7)]
ERROR = JobError(code="MODEL_FAILED", message="It did not work.", suggestion="Try again.")


@pytest.fixture
def settings(stack: Stack) -> Settings:
    return stack.settings()


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    store = open_store(settings)
    yield store
    store.close()


@pytest.fixture
def jobs(store: Store) -> Jobs:
    return Jobs(store, max_attempts=3)


def submit(jobs: Jobs, **values: object) -> str:
    return jobs.submit(NewJob(job_id=new_job_id(), **values)).job_id  # type: ignore[arg-type]


def claimed(jobs: Jobs, job_id: str | None = None) -> Claim:
    claim = jobs.claim(job_id or submit(jobs), "worker")
    assert claim is not None
    return claim


# --- submitting -------------------------------------------------------------------------------------------------------


def test_ids_are_eight_characters_that_nobody_guesses() -> None:
    ids = {new_job_id() for _ in range(500)}
    assert len(ids) == 500
    assert all(len(item) == 8 and item.isalnum() and item == item.lower() for item in ids)


def test_a_submitted_job(jobs: Jobs) -> None:
    files = (InputFile(kind="view", view="front", key="jobs/x/views/front.png", size=3, sha256="0" * 64),)
    job = jobs.submit(NewJob(job_id="abcd1234", model_type=ModelType.BOTH, options={"quality": "draft"}, inputs=files))
    assert (job.status, job.progress, job.attempt, job.revision) == (JobStatus.QUEUED, 0.0, 0, 1)
    assert job.inputs == files
    assert job.options == {"quality": "draft"}
    assert jobs.get("abcd1234") == job
    assert abs((datetime.now(UTC) - job.created_at).total_seconds()) < 60


def test_submitting_again_after_a_broken_connection_is_the_same_job(jobs: Jobs) -> None:
    new = NewJob(job_id=new_job_id())
    assert jobs.submit(new) == jobs.submit(new)
    assert len(jobs.page().jobs) == 1


def test_idempotency(jobs: Jobs) -> None:
    first = submit(jobs, idempotency_key="k", fingerprint="f", owner_key="a")
    assert submit(jobs, idempotency_key="k", fingerprint="f", owner_key="a") == first
    assert submit(jobs, idempotency_key="k", fingerprint="f", owner_key="b") != first
    with pytest.raises(IdempotencyConflict):
        submit(jobs, idempotency_key="k", fingerprint="g", owner_key="a")


def test_the_same_key_many_times_at_once_makes_one_job(jobs: Jobs) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: submit(jobs, idempotency_key="k", fingerprint="f"), range(16)))
    assert len(ids) == 1
    assert len(jobs.page().jobs) == 1


# --- reading ----------------------------------------------------------------------------------------------------------


def test_other_peoples_jobs_are_not_found(jobs: Jobs) -> None:
    job_id = submit(jobs, owner_key="a")
    assert jobs.get(job_id, owner="a").job_id == job_id
    for call in (jobs.get, jobs.request_cancellation, jobs.confirm_cancellation, jobs.clear_cancellation):
        with pytest.raises(JobNotFound):
            call(job_id, owner="b")
        with pytest.raises(JobNotFound):
            call("zzzzzzzz")


def test_pages_newest_first_while_jobs_arrive(jobs: Jobs) -> None:
    ids = [submit(jobs) for _ in range(7)]
    page = jobs.page(limit=3)
    assert [job.job_id for job in page.jobs] == ids[:3:-1]
    submit(jobs)
    page = jobs.page(cursor=page.cursor, limit=3)
    assert [job.job_id for job in page.jobs] == ids[3:0:-1]
    page = jobs.page(cursor=page.cursor, limit=3)
    assert [job.job_id for job in page.jobs] == ids[:1]
    assert page.cursor is None


def test_pages_by_state_and_owner(jobs: Jobs) -> None:
    mine = submit(jobs, owner_key="a")
    submit(jobs, owner_key="b")
    claimed(jobs, mine)
    assert [job.job_id for job in jobs.page(status=JobStatus.PROCESSING).jobs] == [mine]
    assert [job.job_id for job in jobs.page(owner="a").jobs] == [mine]
    assert jobs.page(owner="a", status=JobStatus.QUEUED).jobs == ()
    assert jobs.open_count("a") == 1
    assert jobs.open_count() == 2


@pytest.mark.parametrize("cursor", ["", "x", "j", "jzz", "j" + "f" * 30, "17"])
def test_cursors_that_are_none(embedded: Stack, cursor: str) -> None:
    jobs = Jobs(open_store(embedded.settings()))
    with pytest.raises(OptionError, match="cursor"):
        jobs.page(cursor=cursor)


def test_counts_and_queue_age(jobs: Jobs) -> None:
    assert jobs.queue_age() == 0
    submit(jobs)
    claimed(jobs)
    assert jobs.counts()[JobStatus.QUEUED] == 1
    assert jobs.counts()[JobStatus.PROCESSING] == 1
    assert jobs.counts()[JobStatus.FAILED] == 0
    assert 0 <= jobs.queue_age() < 60


# --- working ----------------------------------------------------------------------------------------------------------


def test_a_job_from_claim_to_end(jobs: Jobs) -> None:
    claim = claimed(jobs)
    assert claim.token == 1
    assert jobs.claim(claim.job_id, "another") is None
    jobs.advance(claim, 40, "nvdiffrec", "Refining")
    jobs.advance(claim, 30, "nvdiffrec", "Still refining")
    job = jobs.get(claim.job_id)
    assert (job.progress, job.step, job.current_model) == (40, "Still refining", "nvdiffrec")
    assert jobs.beat(claim) is False
    assert jobs.artefacts(claim.job_id) == ()
    assert jobs.publish(claim, "nvdiffrec", "jobs/x/output/nvdiffrec", FACTS, {"status": "normal"})
    artefact = jobs.artefact(claim.job_id, "nvdiffrec", "mesh.obj")
    assert artefact is not None
    assert (artefact.key, artefact.crc32) == ("jobs/x/output/nvdiffrec/mesh.obj", 7)
    assert jobs.artefact(claim.job_id, "nvdiffrec", "mesh.ply") is None
    job = jobs.complete(claim)
    assert (job.status, job.progress, job.current_model) == (JobStatus.COMPLETED, 100, None)
    assert job.quality == {"nvdiffrec": {"status": "normal"}}
    assert job.ended_at is not None


def test_the_longest_waiting_job_comes_first(jobs: Jobs) -> None:
    ids = [submit(jobs) for _ in range(3)]
    assert [claim.job_id for claim in iter(lambda: jobs.claim(None, "w"), None)] == ids


def test_many_workers_never_share_a_job(jobs: Jobs) -> None:
    ids = {submit(jobs) for _ in range(12)}
    start = threading.Barrier(6)

    def work(name: int) -> list[str]:
        start.wait()
        taken = []
        while (claim := jobs.claim(None, f"w{name}")) is not None:
            taken.append(claim.job_id)
        return taken

    with ThreadPoolExecutor(6) as pool:
        taken = [job_id for part in pool.map(work, range(6)) for job_id in part]
    assert sorted(taken) == sorted(ids)


def test_an_old_claim_has_no_effect(jobs: Jobs) -> None:
    old = claimed(jobs)
    jobs.requeue(old.job_id, old.token)
    for _ in range(2):  # while it waits, and while another works on it
        before = jobs.get(old.job_id)
        for call in (
            lambda: jobs.beat(old),
            lambda: jobs.advance(old, 99, "m", "x"),
            lambda: jobs.publish(old, "m", "place", FACTS, {}),
            lambda: jobs.complete(old),
            lambda: jobs.fail(old, ERROR),
        ):
            with pytest.raises(LostClaim):
                call()
        assert jobs.requeue(old.job_id, old.token) is None
        assert jobs.get(old.job_id) == before
        new = jobs.claim(old.job_id, "another")
    assert new is None or new.token == old.token + 1


def test_nothing_is_placed_under_a_claim_that_does_not_hold(jobs: Jobs) -> None:
    old = claimed(jobs)
    jobs.confirm_cancellation(old.job_id)

    def place() -> str:
        raise AssertionError("the files were moved")

    with pytest.raises(LostClaim):
        jobs.publish(old, "m", place, FACTS, {})


def test_a_model_is_published_once(jobs: Jobs) -> None:
    first = claimed(jobs)
    assert jobs.publish(first, "m", "one", FACTS, {})
    assert jobs.publish(first, "m", "one", FACTS, {})  # the same call, repeated
    jobs.requeue(first.job_id, first.token)
    second = claimed(jobs, first.job_id)
    assert not jobs.publish(second, "m", "two", FACTS, {})
    assert jobs.published(first.job_id) == {"m": "one"}


def test_publishing_is_all_or_nothing(jobs: Jobs) -> None:
    claim = claimed(jobs)

    def place() -> str:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        jobs.publish(claim, "m", place, FACTS, {})
    assert jobs.published(claim.job_id) == {}
    assert jobs.get(claim.job_id).quality == {}


def test_ending_twice_is_ending_once(jobs: Jobs) -> None:
    claim = claimed(jobs)
    assert jobs.complete(claim) == jobs.complete(claim)
    with pytest.raises(LostClaim):
        jobs.fail(claim, ERROR)
    with pytest.raises(JobEnded, match="completed"):
        jobs.fail(claim.job_id, ERROR)


def test_a_failed_job_says_why(jobs: Jobs) -> None:
    claim = claimed(jobs)
    jobs.fail(claim, ERROR)
    job = jobs.get(claim.job_id)
    assert (job.status, job.error) == (JobStatus.FAILED, ERROR)


def test_requeued_jobs_keep_their_progress_and_end_after_three_attempts(jobs: Jobs) -> None:
    job_id = submit(jobs)
    for attempt in range(1, 4):
        claim = claimed(jobs, job_id)
        assert claim.job.attempt == attempt
        jobs.advance(claim, 10 * attempt, "m", "x")
        after = jobs.requeue(job_id, claim.token)
        assert after is not None
        assert after.progress == 10 * attempt
        assert after.status is (JobStatus.QUEUED if attempt < 3 else JobStatus.FAILED)
    assert after.error is not None
    assert "3 times" in after.error.message
    assert jobs.claim(job_id, "w") is None


def test_a_job_given_back_in_good_order_has_lost_no_attempt(jobs: Jobs) -> None:
    job_id = submit(jobs)
    for _ in range(5):
        claim = claimed(jobs, job_id)
        assert claim.job.attempt == 1
        jobs.requeue(job_id, claim.token, counted=False)


def test_a_sign_of_life_saves_from_the_reaper(jobs: Jobs) -> None:
    claim = claimed(jobs)
    seen = jobs.get(claim.job_id).beat
    jobs.beat(claim)
    assert jobs.requeue(claim.job_id, claim.token, beat=seen) is None
    assert jobs.requeue(claim.job_id, claim.token, beat=seen + 1) is not None


# --- cancelling -------------------------------------------------------------------------------------------------------


def test_cancelling_in_two_steps(jobs: Jobs) -> None:
    job_id = submit(jobs)
    asked = cancellation.request_cancellation(job_id, jobs=jobs)
    assert (asked.status, asked.cancel_requested) == (JobStatus.QUEUED, True)
    assert not cancellation.is_job_cancelled(job_id, jobs=jobs)
    assert not cancellation.clear_cancellation(job_id, jobs=jobs).cancel_requested
    done = cancellation.confirm_cancellation(job_id, jobs=jobs)
    assert done.status is JobStatus.CANCELLED
    assert cancellation.is_job_cancelled(job_id, jobs=jobs)
    assert cancellation.confirm_cancellation(job_id, jobs=jobs) == done
    assert jobs.claim(job_id, "w") is None
    for call in (jobs.request_cancellation, jobs.clear_cancellation):
        with pytest.raises(JobEnded):
            call(job_id)


def test_asking_twice_changes_nothing_more(jobs: Jobs) -> None:
    job_id = submit(jobs)
    assert jobs.request_cancellation(job_id).revision == jobs.request_cancellation(job_id).revision


def test_a_cancelled_job_shows_nothing(jobs: Jobs) -> None:
    claim = claimed(jobs)
    jobs.publish(claim, "reconviagen", "place", FACTS, {})
    jobs.request_cancellation(claim.job_id)
    assert jobs.beat(claim) is True
    jobs.confirm_cancellation(claim.job_id)
    assert jobs.artefacts(claim.job_id) == ()
    with pytest.raises(LostClaim):
        jobs.beat(claim)


def test_what_has_ended_cannot_be_cancelled(jobs: Jobs) -> None:
    claim = claimed(jobs)
    jobs.complete(claim)
    with pytest.raises(JobEnded, match="completed") as caught:
        jobs.confirm_cancellation(claim.job_id)
    assert caught.value.status is JobStatus.COMPLETED


# --- around the end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_whoever_is_to_be_told_is_noted_with_the_end(jobs: Jobs, end: str) -> None:
    job_id = submit(jobs, webhooks=(Webhook(url="https://example.org/a", secret="s"),))
    claim = claimed(jobs, job_id)
    if end == "completed":
        jobs.complete(claim)
        jobs.complete(claim)
    elif end == "failed":
        jobs.fail(claim, ERROR)
    else:
        jobs.confirm_cancellation(job_id)
        jobs.confirm_cancellation(job_id)
    rows = jobs.store.read(lambda c: c.execute(select(deliveries).where(deliveries.c.job_id == job_id)).all())
    assert [(row.event, row.state) for row in rows] == [(f"job.{end}", "pending")]


def test_expired_jobs_hide_their_files_and_want_sweeping(jobs: Jobs) -> None:
    claim = claimed(jobs)
    jobs.publish(claim, "m", "place", FACTS, {})
    job = jobs.complete(claim)
    jobs.mark_swept(job)
    assert jobs.unswept() == ()
    assert jobs.expire(datetime.now(UTC) - timedelta(hours=1)) == ()
    assert jobs.expire(datetime.now(UTC) + timedelta(hours=1)) == (claim.job_id,)
    assert jobs.expire(datetime.now(UTC) + timedelta(hours=1)) == ()
    job = jobs.get(claim.job_id)
    assert job.expired_at is not None
    assert jobs.artefacts(claim.job_id) == ()
    assert [item.job_id for item in jobs.unswept()] == [claim.job_id]
    jobs.mark_swept(job)
    assert jobs.unswept() == ()


def test_sweeping_counts_only_for_the_job_as_it_was_seen(jobs: Jobs) -> None:
    claim = claimed(jobs)
    job = jobs.complete(claim)
    jobs.expire(datetime.now(UTC) + timedelta(hours=1))
    jobs.mark_swept(job)
    assert len(jobs.unswept()) == 1


def test_states_and_moves() -> None:
    assert {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED} == FINAL
    assert can_move(JobStatus.PROCESSING, JobStatus.QUEUED)
    assert not any(can_move(before, after) for before in FINAL for after in JobStatus)


# --- the store --------------------------------------------------------------------------------------------------------


def test_migrations_make_the_tables_that_the_code_expects(store: Store) -> None:
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_head_is_the_newest_migration() -> None:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "meshwright.service.store:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_many_processes_may_open_the_store_at_once(stack: Stack) -> None:
    settings = stack.settings()
    with ThreadPoolExecutor(5) as pool:
        stores = list(pool.map(lambda _: open_store(settings), range(5)))
    submit(Jobs(stores[0]))
    assert len(Jobs(stores[4]).page().jobs) == 1
    for store in stores:
        store.close()


def test_a_store_of_a_newer_version_is_left_alone(store: Store, settings: Settings) -> None:
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(OptionError, match="newer"):
        migrate(store.engine, settings)


def test_a_store_that_is_away(embedded: Stack) -> None:
    with pytest.raises(StoreUnavailable):
        open_store(embedded.settings(database_url="postgresql+psycopg://nobody@127.0.0.1:9/none"))
    with pytest.raises(OptionError, match="DATABASE_URL"):
        open_store(embedded.settings(database_url="mysql://x/y"))
    with pytest.raises(OptionError, match="DATABASE_URL"):
        open_store(embedded.settings(database_url="what?"))


def test_the_embedded_store_is_for_its_owner_alone(embedded: Stack) -> None:
    settings = embedded.settings()
    open_store(settings).close()
    assert Path(settings.data_dir).stat().st_mode & 0o077 == 0
