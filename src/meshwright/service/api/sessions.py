"""An API key in a browser: a cookie that scripts cannot read, so that pictures, downloads and events carry it too."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from meshwright.service.api.auth import COOKIE, count_bad_key, session_key, unauthorized
from meshwright.service.api.jobs import ServicesHere
from meshwright.service.api.keys import KeyRecord, check_key
from meshwright.service.api.openapi import refusals
from meshwright.service.api.schemas import Session, SessionOrder

__all__ = ["router"]

router = APIRouter(prefix="/api/session", tags=["service"])

_DAYS = 30
_EXAMPLE = {"keys_required": True, "signed_in": True, "name": "laptop", "scopes": ["submit"]}


@router.get(
    "",
    operation_id="get_session",
    summary="Whether a key is needed, and there",
    response_model=Session,
    responses={
        200: {"content": {"application/json": {"example": _EXAMPLE}}},
        **refusals("NOT_READY", keyed=False),
    },
)
async def get_session(request: Request, services: ServicesHere) -> Session:
    """For pages: whether calls need a key, and whether this browser's session has one that holds."""
    token = session_key(request)
    key = None
    if services.settings.auth_required and token is not None:
        key = await to_thread.run_sync(check_key, services.store, token)
        if key is None:
            await count_bad_key(request, services, where="bad-session")
    return _session(services.settings.auth_required, key)


@router.post(
    "",
    operation_id="begin_session",
    summary="Keep a key in this browser",
    response_model=Session,
    responses={
        200: {
            "description": "The key holds; a cookie that only this service gets has it from now on.",
            "headers": {"Set-Cookie": {"description": "The session.", "schema": {"type": "string"}}},
            "content": {"application/json": {"example": _EXAMPLE}},
        },
        **refusals("UNAUTHORIZED", "RATE_LIMITED", "VALIDATION_FAILED", ("FILE_TOO_LARGE", 413), keyed=False),
    },
)
async def begin_session(request: Request, response: Response, order: SessionOrder, services: ServicesHere) -> Session:
    """Takes an API key into a cookie. Calls that change something must then carry `X-Meshwright-Page: 1` as well,
    which other sites cannot make a browser send."""
    if not services.settings.auth_required:
        return _session(False, None)
    key = await to_thread.run_sync(check_key, services.store, order.key)
    if key is None:
        await count_bad_key(request, services, where="bad-session")
        raise unauthorized("The API key is not known, or was revoked.")
    response.set_cookie(
        COOKIE,
        order.key,
        max_age=_DAYS * 86_400,
        path=f"{request.scope.get('root_path', '')}/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return _session(True, key)


@router.delete(
    "",
    status_code=204,
    operation_id="end_session",
    summary="Forget the key",
    responses={204: {"description": "This browser has no key any more."}, **refusals(keyed=False)},
)
async def end_session(request: Request) -> Response:
    """Removes the cookie."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path=f"{request.scope.get('root_path', '')}/", httponly=True, samesite="strict")
    return response


def _session(required: bool, key: KeyRecord | None) -> Session:
    return Session(
        keys_required=required,
        signed_in=not required or key is not None,
        name=None if key is None else key.name,
        scopes=[] if key is None else [scope.value for scope in key.scopes],
    )
