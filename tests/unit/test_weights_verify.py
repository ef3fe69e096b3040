"""The store, and what is found in it: every way in which files can be wrong has an error of its own."""

from __future__ import annotations

import json
import os
import pickle
import re
import zipfile
from pathlib import Path

import pytest

from meshwright.errors import (
    LicenceNotAcceptedError,
    OptionError,
    OutputError,
    WeightsFilesError,
    WeightsNotInstalledError,
)
from meshwright.weights import LARGE, Store, family_named, installed
from meshwright.weights.catalogue import FAMILIES, OVERRIDES, Family
from meshwright.weights.headers import BadFileError, read_shapes
from meshwright.weights.layouts import expected_shapes
from meshwright.weights.licences import accept, not_accepted
from meshwright.weights.store import VARIABLE, default_folder
from meshwright.weights.verify import examine, locate, verify
from weights_mirror import DINOV2, GENERATOR, SMALL, VGGT, save_random, vggt_shapes, vision_shapes, write_release

FLOW = f"{GENERATOR}/ckpts/ss_flow_img_dit_L_16l8_fp16.safetensors"


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    write_release(folder)
    return folder


@pytest.fixture
def store(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of its own whose files are links to the release: they may be replaced, not written into."""
    for file in release.rglob("*"):
        if file.is_file():
            target = tmp_path / "store" / file.relative_to(release)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, target)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "store"))
    (tmp_path / "none.json").write_text(
        json.dumps({LARGE: {part: {"files": {}} for part in (DINOV2, VGGT, GENERATOR)}}), encoding="utf-8"
    )
    monkeypatch.setenv(OVERRIDES, str(tmp_path / "none.json"))
    return Store()


@pytest.fixture
def family(store: Store) -> Family:
    """As the catalogue has it, without the sizes and hashes of the released files."""
    return family_named(LARGE)


def replace(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def only_fault(family: Family, store: Store) -> tuple[str, str, str]:
    faults, _ = examine(family, store)
    assert len(faults) == 1, faults
    return faults[0].file, faults[0].code, faults[0].message


# --- what is asked for ----------------------------------------------------------------------------------------------


def test_what_comes_with_meshwright_is_always_installed(tmp_path: Path) -> None:
    found = installed("mini", Store(tmp_path / "nothing"))
    assert found.networks["prior"].weights.is_file()
    assert found.accepted == {}
    assert found.name == "mini"
    assert not (tmp_path / "nothing").exists()


def test_a_plain_directory_will_do(family: Family, store: Store) -> None:
    assert examine(family, store) == ([], [])
    accept(family, store)
    found = installed(LARGE)
    assert set(found.networks) == {network.name for network in family.networks}
    for files in found.networks.values():
        assert files.weights.is_file()
        assert files.config is None or files.config.is_file()
    assert found.networks["dinov2"].config is None
    assert found.pipeline == store.folder / GENERATOR / "pipeline.json"
    assert set(found.accepted) == {GENERATOR, VGGT, DINOV2}
    assert found.name == LARGE  # copied by hand: no commit is known


def test_what_is_missing_is_named_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotInstalledError) as caught:
        installed(LARGE, Store(tmp_path))
    for part in (GENERATOR, VGGT, DINOV2):
        assert f"{part} (" in caught.value.message
    assert caught.value.code == "weights.not_installed"
    assert f"meshwright weights fetch {LARGE} --accept-licence" in caught.value.hint
    assert len(caught.value.details["missing"]) == 18  # type: ignore[arg-type]


def test_one_missing_file_is_named(family: Family, store: Store) -> None:
    (store.folder / FLOW).unlink()
    with pytest.raises(
        WeightsNotInstalledError, match=r"missing: ckpts/ss_flow_img_dit_L_16l8_fp16\.safetensors"
    ) as caught:
        installed(LARGE)
    assert VGGT not in caught.value.message


def test_nobody_loads_weights_whose_terms_were_not_accepted(family: Family, store: Store) -> None:
    with pytest.raises(LicenceNotAcceptedError, match="NOT for commercial use") as caught:
        installed(LARGE)
    assert "--accept-licence" in caught.value.hint
    assert isinstance(caught.value, WeightsNotInstalledError)
    assert len(accept(family, store)) == 3
    assert accept(family, store) == []
    installed(LARGE)


def test_terms_that_change_are_shown_again(family: Family, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    accept(family, store)
    record = json.loads(store.record_path.read_text())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["licences"][VGGT]["accepted"])
    monkeypatch.setattr("meshwright.weights.licences.shown", lambda part: f"{part.folder}: other words")
    assert [part.folder for part in not_accepted(family, store)] == [GENERATOR, VGGT, DINOV2]


def test_a_family_nobody_knows() -> None:
    with pytest.raises(OptionError, match="no family of weights called 'huge'"):
        installed("huge")


def test_the_folder_is_where_users_keep_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "meshwright" / "weights"
    monkeypatch.setenv(VARIABLE, "~/elsewhere")
    assert default_folder() == Path.home() / "elsewhere"


# --- what can be wrong ----------------------------------------------------------------------------------------------


def test_a_truncated_file(family: Family, store: Store) -> None:
    path = store.folder / FLOW
    data = path.read_bytes()
    replace(path, data[:-1000])
    file, code, message = only_fault(family, store)
    assert (file, code) == (FLOW, "weights.truncated")
    assert message == f"has {len(data) - 1000:,} of the {len(data):,} bytes that its header promises"
    with pytest.raises(WeightsFilesError, match="truncated") as caught:
        installed(LARGE)
    assert "is fetched again" in caught.value.hint
    assert isinstance(caught.value, WeightsNotInstalledError)


@pytest.mark.parametrize("length", [0, 3, 100])
def test_a_file_cut_off_within_its_header(family: Family, store: Store, length: int) -> None:
    path = store.folder / FLOW
    replace(path, path.read_bytes()[:length])
    assert only_fault(family, store)[1] == "weights.truncated"


def test_a_truncated_torch_file(family: Family, store: Store) -> None:
    path = store.folder / DINOV2 / "dinov2_vitl14_reg4_pretrain.pth"
    replace(path, path.read_bytes()[:-5000])
    assert only_fault(family, store)[1] == "weights.truncated"


def test_a_renamed_file(family: Family, store: Store) -> None:
    path = store.folder / FLOW
    path.rename(path.with_name("ss_flow.safetensors"))
    file, code, message = only_fault(family, store)
    assert (file, code) == (FLOW, "weights.renamed")
    assert message == "is not there, but ckpts/ss_flow.safetensors holds its tensors: rename that"


@pytest.mark.parametrize(("part", "name"), [(VGGT, "model.safetensors"), (DINOV2, "dinov2_vitl14_reg4_pretrain.pth")])
def test_a_renamed_encoder(family: Family, store: Store, part: str, name: str) -> None:
    path = store.folder / part / name
    path.rename(path.with_name(f"old{path.suffix}"))
    assert only_fault(family, store)[1] == "weights.renamed"


def test_two_files_with_each_others_names(family: Family, store: Store) -> None:
    names = {network.name: store.folder / network.part / network.weights for network in family.networks}
    mesh, gaussians = names["slat_decoder_mesh"], names["slat_decoder_gs"]
    one, other = mesh.read_bytes(), gaussians.read_bytes()
    replace(mesh, other)
    replace(gaussians, one)
    faults, _ = examine(family, store)
    assert [fault.code for fault in faults] == ["weights.renamed", "weights.renamed"]
    assert "holds the tensors of slat_decoder_gs, which belong into slat_dec_gs" in faults[0].message
    with pytest.raises(WeightsFilesError) as caught:
        installed(LARGE)
    assert "Give every file its own name again" in caught.value.hint


def test_a_tensor_of_the_wrong_shape(family: Family, store: Store) -> None:
    shapes = expected_shapes("sparse_structure_flow_model", SMALL["sparse_structure_flow_model"][1], {})
    assert shapes is not None
    (store.folder / FLOW).unlink()
    save_random(store.folder / FLOW, shapes | {"input_layer.weight": (32, 8), "out_layer.bias": (7,)})
    file, code, message = only_fault(family, store)
    assert (file, code) == (FLOW, "weights.shape")
    assert message == "has wrong shapes: input_layer.weight is [32, 8], not [32, 512]; out_layer.bias is [7], not [512]"
    with pytest.raises(WeightsFilesError) as caught:
        installed(LARGE)
    assert "do not belong together" in caught.value.hint


def test_encoders_have_to_agree_with_themselves(family: Family, store: Store) -> None:
    path = store.folder / VGGT / "model.safetensors"
    path.unlink()
    save_random(path, vggt_shapes() | {"aggregator.global_blocks.1.attn.qkv.weight": (96, 31)})
    assert only_fault(family, store)[1] == "weights.shape"
    path.unlink()
    save_random(path, vggt_shapes(channels=64))  # config.json says 32
    assert only_fault(family, store)[1] == "weights.shape"


def test_missing_and_further_tensors_are_noted_not_refused(family: Family, store: Store) -> None:
    name = f"{GENERATOR}/ckpts/slat_vggt_cond.safetensors"
    shapes = expected_shapes("slat_vggt_cond", SMALL["slat_vggt_cond"][1], {})
    assert shapes is not None
    del shapes["linear_blocks.3.0.bias"]
    (store.folder / name).unlink()
    save_random(store.folder / name, shapes | {"fuse_blocks.0.0.weight": (32, 96)})
    faults, notes = examine(family, store)
    assert faults == []
    assert notes == [f"{name}: 1 of 8 tensors are not in the file, such as linear_blocks.3.0.bias"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "Git LFS pointer"),
        (b"<!doctype html><title>Log in</title>", "a web page"),
        (b"\xff" * 200, "not a safetensors file"),
        (b"\x10\0\0\0\0\0\0\0{'not': 'JSON'} ", "its header has no meaning"),
    ],
)
def test_something_else_under_the_name(family: Family, store: Store, data: bytes, message: str) -> None:
    replace(store.folder / FLOW, data)
    file, code, said = only_fault(family, store)
    assert (file, code) == (FLOW, "weights.unreadable")
    assert message in said


def test_a_file_with_something_behind_it(family: Family, store: Store) -> None:
    replace(store.folder / FLOW, (store.folder / FLOW).read_bytes() + b"more")
    assert only_fault(family, store)[1:] == ("weights.unreadable", "has 4 bytes more than its header says")


def test_a_network_nobody_asked_for(family: Family, store: Store) -> None:
    (store.folder / FLOW).unlink()
    save_random(store.folder / FLOW, {"something.weight": (3, 3)})
    assert "nor of another network" in only_fault(family, store)[2]


def test_a_broken_pipeline_file(family: Family, store: Store) -> None:
    path = store.folder / GENERATOR / "pipeline.json"
    replace(path, path.read_bytes()[:-100])
    assert only_fault(family, store)[:2] == (f"{GENERATOR}/pipeline.json", "weights.unreadable")
    replace(path, b'{"args": {"models": {"slat_flow_model": "ckpts/slat_flow_img_dit_L_64l8p2_fp16"}}}')
    assert "sparse_structure_decoder" in only_fault(family, store)[2]


def test_the_pipeline_file_says_where_networks_lie_within_its_folder(family: Family, store: Store) -> None:
    path = store.folder / GENERATOR / "pipeline.json"
    document = json.loads(path.read_text())
    document["args"]["models"]["slat_vggt_cond"] = "ckpts/other"
    document["args"]["models"]["slat_flow_model"] = "../../../etc/flow"
    document["args"]["models"]["slat_decoder_gs"] = "/etc/gs"
    replace(path, json.dumps(document).encode())
    places = locate(family, store)
    assert places["slat_vggt_cond"].weights == store.folder / GENERATOR / "ckpts" / "other.safetensors"
    for name in ("slat_flow_model", "slat_decoder_gs"):
        assert places[name].weights.is_relative_to(store.folder)
        assert places[name].weights.is_file()


# --- contents -------------------------------------------------------------------------------------------------------


def test_unknown_hashes_are_pinned_on_first_use(family: Family, store: Store) -> None:
    first = verify(family, store)
    assert first.faults == []
    assert first.checked == 19  # with the model card
    assert FLOW in first.pinned
    assert verify(family, store).pinned == []
    path = store.folder / FLOW
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    replace(path, bytes(data))
    assert examine(family, store)[0] == []  # the directory is the same
    (fault,) = verify(family, store).faults
    assert (fault.file, fault.code) == (FLOW, "weights.hash")
    assert "has changed since it came" in fault.message
    replace(path, bytes(data) + b"x")
    assert only_fault(family, store)[1] == "weights.hash"
    replace(path, bytes(data[:-1]))
    assert only_fault(family, store)[1] == "weights.truncated"


def test_known_hashes_are_held_to(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OVERRIDES)
    found = verify(family_named(LARGE), store)
    wrong = {fault.file for fault in found.faults if fault.code == "weights.hash"}
    assert wrong == {
        f"{GENERATOR}/ckpts/slat_vggt_cond.safetensors",
        f"{VGGT}/model.safetensors",
        f"{DINOV2}/dinov2_vitl14_reg4_pretrain.pth",
    }
    assert all("other contents than the published file" in fault.message for fault in found.faults)


def test_a_store_that_others_look_after_is_verified_too(
    family: Family, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(family, store)

    def refuse(self: Store, record: object) -> None:
        raise OutputError("The folder cannot be written to.")

    monkeypatch.setattr(Store, "_write", refuse)
    found = verify(family, store)
    assert found.faults == []
    assert found.pinned == []
    assert found.notes == ["hashes that nobody knew are not recorded: The folder cannot be written to."]
    installed(LARGE)


def test_a_record_that_cannot_be_read_is_made_anew(family: Family, store: Store) -> None:
    accept(family, store)
    verify(family, store)
    store.record_path.write_text('{"format": 1, "licences": [', encoding="utf-8")
    assert len(not_accepted(family, store)) == 3
    assert verify(family, store).pinned


def test_the_catalogue_can_be_overridden_and_says_when_it_is_not_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "catalogue.json"
    monkeypatch.setenv(OVERRIDES, str(file))
    says = {"revision": "f" * 40, "files": {"model.safetensors": {"size": 5, "sha256": "a" * 64}}}
    file.write_text(json.dumps({LARGE: {VGGT: says, GENERATOR: {"revision": "e" * 40}}}), encoding="utf-8")
    part = family_named(LARGE).part(VGGT)
    assert part.revision == "f" * 40
    entry = next(entry for entry in part.files if entry.path == "model.safetensors")
    assert (entry.size, entry.sha256) == (5, "a" * 64)
    for other in (DINOV2, GENERATOR):  # nothing was said of their files
        assert any(entry.sha256 for entry in family_named(LARGE).part(other).files)
    for bad in (
        "{",
        '{"trellis-vggt-v0-2": {"other/part": {}}}',
        '{"mini": []}',
        json.dumps({LARGE: {VGGT: {"x": 1}}}),
    ):
        file.write_text(bad, encoding="utf-8")
        with pytest.raises(OptionError, match=r"catalogue .* (cannot be read|is not understood)"):
            family_named(LARGE)


def test_the_catalogue_is_well_formed() -> None:
    for family in FAMILIES:
        for part in family.parts:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+", part.folder)
            assert re.fullmatch(r"|[0-9a-f]{40}", part.revision)
            assert part.licence.consequence.endswith(".")
            for entry in part.files:
                assert re.fullmatch(r"|[0-9a-f]{64}", entry.sha256)
                assert ".." not in entry.path
        for network in family.networks:
            paths = {entry.path for entry in family.part(network.part).files}
            assert {network.weights, network.config or network.weights} <= paths


# --- files that torch saved -----------------------------------------------------------------------------------------


def test_shapes_of_a_torch_file_are_read_without_torch_and_without_running_code(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    save_random(path, vision_shapes())
    assert read_shapes(path) == vision_shapes()

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'touched'}",)

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"cls_token": Evil()}))
    with pytest.raises(BadFileError, match="holds something else than tensors"):
        read_shapes(path)
    assert not (tmp_path / "touched").exists()


# --- shapes against the specification -------------------------------------------------------------------------------

RELEASED = {
    "ss_flow_img_dit_L_16l8_fp16": ("sparse_structure_flow_model", {}),
    "slat_flow_img_dit_L_64l8p2_fp16": ("slat_flow_model", {}),
    "ss_dec_conv3d_16l8_fp16": ("sparse_structure_decoder", {}),
    "slat_dec_gs_swin8_B_64l8gs32_fp16": ("slat_decoder_gs", {}),
    "slat_dec_mesh_swin8_B_64l8m256c_fp16": ("slat_decoder_mesh", {}),
    "ss_vggt_cond": ("sparse_structure_vggt_cond", {}),
    "slat_vggt_cond": ("slat_vggt_cond", {}),
    "VGGT aggregator": ("vggt", {"embed_dim": 1024}),
    "dinov2_vitl14_reg (image condition model, torch-hub checkpoint)": ("dinov2", {}),
}


@pytest.mark.parametrize("title", RELEASED)
def test_released_networks_have_the_published_keys_and_shapes(shared: Path, title: str) -> None:
    file = shared / "reconviagen" / "state_dict_keys.md"
    if not file.is_file():
        pytest.skip("the key lists of the large networks are not beside the checkout")
    published = _published(file.read_text(encoding="utf-8"), title)
    network, arguments = RELEASED[title]
    assert expected_shapes(network, arguments, published) == published


def _published(text: str, title: str) -> dict[str, tuple[int, ...]]:
    """The key list under one heading, with `{a..b}` and `{a,b}` written out."""
    section = text[text.index(f"## {title}\n") :]
    lines = re.search(r"```\n(.*?)```", section, re.DOTALL)
    assert lines is not None
    shapes: dict[str, tuple[int, ...]] = {}
    for line in lines[1].splitlines():
        match = re.match(r"(\S+)\s+\[([\d, ]+)\]", line)
        assert match is not None, line
        names = [match[1]]
        while "{" in names[0]:
            names = [written for name in names for written in _written_out(name)]
        shapes |= {name: tuple(int(side) for side in match[2].split(",")) for name in names}
    return shapes


def _written_out(name: str) -> list[str]:
    start, end = name.index("{"), name.index("}")
    inner = name[start + 1 : end]
    if ".." in inner:
        first, last = (int(number) for number in inner.split(".."))
        values = [str(number) for number in range(first, last + 1)]
    else:
        values = inner.split(",")
    return [name[:start] + value + name[end + 1 :] for value in values]
