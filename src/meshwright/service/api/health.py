"""Is the process alive, can the service work, and what does it work with?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from anyio import create_task_group, move_on_after
from fastapi import APIRouter, Response

import meshwright
from meshwright.errors import MeshwrightError
from meshwright.service.api.auth import Admin, Reader
from meshwright.service.api.jobs import ServicesHere
from meshwright.service.api.openapi import refusals, retry_after
from meshwright.service.api.problems import Problem
from meshwright.service.api.schemas import Check, Health, Live, ModelState, Readiness, WorkerState
from meshwright.service.api.services import Services
from meshwright.service.jobs.presence import WorkerSeen

__all__ = ["router"]

router = APIRouter(tags=["service"])

_PATIENCE_S = 5.0
_MB = 1024 * 1024


@router.get(
    "/health/live",
    operation_id="live",
    summary="Liveness",
    response_model=Live,
    responses={200: {"content": {"application/json": {"example": {"status": "ok"}}}}},
)
async def live() -> Live:
    """Answers as long as the process does; asks for nothing else."""
    return Live(status="ok")


_READY_EXAMPLE = {
    "status": "ready",
    "checks": [
        {"name": "store", "ok": True, "message": "answers"},
        {"name": "workers", "ok": True, "message": "1 seen"},
    ],
}


@router.get(
    "/health/ready",
    operation_id="ready",
    summary="Readiness",
    response_model=Readiness,
    responses={
        200: {
            "description": "Jobs are taken in and worked on.",
            "content": {"application/json": {"example": _READY_EXAMPLE}},
        },
        503: {"model": Readiness, "description": "Something is missing; `checks` says what.", "headers": retry_after()},
    },
)
async def ready(response: Response, services: ServicesHere) -> Readiness:
    """Whether store, storage, queue and disk answer, and a worker gave a sign of life lately."""
    checks = await _examine(services)
    is_ready = all(check.ok for check in checks)
    if not is_ready:
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    return Readiness(status="ready" if is_ready else "not_ready", checks=checks)


@router.get(
    "/health",
    operation_id="health",
    summary="The service as a whole",
    response_model=Health,
    responses={
        200: {
            "description": "Also where something is missing: `status` says whether.",
            "content": {
                "application/json": {
                    "example": {
                        **_READY_EXAMPLE,
                        "version": meshwright.__version__,
                        "workers": [
                            {
                                "worker": "3f1a9c04be77",
                                "device": {"device": "cuda:0", "name": "NVIDIA H200", "memory_gb": 139.8},
                                "models": [{"name": "nvdiffrec", "ready": True, "message": "ready"}],
                            }
                        ],
                        "jobs": {"queued": 0, "processing": 1, "completed": 12, "failed": 0, "cancelled": 1},
                    }
                }
            },
        },
        **refusals(),
    },
)
async def health(caller: Reader, services: ServicesHere) -> Health:
    """Device, memory and models of each worker, whether their weights are installed, and the number of jobs."""
    del caller  # anybody who may read
    checks = await _examine(services)
    counts = await services.run(services.jobs.counts)
    return Health(
        status="ready" if all(check.ok for check in checks) else "not_ready",
        version=meshwright.__version__,
        checks=checks,
        workers=[_worker(seen) for seen in services.alive()],
        jobs={status.value: count for status, count in counts.items()},
    )


async def _metrics_text(services: Services) -> Response:
    text = await services.run(services.metrics.render)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Metrics",
    response_class=Response,
    responses={
        200: {
            "description": "In Prometheus' text format.",
            "content": {
                "text/plain": {"schema": {"type": "string"}, "example": 'meshwright_jobs{status="queued"} 3.0\n'}
            },
        },
        **refusals(),
    },
)
async def metrics(caller: Admin, services: ServicesHere) -> Response:
    """Calls, jobs by state, age of the queue, seconds per stage, quality of results."""
    del caller
    return await _metrics_text(services)


async def _examine(services: Services) -> list[Check]:
    checks: dict[str, Check] = {}

    async def run(name: str, look: Callable[[], str]) -> None:
        message = "does not answer"
        ok = False
        with move_on_after(_PATIENCE_S):
            try:
                message = await services.run_abandonable(look)
                ok = True
            except MeshwrightError as error:
                message = error.message
            except Problem as problem:
                message = problem.detail
            except Exception as error:
                message = f"does not answer ({type(error).__name__})"
        checks[name] = Check(name=name, ok=ok, message=message)

    looks: dict[str, Callable[[], str]] = {
        "store": lambda: _answers(services.store.check),
        "storage": lambda: _answers(services.storage.check),
        "queue": lambda: _answers(services.ping_broker),
        "disk": lambda: _room(services),
        "workers": lambda: _workers(services),
    }
    async with create_task_group() as group:
        for name, look in looks.items():
            group.start_soon(run, name, look)
    return [checks[name] for name in looks]


def _answers(ask: Callable[[], None]) -> str:
    ask()
    return "answers"


def _room(services: Services) -> str:
    free = services.storage.free_bytes()
    if free is None:
        return "without limit"
    if free < services.settings.min_free_mb * _MB:
        raise Problem("DISK_FULL", f"{free // _MB} MB are free, {services.settings.min_free_mb:g} MB are needed")
    return f"{free // _MB} MB are free"


def _workers(services: Services) -> str:
    count = len(services.alive())
    if not count:
        raise Problem("NOT_READY", "No worker gave a sign of life lately")
    return f"{count} seen"


def _worker(seen: WorkerSeen) -> WorkerState:
    about = dict(seen.about)
    models = about.pop("models", [])
    return WorkerState(
        # The id itself holds the name of a machine and the number of a process, which are nobody's business.
        worker=hashlib.sha256(seen.worker_id.encode()).hexdigest()[:12],
        device=about.get("device") or {},
        models=[ModelState(**model) for model in models],
    )
