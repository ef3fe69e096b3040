"""Follow and cancel jobs."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

import structlog
from anyio import Event
from fastapi import APIRouter, Depends, Header, Path, Query, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from meshwright.service.api.auth import Caller, Canceller, Reader
from meshwright.service.api.events import follow
from meshwright.service.api.openapi import JOB_LINKS, refusals
from meshwright.service.api.problems import Problem
from meshwright.service.api.schemas import CancelAnswer, CancelOrder, JobList, JobState, list_of, state_of
from meshwright.service.api.services import Services, get_services
from meshwright.service.jobs import JobEnded, JobNotFound, JobOpen, JobRecord
from meshwright.types import JobStatus

__all__ = ["JobIdPath", "find_job", "router"]

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/api/jobs", tags=["jobs"])

_ID = re.compile(r"[a-z0-9]{8}")
_EVENT_ID = re.compile(r"[0-9]{1,18}")
_PING_S = 15
_GRACE_S = 2.0

# Documented, not enforced: an id of another shape is simply the id of no job.
JobIdPath = Annotated[
    str,
    Path(description="The job.", examples=["k3v9x0qa"], json_schema_extra={"pattern": "^[a-z0-9]{8}$"}),
]
ServicesHere = Annotated[Services, Depends(get_services)]

_STATE_EXAMPLE: dict[str, Any] = {
    "job_id": "k3v9x0qa",
    "status": "processing",
    "progress": 42.5,
    "current_model": "reconviagen",
    "step": "fitting cameras",
    "created_at": "2026-01-31T12:00:00Z",
    "updated_at": "2026-01-31T12:01:30Z",
    "error": None,
    "model_type": "reconviagen",
    "quality": {},
    "cancel_requested": False,
    "attempt": 1,
    "revision": 17,
    "options": {"quality": "standard"},
    "has_depth": True,
    "queue_position": None,
    "started_at": "2026-01-31T12:00:01Z",
    "ended_at": None,
    "seconds_left": 121.5,
    "expired": False,
}


async def find_job(services: Services, caller: Caller, job_id: str) -> JobRecord:
    """A job that the caller may see.

    Raises:
        Problem: JOB_NOT_FOUND; somebody else's job is answered in the same way.
    """
    if not _ID.fullmatch(job_id):
        raise _not_found(job_id)
    structlog.contextvars.bind_contextvars(job_id=job_id)
    try:
        return await services.run(services.jobs.get, job_id, caller.sees_only)
    except JobNotFound as error:
        raise _not_found(job_id) from error


def _not_found(job_id: str) -> Problem:
    named = f"There is no job {job_id!r}." if _ID.fullmatch(job_id) else "There is no such job."
    return Problem("JOB_NOT_FOUND", named)


@router.get(
    "",
    operation_id="list_jobs",
    summary="List jobs",
    response_model=JobList,
    responses={
        200: {
            "description": "Jobs, newest first.",
            "content": {"application/json": {"example": {"jobs": [_STATE_EXAMPLE], "next_cursor": "j1f"}}},
            "links": {
                "nextPage": {
                    "operationId": "list_jobs",
                    "parameters": {"query.cursor": "$response.body#/next_cursor"},
                    "description": "The page after this one.",
                },
                "first": {
                    "operationId": "get_job",
                    "parameters": {"job_id": "$response.body#/jobs/0/job_id"},
                    "description": "The newest of them.",
                },
            },
        },
        **refusals("VALIDATION_FAILED"),
    },
)
async def list_jobs(
    caller: Reader,
    services: ServicesHere,
    cursor: Annotated[
        str | None, Query(pattern="^j[0-9a-f]{1,15}$", description="`next_cursor` of the page before.")
    ] = None,
    status: Annotated[JobStatus | None, Query(description="Only jobs in this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Most jobs on the page.")] = 50,
) -> JobList:
    """Your jobs, newest first; with a key of scope `admin`, everybody's."""
    page = await services.run(services.jobs.page, cursor, status, limit, caller.sees_only)
    return list_of(page, await services.run(services.jobs.places, page.jobs))


@router.get(
    "/{job_id}",
    operation_id="get_job",
    summary="Where a job stands",
    response_model=JobState,
    responses={
        200: {
            "description": "The job.",
            "content": {"application/json": {"example": _STATE_EXAMPLE}},
            "links": {name: link for name, link in JOB_LINKS.items() if name != "state"},
        },
        **refusals("JOB_NOT_FOUND"),
    },
)
async def get_job(job_id: JobIdPath, caller: Reader, services: ServicesHere) -> JobState:
    """Status, progress and, of a failed job, the reason."""
    job = await find_job(services, caller, job_id)
    # Only of a job that waits is there more to ask the store.
    return await services.run(services.state, job) if job.status is JobStatus.QUEUED else state_of(job)


@router.delete(
    "/{job_id}",
    status_code=204,
    operation_id="delete_job",
    summary="Delete a job",
    responses={
        204: {"description": "The job and all its files are gone."},
        **refusals("JOB_NOT_FOUND", "JOB_NOT_FINISHED"),
    },
)
async def delete_job(job_id: JobIdPath, caller: Canceller, services: ServicesHere) -> Response:
    """Removes an ended job, its pictures and its results. One that has not ended must be cancelled first."""
    await find_job(services, caller, job_id)
    try:
        await services.run(services.jobs.remove, job_id, caller.sees_only)
    except JobOpen as error:
        raise Problem("JOB_NOT_FINISHED", f"The job is {error.status.value}.") from error
    except JobNotFound as error:
        raise _not_found(job_id) from error
    # What cannot be removed now belongs to no job any more; the upkeep removes it later.
    await services.discard(job_id)
    log.info("job deleted", job_id=job_id)
    return Response(status_code=204)


@router.get(
    "/{job_id}/events",
    operation_id="follow_job",
    summary="Follow a job",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "Events named `status`; their data is the JSON of `GET /api/jobs/{job_id}`, their id its "
            "`revision`. The stream ends with the job.",
            "content": {
                "text/event-stream": {
                    # One event; a stream is any number of them.
                    "schema": {
                        "type": "object",
                        "required": ["id", "event", "data"],
                        "properties": {
                            "id": {"type": "string", "pattern": "^[0-9]+$", "description": "The job's revision."},
                            "event": {"const": "status"},
                            "data": {
                                "type": "string",
                                "contentMediaType": "application/json",
                                "contentSchema": {"$ref": "#/components/schemas/JobState"},
                            },
                            "retry": {"type": "integer", "description": "Milliseconds to wait before coming back."},
                        },
                    },
                    "example": {
                        "id": "17",
                        "event": "status",
                        "data": '{"job_id":"k3v9x0qa","status":"processing","progress":42.5}',
                        "retry": 2000,
                    },
                }
            },
        },
        204: {"description": "The job has ended, and `Last-Event-ID` names its last event: nothing more will come."},
        **refusals("JOB_NOT_FOUND"),
    },
)
async def follow_job(
    job_id: JobIdPath,
    caller: Reader,
    services: ServicesHere,
    last_event_id: Annotated[
        str | None,
        Header(description="Id of the last event that came; earlier ones are not sent again."),
    ] = None,
) -> Response:
    """Server-sent events of every change, beginning with the present state, until the job ends.

    Streams are closed after some time also if the job goes on; browsers then come back by themselves, and so should
    other clients, with `Last-Event-ID`.
    """
    job = await find_job(services, caller, job_id)
    # Ids that are none of ours mean "nothing seen yet", as a browser that never got an event would say.
    seen = int(last_event_id) if last_event_id and _EVENT_ID.fullmatch(last_event_id) else 0
    if job.has_ended and seen >= job.revision:
        return Response(status_code=204)

    def get() -> JobState:
        return services.state(services.jobs.get(job_id, caller.sees_only))

    leaving = Event()

    async def events() -> AsyncIterator[ServerSentEvent]:
        with services.metrics.followers.track_inprogress():
            limit_s = services.settings.events_limit_s
            async for event in follow(get, services.watcher, job_id, seen, limit_s=limit_s, leaving=leaving):
                yield event

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventSourceResponse(
        events(),
        ping=_PING_S,
        sep="\n",
        headers=headers,
        shutdown_event=leaving,
        shutdown_grace_period=_GRACE_S,
    )


@router.post(
    "/{job_id}/cancel",
    operation_id="cancel_job",
    summary="Cancel a job, in two steps",
    response_model=CancelAnswer,
    responses={
        200: {
            "description": "How far the cancellation is.",
            "content": {
                "application/json": {
                    "examples": {
                        "requested": {
                            "summary": "after the first step",
                            "value": {
                                "job_id": "k3v9x0qa",
                                "status": "cancel_requested",
                                "message": 'Send {"confirm": true} to cancel the job for good.',
                            },
                        },
                        "cancelled": {
                            "summary": "after the second step",
                            "value": {
                                "job_id": "k3v9x0qa",
                                "status": "cancelled",
                                "message": "The job was cancelled; its files are removed.",
                            },
                        },
                    }
                }
            },
        },
        **refusals(
            "JOB_NOT_FOUND",
            "JOB_FINISHED",
            "CANCELLATION_NOT_REQUESTED",
            ("FILE_TOO_LARGE", 413),
            "VALIDATION_FAILED",
        ),
    },
)
async def cancel_job(job_id: JobIdPath, order: CancelOrder, caller: Canceller, services: ServicesHere) -> CancelAnswer:
    """Asks for cancellation (`confirm: false`), then confirms it (`confirm: true`).

    A running step stops within two seconds; files go, GPU memory is released. Repeating a step changes nothing.
    """
    job = await find_job(services, caller, job_id)
    if job.status is JobStatus.CANCELLED:
        return _answer(job_id, "cancelled", "The job was cancelled before.")
    try:
        if not order.confirm:
            await services.run(services.jobs.request_cancellation, job_id, caller.sees_only)
            return _answer(job_id, "cancel_requested", 'Send {"confirm": true} to cancel the job for good.')
        if not job.cancel_requested and not job.has_ended:
            raise Problem("CANCELLATION_NOT_REQUESTED", "Cancellation takes two steps, and the first was not taken.")
        await services.run(services.jobs.confirm_cancellation, job_id, caller.sees_only)
    except JobEnded as error:
        if error.status is JobStatus.CANCELLED:
            return _answer(job_id, "cancelled", "The job was cancelled before.")
        raise Problem("JOB_FINISHED", f"The job is {error.status.value} already.") from error
    except JobNotFound as error:
        raise _not_found(job_id) from error
    log.info("job cancelled", job_id=job_id)
    return _answer(job_id, "cancelled", "The job was cancelled; its files are removed.")


@router.delete(
    "/{job_id}/cancel",
    operation_id="keep_job",
    summary="Take the wish to cancel back",
    response_model=JobState,
    responses={
        200: {
            "description": "The job goes on.",
            "content": {"application/json": {"example": _STATE_EXAMPLE}},
        },
        **refusals("JOB_NOT_FOUND", "JOB_FINISHED"),
    },
)
async def keep_job(job_id: JobIdPath, caller: Canceller, services: ServicesHere) -> JobState:
    """Takes the first of the two steps back; the second can then not be taken by mistake."""
    await find_job(services, caller, job_id)
    try:
        job = await services.run(services.jobs.clear_cancellation, job_id, caller.sees_only)
    except JobEnded as error:
        raise Problem("JOB_FINISHED", f"The job is {error.status.value} already.") from error
    except JobNotFound as error:
        raise _not_found(job_id) from error
    return await services.run(services.state, job)


def _answer(job_id: str, status: Any, message: str) -> CancelAnswer:
    return CancelAnswer(job_id=job_id, status=status, message=message)
