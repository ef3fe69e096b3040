"""Uploads where things go wrong on our side, or the process ends in between."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from meshwright.service.api import forms
from meshwright.service.api.forms import shown
from meshwright.service.api.uploads import sweep_uploads
from meshwright.service.jobs import Jobs
from meshwright.service.store import StoreUnavailable
from service_api import parts, png, problem, running_api
from service_stack import Stack


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_disk_that_is_full_while_receiving(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_api(stack) as api:
        with monkeypatch.context() as patch:
            patch.setattr(forms.OpenFile, "write", full_disk)
            answer = api.client.post("/api/jobs", files=parts())
            problem(answer, 507, "DISK_FULL")
            assert int(answer.headers["retry-after"]) > 0
        assert api.leftovers() == []
        api.submit()


def test_disk_that_is_full_while_storing(embedded: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def link(source: Any, target: Any, **options: Any) -> None:
        calls.append(target)
        if len(calls) == 7:
            full_disk()
        real(source, target, **options)

    real = os.link
    with running_api(embedded) as api:
        with monkeypatch.context() as patch:
            patch.setattr(os, "link", link)
            problem(api.client.post("/api/jobs", files=parts()), 507, "DISK_FULL")
        assert len(calls) == 7
        assert api.leftovers() == []
        assert api.jobs.page().jobs == ()


@pytest.mark.parametrize(
    ("reason", "status", "code", "kept"), [("gone", 503, "NOT_READY", True), ("disk_full", 507, "DISK_FULL", False)]
)
def test_store_that_leaves_at_the_last_moment(
    embedded: Stack, monkeypatch: pytest.MonkeyPatch, reason: str, status: int, code: str, kept: bool
) -> None:
    """Whether the row was written is not known then, so its files stay; orphans are swept later."""

    def submit(*_: object) -> None:
        raise StoreUnavailable("The store does not answer.", reason=reason)

    with running_api(embedded) as api:
        with monkeypatch.context() as patch:
            patch.setattr(Jobs, "submit", submit)
            problem(api.client.post("/api/jobs", files=parts()), status, code)
        assert bool(api.leftovers()) is kept


def test_uploads_of_a_process_that_died_are_swept(tmp_path: Path) -> None:
    old, new, other = tmp_path / "form-old", tmp_path / "form-new", tmp_path / "else"
    for folder in (old, new, other):
        folder.mkdir()
        (folder / "views-01").write_bytes(b"x")
    long_ago = time.time() - 10_000
    os.utime(old, (long_ago, long_ago))
    os.utime(other, (long_ago, long_ago))
    assert sweep_uploads(tmp_path, 600) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["else", "form-new"]
    assert sweep_uploads(tmp_path / "missing", 600) == 0


@pytest.mark.parametrize("size", [1, 7, 1000, 65_536])
def test_body_cut_into_pieces_of_any_size(embedded: Stack, size: int) -> None:
    """Boundaries fall apart between pieces; what is stored is the same."""
    request = httpx.Request("POST", "http://x/api/jobs", files=parts(views=[(f"{n}.png", png()) for n in range(6)]))
    body = request.read()

    def pieces() -> Any:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    with running_api(embedded) as api:
        answer = api.client.post(
            "/api/jobs", content=pieces(), headers={"content-type": request.headers["content-type"]}
        )
        assert answer.status_code == 202, answer.text
        for item in api.jobs.get(answer.json()["job_id"]).inputs:
            if item.kind == "view":
                assert b"".join(api.storage.open(item.key)) == png()
        assert api.leftovers() == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("front.png", "front.png"),
        ("a/b\\c.png", "c.png"),
        ("../..", ".."),
        ("x\n\x1b[31m.png", "x??[31m.png"),
        ("n" * 300 + ".png", "n" * 60 + "..." + "n" * 11 + ".png"),
    ],
)
def test_names_in_messages(name: str, expected: str) -> None:
    assert shown(name) == expected
