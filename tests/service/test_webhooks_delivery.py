"""Webhooks: signed, repeated with the same id, given up in the end, never sent to private addresses."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from meshwright.service.api.addresses import AddressError, check_url, checked_address
from meshwright.service.api.webhooks import WebhookSender, pause_before
from meshwright.service.store.tables import deliveries, webhooks
from service_api import Api, parts, problem, running_api
from service_stack import Stack

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URL = "https://hooks.example/meshwright?shop=1"


@pytest.fixture
def api(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    # The application's own sender stands still, so that each test decides when something is sent.
    monkeypatch.setattr(WebhookSender, "start", lambda _: None)
    monkeypatch.setattr(socket, "getaddrinfo", public_names(socket.getaddrinfo))
    with running_api(stack) as found:
        yield found


def public_names(real: Callable[..., Any]) -> Callable[..., Any]:
    def look(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "hooks.example":
            host = "93.184.215.14"
        elif host == "inside.example":
            host = "10.1.2.3"
        elif host == "both.example":
            return real("93.184.215.14", port, *args, **kwargs) + real("127.0.0.1", port, *args, **kwargs)
        elif isinstance(host, str) and host.endswith(".example"):
            raise socket.gaierror("no such name")
        return real(host, port, *args, **kwargs)

    return look


class Receiver:
    """Answers what it is told to, and remembers what came."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        status = self.statuses.pop(0) if self.statuses else 204
        if status == 0:
            raise httpx.ConnectError("refused")
        return httpx.Response(status, headers={"location": "http://127.0.0.1/secret"} if status == 302 else {})


def sender(api: Api, receiver: Receiver, **changes: Any) -> WebhookSender:
    settings = api.settings.model_copy(update=changes)
    return WebhookSender(api.jobs, settings, transport=httpx.MockTransport(receiver))


def rows(api: Api) -> list[Any]:
    return list(api.store.read(lambda connection: connection.execute(select(deliveries)).all()))


def make_due(api: Api) -> None:
    statement = update(deliveries).values(due_at=datetime.now(UTC) - timedelta(seconds=1))
    api.store.write(lambda connection: connection.execute(statement))


def submit(api: Api, url: str = URL, **form: str) -> str:
    return api.submit(webhook_url=url, webhook_secret=SECRET, **form)


@pytest.mark.parametrize("outcome", ["completed", "failed", "cancelled"])
def test_end_of_a_job_is_told_once_and_signed(api: Api, outcome: str) -> None:
    job_id = submit(api)
    if outcome == "completed":
        api.complete(job_id)
    elif outcome == "failed":
        api.fail(job_id)
    else:
        for confirm in (False, True):
            api.client.post(f"/api/jobs/{job_id}/cancel", json={"confirm": confirm})
    receiver = Receiver()
    post = sender(api, receiver)
    assert post.deliver_due() == 1
    assert post.deliver_due() == 0
    (request,) = receiver.requests
    body = Webhook(SECRET).verify(request.content, dict(request.headers))
    assert body["type"] == f"job.{outcome}"
    assert body["data"] == api.client.get(f"/api/jobs/{job_id}").json()
    assert request.headers["host"] == "hooks.example"
    # The checked address is called, under the name that its certificate must have.
    assert str(request.url) == "https://93.184.215.14/meshwright?shop=1"
    assert request.extensions["sni_hostname"] == "hooks.example"
    assert [row.state for row in rows(api)] == ["delivered"]


def test_repetitions_have_the_same_id_and_growing_pauses(api: Api) -> None:
    api.complete(submit(api))
    receiver = Receiver(500, 0, 302, 200)
    post = sender(api, receiver)
    pauses = []
    for _ in range(4):
        assert post.deliver_due() == 1
        assert post.deliver_due() == 0, "not due again at once"
        (row,) = rows(api)
        pauses.append((row.due_at - row.updated_at).total_seconds())
        make_due(api)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert len({request.content for request in receiver.requests}) == 1
    assert pauses[:3] == sorted(pauses[:3])
    (row,) = rows(api)
    assert (row.state, row.attempts, row.last_status) == ("delivered", 4, 200)
    assert post.deliver_due() == 0


@pytest.mark.parametrize(("statuses", "attempts"), [((500,) * 9, 3), ((410,), 1)])
def test_giving_up(api: Api, statuses: tuple[int, ...], attempts: int) -> None:
    api.complete(submit(api))
    post = sender(api, Receiver(*statuses), webhook_attempts=3)
    for _ in range(5):
        post.deliver_due()
        make_due(api)
    (row,) = rows(api)
    assert (row.state, row.attempts) == ("failed", attempts)


def test_two_senders_do_not_both_send(api: Api) -> None:
    for _ in range(4):
        api.complete(submit(api))
    receiver = Receiver()
    senders = [sender(api, receiver) for _ in range(4)]
    threads = [threading.Thread(target=post.deliver_due) for post in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for post in senders:
        post.deliver_due()
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == len(receiver.requests) == 4


def test_sender_that_died_is_made_up_for(api: Api) -> None:
    api.complete(submit(api))
    dead = sender(api, Receiver())
    (row,) = dead._due()
    assert dead._take(row) is not None  # and then the process ends
    receiver = Receiver()
    alive = sender(api, receiver)
    assert alive.deliver_due() == 0, "it may still be under way"
    make_due(api)
    assert alive.deliver_due() == 1
    assert len(receiver.requests) == 1


def test_clock_that_was_set_back_does_not_stop_deliveries(api: Api) -> None:
    api.complete(submit(api))
    statement = update(deliveries).values(due_at=datetime.now(UTC) + timedelta(days=4000))
    api.store.write(lambda connection: connection.execute(statement))
    assert sender(api, Receiver()).deliver_due() == 1


def test_name_that_leads_inside_later_is_refused_then(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name was public when the job was submitted, and points to a private address when the job ends."""
    api.complete(submit(api))
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: real("10.0.0.1" if host == "hooks.example" else host, *a, **k)
    )
    receiver = Receiver()
    assert sender(api, receiver).deliver_due() == 1
    assert receiver.requests == []
    (row,) = rows(api)
    assert row.state == "pending"
    assert "private" in row.last_error


def test_secret_is_made_where_none_is_given(api: Api) -> None:
    answer = api.client.post("/api/jobs", files=parts(), data={"webhook_url": URL})
    secret = answer.json()["webhook_secret"]
    job_id = answer.json()["job_id"]
    assert secret not in api.client.get(f"/api/jobs/{job_id}").text
    api.complete(job_id)
    receiver = Receiver()
    sender(api, receiver).deliver_due()
    Webhook(secret).verify(receiver.requests[0].content, dict(receiver.requests[0].headers))


def test_no_webhook_for_a_replayed_submission(api: Api) -> None:
    for _ in range(2):
        answer = api.client.post(
            "/api/jobs", files=parts(), data={"webhook_url": URL}, headers={"Idempotency-Key": "k"}
        )
    assert "webhook_secret" not in answer.json()
    assert len(api.store.read(lambda connection: connection.execute(select(webhooks)).all())) == 1


def test_forged_and_replayed_webhooks_are_told_by_the_receiver(api: Api) -> None:
    api.complete(submit(api))
    receiver = Receiver()
    sender(api, receiver).deliver_due()
    (request,) = receiver.requests
    headers = dict(request.headers)
    check = Webhook(SECRET).verify
    check(request.content, headers)
    forged = json.dumps({**json.loads(request.content), "type": "job.failed"}).encode()
    old = {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 3600)}
    for content, changed in (
        (forged, headers),
        (request.content, {**headers, "webhook-id": "msg_other"}),
        (request.content, {**headers, "webhook-signature": "v1,AAAA"}),
        (request.content, old),
        (request.content, {key: value for key, value in headers.items() if key != "webhook-signature"}),
    ):
        with pytest.raises(WebhookVerificationError):
            check(content, changed)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "A" * 32).verify(request.content, headers)


def test_sender_runs_beside_the_api(embedded: Stack) -> None:
    """All of it for real: the application's own thread, real HTTP, a receiver on loopback that is allowed."""
    received: list[tuple[bytes, dict[str, str]]] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            stream.readline()
            headers = {}
            while line := stream.readline().strip():
                name, _, value = line.decode().partition(": ")
                headers[name.lower()] = value
            received.append((stream.read(int(headers["content-length"])), headers))
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    with running_api(embedded, webhook_allow_private=True) as api:
        api.complete(submit(api, f"http://127.0.0.1:{listener.getsockname()[1]}/in"))
        thread.join(10)
        assert not thread.is_alive()
    listener.close()
    body, headers = received[0]
    Webhook(SECRET).verify(body, headers)


def test_pauses_grow() -> None:
    assert [round(pause_before(attempt) / base, 0) for attempt, base in ((1, 5), (2, 30), (3, 120), (30, 21600))] == [
        1.0
    ] * 4


PRIVATE = [
    "https://127.0.0.1/", "https://localhost/", "https://[::1]/", "https://10.0.0.1/", "https://192.168.1.1/",
    "https://172.16.0.1/", "https://169.254.169.254/latest/meta-data/", "https://[fe80::1]/", "https://[fd00::1]/",
    "https://0.0.0.0/", "https://[::]/", "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/",
    "https://127.1/", "https://[::ffff:127.0.0.1]/", "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/",
    "https://100.64.0.1/", "https://224.0.0.1/", "https://255.255.255.255/", "https://240.0.0.1/",
    "https://inside.example/", "https://both.example/", "https://198.18.0.1/", "https://127.0.0.1.:443/",
]  # fmt: skip


@pytest.mark.parametrize("url", PRIVATE)
def test_private_addresses_however_they_are_written(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", public_names(socket.getaddrinfo))
    with pytest.raises(AddressError):
        checked_address(url, allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/", "ftp://hooks.example/", "file:///etc/passwd", "gopher://hooks.example/",
        "hooks.example",
        "https://", "https:///x", "https://user:pw@hooks.example/", "https://hooks.example:0/", "https://hooks.example:x/",
        "https://hooks.example:99999/", "https://ho oks.example/", "https://hooks.example/\r\nX: y", "https://[::1",
        "https://hooks.example\\@127.0.0.1/", "https://h\u00f6oks.example/", "https://hooks.example/" + "a" * 2000, "",
        "javascript:alert(1)",
    ],
)  # fmt: skip
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(AddressError):
        check_url(url, allow_private=False)


def test_public_address_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", public_names(socket.getaddrinfo))
    target = checked_address("https://hooks.example:8443/a?b=c#d", allow_private=False)
    assert target.pinned_url == "https://93.184.215.14:8443/a?b=c"
    assert (target.host, target.host_header) == ("hooks.example", "hooks.example:8443")
    six = checked_address("https://[2606:4700:4700::1111]/", allow_private=False)
    assert six.pinned_url == "https://[2606:4700:4700::1111]:443/"


def test_private_webhook_is_refused_on_submission(api: Api) -> None:
    for url in ("https://127.0.0.1/", "https://inside.example/", "http://hooks.example/"):
        answer = api.client.post("/api/jobs", files=parts(), data={"webhook_url": url})
        assert "webhook_url" in problem(answer, 422, "VALIDATION_FAILED")["fields"]
    assert api.client.post("/api/jobs", files=parts(), data={"webhook_url": "https://new.example/"}).status_code == 202
    for secret in ("x", "whsec_", "whsec_AAAA", "whsec_" + "!" * 32, "whsec_" + "A" * 400):
        answer = api.client.post("/api/jobs", files=parts(), data={"webhook_url": URL, "webhook_secret": secret})
        assert "webhook_secret" in problem(answer, 422, "VALIDATION_FAILED")["fields"]
    answer = api.client.post("/api/jobs", files=parts(), data={"webhook_secret": SECRET})
    assert "webhook_secret" in problem(answer, 422, "VALIDATION_FAILED")["fields"]
    assert api.leftovers() == []
