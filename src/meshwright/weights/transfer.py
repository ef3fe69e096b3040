"""One file over HTTP, in as many tries as it takes: what came before a break is not asked for again.

huggingface_hub tells where a file of a repository is, how large, and which hash it has; the bytes are fetched here,
because its present versions throw away what has come when a download breaks.
"""

from __future__ import annotations

import functools
import os
import re
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import httpx

from meshwright.errors import DiskFullError, OutputError, WeightsFetchError
from meshwright.types import Monitor

__all__ = ["Resource", "look_up", "transfer"]

_TRIES = 5
_PAUSE_S = 1.0
_TIMEOUT = httpx.Timeout(30.0, connect=15.0)


class Resource:
    """Where a file is, and what is known of it before it is fetched.

    Attributes:
        url: Its address.
        headers: Sent along to that address (permission).
        size: Bytes; 0 where the server does not say.
        sha256: Hash that the server, or this version of meshwright, names; empty where none does.
        git_sha1: Hash as git keeps small files; empty where none is named.
        revision: The commit it stands in, as the server says.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        size: int = 0,
        sha256: str = "",
        git_sha1: str = "",
        revision: str = "",
    ) -> None:
        self.url = url
        self.headers = dict(headers or {})
        self.size = size
        self.sha256 = sha256
        self.git_sha1 = git_sha1
        self.revision = revision


def look_up(url: str) -> Resource | None:
    """Asks a plain web server for the size of a file; None where it has no such file.

    Raises:
        WeightsFetchError: It does not answer, or refuses.
    """
    for attempt in range(_TRIES):
        try:
            answer = httpx.head(
                url,
                follow_redirects=True,
                timeout=_TIMEOUT,
                headers={"Accept-Encoding": "identity"},
                verify=_certificates(),
            )
        except httpx.HTTPError as error:
            fault = _unreachable(url, error)
        else:
            if answer.status_code == 404:
                return None
            if answer.status_code < 400:
                return Resource(url, size=int(answer.headers.get("Content-Length") or 0))
            fault = _refused(url, answer.status_code)
            if answer.status_code not in (429, 500, 502, 503, 504):
                break
        time.sleep(_PAUSE_S * attempt)
    raise fault


def transfer(resource: Resource, target: Path, monitor: Monitor, said: Callable[[int], None]) -> None:
    """Brings `resource` to `target`, going on after what is there already.

    Breaks are mended by going on, up to five times in a row without a byte in between.

    Args:
        said: Told after every piece how many bytes there are now.
    Raises:
        WeightsFetchError: The server refuses, does not answer, or what came is longer than announced.
        DiskFullError, OutputError: The disk does not take it.
        Cancelled: The monitor wants to stop; what came stays in `target`.
    """
    failures = 0
    while True:
        before = _size(target)
        if resource.size and before == resource.size:
            return
        if resource.size and before > resource.size:
            target.unlink()
            before = 0
        try:
            _stream(resource, target, before, monitor, said)
            if not resource.size or _size(target) == resource.size:
                return
            fault: Exception = WeightsFetchError(f"{resource.url} ended after {_size(target):,} bytes.")
        except httpx.TransportError as error:
            fault = _unreachable(resource.url, error)
        except _TryAgain as again:
            fault = again.fault
        failures = failures + 1 if _size(target) <= before else 1
        if failures >= _TRIES:
            raise fault
        _wait(_PAUSE_S * 2 ** (failures - 1), monitor)


class _TryAgain(Exception):  # noqa: N818  (it passes between two functions of this file)
    """The server may well say something else in a moment."""

    def __init__(self, fault: WeightsFetchError) -> None:
        super().__init__(str(fault))
        self.fault = fault


def _stream(resource: Resource, target: Path, start: int, monitor: Monitor, said: Callable[[int], None]) -> None:
    headers = {"Accept-Encoding": "identity", **resource.headers}
    if start:
        headers["Range"] = f"bytes={start}-"
    with httpx.stream(
        "GET", resource.url, headers=headers, follow_redirects=True, timeout=_TIMEOUT, verify=_certificates()
    ) as answer:
        if answer.status_code == 416:  # nothing lies after what we have: it is of another file
            target.unlink(missing_ok=True)
            raise _TryAgain(_refused(resource.url, 416))
        if answer.status_code >= 400:
            fault = _refused(resource.url, answer.status_code)
            if answer.status_code in (408, 429, 500, 502, 503, 504):
                raise _TryAgain(fault)
            raise fault
        if start and not _continues(answer, start):
            start = 0  # a server that knows no ranges sends it all
        try:
            with target.open("r+b" if start else "wb") as file:
                file.seek(start)
                file.truncate()
                done = start
                for piece in answer.iter_bytes():  # as they come: what waits for a chunk to fill is lost in a break
                    file.write(piece)
                    done += len(piece)
                    said(done)
                    monitor.check()
        except OSError as error:
            raise _disk(target, error) from error


def _continues(answer: httpx.Response, start: int) -> bool:
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return answer.status_code == 206 and match is not None and int(match[1]) == start


def _wait(seconds: float, monitor: Monitor) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        monitor.check()
        time.sleep(min(left, 0.2))


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Read once: it takes longer than a small file does."""
    return httpx.create_ssl_context()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _disk(target: Path, error: OSError) -> OutputError:
    with suppress(OSError):
        if os.statvfs(target.parent).f_bavail == 0:
            return DiskFullError(
                "The disk is full.", hint="Free some space and type the same again: it goes on where it was."
            )
    return OutputError(
        f"What was fetched cannot be written: {error.strerror or error}.", hint="Choose a folder that takes it."
    )


def _unreachable(url: str, error: Exception) -> WeightsFetchError:
    return WeightsFetchError(
        f"{httpx.URL(url).host} does not answer ({type(error).__name__}: {error}).",
        hint="Check the network (proxies are taken from HTTPS_PROXY) and type the same again: it goes on where it was. "
        "Without internet access: `meshwright weights import`.",
        url=url,
    )


def _refused(url: str, status: int) -> WeightsFetchError:
    return WeightsFetchError(
        f"{httpx.URL(url).host} answers {status} to the request for {httpx.URL(url).path}.",
        hint="Type the same again later: it goes on where it was."
        if status in (408, 416, 429) or status >= 500
        else "Check the address, and whether you may have it.",
        url=url,
        status=status,
    )
