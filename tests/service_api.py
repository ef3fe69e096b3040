"""A running API for tests: real HTTP on a free port, with a worker that does what the test says."""

from __future__ import annotations

import io
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import structlog
import uvicorn
from PIL import Image

from meshwright.service.api import create_app
from meshwright.service.jobs import Artefact, JobError, Jobs
from meshwright.service.jobs.presence import WorkerSeen
from meshwright.service.settings import Settings
from meshwright.service.storage import Storage, facts_of, open_storage
from meshwright.service.store import Store, open_store
from meshwright.types import VIEW_NAMES
from service_stack import Stack, set_environment

QUALITY = {"status": "normal", "summary": "good", "psnr": 27.5, "ssim": 0.93, "warnings": [], "seconds": {"shape": 1.5}}
OUTPUT = {
    "mesh.obj": b"mtllib mesh.mtl\n" + b"v 0 0 0\n" * 3000,
    "mesh.glb": b"glTF" + bytes(range(256)) * 300,
    "mesh.png": b"\x89PNG picture",
    "previews/textured_00.png": b"\x89PNG preview",
    "quality.json": b'{"status": "normal"}',
    "empty.bin": b"",
}


def png(width: int = 32, height: int = 32, shade: int = 128) -> bytes:
    """A real picture with an object in it."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[height // 4 : -height // 4, width // 4 : -width // 4] = shade
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header_png(width: int, height: int) -> bytes:
    """A PNG that claims any size and holds next to nothing."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")


Part = tuple[str, tuple[str, bytes, str]]


def parts(
    views: Sequence[tuple[str, bytes]] | None = None, depth: Sequence[tuple[str, bytes]] | None = None
) -> list[Part]:
    """Files of a submission, as httpx takes them; six good ones where not said otherwise."""
    good = [(f"{view}.png", png(shade=20 * number)) for number, view in enumerate(VIEW_NAMES)]
    return [
        *(("views", (name, data, "image/png")) for name, data in (good if views is None else views)),
        *(("depth_renders", (name, data, "image/png")) for name, data in (good if depth is None else depth)),
    ]


@dataclass
class NoQueue:
    """Takes hints and does nothing with them."""

    sent: list[str] = field(default_factory=list)
    is_away: bool = False

    def send(self, job_id: str, model_type: object) -> None:
        if self.is_away:
            raise ConnectionError("no queue")
        self.sent.append(job_id)

    def ping(self) -> None:
        if self.is_away:
            raise ConnectionError("no queue")


@dataclass
class NoUpkeep:
    """Stands in for the threads that keep the job table in order; its workers are those that the test names."""

    workers: list[WorkerSeen] = field(
        default_factory=lambda: [
            WorkerSeen(
                worker_id="w1",
                about={
                    "device": {"device": "cpu", "name": "test", "cores": 2},
                    "models": [
                        {"name": name, "ready": True, "message": "ready"} for name in ("reconviagen", "nvdiffrec")
                    ],
                },
            )
        ]
    )

    @property
    def watch(self) -> NoUpkeep:
        return self

    def alive(self) -> tuple[WorkerSeen, ...]:
        return tuple(self.workers)

    def start(self) -> None: ...

    def stop(self) -> None: ...


@dataclass
class Api:
    """A running API and everything behind it."""

    url: str
    settings: Settings
    store: Store
    storage: Storage
    jobs: Jobs
    queue: NoQueue
    upkeep: NoUpkeep
    client: httpx.Client

    def submit(self, **form: str) -> str:
        """A good submission; its job id."""
        answer = self.client.post("/api/jobs", files=parts(), data=form)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def complete(self, job_id: str, files: Mapping[str, bytes] | None = None, model: str = "reconviagen") -> None:
        """What a worker does: claims the job, publishes, ends it."""
        claim = self.jobs.claim(job_id, "tester")
        assert claim is not None
        self.publish(claim, files, model)
        self.jobs.complete(claim)

    def publish(self, claim: Any, files: Mapping[str, bytes] | None = None, model: str = "reconviagen") -> None:
        folder = self.storage.workplace(claim.job_id, claim.token) / "out"
        for name, data in (OUTPUT if files is None else files).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        facts = facts_of(folder)
        staged = self.storage.stage(claim.job_id, model, claim.token, folder)
        artefacts = [
            Artefact(
                job_id=claim.job_id,
                model=model,
                name=fact.name,
                key=fact.name,
                size=fact.size,
                sha256=fact.sha256,
                crc32=fact.crc32,
            )
            for fact in facts
        ]
        assert self.jobs.publish(claim, model, staged.place, artefacts, QUALITY)

    def fail(self, job_id: str, code: str = "MODEL_OOM") -> None:
        claim = self.jobs.claim(job_id, "tester")
        assert claim is not None
        self.fail_claim(claim, code)

    def fail_claim(self, claim: Any, code: str = "MODEL_OOM") -> None:
        self.jobs.fail(claim, JobError(code=code, message="It did not fit.", suggestion="Use less."))

    def leftovers(self) -> list[str]:
        """Uploads on disk, and files of jobs that the table does not know."""
        scratch = self.storage.scratch()
        owners = {item.key.split("/")[1] for item in self.storage.list("jobs")}
        known = self.jobs.many(owners)
        return [str(path.relative_to(scratch)) for path in scratch.rglob("*")] + sorted(owners - set(known))


@contextmanager
def running_api(stack: Stack, **changes: object) -> Iterator[Api]:
    """An API on this stack, with these settings changed."""
    # Without this structlog draws every trace with rich, locals included, which takes seconds.
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ]
    )
    settings = stack.settings(**{"rate_submit": "100000/minute", "rate_read": "1000000/minute", **changes})
    store = open_store(settings)
    with set_environment(stack.env):
        storage = open_storage(settings)
    storage.put_stream("probe", [b"x"])  # SeaweedFS makes a bucket with its first object
    queue, upkeep = NoQueue(), NoUpkeep()
    app = create_app(settings, store, storage, queue=queue, upkeep=upkeep)  # type: ignore[arg-type]
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2, lifespan="on")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the API did not start"
        time.sleep(0.02)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with httpx.Client(base_url=url, timeout=20, trust_env=False) as client:
            yield Api(
                url=url,
                settings=settings,
                store=store,
                storage=storage,
                jobs=Jobs(store, max_attempts=settings.max_attempts),
                queue=queue,
                upkeep=upkeep,
                client=client,
            )
    finally:
        server.should_exit = True
        thread.join(15)
        listener.close()
        store.close()
        assert not thread.is_alive(), "the API did not stop"


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The body of a refusal, which must be complete and say nothing of our insides."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    body: dict[str, Any] = answer.json()
    assert body["code"] == code, body
    assert {"type", "title", "status", "detail", "error", "code", "fields", "suggestion"} <= set(body)
    assert body["status"] == status
    for secret in ("Traceback", str(Path.home()), "/tmp/", "site-packages", "meshwright/service"):
        assert secret not in answer.text
    return body
