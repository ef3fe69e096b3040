"""Outputs: whole, in part, again only if changed; and when they are not there."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshwright.service.upkeep import sweep_job
from service_api import OUTPUT, Api, problem, running_api
from service_stack import Stack


@pytest.fixture
def api(stack: Stack) -> Iterator[Api]:
    with running_api(stack) as found:
        yield found


@pytest.fixture
def done(api: Api) -> str:
    job_id = api.submit()
    api.complete(job_id)
    return job_id


def test_download_is_a_whole_zip(api: Api, done: str) -> None:
    answer = api.client.get(f"/api/jobs/{done}/download")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="meshwright-{done}.zip"'
    assert int(answer.headers["content-length"]) == len(answer.content)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            f"reconviagen/{name}": data for name, data in OUTPUT.items()
        }
        assert all(info.external_attr >> 16 == 0o100644 for info in archive.infolist())
    again = api.client.get(f"/api/jobs/{done}/download")
    assert (again.content, again.headers["etag"]) == (answer.content, answer.headers["etag"])


def test_broken_download_goes_on_where_it_stopped(api: Api, done: str) -> None:
    url = f"/api/jobs/{done}/download"
    whole = api.client.get(url)
    size = len(whole.content)
    for start in (0, 1, size // 3, size - 1):
        part = api.client.get(url, headers={"Range": f"bytes={start}-", "If-Range": whole.headers["etag"]})
        assert part.status_code == 206
        assert part.headers["content-range"] == f"bytes {start}-{size - 1}/{size}"
        assert part.content == whole.content[start:]


def test_any_range_of_the_zip_is_right(embedded: Stack) -> None:
    with running_api(embedded) as api:
        job_id = api.submit()
        api.complete(job_id)
        url = f"/api/jobs/{job_id}/download"
        whole = api.client.get(url).content

        @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.integers(0, len(whole) - 1), st.integers(0, len(whole) + 10))
        def check(first: int, length: int) -> None:
            part = api.client.get(url, headers={"Range": f"bytes={first}-{first + length}"})
            assert part.status_code == 206
            assert part.content == whole[first : first + length + 1]

        check()


def test_one_file(api: Api, done: str) -> None:
    url = f"/api/jobs/{done}/files/reconviagen/mesh.glb"
    answer = api.client.get(url)
    assert (answer.status_code, answer.content) == (200, OUTPUT["mesh.glb"])
    assert answer.headers["content-type"] == "model/gltf-binary"
    assert answer.headers["x-content-type-options"] == "nosniff"
    preview = api.client.get(f"/api/jobs/{done}/files/reconviagen/previews/textured_00.png")
    assert (preview.headers["content-type"], preview.content) == ("image/png", OUTPUT["previews/textured_00.png"])
    empty = api.client.get(f"/api/jobs/{done}/files/reconviagen/empty.bin")
    assert (empty.status_code, empty.content) == (200, b"")

    head = api.client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(OUTPUT["mesh.glb"]))
    assert head.headers["etag"] == answer.headers["etag"]


def test_list_of_files(api: Api, done: str) -> None:
    body = api.client.get(f"/api/jobs/{done}/files").json()
    assert {entry["name"]: entry["size"] for entry in body["files"]} == {k: len(v) for k, v in OUTPUT.items()}
    for entry in body["files"]:
        assert api.client.get(entry["url"]).content == OUTPUT[entry["name"]]


@pytest.mark.parametrize(
    ("header", "status", "expected"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=10-", 206, slice(10, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=-999999999", 206, slice(None)),
        ("bytes=5-999999999999", 206, slice(5, None)),
        ("bytes=5-2", 200, slice(None)),
        ("bytes=0-1,4-5", 200, slice(None)),
        ("bytes=", 200, slice(None)),
        ("bytes=-", 200, slice(None)),
        ("lines=0-1", 200, slice(None)),
        ("bytes=0-9999999999999999999999", 200, slice(None)),
        ("bytes=999999999-", 416, None),
        ("bytes=-0", 416, None),
    ],
)
def test_ranges(embedded: Stack, header: str, status: int, expected: slice | None) -> None:
    with running_api(embedded) as api:
        job_id = api.submit()
        api.complete(job_id)
        answer = api.client.get(f"/api/jobs/{job_id}/files/reconviagen/mesh.glb", headers={"Range": header})
        if expected is None:
            problem(answer, status, "RANGE_NOT_SATISFIABLE")
            assert answer.headers["content-range"] == f"bytes */{len(OUTPUT['mesh.glb'])}"
        else:
            assert (answer.status_code, answer.content) == (status, OUTPUT["mesh.glb"][expected])


def test_conditional_reads(api: Api, done: str) -> None:
    url = f"/api/jobs/{done}/files/reconviagen/mesh.obj"
    etag = api.client.get(url).headers["etag"]
    for given_tag in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        known = api.client.get(url, headers={"If-None-Match": given_tag})
        assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", etag)
    assert api.client.get(url, headers={"If-None-Match": '"other"'}).status_code == 200
    other = api.client.get(url, headers={"Range": "bytes=0-3", "If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, OUTPUT["mesh.obj"])


def test_not_ready(api: Api) -> None:
    job_id = api.submit()
    problem(api.client.get(f"/api/jobs/{job_id}/download"), 409, "JOB_NOT_READY")
    problem(api.client.get(f"/api/jobs/{job_id}/files/nvdiffrec/mesh.glb"), 409, "JOB_NOT_READY")
    assert api.client.get(f"/api/jobs/{job_id}/files").json()["files"] == []


def test_first_model_of_both_is_there_before_the_second(api: Api) -> None:
    job_id = api.submit(model_type="both")
    claim = api.jobs.claim(job_id, "w")
    assert claim is not None
    api.publish(claim, model="reconviagen")
    assert api.client.get(f"/api/jobs/{job_id}/files/reconviagen/mesh.glb").status_code == 200
    problem(api.client.get(f"/api/jobs/{job_id}/files/nvdiffrec/mesh.glb"), 409, "JOB_NOT_READY")
    problem(api.client.get(f"/api/jobs/{job_id}/download"), 409, "JOB_NOT_READY")
    api.publish(claim, {"mesh.obj": b"second"}, model="nvdiffrec")
    api.jobs.complete(claim)
    answer = api.client.get(f"/api/jobs/{job_id}/download")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.read("nvdiffrec/mesh.obj") == b"second"
        assert archive.read("reconviagen/mesh.obj") == OUTPUT["mesh.obj"]


def test_no_such_file(api: Api, done: str) -> None:
    for path in ("reconviagen/none.obj", "other/mesh.obj", "reconviagen/../mesh.obj", "reconviagen/%00", "a b/c"):
        answer = api.client.get(f"/api/jobs/{done}/files/{path}")
        assert answer.status_code == 404, path
    problem(api.client.get(f"/api/jobs/{done}/files/reconviagen/{'x' * 3000}"), 404, "NOT_FOUND")


def test_cancelled_job_has_no_files(api: Api) -> None:
    job_id = api.submit()
    claim = api.jobs.claim(job_id, "w")
    assert claim is not None
    api.publish(claim)
    for confirm in (False, True):
        assert api.client.post(f"/api/jobs/{job_id}/cancel", json={"confirm": confirm}).status_code == 200
    problem(api.client.get(f"/api/jobs/{job_id}/files/reconviagen/mesh.glb"), 404, "NOT_FOUND")
    problem(api.client.get(f"/api/jobs/{job_id}/download"), 409, "JOB_NOT_READY")


def test_expired_job_answers_410(api: Api, done: str) -> None:
    assert api.jobs.expire(datetime.now(UTC) + timedelta(hours=1)) == (done,)
    for path in ("download", "files", "files/reconviagen/mesh.glb"):
        problem(api.client.get(f"/api/jobs/{done}/{path}"), 410, "JOB_EXPIRED")
    assert api.client.get(f"/api/jobs/{done}").json()["status"] == "completed"
    sweep_job(api.jobs, api.storage, api.jobs.get(done))
    assert list(api.storage.list(f"jobs/{done}")) == []


def test_file_lost_from_storage_is_told(api: Api, done: str) -> None:
    api.storage.delete_prefix(f"jobs/{done}")
    problem(api.client.get(f"/api/jobs/{done}/files/reconviagen/mesh.glb"), 410, "JOB_EXPIRED")
