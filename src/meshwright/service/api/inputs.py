"""The pictures of a job as they were sent, whole or as thumbnails."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import numpy as np
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from PIL import Image
from starlette.concurrency import iterate_in_threadpool

from meshwright.service.api.auth import Reader
from meshwright.service.api.jobs import JobIdPath, ServicesHere, find_job
from meshwright.service.api.openapi import refusals
from meshwright.service.api.problems import Problem
from meshwright.service.api.ranges import is_known_to_client
from meshwright.service.api.services import Services
from meshwright.service.jobs import InputFile
from meshwright.service.storage import FileMissing
from meshwright.types import JobStatus

__all__ = ["router"]

router = APIRouter(prefix="/api/jobs", tags=["jobs"])

_KEPT_BYTES = 16 * 1024 * 1024
_ONE = CapacityLimiter(1)
"""One picture is decoded at a time: a large one takes 100 MB while it is made small."""


class _Thumbnails:
    """The thumbnails that were asked for last, by what they were made of; in memory, so nothing is to be swept."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._found: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, sha256: str, width: int) -> bytes | None:
        with self._lock:
            data = self._found.get((sha256, width))
            if data is not None:
                self._found.move_to_end((sha256, width))
            return data

    def put(self, sha256: str, width: int, data: bytes) -> None:
        with self._lock:
            if (sha256, width) not in self._found:
                self._bytes += len(data)
            self._found[(sha256, width)] = data
            while self._bytes > self._most_bytes:
                _, oldest = self._found.popitem(last=False)
                self._bytes -= len(oldest)


_thumbnails = _Thumbnails(_KEPT_BYTES)


@router.get(
    "/{job_id}/inputs/{kind}/{view}",
    operation_id="get_input",
    summary="Get one picture that was sent",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The picture.",
            "headers": {"ETag": {"description": "Names this version.", "required": True, "schema": {"type": "string"}}},
            "content": {
                "image/png": {"schema": {"type": "string", "format": "binary"}},
                "image/webp": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        304: {"description": "`If-None-Match` names this very version."},
        **refusals("JOB_NOT_FOUND", "NOT_FOUND", "JOB_EXPIRED", "VALIDATION_FAILED"),
    },
)
async def get_input(
    request: Request,
    job_id: JobIdPath,
    kind: Annotated[Literal["views", "depth"], Path(description="Views or depth renders.")],
    view: Annotated[
        Literal["front", "back", "left", "right", "top", "bottom"], Path(description="Which view.", examples=["front"])
    ],
    caller: Reader,
    services: ServicesHere,
    width: Annotated[
        Literal["160", "480"] | None,
        Query(description="As WebP with at most so many pixels a side; PNG as sent without."),
    ] = None,
) -> Response:
    """A view or depth render as it was taken in, under its view's name."""
    job = await find_job(services, caller, job_id)
    if job.expired_at is not None or job.status is JobStatus.CANCELLED:
        raise Problem("JOB_EXPIRED", "The pictures of this job were removed.")
    wanted = "view" if kind == "views" else "depth"
    found = next((item for item in job.inputs if (item.kind, item.view) == (wanted, view)), None)
    if found is None:
        raise Problem("NOT_FOUND", f"No {wanted} was sent for {view}.")
    etag = f'"{found.sha256[:32]}{"-" + width if width else ""}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if is_known_to_client(request.headers, etag):
        return Response(status_code=304, headers=headers)
    try:
        if width is not None:
            data = _thumbnails.get(found.sha256, int(width))
            if data is None:
                data = await to_thread.run_sync(_shrink, services, found, int(width), limiter=_ONE)
            return Response(data, headers=headers, media_type="image/webp")
        body: AsyncIterator[bytes] = iterate_in_threadpool(await services.run(services.storage.open, found.key))
    except FileMissing as error:
        raise Problem("JOB_EXPIRED", "The pictures of this job are gone.") from error
    headers["Content-Length"] = str(found.size)
    return StreamingResponse(body, headers=headers, media_type="image/png")


def _shrink(services: Services, item: InputFile, width: int) -> bytes:
    data = b"".join(services.storage.open(item.key))
    try:
        with Image.open(io.BytesIO(data)) as opened:
            image: Image.Image = opened
            if opened.mode.startswith("I"):  # 16-bit depth; Pillow's own conversion would clip it
                values = np.asarray(opened).astype(np.float32)
                image = Image.fromarray((values * (255 / max(float(values.max()), 1.0))).astype(np.uint8))
            has_alpha = "A" in image.getbands() or "transparency" in image.info
            image = image.convert("RGBA" if has_alpha else "RGB")
            image.thumbnail((width, width), Image.Resampling.BOX)
            buffer = io.BytesIO()
            image.save(buffer, "WEBP", quality=82)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # The header was judged when it was sent; what is wrong further in comes out when a model reads it.
        raise Problem("NOT_FOUND", "This picture cannot be drawn; ask for it as it was sent.") from error
    _thumbnails.put(item.sha256, width, buffer.getvalue())
    return buffer.getvalue()
