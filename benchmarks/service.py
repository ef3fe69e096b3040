"""Load on the job service, on loopback: many uploads at once while jobs run, and a long job table.

    python benchmarks/service.py                      # 200 submissions by 8 clients; 10,000 jobs in the table
    python benchmarks/service.py --submissions 20 --jobs 1000 --requests 100     # a look in half a minute

It starts `meshwright serve` of its own, in a temporary folder and on a free port, with the settings of the environment
(so MESHWRIGHT_DATABASE_URL and MESHWRIGHT_BROKER_URL decide what it runs on) but without limits per client. Jobs run
with the quick model of the tests, so that hundreds end in minutes; `--real` runs the real ones.

What is measured:

- none of the submissions is lost: every id that was answered ends in one final state, `completed`, and is in the list;
- how long `GET /api/jobs/{id}` takes meanwhile, asked by one more client, ten times a second;
- the memory of the API process, sampled twice a second: highest, and at the end against after the first quarter;
- how long list and status take with many jobs in the table, with no worker running.

Exit code 1 if a bound is missed. Clients, service and workers share the machine, as the bounds want it.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import httpx
from harness import commit

from meshwright.client import Client
from meshwright.client.uploads import find_upload
from meshwright.device import describe_device
from meshwright.types import JobStatus

ROOT = Path(__file__).resolve().parents[1]
QUICK_MODEL = "service_fast_model:make"
UNLIMITED = {
    "MESHWRIGHT_RATE_SUBMIT": "1000000/minute",
    "MESHWRIGHT_RATE_READ": "1000000/minute",
    "MESHWRIGHT_QUEUE_DEPTH": "1000000",
}


@dataclass(frozen=True, kw_only=True)
class Bound:
    """One thing that was asked and what was seen."""

    name: str
    asked: str
    seen: str
    reached: bool


@dataclass
class Report:
    """Bounds, and figures beside them."""

    bounds: list[Bound] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def note(self, name: str, asked: str, seen: str, reached: bool) -> None:
        self.bounds.append(Bound(name=name, asked=asked, seen=seen, reached=reached))
        print(f"  {'ok    ' if reached else 'MISSED'} {name}: {seen} (asked: {asked})", file=sys.stderr, flush=True)


# --- a service of our own


@contextmanager
def service(folder: Path, *, workers: int, real: bool, device: str) -> Iterator[str]:
    """`meshwright serve` until the block ends; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        **UNLIMITED,
        "MESHWRIGHT_DATA_DIR": str(folder),
        "MESHWRIGHT_HOST": "127.0.0.1",
        "MESHWRIGHT_PORT": str(port),
        "MESHWRIGHT_WORKERS": str(workers),
        "MESHWRIGHT_DEVICE": device,
        "MESHWRIGHT_LOG_FORMAT": "json",
    }
    if not real:
        settings["MESHWRIGHT_MODEL_FACTORY"] = QUICK_MODEL
    paths = [str(ROOT / "tests"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    with (folder / "serve.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", "from meshwright.cli.app import main; main()", "serve"],
            env=os.environ | settings | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_live(url, process, folder / "serve.log")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_live(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Returns once the API answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/health/live", timeout=2).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"the service did not start:\n{log.read_text(errors='replace')[-3000:]}")


def listener(port: int) -> int:
    """The process that listens on a port of this machine: the API, whoever started it."""
    wanted = f":{port:04X} "
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if wanted in line]
    inodes = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(link) in inodes for link in (folder / "fd").iterdir()):
                found.append(int(folder.name))
        except OSError:
            continue  # gone, or not ours
    # Where a supervisor holds the socket too, the API is the child, which came later.
    return max(found)


def resident_mb(pid: int) -> float:
    """Memory of a process, in units of 1024 * 1024 bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else 0.0


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used: tells of its work even where others keep the machine busy."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- many uploads at once


def submit_many(
    url: str, source: str, model: str, count: int, ready: Barrier, answers: multiprocessing.Queue[Any]
) -> None:
    """One client, in a process of its own: sends `count` submissions, one right after the other."""
    with Client(url, timeout_s=120) as client:
        client.health()
        find_upload(Path(source))  # loads what it needs
        ready.wait()
        for _ in range(count):
            begun = time.perf_counter()
            job = client.submit(source, model=model, quality="draft")
            answers.put((job.job_id, time.perf_counter() - begun))


class Sampler:
    """Calls something again and again in a thread, and keeps what it gives."""

    def __init__(self, call: Callable[[], float | None], every_s: float) -> None:
        self.values: list[float] = []
        self._call = call
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            value = self._call()
            if value is not None:
                self.values.append(value)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def load(report: Report, options: argparse.Namespace, folder: Path) -> None:
    """Submissions as fast as they come, until every job has ended."""
    ids: list[str] = []
    uploads: list[float] = []
    with service(folder, workers=options.workers, real=options.real, device=options.device) as url:
        pid = listener(int(url.rpartition(":")[2]))
        print(f"uploading {options.submissions} times {options.source} by {options.clients} clients", file=sys.stderr)
        context = multiprocessing.get_context("spawn")
        answers: multiprocessing.Queue[Any] = context.Queue()
        ready = context.Barrier(options.clients + 1)
        shares = [len(range(n, options.submissions, options.clients)) for n in range(options.clients)]
        clients = [
            context.Process(
                target=submit_many,
                args=(url, str(options.source), options.model, share, ready, answers),
                daemon=True,
            )
            for share in shares
        ]
        for client in clients:
            client.start()
        with httpx.Client(base_url=url, timeout=30) as reader:

            def read_status() -> float | None:
                if not ids:
                    return None
                begun = time.perf_counter()
                reader.get(f"/api/jobs/{random.choice(ids)}").raise_for_status()
                return time.perf_counter() - begun

            ready.wait()
            begun = time.perf_counter()
            cpu_before = cpu_seconds(pid)
            with Sampler(read_status, 0.1) as reads, Sampler(lambda: resident_mb(pid), 0.5) as memory:
                for _ in range(options.submissions):
                    job_id, seconds = answers.get(timeout=300)
                    ids.append(job_id)
                    uploads.append(seconds)
                uploaded_s = time.perf_counter() - begun
                upload_cpu_s = cpu_seconds(pid) - cpu_before
                during_uploads = len(reads.values)
                for client in clients:
                    client.join()
                states = wait_for_all(url, ids, options.patience)
                done_s = time.perf_counter() - begun
        assert listener(int(url.rpartition(":")[2])) == pid, "the API was restarted meanwhile"

    lost = [job_id for job_id in ids if states.get(job_id) is not JobStatus.COMPLETED]
    report.note(
        "submissions",
        "none lost",
        f"{len(set(ids))} accepted, {len(set(ids)) - len(lost)} completed, {len(lost)} lost",
        not lost and len(set(ids)) == options.submissions,
    )
    p99 = percentile(reads.values, 99)
    report.note("status reads meanwhile, p99", "under 100 ms", milliseconds(p99), p99 < 0.1)
    highest = max(memory.values)
    report.note("memory of the API, highest", "under 300 MB", f"{highest:.0f} MB", highest < 300)
    settled, last = flatness(memory.values)
    # A tenth more is noise of the allocator; a leak of one upload (megabytes) each would be many times that.
    report.note(
        "memory of the API, last quarter against second",
        "flat (at most 10 % more)",
        f"{settled:.0f} -> {last:.0f} MB",
        last <= settled * 1.1,
    )
    upload_mb = sum(part.path.stat().st_size for part in find_upload(options.source)) / 1e6
    report.figures |= {
        "mb_per_upload": round(upload_mb, 2),
        "uploads_s": round(uploaded_s, 1),
        "uploads_per_s": round(options.submissions / uploaded_s, 1),
        "api_cpu_per_upload_ms": round(upload_cpu_s / options.submissions * 1e3, 1),
        "upload_median_ms": round(statistics.median(uploads) * 1e3, 1),
        "upload_p99_ms": round(percentile(uploads, 99) * 1e3, 1),
        "all_jobs_ended_after_s": round(done_s, 1),
        "status_reads": len(reads.values),
        "status_median_ms": round(statistics.median(reads.values) * 1e3, 2),
        "status_p99_while_uploading_ms": round(percentile(reads.values[:during_uploads] or [0.0], 99) * 1e3, 2),
        "api_memory_mb": {
            "first": round(memory.values[0]),
            "highest": round(highest),
            "last": round(memory.values[-1]),
        },
    }


def wait_for_all(url: str, ids: Sequence[str], patience_s: float) -> dict[str, JobStatus]:
    """How every job ended, read from the list; jobs that have not ended when patience is over are as they are then."""
    wanted = set(ids)
    deadline = time.monotonic() + patience_s
    with Client(url) as client:
        while True:
            states = {job.job_id: job.status for job in client.jobs() if job.job_id in wanted}
            open_ones = [s for s in states.values() if s in (JobStatus.QUEUED, JobStatus.PROCESSING)]
            if not open_ones or time.monotonic() > deadline:
                return states
            time.sleep(2)


def flatness(values: Sequence[float]) -> tuple[float, float]:
    """Medians of the second and of the last quarter."""
    quarter = max(1, len(values) // 4)
    return statistics.median(values[quarter : 2 * quarter] or values), statistics.median(values[-quarter:])


# --- a long table


def long_table(report: Report, options: argparse.Namespace, folder: Path) -> None:
    """List and status with many jobs in the table."""
    print(f"writing {options.jobs} jobs into the table", file=sys.stderr)
    ids = fill_table(folder, options.jobs)
    with (
        service(folder, workers=0, real=options.real, device=options.device) as url,
        httpx.Client(base_url=url) as http,
    ):
        cursor = http.get("/api/jobs", params={"limit": 100}).json()["next_cursor"]
        for _ in range(options.jobs // 200):  # to the middle of the table
            cursor = http.get("/api/jobs", params={"limit": 100, "cursor": cursor}).json()["next_cursor"] or cursor
        calls: dict[str, Callable[[], tuple[str, dict[str, Any]]]] = {
            "status": lambda: (f"/api/jobs/{random.choice(ids)}", {}),
            "list, first 20": lambda: ("/api/jobs", {"limit": 20}),
            "list, first 100": lambda: ("/api/jobs", {"limit": 100}),
            "list, 20 from the middle": lambda: ("/api/jobs", {"limit": 20, "cursor": cursor}),
            "list, 20 that failed": lambda: ("/api/jobs", {"limit": 20, "status": "failed"}),
        }
        for name, make in calls.items():
            times = []
            for _ in range(options.requests):
                path, params = make()
                begun = time.perf_counter()
                http.get(path, params=params).raise_for_status()
                times.append(time.perf_counter() - begun)
            p99 = percentile(times, 99)
            report.note(
                f"{options.jobs:,} jobs: {name}, p99",
                "under 50 ms",
                f"{milliseconds(p99)} (median {milliseconds(statistics.median(times))})",
                p99 < 0.05,
            )


def fill_table(folder: Path, count: int) -> list[str]:
    """Jobs that have ended, straight into the table; one in ten failed."""
    from sqlalchemy import insert

    from meshwright.service.jobs import new_job_id
    from meshwright.service.settings import load_settings
    from meshwright.service.store import open_store
    from meshwright.service.store.tables import jobs

    begun = datetime.now(UTC) - timedelta(seconds=count)
    rows = []
    for index in range(count):
        moment = begun + timedelta(seconds=index)
        failed = index % 10 == 0
        rows.append(
            {
                "job_id": new_job_id(),
                "model_type": "reconviagen",
                "options": {"quality": "draft"},
                "inputs": [],
                "status": "failed" if failed else "completed",
                "progress": 40.0 if failed else 100.0,
                "step": "",
                "error_code": "MODEL_OOM" if failed else None,
                "error_message": "The model ran out of memory." if failed else None,
                "error_suggestion": "Use draft." if failed else None,
                "quality": {} if failed else {"reconviagen": {"status": "normal", "summary": "good", "psnr": 30.0}},
                "attempt": 1,
                "token": 1,
                "revision": 12,
                "swept": True,
                "created_at": moment,
                "updated_at": moment,
                "queued_at": moment,
                "started_at": moment,
                "ended_at": moment,
            }
        )
    store = open_store(load_settings(data_dir=folder))
    try:
        for start in range(0, count, 1000):
            part = rows[start : start + 1000]
            store.write(lambda connection, part=part: connection.execute(insert(jobs), part))  # type: ignore[misc]
    finally:
        store.close()
    return [str(row["job_id"]) for row in rows]


# --- figures


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)]


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--source", type=Path, default=ROOT / "examples" / "six_views", help="what is uploaded")
    parser.add_argument("--submissions", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1, help="worker processes that run jobs meanwhile")
    parser.add_argument("--model", default="reconviagen", help="reconviagen, nvdiffrec or both")
    parser.add_argument("--real", action="store_true", help="run the real models, not the quick one of the tests")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--patience", type=float, default=1800, help="seconds that all jobs may take together")
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs in the long table")
    parser.add_argument("--requests", type=int, default=500, help="of each sort, to the long table")
    parser.add_argument("--parts", default="load,table", help="what to measure: load, table or both")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    options = parser.parse_args(words)
    report = Report()
    for name, measure in (("load", load), ("table", long_table)):
        if name in options.parts.split(","):
            with tempfile.TemporaryDirectory(prefix="meshwright-load-") as folder:
                measure(report, options, Path(folder))
    about = describe_device("cpu")
    report.figures |= {"machine": about["name"], "cores": about["cores"], "commit": commit()}
    if options.json:
        print(json.dumps({"bounds": [vars(bound) for bound in report.bounds], **report.figures}))
    else:
        print(f"{about['name']}, {about['cores']} cores, commit {commit()}\n")
        print("| what | asked | seen | |\n| --- | --- | --- | --- |")
        for bound in report.bounds:
            print(f"| {bound.name} | {bound.asked} | {bound.seen} | {'reached' if bound.reached else '**missed**'} |")
        print(f"\n{json.dumps(report.figures)}")
    return 0 if all(bound.reached for bound in report.bounds) else 1


if __name__ == "__main__":
    sys.exit(main())
