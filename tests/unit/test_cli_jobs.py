"""`meshwright jobs` and `meshwright keys` as a user and as a program sees them; the service is a scripted one."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from meshwright.cli.app import app
from meshwright.cli.extras import service_extra
from meshwright.client import Client
from meshwright.errors import MeshwrightError
from meshwright.types import VIEW_NAMES

ROOT = Path(__file__).resolve().parents[2]
JOB = "abcd1234"

Handler = Callable[[httpx.Request], httpx.Response]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def events(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def state(status: str = "queued", progress: float = 0, **more: object) -> dict[str, object]:
    return {
        "job_id": JOB,
        "status": status,
        "progress": progress,
        "current_model": None,
        "step": "",
        "model_type": "nvdiffrec",
        "created_at": "2026-01-31T12:00:00Z",
        "quality": {},
        "error": None,
        **more,
    }


class Service:
    """Answers by method and path; remembers what it was asked."""

    def __init__(self) -> None:
        self.routes: dict[str, Handler] = {}
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        return self.routes[f"{request.method} {request.url.path}"](request)

    def on(self, route: str, document: object, status: int = 200) -> None:
        self.routes[route] = lambda request: httpx.Response(
            status, stream=httpx.ByteStream(json.dumps(document).encode())
        )

    def on_events(self, *states: dict[str, object]) -> None:
        text = "".join(f"id: {n}\nevent: status\ndata: {json.dumps(one)}\n\n" for n, one in enumerate(states, 1))
        self.routes[f"GET /api/jobs/{JOB}/events"] = lambda request: httpx.Response(
            200, stream=httpx.ByteStream(text.encode())
        )

    def on_bytes(self, path: str, content: bytes) -> None:
        self.routes[f"GET {path}"] = lambda request: httpx.Response(
            200, stream=httpx.ByteStream(content), headers={"Content-Length": str(len(content))}
        )


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()

    def client(url: str, *, api_key: str | None) -> Client:
        return Client(url, api_key=api_key, transport=httpx.MockTransport(made), patience_s=0)

    monkeypatch.setattr("meshwright.client.Client", client)
    monkeypatch.delenv("MESHWRIGHT_API_KEY", raising=False)
    monkeypatch.delenv("MESHWRIGHT_URL", raising=False)
    return made


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in VIEW_NAMES:
        (folder / f"{name}.png").write_bytes(b"png")
    return folder


DONE = state("completed", 100, quality={"nvdiffrec": {"status": "normal", "summary": "good"}})
FAULT = {"code": "MODEL_OOM", "message": "Out of memory.", "suggestion": "Use draft."}


def test_submit_prints_the_id_and_nothing_else(service: Service, photos: Path) -> None:
    service.on("POST /api/jobs", state(), 202)
    result = run("jobs", "submit", photos, "--model", "nvdiffrec", "--quality", "draft", "--idempotency-key", "k")
    assert (result.exit_code, result.stdout) == (0, f"{JOB}\n")
    assert f"meshwright jobs watch {JOB}" in result.stderr
    assert service.requests[0].headers["idempotency-key"] == "k"
    assert b"nvdiffrec" in service.requests[0].content


def test_submit_can_stay_to_the_end(service: Service, photos: Path, tmp_path: Path) -> None:
    service.on("POST /api/jobs", state(webhook_secret="whsec_1"), 202)
    service.on_events(state(), state("processing", 40, current_model="nvdiffrec", step="Carving [1/2]"), DONE)
    service.on_bytes(f"/api/jobs/{JOB}/download", b"zip")
    target = tmp_path / "shoe.zip"
    result = run("jobs", "submit", photos, "-o", target, "--webhook", "https://x.example")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{JOB}\n"
    assert "[ 40 %] nvdiffrec: Carving [1/2]\n" in result.stderr
    assert "nvdiffrec: normal: good\n" in result.stderr
    assert "whsec_1" in result.stderr
    assert target.read_bytes() == b"zip"

    result = run("jobs", "submit", photos, "-o", target, "--json")
    assert result.stderr == ""
    assert [one["event"] for one in events(result)] == ["submitted", *["progress"] * 3, "result", "written"]
    assert events(result)[2] == {
        "event": "progress",
        "percent": 40.0,
        "status": "processing",
        "model": "nvdiffrec",
        "step": "Carving [1/2]",
    }


@pytest.mark.parametrize("ended", ["failed", "cancelled"])
def test_watching_a_job_that_does_not_end_well_fails(service: Service, ended: str) -> None:
    service.on_events(state(), state(ended, 30, error=FAULT if ended == "failed" else None))
    result = run("jobs", "watch", JOB)
    assert result.exit_code == 7
    assert ("Out of memory." in result.stderr) == (ended == "failed")
    as_json = events(run("jobs", "watch", JOB, "--json"))[-1]
    assert as_json["event"] == "error"
    assert as_json["code"] == "service.refused"
    details = as_json["details"]
    assert isinstance(details, dict)
    assert details["problem"] == ("MODEL_OOM" if ended == "failed" else "CANCELLED")


def test_interrupting_a_watch_says_that_the_job_goes_on(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("meshwright.cli.jobs.follow", interrupted)
    result = run("jobs", "watch", JOB)
    assert result.exit_code == 130
    assert f"meshwright jobs cancel {JOB}" in result.stderr


def test_download_of_all_and_of_one_file(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    service.on_bytes(f"/api/jobs/{JOB}/download", b"zip")
    service.on_bytes(f"/api/jobs/{JOB}/files/nvdiffrec/previews/textured_00.png", b"png")
    service.on_bytes(f"/api/jobs/{JOB}/files/nvdiffrec/mesh.glb", b"glb")
    assert run("jobs", "download", JOB).exit_code == 0
    assert (tmp_path / f"{JOB}.zip").read_bytes() == b"zip"
    assert run("jobs", "download", JOB, "--file", "nvdiffrec/mesh.glb").exit_code == 0
    assert (tmp_path / "mesh.glb").read_bytes() == b"glb"
    result = run("jobs", "download", JOB, "--file", "nvdiffrec/previews/textured_00.png", "--json")
    assert events(result) == [{"event": "written", "path": "textured_00.png", "bytes": 3}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["download", JOB, "--file", "mesh.glb"], "does not name a file"),
        (["download", JOB, "-o", "{here}"], "is a folder"),
        (["download", JOB, "-o", "{here}/none/a.zip"], "There is no folder"),
        (["watch", JOB, "-o", "{here}"], "is a folder"),
        (["submit", "{here}/none"], "no such folder"),
        (["submit", "{here}/photos", "-o", "{here}"], "is a folder"),
        (["list", "--url", "nowhere"], "no address of a service"),
        (["list", "--key-file", "{here}/none"], "cannot be read"),
    ],
)
def test_faults_are_said_before_anything_travels(
    service: Service, photos: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run("jobs", *(argument.format(here=tmp_path) for argument in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert service.requests == []


def test_cancelling_without_a_terminal_takes_one_step(service: Service) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        confirmed = json.loads(request.content)["confirm"]
        status = "cancelled" if confirmed else "cancel_requested"
        return httpx.Response(200, json={"job_id": JOB, "status": status, "message": f"It is {status}."})

    service.routes[f"POST /api/jobs/{JOB}/cancel"] = answer
    result = run("jobs", "cancel", JOB)
    assert (result.stdout, result.stderr) == ("cancel_requested\n", "It is cancel_requested.\n")
    assert run("jobs", "cancel", JOB, "--yes").stdout == "cancelled\n"
    assert events(run("jobs", "cancel", JOB, "-y", "--json"))[0]["status"] == "cancelled"


def test_list_shows_what_happens(service: Service) -> None:
    service.on("GET /api/jobs", {"jobs": [state("failed", 30, error=FAULT), DONE], "next_cursor": None})
    result = run("jobs", "list", "--status", "failed", "--limit", "5")
    assert result.exit_code == 0
    assert "Out of memory." in result.stdout and "100 %" in result.stdout
    assert service.requests[0].url.params["status"] == "failed"
    assert len(events(run("jobs", "list", "--json", "--limit", "1"))[0]["jobs"]) == 1  # type: ignore[arg-type]
    service.on("GET /api/jobs", {"jobs": [], "next_cursor": None})
    assert run("jobs", "list").stdout == "No jobs.\n"


def test_keys_and_addresses_come_from_where_nobody_else_reads_them(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.on("GET /api/jobs", {"jobs": [], "next_cursor": None})
    monkeypatch.setenv("MESHWRIGHT_API_KEY", "mw_a_b")
    monkeypatch.setenv("MESHWRIGHT_URL", "https://mesh.example")
    run("jobs", "list")
    (tmp_path / "key").write_text("mw_c_d\n")
    run("jobs", "list", "--key-file", tmp_path / "key", "--url", "http://other.example:81")
    assert [request.headers["authorization"] for request in service.requests] == ["Bearer mw_a_b", "Bearer mw_c_d"]
    assert [request.url.host for request in service.requests] == ["mesh.example", "other.example"]
    assert "--api-key" not in run("jobs", "list", "--help").stdout


def test_services_that_refuse_or_are_away_are_code_7(service: Service) -> None:
    problem = {"detail": "There is no such job.", "code": "JOB_NOT_FOUND", "suggestion": "Check the id."}
    service.on(f"GET /api/jobs/{JOB}/download", problem, 404)
    result = run("jobs", "download", JOB)
    assert result.exit_code == 7
    assert result.stderr == "error: There is no such job.\nhint:  Check the id.\n"

    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused")

    service.routes["GET /api/jobs"] = away
    result = run("jobs", "list", "--json")
    assert result.exit_code == 7
    assert events(result)[0]["code"] == "service.unreachable"


@pytest.mark.service
def test_keys_are_made_listed_and_revoked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sqlalchemy", reason="needs the extra service")
    monkeypatch.setenv("MESHWRIGHT_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("MESHWRIGHT_DATABASE_URL", raising=False)
    assert run("keys", "list").stdout == "No keys.\n"
    made = run("keys", "create", "my laptop", "--scope", "read", "--limit", "rate_read=5/minute")
    assert made.exit_code == 0, made.output
    found = re.fullmatch(r"mw_([a-z0-9]+)_\S+\n", made.stdout)
    assert found is not None
    assert "not shown again" in made.stderr
    (listed,) = events(run("keys", "list", "--json"))[0]["keys"]  # type: ignore[misc]
    assert (listed["key_id"], listed["scopes"], listed["revoked_at"]) == (found[1], ["read"], None)
    assert listed["limits"] == {"rate_read": "5/minute"}
    assert made.stdout.strip() not in json.dumps(listed)
    assert run("keys", "revoke", found[1]).stdout == f"revoked {found[1]} (my laptop)\n"
    assert "revoked" in run("keys", "list").stdout
    assert run("keys", "revoke", "nobody").exit_code == 2
    assert run("keys", "create", "x", "--scope", "root").exit_code == 2
    assert run("keys", "create", "x", "--limit", "fast").exit_code == 2


def test_missing_packages_are_named_with_the_command_that_installs_them() -> None:
    with pytest.raises(MeshwrightError, match=re.escape("pip install 'meshwright[service]'")), service_extra():
        import no_such_package  # noqa: F401
    with pytest.raises(ModuleNotFoundError), service_extra():
        import meshwright.no_such_module  # noqa: F401


COMMANDS: list[tuple[str, ...]] = [
    ("serve",),
    ("worker",),
    *(("jobs", name) for name in ("submit", "watch", "download", "cancel", "list")),
    *(("keys", name) for name in ("create", "list", "revoke")),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_stands_in_the_manual(command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout
    assert f"meshwright {' '.join(command)}" in (ROOT / "docs" / "cli.md").read_text()


def test_client_is_only_loaded_when_it_is_used() -> None:
    import subprocess

    program = "import sys, meshwright.cli.app; assert not {'httpx', 'sqlalchemy', 'celery'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
