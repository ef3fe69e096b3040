"""What the job table says of a job, as frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from meshwright.service.jobs.states import FINAL
from meshwright.types import JobStatus, ModelType

__all__ = [
    "Artefact",
    "Claim",
    "InputFile",
    "JobError",
    "JobPage",
    "JobRecord",
    "NewJob",
    "Webhook",
    "plain_inputs",
    "record_of",
]


@dataclass(frozen=True, kw_only=True)
class JobError:
    """Why a job failed, in words meant for its owner.

    Attributes:
        code: One of `codes.Code`.
        message: What happened, without paths and traces.
        suggestion: What to do about it.
    """

    code: str
    message: str
    suggestion: str = ""


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """One uploaded picture as it lies in storage.

    Attributes:
        kind: `view` or `depth`.
        view: `front` ... `bottom`.
        key: Where it lies, `jobs/<id>/views/front.png`.
        size: Bytes.
        sha256: Of its content.
    """

    kind: str
    view: str
    key: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """Whom to tell when the job ends."""

    url: str
    secret: str


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A submission whose files are in storage already.

    Attributes:
        job_id: From `new_job_id`; chosen before the files are stored.
        model_type: Which models to run.
        owner_key: The API key that it belongs to; None where keys are not asked for.
        options: Fields of `ReconstructConfig` that the user may set, such as `quality`.
        inputs: The files.
        idempotency_key: A second submission with it answers with the first one's job.
        fingerprint: SHA-256 of everything that makes two submissions the same.
        webhooks: Whom to tell when it ends.
    """

    job_id: str
    model_type: ModelType = ModelType.RECONVIAGEN
    owner_key: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[InputFile, ...] = ()
    idempotency_key: str | None = None
    fingerprint: str = ""
    webhooks: tuple[Webhook, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """One job as the table has it.

    Attributes:
        seq: Order of arrival, rising.
        progress: 0-100; it only rises, also across attempts.
        current_model: The model that is at work, if any.
        step: What happens, in plain words.
        error: Set for failed jobs.
        quality: Per published model `{"status", "summary", "psnr", "ssim", "warnings"}`.
        cancel_requested: The first of the two steps of cancellation was taken.
        attempt: How many workers have begun it.
        token: The newest claim's.
        beat: Counts the signs of life of its holder.
        revision: Rises with every visible change.
        worker: Who holds it.
        expired_at: When its files were removed, if they were.
    """

    seq: int
    job_id: str
    owner_key: str | None
    model_type: ModelType
    options: Mapping[str, Any]
    inputs: tuple[InputFile, ...]
    status: JobStatus
    progress: float
    current_model: str | None
    step: str
    error: JobError | None
    quality: Mapping[str, Any]
    cancel_requested: bool
    attempt: int
    token: int
    beat: int
    revision: int
    worker: str | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    expired_at: datetime | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in FINAL


@dataclass(frozen=True, kw_only=True)
class JobPage:
    """Part of a list of jobs, newest first; `cursor` continues it, None at its end."""

    jobs: tuple[JobRecord, ...]
    cursor: str | None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to work on a job, until somebody else gets a newer one.

    Attributes:
        token: The fence: every write names it, and one that is not the newest is refused.
        job: As it was when claimed.
    """

    job_id: str
    token: int
    worker: str
    job: JobRecord


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """One published file.

    Attributes:
        model: Whose output it is.
        name: Relative to the model's output, such as `previews/textured_00.png`.
        key: Where it lies in storage.
        size: Bytes.
        sha256: Of its content.
        crc32: Of its content, as ZIP archives want it.
    """

    job_id: str
    model: str
    name: str
    key: str
    size: int
    sha256: str
    crc32: int

    @property
    def etag(self) -> str:
        """A strong entity tag, quotes included."""
        return f'"{self.sha256[:32]}"'


def record_of(row: Row[Any]) -> JobRecord:
    """A row of `jobs` as a record."""
    error = None
    if row.error_code is not None:
        error = JobError(code=row.error_code, message=row.error_message or "", suggestion=row.error_suggestion or "")
    return JobRecord(
        seq=row.seq,
        job_id=row.job_id,
        owner_key=row.owner_key,
        model_type=ModelType(row.model_type),
        options=row.options,
        inputs=tuple(InputFile(**item) for item in row.inputs),
        status=JobStatus(row.status),
        progress=float(row.progress),
        current_model=row.current_model,
        step=row.step,
        error=error,
        quality=row.quality,
        cancel_requested=row.cancel_requested,
        attempt=row.attempt,
        token=row.token,
        beat=row.beat,
        revision=row.revision,
        worker=row.worker,
        created_at=row.created_at,
        updated_at=row.updated_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        expired_at=row.expired_at,
    )


def plain_inputs(inputs: tuple[InputFile, ...]) -> list[dict[str, Any]]:
    """As the table keeps them."""
    return [asdict(item) for item in inputs]
