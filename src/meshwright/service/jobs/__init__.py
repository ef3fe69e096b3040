"""The life of a job: its states, its record, and every change that can happen to it."""

from meshwright.service.jobs.errors import IdempotencyConflict, JobEnded, JobNotFound, JobOpen, LostClaim
from meshwright.service.jobs.records import Artefact, Claim, InputFile, JobError, JobPage, JobRecord, NewJob, Webhook
from meshwright.service.jobs.repository import Jobs, new_job_id
from meshwright.service.jobs.states import FINAL, can_move

__all__ = [
    "FINAL",
    "Artefact",
    "Claim",
    "IdempotencyConflict",
    "InputFile",
    "JobEnded",
    "JobError",
    "JobNotFound",
    "JobOpen",
    "JobPage",
    "JobRecord",
    "Jobs",
    "LostClaim",
    "NewJob",
    "Webhook",
    "can_move",
    "new_job_id",
]
