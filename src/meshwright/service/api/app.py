"""The application: its routes, what runs beside them, and what every answer carries."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meshwright.service.api import health, inputs, jobs, live, offers, openapi, reruns, results, sessions, submit
from meshwright.service.api.events import Watcher, read_revisions
from meshwright.service.api.limits import RateLimits
from meshwright.service.api.metrics import Metrics
from meshwright.service.api.page import add_page
from meshwright.service.api.pages import html_page
from meshwright.service.api.problems import add_handlers, crash_answer
from meshwright.service.api.services import Services
from meshwright.service.api.telemetry import instrument
from meshwright.service.api.uploads import sweep_uploads
from meshwright.service.api.webhooks import WebhookSender
from meshwright.service.jobs import Jobs
from meshwright.service.settings import Settings
from meshwright.service.storage import Storage
from meshwright.service.store import Store
from meshwright.service.tasks import Queue
from meshwright.service.upkeep import Upkeep

__all__ = ["create_app", "documented_app"]

log = structlog.get_logger(__name__)

_SWEEP_EVERY_S = 600.0
_LONGEST_BODY = 64 * 1024
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_DOCS_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def create_app(
    settings: Settings,
    store: Store,
    storage: Storage,
    *,
    queue: Queue | None = None,
    upkeep: Upkeep | None = None,
) -> FastAPI:
    """The API.

    Args:
        settings: How it behaves.
        store: The job table and all other tables.
        storage: Where uploads go and results come from.
        queue: Where hints go; the one that the settings name where None.
        upkeep: What keeps the job table in order beside the API; one of its own where None.
    """
    queue = Queue(settings) if queue is None else queue
    job_table = Jobs(store, max_attempts=settings.max_attempts)
    if upkeep is None:
        upkeep = Upkeep(settings, job_table, storage, queue)
    services = Services(
        settings=settings,
        store=store,
        storage=storage,
        jobs=job_table,
        limits=RateLimits(settings.broker_url),
        watcher=Watcher(partial(read_revisions, store)),
        metrics=Metrics(job_table, upkeep.watch.alive),
        enqueue=queue.send,
        ping_broker=queue.ping,
        alive=upkeep.watch.alive,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sender = WebhookSender(job_table, settings)
        upkeep.start()
        sender.start()
        tasks = [asyncio.create_task(services.watcher.run()), asyncio.create_task(_sweep(services))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await services.run(sender.stop)
            await services.run(upkeep.stop)
            await services.run(stop_telemetry)

    app = documented_app(keys_required=settings.auth_required, lifespan=lifespan, root_path=settings.root_path)
    app.state.services = services
    app.add_middleware(_Envelope, metrics=services.metrics)
    stop_telemetry = instrument(app, settings)
    return app


def documented_app(*, keys_required: bool = True, **options: Any) -> FastAPI:
    """The routes alone, with nothing behind them: enough to make documentation from."""
    app = FastAPI(
        title="meshwright",
        # The pages that come with FastAPI load scripts from elsewhere; ours load nothing.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # A redirect would be built from the Host header, which anybody can write.
        redirect_slashes=False,
        **options,
    )
    add_handlers(app)
    openapi.install(app, keys_required=keys_required)
    routers = (
        *(submit.router, jobs.router, reruns.router, inputs.router, live.router, results.router),
        *(offers.router, health.router, sessions.router),
    )
    for router in routers:
        app.include_router(router)
    app.state.known_routes = [route for router in routers for route in router.routes]
    _add_pages(app)
    return app


async def _sweep(services: Services) -> None:
    """Removes uploads that ended with their process."""
    while True:
        longest = 2 * services.settings.upload_timeout_s + 60
        try:
            await services.run(sweep_uploads, services.storage.scratch(), longest)
        except OSError as error:
            log.warning("old uploads cannot be removed", reason=str(error.strerror))
        await asyncio.sleep(_SWEEP_EVERY_S)


def _add_pages(app: FastAPI) -> None:
    pages: dict[str, str] = {}

    add_page(app)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        if "docs" not in pages:
            pages["docs"] = html_page(app.openapi())
        return HTMLResponse(pages["docs"], headers={"Content-Security-Policy": _DOCS_POLICY})

    @app.get("/openapi.json", include_in_schema=False)
    async def document() -> Response:
        return JSONResponse(app.openapi())


class _Envelope:
    """Around every request: an id, one line in the log, a measured time, headers that keep browsers careful."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        begun = time.perf_counter()
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self.app(scope, _limited(receive, scope), send_on)
        except Exception:
            log.exception("request failed", method=scope["method"], path=scope["path"])
            if status:
                raise  # too late for another answer: the server closes the connection
            await crash_answer(request_id)(scope, receive, send_on)
        finally:
            seconds = time.perf_counter() - begun
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.calls.labels(_known_method(scope["method"]), route, str(status)).observe(seconds)
            _tell(scope, route, status, seconds)


def _limited(receive: Receive, scope: Scope) -> Receive:
    """Uploads keep to limits of their own; every other body is read as a whole, and so must be small."""
    if scope["method"] == "POST" and scope["path"].endswith("/api/jobs"):
        return receive
    received = 0

    async def receive_some() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > _LONGEST_BODY:
            raise HTTPException(413)
        return message

    return receive_some


def _known_method(method: str) -> str:
    """Anybody can make up methods; each would be a new time series."""
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"


def _tell(scope: Scope, route: str, status: int, seconds: float) -> None:
    # Probes come every few seconds and say nothing while all is well.
    say: Callable[..., object] = log.debug if route.startswith("/health") and status < 400 else log.info
    say("request", method=scope["method"], route=route, path=scope["path"], status=status, seconds=round(seconds, 4))
