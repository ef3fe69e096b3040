"""Requests that mean harm, in one table: each has an exact status and code, and leaves nothing on disk."""

from __future__ import annotations

import io
import json
import socket
import stat
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from meshwright.service.api.keys import create_key
from meshwright.service.api.webhooks import WebhookSender
from meshwright.types import VIEW_NAMES
from service_api import Api, chunk, header_png, parts, png, running_api
from service_stack import Stack

Outcome = tuple[int, str]
Send = Callable[[Api], Outcome]

GOOD = png()
MAX_FILE_MB, MAX_TOTAL_MB = 1, 2


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One API for the whole table, with small limits and little patience."""
    folder = tmp_path_factory.mktemp("hostile")
    stack = Stack(name="embedded", folder=folder, env={"MESHWRIGHT_DATA_DIR": str(folder / "data")})
    limits = {"max_file_mb": MAX_FILE_MB, "max_total_mb": MAX_TOTAL_MB, "upload_stall_s": 0.6, "upload_timeout_s": 2}
    with running_api(stack, auth="on", min_free_mb=1, **limits) as found:
        _, token = create_key(found.store, "tester", ["submit"])
        found.client.headers["Authorization"] = f"Bearer {token}"
        yield found


# --- how requests are made --------------------------------------------------------------------------------------------


def outcome(answer: httpx.Response) -> Outcome:
    if answer.headers.get("content-type") == "application/problem+json":
        for secret in ("Traceback", "/tmp/", "site-packages"):
            assert secret not in answer.text
        return answer.status_code, answer.json()["code"]
    return answer.status_code, ""


def post(files: Any = None, data: Any = None, **options: Any) -> Send:
    return lambda api: outcome(api.client.post("/api/jobs", files=files, data=data, **options))


def view(data: bytes, name: str = "front.png") -> Send:
    """Eleven good files and one that is not."""
    views = [(name, data), *((f"{view}.png", GOOD) for view in VIEW_NAMES[1:])]
    return post(parts(views=views))


def archive(data: bytes) -> Send:
    return post({"archive": ("a.zip", data, "application/zip")})


def get(path: str, **headers: str) -> Send:
    return lambda api: outcome(api.client.get(path, headers=headers))


def cancel(content: bytes, **headers: str) -> Send:
    def send(api: Api) -> Outcome:
        return outcome(
            api.client.post(
                "/api/jobs/aaaaaaaa/cancel", content=content, headers={"content-type": "application/json", **headers}
            )
        )

    return send


def raw(*pieces: bytes | float, path: str = "/api/jobs", method: str = "POST") -> Send:
    """Bytes as they are, after the first line; numbers are pauses in seconds."""

    def send(api: Api) -> Outcome:
        address = httpx.URL(api.url)
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {api.client.headers['Authorization']}\r\n"
        with socket.create_connection((address.host, address.port or 80), timeout=10) as connection:
            try:
                connection.sendall(head.encode())
                for piece in pieces:
                    if isinstance(piece, bytes):
                        connection.sendall(piece)
                    else:
                        time.sleep(piece)
            except OSError:
                pass  # it was answered before the end, and then the line was cut
            text = b""
            try:
                while b"\r\n\r\n" not in text or not _whole(text):
                    found = connection.recv(65536)
                    if not found:
                        break
                    text += found
            except OSError:
                pass
        top, _, body = text.partition(b"\r\n\r\n")
        status = int(top.split()[1])
        return status, json.loads(body)["code"] if b"application/problem+json" in top else ""

    return send


def _whole(text: bytes) -> bool:
    top, _, body = text.partition(b"\r\n\r\n")
    for line in top.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.split(b":")[1])
    return False


def form(body: bytes, content_type: str = "multipart/form-data; boundary=b") -> Send:
    """A body of our own making."""
    return lambda api: outcome(
        api.client.post("/api/jobs", content=body, headers={"content-type": content_type} if content_type else {})
    )


def part(head: str, body: bytes = b"x") -> bytes:
    return f"--b\r\n{head}\r\n\r\n".encode() + body + b"\r\n--b--\r\n"


MULTIPART = b"Content-Type: multipart/form-data; boundary=b\r\n"
OPENING = b'--b\r\nContent-Disposition: form-data; name="views"; filename="front.png"\r\n\r\n'


def chunked(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


# --- what they are made of --------------------------------------------------------------------------------------------


def zipped(files: dict[str, bytes] | None = None, *, method: int = zipfile.ZIP_DEFLATED, **extra: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as target:
        for name, data in ({f"views/{v}.png": GOOD for v in VIEW_NAMES} if files is None else files).items():
            target.writestr(name, data)
        for name, data in extra.items():
            target.writestr(name, data)
    return buffer.getvalue()


def with_entry(name: str, data: bytes = GOOD, mode: int = 0) -> bytes:
    buffer = io.BytesIO(zipped())
    with zipfile.ZipFile(buffer, "a") as target:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        target.writestr(info, data)
    return buffer.getvalue()


def lying_zip() -> bytes:
    """The directory says 100 bytes, the entry unpacks to two million."""
    data = zipped({f"views/{v}.png": b"\0" * (2_000_000 if v == "front" else 100) for v in VIEW_NAMES})
    return data.replace(struct.pack("<I", 2_000_000), struct.pack("<I", 100))


def encrypted_zip() -> bytes:
    data = bytearray(zipped())
    for start in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
        data[start] |= 1
    return bytes(data)


def crowded_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for number in range(6000):
            target.writestr(f"{number}.txt", b"")
    return buffer.getvalue()


def countless_zip() -> bytes:
    """Claims a directory of four gigabytes."""
    return zipped()[:-22] + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def twice_zip() -> bytes:
    buffer = io.BytesIO(zipped())
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(buffer, "a") as target:
        target.writestr("views/front.png", GOOD)
    return buffer.getvalue()


def animated() -> bytes:
    return GOOD[:33] + chunk(b"acTL", struct.pack(">II", 2, 0)) + GOOD[33:]


def many_chunks() -> bytes:
    return GOOD[:33] + chunk(b"tEXt", b"") * 70_000 + GOOD[33:]


def deep_json() -> bytes:
    return b'{"confirm": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"


def webhook(url: str) -> Send:
    return post(parts(), {"webhook_url": url})


def nothing_outside(api: Api) -> Outcome:
    """Names that lead elsewhere are only looked at; the files get names of our own."""
    names = ["../../../front.png", "/etc/back.png", "..\\left.png", "C:\\right.png", "top\0.png", "~/bottom.png"]
    answer = api.client.post("/api/jobs", files=parts(views=[(name, GOOD) for name in names]))
    job_id = answer.json()["job_id"]
    keys = {item.key for item in api.storage.list(f"jobs/{job_id}")}
    assert keys == {f"jobs/{job_id}/{kind}/{view}.png" for kind in ("views", "depth") for view in VIEW_NAMES}
    return outcome(answer)


def sender_leaves(api: Api) -> Outcome:
    """A connection that is cut within the body; nobody is there to be answered."""
    address = httpx.URL(api.url)
    with socket.create_connection((address.host, address.port or 80), timeout=10) as connection:
        head = f"POST /api/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: {api.client.headers['Authorization']}\r\n"
        connection.sendall(head.encode() + MULTIPART + b"Content-Length: 100000\r\n\r\n" + OPENING + GOOD)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    deadline = time.monotonic() + 5
    while api.leftovers() and time.monotonic() < deadline:
        time.sleep(0.05)
    return 0, ""


def foreign_job(path: str, method: str = "GET") -> Send:
    def send(api: Api) -> Outcome:
        _, other = create_key(api.store, "somebody else", ["submit"])
        headers = {"Authorization": f"Bearer {other}"}
        job_id = api.submit()
        api.complete(job_id)
        body = {"confirm": True} if method == "POST" else None
        return outcome(api.client.request(method, f"/api/jobs/{job_id}{path}", headers=headers, json=body))

    return send


def key(header: str) -> Send:
    return lambda api: outcome(httpx.get(f"{api.url}/api/jobs", headers={"Authorization": header}))


def captured(change: Callable[[dict[str, str], bytes], tuple[dict[str, str], bytes]]) -> Send:
    """A delivery, caught on its way and changed, as a receiver judges it."""

    def send(api: Api) -> Outcome:
        answer = api.client.post("/api/jobs", files=parts(), data={"webhook_url": "https://93.184.215.14/"})
        api.fail(answer.json()["job_id"])
        caught: list[httpx.Request] = []

        def receive(request: httpx.Request) -> httpx.Response:
            caught.append(request)
            return httpx.Response(204)

        WebhookSender(api.jobs, api.settings, transport=httpx.MockTransport(receive)).deliver_due()
        secret = answer.json()["webhook_secret"]
        headers, body = change(dict(caught[-1].headers), caught[-1].read())
        try:
            Webhook(secret).verify(body, headers)
        except WebhookVerificationError:
            return 401, "refused by the receiver"
        return 204, "taken by the receiver"

    return send


def hour_old(headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
    return {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 3600)}, body


def other_body(headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
    return headers, body.replace(b"failed", b"completed")


def other_id(headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
    return {**headers, "webhook-id": "msg_mine"}, body


BAD_FORM, BAD_FILE, BAD_COUNT, TOO_LARGE = (
    (422, "VALIDATION_FAILED"),
    (422, "INVALID_FILE_FORMAT"),
    (422, "INVALID_FILE_COUNT"),
    (422, "FILE_TOO_LARGE"),
)
BODY_TOO_LARGE, TOO_SLOW, WRONG_TYPE = (
    (413, "FILE_TOO_LARGE"),
    (408, "TIME_LIMIT_EXCEEDED"),
    (415, "UNSUPPORTED_MEDIA_TYPE"),
)
NO_JOB, NOWHERE, NO_KEY, NOT_HTTP = (404, "JOB_NOT_FOUND"), (404, "NOT_FOUND"), (401, "UNAUTHORIZED"), (400, "")

TABLE: dict[str, tuple[Send, Outcome]] = {
    # bombs
    "png of 900 megapixels": (view(header_png(30_000, 30_000)), BAD_FILE),
    "png wider than anything": (view(header_png(2**31 - 1, 1)), BAD_FILE),
    "png of seventy thousand chunks": (lambda api: view(many_chunks())(api), BAD_FILE),
    "zip bomb": (archive(zipped({"views/front.png": b"\0" * 30_000_000})), BAD_FILE),
    "zip that lies about sizes": (archive(lying_zip()), BAD_FILE),
    "zip in a zip": (archive(with_entry("inner.zip", zipped())), BAD_FILE),
    "zip of 6,000 entries": (archive(crowded_zip()), BAD_COUNT),
    "zip that claims a directory of 4 GB": (archive(countless_zip()), BAD_FILE),
    "compressed body": (
        lambda api: outcome(
            api.client.post(
                "/api/jobs",
                content=b"\x1f\x8b\x08\0" * 10,
                headers={"content-type": "multipart/form-data; boundary=b", "content-encoding": "gzip"},
            )
        ),
        WRONG_TYPE,
    ),
    "json nested 30,000 deep": (cancel(deep_json()), BAD_FORM),
    "json of a megabyte": (cancel(b'{"confirm": true, "x": "' + b"a" * 1_000_000 + b'"}'), BODY_TOO_LARGE),
    # truncated, polyglot, something else
    "empty file": (view(b""), BAD_FILE),
    "signature alone": (view(GOOD[:8]), BAD_FILE),
    "png cut in its pixels": (view(GOOD[:-20]), BAD_FILE),
    "png with a damaged header": (view(GOOD[:20] + b"\xff" + GOOD[21:]), BAD_FILE),
    "png without pixels": (view(GOOD[:33] + chunk(b"IEND", b"")), BAD_FILE),
    "png that is also a zip": (view(GOOD + zipped()), BAD_FILE),
    "png with a script behind it": (view(GOOD + b"<script>alert(1)</script>"), BAD_FILE),
    "animated png": (view(animated()), BAD_FILE),
    "picture of 8 x 8": (view(header_png(8, 8)), BAD_FILE),
    "jpeg called png": (view(b"\xff\xd8\xff\xe0" + bytes(100)), BAD_FILE),
    "html called png": (view(b"<html><script>"), BAD_FILE),
    "svg called png": (view(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), BAD_FILE),
    "text called png": (view(b"hello"), BAD_FILE),
    # names and paths
    "names that lead elsewhere": (nothing_outside, (202, "")),
    "zip entry ../../front.png": (archive(with_entry("../../front.png")), BAD_FILE),
    "zip entry /etc/front.png": (archive(with_entry("/etc/front.png")), BAD_FILE),
    "zip entry C:\\front.png": (archive(with_entry("C:\\front.png")), BAD_FILE),
    "zip entry that is a link": (archive(with_entry("x.png", b"/etc/passwd", stat.S_IFLNK | 0o777)), BAD_FILE),
    "zip with two files of a name": (archive(twice_zip()), BAD_FILE),
    "encrypted zip": (archive(encrypted_zip()), BAD_FILE),
    "zip cut short": (archive(zipped()[:-30]), BAD_FILE),
    "no zip at all": (archive(b"PK is not enough"), BAD_FILE),
    "zip with bad pictures": (archive(zipped({f"{v}.png": b"x" for v in VIEW_NAMES})), BAD_FILE),
    "path that climbs": (raw(b"\r\n", path="/api/jobs/../../../etc/passwd", method="GET"), NOWHERE),
    "path that climbs, encoded": (get("/api/jobs/%2e%2e%2f%2e%2e%2fetc%2fpasswd"), NOWHERE),
    "file name that climbs": (get("/api/jobs/aaaaaaaa/files/m/..%2f..%2f..%2fmeshwright.sqlite3"), NO_JOB),
    "path with a NUL": (get("/api/jobs/%00"), NO_JOB),
    "path with half a percent sign": (raw(b"\r\n", path="/api/jobs/%", method="GET"), NO_JOB),
    # too much
    "file over its limit": (view(GOOD + bytes(int(MAX_FILE_MB * 2**20))), TOO_LARGE),
    "body over the limit, announced": (raw(MULTIPART + b"Content-Length: 99999999999\r\n\r\n"), BODY_TOO_LARGE),
    "body over the limit, not announced": (
        raw(
            MULTIPART + b"Transfer-Encoding: chunked\r\n\r\n",
            *[chunked(OPENING + bytes(900_000) + b"\r\n") for _ in range(3)],
        ),
        BODY_TOO_LARGE,
    ),
    "text field of a megabyte": (post(parts(), {"model_type": "a" * 100_000}), BAD_FORM),
    "a hundred files": (post([("views", ("a.png", b"", "image/png"))] * 100), BAD_COUNT),
    "a thousand fields": (post(data={f"f{number}": "x" for number in range(1000)}, files=[parts()[0]]), BAD_FORM),
    "endless part header": (form(part("Content-Disposition: form-data; name=views; x=" + "a" * 90_000)), BAD_FORM),
    "a hundred part headers": (form(part("X: y\r\n" * 100 + "Content-Disposition: form-data; name=views")), BAD_FORM),
    "header of 200 KB": (raw(b"X: " + b"a" * 200_000 + b"\r\n\r\n", path="/health/live", method="GET"), NOT_HTTP),
    # too slow
    "upload that stalls": (raw(MULTIPART + b"Content-Length: 9999\r\n\r\n", OPENING, 1.0), TOO_SLOW),
    "upload that drips": (
        raw(MULTIPART + b"Content-Length: 9999\r\n\r\n", OPENING, *[item for _ in range(9) for item in (b"x", 0.3)]),
        TOO_SLOW,
    ),
    "sender that leaves": (sender_leaves, (0, "")),
    # missing parts and wrong types
    "nothing but a form": (form(b"--b--\r\n"), BAD_COUNT),
    "five views": (post(parts(views=[(f"{v}.png", GOOD) for v in VIEW_NAMES[:5]])), BAD_COUNT),
    "seven views": (post([*parts(), parts()[0]]), BAD_COUNT),
    "no depth renders": (post(parts(depth=[])), BAD_COUNT),
    "zip with five views": (archive(zipped({f"{v}.png": GOOD for v in VIEW_NAMES[:5]})), BAD_COUNT),
    "zip with no picture": (archive(zipped({"readme.txt": b"hello"})), BAD_COUNT),
    "zip beside views": (post([*parts(), ("archive", ("a.zip", zipped(), "application/zip"))]), BAD_COUNT),
    "no closing boundary": (form(OPENING + GOOD), BAD_FORM),
    "no boundary": (form(part("x"), "multipart/form-data"), BAD_FORM),
    "boundary of 200 characters": (form(part("x"), f"multipart/form-data; boundary={'b' * 200}"), BAD_FORM),
    "body that is not the form it claims": (form(b"\0\xff" * 500), BAD_FORM),
    "part without a name": (form(part("Content-Disposition: form-data")), BAD_FORM),
    "part without a disposition": (form(part("Content-Type: image/png")), BAD_FORM),
    "part in base64": (
        form(part("Content-Disposition: form-data; name=views\r\nContent-Transfer-Encoding: base64")), BAD_FORM,
    ),
    "json in place of a form": (form(b"{}", "application/json"), WRONG_TYPE),
    "urlencoded form": (form(b"views=1", "application/x-www-form-urlencoded"), WRONG_TYPE),
    "no content type": (form(b"x", ""), WRONG_TYPE),
    "unknown model": (post(parts(), {"model_type": "../../bin/sh"}), BAD_FORM),
    "model of control characters": (post(parts(), {"model_type": "both\0\x1b[31m"}), BAD_FORM),
    "model given twice": (post([*parts(), ("model_type", (None, b"both")), ("model_type", (None, b"both"))]), BAD_FORM),
    "model that is no text": (post([*parts(), ("model_type", (None, b"\xff\xfe"))]), BAD_FORM),
    "unknown lighting": (post(parts(), {"lighting": "noon"}), BAD_FORM),
    "light without a model for it": (post(parts(), {"model_type": "reconviagen", "lighting": "pbr"}), BAD_FORM),
    "unknown quality": (post(parts(), {"quality": "best"}), BAD_FORM),
    "unknown field": (post(parts(), {"owner_key": "admin"}), BAD_FORM),
    "confirm that is text": (cancel(b'{"confirm": "yes"}'), BAD_FORM),
    "confirm that is a number": (cancel(b'{"confirm": 1}'), BAD_FORM),
    "cancel with more than it takes": (cancel(b'{"confirm": true, "owner": null}'), BAD_FORM),
    "cancel with a list": (cancel(b"[]"), BAD_FORM),
    "cancel that is not UTF-8": (cancel(b'{"confirm": "\xff"}'), BAD_FORM),
    "cancel without a body": (cancel(b""), BAD_FORM),
    "page of no jobs": (get("/api/jobs?limit=0"), BAD_FORM),
    "page of a million": (get("/api/jobs?limit=1000000"), BAD_FORM),
    "cursor with SQL in it": (get("/api/jobs?cursor=j1%27%20OR%201=1--"), BAD_FORM),
    "cursor beyond all numbers": (get("/api/jobs?cursor=jffffffffffffffff"), BAD_FORM),
    "unknown status": (get("/api/jobs?status=deleted"), BAD_FORM),
    # header tricks
    "length that is no number": (raw(MULTIPART + b"Content-Length: ten\r\n\r\n"), NOT_HTTP),
    "two lengths": (raw(MULTIPART + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), NOT_HTTP),
    "negative length": (raw(MULTIPART + b"Content-Length: -5\r\n\r\n"), NOT_HTTP),
    "unknown transfer encoding": (raw(MULTIPART + b"Transfer-Encoding: chunked, xchunked\r\n\r\n0\r\n\r\n"), NOT_HTTP),
    "header name with a space": (raw(b"Bad Header: x\r\n\r\n", path="/health/live", method="GET"), NOT_HTTP),
    "idempotency key with a space": (post(parts(), headers={"Idempotency-Key": "a b"}), BAD_FORM),
    "idempotency key of 300 characters": (post(parts(), headers={"Idempotency-Key": "k" * 300}), BAD_FORM),
    "method in a header": (get("/api/jobs/aaaaaaaa", **{"X-HTTP-Method-Override": "DELETE"}), NO_JOB),
    "unknown method": (
        lambda api: outcome(api.client.request("PROPFIND", "/api/jobs")), (405, "METHOD_NOT_ALLOWED"),
    ),
    "trace": (lambda api: outcome(api.client.request("TRACE", "/api/jobs")), (405, "METHOD_NOT_ALLOWED")),
    "event id that is no number": (get("/api/jobs/aaaaaaaa/events", **{"Last-Event-ID": "9" * 400}), NO_JOB),
    "a thousand ranges": (
        get("/api/jobs/aaaaaaaa/download", Range="bytes=" + ",".join(f"{n}-{n}" for n in range(1000))), NO_JOB,
    ),
    # who asks
    "no key": (lambda api: outcome(httpx.get(f"{api.url}/api/jobs")), NO_KEY),
    "made-up key": (key("Bearer mw_aaaaaaaaaaaa_" + "a" * 43), NO_KEY),
    "key with SQL in it": (key("Bearer ' OR 1=1 --"), NO_KEY),
    "key of another kind": (key("Basic YWRtaW46YWRtaW4="), NO_KEY),
    "key of 50 KB": (key("Bearer " + "a" * 50_000), NO_KEY),
    "foreign job": (foreign_job(""), NO_JOB),
    "events of a foreign job": (foreign_job("/events"), NO_JOB),
    "results of a foreign job": (foreign_job("/download"), NO_JOB),
    "file of a foreign job": (foreign_job("/files/reconviagen/mesh.glb"), NO_JOB),
    "cancelling a foreign job": (foreign_job("/cancel", "POST"), NO_JOB),
    "metrics without the scope": (get("/metrics"), (403, "UNAUTHORIZED")),
    # webhooks
    "webhook to loopback": (webhook("https://127.0.0.1/"), BAD_FORM),
    "webhook to loopback by name": (webhook("https://localhost/"), BAD_FORM),
    "webhook to loopback as one number": (webhook("https://2130706433/"), BAD_FORM),
    "webhook to loopback in IPv6": (webhook("https://[::ffff:127.0.0.1]/"), BAD_FORM),
    "webhook to the cloud's own address": (webhook("https://169.254.169.254/latest/meta-data/"), BAD_FORM),
    "webhook to a private network": (webhook("https://10.0.0.8/"), BAD_FORM),
    "webhook without encryption": (webhook("http://93.184.215.14/"), BAD_FORM),
    "webhook to a file": (webhook("file:///etc/passwd"), BAD_FORM),
    "webhook with a password": (webhook("https://a:b@93.184.215.14/"), BAD_FORM),
    "webhook with a header in it": (webhook("https://93.184.215.14/\r\nX-Evil: 1"), BAD_FORM),
    "replayed webhook": (captured(hour_old), (401, "refused by the receiver")),
    "forged webhook": (captured(other_body), (401, "refused by the receiver")),
    "webhook under another id": (captured(other_id), (401, "refused by the receiver")),
    "webhook as it came": (captured(lambda headers, body: (headers, body)), (204, "taken by the receiver")),
}  # fmt: skip


def test_table_is_long_enough() -> None:
    assert len(TABLE) >= 40


@pytest.mark.parametrize("name", TABLE)
def test_hostile(api: Api, name: str) -> None:
    send, expected = TABLE[name]
    # What the row itself needs, such as a job of somebody else's.
    made = expected[0] == 202 or "foreign" in name or send.__qualname__.startswith("captured")
    before = sum(api.jobs.counts().values())
    assert send(api) == expected
    assert sum(api.jobs.counts().values()) == before + made
    assert api.leftovers() == []
    assert api.client.get("/health/live").status_code == 200
