"""What a job has made: one file, a list of them, or all as a ZIP; each can be read in part, and again if changed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import iterate_in_threadpool

from meshwright.service.api.auth import Caller, Reader
from meshwright.service.api.jobs import JobIdPath, ServicesHere, find_job
from meshwright.service.api.openapi import refusals
from meshwright.service.api.problems import Problem
from meshwright.service.api.ranges import is_known_to_client, wanted_span
from meshwright.service.api.schemas import FileEntry, FileList
from meshwright.service.api.services import Services
from meshwright.service.api.zips import Member, ZipLayout, lay_out
from meshwright.service.jobs import Artefact, JobRecord
from meshwright.service.storage import FileMissing
from meshwright.types import JobStatus

__all__ = ["router"]

router = APIRouter(prefix="/api/jobs", tags=["results"])

_TYPES = {
    ".png": "image/png",
    ".webp": "image/webp",
    ".hdr": "image/vnd.radiance",
    ".json": "application/json",
    ".glb": "model/gltf-binary",
    ".obj": "model/obj",
    ".mtl": "model/mtl",
    ".ply": "application/octet-stream",
    ".html": "text/html; charset=utf-8",
}
_MODEL = re.compile(r"[a-z0-9_-]{1,40}")
_LONGEST_NAME = 200

_HEADERS = {
    "ETag": {"description": "Names this version.", "required": True, "schema": {"type": "string"}},
    "Accept-Ranges": {"description": "Always `bytes`.", "required": True, "schema": {"type": "string"}},
}
_RANGE_HEADERS = {
    **_HEADERS,
    "Content-Range": {"description": "Which part this is.", "required": True, "schema": {"type": "string"}},
}
_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


def _partial(*types: str) -> dict[int | str, dict[str, Any]]:
    # A part of a JSON file is not JSON, so nothing is said of its schema.
    content = {kind: {} if kind == "application/json" else _BYTES for kind in types}
    return {
        200: {"description": "All of it.", "headers": _HEADERS, "content": content},
        206: {"description": "The part that `Range` asked for.", "headers": _RANGE_HEADERS, "content": content},
        304: {"description": "`If-None-Match` names this very version."},
    }


RangeHeader = Annotated[
    str | None, Header(alias="Range", description="`bytes=FIRST-LAST`; more than one range means the whole.")
]
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match", description="ETag that the client has.")]
IfRange = Annotated[str | None, Header(alias="If-Range", description="ETag that the range belongs to.")]


@router.get(
    "/{job_id}/files",
    operation_id="list_files",
    summary="List outputs",
    response_model=FileList,
    responses={
        200: {
            "description": "What is there so far: each model's files appear at once, when it has finished.",
            "content": {
                "application/json": {
                    "example": {
                        "job_id": "k3v9x0qa",
                        "files": [
                            {
                                "model": "nvdiffrec",
                                "name": "mesh.glb",
                                "size": 4821340,
                                "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                                "url": "/api/jobs/k3v9x0qa/files/nvdiffrec/mesh.glb",
                            }
                        ],
                    }
                }
            },
            "links": {
                "file": {
                    "operationId": "get_file",
                    "parameters": {
                        "job_id": "$response.body#/job_id",
                        "model": "$response.body#/files/0/model",
                        "name": "$response.body#/files/0/name",
                    },
                    "description": "The first of them.",
                }
            },
        },
        **refusals("JOB_NOT_FOUND", "JOB_EXPIRED"),
    },
)
async def list_files(request: Request, job_id: JobIdPath, caller: Reader, services: ServicesHere) -> FileList:
    """Name, size, checksum and address of every output."""
    job = await find_job(services, caller, job_id)
    _check_not_expired(job)
    base = f"{request.scope.get('root_path', '')}/api/jobs/{job_id}/files"
    found = await services.run(services.jobs.artefacts, job_id)
    entries = [
        FileEntry(
            model=file.model,
            name=file.name,
            size=file.size,
            sha256=file.sha256,
            url=f"{base}/{file.model}/{file.name}",
        )
        for file in found
    ]
    return FileList(job_id=job_id, files=entries)


@router.head("/{job_id}/download", include_in_schema=False)
@router.get(
    "/{job_id}/download",
    operation_id="download_job",
    summary="Download all outputs",
    response_class=StreamingResponse,
    responses={
        **_partial("application/zip"),
        **refusals("JOB_NOT_FOUND", "JOB_NOT_READY", "JOB_EXPIRED", "RANGE_NOT_SATISFIABLE"),
    },
)
async def download_job(
    request: Request,
    job_id: JobIdPath,
    caller: Reader,
    services: ServicesHere,
    wanted: RangeHeader = None,
    known: IfNoneMatch = None,
    same: IfRange = None,
) -> Response:
    """A ZIP with `<model>/<file>` for every output, streamed. The same bytes every time, so that it can be resumed."""
    del wanted, known, same  # documented here, read by `_answer`
    layout = await _layout(services, caller, job_id)

    async def part(key: str, first: int, last: int) -> AsyncIterator[bytes]:
        return await _open(services, key, first, last)

    async def read(start: int, end: int) -> AsyncIterator[bytes]:
        return layout.read(start, end, part)

    return await _answer(
        request, read, size=layout.size, etag=layout.etag, media_type="application/zip", name=f"meshwright-{job_id}.zip"
    )


async def _layout(services: Services, caller: Caller, job_id: str) -> ZipLayout:
    job = await find_job(services, caller, job_id)
    _check_not_expired(job)
    if job.status is not JobStatus.COMPLETED:
        how = f" ({job.progress:.0f} %)" if job.status is JobStatus.PROCESSING else ""
        hint = "Only completed jobs can be downloaded." if job.has_ended else ""
        raise Problem("JOB_NOT_READY", f"The job is {job.status.value}{how}.", suggestion=hint)
    files = await services.run(services.jobs.artefacts, job_id)
    return lay_out(
        [
            Member(name=f"{file.model}/{file.name}", key=file.key, size=file.size, crc32=file.crc32, sha256=file.sha256)
            for file in files
        ]
    )


@router.head("/{job_id}/files/{model}/{name:path}", include_in_schema=False)
@router.get(
    "/{job_id}/files/{model}/{name:path}",
    operation_id="get_file",
    summary="Get one output",
    response_class=StreamingResponse,
    responses={
        **_partial(*sorted(kind.partition(";")[0] for kind in set(_TYPES.values()))),
        **refusals("JOB_NOT_FOUND", "NOT_FOUND", "JOB_NOT_READY", "JOB_EXPIRED", "RANGE_NOT_SATISFIABLE"),
    },
)
async def get_file(
    request: Request,
    job_id: JobIdPath,
    model: Annotated[str, Path(description="Whose output.", examples=["nvdiffrec"])],
    name: Annotated[str, Path(description="Which file.", examples=["mesh.glb", "previews/textured_00.png"])],
    caller: Reader,
    services: ServicesHere,
    wanted: RangeHeader = None,
    known: IfNoneMatch = None,
    same: IfRange = None,
) -> Response:
    """One file, such as `mesh.glb` or `previews/textured_00.png`, as soon as its model has finished."""
    del wanted, known, same  # documented here, read by `_answer`
    job = await find_job(services, caller, job_id)
    _check_not_expired(job)
    file = await _artefact(services, job_id, model, name)
    if file is None:
        if not job.has_ended and _MODEL.fullmatch(model):
            raise Problem("JOB_NOT_READY", f"The job is {job.status.value}, and this file is not there yet.")
        raise Problem("NOT_FOUND", "The job has no such file.", suggestion=f"See /api/jobs/{job_id}/files.")
    key = file.key

    async def read(start: int, end: int) -> AsyncIterator[bytes]:
        return await _open(services, key, start, end)

    return await _answer(
        request,
        read,
        size=file.size,
        etag=file.etag,
        media_type=_TYPES.get(PurePosixPath(file.name).suffix, "application/octet-stream"),
        name=PurePosixPath(file.name).name,
        is_inline=True,
    )


async def _open(services: Services, key: str, start: int, end: int) -> AsyncIterator[bytes]:
    return iterate_in_threadpool(await services.run(services.storage.open, key, start, end - start))


async def _artefact(services: Services, job_id: str, model: str, name: str) -> Artefact | None:
    # Names are only compared with those in the table, never made into paths.
    if not _MODEL.fullmatch(model) or len(name) > _LONGEST_NAME or not name.isprintable():
        return None
    return await services.run(services.jobs.artefact, job_id, model, name)


def _check_not_expired(job: JobRecord) -> None:
    if job.expired_at is not None:
        raise Problem("JOB_EXPIRED", f"The files of this job were removed on {job.expired_at:%Y-%m-%d}.")


async def _answer(
    request: Request,
    read: Callable[[int, int], Awaitable[AsyncIterator[bytes]]],
    *,
    size: int,
    etag: str,
    media_type: str,
    name: str,
    is_inline: bool = False,
) -> Response:
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        # The owner's own copy may be kept, but is to be asked about: jobs can be cancelled and expire.
        "Cache-Control": "private, no-cache",
    }
    if is_known_to_client(request.headers, etag):
        return Response(status_code=304, headers=headers)
    span, is_part = wanted_span(request.headers, etag, size)
    headers["Content-Length"] = str(span.end - span.start)
    headers["Content-Disposition"] = f'{"inline" if is_inline else "attachment"}; filename="{name}"'
    if media_type.startswith("text/html"):
        headers["Content-Security-Policy"] = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    if is_part:
        headers["Content-Range"] = span.content_range
    status = 206 if is_part else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    try:
        body = await read(span.start, span.end)
    except FileMissing as error:
        raise Problem("JOB_EXPIRED", "The files of this job are gone.") from error
    return StreamingResponse(body, status_code=status, headers=headers, media_type=media_type)
