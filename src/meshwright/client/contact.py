"""One exchange with the server: what can be asked of a driver, what an answer means, when to try again.

A conversation is a generator: it yields steps, is handed what came of each, and returns its result. It never waits and
never touches a socket, so the blocking and the asynchronous client run the very same conversations.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from meshwright.client.uploads import Upload
from meshwright.errors import ServiceError, ServiceUnreachableError

__all__ = [
    "Close",
    "Contact",
    "Emit",
    "Flow",
    "Open",
    "Patience",
    "Pause",
    "Receive",
    "Send",
    "Step",
    "document",
    "job_path",
    "refused",
    "refused_open",
    "send",
    "unreachable",
    "until_reached",
]

Result = TypeVar("Result")

BUSY = frozenset({429, 502, 503, 504})
"""Answers that say nothing about the request itself: the same again, later."""


@dataclass(frozen=True, kw_only=True)
class Send:
    """A request whose whole answer is wanted; gives an `httpx.Response`."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, str] = field(default_factory=dict)
    upload: Upload = ()


@dataclass(frozen=True, kw_only=True)
class Open:
    """A request whose answer is read piece by piece; gives an `httpx.Response` without its body."""

    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    idle_s: float = 60.0
    """Longest silence before the connection counts as lost."""


@dataclass(frozen=True)
class Receive:
    """The next piece of what was opened, bytes; None at its end."""


@dataclass(frozen=True)
class Close:
    """Lets go of what was opened."""


@dataclass(frozen=True)
class Pause:
    """Nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Emit:
    """Something for the caller, before the end."""

    value: Any


Step = Send | Open | Receive | Close | Pause | Emit
Flow = Generator[Step, Any, Result]


class Contact:
    """What the conversations of one client share.

    Attributes:
        patience_s: How long the server may be out of reach before that is an error.
        answered: Whether it was ever reached. An address that never answered is given up much sooner.
    """

    def __init__(self, patience_s: float = 60.0) -> None:
        self.patience_s = patience_s
        self.answered = False

    def patience(self) -> Patience:
        """For one request, or for one stretch without contact."""
        return Patience(self.patience_s if self.answered else min(self.patience_s, 2.0))


class Patience:
    """Pauses that grow from a quarter second to ten, spread at random, until their sum is what was granted."""

    def __init__(self, granted_s: float, first_s: float = 0.25, longest_s: float = 10.0) -> None:
        self.left_s = granted_s
        self._first_s = self._next_s = first_s
        self._longest_s = longest_s

    def pause(self, at_least_s: float = 0.0) -> Pause | None:
        """The next pause; None when patience has run out, also when the server asks for longer than is left."""
        if self.left_s <= 0 or at_least_s > self.left_s:
            return None
        # Half to whole: many clients of a server that comes back must not all knock at once.
        seconds = max(at_least_s, min(self._next_s * random.uniform(0.5, 1.0), self.left_s))
        self._next_s = min(2 * self._next_s, self._longest_s)
        self.left_s -= seconds
        return Pause(seconds)


def send(contact: Contact, step: Send) -> Flow[httpx.Response]:
    """One request, again and again while the server is out of reach or busy. Only for what may be repeated.

    Raises:
        ServiceError: the server refused it.
        ServiceUnreachableError: patience ran out.
    """
    patience = contact.patience()
    while True:
        fault: httpx.TransportError | None = None
        answer: httpx.Response | None = None
        try:
            answer = yield step
        except httpx.TransportError as error:
            fault = error
        if answer is not None and answer.status_code not in BUSY:
            contact.answered = True
            if not answer.is_success:
                raise refused(answer)
            return answer
        pause = patience.pause(retry_after(answer))
        if pause is None:
            raise refused(answer) if answer is not None else unreachable(fault)
        yield pause


def until_reached(contact: Contact, step: Open, patience: Patience) -> Flow[httpx.Response]:
    """Opens an answer, again and again as `send` does. The caller closes it, also when it is an error."""
    while True:
        fault: httpx.TransportError | None = None
        answer: httpx.Response | None = None
        try:
            answer = yield step
        except httpx.TransportError as error:
            fault = error
        if answer is not None and answer.status_code not in BUSY:
            contact.answered = True
            return answer
        pause = patience.pause(retry_after(answer))
        if pause is None:
            raise (yield from refused_open(answer)) if answer is not None else unreachable(fault)
        if answer is not None:
            yield Close()
        yield pause


def document(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        ServiceError: it is something else, so whatever answered is no meshwright service.
    """
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ServiceError(
            f"What answers at {answer.url.copy_with(query=None)} is no meshwright service.",
            hint="Check the address (--url, MESHWRIGHT_URL).",
            status=answer.status_code,
        )
    return found


def retry_after(answer: httpx.Response | None) -> float:
    """Seconds that the server asks to wait; the form with a date is not used by this service."""
    value = "" if answer is None else answer.headers.get("retry-after", "")
    return float(value) if value.isdigit() else 0.0


def refused_open(answer: httpx.Response) -> Flow[ServiceError]:
    """The error that an opened answer tells of, read to its end and closed."""
    body = b""
    try:
        while len(body) < 1_000_000 and (chunk := (yield Receive())):
            body += chunk
    except httpx.TransportError:
        pass  # the status alone has to do
    yield Close()
    return refused(httpx.Response(answer.status_code, content=body))


def refused(answer: httpx.Response) -> ServiceError:
    """The error that an answer tells of (RFC 9457)."""
    problem: Mapping[str, Any] = {}
    try:
        document = answer.json()
    except ValueError:
        document = None
    if isinstance(document, Mapping):
        problem = document
    message = str(problem.get("detail") or problem.get("title") or f"The service answered {answer.status_code}.")
    fields = problem.get("fields")
    if isinstance(fields, Mapping) and fields:
        message += "".join(f"\n  {name}: {what}" for name, what in fields.items() if str(what) not in message)
    return ServiceError(
        message,
        hint=str(problem.get("suggestion") or ""),
        problem=str(problem.get("code") or "UNKNOWN_ERROR"),
        status=answer.status_code,
        fields=dict(fields) if isinstance(fields, Mapping) else {},
    )


def unreachable(fault: Exception | None) -> ServiceUnreachableError:
    """The error for a server that cannot be reached."""
    why = str(fault) or type(fault).__name__
    return ServiceUnreachableError(
        f"The service cannot be reached: {why}",
        problem="UNREACHABLE",
        hint="Check the address (--url, MESHWRIGHT_URL) and that `meshwright serve` runs there.",
    )


def job_path(job_id: str, *more: str) -> str:
    """The address of a job or of something below it; ids and names are escaped, never trusted."""
    return "/".join(["/api/jobs", *(quote(part, safe="") for part in (job_id, *more))])
