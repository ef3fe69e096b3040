"""What the service answers, as records. Members that this version does not know stay readable in `raw`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meshwright.errors import ServiceError
from meshwright.types import JobStatus

__all__ = ["Cancellation", "Job", "JobFault", "Page"]

_FINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})


@dataclass(frozen=True, kw_only=True)
class JobFault:
    """Why a job failed.

    Attributes:
        code: Stable, such as `MODEL_OOM`; docs/api.md lists them.
        message: For people.
        suggestion: What to do about it; may be empty.
    """

    code: str
    message: str
    suggestion: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as the service described it last.

    Attributes:
        progress: 0 to 100; only rises.
        current_model, step: What it is doing; empty while it waits.
        created_at, updated_at: ISO 8601, UTC.
        error: Set when it failed.
        quality: Per finished model: `status` (`normal`, `warning` or `failure`), `summary` and figures.
        raw: The whole answer.
    """

    job_id: str
    status: JobStatus
    model_type: str = ""
    progress: float = 0.0
    current_model: str = ""
    step: str = ""
    created_at: str = ""
    updated_at: str = ""
    error: JobFault | None = None
    quality: Mapping[str, Any] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in _FINAL

    def check(self) -> Job:
        """Itself, if it completed or still can.

        Raises:
            ServiceError: it failed or was cancelled.
        """
        if self.status is JobStatus.CANCELLED:
            raise ServiceError(f"Job {self.job_id} was cancelled.", problem="CANCELLED")
        if self.status is JobStatus.FAILED:
            fault = self.error or JobFault(code="UNKNOWN_ERROR", message="It failed without saying why.")
            raise ServiceError(f"Job {self.job_id} failed: {fault.message}", hint=fault.suggestion, problem=fault.code)
        return self

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> Job:
        """Reads `GET /api/jobs/{id}`, an event, or what a submission answers.

        Raises:
            ServiceError: it is no job.
        """
        error = answer.get("error")
        try:
            return cls(
                job_id=str(answer["job_id"]),
                status=JobStatus(answer["status"]),
                model_type=answer.get("model_type") or "",
                progress=float(answer.get("progress") or 0),
                current_model=answer.get("current_model") or "",
                step=answer.get("step") or "",
                created_at=answer.get("created_at") or "",
                updated_at=answer.get("updated_at") or "",
                error=_fault(error) if error else None,
                quality=answer.get("quality") or {},
                raw=answer,
            )
        except (KeyError, ValueError, TypeError) as fault:
            raise ServiceError(
                f"The service described a job in a way that cannot be read: {fault!r}.",
                hint="Client and service should be of the same version.",
            ) from fault


def _fault(error: Any) -> JobFault:
    if not isinstance(error, Mapping):
        return JobFault(code="UNKNOWN_ERROR", message=str(error))
    return JobFault(
        code=str(error.get("code") or "UNKNOWN_ERROR"),
        message=str(error.get("message") or error.get("detail") or ""),
        suggestion=str(error.get("suggestion") or ""),
    )


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some jobs, newest first, and how to ask for those after them (`cursor` is empty when there are none)."""

    jobs: tuple[Job, ...]
    cursor: str = ""


@dataclass(frozen=True, kw_only=True)
class Cancellation:
    """What the service said to a request to cancel: `cancel_requested` first, `cancelled` once confirmed."""

    job_id: str
    status: str
    message: str = ""
