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
    "LivePicture",
    "LivePictures",
    "ModelOffer",
    "ModelState",
    "Offer",
    "ProblemBody",
    "QualityOffer",
    "Readiness",
    "RerunOrder",
    "Session",
    "SessionOrder",
    "UploadLimits",
    "WorkerState",
    "list_of",
    "state_of",
]

_TELLING = 5.0
"""Percent from which on the time that is left can be guessed."""

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
    options: dict[str, Any] = Field(description="What was asked for besides the model, such as `quality`.")
    has_depth: bool = Field(description="Whether depth renders were sent.")
    queue_position: int | None = Field(default=None, ge=1, description="Only of queued jobs: 1 is the next.")
    started_at: Moment | None = Field(default=None, description="When work began.")
    ended_at: Moment | None = Field(default=None, description="When it completed, failed or was cancelled.")
    seconds_left: float | None = Field(
        default=None,
        ge=0,
        description="While it is worked on: a guess as of `updated_at`, by progress and time so far.",
    )
    expired: bool = Field(default=False, description="Whether its files were removed after their time.")


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


class RerunOrder(BaseModel):
    """What to do otherwise with the same pictures; what is left out stays as it was."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model_type: Literal["reconviagen", "nvdiffrec", "both"] | None = Field(default=None, description="Which model.")
    quality: Literal["draft", "standard", "high"] | None = Field(default=None, description="How much time to spend.")


class LivePicture(_Answer):
    """What a stage of a running job has left to see."""

    model: str = Field(examples=["nvdiffrec"])
    name: str = Field(examples=["live_02_shape.png"])
    title: str = Field(description="What it shows.", examples=["shape"])
    url: str = Field(description="Where to get it.")


class LivePictures(_Answer):
    """Pictures of the work so far."""

    job_id: JobId
    pictures: list[LivePicture]


class SessionOrder(BaseModel):
    """A key to keep."""

    model_config = ConfigDict(extra="forbid", strict=True)

    key: str = Field(min_length=1, max_length=200, description="An API key.", examples=["mw_..."])


class Session(_Answer):
    """What a browser may do."""

    keys_required: bool = Field(description="Whether calls need a key.")
    signed_in: bool = Field(description="Whether calls of this browser have what they need.")
    name: str | None = Field(description="Name of the key.")
    scopes: list[str] = Field(description="What the key may do: `read`, `submit`, `admin`.")


class ModelOffer(_Answer):
    """One value of `model_type`."""

    name: str = Field(examples=["reconviagen"])
    title: str
    summary: str
    runs: list[str] = Field(description="The models that run, in order.")
    ready: bool | None = Field(description="Whether a worker has what it needs; null while no worker is seen.")
    message: str = Field(description="Why it is not ready, or what will be left out; may be empty.")
    vram_gb: float = Field(ge=0, description="GPU memory that it cannot do without, GiB; 0: none.")
    relative_time: float = Field(gt=0, description="Time beside the quickest model, which has 1.")
    seconds: dict[str, float] = Field(
        description="Per quality: median time of the newest completed jobs of this service, where there are any."
    )


class QualityOffer(_Answer):
    """One value of `quality`."""

    name: str = Field(examples=["standard"])
    grid: int = Field(description="Cells along the longest side of the volume that the shape is carved from.")
    texture_size: int = Field(description="Side of the texture, pixels.")
    preview_size: int = Field(description="Side of previews, pixels.")


class UploadLimits(_Answer):
    """What an upload may be."""

    max_file_bytes: int
    max_total_bytes: int
    max_pixels: int = Field(description="Of one picture.")


class Offer(_Answer):
    """What can be asked for, and what it costs."""

    version: str
    models: list[ModelOffer]
    qualities: list[QualityOffer]
    default_model: str
    default_quality: str
    limits: UploadLimits
    device: str = Field(description="What the first worker computes on; empty while none is seen.")
    retention_s: int | None = Field(description="How long files are kept after a job's end; null: for ever.")


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


def state_of(job: JobRecord, queue_position: int | None = None) -> JobState:
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
        options=dict(job.options),
        has_depth=any(item.kind == "depth" for item in job.inputs),
        queue_position=queue_position,
        started_at=job.started_at,
        ended_at=job.ended_at,
        seconds_left=_seconds_left(job),
        expired=job.expired_at is not None,
    )


def _seconds_left(job: JobRecord) -> float | None:
    """Progress counts stages by their usual time, so that the rest takes as long as what is done did."""
    if job.status is not JobStatus.PROCESSING or job.started_at is None or job.progress < _TELLING:
        return None
    so_far = max((job.updated_at - job.started_at).total_seconds(), 0.0)
    return round(so_far * (100 - job.progress) / job.progress, 1)


def list_of(page: JobPage, places: Mapping[str, int]) -> JobList:
    """One page; `places` are the positions of those that wait."""
    return JobList(jobs=[state_of(job, places.get(job.job_id)) for job in page.jobs], next_cursor=page.cursor)


def _plain(quality: Mapping[str, Any]) -> dict[str, Any]:
    return dict(quality)
