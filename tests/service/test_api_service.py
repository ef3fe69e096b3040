"""Health, metrics, logs, documentation, and what every answer carries."""

from __future__ import annotations

import gzip
import json
import logging
import re
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import structlog

from meshwright.service.api.pages import html_page, markdown_page
from meshwright.service.api.problems import JOB_ERRORS, PROBLEMS
from meshwright.service.codes import Code
from meshwright.service.logs import configure_logs
from service_api import parts, problem, running_api
from service_stack import Stack

ROOT = Path(__file__).resolve().parents[2]


def test_live_and_ready(stack: Stack) -> None:
    with running_api(stack) as api:
        assert api.client.get("/health/live").json() == {"status": "ok"}
        answer = api.client.get("/health/ready")
        assert answer.status_code == 200, answer.text
        assert [check["name"] for check in answer.json()["checks"]] == ["store", "storage", "queue", "disk", "workers"]
        body = api.client.get("/health").json()
        assert body["status"] == "ready"
        assert body["workers"][0]["models"] == [
            {"name": name, "ready": True, "message": "ready"} for name in ("reconviagen", "nvdiffrec")
        ]
        assert body["workers"][0]["device"]["name"] == "test"
        assert re.fullmatch("[0-9a-f]{12}", body["workers"][0]["worker"]), "no name of a machine"
        assert set(body["jobs"]) == {"queued", "processing", "completed", "failed", "cancelled"}


def test_not_ready_says_what_is_missing(embedded: Stack) -> None:
    with running_api(embedded) as api:
        api.upkeep.workers.clear()
        api.queue.is_away = True
        answer = api.client.get("/health/ready")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert {check["name"] for check in answer.json()["checks"] if not check["ok"]} == {"queue", "workers"}
        assert api.client.get("/health/live").status_code == 200
        assert api.client.get("/health").json()["status"] == "not_ready"


def test_little_disk_is_not_ready(embedded: Stack) -> None:
    with running_api(embedded, min_free_mb=1e9) as api:
        checks = {check["name"]: check["ok"] for check in api.client.get("/health/ready").json()["checks"]}
        assert checks["disk"] is False
        problem(api.client.post("/api/jobs", files=parts()), 507, "DISK_FULL")


def test_store_that_is_away(stack: Stack) -> None:
    if stack.postgres is None:
        pytest.skip("the embedded store cannot be away")
    with running_api(stack) as api:
        job_id = api.submit()
        stack.postgres.stop(signal.SIGQUIT)
        try:
            answer = api.client.get(f"/api/jobs/{job_id}")
            problem(answer, 503, "NOT_READY")
            assert int(answer.headers["retry-after"]) > 0
            ready = api.client.get("/health/ready")
            assert ready.status_code == 503
            problem(api.client.post("/api/jobs", files=parts()), 503, "NOT_READY")
            problem(api.client.get("/metrics"), 503, "NOT_READY")
            assert api.client.get("/health/live").status_code == 200
        finally:
            stack.postgres.start()
        assert api.client.get(f"/api/jobs/{job_id}").status_code == 200


def test_metrics(stack: Stack) -> None:
    with running_api(stack) as api:
        before = api.submit()
        api.complete(before)
        api.client.get("/metrics")
        first, second, _ = api.submit(), api.submit(), api.submit()
        api.complete(second)
        api.fail(first)
        for _ in range(2):  # each ended job is told of once
            text = api.client.get("/metrics").text
            assert 'meshwright_jobs{status="queued"} 1.0' in text
            assert 'meshwright_jobs{status="completed"} 2.0' in text
            assert 'meshwright_results_total{model="reconviagen",status="normal"} 1.0' in text
            assert 'meshwright_stage_seconds_count{model="reconviagen",stage="shape"} 1.0' in text
            assert 'meshwright_result_psnr_db_sum{model="reconviagen"} 27.5' in text
            assert 'meshwright_job_seconds_count{model_type="reconviagen",status="failed"} 1.0' in text
            age = re.search(r"meshwright_queue_age_seconds ([0-9.e-]+)", text)
            assert age is not None
            assert 0 < float(age[1]) < 60
        assert 'meshwright_http_request_seconds_count{method="POST",route="/api/jobs",status="202"} 4.0' in text
        assert "meshwright_upload_bytes_total" in text
        assert "meshwright_workers 1.0" in text
        assert "process_resident_memory_bytes" in text


def test_made_up_methods_and_paths_make_no_new_series(embedded: Stack) -> None:
    with running_api(embedded) as api:
        for number in range(5):
            api.client.request(f"WEIRD{number}", f"/nothing/{number}")
        text = api.client.get("/metrics").text
        assert 'method="other",route="none",status="404"} 5.0' in text or 'method="other",route="none"' in text
        assert "WEIRD" not in text
        assert "/nothing" not in text


def test_every_answer_carries_an_id_and_careful_headers(embedded: Stack) -> None:
    with running_api(embedded) as api:
        for path in ("/api/jobs", "/api/jobs/aaaaaaaa", "/nothing", "/docs", "/health/live"):
            answer = api.client.get(path, headers={"X-Request-Id": "mine-17"})
            assert answer.headers["x-request-id"] == "mine-17"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
        forged = api.client.get("/nothing", headers={"X-Request-Id": "a b\tc"})
        assert re.fullmatch("[0-9a-f]{32}", forged.headers["x-request-id"])


def test_unknown_addresses_and_methods(embedded: Stack) -> None:
    with running_api(embedded) as api:
        problem(api.client.get("/nothing"), 404, "NOT_FOUND")
        problem(api.client.get("/api/jobs/"), 404, "NOT_FOUND")
        answer = api.client.delete("/api/jobs")
        problem(answer, 405, "METHOD_NOT_ALLOWED")
        assert answer.headers["allow"] == "GET, POST"
        page = api.client.get("/", headers={"Host": "evil.example"})
        assert page.status_code == 200
        assert "evil" not in page.text


def test_crash_is_an_answer_without_a_trace(embedded: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("secret /tmp/path")

    with running_api(embedded) as api:
        monkeypatch.setattr("meshwright.service.jobs.Jobs.page", crash)
        answer = httpx.get(f"{api.url}/api/jobs")
        body = problem(answer, 500, "UNKNOWN_ERROR")
        assert "secret" not in answer.text
        assert body["request_id"] == answer.headers["x-request-id"]


def test_document_names_every_code_and_every_answer(embedded: Stack) -> None:
    with running_api(embedded) as api:
        document = api.client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    named = set()
    operations = [item for path in document["paths"].values() for item in path.values()]
    assert len(operations) == 22
    for operation in operations:
        assert operation["operationId"]
        assert operation["summary"]
        assert operation["description"]
        for status, answer in operation["responses"].items():
            assert answer["description"]
            content = answer.get("content", {}).get("application/problem+json")
            if content:
                for code, example in content["examples"].items():
                    assert example["value"]["status"] == int(status)
                    named.add(code)
            elif status.startswith("2") and status != "204":
                for kind, good in answer["content"].items():
                    if (
                        good
                        and good["schema"].get("format") != "binary"
                        and kind.startswith(("application/json", "text/"))
                    ):
                        assert "example" in good or "examples" in good, (operation["operationId"], status)
    # Unknown paths and methods belong to no operation.
    assert named == set(PROBLEMS) - {"METHOD_NOT_ALLOWED"}
    assert {code.value for code in Code} <= set(PROBLEMS) | set(JOB_ERRORS)
    for suggestion in [kind.suggestion for kind in PROBLEMS.values()]:
        assert suggestion.endswith(".")


def test_documentation_loads_nothing_from_elsewhere(embedded: Stack) -> None:
    with running_api(embedded) as api:
        page = api.client.get("/docs")
        document = api.client.get("/openapi.json").json()
    assert page.text == html_page(document)
    assert not re.search(r"<script|<link|<img|<iframe|src=|url\(|@import", page.text)
    for code in PROBLEMS:
        assert f'id="{code}"' in page.text


def test_docs_in_the_repository_are_those_of_this_version(embedded: Stack) -> None:
    with running_api(embedded) as api:
        text = markdown_page(api.client.get("/openapi.json").json())
    kept = ROOT / "docs" / "api.md"
    assert kept.read_text(encoding="utf-8") == text, "run: python -m meshwright.service.api.pages > docs/api.md"


def test_logs_are_json_lines_with_ids(embedded: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    try:
        configure_logs(embedded.settings(log_format="json"))
        structlog.contextvars.bind_contextvars(job_id="k3v9x0qa")
        secret = "hidden-" + "value"
        try:
            raise ValueError("bad")
        except ValueError:
            structlog.get_logger("a").exception("it failed", stage="shape")
        logging.getLogger("b").warning("plain %s", "words", extra={"more": 1})
        logging.getLogger("uvicorn.error").warning("from the server")
        del secret
    finally:
        structlog.contextvars.clear_contextvars()
        structlog.reset_defaults()
        root.handlers[:] = before[0]
        root.setLevel(before[1])
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["it failed", "plain words", "from the server"]
    assert all(line["job_id"] == "k3v9x0qa" and line["timestamp"].endswith("Z") for line in lines)
    assert lines[0]["stage"] == "shape"
    assert lines[0]["exception"][0]["exc_type"] == "ValueError"
    assert "hidden-value" not in json.dumps(lines)
    assert (lines[1]["level"], lines[1]["more"]) == ("warning", 1)


def test_traces_are_sent_where_asked_for(embedded: Stack) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="OpenTelemetry is not installed")
    pytest.importorskip("opentelemetry.instrumentation.fastapi", reason="OpenTelemetry is not installed")
    received: list[bytes] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
            with running_api(embedded, otel_endpoint=address) as api:
                assert api.client.get("/health/live").status_code == 200
                assert api.client.get("/api/jobs").status_code == 200
        finally:
            server.shutdown()
            thread.join()
    sent = b"".join(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body for body in received)
    assert b"GET /api/jobs" in sent
    assert b"/health/live" not in sent
