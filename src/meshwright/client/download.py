"""Downloads that go on where they broke, in this run or the next.

Beside `shoe.zip` lie `shoe.zip.part` (what has come so far) and `shoe.zip.part.etag` (of which version) until all is
there; then the part is renamed, so that a file of the wanted name is always whole. The server is asked for the rest
only if it still has the same version (`If-Range`), else it sends everything.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import httpx

from meshwright.client.contact import Close, Contact, Flow, Open, Receive, refused_open, unreachable, until_reached
from meshwright.errors import DiskFullError, OutputError

__all__ = ["Progress", "download"]

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and how many there will be (None if the server does not say)."""

_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")


def download(contact: Contact, path: str, target: Path, *, resume: bool, progress: Progress | None) -> Flow[Path]:
    """Fetches `path` into the file `target`.

    Raises:
        ServiceError: it is not ready (`JOB_NOT_READY`), has expired, or never was.
        OutputError: `target` cannot be written; DiskFullError where that is why.
    """
    part = target.with_name(f"{target.name}.part")
    stamp = target.with_name(f"{target.name}.part.etag")
    try:
        if not resume:
            _forget(part, stamp)
        yield from _fetch(contact, path, part, stamp, progress)
        os.replace(part, target)
        stamp.unlink(missing_ok=True)
    except OSError as error:
        kind = DiskFullError if error.errno == errno.ENOSPC else OutputError
        raise kind(f"{target.name} cannot be written: {error.strerror}.", hint="Give another place with -o.") from error
    return target


def _forget(part: Path, stamp: Path) -> None:
    part.unlink(missing_ok=True)
    stamp.unlink(missing_ok=True)


def _fetch(contact: Contact, path: str, part: Path, stamp: Path, progress: Progress | None) -> Flow[None]:
    patience = contact.patience()
    while True:
        etag, before = _state(part, stamp)
        here = before
        # Compressed on the way, a range would count other bytes than those we have.
        headers = {"Accept-Encoding": "identity"}
        if here:
            headers |= {"Range": f"bytes={here}-", "If-Range": etag}
        answer = yield from until_reached(contact, Open(path=path, headers=headers), patience)
        fault: httpx.TransportError | None = None
        if answer.status_code == 416 or (answer.status_code == 206 and _start(answer) != here):
            yield Close()
            if here and _total(answer) == here and answer.headers.get("etag") in (None, etag):
                return  # all of it had come; only the renaming was missing
            _forget(part, stamp)
            fault = httpx.RemoteProtocolError("it sent another piece than the one asked for")
        elif answer.status_code in (200, 206):
            if answer.status_code == 200:
                here = 0
                _note(stamp, answer.headers.get("etag", ""))
            total = _total(answer)
            try:
                with part.open("ab" if here else "wb") as file:
                    here = yield from _receive(file, here, total, progress)
            except httpx.TransportError as error:
                fault = error
            yield Close()
            if fault is None and total in (None, here):
                return
            fault = fault or httpx.RemoteProtocolError(f"only {here} of {total} bytes came")
            if _state(part, stamp)[1] > before:
                patience = contact.patience()  # it moves: every stretch without contact counts for itself
        else:
            raise (yield from refused_open(answer))
        pause = patience.pause()
        if pause is None:
            raise unreachable(fault)
        yield pause


def _receive(file: BinaryIO, here: int, total: int | None, progress: Progress | None) -> Flow[int]:
    while chunk := (yield Receive()):
        file.write(chunk)
        here += len(chunk)
        if progress is not None:
            progress(here, total)
    return here


def _state(part: Path, stamp: Path) -> tuple[str, int]:
    """The version and number of bytes that can be built on; nothing where the server gave no strong ETag."""
    try:
        etag, here = stamp.read_text(encoding="ascii"), part.stat().st_size
    except (FileNotFoundError, UnicodeDecodeError):
        return "", 0
    return (etag, here) if etag.startswith('"') else ("", 0)


def _note(stamp: Path, etag: str) -> None:
    stamp.unlink(missing_ok=True)
    if etag.startswith('"') and etag.isascii() and etag.isprintable():
        stamp.write_text(etag, encoding="ascii")


def _start(answer: httpx.Response) -> int | None:
    found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
    return int(found[1]) if found and found[1] else None


def _total(answer: httpx.Response) -> int | None:
    """Bytes of the whole file."""
    if found := _RANGE.fullmatch(answer.headers.get("content-range", "")):
        return int(found[2])
    length = answer.headers.get("content-length", "")
    return int(length) if length.isdigit() and answer.status_code == 200 else None
