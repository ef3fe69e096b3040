"""Every conversation with a service but the download: submit, look, list, wait, watch, cancel."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import httpx

from meshwright.client.contact import (
    Close,
    Contact,
    Emit,
    Flow,
    Open,
    Pause,
    Receive,
    Send,
    document,
    job_path,
    refused_open,
    send,
    unreachable,
    until_reached,
)
from meshwright.client.events import EventReader
from meshwright.client.records import Cancellation, Job, Page
from meshwright.client.uploads import Upload
from meshwright.types import JobStatus

__all__ = ["cancel", "get_job", "health", "list_all", "list_jobs", "submit", "wait", "watch"]

POLL_FIRST_S = 0.5
POLL_LONGEST_S = 10.0


def submit(
    contact: Contact, upload: Upload, *, form: Mapping[str, str], idempotency_key: str | None = None
) -> Flow[Job]:
    """Sends the files. A key of its own makes it safe to send them again when the answer was lost."""
    key = idempotency_key or uuid.uuid4().hex
    step = Send(method="POST", path="/api/jobs", headers={"Idempotency-Key": key}, form=form, upload=upload)
    answer = yield from send(contact, step)
    return Job.from_answer(document(answer))


def get_job(contact: Contact, job_id: str) -> Flow[Job]:
    """How a job stands."""
    answer = yield from send(contact, Send(method="GET", path=job_path(job_id)))
    return Job.from_answer(document(answer))


def list_jobs(contact: Contact, *, status: JobStatus | None, limit: int | None, cursor: str) -> Flow[Page]:
    """One page of jobs."""
    wanted = {"status": status.value if status else None, "limit": limit, "cursor": cursor or None}
    params = {name: value for name, value in wanted.items() if value is not None}
    answer = yield from send(contact, Send(method="GET", path="/api/jobs", params=params))
    document = answer.json()
    return Page(jobs=tuple(Job.from_answer(job) for job in document["jobs"]), cursor=document.get("next_cursor") or "")


def list_all(contact: Contact, *, status: JobStatus | None) -> Flow[None]:
    """Every job, page by page, each emitted."""
    cursor = ""
    while True:
        page = yield from list_jobs(contact, status=status, limit=100, cursor=cursor)
        for job in page.jobs:
            yield Emit(job)
        cursor = page.cursor
        if not cursor:
            return


def cancel(contact: Contact, job_id: str, *, confirm: bool) -> Flow[Cancellation]:
    """One step of the two, or both at once with `confirm`."""
    answers = []
    for confirmed in (False, True) if confirm else (False,):
        step = Send(method="POST", path=job_path(job_id, "cancel"), json={"confirm": confirmed})
        answers.append(document((yield from send(contact, step))))
    last = answers[-1]
    return Cancellation(
        job_id=str(last.get("job_id", job_id)), status=str(last.get("status", "")), message=last.get("message") or ""
    )


def health(contact: Contact) -> Flow[dict[str, Any]]:
    """`GET /health`."""
    answer = yield from send(contact, Send(method="GET", path="/health"))
    return document(answer)


def wait(contact: Contact, job_id: str, *, timeout_s: float | None) -> Flow[Job]:
    """Asks again and again, less often while nothing changes, until the job has ended.

    Raises:
        TimeoutError: it has not ended after `timeout_s`.
    """
    begun = time.monotonic()
    pause = POLL_FIRST_S
    seen: Job | None = None
    while True:
        job = yield from get_job(contact, job_id)
        if job.is_final:
            return job
        # A job that moves is asked more often than one that waits in a queue for an hour.
        pause = POLL_FIRST_S if job != seen else min(1.5 * pause, POLL_LONGEST_S)
        seen = job
        if timeout_s is not None:
            left = timeout_s - (time.monotonic() - begun)
            if left <= 0:
                raise TimeoutError(f"Job {job_id} is still {job.status} after {timeout_s:g} s.")
            yield Pause(min(pause, left))
        else:
            yield Pause(pause)


def watch(contact: Contact, job_id: str) -> Flow[Job]:
    """Emits the job whenever it changes, until it has ended; returns it as it ended.

    Lost connections are taken up where they broke (`Last-Event-ID`); one that the server closes is nothing unusual.
    """
    last_id = ""
    job: Job | None = None
    patience = contact.patience()
    while True:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-store"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        answer = yield from until_reached(
            contact, Open(path=job_path(job_id, "events"), headers=headers, idle_s=45.0), patience
        )
        if answer.status_code == 204:  # nothing follows what we have seen
            yield Close()
            last = yield from get_job(contact, job_id)
            if last != job:
                yield Emit(last)
            return last
        if answer.status_code != 200:
            raise (yield from refused_open(answer))
        reader = EventReader()
        fault: httpx.TransportError | None = None
        try:
            while chunk := (yield Receive()):
                for event in reader.feed(chunk):
                    last_id = event.id or last_id
                    if event.name not in ("status", "message"):
                        continue  # of a newer service
                    job = Job.from_answer(json.loads(event.data))
                    patience = contact.patience()
                    yield Emit(job)
                    if job.is_final:
                        yield Close()
                        return job
        except httpx.TransportError as error:
            fault = error
        yield Close()
        pause = patience.pause()
        if pause is None:
            raise unreachable(fault or httpx.RemoteProtocolError("it closes the stream of events at once"))
        yield pause
