"""The page is tested in a real browser against a real service, mostly with models that take half a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service extra is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the dev extra)")

from service_running import Running, running  # noqa: E402
from service_stack import make_stack  # noqa: E402
from web_page import Visit, chromium_path, visiting  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.web)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium is installed (Debian: chromium)")
    # WebGL without a GPU; no sandbox, since tests may run as root in a container that forbids one.
    options = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"]
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=path, args=options)
        yield found
        found.close()


@pytest.fixture(scope="session")
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for all tests that do not hurt it."""
    stack = make_stack(request, "embedded", tmp_path_factory.mktemp("page"))
    with running(stack, FAST_MODEL_STAGE_S="0.2") as found:
        yield found


@pytest.fixture
def visit(browser: Any, service: Running) -> Iterator[Visit]:
    with visiting(browser, service.url) as found:
        yield found
