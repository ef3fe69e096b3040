"""The two steps of cancellation as plain functions, for programs that know no more than a job's id."""

from __future__ import annotations

import functools

from meshwright.service.jobs.records import JobRecord
from meshwright.service.jobs.repository import Jobs
from meshwright.service.settings import load_settings
from meshwright.service.store import open_store

__all__ = ["clear_cancellation", "confirm_cancellation", "is_job_cancelled", "request_cancellation"]


def request_cancellation(job_id: str, *, jobs: Jobs | None = None) -> JobRecord:
    """The first step: notes the wish. The job goes on.

    Args:
        job_id: The job.
        jobs: The job table; that of the settings where not given.
    Raises:
        JobNotFound: There is none.
        JobEnded: There is nothing left to cancel.
    """
    return (jobs or _own_jobs()).request_cancellation(job_id)


def confirm_cancellation(job_id: str, *, jobs: Jobs | None = None) -> JobRecord:
    """The second step: the job is cancelled from now on; its worker, if any, stops within two seconds.

    Raises:
        JobNotFound: There is none.
        JobEnded: It had completed or failed before.
    """
    return (jobs or _own_jobs()).confirm_cancellation(job_id)


def is_job_cancelled(job_id: str, *, jobs: Jobs | None = None) -> bool:
    """Whether the second step was done."""
    return (jobs or _own_jobs()).is_cancelled(job_id)


def clear_cancellation(job_id: str, *, jobs: Jobs | None = None) -> JobRecord:
    """Takes the first step back.

    Raises:
        JobNotFound: There is none.
        JobEnded: The job has ended, perhaps by the second step.
    """
    return (jobs or _own_jobs()).clear_cancellation(job_id)


@functools.cache
def _own_jobs() -> Jobs:
    settings = load_settings()
    return Jobs(open_store(settings), max_attempts=settings.max_attempts)
