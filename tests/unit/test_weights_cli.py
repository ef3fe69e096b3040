"""`meshwright weights` as it is typed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from meshwright.cli.app import app
from meshwright.cli.doctor import weights_findings
from meshwright.weights import LARGE, Store, family_named, installed
from meshwright.weights.catalogue import OVERRIDES
from meshwright.weights.store import VARIABLE
from weights_mirror import DINOV2, GENERATOR, VGGT, Mirror, serving, write_catalogue, write_release

pytest.importorskip("huggingface_hub")

MESH = "ckpts/slat_dec_mesh_swin8_B_64l8m256c_fp16.safetensors"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    write_release(folder)
    return folder


@pytest.fixture
def store(tmp_path: Path, release: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "store"))
    monkeypatch.setenv(OVERRIDES, str(write_catalogue(tmp_path / "catalogue.json", release)))
    monkeypatch.setenv("COLUMNS", "120")
    return Store()


@pytest.fixture
def mirror(store: Store, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    with serving(release) as mirror:
        monkeypatch.setenv("HF_ENDPOINT", mirror.url)
        write_catalogue(tmp_path / "catalogue.json", release, url=mirror.url)
        yield mirror


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["weights", *map(str, arguments)])


def result_of(result: Result) -> dict[str, Any]:
    (event,) = [json.loads(line) for line in result.stdout.splitlines() if '"progress"' not in line]
    return dict(event)


def test_a_new_machine_is_told_what_there_is(store: Store) -> None:
    result = run("list")
    assert result.exit_code == 0
    assert "mini  ready" in result.stdout
    assert f"{LARGE}  not ready" in result.stdout
    assert "Stable-X/vggt-object-v0-1  missing" in result.stdout
    assert "NOT for commercial use" in result.stdout
    assert f"meshwright weights fetch {LARGE}" in result.stdout
    families = result_of(run("list", "--json"))["families"]
    assert [(item["family"], item["ready"]) for item in families] == [("mini", True), (LARGE, False)]
    assert [part["state"] for part in families[1]["parts"]] == ["missing"] * 3
    assert not store.folder.exists()  # looking leaves nothing behind


def test_where(store: Store) -> None:
    assert run("where").stdout.strip() == str(store.folder)
    lines = run("where", LARGE).stdout.splitlines()
    assert len(lines) == 9
    assert all("(not there)" in line for line in lines)
    assert "mini.safetensors" in run("where", "mini").stdout
    assert result_of(run("where", "mini", "--json"))["networks"]["prior"]["weights"].endswith("mini.safetensors")
    assert run("where", "other").exit_code == 2


def test_terms_come_first(mirror: Mirror, store: Store) -> None:
    refused = run("fetch")
    assert refused.exit_code == 5
    for words in (
        "Licence: probably CC BY-NC 4.0",
        "NOT for commercial use",
        "Licence: Apache-2.0",
        "--accept-licence",
    ):
        assert words in refused.stderr
    assert mirror.requests == []
    assert not store.folder.exists()
    event = result_of(run("fetch", "--json"))
    assert event["code"] == "weights.licence"
    assert event["details"]["command"] == f"meshwright weights fetch {LARGE} --accept-licence"


def test_fetch_then_everything_else(mirror: Mirror, store: Store, tmp_path: Path) -> None:
    fetched = run("fetch", LARGE, "--accept-licence")
    assert fetched.exit_code == 0, fetched.output
    assert f"{LARGE} is installed in {store.folder} (8." in fetched.stdout
    assert f"The model card of {GENERATOR} gives its licence as: cc-by-nc-4.0" in fetched.stderr
    assert set(installed(LARGE).accepted) == {GENERATOR, VGGT, DINOV2}

    mirror.requests.clear()
    again = run("fetch")  # accepted once
    assert (again.exit_code, mirror.requests) == (0, [])
    assert "nothing was missing" in again.stdout
    assert "Terms" not in again.stderr

    assert f"{LARGE}: whole and as it should be (19 files)." in run("verify").stdout
    assert "its model card says: cc-by-nc-4.0" in run("list").stdout
    findings = {item.name: item for item in weights_findings()}
    assert [item.state for item in findings.values()] == ["ok"] * 3
    assert findings[VGGT].found == "whole, revision aac569c280b5"

    bundle = tmp_path / "large.tar"
    exported = run("export", LARGE, "-o", bundle)
    assert exported.exit_code == 0, exported.output
    assert "meshwright weights import large.tar" in exported.stdout
    assert run("export", LARGE, "-o", bundle).exit_code == 4

    assert run("remove", LARGE).exit_code == 2  # nobody to ask
    assert store.folder.joinpath(GENERATOR, MESH).is_file()
    removed = run("remove", LARGE, "--yes")
    assert removed.exit_code == 0, removed.output
    assert "19 files" in removed.stdout
    assert [path.name for path in store.folder.iterdir()] == [".meshwright"]
    assert "Nothing of" in run("remove", LARGE, "--yes").stdout

    imported = run("import", bundle)  # accepted before
    assert imported.exit_code == 0, imported.output
    assert f"19 files of {LARGE} came" in imported.stdout
    assert run("verify", LARGE).exit_code == 0


def test_json_of_all_commands(mirror: Mirror, store: Store, tmp_path: Path) -> None:
    lines = run("fetch", "--accept-licence", "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert events[-1]["event"] == "result"
    assert events[-1]["fetched"] == 19
    assert all(event["event"] == "progress" for event in events[:-1])
    assert result_of(run("fetch", "--json"))["bytes"] == 0
    assert result_of(run("fetch", "mini", "--json"))["fetched"] == 0
    assert [item["files"] for item in result_of(run("verify", "--json"))["families"]] == [1, 19]
    assert result_of(run("export", LARGE, "-o", tmp_path / "a.tar", "--json"))["bytes"] > 7e6
    assert result_of(run("remove", LARGE, "--yes", "--json"))["removed"] == 19
    assert result_of(run("import", tmp_path / "a.tar", "--json"))["missing"] == []


@pytest.mark.parametrize("spoil", ["truncated", "renamed", "hash", "shape"])
def test_every_fault_is_said_in_its_own_words(store: Store, release: Path, tmp_path: Path, spoil: str) -> None:
    code = f"weights.{spoil}"
    shutil.copytree(release, store.folder)
    write_catalogue(tmp_path / "catalogue.json", release, hashes=True)
    path = store.folder / GENERATOR / MESH
    data = path.read_bytes()
    if spoil == "truncated":
        path.write_bytes(data[:-1])
    elif spoil == "renamed":
        path.rename(path.with_name("mesh.safetensors"))
    elif spoil == "hash":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    else:
        text = path.with_suffix(".json").read_text().replace('"model_channels": 256', '"model_channels": 128')
        path.with_suffix(".json").write_text(text)
        # A changed JSON has a wrong hash too; here the shapes are what is asked about.
        write_catalogue(tmp_path / "catalogue.json", store.folder, hashes=True)
    result = run("verify", LARGE)
    assert result.exit_code == 5
    assert f"[{code}]" in result.stderr, result.stderr
    assert "hint:" in result.stderr
    assert result_of(run("verify", LARGE, "--json"))["details"]["faults"][0]["code"] == code
    assert ("incomplete" in (listed := run("list").stdout) or "broken" in listed) == (spoil != "hash")
    assert not any(item.state == "missing" for item in weights_findings())


def test_doctor_says_what_is_missing_and_how_to_get_it(store: Store, release: Path) -> None:
    findings = weights_findings()
    assert [item.name for item in findings] == [GENERATOR, VGGT, DINOV2]
    assert {item.found for item in findings} == {"not installed"}
    assert all(item.advice == f"meshwright weights fetch {LARGE} --accept-licence" for item in findings)
    shutil.copytree(release, store.folder)
    assert "its licence is not accepted yet" in weights_findings()[1].found
    (store.folder / GENERATOR / MESH).unlink()
    (store.folder / VGGT / "model.safetensors").write_bytes(b"short")
    found = {item.name: item.found for item in weights_findings()}
    assert found[GENERATOR] == "1 of 15 files are missing"
    assert found[VGGT] == "model.safetensors has 5 bytes only"


def test_without_the_package_that_fetches(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run("fetch", "--accept-licence")
    assert result.exit_code == 5
    assert "pip install 'meshwright[weights]'" in result.stderr
    missing = run("verify", LARGE)
    assert f"pip install 'meshwright[weights]' && meshwright weights fetch {LARGE}" in missing.stderr


def test_a_broken_download_ends_with_a_message_and_goes_on(mirror: Mirror, store: Store, tmp_path: Path) -> None:
    """Another process, as a user has it; the line is cut until it gives up, then the same command is typed again."""
    environment = os.environ | {"PYTHONWARNINGS": "error::ResourceWarning"}
    program = "from meshwright.cli.app import main; main()"
    command = [sys.executable, "-c", program, "weights", "fetch", "--accept-licence"]
    mirror.statuses["model.safetensors"] = [403]
    broken = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert broken.returncode == 5, broken.stderr
    assert "error: localhost answers 403" in broken.stderr or "error: 127.0.0.1 answers 403" in broken.stderr
    assert "Traceback" not in broken.stderr
    assert (store.folder / GENERATOR / MESH).is_file()
    mirror.requests.clear()
    whole = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert whole.returncode == 0, whole.stderr
    assert mirror.asked("GET", MESH) == []
    installed(family_named(LARGE))
