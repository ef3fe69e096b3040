"""Submit, follow, list and cancel, seen from outside."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator

import httpx
import pytest

from meshwright.service.jobs import InputFile
from meshwright.types import VIEW_NAMES
from service_api import Api, parts, png, problem, running_api
from service_stack import Stack


@pytest.fixture
def api(stack: Stack) -> Iterator[Api]:
    with running_api(stack) as found:
        yield found


def test_lighting_is_kept_for_the_worker(api: Api) -> None:
    answer = api.client.post("/api/jobs", files=parts(), data={"model_type": "both", "lighting": "pbr"})
    assert api.jobs.get(answer.json()["job_id"]).options == {"lighting": "pbr"}


def test_submission_is_queued_and_stored(api: Api) -> None:
    answer = api.client.post("/api/jobs", files=parts(), data={"model_type": "nvdiffrec", "quality": "draft"})
    assert answer.status_code == 202
    body = answer.json()
    assert set(body) == {"job_id", "status", "model_type", "created_at"}
    assert (body["status"], body["model_type"]) == ("queued", "nvdiffrec")
    assert answer.headers["location"] == f"/api/jobs/{body['job_id']}"
    job = api.jobs.get(body["job_id"])
    assert job.options == {"quality": "draft"}
    assert {(item.kind, item.view) for item in job.inputs} == {(k, v) for k in ("view", "depth") for v in VIEW_NAMES}
    for number, view in enumerate(VIEW_NAMES):
        assert b"".join(api.storage.open(f"jobs/{job.job_id}/views/{view}.png")) == png(shade=20 * number)
    assert api.queue.sent == [job.job_id]
    assert api.leftovers() == []


def test_model_type_has_its_default(api: Api) -> None:
    assert api.client.post("/api/jobs", files=parts()).json()["model_type"] == "reconviagen"


def stored_view(api: Api, job_id: str, view: str) -> InputFile:
    return next(item for item in api.jobs.get(job_id).inputs if (item.kind, item.view) == ("view", view))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["bottom.png", "top.png", "right.png", "left.png", "back.png", "front.png"], 5),
        ([f"view_{number:02d}.png" for number in (5, 4, 3, 2, 1, 0)], 5),
        (["a.png"] * 6, 0),
        (["", " ", "x", "y", "z", "\u00e9"], 0),
        (["/etc/front.png", "..\\back.png", "left", "../../right.png", "a/top", "bottom.PNG"], 0),
    ],
    ids=["by name", "by number", "all the same", "strange", "with folders"],
)
def test_files_are_matched_by_name_else_by_order(api: Api, names: list[str], expected: int) -> None:
    """Where the picture of the front lay among the six."""
    pictures = [png(shade=20 * number) for number in range(6)]
    answer = api.client.post("/api/jobs", files=parts(views=list(zip(names, pictures, strict=True))))
    assert answer.status_code == 202, answer.text
    front = stored_view(api, answer.json()["job_id"], "front")
    assert b"".join(api.storage.open(front.key)) == pictures[expected]


def test_ambiguous_names_are_told(api: Api) -> None:
    views = [(f"{name}.png", png()) for name in ("front", "front", "left", "right", "top", "bottom")]
    body = problem(api.client.post("/api/jobs", files=parts(views=views)), 422, "VALIDATION_FAILED")
    assert "back" in body["fields"]["views"]
    assert api.leftovers() == []


def make_zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("with_depth", [True, False])
def test_zip_in_place_of_twelve_files(api: Api, with_depth: bool) -> None:
    files = {f"shoe/views/{view}.png": png(shade=20 * number) for number, view in enumerate(VIEW_NAMES)}
    if with_depth:
        files |= {f"shoe/depth/{view}.png": png() for view in VIEW_NAMES}
    answer = api.client.post("/api/jobs", files={"archive": ("shoe.zip", make_zip(files), "application/zip")})
    assert answer.status_code == 202, answer.text
    job = api.jobs.get(answer.json()["job_id"])
    assert len(job.inputs) == (12 if with_depth else 6)
    assert b"".join(api.storage.open(stored_view(api, job.job_id, "left").key)) == png(shade=40)
    assert api.leftovers() == []


def test_idempotency_key(api: Api) -> None:
    headers = {"Idempotency-Key": "order-17"}
    first = api.client.post("/api/jobs", files=parts(), headers=headers)
    again = api.client.post("/api/jobs", files=parts(), headers=headers)
    assert first.json()["job_id"] == again.json()["job_id"]
    assert again.status_code == 202
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    other = api.client.post("/api/jobs", files=parts(), data={"model_type": "both"}, headers=headers)
    problem(other, 409, "IDEMPOTENCY_CONFLICT")
    assert len(api.queue.sent) == 1
    assert api.leftovers() == []


def test_idempotency_key_sent_eight_times_at_once(api: Api) -> None:
    files = parts()
    answers: list[httpx.Response] = []

    def submit() -> None:
        answers.append(httpx.post(f"{api.url}/api/jobs", files=files, headers={"Idempotency-Key": "x"}, timeout=30))

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["job_id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert len(api.jobs.page().jobs) == 1
    assert api.leftovers() == []


def test_queue_that_is_away_does_not_lose_a_job(api: Api) -> None:
    api.queue.is_away = True
    job_id = api.submit()
    assert api.client.get(f"/api/jobs/{job_id}").json()["status"] == "queued"


def test_state_of_a_job(api: Api) -> None:
    job_id = api.submit()
    body = api.client.get(f"/api/jobs/{job_id}").json()
    assert {key: body[key] for key in ("job_id", "status", "progress", "current_model", "error")} == {
        "job_id": job_id,
        "status": "queued",
        "progress": 0.0,
        "current_model": None,
        "error": None,
    }
    claim = api.jobs.claim(job_id, "w")
    assert claim is not None
    api.jobs.advance(claim, 40, "reconviagen", "fitting cameras")
    body = api.client.get(f"/api/jobs/{job_id}").json()
    assert (body["status"], body["progress"], body["step"]) == ("processing", 40, "fitting cameras")
    assert body["current_model"] == "reconviagen"


def test_failed_job_says_why(api: Api) -> None:
    job_id = api.submit()
    api.fail(job_id)
    body = api.client.get(f"/api/jobs/{job_id}").json()
    assert body["status"] == "failed"
    assert body["error"] == {"code": "MODEL_OOM", "message": "It did not fit.", "suggestion": "Use less."}
    problem(api.client.get(f"/api/jobs/{job_id}/download"), 409, "JOB_NOT_READY")


def test_list_goes_by_pages(api: Api) -> None:
    ids = [api.submit() for _ in range(5)]
    api.fail(ids[1])
    first = api.client.get("/api/jobs", params={"limit": 2}).json()
    second = api.client.get("/api/jobs", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    third = api.client.get("/api/jobs", params={"limit": 2, "cursor": second["next_cursor"]}).json()
    seen = [job["job_id"] for page in (first, second, third) for job in page["jobs"]]
    assert seen == ids[::-1]
    assert third["next_cursor"] is None
    failed = api.client.get("/api/jobs", params={"status": "failed"}).json()
    assert [job["job_id"] for job in failed["jobs"]] == [ids[1]]


def test_cancellation_takes_two_steps(api: Api) -> None:
    job_id = api.submit()
    path = f"/api/jobs/{job_id}/cancel"
    problem(api.client.post(path, json={"confirm": True}), 409, "CANCELLATION_NOT_REQUESTED")
    for _ in range(2):
        asked = api.client.post(path, json={"confirm": False})
        assert (asked.status_code, asked.json()["status"]) == (200, "cancel_requested")
    assert api.client.get(f"/api/jobs/{job_id}").json()["cancel_requested"] is True
    for confirm in (True, True, False):
        done = api.client.post(path, json={"confirm": confirm})
        assert (done.status_code, done.json()["status"]) == (200, "cancelled")
    assert api.client.get(f"/api/jobs/{job_id}").json()["status"] == "cancelled"
    assert api.jobs.claim(job_id, "w") is None


def test_what_has_ended_cannot_be_cancelled(api: Api) -> None:
    job_id = api.submit()
    api.complete(job_id)
    for confirm in (False, True):
        problem(api.client.post(f"/api/jobs/{job_id}/cancel", json={"confirm": confirm}), 409, "JOB_FINISHED")


def read_events(url: str, headers: dict[str, str] | None = None) -> tuple[int, list[dict[str, str]]]:
    events: list[dict[str, str]] = []
    with httpx.stream("GET", url, headers=headers, timeout=20) as answer:
        if answer.status_code == 200:
            assert answer.headers["content-type"].startswith("text/event-stream")
        event: dict[str, str] = {}
        for line in answer.iter_lines():
            if not line:
                events.append(event)
                event = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(": ")
                event[name] = value
        return answer.status_code, [event for event in events if event]


def test_events_until_the_job_ends(api: Api) -> None:
    job_id = api.submit()
    url = f"{api.url}/api/jobs/{job_id}/events"
    found: list[tuple[int, list[dict[str, str]]]] = []
    reader = threading.Thread(target=lambda: found.append(read_events(url)))
    reader.start()
    time.sleep(0.5)
    claim = api.jobs.claim(job_id, "w")
    assert claim is not None
    for progress in (20, 60):
        api.jobs.advance(claim, progress, "reconviagen", f"step {progress}")
        time.sleep(0.5)
    api.jobs.complete(claim)
    reader.join(10)
    assert not reader.is_alive(), "the stream did not end"
    status, events = found[0]
    assert status == 200
    states = [json.loads(event["data"]) for event in events]
    assert [event["event"] for event in events] == ["status"] * len(events)
    assert [int(event["id"]) for event in events] == [state["revision"] for state in states]
    assert states[0]["status"] == "queued"
    assert (states[-1]["status"], states[-1]["progress"]) == ("completed", 100)
    assert {20, 60} <= {state["progress"] for state in states}
    progress = [state["progress"] for state in states]
    assert progress == sorted(progress)
    assert states[-1] == api.client.get(f"/api/jobs/{job_id}").json()

    last = events[-1]["id"]
    assert read_events(url, {"Last-Event-ID": last}) == (204, [])
    status, again = read_events(url, {"Last-Event-ID": str(int(last) - 1)})
    assert [event["id"] for event in again] == [last]
    assert len(read_events(url, {"Last-Event-ID": "nonsense"})[1]) == 1


def test_stream_ends_after_its_time(embedded: Stack) -> None:
    with running_api(embedded, events_limit_s=0.5) as api:
        job_id = api.submit()
        begun = time.monotonic()
        status, events = read_events(f"{api.url}/api/jobs/{job_id}/events")
        assert (status, len(events)) == (200, 1)
        assert 0.4 < time.monotonic() - begun < 5
        seen = events[0]["id"]
        assert read_events(f"{api.url}/api/jobs/{job_id}/events", {"Last-Event-ID": seen}) == (200, [])


def test_streams_end_in_good_order_when_the_server_does(embedded: Stack) -> None:
    """A process of its own, since only there a signal can be sent."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, **embedded.env, "MESHWRIGHT_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "meshwright.service.http"], env=env, stderr=subprocess.PIPE)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/health/live", timeout=5)
                break
            except httpx.TransportError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.2)
        job_id = httpx.post(f"{url}/api/jobs", files=parts(), timeout=20).json()["job_id"]
        found: list[tuple[int, list[dict[str, str]]]] = []
        reader = threading.Thread(target=lambda: found.append(read_events(f"{url}/api/jobs/{job_id}/events")))
        reader.start()
        time.sleep(1)
        process.terminate()
        _, said = process.communicate(timeout=15)
        reader.join(10)
    finally:
        process.kill()
    assert [event["event"] for event in found[0][1]] == ["status"], "it ended without an error"
    assert b'"level": "error"' not in said


def wait_for_metric(api: Api, line: str) -> None:
    deadline = time.monotonic() + 20
    while line not in (text := api.client.get("/metrics").text):
        assert time.monotonic() < deadline, text
        time.sleep(0.1)


def test_many_followers_cost_one_look_each_interval(embedded: Stack) -> None:
    with running_api(embedded) as api:
        job_id = api.submit()
        threads = [
            threading.Thread(target=read_events, args=(f"{api.url}/api/jobs/{job_id}/events",)) for _ in range(30)
        ]
        for thread in threads:
            thread.start()
        wait_for_metric(api, "meshwright_event_streams 30.0")
        api.complete(job_id)
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        wait_for_metric(api, "meshwright_event_streams 0.0")


PATHS = (
    ("GET", "/api/jobs/{}"),
    ("GET", "/api/jobs/{}/events"),
    ("POST", "/api/jobs/{}/cancel"),
    ("GET", "/api/jobs/{}/download"),
    ("GET", "/api/jobs/{}/files"),
    ("GET", "/api/jobs/{}/files/nvdiffrec/mesh.glb"),
)
STRANGE_IDS = ("aaaaaaaa", "AAAAAAAA", "a", "a" * 300, "%00%00", "a'--%20%20", "%F0%9F%98%80", "..%2f..")


def test_unknown_jobs(api: Api) -> None:
    for method, path in PATHS:
        for job_id in STRANGE_IDS:
            body = {"confirm": True} if method == "POST" else None
            answer = api.client.request(method, path.format(job_id), json=body)
            assert answer.status_code == 404, (method, path, job_id)
            assert answer.json()["code"] == ("NOT_FOUND" if "%2f" in job_id else "JOB_NOT_FOUND")
