"""Conditional and partial reads (RFC 9110): what part of a file a request wants, if any."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from meshwright.service.api.problems import Problem

__all__ = ["Span", "is_known_to_client", "wanted_span"]

_RANGE = re.compile(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*")


@dataclass(frozen=True)
class Span:
    """Bytes `start` up to, not including, `end`, of `size`."""

    start: int
    end: int
    size: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self.end - self.start == self.size

    @property
    def content_range(self) -> str:
        """The header `Content-Range`."""
        return f"bytes {self.start}-{self.end - 1}/{self.size}"


def is_known_to_client(headers: Mapping[str, str], etag: str) -> bool:
    """Whether `If-None-Match` names this version."""
    given = headers.get("if-none-match", "")
    return given.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in given.split(",")]


def wanted_span(headers: Mapping[str, str], etag: str, size: int) -> tuple[Span, bool]:
    """The bytes that the request asks for, and whether they are to be answered as a part (206).

    A range that cannot be read, more than one range, and `If-Range` of another version mean the whole file, as the
    RFC wants it.

    Raises:
        Problem: RANGE_NOT_SATISFIABLE, for a range that begins behind the end.
    """
    whole = Span(0, size, size)
    text = headers.get("range")
    if text is None or headers.get("if-range", etag).strip() != etag:
        return whole, False
    found = _RANGE.fullmatch(text.strip())
    if found is None or not (found[1] or found[2]):
        return whole, False
    if not found[1]:
        start, end = max(size - int(found[2]), 0), size
        good = int(found[2]) > 0 and size > 0
    else:
        start, end = int(found[1]), size if not found[2] else min(int(found[2]) + 1, size)
        if found[2] and int(found[2]) < start:
            return whole, False
        good = start < size
    if not good:
        raise Problem(
            "RANGE_NOT_SATISFIABLE", f"The file has {size} bytes.", headers={"Content-Range": f"bytes */{size}"}
        )
    return Span(start, end, size), True
