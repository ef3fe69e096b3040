"""Who calls, and what they may do and see."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

import structlog
from anyio import to_thread
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from meshwright.service.api.keys import KeyRecord, Scope, check_key, touch_key
from meshwright.service.api.problems import Problem
from meshwright.service.api.services import Services, get_services

__all__ = [
    "COOKIE",
    "Admin",
    "Caller",
    "Canceller",
    "Reader",
    "Submitter",
    "count_bad_key",
    "session_key",
    "unauthorized",
]

COOKIE = "meshwright_key"
"""Holds the key of a browser session; see `sessions`."""
_PAGE_HEADER = "x-meshwright-page"
_HARMLESS = ("GET", "HEAD", "OPTIONS")

_TOUCH_EVERY_S = 60.0
_BAD_KEYS = "20/minute"
"""Wrong keys per address: nobody can guess a key, but trying costs the store a look each."""

_bearer = HTTPBearer(auto_error=False, scheme_name="ApiKey", description="`Authorization: Bearer mw_...`")


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who calls.

    Attributes:
        key: The key that was sent; None where keys are not asked for.
        address: Of the other side, as far as it can be known.
        rate_submit, rate_read, queue_depth: The limits that hold for this caller.
    """

    key: KeyRecord | None
    address: str
    rate_submit: str
    rate_read: str
    queue_depth: int

    @property
    def owner(self) -> str | None:
        """Owner of what this caller submits."""
        return None if self.key is None else self.key.key_id

    @property
    def sees_only(self) -> str | None:
        """The owner whose jobs this caller may see; None: everybody's."""
        return None if self.key is None or self.key.allows(Scope.ADMIN) else self.key.key_id

    @property
    def identity(self) -> str:
        """What calls are counted by."""
        return f"address:{self.address}" if self.key is None else f"key:{self.key.key_id}"


async def _identify(
    request: Request,
    services: Annotated[Services, Depends(get_services)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Caller:
    settings = services.settings
    address = request.client.host if request.client else "unknown"
    key = None
    if settings.auth_required:
        token = _session_token(request) if credentials is None else credentials.credentials
        if token is None:
            raise unauthorized("This service needs an API key.")
        key = await to_thread.run_sync(check_key, services.store, token)
        if key is None:
            await count_bad_key(request, services)
            raise unauthorized("The API key is not known, or was revoked.")
        structlog.contextvars.bind_contextvars(key_id=key.key_id)
        await _note_use(services, key.key_id)
    own = key.limits if key is not None else {}
    return Caller(
        key=key,
        address=address,
        rate_submit=own.get("rate_submit", settings.rate_submit),
        rate_read=own.get("rate_read", settings.rate_read),
        queue_depth=own.get("queue_depth", settings.queue_depth),
    )


def session_key(request: Request) -> str | None:
    """The key in the cookie of a browser session, if there is one."""
    return request.cookies.get(COOKIE) or None


def _session_token(request: Request) -> str | None:
    """The same, unless another site may have made the browser send it: those cannot add headers of their own."""
    token = session_key(request)
    if token is not None and request.method not in _HARMLESS and _PAGE_HEADER not in request.headers:
        raise Problem(
            "UNAUTHORIZED",
            "A call that changes something and comes with a cookie needs the header X-Meshwright-Page.",
            status=403,
            suggestion="Send `Authorization: Bearer KEY`, or the header.",
        )
    return token


async def count_bad_key(request: Request, services: Services, *, where: str = "bad-key") -> None:
    """Notes a wrong key; raises RATE_LIMITED after too many."""
    address = request.client.host if request.client else "unknown"
    await services.count(_BAD_KEYS, where, f"address:{address}")


def unauthorized(detail: str) -> Problem:
    """The refusal of a call without a key that holds."""
    return Problem("UNAUTHORIZED", detail, headers={"WWW-Authenticate": 'Bearer realm="meshwright"'})


async def _note_use(services: Services, key_id: str) -> None:
    now = time.monotonic()
    if now - services.keys_touched.get(key_id, -_TOUCH_EVERY_S) >= _TOUCH_EVERY_S:
        services.keys_touched[key_id] = now
        await to_thread.run_sync(touch_key, services.store, key_id)


class _Needs:
    """A dependency: the caller, once its key has the scope and its rate allows the call."""

    def __init__(self, scope: Scope, *, is_submission: bool = False) -> None:
        self.scope = scope
        self.is_submission = is_submission

    async def __call__(
        self,
        caller: Annotated[Caller, Depends(_identify)],
        services: Annotated[Services, Depends(get_services)],
    ) -> Caller:
        if caller.key is not None and not caller.key.allows(self.scope):
            raise Problem(
                "UNAUTHORIZED",
                f"This key lacks the scope {self.scope.value!r}.",
                status=403,
                suggestion="Use a key with that scope.",
            )
        if self.is_submission:
            await services.count(caller.rate_submit, "submit", caller.identity)
        else:
            await services.count(caller.rate_read, "read", caller.identity)
        return caller


Reader = Annotated[Caller, Depends(_Needs(Scope.READ))]
"""A caller who may see jobs."""
Canceller = Annotated[Caller, Depends(_Needs(Scope.SUBMIT))]
"""A caller who may change jobs; not counted as a submission."""
Submitter = Annotated[Caller, Depends(_Needs(Scope.SUBMIT, is_submission=True))]
"""A caller who may submit another job now."""
Admin = Annotated[Caller, Depends(_Needs(Scope.ADMIN))]
"""A caller who may see everything."""
