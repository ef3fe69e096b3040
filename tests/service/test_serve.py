"""The real processes: `meshwright serve` from start to end, what cancelling does to them, and how they stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from meshwright.service.tasks import TASK_NAME, Queue, make_app
from meshwright.types import JobStatus
from service_fleet import Fleet, check_jobs, children_of
from service_stack import STACKS, Stack, make_stack, set_environment, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=STACKS)
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Stages of 0.4 s: long enough to catch a job at work."""
    stack = make_stack(request, str(request.param), tmp_path_factory.mktemp(f"serve-{request.param}"))
    with Fleet(stack, workers=1, env={"FAST_MODEL_STAGE_S": "0.4"}) as fleet:
        yield fleet


def status(fleet: Fleet, job_id: str) -> dict[str, object]:
    answer = fleet.client.get(f"/api/jobs/{job_id}")
    assert answer.status_code == 200
    return dict(answer.json())


def begun(fleet: Fleet, job_id: str) -> None:
    until(lambda: float(str(status(fleet, job_id)["progress"])) > 5, 30, "the job is at work")


def test_a_job_from_submission_to_files(fleet: Fleet) -> None:
    job_id = fleet.submit("both")
    jobs = fleet.settle(60, [job_id])
    assert check_jobs(fleet, jobs) == []
    answer = fleet.client.get(f"/api/jobs/{job_id}/files/nvdiffrec/mesh.obj")
    assert answer.status_code == 200
    assert b"mtllib mesh.mtl" in answer.content


def test_cancelling_in_two_steps_stops_the_work_at_once(fleet: Fleet) -> None:
    job_id = fleet.submit("both")
    begun(fleet, job_id)
    first = fleet.client.post(f"/api/jobs/{job_id}/cancel", json={"confirm": False})
    assert first.json()["status"] == "cancel_requested"
    assert status(fleet, job_id)["status"] == "processing"
    second = fleet.client.post(f"/api/jobs/{job_id}/cancel", json={"confirm": True})
    assert second.json()["status"] == "cancelled"
    with fleet.tables() as (_, storage):
        # The work stops within two seconds; the rest is for removing files, and for a slow machine.
        until(lambda: not list(storage.list(f"jobs/{job_id}")), 10, "its files are gone")
    # The worker is free at once.
    next_id = fleet.submit("reconviagen")
    until(lambda: status(fleet, next_id)["status"] != "queued", 5, "the next job is taken")
    fleet.settle(30, [next_id])


def test_a_queued_job_that_is_cancelled_never_starts(fleet: Fleet) -> None:
    busy = fleet.submit("both")
    begun(fleet, busy)
    job_id = fleet.submit("both")
    fleet.client.post(f"/api/jobs/{job_id}/cancel", json={"confirm": False})
    fleet.client.post(f"/api/jobs/{job_id}/cancel", json={"confirm": True})
    jobs = fleet.settle(60, [busy, job_id])
    assert [job.status for job in jobs] == [JobStatus.COMPLETED, JobStatus.CANCELLED]
    time.sleep(1)
    with fleet.tables() as (table, _):
        assert table.get(job_id).attempt == 0
    assert f"job {job_id}: attempt" not in fleet.log()


def test_sigterm_gives_the_job_back_and_it_goes_on_after_the_next_start(fleet: Fleet) -> None:
    job_id = fleet.submit("both")
    begun(fleet, job_id)
    until(lambda: float(str(status(fleet, job_id)["progress"])) > 20, 30, "some stages are done")
    assert fleet.process is not None
    family = [pid for child in children_of(fleet.process.pid) for pid in (child, *children_of(child))]
    fleet.stop(signal.SIGTERM)
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in family), 3, "all processes are gone")
    with fleet.tables() as (table, _):
        job = table.get(job_id)
        assert (job.status, job.attempt) == (JobStatus.QUEUED, 0)
    fleet.start()
    jobs = fleet.settle(60, [job_id])
    assert check_jobs(fleet, jobs) == []
    assert jobs[0].attempt == 1
    worked = sum(int(quality["summary"].split(";")[1].split()[0]) for quality in jobs[0].quality.values())
    assert worked < 10, "no stage was taken from before"


def test_ctrl_c_ends_everything(embedded: Stack) -> None:
    with Fleet(embedded, workers=2) as fleet:
        assert fleet.process is not None
        family = [pid for child in children_of(fleet.process.pid) for pid in (child, *children_of(child))]
        assert len(family) == 5
        fleet.process.send_signal(signal.SIGINT)
        assert fleet.process.wait(15) == 0
        until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in family), 3, "all processes are gone")
        fleet.process = None


def test_a_worker_alone(stack: Stack) -> None:
    """`meshwright worker` beside an API that has none of its own."""
    with Fleet(stack, workers=0, env={"FAST_MODEL_STAGE_S": "0.05"}) as fleet:
        worker = subprocess.Popen(
            [sys.executable, "-c", "from meshwright.cli.app import main; main()", "worker"],
            env={**os.environ, **stack.env},
            stderr=subprocess.DEVNULL,
        )
        try:
            job_id = fleet.submit("both")
            jobs = fleet.settle(60, [job_id])
        finally:
            worker.terminate()
            assert worker.wait(20) == 0
        assert check_jobs(fleet, jobs) == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("MESHWRIGHT_LEASE_S", "600", "MESHWRIGHT_LEASE_S"),
        ("MESHWRIGHT_HARD_LIMIT_S", "5", "hard_limit_s must be above"),
        ("MESHWRIGHT_RETENTION", "soon", "not a duration"),
        ("MESHWRIGHT_STORAGE_URL", "ftp://x", "MESHWRIGHT_STORAGE_URL"),
        ("MESHWRIGHT_DATABASE_URL", "mysql://x/y", "MESHWRIGHT_DATABASE_URL"),
    ],
)
def test_settings_that_cannot_be_used(embedded: Stack, name: str, value: str, says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from meshwright.cli.app import main; main()", "serve"],
        env={**os.environ, **embedded.env, name: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr


# --- what Celery is told ----------------------------------------------------------------------------------------------


def test_the_task_is_as_other_programs_expect_it(embedded: Stack) -> None:
    app = make_app(embedded.settings())
    task = app.tasks["reconstruction.process"]
    assert task.name == TASK_NAME
    assert task.acks_late
    assert task.reject_on_worker_lost
    assert (task.soft_time_limit, task.time_limit) == (7200, 7500)


def test_redis_waits_longer_than_any_job_may_take(embedded: Stack) -> None:
    app = make_app(embedded.settings(broker_url="redis://127.0.0.1:1/0"))
    assert app.conf.broker_transport_options["visibility_timeout"] > 7500
    assert app.conf.result_backend_transport_options["visibility_timeout"] > 7500
    assert app.conf.visibility_timeout > 7500


def test_the_message_names_the_job(stack: Stack) -> None:
    with set_environment(stack.env):
        queue = Queue(stack.settings())
        queue.ping()
        queue.send("abcd1234", "both")
        app = queue._app
        with app.connection_for_read() as connection:
            message = connection.SimpleQueue(stack.settings().queue).get(timeout=5)
            message.ack()
    assert message.headers["id"] == "abcd1234"
    assert message.headers["task"] == "reconstruction.process"
    assert message.payload[0] == ["abcd1234"]
    assert message.payload[1] == {"model_type": "both"}


def test_a_stage_that_does_not_listen_is_ended_all_the_same(embedded: Stack) -> None:
    """Its process goes; the worker makes a new one, and takes the next job."""
    with Fleet(embedded, workers=1, env={"FAST_MODEL_STAGE_S": "4", "FAST_MODEL_TROUBLE": "deaf"}) as fleet:
        job_id = fleet.submit("reconviagen")
        until(lambda: status(fleet, job_id)["status"] == "processing", 20, "the job is at work")
        time.sleep(0.5)
        [working] = fleet.working_pids
        fleet.client.post(f"/api/jobs/{job_id}/cancel", json={"confirm": False})
        fleet.client.post(f"/api/jobs/{job_id}/cancel", json={"confirm": True})
        until(lambda: not os.path.exists(f"/proc/{working}"), 2.5, "the process is gone")
        next_id = fleet.submit("reconviagen")
        until(lambda: status(fleet, next_id)["status"] == "processing", 10, "the next job is taken")
        jobs = fleet.settle(60, [job_id, next_id])
    assert [job.status for job in jobs] == [JobStatus.CANCELLED, JobStatus.COMPLETED]
