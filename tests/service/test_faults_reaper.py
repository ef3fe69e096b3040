"""How lost jobs are found: by counters and our own monotonic clock, never by comparing wall clocks."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from meshwright.service.jobs import Claim, JobRecord, Jobs, NewJob, new_job_id
from meshwright.service.jobs.identity import is_dead, own_identity
from meshwright.service.jobs.presence import WorkerWatch, forget_worker, show_worker
from meshwright.service.jobs.reaper import Reaper
from meshwright.service.store import Store, open_store
from meshwright.types import JobStatus
from service_stack import Stack

LEASE_S = 30.0


class Clock:
    """Monotonic seconds that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(embedded: Stack) -> Iterator[Store]:
    store = open_store(embedded.settings())
    yield store
    store.close()


@pytest.fixture
def jobs(store: Store) -> Jobs:
    return Jobs(store)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def claimed(jobs: Jobs, worker: str = "elsewhere") -> Claim:
    claim = jobs.claim(jobs.submit(NewJob(job_id=new_job_id())).job_id, worker)
    assert claim is not None
    return claim


def reaper_of(jobs: Jobs, clock: Clock, hints: list[str] | None = None) -> Reaper:
    def hint(job: JobRecord) -> None:
        if hints is not None:
            hints.append(job.job_id)

    return Reaper(jobs, LEASE_S, hint, clock=clock)


def test_a_silent_worker_loses_its_job_after_the_lease(jobs: Jobs, clock: Clock) -> None:
    claim = claimed(jobs)
    reaper = reaper_of(jobs, clock)
    assert reaper.tick() == ()
    clock.now += LEASE_S - 1
    assert reaper.tick() == ()
    clock.now += 1
    assert reaper.tick() == (claim.job_id,)
    assert jobs.get(claim.job_id).status is JobStatus.QUEUED


def test_a_worker_that_gives_signs_of_life_keeps_its_job(jobs: Jobs, clock: Clock) -> None:
    claim = claimed(jobs)
    reaper = reaper_of(jobs, clock)
    for _ in range(10):
        reaper.tick()
        clock.now += LEASE_S - 1
        jobs.beat(claim)
    assert reaper.tick() == ()


def test_a_fresh_reaper_gives_everybody_a_whole_lease(jobs: Jobs, clock: Clock) -> None:
    """It cannot know for how long a counter has stood; a restart must not take jobs from the living."""
    claimed(jobs)
    clock.now += 10 * LEASE_S
    assert reaper_of(jobs, clock).tick() == ()


def test_a_new_claim_starts_a_new_lease(jobs: Jobs, clock: Clock) -> None:
    claim = claimed(jobs)
    reaper = reaper_of(jobs, clock)
    reaper.tick()
    clock.now += LEASE_S - 1
    jobs.requeue(claim.job_id, claim.token)
    assert jobs.claim(claim.job_id, "another")
    reaper.tick()
    clock.now += LEASE_S - 1
    assert reaper.tick() == ()


def test_two_reapers_take_a_job_once(jobs: Jobs, clock: Clock) -> None:
    claim = claimed(jobs)
    reapers = [reaper_of(jobs, clock) for _ in range(2)]
    for reaper in reapers:
        reaper.tick()
    clock.now += LEASE_S
    assert [reaper.tick() for reaper in reapers] == [(claim.job_id,), ()]


def test_after_three_silences_the_job_has_failed(jobs: Jobs, clock: Clock) -> None:
    claim = claimed(jobs)
    reaper = reaper_of(jobs, clock)
    for attempt in range(1, 4):
        reaper.tick()
        clock.now += LEASE_S
        assert reaper.tick() == (claim.job_id,)
        if attempt < 3:
            assert jobs.claim(claim.job_id, "w")
    job = jobs.get(claim.job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code == "UNKNOWN_ERROR"


def test_who_was_killed_on_this_machine_is_noticed_at_once(jobs: Jobs, clock: Clock) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    own = own_identity()
    machine = own.rsplit("/", 1)[0]
    began = _began(sleeper.pid)
    claim = claimed(jobs, f"{machine}/{sleeper.pid}.{began}")
    reaper = reaper_of(jobs, clock)
    assert reaper.tick() == ()
    sleeper.kill()
    sleeper.wait()
    assert reaper.tick() == (claim.job_id,)
    assert sleeper.stdin is not None
    sleeper.stdin.close()


def _began(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[19])


def test_identities() -> None:
    own = own_identity()
    assert not is_dead(own)
    assert not is_dead(own + "#abc")
    host, machine, process = own.rsplit("/", 2)
    pid, began = process.split(".")
    assert is_dead(f"{host}/{machine}/{pid}.{int(began) - 1}")
    assert is_dead(f"{host}/{machine}/4194303.5")
    # Another machine's, or no identity at all: nothing can be said.
    assert not is_dead(f"{host}/other/{pid}.1")
    for strange in ("", "w", "a/b/c", "a/b/1.x", f"{host}/{machine}/{os.getpid()}"):
        assert not is_dead(strange)


def test_jobs_that_nobody_heard_of_are_hinted_at_with_growing_pauses(jobs: Jobs, clock: Clock) -> None:
    jobs.submit(NewJob(job_id="aaaaaaaa"))
    hints: list[str] = []
    reaper = reaper_of(jobs, clock, hints)
    moments = []
    for _ in range(600):
        before = len(hints)
        reaper.tick()
        if len(hints) > before:
            moments.append(clock.now - 1000)
        clock.now += 1
    assert moments[:5] == [2, 6, 14, 30, 62]
    assert {later - earlier for earlier, later in itertools.pairwise(moments[5:])} == {60}


def test_only_the_longest_waiting_jobs_are_hinted_at(jobs: Jobs, clock: Clock) -> None:
    """Or the queue would fill with messages while a long job runs."""
    ids = [jobs.submit(NewJob(job_id=new_job_id())).job_id for _ in range(20)]
    hints: list[str] = []
    reaper = reaper_of(jobs, clock, hints)
    for _ in range(300):
        reaper.tick()
        clock.now += 1
    assert set(hints) == set(ids[:4])
    assert len(hints) < 50
    claim = jobs.claim(None, "w")
    assert claim is not None
    for _ in range(3):
        reaper.tick()
        clock.now += 2
    assert ids[4] in hints


def test_a_hint_that_cannot_be_sent_does_not_stop_the_reaping(jobs: Jobs, clock: Clock) -> None:
    jobs.submit(NewJob(job_id=new_job_id()))
    claim = claimed(jobs)

    def broken(_: JobRecord) -> None:
        raise RuntimeError("the broker is away")

    reaper = Reaper(jobs, LEASE_S, broken, clock=clock)
    reaper.tick()
    clock.now += LEASE_S
    with pytest.raises(RuntimeError):
        reaper.tick()
    assert jobs.get(claim.job_id).status is JobStatus.QUEUED


def test_workers_are_seen_while_their_counter_moves(store: Store, clock: Clock) -> None:
    watch = WorkerWatch(store, LEASE_S, clock=clock)
    show_worker(store, "w1", {"device": {"name": "cpu"}})
    show_worker(store, "w2", {})
    watch.tick()
    assert {seen.worker_id for seen in watch.alive()} == {"w1", "w2"}
    clock.now += LEASE_S
    show_worker(store, "w1", {"device": {"name": "gpu"}})
    watch.tick()
    assert [(seen.worker_id, seen.about) for seen in watch.alive()] == [("w1", {"device": {"name": "gpu"}})]
    forget_worker(store, "w1")
    watch.tick()
    assert watch.alive() == ()


def test_workers_that_have_ended_are_forgotten(store: Store, clock: Clock) -> None:
    watch = WorkerWatch(store, LEASE_S, clock=clock, dead=lambda worker: worker == "w1")
    show_worker(store, "w1", {})
    watch.tick()
    assert watch.alive() == ()
    show_worker(store, "w2", {})
    watch.tick()
    clock.now += 700
    watch.tick()
    clock.now += 1
    watch.tick()
    assert watch.alive() == ()
