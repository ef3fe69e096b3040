"""Every test of the service runs on both: the embedded default, and Redis + PostgreSQL + S3."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service_stack import (
    STACKS,
    PostgresServer,
    RedisServer,
    S3Server,
    Stack,
    make_stack,
    start_postgres,
    start_redis,
    start_s3,
)

pytest.importorskip("fastapi", reason="the service extra is not installed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.service)


def _need(server: Any) -> Any:
    if isinstance(server, str):
        pytest.skip(server)
    return server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = _need(start_redis(tmp_path_factory.mktemp("redis")))
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = _need(start_postgres(tmp_path_factory.mktemp("postgres")))
    yield server
    server.stop(signal.SIGQUIT)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = _need(start_s3(tmp_path_factory.mktemp("s3")))
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Stack:
    """A fresh stack of each kind."""
    return make_stack(request, str(request.param), tmp_path)


@pytest.fixture
def embedded(request: pytest.FixtureRequest, tmp_path: Path) -> Stack:
    """For what does not depend on the stack."""
    return make_stack(request, "embedded", tmp_path)


@pytest.fixture(scope="session")
def stack_maker() -> Callable[[pytest.FixtureRequest, str, Path], Stack]:
    """`make_stack`, for fixtures that live longer than one test."""
    return make_stack
