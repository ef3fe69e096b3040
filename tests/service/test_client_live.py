"""Client, commands and the example script against the real service, in processes of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from meshwright.client import AsyncClient, Client
from meshwright.errors import ServiceError
from meshwright.service.api.keys import create_key
from meshwright.service.store import open_store
from meshwright.types import JobStatus
from service_running import Running, running
from service_stack import Stack

pytestmark = pytest.mark.service

ROOT = Path(__file__).resolve().parents[2]
VIEWS = ROOT / "examples" / "six_views"
SCRIPT = ROOT / "examples" / "service.sh"


@pytest.fixture(scope="module", params=["embedded", "full"])
def service(
    request: pytest.FixtureRequest,
    stack_maker: Callable[[pytest.FixtureRequest, str, Path], Stack],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    """One service for all tests; with keys, so that none of them sees the jobs of another."""
    stack = stack_maker(request, request.param, tmp_path_factory.mktemp("service"))
    with running(stack, MESHWRIGHT_AUTH="on") as service:
        yield service


@pytest.fixture
def key(service: Running) -> str:
    """Of a user who has no jobs yet."""
    store = open_store(service.stack.settings())
    try:
        return create_key(store, "test")[1]
    finally:
        store.close()


def test_client_submits_follows_downloads_and_cancels(service: Running, key: str, tmp_path: Path) -> None:
    with Client(service.url, api_key=key) as client:
        job = client.submit(VIEWS, model="both", quality="draft", idempotency_key="once")
        assert client.submit(VIEWS, model="both", quality="draft", idempotency_key="once").job_id == job.job_id
        with pytest.raises(ServiceError) as early:
            client.download(job.job_id, tmp_path / "early.zip")
        assert early.value.problem == "JOB_NOT_READY"

        states = list(client.watch(job.job_id))
        assert states[-1].check().status is JobStatus.COMPLETED
        progress = [state.progress for state in states]
        assert progress == sorted(progress) and progress[-1] == 100
        assert {state.current_model for state in states} & {"reconviagen", "nvdiffrec"}
        assert set(states[-1].quality) == {"reconviagen", "nvdiffrec"}
        assert [state.status for state in client.watch(job.job_id)] == [JobStatus.COMPLETED]
        assert client.wait(job.job_id) == states[-1]
        assert client.health()["jobs"]["completed"] >= 1
        with pytest.raises(ServiceError) as nobody:
            client.job("zzzzzzzz")
        assert nobody.value.problem == "JOB_NOT_FOUND"

        whole = client.download(job.job_id, tmp_path / "all.zip").read_bytes()
        with zipfile.ZipFile(tmp_path / "all.zip") as pack:
            assert pack.testzip() is None
            mesh = pack.read("nvdiffrec/mesh.obj")
        assert client.file(job.job_id, "nvdiffrec", "mesh.obj", tmp_path / "mesh.obj").read_bytes() == mesh
        # Half of it has come before: the rest is asked for, and both halves fit.
        halved(client, job.job_id, tmp_path / "again.zip")
        assert (tmp_path / "again.zip").read_bytes() == whole

        other = client.submit(VIEWS)
        assert client.cancel(other.job_id, confirm=False).status == "cancel_requested"
        assert client.cancel(other.job_id).status == "cancelled"
        assert client.wait(other.job_id, timeout_s=10).status is JobStatus.CANCELLED
        assert [found.job_id for found in client.jobs()] == [other.job_id, job.job_id]
        assert [found.job_id for found in client.jobs(status=JobStatus.COMPLETED)] == [job.job_id]
        page = client.page(limit=1)
        assert client.page(limit=1, cursor=page.cursor).jobs[0].job_id == job.job_id


def halved(client: Client, job_id: str, target: Path) -> None:
    """Breaks a download off in the middle, then takes it up again; asserts that only the rest came."""

    class Enough(Exception):  # noqa: N818
        pass

    def break_off(here: int, total: int | None) -> None:
        raise Enough

    with pytest.raises(Enough):
        client.download(job_id, target, progress=break_off)
    part = target.with_name(f"{target.name}.part")
    with part.open("r+b") as file:
        file.truncate(part.stat().st_size // 2)
    half = part.stat().st_size
    seen: list[int] = []
    client.download(job_id, target, progress=lambda here, total: seen.append(here))
    assert seen[0] > half


def test_asynchronous_client_does_the_same(service: Running, key: str, tmp_path: Path) -> None:
    async def talk() -> None:
        async with AsyncClient(service.url, api_key=key) as client:
            first, second = await client.submit(VIEWS), await client.submit(VIEWS)
            async with anyio.create_task_group() as together:
                together.start_soon(client.wait, first.job_id)
                last = [state async for state in client.watch(second.job_id)][-1]
            assert last.check().is_final
            assert [found.job_id async for found in client.jobs()] == [second.job_id, first.job_id]
            target = await client.download(second.job_id, tmp_path / "all.zip")
            assert zipfile.is_zipfile(target)

    anyio.run(talk)


def test_clients_outlive_the_service(embedded: Stack) -> None:
    """Killed and started again at the same address, while one client watches and another waits."""
    with running(embedded, MESHWRIGHT_LEASE_S="2") as service, Client(service.url) as client:
        job = client.submit(VIEWS, model="both")
        seen: list[JobStatus] = []
        watcher = threading.Thread(target=lambda: seen.extend(state.status for state in client.watch(job.job_id)))
        watcher.start()
        service.stop(signal.SIGKILL)
        service.start()
        assert client.wait(job.job_id, timeout_s=60).status is JobStatus.COMPLETED
        watcher.join(30)
        assert not watcher.is_alive()
        assert seen[-1] is JobStatus.COMPLETED


def command(service: Running, *words: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from meshwright.cli.app import main; main()", *map(str, words)],
        env=service.environment | {"MESHWRIGHT_URL": service.url} | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_commands_need_a_key_and_take_it_until_it_is_revoked(service: Running, tmp_path: Path) -> None:
    assert command(service, "jobs", "list").returncode == 7
    key = command(service, "keys", "create", "test", "--scope", "submit").stdout.strip()
    assert key.startswith("mw_")
    done = command(service, "jobs", "submit", VIEWS, "-o", tmp_path / "shoe.zip", "--json", MESHWRIGHT_API_KEY=key)
    assert done.returncode == 0, done.stdout + done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in (events[0], *events[-2:])] == ["submitted", "result", "written"]
    assert zipfile.is_zipfile(tmp_path / "shoe.zip")
    revoked = command(service, "keys", "revoke", key.split("_")[1])
    assert revoked.returncode == 0, revoked.stderr
    assert command(service, "jobs", "list", MESHWRIGHT_API_KEY=key).returncode == 7


def test_example_script_goes_through_the_whole_contract(service: Running, key: str, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    script = subprocess.run(
        ["bash", SCRIPT, tmp_path / "out"],
        env=os.environ | {"MESHWRIGHT_URL": service.url, "MESHWRIGHT_API_KEY": key},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert script.returncode == 0, script.stdout + script.stderr + service.log()
    assert '"status":"cancel_requested"' in script.stdout
    assert '"status":"cancelled"' in script.stdout
    assert "reconviagen  normal" in script.stdout
    assert "nvdiffrec    normal" in script.stdout
    (packed,) = (tmp_path / "out").iterdir()
    assert zipfile.is_zipfile(packed)
