"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from meshwright.client import flows
from meshwright.client.contact import Close, Contact, Emit, Flow, Open, Pause, Receive, Send, job_path
from meshwright.client.download import Progress, download
from meshwright.client.options import checked_url, default_headers, listening, submission
from meshwright.client.records import Cancellation, Job, Page
from meshwright.client.uploads import opened
from meshwright.types import JobStatus, Lighting, ModelType, Quality

__all__ = ["Client"]

Result = TypeVar("Result")


class Client:
    """A meshwright service, seen from a program. Use it as a context manager, or `close` it.

    Args:
        base_url: Where `meshwright serve` runs.
        api_key: Made by `meshwright keys create`; not needed where the service listens on loopback only.
        timeout_s: Longest silence in one exchange.
        patience_s: How long the service may be out of reach, or too busy, before a call gives up.
        transport: For tests.

    Every call raises ServiceError when the service refuses it (`error.problem` is the service's code) and
    ServiceUnreachableError when it does not answer.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        patience_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(
            base_url=checked_url(base_url), headers=default_headers(api_key), timeout=timeout_s, transport=transport
        )
        self._contact = Contact(patience_s)

    def submit(
        self,
        source: str | Path,
        *,
        model: ModelType | str = ModelType.RECONVIAGEN,
        quality: Quality | str | None = None,
        lighting: Lighting | str | None = None,
        depth_dir: str | Path | None = None,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Send six views (and depth renders) and get the queued job.

        Args:
            source: A folder or ZIP, as for `meshwright reconstruct`.
            model: reconviagen, nvdiffrec or both.
            quality: How much time to spend; the service's default if not given.
            lighting: `pbr` tells materials from light, with nvdiffrec; the service's default, `baked`, if not given.
            depth_dir: Depth renders that do not lie with the views.
            webhook_url, webhook_secret: Where to report the end of the job, and what to sign that with.
            idempotency_key: The same key never makes a second job; one is made up if none is given, so that a lost
                answer cannot make two jobs either.
        """
        upload, form = submission(source, depth_dir, model, quality, lighting, webhook_url, webhook_secret)
        return self._run(flows.submit(self._contact, upload, form=form, idempotency_key=idempotency_key))

    def job(self, job_id: str) -> Job:
        """How a job stands now."""
        return self._run(flows.get_job(self._contact, job_id))

    def page(self, *, status: JobStatus | None = None, limit: int | None = None, cursor: str = "") -> Page:
        """One page of the jobs, newest first."""
        return self._run(flows.list_jobs(self._contact, status=status, limit=limit, cursor=cursor))

    def jobs(self, *, status: JobStatus | None = None) -> Iterator[Job]:
        """All jobs, newest first; asks for the next page when it is needed."""
        return self._each(flows.list_all(self._contact, status=status))

    def wait(self, job_id: str, *, timeout_s: float | None = None) -> Job:
        """Wait until a job has ended, however; `.check()` on the result raises unless it completed.

        Raises:
            TimeoutError: It has not ended after `timeout_s` seconds.
        """
        return self._run(flows.wait(self._contact, job_id, timeout_s=timeout_s))

    def watch(self, job_id: str) -> Iterator[Job]:
        """The job whenever it changes, and as it ended last."""
        return self._each(flows.watch(self._contact, job_id))

    def cancel(self, job_id: str, *, confirm: bool = True) -> Cancellation:
        """Cancel a job; with `confirm=False` only the first of the two steps is made."""
        return self._run(flows.cancel(self._contact, job_id, confirm=confirm))

    def download(
        self, job_id: str, target: str | Path, *, resume: bool = True, progress: Progress | None = None
    ) -> Path:
        """Fetch everything that a completed job made, as a ZIP.

        A download that broke goes on where it stopped, also in a later run with the same `target`.
        """
        path = job_path(job_id, "download")
        return self._run(download(self._contact, path, Path(target), resume=resume, progress=progress))

    def file(self, job_id: str, model: str, name: str, target: str | Path, *, progress: Progress | None = None) -> Path:
        """Fetch one file, such as `mesh.glb` of the model `nvdiffrec`, in the same way."""
        path = job_path(job_id, "files", model, name)
        return self._run(download(self._contact, path, Path(target), resume=True, progress=progress))

    def health(self) -> dict[str, Any]:
        """What the service says of itself: device, models, weights."""
        return self._run(flows.health(self._contact))

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, flow: Flow[Result]) -> Result:
        """Holds a conversation to its end."""
        steps = self._each(flow)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result

    def _each(self, flow: Flow[Result]) -> Generator[Any, None, Result]:
        """Holds a conversation and hands on what it emits."""
        with _Talk(self._http) as talk:
            answer: Any = None
            fault: Exception | None = None
            while True:
                try:
                    step = flow.throw(fault) if fault else flow.send(answer)
                except StopIteration as end:
                    result: Result = end.value
                    return result
                if isinstance(step, Emit):
                    yield step.value
                    answer, fault = None, None
                else:
                    answer, fault = talk.step(step)


class _Talk:
    """Carries out the steps of one conversation; closes what it opened."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._open: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def __enter__(self) -> _Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def step(self, step: object) -> tuple[Any, httpx.TransportError | None]:
        """What came of a step, or the lost connection to tell the conversation of."""
        try:
            return self._do(step), None
        except httpx.TransportError as error:
            return None, error

    def _do(self, step: object) -> Any:
        match step:
            case Send(upload=()):
                return self._http.request(
                    step.method, step.path, params=step.params, headers=step.headers, json=step.json
                )
            case Send():
                with opened(step.upload) as files:
                    return self._http.request(
                        step.method, step.path, headers=step.headers, data=dict(step.form), files=files
                    )
            case Open():
                self._close()
                request = self._http.build_request(
                    "GET", step.path, headers=step.headers, timeout=listening(self._http.timeout, step.idle_s)
                )
                self._open = self._http.send(request, stream=True)
                self._chunks = self._open.iter_raw()
                return self._open
            case Receive():
                return next(self._chunks, None)
            case Pause():
                time.sleep(step.seconds)
            case Close():
                self._close()
        return None

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
            self._chunks = iter(())
