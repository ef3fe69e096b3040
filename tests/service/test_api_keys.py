"""Keys, scopes, other people's jobs, and limits."""

from __future__ import annotations

import threading

import httpx
import pytest
from sqlalchemy import select

from meshwright.errors import OptionError
from meshwright.service.api.keys import check_key, create_key, list_keys, revoke_key
from meshwright.service.store import open_store
from meshwright.service.store.tables import keys as table
from service_api import Api, parts, problem, running_api
from service_stack import Stack


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def submit(api: Api, token: str) -> httpx.Response:
    return api.client.post("/api/jobs", files=parts(), headers=bearer(token))


def test_key_is_kept_as_a_hash(stack: Stack) -> None:
    store = open_store(stack.settings())
    record, token = create_key(store, "shop", ["submit"])
    assert token.startswith(f"mw_{record.key_id}_")
    row = store.read(lambda connection: connection.execute(select(table)).one())
    assert token not in repr(row)
    assert token.rsplit("_", 1)[1] not in repr(row)
    found = check_key(store, token)
    assert found is not None
    assert found.key_id == record.key_id
    assert [key.name for key in list_keys(store)] == ["shop"]
    for wrong in (token[:-1] + ("a" if token[-1] != "a" else "b"), token[:-1], token + "a", "", "mw__", "mw_\u00e9"):
        assert check_key(store, wrong) is None
    revoked = revoke_key(store, record.key_id)
    assert revoked is not None
    assert revoked.revoked_at is not None
    assert check_key(store, token) is None
    assert revoke_key(store, "nobody") is None
    store.close()


@pytest.mark.parametrize(
    ("name", "scopes", "limits"),
    [
        ("", ["read"], {}),
        ("x" * 201, ["read"], {}),
        ("x", ["write"], {}),
        ("x", [], {}),
        ("x", ["read"], {"rate": "1/minute"}),
        ("x", ["read"], {"rate_read": "fast"}),
        ("x", ["read"], {"queue_depth": 0}),
    ],
)
def test_keys_that_make_no_sense(embedded: Stack, name: str, scopes: list[str], limits: dict[str, object]) -> None:
    store = open_store(embedded.settings())
    with pytest.raises(OptionError):
        create_key(store, name, scopes, limits=limits)
    assert list_keys(store) == []
    store.close()


def test_keys_are_asked_for_unless_bound_to_loopback(embedded: Stack) -> None:
    assert not embedded.settings(host="127.0.0.1").auth_required
    assert not embedded.settings(host="::1").auth_required
    assert embedded.settings(host="0.0.0.0").auth_required
    assert embedded.settings(host="127.0.0.1", auth="on").auth_required


def test_without_a_key(stack: Stack) -> None:
    with running_api(stack, auth="on") as api:
        for method, path in (
            ("POST", "/api/jobs"),
            ("GET", "/api/jobs"),
            ("GET", "/api/jobs/aaaaaaaa"),
            ("GET", "/api/jobs/aaaaaaaa/events"),
            ("POST", "/api/jobs/aaaaaaaa/cancel"),
            ("GET", "/api/jobs/aaaaaaaa/download"),
            ("GET", "/api/jobs/aaaaaaaa/files"),
            ("GET", "/api/jobs/aaaaaaaa/files/m/n"),
            ("GET", "/health"),
            ("GET", "/metrics"),
        ):
            answer = api.client.request(method, path)
            problem(answer, 401, "UNAUTHORIZED")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        for path in ("/health/live", "/health/ready", "/docs", "/openapi.json"):
            assert api.client.get(path).status_code == 200
        for header in ("Bearer", "Basic eDp5", "Bearer mw_aaaaaaaaaaaa_" + "a" * 43, "mw_x", "Bearer a b"):
            problem(api.client.get("/api/jobs", headers={"Authorization": header}), 401, "UNAUTHORIZED")


def test_scopes(stack: Stack) -> None:
    with running_api(stack, auth="on") as api:
        token = {scope: create_key(api.store, scope, [scope])[1] for scope in ("read", "submit", "admin")}
        problem(submit(api, token["read"]), 403, "UNAUTHORIZED")
        problem(api.client.get("/metrics", headers=bearer(token["submit"])), 403, "UNAUTHORIZED")
        cancel = api.client.post("/api/jobs/aaaaaaaa/cancel", json={"confirm": True}, headers=bearer(token["read"]))
        problem(cancel, 403, "UNAUTHORIZED")
        assert api.client.get("/api/jobs", headers=bearer(token["read"])).status_code == 200
        assert submit(api, token["submit"]).status_code == 202
        assert submit(api, token["admin"]).status_code == 202
        assert api.client.get("/metrics", headers=bearer(token["admin"])).status_code == 200
        assert {key.name for key in list_keys(api.store) if key.last_used_at is not None} == {"read", "submit", "admin"}


def test_other_peoples_jobs_are_not_there(stack: Stack) -> None:
    with running_api(stack, auth="on") as api:
        _, anna = create_key(api.store, "anna", ["submit"])
        _, ben = create_key(api.store, "ben", ["submit"])
        _, boss = create_key(api.store, "boss", ["admin"])
        job_id = submit(api, anna).json()["job_id"]
        api.complete(job_id)
        never = "zzzzzzzz"
        for method, path in (
            ("GET", ""),
            ("GET", "/events"),
            ("POST", "/cancel"),
            ("GET", "/download"),
            ("GET", "/files"),
            ("GET", "/files/reconviagen/mesh.glb"),
        ):
            body = {"confirm": False} if method == "POST" else None
            answers = [
                api.client.request(method, f"/api/jobs/{name}{path}", json=body, headers=bearer(ben))
                for name in (job_id, never)
            ]
            for answer in answers:
                problem(answer, 404, "JOB_NOT_FOUND")
            # Nothing tells a foreign job from one that never was.
            assert answers[0].text.replace(job_id, never) == answers[1].text
        assert api.client.get("/api/jobs", headers=bearer(ben)).json()["jobs"] == []
        for token in (anna, boss):
            assert api.client.get(f"/api/jobs/{job_id}", headers=bearer(token)).status_code == 200
            assert len(api.client.get("/api/jobs", headers=bearer(token)).json()["jobs"]) == 1


def test_idempotency_keys_of_two_owners_do_not_meet(stack: Stack) -> None:
    with running_api(stack, auth="on") as api:
        ids = set()
        for name in ("anna", "ben"):
            _, token = create_key(api.store, name, ["submit"])
            headers = {**bearer(token), "Idempotency-Key": "same"}
            ids.add(api.client.post("/api/jobs", files=parts(), headers=headers).json()["job_id"])
        assert len(ids) == 2


def test_revoked_key_stops_at_once(stack: Stack) -> None:
    with running_api(stack, auth="on") as api:
        record, token = create_key(api.store, "x", ["read"])
        assert api.client.get("/api/jobs", headers=bearer(token)).status_code == 200
        revoke_key(api.store, record.key_id)
        problem(api.client.get("/api/jobs", headers=bearer(token)), 401, "UNAUTHORIZED")


def test_rate_of_submissions(stack: Stack) -> None:
    with running_api(stack, rate_submit="3/minute") as api:
        for _ in range(3):
            api.submit()
        answer = api.client.post("/api/jobs", files=parts())
        problem(answer, 429, "RATE_LIMITED")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert api.client.get("/api/jobs").status_code == 200, "reading has a limit of its own"
        assert api.leftovers() == []


def test_rate_of_a_key_is_its_own(stack: Stack) -> None:
    with running_api(stack, auth="on", rate_read="100/minute") as api:
        _, slow = create_key(api.store, "slow", ["read"], limits={"rate_read": "2/minute"})
        _, other = create_key(api.store, "other", ["read"])
        codes = [api.client.get("/api/jobs", headers=bearer(slow)).status_code for _ in range(4)]
        assert codes == [200, 200, 429, 429]
        assert api.client.get("/api/jobs", headers=bearer(other)).status_code == 200


def test_guessing_keys_is_slowed_down(embedded: Stack) -> None:
    with running_api(embedded, auth="on") as api:
        codes = [
            api.client.get("/api/jobs", headers=bearer(f"mw_aaaaaaaaaaaa_{number:043d}")).status_code
            for number in range(25)
        ]
        assert codes == [401] * 20 + [429] * 5


def test_depth_of_the_queue(stack: Stack) -> None:
    with running_api(stack, queue_depth=2) as api:
        first = api.submit()
        api.submit()
        answer = api.client.post("/api/jobs", files=parts())
        problem(answer, 429, "RATE_LIMITED")
        assert "retry-after" in answer.headers
        api.fail(first)
        api.submit()
        assert api.leftovers() == []


def test_depth_holds_also_for_many_at_once(embedded: Stack) -> None:
    with running_api(embedded, queue_depth=3) as api:
        files = parts()
        codes: list[int] = []

        def send() -> None:
            codes.append(httpx.post(f"{api.url}/api/jobs", files=files, timeout=30).status_code)

        threads = [threading.Thread(target=send) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(codes) == [202] * 3 + [429] * 7
        assert api.leftovers() == []


def test_limits_are_shared_through_redis_and_survive_its_absence(stack: Stack) -> None:
    if stack.redis is None:
        pytest.skip("counted in one process without Redis")
    with running_api(stack, rate_read="4/minute") as one, running_api(stack, rate_read="4/minute") as two:
        codes = [api.client.get("/api/jobs").status_code for api in (one, two) * 3]
        assert codes == [200] * 4 + [429] * 2


def test_limits_without_a_redis_that_should_be_there(embedded: Stack) -> None:
    with running_api(embedded, broker_url="redis://127.0.0.1:1/0", rate_read="3/minute") as api:
        codes = [api.client.get("/api/jobs").status_code for _ in range(5)]
        assert codes == [200] * 3 + [429] * 2
