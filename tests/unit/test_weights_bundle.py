"""Bundles and folders: what goes out comes in the same, and nothing comes in that should not."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from meshwright.errors import (
    Cancelled,
    DiskFullError,
    OutputError,
    WeightsFetchError,
    WeightsFilesError,
    WeightsNotInstalledError,
)
from meshwright.weights import LARGE, Store, family_named
from meshwright.weights.bundle import export_bundle, family_of, import_from
from meshwright.weights.catalogue import OVERRIDES, Family
from meshwright.weights.verify import examine, verify
from weights_mirror import DINOV2, GENERATOR, VGGT, write_catalogue, write_release

MESH = f"{GENERATOR}/ckpts/slat_dec_mesh_swin8_B_64l8m256c_fp16.safetensors"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    write_release(folder)
    return folder


@pytest.fixture
def family(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Family:
    monkeypatch.setenv(OVERRIDES, str(write_catalogue(tmp_path / "catalogue.json", release)))
    return family_named(LARGE)


@pytest.fixture
def store(release: Path, tmp_path: Path, family: Family) -> Store:
    shutil.copytree(release, tmp_path / "here")
    return Store(tmp_path / "here")


@pytest.fixture
def bundle(store: Store, family: Family, tmp_path: Path) -> Path:
    export_bundle(family, store, tmp_path / "bundle.tar")
    return tmp_path / "bundle.tar"


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".meshwright" not in path.parts
    }


def edited(bundle: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> Path:
    """The bundle with its members changed."""
    members = []
    with tarfile.open(bundle) as tar:
        for info in tar:
            stream = tar.extractfile(info)
            assert stream is not None
            members.append((info, stream.read()))
    change(members)
    target = bundle.with_name("edited.tar")
    with tarfile.open(target, "w") as tar:
        for info, data in members:
            if info.isfile():
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return target


def test_a_bundle_brings_the_same_files(bundle: Path, store: Store, family: Family, tmp_path: Path) -> None:
    there = Store(tmp_path / "there")
    found, count = import_from(bundle, there)
    assert found.name == LARGE
    assert files_of(there.folder) == files_of(store.folder)
    assert count == len(files_of(store.folder))
    assert verify(family, there).faults == []
    assert verify(family, there).pinned == []  # the manifest said the hashes
    assert not there.partial.exists()


def test_a_bundle_is_the_same_whoever_makes_it(bundle: Path, store: Store, family: Family, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    shutil.copytree(store.folder, other.folder, ignore=shutil.ignore_patterns(".meshwright"))
    export_bundle(family, other, tmp_path / "again.tar")
    assert bundle.read_bytes() == (tmp_path / "again.tar").read_bytes()
    with tarfile.open(bundle) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        document = json.load(manifest)
    assert "NOT for commercial use" in document["licences"][VGGT]


def test_a_revision_travels_along(store: Store, family: Family, tmp_path: Path) -> None:
    verify(family, store)
    store.keep_files(VGGT, {}, revision="a" * 40)
    export_bundle(family, store, tmp_path / "b.tar")
    there = Store(tmp_path / "there")
    import_from(tmp_path / "b.tar", there)
    assert there.revision(VGGT) == "a" * 40


def test_only_whole_families_go_out(store: Store, family: Family, tmp_path: Path) -> None:
    (store.folder / MESH).unlink()
    with pytest.raises(WeightsNotInstalledError, match="missing: ckpts/slat_dec_mesh"):
        export_bundle(family, store, tmp_path / "bundle.tar")
    with pytest.raises(WeightsFetchError, match="comes with meshwright"):
        export_bundle(family_named("mini"), store, tmp_path / "bundle.tar")
    assert not (tmp_path / "bundle.tar").exists()


def test_nothing_is_overwritten_and_nothing_is_left_behind(store: Store, family: Family, tmp_path: Path) -> None:
    target = tmp_path / "out" / "bundle.tar"

    class Stop:
        def report(self, percent: float, step: str) -> None:
            self.percent = percent

        def check(self) -> None:
            if self.percent > 70:
                raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        export_bundle(family, store, target, Stop())
    assert list(target.parent.iterdir()) == []
    target.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        export_bundle(family, store, target)
    assert target.read_text() == "mine"


def test_too_little_space(
    bundle: Path, store: Store, family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshwright.weights.bundle.shutil.disk_usage", lambda folder: SimpleNamespace(free=5))
    with pytest.raises(DiskFullError, match="are needed on the disk"):
        import_from(bundle, Store(tmp_path / "there"))
    with pytest.raises(DiskFullError):
        export_bundle(family, store, tmp_path / "more.tar")
    assert not (tmp_path / "more.tar.part").exists()


# --- what does not come in ------------------------------------------------------------------------------------------


def test_a_bundle_that_ends_too_early(bundle: Path, tmp_path: Path, family: Family) -> None:
    data = bundle.read_bytes()
    for length in (100, 9000, len(data) // 2, len(data) - 200_000):
        bundle.write_bytes(data[:length])
        there = Store(tmp_path / f"there{length}")
        with pytest.raises(WeightsFetchError, match="damaged one"):
            import_from(bundle, there)
        assert all((tmp_path / "here" / name).read_bytes() == body for name, body in files_of(there.folder).items())


def test_a_changed_byte_is_found(bundle: Path, tmp_path: Path) -> None:
    data = bytearray(bundle.read_bytes())
    with tarfile.open(bundle) as tar:
        member = tar.getmember(MESH)
    data[member.offset_data + member.size - 5] ^= 1
    bundle.write_bytes(bytes(data))
    there = Store(tmp_path / "there")
    with pytest.raises(WeightsFilesError, match=r"other contents than the manifest says \[weights\.hash\]"):
        import_from(bundle, there)
    assert not (there.folder / MESH).exists()
    assert not any(there.partial.glob("*.import"))


@pytest.mark.parametrize("name", ["../../escaped", "/etc/escaped", f"{GENERATOR}/../../../escaped", "Stable-X/a/b"])
def test_names_that_lead_elsewhere(bundle: Path, tmp_path: Path, name: str) -> None:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members.insert(1, (tarfile.TarInfo(name), b"evil"))

    with pytest.raises(WeightsFetchError, match="is not as its manifest says"):
        import_from(edited(bundle, change), Store(tmp_path / "a" / "there"))

    def listed(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        change(members)
        document = json.loads(members[0][1])
        document["files"].insert(0, {"path": name, "size": 4, "sha256": ""})
        members[0] = (members[0][0], json.dumps(document).encode())

    with pytest.raises(WeightsFetchError, match="does not belong to trellis-vggt-v0-2"):
        import_from(edited(bundle, listed), Store(tmp_path / "a" / "there"))
    assert not list(tmp_path.rglob("escaped"))


def test_a_link_instead_of_a_file(bundle: Path, tmp_path: Path) -> None:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        for info, _ in members:
            if info.name == MESH:
                info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0

    with pytest.raises(WeightsFetchError, match="is not as its manifest says"):
        import_from(edited(bundle, change), Store(tmp_path / "there"))


def test_a_bundle_that_lacks_what_it_promises(bundle: Path, tmp_path: Path) -> None:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[:] = [item for item in members if item[0].name != MESH]

    with pytest.raises(WeightsFetchError, match="are not in it"):
        import_from(edited(bundle, change), Store(tmp_path / "there"))


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        (b"{", "damaged one"),
        (b"[]", "damaged one"),
        (b'{"meshwright_weights": 2}', "another version"),
        (b'{"meshwright_weights": 1, "family": "other"}', "not known here"),
        (b'{"meshwright_weights": 1, "family": "mini"}', "not known here"),
    ],
)
def test_manifests_that_make_no_sense(bundle: Path, tmp_path: Path, manifest: bytes, why: str) -> None:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[0] = (members[0][0], manifest)

    with pytest.raises(WeightsFetchError, match=why):
        family_of(edited(bundle, change))


def test_things_that_are_no_bundles(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"not a tar")
    with pytest.raises(WeightsFetchError, match="it is no tar"):
        family_of(tmp_path / "a.tar")
    with pytest.raises(WeightsFetchError, match="There is no"):
        family_of(tmp_path / "b.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsFetchError, match="Looked for is one of these folders"):
        family_of(tmp_path / "empty")


# --- folders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["store", "names", "cache"])
def test_folders_that_repositories_were_copied_to(release: Path, family: Family, tmp_path: Path, layout: str) -> None:
    folders = {
        "store": {part.folder: part.folder for part in family.parts},
        "names": {part.folder: part.folder.rpartition("/")[2] for part in family.parts},
        "cache": {
            GENERATOR: f"models--{GENERATOR.replace('/', '--')}/snapshots/{family.part(GENERATOR).revision}",
            VGGT: f"models--{VGGT.replace('/', '--')}/snapshots/{'b' * 40}",
            DINOV2: ".",
        },
    }[layout]
    source = tmp_path / "source"
    for part, folder in folders.items():
        shutil.copytree(release / part, source / folder, dirs_exist_ok=True)
    store = Store(tmp_path / "there")
    assert family_of(source).name == LARGE
    assert import_from(source, store)[1] == 19
    assert examine(family, store)[0] == []


def test_a_folder_with_some_of_it(release: Path, family: Family, tmp_path: Path) -> None:
    shutil.copytree(release / VGGT, tmp_path / "source" / VGGT)
    store = Store(tmp_path / "there")
    assert import_from(tmp_path / "source", store)[1] == 2
    assert all(fault.code == "weights.missing" for fault in examine(family, store)[0])


def test_a_broken_file_in_a_folder_does_not_come_in(release: Path, family: Family, tmp_path: Path) -> None:
    shutil.copytree(release, tmp_path / "source")
    path = tmp_path / "source" / MESH
    path.write_bytes(path.read_bytes()[:-9])
    store = Store(tmp_path / "there")
    with pytest.raises(WeightsFilesError, match="truncated"):
        import_from(tmp_path / "source", store)
    assert not (store.folder / MESH).exists()
