"""What the page needs beyond submitting and following: thumbnails, live pictures, options, sessions, another run."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from PIL import Image

from meshwright.service.api.keys import create_key
from meshwright.service.jobs.presence import WorkerSeen
from service_api import Api, parts, png, problem, running_api
from service_stack import Stack


@pytest.fixture
def api(stack: Stack) -> Iterator[Api]:
    with running_api(stack) as found:
        yield found


def deep_png() -> bytes:
    """16-bit depth whose values all lie above 255."""
    buffer = io.BytesIO()
    ramp = np.linspace(1000, 4000, 64 * 48).reshape(48, 64).astype(np.uint16)
    Image.fromarray(ramp).save(buffer, "PNG")
    return buffer.getvalue()


def test_inputs_are_given_back_whole_and_small(api: Api) -> None:
    depth = [(f"{view}.png", deep_png()) for view in ("front", "back", "left", "right", "top", "bottom")]
    job_id = api.client.post("/api/jobs", files=parts(depth=depth)).json()["job_id"]
    whole = api.client.get(f"/api/jobs/{job_id}/inputs/views/front")
    assert (whole.status_code, whole.headers["content-type"], whole.content) == (200, "image/png", png(shade=0))
    small = api.client.get(f"/api/jobs/{job_id}/inputs/depth/front?width=160")
    with Image.open(io.BytesIO(small.content)) as image:
        assert (image.format, image.size) == ("WEBP", (64, 48))
        values = np.asarray(image.convert("L"))
    # Not clipped: the ramp is still one, from a quarter of the range to its end.
    assert abs(int(values[0, 0]) - 64) < 12 and abs(int(values[-1, -1]) - 255) < 12
    again = api.client.get(
        f"/api/jobs/{job_id}/inputs/depth/front?width=160", headers={"If-None-Match": small.headers["etag"]}
    )
    assert again.status_code == 304
    problem(api.client.get(f"/api/jobs/{job_id}/inputs/views/front?width=99999"), 422, "VALIDATION_FAILED")
    problem(api.client.get(f"/api/jobs/{job_id}/inputs/views/..%2Ffront"), 404, "NOT_FOUND")


def test_thumbnails_are_made_small(api: Api) -> None:
    views = [(f"{view}.png", png(700, 500)) for view in ("front", "back", "left", "right", "top", "bottom")]
    job_id = api.client.post("/api/jobs", files=parts(views)).json()["job_id"]
    for width, size in (("160", (160, 114)), ("480", (480, 343))):
        answer = api.client.get(f"/api/jobs/{job_id}/inputs/views/top", params={"width": width})
        with Image.open(io.BytesIO(answer.content)) as image:
            assert image.size == size


def test_places_in_the_queue_and_times(api: Api) -> None:
    first, second, third = api.submit(), api.submit(quality="draft"), api.submit()
    claim = api.jobs.claim(first, "tester")
    assert claim is not None
    api.jobs.advance(claim, 50, "reconviagen", "half of it")
    states = {job["job_id"]: job for job in api.client.get("/api/jobs").json()["jobs"]}
    assert [states[job]["queue_position"] for job in (first, second, third)] == [None, 1, 2]
    assert api.client.get(f"/api/jobs/{third}").json()["queue_position"] == 2
    running = api.client.get(f"/api/jobs/{first}").json()
    assert running["started_at"] and running["ended_at"] is None and running["seconds_left"] is not None
    assert states[second]["options"] == {"quality": "draft"}
    assert states[second]["has_depth"] is True
    with api.client.stream("GET", f"/api/jobs/{third}/events") as stream:
        data = next(line for line in stream.iter_lines() if line.startswith("data:"))
    assert json.loads(data[5:])["queue_position"] == 2


def test_delete(api: Api) -> None:
    job_id = api.submit(webhook_url="https://hooks.example/x")
    problem(api.client.delete(f"/api/jobs/{job_id}"), 409, "JOB_NOT_FINISHED")
    api.complete(job_id)
    assert api.client.delete(f"/api/jobs/{job_id}").status_code == 204
    problem(api.client.get(f"/api/jobs/{job_id}"), 404, "JOB_NOT_FOUND")
    problem(api.client.delete(f"/api/jobs/{job_id}"), 404, "JOB_NOT_FOUND")
    assert list(api.storage.list(f"jobs/{job_id}")) == []


def test_another_run_with_other_options(api: Api) -> None:
    job_id = api.submit(quality="draft")
    api.fail(job_id)
    answer = api.client.post(f"/api/jobs/{job_id}/rerun", json={"model_type": "both"})
    assert answer.status_code == 202, answer.text
    new = answer.json()["job_id"]
    assert answer.headers["location"] == f"/api/jobs/{new}"
    job = api.jobs.get(new)
    assert (job.model_type.value, job.options, len(job.inputs)) == ("both", {"quality": "draft"}, 12)
    assert api.queue.sent[-1] == new
    # The copy stands on its own.
    assert api.client.delete(f"/api/jobs/{job_id}").status_code == 204
    assert api.client.get(f"/api/jobs/{new}/inputs/views/front").content == png(shade=0)
    assert api.leftovers() == []
    problem(api.client.post(f"/api/jobs/{new}/rerun", json={"model_type": "magic"}), 422, "VALIDATION_FAILED")


def test_a_cancelled_job_has_no_pictures_left(api: Api) -> None:
    job_id = api.submit()
    for confirm in (False, True):
        api.client.post(f"/api/jobs/{job_id}/cancel", json={"confirm": confirm})
    problem(api.client.get(f"/api/jobs/{job_id}/inputs/views/front"), 410, "JOB_EXPIRED")
    problem(api.client.post(f"/api/jobs/{job_id}/rerun", json={}), 410, "JOB_EXPIRED")


def test_the_wish_to_cancel_can_be_taken_back(api: Api) -> None:
    job_id = api.submit()
    api.client.post(f"/api/jobs/{job_id}/cancel", json={"confirm": False})
    answer = api.client.delete(f"/api/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["cancel_requested"]) == (200, False)
    again = api.client.post(f"/api/jobs/{job_id}/cancel", json={"confirm": True})
    problem(again, 409, "CANCELLATION_NOT_REQUESTED")
    api.fail(job_id)
    problem(api.client.delete(f"/api/jobs/{job_id}/cancel"), 409, "JOB_FINISHED")


def test_live_pictures(api: Api) -> None:
    job_id = api.submit(model_type="nvdiffrec")
    claim = api.jobs.claim(job_id, "tester")
    assert claim is not None
    listed = f"/api/jobs/{job_id}/live"
    assert api.client.get(listed).json() == {"job_id": job_id, "pictures": []}
    for name in ("live_02_shape.png", "live_01_views.png", "stage.npz", "live_x.png"):
        api.storage.put_stream(f"jobs/{job_id}/checkpoints/nvdiffrec/{name}", [png()])
    pictures = api.client.get(listed).json()["pictures"]
    assert [picture["title"] for picture in pictures] == ["views", "shape"]
    assert api.client.get(pictures[0]["url"]).content == png()
    for wrong in ("nvdiffrec/stage.npz", "nvdiffrec/live_09_shape.png", "reconviagen/live_01_views.png", "../x/y.png"):
        problem(api.client.get(f"{listed}/{wrong}"), 404, "NOT_FOUND")
    api.jobs.complete(claim)
    assert api.client.get(listed).json()["pictures"] == []


def test_options_and_what_they_cost(embedded: Stack) -> None:
    with running_api(embedded, quality="draft") as api:
        job_id = api.submit()
        api.complete(job_id)
        api.upkeep.workers[:] = [without_weights(api.upkeep.workers[0], "reconviagen")]
        offer = api.client.get("/api/options").json()
        assert (offer["default_quality"], offer["device"]) == ("draft", "test")
        models = {model["name"]: model for model in offer["models"]}
        assert list(models) == ["reconviagen", "nvdiffrec", "both"]
        assert models["nvdiffrec"]["ready"] is True
        assert models["reconviagen"]["ready"] is False and "weights fetch" in models["reconviagen"]["message"]
        assert models["both"]["ready"] is True and "left out" in models["both"]["message"]
        assert set(models["reconviagen"]["seconds"]) == {"draft"}
        assert models["nvdiffrec"]["seconds"] == {}
        assert 1 == models["reconviagen"]["relative_time"] < models["nvdiffrec"]["relative_time"]
        assert models["both"]["relative_time"] > models["nvdiffrec"]["relative_time"]
        assert [quality["name"] for quality in offer["qualities"]] == ["draft", "standard", "high"]
        assert offer["limits"]["max_file_bytes"] == 20 * 1024 * 1024
        api.upkeep.workers[:] = [WorkerSeen(worker_id="w2", about={})]
        assert {model["ready"] for model in api.client.get("/api/options").json()["models"]} == {False}
        api.upkeep.workers.clear()
        assert {model["ready"] for model in api.client.get("/api/options").json()["models"]} == {None}


def test_what_no_worker_can_run_is_refused_in_words(embedded: Stack) -> None:
    with running_api(embedded) as api:
        job_id = api.submit()
        api.complete(job_id)
        api.upkeep.workers[:] = [without_weights(api.upkeep.workers[0], "reconviagen")]
        for answer in (
            api.client.post("/api/jobs", files=parts(), data={"model_type": "reconviagen"}),
            api.client.post(f"/api/jobs/{job_id}/rerun", json={"model_type": "reconviagen"}),
        ):
            body = problem(answer, 503, "WEIGHTS_NOT_INSTALLED")
            assert "weights fetch" in body["detail"]
        # `both` uses what is installed; with nobody to ask, jobs wait.
        assert api.client.post("/api/jobs", files=parts(), data={"model_type": "both"}).status_code == 202
        api.upkeep.workers.clear()
        assert api.client.post("/api/jobs", files=parts(), data={"model_type": "reconviagen"}).status_code == 202


def without_weights(worker: WorkerSeen, name: str) -> WorkerSeen:
    """The same worker, which has lost the weights of one model."""
    lost = {"name": name, "ready": False, "message": "They are missing: run `meshwright weights fetch large`."}
    models = [lost if state["name"] == name else state for state in worker.about["models"]]
    return WorkerSeen(worker_id=worker.worker_id, about={**worker.about, "models": models})


def test_sessions(embedded: Stack) -> None:
    with running_api(embedded, auth="on") as api:
        record, token = create_key(api.store, "laptop", ["submit"])
        assert api.client.get("/api/session").json()["keys_required"] is True
        assert api.client.get("/api/session").json()["signed_in"] is False
        problem(api.client.get("/api/jobs"), 401, "UNAUTHORIZED")
        problem(api.client.post("/api/session", json={"key": "mw_wrong"}), 401, "UNAUTHORIZED")
        answer = api.client.post("/api/session", json={"key": token})
        assert answer.json() == {"keys_required": True, "signed_in": True, "name": "laptop", "scopes": ["submit"]}
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie
        assert api.client.get("/api/jobs").status_code == 200  # the cookie goes along from here on
        # Whatever another site makes a browser send cannot carry this header.
        problem(api.client.post("/api/jobs", files=parts()), 403, "UNAUTHORIZED")
        ours = {"X-Meshwright-Page": "1"}
        job_id = api.client.post("/api/jobs", files=parts(), headers=ours).json()["job_id"]
        assert api.jobs.get(job_id).owner_key == record.key_id
        problem(api.client.delete(f"/api/jobs/{job_id}"), 403, "UNAUTHORIZED")
        assert api.client.delete("/api/session").status_code == 204
        problem(api.client.get("/api/jobs"), 401, "UNAUTHORIZED")


def test_wrong_keys_are_counted(embedded: Stack) -> None:
    with running_api(embedded, auth="on") as api:
        answers = [api.client.post("/api/session", json={"key": f"mw_{n}"}).status_code for n in range(22)]
        assert answers[0] == 401 and answers[-1] == 429


def test_without_keys_there_is_nothing_to_sign_in_to(embedded: Stack) -> None:
    with running_api(embedded) as api:
        answer = api.client.post("/api/session", json={"key": "anything"})
        assert answer.json() == {"keys_required": False, "signed_in": True, "name": None, "scopes": []}
        assert "set-cookie" not in answer.headers


def test_the_page_and_its_policy(embedded: Stack) -> None:
    with running_api(embedded) as api:
        answer = api.client.get("/")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy and "http" not in policy and "default-src 'none'" in policy
        assert answer.headers["content-encoding"] == "gzip"
        plain = httpx.get(f"{api.url}/", headers={"Accept-Encoding": "identity"}, trust_env=False)
        assert plain.text == answer.text and "<script>" not in plain.text and " style=" not in plain.text
        assert api.client.get("/", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
        assert "three.js" in api.client.get("/licences.txt").text
        problem(api.client.get("/assets/nothing.js"), 404, "NOT_FOUND")
        problem(api.client.get("/assets/..%2Findex.html"), 404, "NOT_FOUND")
        problem(api.client.post("/"), 405, "METHOD_NOT_ALLOWED")
