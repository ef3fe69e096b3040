"""A multipart body on its way to disk: limits hold for every byte before it is kept.

The body is never buffered: each piece that arrives goes through python-multipart's parser straight into a file of our
own naming. Whatever the request claims (lengths, names, types) is believed only where it leads to an earlier refusal.
"""

from __future__ import annotations

import errno
import shutil
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from meshwright.service.api.forms import Form, FormRules, FormSink, too_large_body
from meshwright.service.api.problems import Problem

__all__ = ["receive_form", "sweep_uploads"]

_BATCH = 512 * 1024
"""Bytes that wait for a thread to write them: the disk may take its time, and others must be answered meanwhile."""
_OVERHEAD = 200_000
"""What boundaries, part headers and text fields may add to the files of a body."""


def sweep_uploads(folder: Path, older_than_s: float) -> int:
    """Removes what requests left behind that ended with their process; returns how many there were."""
    removed = 0
    for entry in folder.glob("form-*") if folder.is_dir() else ():
        try:
            # The age by the file system's own clock, on both sides of the comparison.
            marker = folder / f".clock-{uuid.uuid4().hex}"
            marker.touch()
            age = marker.stat().st_mtime - entry.stat().st_mtime
            marker.unlink()
        except OSError:
            continue  # another process was quicker
        if age > older_than_s:
            shutil.rmtree(entry, ignore_errors=True)
            removed += 1
    return removed


@asynccontextmanager
async def receive_form(request: Request, folder: Path, rules: FormRules) -> AsyncIterator[Form]:
    """The form of a request, its files in a folder of their own that is gone when this context ends.

    Raises:
        Problem: The body is not a form, breaks a limit, comes too slowly or not to its end, or the disk is full.
    """
    boundary = _boundary(request)
    _check_announced(request, rules)
    home = folder / f"form-{uuid.uuid4().hex}"
    try:
        try:
            await anyio.to_thread.run_sync(partial(home.mkdir, parents=True, mode=0o700))
            form = await _receive(request, home, boundary, rules)
        except OSError as error:
            raise _disk_problem(error) from error
        yield form
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(partial(shutil.rmtree, home, ignore_errors=True))


def _disk_problem(error: OSError) -> Problem:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Problem("DISK_FULL", "The service has no room for the upload.", headers={"Retry-After": "60"})
    raise error


def _boundary(request: Request) -> bytes:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("UNSUPPORTED_MEDIA_TYPE", "A compressed body is not accepted.")
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise Problem("UNSUPPORTED_MEDIA_TYPE", "The body must be multipart/form-data.")
    boundary = options.get(b"boundary", b"")
    # RFC 2046 allows 1 to 70 of these characters.
    if not 1 <= len(boundary) <= 70 or not all(33 <= byte < 127 or byte == 32 for byte in boundary):
        raise Problem(
            "VALIDATION_FAILED", "The Content-Type has no usable boundary.", fields={"body": "No usable boundary"}
        )
    return boundary


def _check_announced(request: Request, rules: FormRules) -> None:
    announced = request.headers.get("content-length")
    # The server refuses what is no number; digits beyond 18 would only cost time to read.
    if announced is not None and int(announced[:18]) > rules.max_total_bytes + _OVERHEAD:
        raise too_large_body(rules)


async def _receive(request: Request, home: Path, boundary: bytes, rules: FormRules) -> Form:
    sink = FormSink(home, rules)
    parser = MultipartParser(boundary, sink.callbacks(), max_header_count=8, max_header_size=2048)
    deadline = time.monotonic() + rules.total_s
    received = 0
    stream = request.stream().__aiter__()
    try:
        while True:
            with anyio.move_on_after(min(rules.idle_s, deadline - time.monotonic())) as scope:
                chunk = await anext(stream, None)
            if scope.cancelled_caught:
                raise Problem(
                    "TIME_LIMIT_EXCEEDED",
                    f"The body came too slowly: at most {rules.idle_s:g} s of silence and {rules.total_s:g} s "
                    "for all of it are accepted.",
                    headers={"Connection": "close"},
                )
            if chunk is None:
                break
            received += len(chunk)
            if received > rules.max_total_bytes + _OVERHEAD:
                raise too_large_body(rules)
            if chunk:
                parser.write(chunk)
            if sink.pending_bytes >= _BATCH:
                await anyio.to_thread.run_sync(sink.flush)
        await anyio.to_thread.run_sync(sink.flush)
        if not sink.ended:
            raise Problem(
                "VALIDATION_FAILED", "The form ends early.", fields={"body": "The closing boundary is missing"}
            )
    except FormParserError as error:
        raise Problem("VALIDATION_FAILED", "The form cannot be read.", fields={"body": "Not a whole form"}) from error
    except ClientDisconnect as error:
        # Nobody hears this answer; the context still tidies up.
        raise Problem("VALIDATION_FAILED", "The sender left before the end of the body.") from error
    finally:
        sink.close()
    return sink.form
