"""The bodies of requests and answers; the OpenAPI document is made from these."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from meshwright.service.jobs import JobPage, JobRecord
from meshwright.types import JobStatus, ModelType

__all__ = [
    "Accepted",
    "CancelAnswer",
    "CancelOrder",
    "Check",
    "FileEntry",
    "FileList",
    "Health",
    "JobFault",
    "JobList",
    "JobState",
    "Live",
    "ModelState",
    "ProblemBody",
    "Readiness",
    "WorkerState",
    "list_of",
    "state_of",
]

JobId = Annotated[str, Field(pattern="^[a-z0-9]{8}$", examples=["k3v9x0qa"])]
Moment = Annotated[datetime, Field(examples=["2026-01-31T12:00:00Z"])]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ProblemBody(BaseModel):
    """A refusal, after RFC 9457."""

    type: str = Field(
        description="Address of the description of this kind of problem.", examples=["/docs#JOB_NOT_FOUND"]
    )
    title: str = Field(description="The same for every problem of this kind.")
    status: int = Field(description="HTTP status.", ge=400, le=599)
    detail: str = Field(description="What was found and what was expected.")
    error: str = Field(description="Stable name of the kind.", examples=["JobNotFoundError"])
    code: str = Field(description="Stable code of the kind.", examples=["JOB_NOT_FOUND"])
    fields: dict[str, str] = Field(description="Message per field of the request.")
    suggestion: str = Field(description="What to do.")


class Accepted(_Answer):
    """A job was taken in."""

    job_id: JobId
    status: JobStatus = Field(description="`queued`, or where it stands by now if the request was a repetition.")
    model_type: ModelType
    created_at: Moment
    webhook_secret: str | None = Field(
        default=None, description="What webhooks of this job are signed with; said only here.", examples=["whsec_..."]
    )


class JobFault(_Answer):
    """Why a job failed."""

    code: str = Field(examples=["MODEL_OOM"])
    message: str
    suggestion: str


class JobState(_Answer):
    """Where a job stands."""

    job_id: JobId
    status: JobStatus
    progress: float = Field(ge=0, le=100, description="Percent; it only rises. Each model of `both` has its share.")
    current_model: str | None = Field(description="The model that is at work.")
    step: str = Field(description="What happens now, for people.", examples=["fitting cameras"])
    created_at: Moment
    updated_at: Moment
    error: JobFault | None = Field(description="Only of failed jobs.")
    model_type: ModelType
    quality: dict[str, Any] = Field(
        description="Per finished model: `status` (`normal`, `warning` or `failure`), `summary`, `psnr`, `ssim`."
    )
    cancel_requested: bool = Field(description="Whether the first of the two steps of cancellation was taken.")
    attempt: int = Field(ge=0, description="How many workers have begun it.")
    revision: int = Field(ge=1, description="Rises with every change; the id of server-sent events.")


class JobList(_Answer):
    """Jobs, newest first."""

    jobs: list[JobState]
    next_cursor: str | None = Field(description="Continues the list; null at its end.")


class CancelOrder(BaseModel):
    """One of the two steps."""

    model_config = ConfigDict(extra="forbid", strict=True)

    confirm: bool = Field(default=False, description="False: ask for cancellation. True: confirm what was asked for.")


class CancelAnswer(_Answer):
    """How far cancellation is."""

    job_id: JobId
    status: Literal["cancel_requested", "cancelled"]
    message: str = Field(description="For people.")


class FileEntry(_Answer):
    """One output."""

    model: str = Field(examples=["nvdiffrec"])
    name: str = Field(examples=["mesh.glb"])
    size: int = Field(ge=0, description="Bytes.")
    sha256: str
    url: str = Field(description="Where to get it.")


class FileList(_Answer):
    """All outputs of a job."""

    job_id: JobId
    files: list[FileEntry]


class Live(_Answer):
    """The process answers."""

    status: Literal["ok"]


class Check(_Answer):
    """One thing that the service needs."""

    name: str = Field(examples=["store"])
    ok: bool
    message: str


class Readiness(_Answer):
    """Whether jobs can be taken in and worked on."""

    status: Literal["ready", "not_ready"]
    checks: list[Check]


class ModelState(_Answer):
    """One model on one worker."""

    name: str
    ready: bool = Field(description="Whether its weights are installed.")
    message: str


class WorkerState(_Answer):
    """A worker that gave a sign of life lately."""

    worker: str
    device: dict[str, Any] = Field(description="Name and memory (GPU) or cores (CPU).")
    models: list[ModelState]


class Health(_Answer):
    """The service as a whole."""

    status: Literal["ready", "not_ready"]
    version: str
    checks: list[Check]
    workers: list[WorkerState]
    jobs: dict[str, int] = Field(description="Number of jobs per status.")


def state_of(job: JobRecord) -> JobState:
    """What is shown of a job."""
    fault = job.error
    return JobState(
        job_id=job.job_id,
        status=job.status,
        progress=job.progress,
        current_model=job.current_model,
        step=job.step,
        created_at=job.created_at,
        updated_at=job.updated_at,
        error=None if fault is None else JobFault(code=fault.code, message=fault.message, suggestion=fault.suggestion),
        model_type=job.model_type,
        quality=_plain(job.quality),
        cancel_requested=job.cancel_requested,
        attempt=job.attempt,
        revision=job.revision,
    )


def list_of(page: JobPage) -> JobList:
    """One page."""
    return JobList(jobs=[state_of(job) for job in page.jobs], next_cursor=page.cursor)


def _plain(quality: Mapping[str, Any]) -> dict[str, Any]:
    return dict(quality)
