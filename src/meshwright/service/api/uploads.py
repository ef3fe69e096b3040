"""A multipart body on its way to disk: limits hold for every byte before it is kept.

The body is never buffered: each piece that arrives goes through python-multipart's parser straight into a file of our
own naming. Whatever the request claims (lengths, names, types) is believed only where it leads to an earlier refusal.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import anyio
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from meshwright.service.api.problems import Problem

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

__all__ = ["Form", "FormRules", "ReceivedFile", "receive_form", "shown", "sweep_uploads"]

_MB = 1024 * 1024
_BATCH = 512 * 1024
"""Bytes that wait for a thread to write them: the disk may take its time, and others must be answered meanwhile."""
_OVERHEAD = 200_000
"""What boundaries, part headers and text fields may add to the files of a body."""


@dataclass(frozen=True, kw_only=True)
class FormRules:
    """What a form may hold.

    Attributes:
        files: Field name to the most files in it.
        large: Fields whose single file may be as large as the whole.
        texts: Names of text fields.
        max_file_bytes, max_total_bytes: Limits of one file, and of all together.
        idle_s: Longest silence of the sender, seconds.
        total_s: Longest time for the whole body, seconds.
        max_text_bytes: Limit of one text field.
    """

    files: Mapping[str, int]
    texts: frozenset[str]
    max_file_bytes: int
    max_total_bytes: int
    large: frozenset[str] = frozenset()
    idle_s: float = 20.0
    total_s: float = 300.0
    max_text_bytes: int = 4096


@dataclass(frozen=True, kw_only=True)
class ReceivedFile:
    """One uploaded file.

    Attributes:
        field: The form field.
        name: What the sender calls it: for messages and for telling views apart, never a path of ours.
        path: Where it lies.
        size: Bytes.
        sha256: Of its content, hexadecimal.
    """

    field: str
    name: str
    path: Path
    size: int
    sha256: str


@dataclass(kw_only=True)
class Form:
    """What came: text fields, files in the order of upload, and how many files there were per field."""

    folder: Path
    texts: dict[str, str] = dataclass_field(default_factory=dict)
    files: list[ReceivedFile] = dataclass_field(default_factory=list)
    counts: dict[str, int] = dataclass_field(default_factory=dict)

    def fingerprint(self) -> str:
        """The same for the same fields and files in the same order, whatever the boundary was."""
        digest = hashlib.sha256()
        for name, text in sorted(self.texts.items()):
            digest.update(repr((name, text)).encode())
        for file in self.files:
            digest.update(repr((file.field, file.name, file.sha256)).encode())
        return digest.hexdigest()


def shown(name: str) -> str:
    """A client's file name, fit to be repeated in a message: no folders, no control characters, not endless."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    plain = "".join(c if c.isprintable() else "?" for c in base)
    return plain if len(plain) <= 80 else f"{plain[:60]}...{plain[-15:]}"


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
        raise _too_large_body(rules)


def _too_large_body(rules: FormRules) -> Problem:
    limit = f"{rules.max_total_bytes / _MB:g} MB"
    return Problem(
        "FILE_TOO_LARGE",
        f"The body is larger than the {limit} that are accepted.",
        status=413,
        fields={"body": f"Expected at most {limit}"},
    )


async def _receive(request: Request, home: Path, boundary: bytes, rules: FormRules) -> Form:
    sink = _Sink(home, rules)
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
                raise _too_large_body(rules)
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


@dataclass(kw_only=True)
class _OpenFile:
    """A file that is on its way."""

    field: str
    name: str
    path: Path
    digest: Any = dataclass_field(default_factory=hashlib.sha256)
    size: int = 0
    _stream: IO[bytes] | None = None

    def write(self, data: bytes) -> None:
        if self._stream is None:
            self._stream = self.path.open("xb")
        self._stream.write(data)
        self.digest.update(data)
        self.size += len(data)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def received(self) -> ReceivedFile:
        return ReceivedFile(
            field=self.field,
            name=self.name,
            path=self.path,
            size=self.size,
            sha256=self.digest.hexdigest(),
        )


class _Sink:
    """Takes the parser's events and keeps what the rules allow.

    What is to be done with files is only noted; `flush` does it, in a thread, so that the disk holds nobody up.
    """

    def __init__(self, home: Path, rules: FormRules) -> None:
        self.rules = rules
        self.form = Form(folder=home)
        self.ended = False
        self._total = 0
        self._header = b""
        self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._filename = ""
        self._size = 0
        self._text: bytearray | None = None
        self._file: _OpenFile | None = None
        self._files: list[_OpenFile] = []
        self._pending: list[tuple[_OpenFile, bytes | None]] = []
        self.pending_bytes = 0

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def flush(self) -> None:
        """Writes what has come since the last time."""
        pending, self._pending, self.pending_bytes = self._pending, [], 0
        for file, data in pending:
            if data is None:
                file.write(b"")  # so that a file of no bytes is there too
                file.close()
                self.form.files.append(file.received())
            else:
                file.write(data)

    def close(self) -> None:
        """Lets go of files, whatever has become of them."""
        for file in self._files:
            with contextlib.suppress(OSError):  # a full disk was told of by `flush`
                file.close()

    def _begin(self) -> None:
        self._headers, self._header, self._value = {}, b"", b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b"").decode("latin-1"))
        if kind != b"form-data" or b"name" not in options:
            raise _invalid("body", "Every part needs a Content-Disposition of form-data with a name")
        if self._headers.get(b"content-transfer-encoding", b"binary").lower() not in (b"binary", b"8bit", b"7bit"):
            raise _invalid("body", "Parts must not be encoded")
        self._name = options[b"name"].decode("utf-8", "replace")
        self._size = 0
        self._text = None
        if self._name in self.rules.texts:
            self._start_text()
        elif self._name in self.rules.files:
            self._start_file(options.get(b"filename"))
        else:
            raise _invalid(shown(self._name) or "body", f"Unknown field; known are {', '.join(self._known())}")

    def _known(self) -> list[str]:
        return sorted([*self.rules.texts, *self.rules.files])

    def _start_text(self) -> None:
        if self._name in self.form.texts:
            raise _invalid(self._name, "Given twice")
        self._text = bytearray()

    def _start_file(self, filename: bytes | None) -> None:
        # Some programs send files without names; then the order says which view it is, or the content that it is none.
        self._filename = (filename or b"").decode("utf-8", "replace")
        count = self.form.counts.get(self._name, 0) + 1
        self.form.counts[self._name] = count
        if sum(self.form.counts.values()) > 4 * sum(self.rules.files.values()):
            raise Problem("INVALID_FILE_COUNT", "There are far too many files.", fields={self._name: "Too many files"})
        if count <= self.rules.files[self._name]:
            # The number is all that our own name says.
            path = self.form.folder / f"{self._name}-{count:02d}"
            self._file = _OpenFile(field=self._name, name=self._filename, path=path)
            self._files.append(self._file)

    def _data(self, data: bytes, start: int, end: int) -> None:
        size = end - start
        self._size += size
        if self._text is not None:
            if self._size > self.rules.max_text_bytes:
                raise _invalid(self._name, f"Longer than {self.rules.max_text_bytes} bytes")
            self._text += data[start:end]
            return
        self._total += size
        if self._total > self.rules.max_total_bytes:
            raise _too_large_body(self.rules)
        limit = self.rules.max_total_bytes if self._name in self.rules.large else self.rules.max_file_bytes
        if self._size > limit:
            raise Problem(
                "FILE_TOO_LARGE",
                f"The file {shown(self._filename)!r} is larger than the {limit / _MB:g} MB that are accepted.",
                fields={self._name: f"{shown(self._filename)}: expected at most {limit / _MB:g} MB"},
            )
        if self._file is not None:
            self._pending.append((self._file, data[start:end]))
            self.pending_bytes += size

    def _end(self) -> None:
        if self._text is not None:
            try:
                self.form.texts[self._name] = self._text.decode("utf-8")
            except UnicodeDecodeError:
                raise _invalid(self._name, "Not UTF-8 text") from None
        elif self._file is not None:
            self._pending.append((self._file, None))
            self._file = None

    def _finish(self) -> None:
        self.ended = True


def _invalid(name: str, message: str) -> Problem:
    return Problem("VALIDATION_FAILED", f"The form is not valid: {message}.", fields={name: message})
