"""Pictures of what a running job has reached: each stage that has something to show leaves one."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import iterate_in_threadpool

from meshwright.service.api.auth import Reader
from meshwright.service.api.jobs import JobIdPath, ServicesHere, find_job
from meshwright.service.api.openapi import refusals
from meshwright.service.api.problems import Problem
from meshwright.service.api.schemas import LivePicture, LivePictures
from meshwright.service.api.services import Services
from meshwright.service.jobs import JobRecord
from meshwright.service.run import models_of
from meshwright.service.storage import FileMissing, Stored, job_prefix

__all__ = ["router"]

router = APIRouter(prefix="/api/jobs", tags=["jobs"])

_NAME = re.compile(r"live_[0-9]{2}_[a-z]{1,20}\.png")


@router.get(
    "/{job_id}/live",
    operation_id="list_live",
    summary="List pictures of the work so far",
    response_model=LivePictures,
    responses={
        200: {
            "description": "In the order in which they were made; empty before the first, and once a model's results "
            "are there.",
            "content": {
                "application/json": {
                    "example": {
                        "job_id": "k3v9x0qa",
                        "pictures": [
                            {
                                "model": "nvdiffrec",
                                "name": "live_02_shape.png",
                                "title": "shape",
                                "url": "/api/jobs/k3v9x0qa/live/nvdiffrec/live_02_shape.png",
                            }
                        ],
                    }
                }
            },
        },
        **refusals("JOB_NOT_FOUND"),
    },
)
async def list_live(request: Request, job_id: JobIdPath, caller: Reader, services: ServicesHere) -> LivePictures:
    """What a running job has reached, as pictures: the masks, the carved shape, the textured mesh."""
    job = await find_job(services, caller, job_id)
    base = f"{request.scope.get('root_path', '')}/api/jobs/{job_id}/live"
    found = [] if job.has_ended else await services.run(_find, services, job)
    return LivePictures(
        job_id=job_id,
        pictures=[
            LivePicture(model=model, name=name, title=name[8:-4], url=f"{base}/{model}/{name}") for model, name in found
        ],
    )


def _find(services: Services, job: JobRecord) -> list[tuple[str, str]]:
    found = []
    for model in models_of(job.model_type):
        items: list[Stored] = list(services.storage.list(f"{job_prefix(job.job_id)}/checkpoints/{model}"))
        names = sorted(item.key.rpartition("/")[2] for item in items)
        found += [(model, name) for name in names if _NAME.fullmatch(name)]
    return found


@router.get(
    "/{job_id}/live/{model}/{name}",
    operation_id="get_live",
    summary="Get one picture of the work so far",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The picture.",
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
        },
        **refusals("JOB_NOT_FOUND", "NOT_FOUND"),
    },
)
async def get_live(
    job_id: JobIdPath,
    model: Annotated[str, Path(description="Whose work.", examples=["nvdiffrec"])],
    name: Annotated[str, Path(description="Which picture.", examples=["live_02_shape.png"])],
    caller: Reader,
    services: ServicesHere,
) -> Response:
    """One of the listed pictures; it goes when its model's results are there, or the job ends."""
    job = await find_job(services, caller, job_id)
    # Names are compared with what there can be before they are made into keys.
    if model not in models_of(job.model_type) or not _NAME.fullmatch(name):
        raise Problem("NOT_FOUND", "The job has no such picture.", suggestion=f"See /api/jobs/{job_id}/live.")
    try:
        chunks = await services.run(services.storage.open, f"{job_prefix(job_id)}/checkpoints/{model}/{name}")
    except FileMissing as error:
        raise Problem("NOT_FOUND", "This picture is gone.", suggestion=f"See /api/jobs/{job_id}/live.") from error
    return StreamingResponse(iterate_in_threadpool(chunks), media_type="image/png")
