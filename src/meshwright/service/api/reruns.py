"""The same pictures again, with other options: copied on the service's side, so nothing is sent twice."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import replace
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Response
from starlette.requests import Request

from meshwright.service.api.auth import Submitter
from meshwright.service.api.jobs import JobIdPath, find_job
from meshwright.service.api.openapi import JOB_LINKS, refusals
from meshwright.service.api.problems import Problem
from meshwright.service.api.readiness import check_weights
from meshwright.service.api.schemas import Accepted, RerunOrder
from meshwright.service.api.services import Services, get_services
from meshwright.service.api.submit import check_disk, check_room
from meshwright.service.jobs import InputFile, JobRecord, NewJob, new_job_id
from meshwright.service.storage import FileMissing, job_prefix
from meshwright.service.store import StoreUnavailable
from meshwright.types import JobStatus, ModelType

__all__ = ["router"]

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


@router.post(
    "/{job_id}/rerun",
    status_code=202,
    operation_id="rerun_job",
    summary="Run the same pictures again",
    response_model=Accepted,
    response_model_exclude_none=True,
    responses={
        202: {
            "description": "A new job with the same pictures; it waits for a worker.",
            "headers": {
                "Location": {"description": "Where the job is.", "required": True, "schema": {"type": "string"}}
            },
            "content": {
                "application/json": {
                    "example": {
                        "job_id": "p0z7m1bd",
                        "status": "queued",
                        "model_type": "nvdiffrec",
                        "created_at": "2026-01-31T12:10:00Z",
                    }
                }
            },
            "links": JOB_LINKS,
        },
        **refusals(
            "JOB_NOT_FOUND",
            "JOB_EXPIRED",
            "VALIDATION_FAILED",
            ("FILE_TOO_LARGE", 413),
            "WEIGHTS_NOT_INSTALLED",
            "DISK_FULL",
        ),
    },
)
async def rerun_job(
    request: Request,
    response: Response,
    job_id: JobIdPath,
    order: RerunOrder,
    caller: Submitter,
    services: Annotated[Services, Depends(get_services)],
) -> Accepted:
    """Queues a new job with the pictures of this one, and other options where they are given."""
    job = await find_job(services, caller, job_id)
    if job.expired_at is not None or job.status is JobStatus.CANCELLED:
        raise Problem("JOB_EXPIRED", "The pictures of this job were removed.")
    model_type = job.model_type if order.model_type is None else ModelType(order.model_type)
    check_weights(model_type, services.alive())
    await services.run(check_disk, services)
    await check_room(services, caller.owner, caller.queue_depth)
    new_id = new_job_id()
    options = dict(job.options) | ({} if order.quality is None else {"quality": order.quality})
    stored = False
    try:
        inputs = await services.run(_copy, services, job, new_id)
        async with services.submitting:
            await check_room(services, caller.owner, caller.queue_depth)
            new = NewJob(
                job_id=new_id,
                model_type=model_type,
                owner_key=caller.owner,
                options=options,
                inputs=inputs,
            )
            made = await services.run(services.jobs.submit, new)
        stored = True
    except FileMissing as error:
        raise Problem("JOB_EXPIRED", "The pictures of this job are gone.") from error
    except StoreUnavailable as error:
        stored = error.details.get("reason") != "disk_full"  # as in `submit_job`
        raise
    finally:
        if not stored:
            await services.discard(new_id)
    await services.hint(new_id, made.model_type)
    log.info("job submitted again", job_id=new_id, pictures_of=job_id, model_type=made.model_type.value)
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/api/jobs/{new_id}"
    return Accepted(job_id=new_id, status=made.status, model_type=made.model_type, created_at=made.created_at)


def _copy(services: Services, job: JobRecord, new_id: str) -> tuple[InputFile, ...]:
    home = services.storage.scratch() / f"form-{uuid.uuid4().hex}"  # swept like uploads, should this process end here
    copied = []
    try:
        for item in job.inputs:
            place = home / f"{item.kind}-{item.view}"
            services.storage.get_file(item.key, place)
            key = item.key.replace(job_prefix(job.job_id), job_prefix(new_id), 1)
            services.storage.put_file(key, place)
            copied.append(replace(item, key=key))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return tuple(copied)
