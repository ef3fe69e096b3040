"""What a multipart form may hold, and where its parts go as they come: each byte is judged before it is kept."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from python_multipart.multipart import parse_options_header

from meshwright.service.api.problems import Problem

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

__all__ = ["Form", "FormRules", "FormSink", "OpenFile", "ReceivedFile", "shown", "too_large_body"]

_MB = 1024 * 1024


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


def too_large_body(rules: FormRules) -> Problem:
    """The refusal of a body whose files are too large together."""
    limit = f"{rules.max_total_bytes / _MB:g} MB"
    return Problem(
        "FILE_TOO_LARGE",
        f"The body is larger than the {limit} that are accepted.",
        status=413,
        fields={"body": f"Expected at most {limit}"},
    )


@dataclass(kw_only=True)
class OpenFile:
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


class FormSink:
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
        self._file: OpenFile | None = None
        self._files: list[OpenFile] = []
        self._pending: list[tuple[OpenFile, bytes | None]] = []
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
            self._file = OpenFile(field=self._name, name=self._filename, path=path)
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
            raise too_large_body(self.rules)
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
