"""The faults that the service must survive, each at a random moment of a job's life.

A trial submits some jobs, does its harm, and mends what a person or a supervisor would mend. Afterwards `run_trial`
waits until every accepted job has ended and says what is wrong: see `service_fleet.check_jobs`.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from meshwright.service.tasks import Queue
from meshwright.types import JobStatus
from service_fleet import Fleet, check_jobs, children_of, kill
from service_stack import Stack, find_program, set_environment, until

__all__ = ["FAULTS", "Fault", "Outcome", "fleet_for", "run_trial"]

CLOCK = Path(__file__).parent / "tools" / "clock.c"
DISK_MB = 40


@dataclass
class Outcome:
    """What came of some trials of one fault."""

    trials: int = 0
    states: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    slowest_s: float = 0.0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """One kind of harm.

    Attributes:
        title: As the table says it.
        harm: Submits and does the harm; `span` is how long a job of this fleet takes, seconds.
        stacks: Where it can happen.
        may_fail: Whether jobs may fail in good order; else all must be completed.
        needs: Why it cannot be tried here; empty if it can.
    """

    title: str
    harm: Callable[[Fleet, random.Random, float], None]
    stacks: tuple[str, ...] = ("embedded", "full")
    may_fail: bool = False
    needs: Callable[[], str] = lambda: ""


def _kill_worker(fleet: Fleet, rng: random.Random, span: float) -> None:
    fleet.submit()
    fleet.submit()
    time.sleep(rng.uniform(0, 1.5 * span))
    which = rng.choice(["child", "worker", "all"])
    if which == "child":
        kill(fleet.working_pids[:1])
    elif which == "worker":
        kill(fleet.worker_pids[-1:])  # none, where an earlier trial has just killed them all
    else:
        kill(fleet.worker_pids)


def _kill_api(fleet: Fleet, rng: random.Random, span: float) -> None:
    fleet.submit()
    submitting = [threading.Thread(target=fleet.submit) for _ in range(2)]
    for thread in submitting:
        thread.start()
    time.sleep(rng.uniform(0, min(span, 0.3)))
    with contextlib.suppress(IndexError):
        kill([fleet.api_pid])
    for thread in submitting:
        thread.join()


def _kill_serve(fleet: Fleet, rng: random.Random, span: float) -> None:
    fleet.submit()
    fleet.submit()
    time.sleep(rng.uniform(0, 1.5 * span))
    assert fleet.process is not None
    family = [pid for child in children_of(fleet.process.pid) for pid in (child, *children_of(child))]
    fleet.stop(signal.SIGKILL)
    until(lambda: not any(_runs(pid) for pid in family), 5, f"the children of serve are gone: {family}")
    fleet.start()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _restart_redis(fleet: Fleet, rng: random.Random, span: float) -> None:
    assert fleet.stack.redis is not None
    fleet.submit()
    time.sleep(rng.uniform(0, span))
    fleet.stack.redis.stop(rng.choice([signal.SIGTERM, signal.SIGKILL]))
    fleet.submit()
    time.sleep(rng.uniform(0, span))
    fleet.stack.redis.start()
    fleet.submit()


def _flush_redis(fleet: Fleet, rng: random.Random, span: float) -> None:
    assert fleet.stack.redis is not None
    fleet.submit()
    fleet.submit()
    fleet.submit()
    time.sleep(rng.uniform(0, span))
    fleet.stack.redis.flush()


def _restart_postgres(fleet: Fleet, rng: random.Random, span: float) -> None:
    assert fleet.stack.postgres is not None
    fleet.submit()
    fleet.submit()
    time.sleep(rng.uniform(0, 1.5 * span))
    fleet.stack.postgres.stop(signal.SIGQUIT)
    time.sleep(rng.uniform(0, 1.0))
    fleet.stack.postgres.start()
    fleet.submit()


def _fill_disk(fleet: Fleet, rng: random.Random, span: float) -> None:
    """Everything of the service lies on a small file system, the embedded store included."""
    filler = Path(fleet.stack.env["MESHWRIGHT_DATA_DIR"]).parent / "filler"
    fleet.try_submit()
    fleet.try_submit()
    time.sleep(rng.uniform(0, span))
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    fleet.try_submit()
    time.sleep(rng.uniform(0.2, 1.0 + span))
    filler.unlink()
    fleet.submit()


def _send_duplicates(fleet: Fleet, rng: random.Random, span: float) -> None:
    job_ids = [fleet.submit(), fleet.submit()]
    queue = _queue(fleet.stack)
    for _ in range(rng.randint(3, 8)):
        time.sleep(rng.uniform(0, span / 3))
        queue.send(rng.choice(job_ids), "both")


def _race(fleet: Fleet, rng: random.Random, span: float) -> None:
    """As many messages at once as there are workers, several times over."""
    del span
    queue = _queue(fleet.stack)
    job_id = fleet.submit()
    time.sleep(rng.uniform(0, 0.05))
    for _ in range(4):
        queue.send(job_id, "both")
    fleet.submit()


def _jump_clock(fleet: Fleet, rng: random.Random, span: float) -> None:
    """Of all processes of the service; databases and the test keep the true time."""
    offset = Path(fleet.env["CLOCK_OFFSET"])
    fleet.submit()
    time.sleep(rng.uniform(0, span))
    # Requests to object storage are signed with the time and refused beyond a quarter of an hour, by any server.
    reach = 600 if fleet.stack.s3 is not None else 3 * 86400
    _set_clock(offset, rng.choice([-1, 1]) * rng.randint(reach // 2, reach))
    fleet.submit()
    time.sleep(rng.uniform(0, span))
    _set_clock(offset, rng.choice([-1, 0, 1]) * rng.randint(reach // 2, reach))


def _set_clock(file: Path, seconds: int) -> None:
    """In place: processes have mapped the file."""
    with file.open("r+b") as offset:
        offset.write(struct.pack("=q", seconds))


def _queue(stack: Stack) -> Queue:
    with set_environment(stack.env):
        return Queue(stack.settings())


def _no_mount() -> str:
    return "" if os.getuid() == 0 and find_program("mount") else "mounting a small file system needs root"


def _no_compiler() -> str:
    return "" if find_program("cc") else "there is no C compiler (Debian: gcc)"


FAULTS = {
    "worker": Fault("kill -9 of a worker", _kill_worker),
    "api": Fault("kill -9 of the API", _kill_api),
    "serve": Fault("kill -9 of serve", _kill_serve),
    "redis": Fault("Redis stopped and started", _restart_redis, stacks=("full",)),
    "flush": Fault("Redis flushed", _flush_redis, stacks=("full",)),
    "postgres": Fault("PostgreSQL restarted", _restart_postgres, stacks=("full",)),
    "disk": Fault("disk full", _fill_disk, stacks=("embedded", "full"), may_fail=True, needs=_no_mount),
    "duplicates": Fault("duplicate deliveries", _send_duplicates),
    "race": Fault("two workers race for one job", _race),
    "clock": Fault("clock jumps", _jump_clock, needs=_no_compiler),
}


@contextlib.contextmanager
def fleet_for(name: str, stack: Stack, *, real: bool = False) -> Iterator[Fleet]:
    """A running fleet on which this fault can happen any number of times."""
    env: dict[str, str] = {}
    mounted: Path | None = None
    if name == "clock":
        offset, library = stack.folder / "offset", stack.folder / "clock.so"
        offset.write_bytes(bytes(8))
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(CLOCK), "-ldl"], check=True)
        env = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)}
    if name == "disk":
        mounted = stack.folder / "small"
        mounted.mkdir()
        size = DISK_MB * (40 if real else 1)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(mounted)], check=True)
        stack.env["MESHWRIGHT_DATA_DIR"] = str(mounted / "data")
        stack.env["MESHWRIGHT_MIN_FREE_MB"] = "0.2"
    try:
        with Fleet(stack, real=real, env=env, side=128 if real else 64) as fleet:
            if mounted is not None:
                fleet.log_path = stack.folder / "serve.log"
            yield fleet
    finally:
        if mounted is not None:
            subprocess.run(["umount", "-l", str(mounted)], check=False)


def run_trial(name: str, fleet: Fleet, rng: random.Random, outcome: Outcome, *, span: float = 1.4) -> None:
    """One trial; adds to `outcome`."""
    fault = FAULTS[name]
    first = len(fleet.accepted)
    watcher = fleet.watch()
    began = time.monotonic()
    outcome.trials += 1
    try:
        fault.harm(fleet, rng, span)
        jobs = fleet.settle(60 + 40 * span, fleet.accepted[first:])
    except AssertionError as error:
        outcome.wrong.append(str(error))
        watcher.stop()
        return
    outcome.slowest_s = max(outcome.slowest_s, time.monotonic() - began)
    outcome.states.update(job.status.value for job in jobs)
    outcome.attempts = max([outcome.attempts, *(job.attempt for job in jobs)])
    outcome.wrong += watcher.stop()
    outcome.wrong += check_jobs(fleet, jobs, all_completed=not fault.may_fail)
    if jobs[-1].status is not JobStatus.COMPLETED:  # the last one comes after the harm was mended
        outcome.wrong.append(f"{jobs[-1].job_id}, submitted afterwards, is {jobs[-1].status}: {jobs[-1].error}")
