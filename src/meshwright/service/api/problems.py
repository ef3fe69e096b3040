"""Every way in which a request can be refused, as `application/problem+json` (RFC 9457).

`PROBLEMS` is the catalogue: code to status, title and stable error name. Routes raise `Problem`; the handlers here also
turn what the framework refuses (unknown paths, wrong methods, bad JSON) and what nobody foresaw into the same shape.
No answer shows a server path or a trace: what was not foreseen goes to the log, with the id that the answer carries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from meshwright.errors import DiskFullError, MeshwrightError
from meshwright.service.storage import StorageUnavailable
from meshwright.service.store import StoreUnavailable

__all__ = ["JOB_ERRORS", "PROBLEMS", "PROBLEM_TYPE", "Kind", "Problem", "add_handlers", "answer", "crash_answer"]

log = structlog.get_logger(__name__)

PROBLEM_TYPE = "application/problem+json"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What all problems with one code have in common.

    Attributes:
        status: HTTP status that the code usually comes with.
        error: Stable name for programs that go by names.
        title: The same for every problem of this kind.
        suggestion: What to do, where the single case knows nothing better.
    """

    status: int
    error: str
    title: str
    suggestion: str


def _kinds(*rows: tuple[str, int, str, str, str]) -> Mapping[str, Kind]:
    return MappingProxyType({code: Kind(status=s, error=e, title=t, suggestion=h) for code, s, e, t, h in rows})


PROBLEMS = _kinds(
    ("VALIDATION_FAILED", 422, "ValidationError", "The request is not valid", "Mend what `fields` names; send again."),
    ("FILE_TOO_LARGE", 422, "FileTooLargeError", "A file or the whole body is too large", "Send smaller PNG files."),
    ("INVALID_FILE_FORMAT", 422, "FileFormatError", "A file is not what it should be", "Send whole, still PNG files."),
    ("INVALID_FILE_COUNT", 422, "FileCountError", "Too few or too many files", "Send six views and six depth renders."),
    (
        "UNAUTHORIZED",
        401,
        "AuthenticationError",
        "The key is missing, wrong or not enough",
        "Send `Authorization: Bearer KEY`.",
    ),
    ("NOT_FOUND", 404, "NotFoundError", "There is nothing here", "See /docs for what there is."),
    (
        "JOB_NOT_FOUND",
        404,
        "JobNotFoundError",
        "There is no such job",
        "Check the job id; list your jobs at /api/jobs.",
    ),
    (
        "METHOD_NOT_ALLOWED",
        405,
        "MethodNotAllowedError",
        "This address does not take that method",
        "See the header Allow.",
    ),
    (
        "TIME_LIMIT_EXCEEDED",
        408,
        "TimeLimitError",
        "It took too long",
        "Send the request again over a faster connection.",
    ),
    (
        "JOB_NOT_READY",
        409,
        "JobNotReadyError",
        "The job has no results to give",
        "Follow the job until it is completed.",
    ),
    (
        "JOB_NOT_FINISHED",
        409,
        "JobNotFinishedError",
        "The job has not ended yet",
        "Cancel it first, or wait for its end.",
    ),
    ("JOB_FINISHED", 409, "JobFinishedError", "The job has already ended", "Nothing is left to cancel."),
    (
        "CANCELLATION_NOT_REQUESTED",
        409,
        "CancellationError",
        "Cancellation was not requested first",
        'Send {"confirm": false} first.',
    ),
    (
        "IDEMPOTENCY_CONFLICT",
        409,
        "IdempotencyError",
        "The Idempotency-Key was used for another request",
        "Use a new key for a new job.",
    ),
    ("JOB_EXPIRED", 410, "JobExpiredError", "The results were removed after their time", "Submit the views again."),
    (
        "UNSUPPORTED_MEDIA_TYPE",
        415,
        "MediaTypeError",
        "The body has the wrong type",
        "See /docs for the type that is expected.",
    ),
    (
        "RANGE_NOT_SATISFIABLE",
        416,
        "RangeError",
        "The range lies outside of the file",
        "Ask for bytes that exist; see Content-Range.",
    ),
    (
        "RATE_LIMITED",
        429,
        "RateLimitError",
        "Too many requests or waiting jobs",
        "Wait for the seconds of Retry-After.",
    ),
    (
        "UNKNOWN_ERROR",
        500,
        "UnknownError",
        "Something unexpected happened",
        "Try again; if it stays, report the request id.",
    ),
    (
        "NOT_READY",
        503,
        "NotReadyError",
        "The service cannot take this now",
        "Try again after the seconds of Retry-After.",
    ),
    (
        "WEIGHTS_NOT_INSTALLED",
        503,
        "WeightsNotInstalledError",
        "What the model needs is not installed",
        "Use another model, or ask whoever runs this service to install the weights.",
    ),
    ("DISK_FULL", 507, "DiskFullError", "The disk of the service is full", "Try again later."),
)
"""Codes that answers carry."""

JOB_ERRORS: Mapping[str, str] = MappingProxyType(
    {
        "MODEL_FAILED": "The model could not make a mesh of these views.",
        "MODEL_OOM": "The model ran out of memory.",
        "MODEL_VRAM_OOM": "The model ran out of GPU memory.",
        "MODEL_CONVERGENCE_FAILED": "The model found no surface.",
        "QUALITY_THRESHOLD_FAILED": "The result is too far from the views.",
        "INCOMPLETE_RESULTS": "The files of the result are not whole.",
        "WEIGHTS_NOT_INSTALLED": "The weights of the model are not installed; /health says which are.",
        "GPU_UNAVAILABLE": "The model needs a GPU, and there is none.",
        "DISK_FULL": "The disk of the service is full.",
        "MEMORY_EXHAUSTED": "The machine ran out of memory.",
        "TIME_LIMIT_EXCEEDED": "The job took longer than it may.",
        "VALIDATION_FAILED": "The views or depth renders cannot be used together; the message names each file.",
        "UNKNOWN_ERROR": "Something unexpected happened; the log has it under the job id.",
    }
)
"""Codes that the `error` of a failed job carries; such a job is still answered with status 200."""


class Problem(Exception):  # noqa: N818  (RFC 9457's word)
    """A request is refused.

    Args:
        code: One of `PROBLEMS`.
        detail: What was found and what was expected, for the person who sent it.
        fields: Message per field of the request.
        status: Where it differs from the usual one of the code.
        headers: Further headers of the answer.
        members: Further members of the answer.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        suggestion: str = "",
        fields: Mapping[str, str] | None = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        kind = PROBLEMS[code]
        self.code = code
        self.detail = detail
        self.fields = dict(fields or {})
        self.suggestion = suggestion or kind.suggestion
        self.status = status or kind.status
        self.headers = dict(headers or {})
        self.members = dict(members or {})

    def body(self) -> dict[str, object]:
        """The JSON of the answer."""
        kind = PROBLEMS[self.code]
        return {
            # Relative: it leads to the description of the code in the documentation that this service serves.
            "type": f"/docs#{self.code}",
            "title": kind.title,
            "status": self.status,
            "detail": self.detail,
            "error": kind.error,
            "code": self.code,
            "fields": self.fields,
            "suggestion": self.suggestion,
            **self.members,
        }


def answer(problem: Problem) -> Response:
    """The answer that tells of a problem."""
    return JSONResponse(problem.body(), problem.status, headers=problem.headers, media_type=PROBLEM_TYPE)


def add_handlers(app: FastAPI) -> None:
    """Every refusal of `app`, by whomever, becomes problem+json."""
    # Starlette types handlers by Exception, whatever class they are registered for.
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    for away in (StoreUnavailable, StorageUnavailable):
        app.add_exception_handler(away, _on_away)
    app.add_exception_handler(DiskFullError, _on_full_disk)


async def _on_problem(_: Request, error: Exception) -> Response:
    return answer(cast("Problem", error))


_BY_STATUS = {
    401: "UNAUTHORIZED", 403: "UNAUTHORIZED", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 408: "TIME_LIMIT_EXCEEDED",
    413: "FILE_TOO_LARGE", 415: "UNSUPPORTED_MEDIA_TYPE", 416: "RANGE_NOT_SATISFIABLE", 429: "RATE_LIMITED",
    503: "NOT_READY", 507: "DISK_FULL",
}  # fmt: skip


async def _on_http(request: Request, error: Exception) -> Response:
    failure = cast("HTTPException", error)
    fallback = "VALIDATION_FAILED" if failure.status_code < 500 else "UNKNOWN_ERROR"
    code = _BY_STATUS.get(failure.status_code, fallback)
    details = {
        "NOT_FOUND": "No resource has this address.",
        "METHOD_NOT_ALLOWED": f"{request.method} is not possible here.",
    }
    detail = details.get(code, PROBLEMS[code].title + ".")
    headers = dict(failure.headers or {})
    if code == "METHOD_NOT_ALLOWED":
        headers["Allow"] = ", ".join(_methods(request))
    # FastAPI answers 400 for JSON so broken that its parser gave up; that is no other fault than any bad JSON.
    status = 422 if failure.status_code == 400 else failure.status_code
    return answer(Problem(code, detail, status=status, headers=headers))


def _methods(request: Request) -> list[str]:
    """What the address takes: several routes can share one, and each knows only of itself."""
    found: set[str] = set()
    for route in request.app.state.known_routes:
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            found |= set(getattr(route, "methods", None) or ())
    return sorted(found)


async def _on_validation(_: Request, error: Exception) -> Response:
    faults = cast("RequestValidationError", error).errors()
    fields = fields_of(faults)
    return answer(Problem("VALIDATION_FAILED", f"{len(fields)} part(s) of the request are not valid.", fields=fields))


def fields_of(faults: Sequence[Any]) -> dict[str, str]:
    """Pydantic's list of faults as one message per field; the values that were sent are not repeated."""
    fields: dict[str, str] = {}
    for fault in faults:
        place = [str(part) for part in fault["loc"]]
        name = ".".join(place[1:] if len(place) > 1 else place)
        message = "The JSON does not parse" if fault["type"] == "json_invalid" else str(fault["msg"])
        fields["body" if fault["type"] == "json_invalid" else name] = message
    return fields


async def _on_away(_: Request, error: Exception) -> Response:
    away = cast("MeshwrightError", error)
    if away.details.get("reason") == "disk_full":
        return await _on_full_disk(_, error)
    log.warning("something that the service needs is away", reason=away.message, details=away.details)
    return answer(Problem("NOT_READY", away.message, suggestion=away.hint, headers={"Retry-After": "5"}))


async def _on_full_disk(_: Request, error: Exception) -> Response:
    log.error("the disk is full", reason=str(error))
    return answer(Problem("DISK_FULL", "The service has no room for this.", headers={"Retry-After": "60"}))


def crash_answer(request_id: str) -> Response:
    """The answer to what nobody foresaw: nothing of the error but a number under which the log tells of it."""
    return answer(Problem("UNKNOWN_ERROR", "The service met an unexpected error.", members={"request_id": request_id}))
