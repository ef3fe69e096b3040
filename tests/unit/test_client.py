"""The client against a scripted server: every test runs blocking and asynchronous."""

from __future__ import annotations

import errno
import json
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest

from meshwright.client import AsyncClient, Client, Job
from meshwright.client.contact import Contact, Patience
from meshwright.client.events import EventReader
from meshwright.client.uploads import find_upload
from meshwright.errors import (
    DiskFullError,
    InputFilesError,
    OptionError,
    OutputError,
    ServiceError,
    ServiceUnreachableError,
)
from meshwright.types import VIEW_NAMES, JobStatus

Answer = httpx.Response | Exception
Script = Callable[[httpx.Request], Answer]


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """An answer that comes in pieces; an exception among them breaks the connection there."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = pieces
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


class Server:
    """Hands out answers in turn, or those of a function, and remembers what it was asked."""

    def __init__(self, kind: str, pauses: list[float]) -> None:
        self.kind = kind
        self.pauses = pauses
        self.requests: list[httpx.Request] = []
        self.bodies: list[bytes] = []
        self.script: Script = lambda request: httpx.Response(500)

    def answers(self, *answers: Answer) -> None:
        queue = iter(answers)
        self.script = lambda request: next(queue)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.bodies.append(request.content)
        answer = self.script(request)
        if isinstance(answer, Exception):
            raise answer
        answer.request = request
        return answer

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """One call of a client; of what it emits, a list."""
        if self.kind == "blocking":

            def handle(request: httpx.Request) -> httpx.Response:
                request.read()
                return self._answer(request)

            with Client("http://server/", api_key="mw_1_s", transport=httpx.MockTransport(handle)) as client:
                result = getattr(client, name)(*args, **kwargs)
                return list(result) if isinstance(result, Iterator) else result

        async def run() -> Any:
            async def handle(request: httpx.Request) -> httpx.Response:
                await request.aread()
                return self._answer(request)

            async with AsyncClient("http://server/", api_key="mw_1_s", transport=httpx.MockTransport(handle)) as client:
                result = getattr(client, name)(*args, **kwargs)
                if hasattr(result, "__aiter__"):
                    return [item async for item in result]
                return await result

        return anyio.run(run)


@pytest.fixture(params=["blocking", "asynchronous"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Server:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("meshwright.client.synchronous.time", SimpleNamespace(sleep=pauses.append))
    monkeypatch.setattr("meshwright.client.asynchronous.anyio", SimpleNamespace(sleep=sleep))
    return Server(request.param, pauses)


def job(status: str = "queued", progress: float = 0, **more: object) -> dict[str, object]:
    return {"job_id": "abcd1234", "status": status, "progress": progress, **more}


def answer(document: object, status: int = 200, **headers: str) -> httpx.Response:
    return httpx.Response(status, stream=Body(json.dumps(document).encode()), headers=headers)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six views and depth renders; what is in them is no concern of the client's."""
    for folder in ("photos/views", "photos/depth"):
        (tmp_path / folder).mkdir(parents=True)
        for name in VIEW_NAMES:
            (tmp_path / folder / f"shoe_{name}.png").write_bytes(f"{folder} {name}".encode())
    return tmp_path / "photos"


def test_submission_sends_files_under_plain_names(server: Server, photos: Path) -> None:
    server.answers(answer(job(model_type="both"), 202))
    made = server.call(
        "submit", photos, model="both", quality="draft", lighting="pbr", webhook_url="https://x.example/hook"
    )
    assert isinstance(made, Job)
    assert made.job_id == "abcd1234"
    assert made.status is JobStatus.QUEUED
    (request,) = server.requests
    assert str(request.url) == "http://server/api/jobs"
    assert request.headers["authorization"] == "Bearer mw_1_s"
    assert len(request.headers["idempotency-key"]) == 32
    body = server.bodies[0]
    for field, folder in (("views", "photos/views"), ("depth_renders", "photos/depth")):
        for name in VIEW_NAMES:
            head = f'name="{field}"; filename="{name}.png"\r\nContent-Type: image/png\r\n\r\n{folder} {name}\r\n'
            assert head.encode() in body
    assert b'name="model_type"\r\n\r\nboth\r\n' in body
    assert b'name="quality"\r\n\r\ndraft\r\n' in body
    assert b'name="lighting"\r\n\r\npbr\r\n' in body
    assert b'name="webhook_url"\r\n\r\nhttps://x.example/hook\r\n' in body


def test_submission_goes_out_again_under_the_same_key(server: Server, photos: Path) -> None:
    server.answers(answer({}), httpx.ReadError("gone"), answer({}, 503), answer(job(), 202))
    contact = server.call
    with pytest.raises(ServiceError, match="cannot be read"):
        contact("submit", photos)
    assert server.call("submit", photos, idempotency_key="mine").job_id == "abcd1234"
    assert [request.headers["idempotency-key"] for request in server.requests[1:]] == ["mine"] * 3
    assert server.bodies[1].count(b"filename=") == server.bodies[3].count(b"filename=") == 12
    assert len(server.pauses) == 2


def test_zip_is_sent_as_it_is(server: Server, photos: Path, tmp_path: Path) -> None:
    archive = tmp_path / "my photos.zip"
    with zipfile.ZipFile(archive, "w") as pack:
        for file in photos.rglob("*.png"):
            pack.write(file, file.relative_to(photos))
    server.answers(answer(job(), 202))
    server.call("submit", archive)
    assert b'name="archive"; filename="archive.zip"\r\nContent-Type: application/zip' in server.bodies[0]
    assert archive.read_bytes() in server.bodies[0]
    with pytest.raises(OptionError, match="brings its own depth"):
        find_upload(archive, photos)


def test_wrong_files_never_travel(server: Server, photos: Path, tmp_path: Path) -> None:
    (photos / "views" / "shoe_top.png").unlink()
    with pytest.raises(InputFilesError, match="top"):
        server.call("submit", photos)
    with pytest.raises(InputFilesError, match="no such folder"):
        server.call("submit", tmp_path / "nowhere")
    with pytest.raises(OptionError, match="model='nerf'"):
        server.call("submit", photos, model="nerf")
    assert server.requests == []


def test_depth_may_lie_elsewhere_or_nowhere(photos: Path, tmp_path: Path) -> None:
    (photos / "depth").rename(tmp_path / "deep")
    assert [part.field for part in find_upload(photos)] == ["views"] * 6
    parts = find_upload(photos, tmp_path / "deep")
    assert [part.field for part in parts] == ["views"] * 6 + ["depth_renders"] * 6
    assert all(part.path.is_file() for part in parts)


def test_problems_become_errors_that_say_what_to_do(server: Server, photos: Path) -> None:
    problem = {
        "type": "about:blank",
        "title": "Wrong",
        "status": 422,
        "detail": "The upload cannot be used.",
        "code": "INVALID_FILE_COUNT",
        "fields": {"views": "Expected 6 files, got 5"},
        "suggestion": "Send six views.",
    }
    server.answers(answer(problem, 422))
    with pytest.raises(ServiceError) as caught:
        server.call("submit", photos)
    error = caught.value
    assert (error.problem, error.status, error.code, error.exit_code) == (
        "INVALID_FILE_COUNT",
        422,
        "service.refused",
        7,
    )
    assert error.message == "The upload cannot be used.\n  views: Expected 6 files, got 5"
    assert error.hint == "Send six views."
    assert error.details["fields"] == {"views": "Expected 6 files, got 5"}


@pytest.mark.parametrize("content", [b"<html>hello</html>", b"[]", b""])
def test_other_servers_are_told_apart(server: Server, content: bytes) -> None:
    server.script = lambda request: httpx.Response(200, content=content)
    with pytest.raises(ServiceError, match="http://server/api/jobs/abcd1234 is no meshwright service"):
        server.call("job", "abcd1234")
    server.script = lambda request: httpx.Response(500, content=content)
    with pytest.raises(ServiceError, match="answered 500"):
        server.call("job", "abcd1234")


def test_server_that_never_answered_is_given_up_soon(server: Server) -> None:
    server.script = lambda request: httpx.ConnectError("Connection refused")
    with pytest.raises(ServiceUnreachableError, match="Connection refused") as caught:
        server.call("job", "abcd1234")
    assert caught.value.exit_code == 7
    assert sum(server.pauses) == pytest.approx(2.0)


def test_busy_server_is_asked_again_when_it_says(server: Server) -> None:
    server.answers(answer({}, 429, **{"Retry-After": "1"}), answer(job()))
    assert server.call("job", "abcd1234").status is JobStatus.QUEUED
    assert server.pauses == [1.0]
    server.answers(answer({"detail": "Too many.", "code": "RATE_LIMITED"}, 429, **{"Retry-After": "3600"}))
    with pytest.raises(ServiceError, match="Too many") as caught:
        server.call("job", "abcd1234")
    assert caught.value.problem == "RATE_LIMITED"


def test_patience_grows_is_spread_and_ends() -> None:
    patience = Patience(60.0)
    pauses = []
    while (pause := patience.pause()) is not None:
        pauses.append(pause.seconds)
    assert sum(pauses) == pytest.approx(60.0)
    for index, seconds in enumerate(pauses[:-1]):
        whole = min(0.25 * 2**index, 10.0)
        assert whole / 2 <= seconds <= whole
    contact = Contact()
    assert contact.patience().left_s == 2.0
    contact.answered = True
    assert contact.patience().left_s == 60.0


def test_all_pages_are_read(server: Server) -> None:
    server.answers(
        answer({"jobs": [job(), job("failed")], "next_cursor": "x y"}),
        answer({"jobs": [job("completed", 100)], "next_cursor": None}),
    )
    found = server.call("jobs", status=JobStatus.QUEUED)
    assert [one.status.value for one in found] == ["queued", "failed", "completed"]
    assert [dict(request.url.params) for request in server.requests] == [
        {"status": "queued", "limit": "100"},
        {"status": "queued", "limit": "100", "cursor": "x y"},
    ]
    server.answers(answer({"jobs": [job()], "next_cursor": "z"}))
    page = server.call("page", limit=1)
    assert (len(page.jobs), page.cursor) == (1, "z")


def test_cancelling_takes_two_steps(server: Server) -> None:
    requested = {"job_id": "abcd1234", "status": "cancel_requested", "message": "Confirm it."}
    server.answers(answer(requested), answer(requested | {"status": "cancelled"}))
    assert server.call("cancel", "abcd1234").status == "cancelled"
    assert [json.loads(body) for body in server.bodies] == [{"confirm": False}, {"confirm": True}]
    server.answers(answer(requested))
    assert server.call("cancel", "abcd1234", confirm=False).status == "cancel_requested"


def test_ids_cannot_lead_elsewhere(server: Server) -> None:
    server.answers(answer(job()))
    server.call("job", "../keys?x=1#")
    assert server.requests[0].url.raw_path == b"/api/jobs/..%2Fkeys%3Fx%3D1%23"


def test_waiting_asks_less_often_while_nothing_moves(server: Server) -> None:
    still = [answer(job()) for _ in range(12)]
    server.answers(*still, answer(job("processing", 5)), answer(job("completed", 100)))
    assert server.call("wait", "abcd1234").check().progress == 100
    assert server.pauses[0] == 0.5
    assert server.pauses[1:12] == sorted(server.pauses[1:12])
    assert server.pauses[11] == 10.0
    assert server.pauses[12] == 0.5


def test_waiting_has_an_end(server: Server) -> None:
    server.script = lambda request: answer(job())
    with pytest.raises(TimeoutError, match="still queued after 0 s"):
        server.call("wait", "abcd1234", timeout_s=0)


def test_job_that_did_not_end_well_says_why(server: Server) -> None:
    fault = {"code": "MODEL_OOM", "message": "The model ran out of memory.", "suggestion": "Use draft."}
    server.answers(answer(job("failed", 40, error=fault)))
    ended = server.call("wait", "abcd1234")
    with pytest.raises(ServiceError, match="ran out of memory") as caught:
        ended.check()
    assert (caught.value.problem, caught.value.hint) == ("MODEL_OOM", "Use draft.")
    server.answers(answer(job("cancelled")))
    with pytest.raises(ServiceError, match="was cancelled"):
        server.call("job", "abcd1234").check()


def event(revision: int, document: dict[str, object]) -> bytes:
    return f"id: {revision}\nevent: status\ndata: {json.dumps(document)}\n\n".encode()


def test_watching_goes_on_where_it_broke(server: Server) -> None:
    first = Body(b": hello\n\n", event(1, job())[:20], event(1, job())[20:], httpx.ReadError("gone"))
    second = Body(event(2, job("processing", 50)) + b"event: later\ndata: x\n\n")  # closed by the server: nothing odd
    third = Body(event(3, job("completed", 100)), RuntimeError("nobody may read on"))
    server.answers(
        httpx.Response(200, stream=first),
        httpx.Response(503),
        httpx.Response(200, stream=second),
        httpx.Response(200, stream=third),
    )
    seen = server.call("watch", "abcd1234")
    assert [one.status.value for one in seen] == ["queued", "processing", "completed"]
    assert [request.headers.get("last-event-id") for request in server.requests] == [None, "1", "1", "2"]
    assert first.closed and second.closed and third.closed


def test_watching_what_has_ended(server: Server) -> None:
    server.answers(httpx.Response(204), answer(job("completed", 100)))
    assert [one.status.value for one in server.call("watch", "abcd1234")] == ["completed"]


def test_watching_gives_up_at_last(server: Server) -> None:
    server.script = lambda request: httpx.Response(200, stream=Body(httpx.ReadTimeout("silence")))
    with pytest.raises(ServiceUnreachableError, match="silence"):
        server.call("watch", "abcd1234")
    server.script = lambda request: answer({"detail": "There is no such job.", "code": "JOB_NOT_FOUND"}, 404)
    with pytest.raises(ServiceError, match="no such job"):
        server.call("watch", "abcd1234")


def test_events_may_be_split_anywhere() -> None:
    text = (
        b"\xef\xbb\xbfretry: 5\r\n\r\nid: 7\r\ndata: gr\xc3\xbc\xc3\x9fe\r\ndata:  zwei\r\n\r\n: ping\n\ndata:x\nid\n\n"
    )
    for width in (1, 2, 5, len(text)):
        reader = EventReader()
        events = [found for start in range(0, len(text), width) for found in reader.feed(text[start : start + width])]
        assert [(one.id, one.data, one.name) for one in events] == [
            ("7", "grüße\n zwei", "message"),
            ("", "x", "message"),
        ]


WHOLE = bytes(range(256)) * 40


class FileServer:
    """Serves WHOLE with ranges; `breaks` says after how many bytes each answer breaks off."""

    def __init__(self, *breaks: int, etag: str = '"v1"') -> None:
        self.breaks = list(breaks)
        self.etag = etag
        self.ranges: list[str | None] = []

    def __call__(self, request: httpx.Request) -> Answer:
        wanted = request.headers.get("range")
        self.ranges.append(wanted)
        assert request.headers["accept-encoding"] == "identity"
        start = 0
        if wanted and request.headers["if-range"] == self.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        headers = {"ETag": self.etag}
        if start >= len(WHOLE):
            return httpx.Response(416, headers=headers | {"Content-Range": f"bytes */{len(WHOLE)}"})
        rest = WHOLE[start:]
        headers["Content-Length"] = str(len(rest))
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(WHOLE) - 1}/{len(WHOLE)}"
        pieces: list[bytes | Exception] = [rest[at : at + 1000] for at in range(0, len(rest), 1000)]
        if self.breaks:
            cut = self.breaks.pop(0)
            pieces = [rest[:cut], httpx.ReadError("gone")]
        return httpx.Response(206 if start else 200, headers=headers, stream=Body(*pieces))


def test_download_goes_on_within_a_run(server: Server, tmp_path: Path) -> None:
    server.script = files = FileServer(1000, 500)
    seen: list[tuple[int, int | None]] = []
    target = tmp_path / "shoe.zip"
    assert server.call("download", "abcd1234", target, progress=lambda *at: seen.append(at)) == target
    assert target.read_bytes() == WHOLE
    assert files.ranges == [None, "bytes=1000-", "bytes=1500-"]
    assert [here for here, _ in seen] == sorted(here for here, _ in seen)
    assert seen[-1] == (len(WHOLE), len(WHOLE))
    assert sorted(tmp_path.iterdir()) == [target]
    assert server.requests[0].url.path == "/api/jobs/abcd1234/download"


def test_download_goes_on_in_a_later_run(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "mesh.glb"
    server.answers(
        httpx.Response(200, headers={"ETag": '"v1"', "Content-Length": "10240"}, stream=Body(WHOLE[:3000])),
        *(httpx.ConnectError("gone") for _ in range(40)),
    )
    with pytest.raises(ServiceUnreachableError):
        server.call("file", "abcd1234", "nvdiffrec", "mesh.glb", target)
    assert not target.exists()
    assert (tmp_path / "mesh.glb.part").stat().st_size == 3000
    server.script = files = FileServer()
    server.call("file", "abcd1234", "nvdiffrec", "mesh.glb", target)
    assert target.read_bytes() == WHOLE
    assert files.ranges == ["bytes=3000-"]
    assert server.requests[-1].url.path == "/api/jobs/abcd1234/files/nvdiffrec/mesh.glb"


def test_download_of_another_version_begins_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(b"old bytes")
    (tmp_path / "a.zip.part.etag").write_text('"v0"')
    server.script = files = FileServer()
    server.call("download", "abcd1234", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == WHOLE
    assert files.ranges == ["bytes=9-"]


def test_download_that_was_complete_is_only_renamed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(WHOLE)
    (tmp_path / "a.zip.part.etag").write_text('"v1"')
    server.script = FileServer()
    server.call("download", "abcd1234", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == WHOLE
    assert len(server.requests) == 1


def test_download_without_a_strong_etag_is_never_pieced_together(server: Server, tmp_path: Path) -> None:
    server.script = files = FileServer(1000, etag='W/"v1"')
    server.call("download", "abcd1234", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == WHOLE
    assert files.ranges == [None, None]


def test_download_from_a_server_that_sends_other_pieces_ends(server: Server, tmp_path: Path) -> None:
    server.script = lambda request: httpx.Response(206, headers={"Content-Range": "bytes 5-9/10"}, content=b"abcde")
    with pytest.raises(ServiceUnreachableError, match="another piece"):
        server.call("download", "abcd1234", tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


def test_download_can_begin_afresh(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(b"x")
    (tmp_path / "a.zip.part.etag").write_text('"v1"')
    server.script = files = FileServer()
    server.call("download", "abcd1234", tmp_path / "a.zip", resume=False)
    assert files.ranges == [None]


@pytest.mark.parametrize(("status", "code"), [(409, "JOB_NOT_READY"), (410, "JOB_EXPIRED"), (404, "JOB_NOT_FOUND")])
def test_download_of_what_is_not_there(server: Server, tmp_path: Path, status: int, code: str) -> None:
    server.answers(answer({"detail": "No.", "code": code}, status))
    with pytest.raises(ServiceError) as caught:
        server.call("download", "abcd1234", tmp_path / "a.zip")
    assert (caught.value.problem, caught.value.status) == (code, status)
    assert list(tmp_path.iterdir()) == []


def test_download_that_cannot_be_written(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.script = FileServer()
    with pytest.raises(OutputError, match="No such file"):
        server.call("download", "abcd1234", tmp_path / "no" / "a.zip")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("meshwright.client.download.os.replace", full)
    with pytest.raises(DiskFullError, match="No space left"):
        server.call("download", "abcd1234", tmp_path / "a.zip")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "", "http://", "http://[::1"])
def test_addresses_are_checked(url: str) -> None:
    with pytest.raises(OptionError, match="no address of a service"):
        Client(url)


def test_keys_are_checked_and_hidden() -> None:
    with pytest.raises(OptionError, match="characters that no key has") as caught:
        Client(api_key="mw_ü\n")
    assert "ü" not in str(caught.value)


def test_health(server: Server) -> None:
    server.answers(answer({"status": "ok", "device": "cpu"}))
    assert server.call("health") == {"status": "ok", "device": "cpu"}


def test_leaving_a_watch_early_lets_go_of_the_connection() -> None:
    body = Body(event(1, job()), event(2, job("processing")), RuntimeError("nobody may read on"))
    transport = httpx.MockTransport(lambda request: httpx.Response(200, stream=body))
    with Client(transport=transport) as client:
        for _ in client.watch("abcd1234"):
            break
    assert body.closed
