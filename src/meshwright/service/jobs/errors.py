"""What the job table refuses, and why."""

from __future__ import annotations

from meshwright.errors import MeshwrightError
from meshwright.types import JobStatus

__all__ = ["IdempotencyConflict", "JobEnded", "JobNotFound", "JobOpen", "LostClaim"]


class JobNotFound(MeshwrightError):  # noqa: N818  (an answer, not a fault)
    """There is no such job, or it belongs to somebody else."""

    code = "job.not_found"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no job {job_id!r}.", hint="Check the id; it is part of the answer to a submission.")


class JobEnded(MeshwrightError):  # noqa: N818
    """The job has ended, so what was asked for cannot happen any more."""

    code = "job.ended"

    def __init__(self, job_id: str, status: JobStatus) -> None:
        super().__init__(f"Job {job_id!r} is {status.value} already.", hint="Nothing can change it any more.")
        self.status = status


class JobOpen(MeshwrightError):  # noqa: N818
    """The job has not ended, so it cannot be removed."""

    code = "job.open"

    def __init__(self, job_id: str, status: JobStatus) -> None:
        super().__init__(f"Job {job_id!r} is {status.value}.", hint="Cancel it first, or wait for its end.")
        self.status = status


class IdempotencyConflict(MeshwrightError):  # noqa: N818
    """The idempotency key was used before, with other content."""

    code = "job.idempotency_conflict"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used before, with other content.", hint="Use a new key for a new submission."
        )


class LostClaim(MeshwrightError):  # noqa: N818
    """The job is not this worker's any more: it was cancelled, or given to another after a silence."""

    code = "job.lost_claim"

    def __init__(self, job_id: str, token: int) -> None:
        super().__init__(f"Claim {token} on job {job_id!r} does not hold any more.", hint="Stop working on it.")
