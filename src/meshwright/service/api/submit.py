"""From an upload to a queued job: what came is judged, renamed, stored, and only then gets its row in the job table."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Header, Request, Response

from meshwright.service.api.auth import Submitter
from meshwright.service.api.forms import Form, FormRules
from meshwright.service.api.openapi import JOB_LINKS, refusals
from meshwright.service.api.pictures import Pictures, judge_pictures
from meshwright.service.api.problems import Problem
from meshwright.service.api.readiness import check_weights
from meshwright.service.api.schemas import Accepted
from meshwright.service.api.services import Services, get_services
from meshwright.service.api.uploads import receive_form
from meshwright.service.api.wishes import LIT_WISHES, WISHES, read_wish
from meshwright.service.jobs import IdempotencyConflict, InputFile, JobRecord, NewJob, new_job_id
from meshwright.service.storage import job_prefix
from meshwright.service.store import StoreUnavailable
from meshwright.types import VIEW_NAMES

__all__ = ["check_disk", "check_room", "router"]

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/api/jobs", tags=["jobs"])

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


_PNG = {"type": "string", "format": "binary", "contentMediaType": "image/png"}
_SIX = {"type": "array", "items": _PNG, "minItems": 6, "maxItems": 6}


def _forms(title: str, files: dict[str, Any]) -> list[dict[str, Any]]:
    """One for each way in which the fields may agree."""
    return [
        {
            "title": f"{title}, {look}",
            "type": "object",
            "additionalProperties": False,
            "required": [*files, *needed],
            "properties": {**files, **wishes},
            "dependentRequired": {"webhook_secret": ["webhook_url"]},
        }
        for look, wishes, needed in (
            ("light in the colours", WISHES, ()),
            ("materials and light told apart", LIT_WISHES, ("model_type", "lighting")),
        )
    ]


_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "oneOf": [
                    *_forms(
                        "Twelve files",
                        {
                            "views": {
                                **_SIX,
                                "description": "Six views as PNG. Told apart by their names (`front.png`, "
                                f"`view_00.png`), else by their order: {', '.join(VIEW_NAMES)}.",
                            },
                            "depth_renders": {
                                **_SIX,
                                "description": "Six depth renders of the same views as PNG, told apart likewise.",
                            },
                        },
                    ),
                    *_forms(
                        "One archive",
                        {
                            "archive": {
                                "type": "string",
                                "format": "binary",
                                "contentMediaType": "application/zip",
                                "description": "One ZIP with `views/` and, if there are any, `depth/`.",
                            }
                        },
                    ),
                ]
            },
            "encoding": {
                "views": {"contentType": "image/png"},
                "depth_renders": {"contentType": "image/png"},
                "archive": {"contentType": "application/zip"},
            },
        }
    },
}


@router.post(
    "",
    status_code=202,
    operation_id="submit_job",
    summary="Submit six views",
    response_model=Accepted,
    response_model_exclude_none=True,
    responses={
        202: {
            "description": "Taken in; it waits for a worker.",
            "headers": {
                "Location": {"description": "Where the job is.", "required": True, "schema": {"type": "string"}},
                "Idempotent-Replayed": {
                    "description": "`true` where this repeats an earlier answer.",
                    "schema": {"type": "string", "enum": ["true"]},
                },
            },
            "content": {
                "application/json": {
                    "example": {
                        "job_id": "k3v9x0qa",
                        "status": "queued",
                        "model_type": "reconviagen",
                        "created_at": "2026-01-31T12:00:00Z",
                    }
                }
            },
            "links": JOB_LINKS,
        },
        **refusals(
            "TIME_LIMIT_EXCEEDED",
            "IDEMPOTENCY_CONFLICT",
            ("FILE_TOO_LARGE", 413),
            "UNSUPPORTED_MEDIA_TYPE",
            "VALIDATION_FAILED",
            "INVALID_FILE_COUNT",
            "INVALID_FILE_FORMAT",
            "FILE_TOO_LARGE",
            "WEIGHTS_NOT_INSTALLED",
            "DISK_FULL",
        ),
    },
    openapi_extra={"requestBody": _BODY},
)
async def submit_job(
    request: Request,
    response: Response,
    caller: Submitter,
    services: Annotated[Services, Depends(get_services)],
    idempotency_key: Annotated[
        str | None,
        Header(
            description="A submission with a key that was used before is answered with the first one's job.",
            json_schema_extra={"pattern": "^[!-~]{1,255}$"},
        ),
    ] = None,
) -> Accepted:
    """Takes in six views and six depth renders, and queues a job.

    Files are told apart by name where the names are recognisable, else by their order.
    """
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        raise Problem(
            "VALIDATION_FAILED",
            "The Idempotency-Key is not usable.",
            fields={"idempotency-key": "Expected 1 to 255 visible ASCII characters"},
        )
    await services.run(check_disk, services)
    await check_room(services, caller.owner, caller.queue_depth)
    job_id = new_job_id()
    structlog.contextvars.bind_contextvars(job_id=job_id)
    async with receive_form(request, services.storage.scratch(), _rules(services)) as form:
        wish = await services.run(partial(read_wish, form.texts, allow_private=services.settings.webhook_allow_private))
        check_weights(wish.model_type, services.alive())
        pictures = await services.run(judge_pictures, form, services.settings)
        stored = False
        try:
            inputs = await services.run(_store, job_id, pictures, form, services)
            async with services.submitting:
                # Asked again where nobody else can submit in between.
                await check_room(services, caller.owner, caller.queue_depth)
                job = await services.run(
                    services.jobs.submit,
                    NewJob(
                        job_id=job_id,
                        model_type=wish.model_type,
                        owner_key=caller.owner,
                        options=wish.options,
                        inputs=inputs,
                        idempotency_key=idempotency_key,
                        fingerprint=form.fingerprint(),
                        webhooks=() if wish.webhook is None else (wish.webhook,),
                    ),
                )
            stored = job.job_id == job_id
        except IdempotencyConflict as error:
            raise Problem("IDEMPOTENCY_CONFLICT", error.message) from error
        except StoreUnavailable as error:
            # The row may be there, unheard of, and then it needs its files; only a full disk is sure to have kept none.
            stored = error.details.get("reason") != "disk_full"
            raise
        finally:
            if not stored:
                await services.discard(job_id)
    if stored:
        services.metrics.received.inc(sum(file.size for file in form.files))
        await services.hint(job_id, job.model_type)
    else:
        response.headers["Idempotent-Replayed"] = "true"
    log.info("job submitted", job_id=job.job_id, model_type=job.model_type.value, replayed=not stored)
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/api/jobs/{job.job_id}"
    return _accepted(job, wish.made_secret if stored else None)


def _accepted(job: JobRecord, made_secret: str | None) -> Accepted:
    return Accepted(
        job_id=job.job_id,
        status=job.status,
        model_type=job.model_type,
        created_at=job.created_at,
        webhook_secret=made_secret,
    )


async def check_room(services: Services, owner: str | None, depth: int) -> None:
    """Refuses a submission of somebody who has too many jobs that have not ended."""
    waiting = await services.run(services.jobs.open_count, owner)
    if waiting >= depth:
        raise Problem(
            "RATE_LIMITED",
            f"{waiting} jobs have not ended yet; at most {depth} are accepted.",
            suggestion="Submit more when some of them have ended.",
            headers={"Retry-After": "30"},
        )


def check_disk(services: Services) -> None:
    """Refuses submissions while storage is nearly full."""
    free = services.storage.free_bytes()
    if free is not None and free < services.settings.min_free_mb * 1024 * 1024:
        raise Problem("DISK_FULL", "The service has no room for another job.", headers={"Retry-After": "60"})


def _rules(services: Services) -> FormRules:
    settings = services.settings
    return FormRules(
        files={"views": 6, "depth_renders": 6, "archive": 1},
        large=frozenset({"archive"}),
        texts=frozenset(WISHES),
        max_file_bytes=settings.max_file_bytes,
        max_total_bytes=settings.max_total_bytes,
        idle_s=settings.upload_stall_s,
        total_s=settings.upload_timeout_s,
    )


def _store(job_id: str, pictures: Pictures, form: Form, services: Services) -> tuple[InputFile, ...]:
    known = {file.path: file.sha256 for file in form.files}
    inputs = []
    for (kind, view), path in pictures.items():
        key = f"{job_prefix(job_id)}/{kind}/{view}.png"
        services.storage.put_file(key, path)
        inputs.append(
            InputFile(
                kind="view" if kind == "views" else "depth",
                view=view,
                key=key,
                size=path.stat().st_size,
                sha256=known.get(path) or _sha256(path),
            )
        )
    return tuple(inputs)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
