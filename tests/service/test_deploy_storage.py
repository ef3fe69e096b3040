"""The object storage of deploy/compose.yaml does what the file expects of it, run with the very same arguments."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service_stack import die_with_parent, find_program, free_port, until

yaml = pytest.importorskip("yaml", reason="needs the extra dev")
pytestmark = pytest.mark.service

COMPOSE = Path(__file__).resolve().parents[2] / "deploy" / "compose.yaml"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    text = COMPOSE.read_text().replace("${STORAGE_ACCESS_KEY}", "access").replace("${STORAGE_SECRET_KEY}", "secret")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


@pytest.fixture(scope="module")
def weed() -> str:
    found = find_program("weed")
    if found is None:
        pytest.skip("SeaweedFS (weed) is not installed")
    return found


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    parts = ("s3", "master", "volume", "filer")
    return {name: free_port() for part in parts for name in (part, f"{part}.grpc")}


@pytest.fixture(scope="module")
def storage(
    document: dict[str, Any], weed: str, ports: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The server of the Compose file, its paths and ports changed to some that are free here."""
    here = tmp_path_factory.mktemp("storage")
    service = document["services"]["storage"]
    (here / "data").mkdir()
    (mounted,) = service["configs"]
    identities = here / "s3.json"
    identities.write_text(document["configs"][mounted["source"]]["content"])
    changes = {
        "-ip=storage": "-ip=127.0.0.1",
        "-dir=/data": f"-dir={here / 'data'}",
        "-s3.port=8333": f"-s3.port={ports['s3']}",
        f"-s3.config={mounted['target']}": f"-s3.config={identities}",
    }
    arguments = [changes.pop(word, word) for word in service["command"]]
    assert not changes, f"the Compose file no longer says {changes}"
    arguments += [f"-{name}.port={ports[name]}" for name in ("master", "volume", "filer")]
    # Every part also has a port for gRPC, by default 10000 above its own, which need not exist.
    arguments += [f"-{name}.port.grpc={ports[f'{name}.grpc']}" for name in ("s3", "master", "volume", "filer")]
    address = f"http://127.0.0.1:{ports['s3']}"
    probe = service["healthcheck"]["test"][-1].replace("http://127.0.0.1:8333", address)

    def answers() -> bool:
        assert process.poll() is None, (here / "log").read_text(errors="replace")[-2000:]
        try:
            with urllib.request.urlopen(probe, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    with (here / "log").open("wb") as log:
        process = subprocess.Popen([weed, *arguments], cwd=here, stdout=log, stderr=log, preexec_fn=die_with_parent)
        try:
            until(answers, 30, "the health check of the Compose file passes")
            yield address
        finally:
            process.kill()
            process.wait()


def test_bucket_is_made_once_and_again(
    document: dict[str, Any], weed: str, ports: dict[str, int], storage: str
) -> None:
    service = document["services"]["bucket"]
    (command,) = service["command"]
    # Its port for gRPC follows the port after a dot.
    master = f"127.0.0.1:{ports['master']}.{ports['master.grpc']}"
    command = command.replace("weed shell", f"{weed} shell").replace("storage:9333", master)
    said = []
    for _ in range(2):
        done = subprocess.run(
            [*service["entrypoint"], command], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done.stdout)
    assert ["created bucket meshwright" in text for text in said] == [True, False]


def test_keys_open_this_bucket_and_no_other(document: dict[str, Any], storage: str) -> None:
    obstore = pytest.importorskip("obstore", reason="needs the extra service")
    from obstore.exceptions import PermissionDeniedError

    url = document["services"]["api"]["environment"]["MESHWRIGHT_STORAGE_URL"]
    bucket, prefix = url.removeprefix("s3://").split("/")

    def opened(name: str) -> Any:
        return obstore.store.S3Store(
            name,
            prefix=prefix,
            endpoint=storage,
            region="us-east-1",
            access_key_id="access",
            secret_access_key="secret",
            client_options={"allow_http": True},
        )

    store = opened(bucket)
    obstore.put(store, "jobs/a/mesh.glb", b"mesh")
    assert bytes(obstore.get(store, "jobs/a/mesh.glb").bytes()) == b"mesh"
    obstore.delete(store, "jobs/a/mesh.glb")
    with pytest.raises(PermissionDeniedError):
        obstore.put(opened("other"), "a", b"x")
    assert json.loads(document["configs"]["storage-identities"]["content"])["identities"][0]["name"] == "meshwright"
