"""Processes of the service under a test that kills them, and what must hold of every accepted job afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
from PIL import Image

from meshwright.service.jobs import JobRecord, Jobs
from meshwright.service.run import models_of
from meshwright.service.storage import Storage, open_storage
from meshwright.service.store import open_store
from meshwright.types import VIEW_NAMES, JobStatus
from service_stack import Stack, die_with_parent, free_port, set_environment, until

__all__ = ["Fleet", "check_jobs", "pictures"]

ROOT = Path(__file__).resolve().parents[1]
LEASE_S = 2.0
"""Short, so that tests need not wait long for it; nothing else depends on its length."""


def pictures(side: int = 64) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Six views of a ball on white, and their depth renders."""
    y, x = np.mgrid[0:side, 0:side] / side - 0.5
    inside = x**2 + y**2 < 0.09
    height = np.sqrt(np.clip(0.09 - x**2 - y**2, 0, None)) / 0.3
    views, depth = {}, {}
    for index, name in enumerate(VIEW_NAMES):
        colour = np.full((side, side, 3), 255, np.uint8)
        colour[inside] = (60 + 30 * index, 120, 200 - 25 * index)
        colour[inside & ((x * 20).astype(int) % 2 == 0)] //= 2
        views[name] = _png(colour)
        depth[name] = _png(np.where(inside, 60 + 150 * height, 0).astype(np.uint8))
    return views, depth


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Fleet:
    """`meshwright serve` with some workers, and how to submit to it.

    Attributes:
        stack: Where it keeps things.
        workers: How many worker processes.
        real: Whether the real models run; else the fast ones.
        env: Further variables of all processes.
    """

    stack: Stack
    workers: int = 2
    real: bool = False
    env: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    accepted: list[str] = field(default_factory=list)
    side: int = 64

    def __post_init__(self) -> None:
        self.stack.env |= {
            "MESHWRIGHT_PORT": str(self.port),
            "MESHWRIGHT_WORKERS": str(self.workers),
            "MESHWRIGHT_LEASE_S": "10" if self.real else str(LEASE_S),
            "MESHWRIGHT_LOG_FORMAT": "json",
            "MESHWRIGHT_RATE_SUBMIT": "100000/minute",
            "MESHWRIGHT_RATE_READ": "100000/minute",
            "MESHWRIGHT_QUEUE_DEPTH": "100000",
            "MESHWRIGHT_SHUTDOWN_S": "8",
            "PYTHONPATH": str(ROOT / "tests"),
        } | ({"MESHWRIGHT_QUALITY": "draft"} if self.real else {"MESHWRIGHT_MODEL_FACTORY": "service_fast_model:make"})
        self.stack.env |= self.env
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = self.stack.folder / "serve.log"
        views, depth = pictures(self.side)
        self.files = [("views", (f"{name}.png", data, "image/png")) for name, data in views.items()]
        self.files += [("depth_renders", (f"{name}.png", data, "image/png")) for name, data in depth.items()]
        self.client = httpx.Client(base_url=self.url, timeout=20)
        self._watching: list[_Watcher] = []
        self._models = itertools.cycle(["reconviagen", "reconviagen", "nvdiffrec"])

    # --- processes ---

    def start(self) -> Fleet:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from meshwright.cli.app import main; main()", "serve"],
                env={**{k: v for k, v in os.environ.items() if not k.startswith("MESHWRIGHT_")}, **self.stack.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        try:
            until(self.is_ready, 60, f"the service is ready; see {self.log_path}", pause=0.1)
        except BaseException:
            self.stop()
            raise
        return self

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()[-3000:]
        try:
            # Without workers it lives, and is not ready until one shows itself.
            return self.client.get("/health/ready" if self.workers else "/health/live").status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None

    def __enter__(self) -> Fleet:
        return self.start()

    def __exit__(self, *_: object) -> None:
        for watcher in self._watching:
            watcher.stop()
        self.stop()
        self.client.close()

    @property
    def api_pid(self) -> int:
        return self._children("meshwright.service.http")[0]

    @property
    def worker_pids(self) -> list[int]:
        """The processes that `serve` started as workers."""
        return self._children("meshwright.service.worker")

    @property
    def working_pids(self) -> list[int]:
        """Their children, which do the work."""
        return [child for pid in self.worker_pids for child in children_of(pid)]

    def _children(self, module: str) -> list[int]:
        assert self.process is not None
        return [pid for pid in children_of(self.process.pid) if module in command_of(pid)]

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    # --- jobs ---

    def _usual(self) -> str:
        """Both models, where that takes a second; else one or the other."""
        return next(self._models) if self.real else "both"

    def submit(self, model_type: str = "", patience_s: float = 30.0) -> str:
        """Submits until it is accepted, as a careful client does: the same key each time."""
        key = uuid4().hex
        model_type = model_type or self._usual()
        deadline = time.monotonic() + patience_s
        while True:
            job_id = self.try_submit(model_type, key)
            if job_id is not None:
                return job_id
            assert time.monotonic() < deadline, f"a submission is not accepted; {self.log()[-1500:]}"
            time.sleep(0.2)

    def try_submit(self, model_type: str = "", key: str | None = None) -> str | None:
        """Submits once; the id, if it was accepted."""
        model_type = model_type or self._usual()
        headers = {"Idempotency-Key": key or uuid4().hex}
        try:
            answer = self.client.post("/api/jobs", files=self.files, data={"model_type": model_type}, headers=headers)
        except httpx.HTTPError:
            return None
        if answer.status_code != 202:
            assert answer.status_code in (503, 507), answer.text
            return None
        job_id = str(answer.json()["job_id"])
        if job_id not in self.accepted:
            self.accepted.append(job_id)
        return job_id

    @contextlib.contextmanager
    def tables(self) -> Iterator[tuple[Jobs, Storage]]:
        """The job table and the storage, seen directly."""
        with set_environment(self.stack.env):
            settings = self.stack.settings()
            store = open_store(settings, patience_s=30)
            try:
                yield Jobs(store), open_storage(settings)
            finally:
                store.close()

    def watch(self) -> _Watcher:
        """Looks at all accepted jobs from now on: progress and revision only rise, no final state is left."""
        watcher = _Watcher(self)
        self._watching.append(watcher)
        return watcher

    def settle(self, seconds: float = 60.0, jobs: Sequence[str] | None = None) -> list[JobRecord]:
        """Waits until all accepted jobs have ended and nothing is left to sweep."""
        wanted = list(self.accepted if jobs is None else jobs)
        with self.tables() as (table, _):
            state: dict[str, Any] = {}

            def ended() -> bool:
                found = table.many(wanted)
                state["found"] = found
                return len(found) == len(wanted) and all(job.has_ended for job in found.values())

            try:
                until(ended, seconds, "all jobs have ended", pause=0.1)
            except AssertionError:
                rest = [job for job in state["found"].values() if not job.has_ended]
                raise AssertionError(f"not ended after {seconds} s: {rest}; log:\n{self.log()[-4000:]}") from None
            until(lambda: not table.unswept(), 30, "what ended jobs left is removed", pause=0.1)
            return [state["found"][job_id] for job_id in wanted]


class _Watcher:
    """Follows jobs in the table from a thread; `stop` says what was wrong."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.faults: list[str] = []
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> list[str]:
        self._finished.set()
        self._thread.join(60)
        return self.faults

    def _run(self) -> None:
        last: dict[str, JobRecord] = {}
        # One connection of its own; the table may go away meanwhile.
        settings = self.fleet.stack.settings()
        store = open_store(settings, patience_s=60)
        table = Jobs(store)
        while not self._finished.wait(0.1):
            try:
                found = table.many(list(self.fleet.accepted)[-8:])
            except Exception:  # the store is away; that is what some tests are about
                continue
            for job_id, job in found.items():
                before = last.get(job_id)
                if before is not None:
                    self._compare(before, job)
                last[job_id] = job
        store.close()

    def _compare(self, before: JobRecord, job: JobRecord) -> None:
        if job.progress < before.progress:
            self.faults.append(f"{job.job_id}: progress fell from {before.progress} to {job.progress}")
        if job.revision < before.revision or job.token < before.token:
            self.faults.append(f"{job.job_id}: revision or token fell")
        if before.has_ended and job.status != before.status:
            self.faults.append(f"{job.job_id}: went from {before.status} to {job.status}")


def check_jobs(fleet: Fleet, jobs: Sequence[JobRecord], *, all_completed: bool = True) -> list[str]:
    """What is wrong with these ended jobs: artefacts that are not whole, published twice, or left over."""
    wrong: list[str] = []
    log = fleet.log()
    with fleet.tables() as (table, storage):
        for job in jobs:
            says = wrong.append
            if not job.has_ended:
                says(f"{job.job_id} is {job.status}")
            if all_completed and job.status is not JobStatus.COMPLETED:
                says(f"{job.job_id} is {job.status}: {job.error}")
            published = table.published(job.job_id)
            artefacts = table.artefacts(job.job_id)
            if job.status is JobStatus.COMPLETED and set(published) != set(models_of(job.model_type)):
                says(f"{job.job_id} is completed and shows {sorted(published)}")
            if job.status is JobStatus.CANCELLED and (published or artefacts):
                says(f"{job.job_id} is cancelled and shows {sorted(published)}")
            for model in published:
                names = {item.name for item in artefacts if item.model == model}
                if not {"mesh.obj", "mesh.mtl", "mesh.png", "mesh.ply", "quality.json"} <= names:
                    says(f"{job.job_id}/{model} shows only {sorted(names)}")
                if len(re.findall(f"job {job.job_id}: {model} is published", log)) > 1:
                    says(f"{job.job_id}/{model} was published twice")
            for item in artefacts:
                data = b"".join(storage.open(item.key))
                if len(data) != item.size or hashlib.sha256(data).hexdigest() != item.sha256:
                    says(f"{item.key} is not what was published")
            keys = {item.key for item in storage.list(f"jobs/{job.job_id}")}
            known = {item.key for item in artefacts} | {item.key for item in job.inputs}
            if job.status is JobStatus.CANCELLED:
                known = set()
            if keys != known:
                says(f"{job.job_id}: left over {sorted(keys - known)[:4]}, missing {sorted(known - keys)[:4]}")
    return wrong


def children_of(pid: int) -> list[int]:
    """Processes whose parent this is, oldest first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(after_name[1]) == pid and after_name[0] not in "ZX":
                found.append(int(entry.name))
    return sorted(found)


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def kill(pids: Sequence[int], how: signal.Signals = signal.SIGKILL) -> None:
    """Kills those of these processes that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)


Injection = Callable[[Fleet], None]
