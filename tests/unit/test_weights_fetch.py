"""Fetching from a local mirror that speaks as the hub does: whole, broken off, refused, lied to."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshwright.errors import Cancelled, DiskFullError, OptionError, OutputError, WeightsFetchError, WeightsFilesError
from meshwright.weights import LARGE, Store, family_named, installed
from meshwright.weights.catalogue import OVERRIDES, Family
from meshwright.weights.fetch import Wanted, fetch, plan_of, survey
from meshwright.weights.licences import accept
from meshwright.weights.store import VARIABLE
from meshwright.weights.transfer import Resource
from weights_mirror import DINOV2, GENERATOR, VGGT, Mirror, serving, write_catalogue, write_release

pytest.importorskip("huggingface_hub")

MESH = "ckpts/slat_dec_mesh_swin8_B_64l8m256c_fp16.safetensors"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    write_release(folder)
    return folder


@pytest.fixture
def mirror(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    with serving(release) as mirror:
        monkeypatch.setenv("HF_ENDPOINT", mirror.url)
        monkeypatch.setenv(VARIABLE, str(tmp_path / "store"))
        monkeypatch.setenv(OVERRIDES, str(write_catalogue(tmp_path / "catalogue.json", release, url=mirror.url)))
        for module in ("transfer", "fetch"):
            monkeypatch.setattr(f"meshwright.weights.{module}._PAUSE_S", 0.001)
        yield mirror


@pytest.fixture
def family(mirror: Mirror) -> Family:
    return family_named(LARGE)


@pytest.fixture
def store(mirror: Mirror) -> Store:
    return Store()


class Seen:
    """A monitor that keeps what was reported, and stops when it is told to."""

    def __init__(self, stop_at: float = 101.0) -> None:
        self.percents: list[float] = []
        self.steps: list[str] = []
        self.stop_at = stop_at

    def report(self, percent: float, step: str) -> None:
        self.percents.append(percent)
        self.steps.append(step)

    def check(self) -> None:
        if self.percents and self.percents[-1] >= self.stop_at:
            raise Cancelled("Stopped.")


def only(wanted: list[Wanted], name: str) -> list[Wanted]:
    found = [item for item in wanted if item.name.endswith(name)]
    assert len(found) == 1
    return found


def test_everything_comes_from_the_pinned_revision(family: Family, store: Store, mirror: Mirror, release: Path) -> None:
    wanted, _ = survey(family, store)
    seen = Seen()
    came = fetch(wanted, store, seen)
    files = [path for path in release.rglob("*") if path.is_file()]
    assert came == sum(path.stat().st_size for path in files)
    for path in files:
        assert (store.folder / path.relative_to(release)).read_bytes() == path.read_bytes()
    assert seen.percents == sorted(seen.percents)
    assert seen.percents[-1] == 100.0
    assert any(step.endswith("of 7.4 MB") for step in seen.steps), seen.steps
    assert all(f"/resolve/{family.part(VGGT).revision}/" in line for line in mirror.asked("HEAD", f"{VGGT}/resolve"))
    accept(family, store)
    found = installed(LARGE)
    assert found.revisions == {
        GENERATOR: "647659a5ad5fbf67e22793e7b5e2cee4b30c5d13",
        VGGT: "aac569c280b52ccda1c84a81cd0e27e947bc2cf5",
        DINOV2: "",
    }
    assert found.name == f"{LARGE}@647659a5ad5f"
    record = store.file_record(GENERATOR, MESH)
    assert record is not None
    assert record.sha256 == hashlib.sha256((release / GENERATOR / MESH).read_bytes()).hexdigest()
    assert record.source.startswith(f"{mirror.url}/{GENERATOR}/resolve/")
    assert not store.partial.exists()


def test_what_is_there_is_not_asked_for(family: Family, store: Store, mirror: Mirror, release: Path) -> None:
    shutil.copytree(release, store.folder)
    assert survey(family, store)[0] == []
    assert mirror.requests == []  # a plain copy needs no network
    (store.folder / GENERATOR / MESH).unlink()
    wanted, _ = survey(family, store)
    assert [item.entry.path for item in wanted] == [MESH]
    fetch(wanted, store)
    assert survey(family, store)[0] == []


def test_broken_files_are_replaced_and_nothing_else(family: Family, store: Store, release: Path) -> None:
    shutil.copytree(release, store.folder)
    survey(family, store)  # pins what is there
    short = store.folder / VGGT / "model.safetensors"
    short.write_bytes(short.read_bytes()[:-7])
    changed = store.folder / GENERATOR / MESH
    data = bytearray(changed.read_bytes())
    data[-3] ^= 4
    changed.write_bytes(bytes(data))
    wanted, _ = survey(family, store)
    assert {item.name for item in wanted} == {f"{VGGT}/model.safetensors", f"{GENERATOR}/{MESH}"}
    fetch(wanted, store)
    assert short.read_bytes() == (release / VGGT / "model.safetensors").read_bytes()
    assert changed.read_bytes() == (release / GENERATOR / MESH).read_bytes()


def test_arguments_that_do_not_fit_are_fetched_with_their_weights(family: Family, store: Store, release: Path) -> None:
    shutil.copytree(release, store.folder)
    config = (store.folder / GENERATOR / MESH).with_suffix(".json")
    config.write_text(config.read_text().replace('"model_channels": 256', '"model_channels": 128'))
    wanted, _ = survey(family, store)
    assert sorted(item.entry.path for item in wanted) == sorted([MESH, MESH.replace(".safetensors", ".json")])
    fetch(wanted, store)
    assert survey(family, store)[0] == []


def test_a_line_that_breaks_goes_on_where_it_was(family: Family, store: Store, mirror: Mirror, release: Path) -> None:
    mirror.break_after[MESH] = [100_000, 1, 2_000_000]
    wanted = only(survey(family, store)[0], MESH)
    assert fetch(wanted, store) == (release / GENERATOR / MESH).stat().st_size
    ranges = [
        line.rpartition("=")[2] for line in mirror.asked("GET", f"resolve/{family.part(GENERATOR).revision}/{MESH}")
    ]
    assert ranges[1:] == ["100000-", "100001-", "2100001-"]
    assert (store.folder / GENERATOR / MESH).read_bytes() == (release / GENERATOR / MESH).read_bytes()


def test_a_fetch_that_was_stopped_goes_on_in_the_next_one(
    family: Family, store: Store, mirror: Mirror, release: Path
) -> None:
    size = (release / GENERATOR / MESH).stat().st_size
    with pytest.raises(Cancelled):
        fetch(only(survey(family, store)[0], MESH), store, Seen(stop_at=40.0))
    (unfinished,) = store.partial.iterdir()
    before = unfinished.stat().st_size
    assert 0 < before < size
    assert not (store.folder / GENERATOR / MESH).exists()  # what is not whole is never taken for weights
    wanted = only(survey(family, store)[0], MESH)
    assert wanted[0].here == before
    assert fetch(wanted, store) == size - before
    assert mirror.asked("GET", MESH)[-1].endswith(f"bytes={before}-")
    assert (store.folder / GENERATOR / MESH).read_bytes() == (release / GENERATOR / MESH).read_bytes()


def test_a_server_without_ranges_sends_it_all_again(
    family: Family, store: Store, mirror: Mirror, release: Path
) -> None:
    mirror.ranges = False
    mirror.break_after[MESH] = [1_000_000]
    fetch(only(survey(family, store)[0], MESH), store)
    assert (store.folder / GENERATOR / MESH).read_bytes() == (release / GENERATOR / MESH).read_bytes()


def test_a_server_that_never_gets_anywhere_is_given_up(family: Family, store: Store, mirror: Mirror) -> None:
    mirror.break_after[MESH] = [5000, *[0] * 50]
    with pytest.raises(WeightsFetchError, match="goes on where it was") as caught:
        fetch(only(survey(family, store)[0], MESH), store)
    assert "127.0.0.1 does not answer" in caught.value.message
    assert len(mirror.break_after[MESH]) == 46
    assert [path.stat().st_size for path in store.partial.iterdir()] == [5000]


def test_a_busy_server_is_waited_for(family: Family, store: Store, mirror: Mirror) -> None:
    mirror.statuses[MESH] = [503, 429, 500]
    fetch(only(survey(family, store)[0], MESH), store)
    assert (store.folder / GENERATOR / MESH).is_file()


def test_a_server_that_refuses_is_not_asked_again(family: Family, store: Store, mirror: Mirror) -> None:
    mirror.statuses[MESH] = [403, 200]
    with pytest.raises(WeightsFetchError, match="answers 403"):
        fetch(only(survey(family, store)[0], MESH), store)
    assert mirror.statuses[MESH] == [200]


@pytest.mark.parametrize("name", [MESH, "pipeline.json"])
def test_other_contents_than_announced_are_not_kept(
    family: Family, store: Store, mirror: Mirror, release: Path, name: str
) -> None:
    data = bytearray((release / GENERATOR / name).read_bytes())
    data[-2] ^= 1
    mirror.lies[name] = bytes(data)
    with pytest.raises(WeightsFilesError, match=r"other contents than the server announced .*\[weights\.hash\]"):
        fetch(only(survey(family, store)[0], name), store)
    assert not (store.folder / GENERATOR / name).exists()
    assert list(store.partial.iterdir()) == []


def test_other_contents_than_published_are_not_fetched(
    family: Family, store: Store, mirror: Mirror, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_catalogue(tmp_path / "catalogue.json", release, url=mirror.url, hashes=True)
    document = json.loads(file.read_text())
    document[LARGE][GENERATOR]["files"][MESH]["sha256"] = "0" * 64
    file.write_text(json.dumps(document))
    with pytest.raises(WeightsFilesError, match="the server has another file"):
        survey(family_named(LARGE), store)
    assert mirror.asked("GET", MESH) == []


def test_what_was_begun_with_another_file_is_fetched_anew(family: Family, store: Store, release: Path) -> None:
    wanted = only(survey(family, store)[0], MESH)
    wanted[0].unfinished.parent.mkdir(parents=True)
    wanted[0].unfinished.write_bytes(b"\0" * 3_000_000)
    fetch(wanted, store)
    assert (store.folder / GENERATOR / MESH).read_bytes() == (release / GENERATOR / MESH).read_bytes()
    longer = only(survey(family, store)[0], "model.safetensors")
    longer[0].unfinished.parent.mkdir(parents=True, exist_ok=True)
    longer[0].unfinished.write_bytes(b"\0" * 30_000_000)
    fetch(longer, store)
    assert (store.folder / VGGT / "model.safetensors").is_file()


def test_a_file_that_the_server_has_not(
    family: Family, store: Store, mirror: Mirror, tmp_path: Path, release: Path
) -> None:
    mirror.folder = tmp_path / "less"
    shutil.copytree(release, mirror.folder)
    (mirror.folder / GENERATOR / MESH).unlink()
    with pytest.raises(WeightsFetchError, match="has no such file in revision 647659a5ad5f"):
        survey(family, store)
    shutil.rmtree(mirror.folder / GENERATOR)
    with pytest.raises(WeightsFetchError, match=f"no {GENERATOR} in revision .*HF_TOKEN"):
        survey(family, store)


def test_a_revision_that_is_gone(family: Family, store: Store, mirror: Mirror) -> None:
    mirror.revisions[GENERATOR] = "0" * 40
    with pytest.raises(WeightsFetchError, match="in revision 647659a5ad5f"):
        survey(family, store)


def test_a_repository_that_asks_for_consent(family: Family, store: Store, mirror: Mirror) -> None:
    mirror.closed[VGGT] = "GatedRepo"
    with pytest.raises(WeightsFetchError, match=f"{VGGT} is only given to those who have accepted") as caught:
        survey(family, store)
    assert "HF_TOKEN" in caught.value.hint


def test_a_machine_that_is_told_to_stay_offline(
    family: Family, store: Store, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsFetchError, match="HF_HUB_OFFLINE is set") as caught:
        survey(family, store)
    assert "meshwright weights import" in caught.value.hint
    assert mirror.requests == []


def test_nobody_answers(family: Family, store: Store, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsFetchError, match=r"The hub does not answer .*meshwright weights import"):
        survey(family, store)
    monkeypatch.setattr("meshwright.weights.transfer._TRIES", 2)
    with pytest.raises(WeightsFetchError, match=r"127\.0\.0\.1 does not answer"):
        survey(family, store, mirror="http://127.0.0.1:9/weights")


def test_too_little_space_is_said_before_anything_comes(
    family: Family, store: Store, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, _ = survey(family, store)
    monkeypatch.setattr(Store, "free_bytes", lambda self: 1_000_000)
    with pytest.raises(DiskFullError, match=r"75\.\d MB are needed in .*, 1\.0 MB are free") as caught:
        fetch(wanted, store)
    assert "MESHWRIGHT_WEIGHTS" in caught.value.hint
    assert mirror.asked("GET", "safetensors") == []


def test_two_programs_do_not_write_at_once(family: Family, store: Store) -> None:
    wanted = only(survey(family, store)[0], "pipeline.json")
    with store.writing(), pytest.raises(OutputError, match="Another program is putting weights"):
        fetch(wanted, store)
    fetch(wanted, store)


def test_a_store_that_cannot_be_made(family: Family, mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "store")
    with pytest.raises(OutputError, match="cannot be written to"):
        accept(family, store)
    with pytest.raises(OutputError, match="cannot be written to"):
        fetch(survey(family, Store(tmp_path / "none"))[0], store)


def test_a_plain_web_server_over_a_store_is_a_mirror_too(
    family: Family, store: Store, mirror: Mirror, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    wanted, _ = survey(family, store, mirror=f"{mirror.url}/")
    fetch(wanted, store)
    assert not any("/resolve/" in line for line in mirror.requests)
    assert (store.folder / DINOV2 / "dinov2_vitl14_reg4_pretrain.pth").is_file()
    assert survey(family, store)[0] == []


def test_the_record_of_a_mirrored_store_is_held_to(
    family: Family, store: Store, mirror: Mirror, release: Path, tmp_path: Path
) -> None:
    there = Store(tmp_path / "there")
    shutil.copytree(release, there.folder)
    assert survey(family, there)[0] == []
    mirror.folder = there.folder
    data = bytearray((release / GENERATOR / MESH).read_bytes())
    data[-1] ^= 1
    (there.folder / GENERATOR / MESH).write_bytes(bytes(data))
    with pytest.raises(WeightsFilesError, match="other contents than the server announced"):
        fetch(only(survey(family, store, mirror=mirror.url)[0], MESH), store)


def test_a_web_page_instead_of_weights_is_not_kept(family: Family, store: Store, mirror: Mirror, release: Path) -> None:
    size = (release / VGGT / "model.safetensors").stat().st_size
    mirror.lies["model.safetensors"] = b"<html>Log in".ljust(size)
    wanted, _ = survey(family, store, mirror=mirror.url)
    with pytest.raises(WeightsFilesError, match="is a web page"):
        fetch(only(wanted, "model.safetensors"), store)


def test_tokens_are_sent_to_the_hub_only(
    family: Family, store: Store, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    wanted, _ = survey(family, store)
    by_part = {item.part.folder: item.resource for item in wanted}
    assert by_part[GENERATOR].headers == {"authorization": "Bearer hf_secret"}
    assert by_part[DINOV2].headers == {}
    plain, _ = survey(family, store, mirror=mirror.url)
    assert all(item.resource.headers == {} for item in plain)


def test_what_comes_with_meshwright_is_not_fetched(store: Store) -> None:
    with pytest.raises(WeightsFetchError, match="comes with meshwright"):
        survey(family_named("mini"), store)
    with pytest.raises(OptionError):
        family_named("other")


def test_the_plan_counts_what_is_left(family: Family, store: Store) -> None:
    wanted, _ = survey(family, store)
    assert [span.stage.name for span in plan_of(wanted).spans] == [GENERATOR, VGGT, DINOV2]
    assert fetch([], store) == 0


def test_a_stop_reaches_a_wait(family: Family, store: Store, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is down for long is not waited for once the user has had enough."""
    monkeypatch.setattr("meshwright.weights.transfer._PAUSE_S", 60.0)
    mirror.statuses[MESH] = [503] * 5
    wanted = only(survey(family, store)[0], MESH)
    seen = Seen()
    threading.Timer(0.3, lambda: setattr(seen, "stop_at", 0.0)).start()
    with pytest.raises(Cancelled):
        fetch(wanted, store, seen)


def test_a_resource_without_a_size_is_read_to_its_end(mirror: Mirror, tmp_path: Path, release: Path) -> None:
    from meshwright.types import SilentMonitor
    from meshwright.weights.transfer import look_up, transfer

    said: list[int] = []
    target = tmp_path / "file"
    transfer(Resource(f"{mirror.url}/{GENERATOR}/pipeline.json"), target, SilentMonitor(), said.append)
    assert target.read_bytes() == (release / GENERATOR / "pipeline.json").read_bytes()
    assert said[-1] == target.stat().st_size
    assert look_up(f"{mirror.url}/nothing/here") is None
