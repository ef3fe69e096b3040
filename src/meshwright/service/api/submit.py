"""From an upload to a queued job: what came is judged, renamed, stored, and only then gets its row in the job table."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Header, Request, Response

from meshwright.inputs.config import InputConfig
from meshwright.inputs.faults import Faults
from meshwright.inputs.names import match_names
from meshwright.service.api.addresses import AddressError, check_url, checked_address
from meshwright.service.api.archives import unpack_views
from meshwright.service.api.auth import Submitter
from meshwright.service.api.openapi import JOB_LINKS, refusals
from meshwright.service.api.pngs import BadPngError, check_png
from meshwright.service.api.problems import Problem
from meshwright.service.api.schemas import Accepted
from meshwright.service.api.services import Services, get_services
from meshwright.service.api.uploads import Form, FormRules, ReceivedFile, receive_form, shown
from meshwright.service.jobs import IdempotencyConflict, InputFile, JobRecord, NewJob, Webhook, new_job_id
from meshwright.service.storage import job_prefix
from meshwright.service.store import StoreUnavailable
from meshwright.types import VIEW_NAMES, ModelType, Quality

__all__ = ["router"]

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/api/jobs", tags=["jobs"])

_SETS = {"views": "view", "depth_renders": "depth render"}
_TEXTS = frozenset({"model_type", "quality", "webhook_url", "webhook_secret"})
_KEY = re.compile(r"[\x21-\x7e]{1,255}")

_SECRET = re.compile(r"whsec_(?:[A-Za-z0-9+/]{4}){8,21}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")

_PNG = {"type": "string", "format": "binary", "contentMediaType": "image/png"}
_SIX = {"type": "array", "items": _PNG, "minItems": 6, "maxItems": 6}
_WISHES: dict[str, Any] = {
    "model_type": {
        "type": "string",
        "enum": [model.value for model in ModelType],
        "default": ModelType.RECONVIAGEN.value,
        "description": "Which model; `both` runs reconviagen, then nvdiffrec.",
    },
    "quality": {
        "type": "string",
        "enum": [quality.value for quality in Quality],
        "description": "How much time to spend; the service's own choice where it is left out.",
    },
    "webhook_url": {
        "type": "string",
        "format": "uri",
        "maxLength": 2000,
        "description": "https address that is told when the job ends (Standard Webhooks).",
    },
    "webhook_secret": {
        "type": "string",
        "pattern": f"^{_SECRET.pattern}$",
        "description": "What webhooks are signed with: `whsec_` and 24 bytes or more in base64. Made by the service, "
        "and told in the answer, where it is left out.",
    },
}


def _form(title: str, files: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": title,
        "type": "object",
        "additionalProperties": False,
        "required": list(files),
        "properties": {**files, **_WISHES},
        "dependentRequired": {"webhook_secret": ["webhook_url"]},
    }


_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "oneOf": [
                    _form(
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
                    _form(
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


@dataclass(frozen=True, kw_only=True)
class _Wish:
    """What the text fields of a submission say."""

    model_type: ModelType
    options: Mapping[str, Any]
    webhook: Webhook | None
    made_secret: str | None


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
    await services.run(_check_disk, services)
    await _check_room(services, caller.owner, caller.queue_depth)
    job_id = new_job_id()
    structlog.contextvars.bind_contextvars(job_id=job_id)
    async with receive_form(request, services.storage.scratch(), _rules(services)) as form:
        wish = await services.run(_read_wish, form.texts, services)
        pictures = await services.run(_judge, form, services)
        stored = False
        try:
            inputs = await services.run(_store, job_id, pictures, form, services)
            async with services.submitting:
                # Asked again where nobody else can submit in between.
                await _check_room(services, caller.owner, caller.queue_depth)
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


async def _check_room(services: Services, owner: str | None, depth: int) -> None:
    waiting = await services.run(services.jobs.open_count, owner)
    if waiting >= depth:
        raise Problem(
            "RATE_LIMITED",
            f"{waiting} jobs have not ended yet; at most {depth} are accepted.",
            suggestion="Submit more when some of them have ended.",
            headers={"Retry-After": "30"},
        )


def _check_disk(services: Services) -> None:
    free = services.storage.free_bytes()
    if free is not None and free < services.settings.min_free_mb * 1024 * 1024:
        raise Problem("DISK_FULL", "The service has no room for another job.", headers={"Retry-After": "60"})


def _rules(services: Services) -> FormRules:
    settings = services.settings
    return FormRules(
        files={"views": 6, "depth_renders": 6, "archive": 1},
        large=frozenset({"archive"}),
        texts=_TEXTS,
        max_file_bytes=settings.max_file_bytes,
        max_total_bytes=settings.max_total_bytes,
        idle_s=settings.upload_stall_s,
        total_s=settings.upload_timeout_s,
    )


def _read_wish(texts: Mapping[str, str], services: Services) -> _Wish:
    """The text fields, all faults at once. Asks the name service for a webhook's host, so it belongs into a thread."""
    faults: dict[str, str] = {}
    model = texts.get("model_type", ModelType.RECONVIAGEN.value)
    if model not in list(ModelType):
        faults["model_type"] = f"Expected {_either(ModelType)}, got {shown(model)!r}"
    quality = texts.get("quality")
    if quality is not None and quality not in list(Quality):
        faults["quality"] = f"Expected {_either(Quality)}, got {shown(quality)!r}"
    url, secret = texts.get("webhook_url"), texts.get("webhook_secret")
    if url is not None:
        try:
            _judge_url(url, allow_private=services.settings.webhook_allow_private)
        except AddressError as error:
            faults["webhook_url"] = str(error).capitalize()
    if secret is not None:
        if url is None:
            faults["webhook_secret"] = "Given without webhook_url"
        elif not _SECRET.fullmatch(secret):
            faults["webhook_secret"] = "Expected whsec_ and 24 to 65 bytes in base64"
    if faults:
        raise Problem("VALIDATION_FAILED", f"{len(faults)} part(s) of the form are not valid.", fields=faults)
    made = None
    if url is not None and secret is None:
        made = secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    return _Wish(
        model_type=ModelType(model),
        options={} if quality is None else {"quality": quality},
        webhook=None if url is None or secret is None else Webhook(url=url, secret=secret),
        made_secret=made,
    )


def _either(kind: type[ModelType] | type[Quality]) -> str:
    *names, last = [item.value for item in kind]
    return f"{', '.join(names)} or {last}"


def _judge_url(url: str, *, allow_private: bool) -> None:
    """Refuses what can be known now; the sender asks again each time, since names can change where they lead."""
    check_url(url, allow_private=allow_private)
    try:
        checked_address(url, allow_private=allow_private)
    except AddressError as error:
        if "not known" not in str(error):  # a name service that is away for a moment must not refuse a job
            raise


def _judge(form: Form, services: Services) -> dict[tuple[str, str], Path]:
    """Kind (`views`, `depth`) and view name to the file that shows it."""
    config = InputConfig(
        max_file_mb=services.settings.max_file_bytes / 1e6,
        max_total_mb=services.settings.max_total_bytes / 1e6,
        max_set_mb=services.settings.max_total_bytes / 1e6,
    )
    pictures = _judge_archive(form, config) if "archive" in form.counts else _judge_sets(form)
    _judge_pngs(pictures, form, config)
    return pictures


def _judge_archive(form: Form, config: InputConfig) -> dict[tuple[str, str], Path]:
    if form.counts["archive"] > 1 or len(form.counts) > 1:
        raise Problem(
            "INVALID_FILE_COUNT",
            "An archive comes alone.",
            fields={"archive": "Expected one ZIP, and neither views nor depth_renders beside it"},
        )
    views, depth = unpack_views(form.files[0].path, form.folder, config)
    return {
        **{("views", view): path for view, path in views.items()},
        **{("depth", view): path for view, path in depth.items()},
    }


def _judge_sets(form: Form) -> dict[tuple[str, str], Path]:
    wrong = {
        name: f"Expected 6 files, got {form.counts.get(name, 0)}" for name in _SETS if form.counts.get(name, 0) != 6
    }
    if wrong:
        raise Problem("INVALID_FILE_COUNT", "Six views and six depth renders are needed.", fields=wrong)
    pictures = {}
    faults: dict[str, str] = {}
    for name, what in _SETS.items():
        # Numbered, so that equal names stay apart; what a view is, is told from the last part alone.
        files = {f"{number}/{shown(file.name)}": file for number, file in enumerate(_of(form, name))}
        found = Faults()
        matched, _ = match_names(list(files), what, name, found)
        if found.found:
            faults[name] = "; ".join(
                f"{fault.file.partition('/')[2] or name}: {fault.message}" for fault in found.found
            )
            continue
        kind = "views" if name == "views" else "depth"
        pictures.update({(kind, view): files[file].path for view, file in matched.items()})
    if faults:
        raise Problem(
            "VALIDATION_FAILED",
            "The file names do not tell the views apart.",
            fields=faults,
            suggestion=f"Name the files after their views ({', '.join(VIEW_NAMES)}), or send them in that order "
            "under names that say nothing.",
        )
    return pictures


def _of(form: Form, name: str) -> list[ReceivedFile]:
    return [file for file in form.files if file.field == name]


def _judge_pngs(pictures: Mapping[tuple[str, str], Path], form: Form, config: InputConfig) -> None:
    names = {file.path: (file.field, shown(file.name)) for file in form.files}
    faults: dict[str, list[str]] = {}
    for (kind, view), path in pictures.items():
        try:
            check_png(path, max_pixels=config.max_pixels)
        except BadPngError as error:
            field, name = names.get(path, ("archive", f"{kind}/{view}.png"))
            faults.setdefault(field, []).append(f"{name}: {error}")
    if faults:
        count = sum(map(len, faults.values()))
        raise Problem(
            "INVALID_FILE_FORMAT",
            "1 file is not a usable PNG." if count == 1 else f"{count} files are not usable PNGs.",
            fields={field: "; ".join(lines) for field, lines in faults.items()},
        )


def _store(
    job_id: str, pictures: Mapping[tuple[str, str], Path], form: Form, services: Services
) -> tuple[InputFile, ...]:
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
