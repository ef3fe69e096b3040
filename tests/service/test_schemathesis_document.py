"""The whole OpenAPI document against the running service: every operation, good and bad requests, links followed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshwright.errors import MeshwrightError
from meshwright.service.api.keys import create_key
from service_api import Api, running_api
from service_stack import Stack

pytest.importorskip("schemathesis")

TESTS = Path(__file__).resolve().parents[1]


@contextmanager
def ending_jobs(api: Api) -> Iterator[None]:
    """A worker that is done at once: one job of four fails, the others publish something."""
    stop = threading.Event()

    def work() -> None:
        count = 0
        while not stop.is_set():
            claim = api.jobs.claim(None, "tester")
            if claim is None:
                stop.wait(0.02)
                continue
            count += 1
            try:
                if count % 4:
                    api.publish(claim)
                    api.jobs.complete(claim)
                else:
                    api.fail_claim(claim)
            except MeshwrightError:
                pass  # it was cancelled in the meantime

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
def test_no_surprise_in_the_whole_document(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No 5xx, no status, type, header or body that is not documented; what breaks the schema is refused."""
    # Each operation is tried with a wrong key, and there are more of them than wrong keys are allowed in a minute.
    monkeypatch.setattr("meshwright.service.api.auth._BAD_KEYS", "100000/minute")
    examples, at_least, followed = (110, 2000, 10) if stack.name == "embedded" else (6, 300, 5)
    with running_api(stack, auth="on", events_limit_s=0.2, queue_depth=1_000_000) as api, ending_jobs(api):
        _, token = create_key(api.store, "schemathesis", ["admin"])
        found = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{api.url}/openapi.json"),
                *("--header", f"Authorization: Bearer {token}", "--phases", "examples,coverage,fuzzing,stateful"),
                *("--max-examples", str(examples), "--continue-on-failure", "--no-shrink", "--request-timeout", "20"),
                *("--seed", "20261121"),  # two runs are the same
            ],
            env={**os.environ, "SCHEMATHESIS_HOOKS": "service_schemathesis", "PYTHONPATH": str(TESTS)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=900,
        )
        admin = {"Authorization": f"Bearer {token}"}
        counted = re.findall(
            r'^meshwright_http_request_seconds_count\{.*status="(\d+)"\} (\d+)',
            api.client.get("/metrics", headers=admin).text,
            re.MULTILINE,
        )
    said = re.sub(re.escape(token), "KEY", found.stdout)
    assert found.returncode == 0, said[-20_000:] + found.stderr[-2000:]
    cases = re.search(r"(\d+) generated", said)
    assert cases is not None, said[-2000:]
    print(said[said.index("Loaded") :])
    assert int(cases[1]) >= at_least, said[-2000:]
    links = re.search(r"API Links: +(\d+) covered", said)
    assert links is not None
    assert int(links[1]) >= followed, "the links were not followed"
    statuses = {int(status): int(count) for status, count in counted if int(count)}
    assert not [status for status in statuses if status >= 500 or status == 0], statuses
    assert {200, 202, 404, 409, 422} <= set(statuses), "both good and bad requests came through"
