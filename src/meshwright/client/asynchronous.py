"""The asynchronous client: `synchronous.Client` with `await`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import anyio
import httpx

from meshwright.client import flows
from meshwright.client.contact import Close, Contact, Emit, Flow, Open, Pause, Receive, Send, job_path
from meshwright.client.download import Progress, download
from meshwright.client.options import checked_url, default_headers, listening, submission
from meshwright.client.records import Cancellation, Job, Page
from meshwright.client.uploads import opened
from meshwright.types import JobStatus, Lighting, ModelType, Quality

__all__ = ["AsyncClient"]

Result = TypeVar("Result")


class AsyncClient:
    """A meshwright service, seen from a program that does other things meanwhile (asyncio or trio).

    Arguments, calls and errors are those of `Client`. Files are read and written in small blocking pieces.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        patience_s: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=checked_url(base_url), headers=default_headers(api_key), timeout=timeout_s, transport=transport
        )
        self._contact = Contact(patience_s)

    async def submit(
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
        return await self._run(flows.submit(self._contact, upload, form=form, idempotency_key=idempotency_key))

    async def job(self, job_id: str) -> Job:
        """How a job stands now."""
        return await self._run(flows.get_job(self._contact, job_id))

    async def page(self, *, status: JobStatus | None = None, limit: int | None = None, cursor: str = "") -> Page:
        """One page of the jobs, newest first."""
        return await self._run(flows.list_jobs(self._contact, status=status, limit=limit, cursor=cursor))

    def jobs(self, *, status: JobStatus | None = None) -> AsyncIterator[Job]:
        """All jobs, newest first; asks for the next page when it is needed."""
        return self._each(flows.list_all(self._contact, status=status))

    async def wait(self, job_id: str, *, timeout_s: float | None = None) -> Job:
        """Wait until a job has ended, however; `.check()` on the result raises unless it completed.

        Raises:
            TimeoutError: It has not ended after `timeout_s` seconds.
        """
        return await self._run(flows.wait(self._contact, job_id, timeout_s=timeout_s))

    def watch(self, job_id: str) -> AsyncIterator[Job]:
        """The job whenever it changes, and as it ended last."""
        return self._each(flows.watch(self._contact, job_id))

    async def cancel(self, job_id: str, *, confirm: bool = True) -> Cancellation:
        """Cancel a job; with `confirm=False` only the first of the two steps is made."""
        return await self._run(flows.cancel(self._contact, job_id, confirm=confirm))

    async def download(
        self, job_id: str, target: str | Path, *, resume: bool = True, progress: Progress | None = None
    ) -> Path:
        """Fetch everything that a completed job made, as a ZIP.

        A download that broke goes on where it stopped, also in a later run with the same `target`.
        """
        path = job_path(job_id, "download")
        return await self._run(download(self._contact, path, Path(target), resume=resume, progress=progress))

    async def file(
        self, job_id: str, model: str, name: str, target: str | Path, *, progress: Progress | None = None
    ) -> Path:
        """Fetch one file, such as `mesh.glb` of the model `nvdiffrec`, in the same way."""
        path = job_path(job_id, "files", model, name)
        return await self._run(download(self._contact, path, Path(target), resume=True, progress=progress))

    async def health(self) -> dict[str, Any]:
        """What the service says of itself: device, models, weights."""
        return await self._run(flows.health(self._contact))

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, flow: Flow[Result]) -> Result:
        """Holds a conversation to its end."""
        async with _Talk(self._http) as talk:
            answer: Any = None
            fault: Exception | None = None
            while True:
                try:
                    step = flow.throw(fault) if fault else flow.send(answer)
                except StopIteration as end:
                    result: Result = end.value
                    return result
                answer, fault = await talk.step(step)

    async def _each(self, flow: Flow[Any]) -> AsyncIterator[Any]:
        """Holds a conversation and hands on what it emits."""
        async with _Talk(self._http) as talk:
            answer: Any = None
            fault: Exception | None = None
            while True:
                try:
                    step = flow.throw(fault) if fault else flow.send(answer)
                except StopIteration:
                    return
                if isinstance(step, Emit):
                    yield step.value
                    answer, fault = None, None
                else:
                    answer, fault = await talk.step(step)


class _Talk:
    """Carries out the steps of one conversation; closes what it opened."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._open: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def __aenter__(self) -> _Talk:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def step(self, step: object) -> tuple[Any, httpx.TransportError | None]:
        """What came of a step, or the lost connection to tell the conversation of."""
        try:
            return await self._do(step), None
        except httpx.TransportError as error:
            return None, error

    async def _do(self, step: object) -> Any:
        match step:
            case Send(upload=()):
                return await self._http.request(
                    step.method, step.path, params=step.params, headers=step.headers, json=step.json
                )
            case Send():
                with opened(step.upload) as files:
                    return await self._http.request(
                        step.method, step.path, headers=step.headers, data=dict(step.form), files=files
                    )
            case Open():
                await self._close()
                request = self._http.build_request(
                    "GET", step.path, headers=step.headers, timeout=listening(self._http.timeout, step.idle_s)
                )
                self._open = await self._http.send(request, stream=True)
                self._chunks = self._open.aiter_raw()
                return self._open
            case Receive() if self._chunks is not None:
                return await anext(self._chunks, None)
            case Pause():
                await anyio.sleep(step.seconds)
            case Close():
                await self._close()
        return None

    async def _close(self) -> None:
        if self._open is not None:
            await self._open.aclose()
            self._open = self._chunks = None
