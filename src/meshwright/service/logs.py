"""Logs of the service: one line an event, with the ids of request and job, as JSON or for people."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from meshwright.service.settings import Settings

__all__ = ["configure_logs"]

_QUIET = ("httpx", "httpcore", "alembic", "sse_starlette", "uvicorn.access")
"""Libraries that tell of every step, or whose steps we tell ourselves."""
_MUTE = ("python_multipart",)
"""Libraries that warn of what a sender did wrong: anybody could fill the log with it. The sender is told."""


def configure_logs(settings: Settings) -> None:
    """Makes structlog and the standard library's logging write the same lines to stderr.

    What is bound with `structlog.contextvars.bind_contextvars(job_id=...)` stands in every line of that task or
    thread, whoever writes it.
    """
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    last: list[structlog.typing.Processor] = (
        [structlog.processors.dict_tracebacks, _keep_plain, structlog.processors.JSONRenderer(default=str)]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _MUTE:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("uvicorn", "uvicorn.error"):
        # Uvicorn brings handlers of its own; one line an event is enough.
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = True


def _keep_plain(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Leaves local variables out of traces: they can hold keys and secrets."""
    for fault in event.get("exception") or ():
        for frame in fault.get("frames", ()) if isinstance(fault, dict) else ():
            frame.pop("locals", None)
    return event
