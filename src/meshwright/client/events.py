"""Server-sent events from bytes as they arrive (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Event", "EventReader"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event: `id` is empty where the server gave none."""

    data: str
    name: str = "message"
    id: str = ""


class EventReader:
    """Cuts a stream into events; bytes may be split anywhere, within a line or a character."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []
        self._name = ""
        self._id = ""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that these bytes complete."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            # A line may end in CR LF. CR alone, which the format also allows, is written by no server we talk to.
            event = self._line(line.removesuffix(b"\r").decode("utf-8", "replace"))
            if event is not None:
                yield event

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._finish()
        key, _, value = line.partition(":")  # a comment has the empty key
        value = value.removeprefix(" ")
        if key == "data":
            self._data.append(value)
        elif key == "event":
            self._name = value
        elif key == "id" and "\0" not in value:
            self._id = value
        return None

    def _finish(self) -> Event | None:
        data, name = self._data, self._name
        self._data, self._name = [], ""
        return Event(data="\n".join(data), name=name or "message", id=self._id) if data else None
