"""Files of the large networks become networks, or say why not; full-size networks have the published keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from large_published import ENCODERS, NETWORKS, published, tensors_of
from meshwright.errors import WeightsNotInstalledError
from meshwright.models.reconviagen.large.loading import (
    WeightsDamagedError,
    WeightsMismatchError,
    build,
    load_image_encoder,
    load_pair,
    load_vggt,
)
from meshwright.models.reconviagen.large.nets.vggt.aggregator import Aggregator
from meshwright.models.reconviagen.large.nets.vggt.camera_head import CameraHead
from meshwright.models.reconviagen.large.nets.vggt.point_head import PointHead
from meshwright.models.reconviagen.large.nets.vision import VisionTransformer

FLOW = {
    "resolution": 4,
    "in_channels": 8,
    "out_channels": 8,
    "model_channels": 64,
    "cond_channels": 48,
    "num_blocks": 1,
    "num_heads": 4,
    "qk_rms_norm": True,
    "use_fp16": True,
}


@pytest.mark.parametrize("stem", NETWORKS)
def test_full_size_networks_have_the_published_keys(stem: str) -> None:
    name, args, count = NETWORKS[stem]
    with torch.device("meta"):
        network = build(name, args)
    assert tensors_of(network) == published(stem)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("vggt", Aggregator),
        ("vggt camera_head", CameraHead),
        ("vggt point_head", PointHead),
        ("dinov2", VisionTransformer),
    ],
)
def test_full_size_encoders_have_the_published_keys(name: str, make: Callable[[], torch.nn.Module]) -> None:
    section, prefix, count = ENCODERS[name]
    with torch.device("meta"):
        network = make()
    assert tensors_of(network, prefix) == published(section)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A small flow as a pair of files, half of it in half precision."""
    torch.manual_seed(0)
    network = build("SparseStructureFlowModel", FLOW)
    write_pair(tmp_path / "flow.json", "ElasticSparseStructureFlowModel", FLOW, network.state_dict())
    return tmp_path / "flow.safetensors"


def write_pair(path: Path, name: str, args: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    path.write_text(json.dumps({"name": name, "args": args}))
    save_file({key: value.clone() for key, value in tensors.items()}, path.with_suffix(".safetensors"))


def test_a_pair_becomes_a_network(pair: Path) -> None:
    loaded = load_pair(pair)
    assert (loaded.missing, loaded.extra, loaded.file) == ((), (), "flow.safetensors")
    assert not loaded.network.training
    stored = load_file(pair)
    for key, value in loaded.network.state_dict().items():
        assert value.dtype == stored[key].dtype and torch.equal(value, stored[key]), key
    assert stored["blocks.0.self_attn.to_qkv.weight"].dtype == torch.float16
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())
    x = torch.randn(1, 8, 4, 4, 4)
    assert loaded.network(x, torch.tensor([500.0]), torch.randn(1, 3, 48)).shape == x.shape


def test_precisions_are_the_file_s(pair: Path) -> None:
    write_pair(
        pair.with_suffix(".json"), "SparseStructureFlowModel", FLOW, {k: v.float() for k, v in load_file(pair).items()}
    )
    assert {value.dtype for value in load_pair(pair).network.state_dict().values()} == {torch.float32}


def test_missing_and_extra_keys_are_reported(pair: Path) -> None:
    tensors = load_file(pair)
    gone = ("blocks.0.norm2.weight", "blocks.0.self_attn.q_rms_norm.gamma", "out_layer.bias", "pos_emb")
    positions = tensors["pos_emb"]
    for key in gone:
        del tensors[key]
    write_pair(
        pair.with_suffix(".json"), "SparseStructureFlowModel", FLOW, tensors | {"fuse_blocks.0.0.bias": torch.ones(3)}
    )
    loaded = load_pair(pair)
    assert sorted(loaded.missing) == sorted(gone)
    assert loaded.extra == ("fuse_blocks.0.0.bias",)
    state = loaded.network.state_dict()
    assert (state["blocks.0.norm2.weight"] == 1).all() and (state["blocks.0.self_attn.q_rms_norm.gamma"] == 1).all()
    assert (state["out_layer.bias"] == 0).all()
    assert torch.equal(state["pos_emb"], positions)


def test_every_wrong_shape_is_named(pair: Path) -> None:
    tensors = load_file(pair)
    tensors["input_layer.weight"] = torch.zeros(64, 9)
    tensors["out_layer.bias"] = torch.zeros(7)
    write_pair(pair.with_suffix(".json"), "SparseStructureFlowModel", FLOW, tensors)
    with pytest.raises(WeightsMismatchError, match=r"2 of \d+ tensors have another shape") as caught:
        load_pair(pair)
    assert "input_layer.weight is [64, 9], not [64, 8]" in str(caught.value)
    assert "out_layer.bias is [7], not [8]" in str(caught.value)
    assert "meshwright weights" in caught.value.hint


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_file_cut_short_is_refused(pair: Path, share: float) -> None:
    content = pair.read_bytes()
    pair.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightsDamagedError, match=r"flow\.safetensors .*cut short"):
        load_pair(pair)


def test_files_that_are_not_there(pair: Path) -> None:
    pair.with_suffix(".json").unlink()
    with pytest.raises(WeightsNotInstalledError, match=r"flow\.json .*not there"):
        load_pair(pair)
    with pytest.raises(WeightsNotInstalledError, match=r"other\.pth .*not there"):
        load_image_encoder(pair.with_name("other.pth"))


@pytest.mark.parametrize(
    ("document", "error", "words"),
    [
        ("{", WeightsDamagedError, "no JSON"),
        ("[]", WeightsDamagedError, "no JSON object"),
        ('{"name": "SparseStructureFlowModel"}', WeightsMismatchError, "`name` and `args`"),
        ('{"name": "Other", "args": {}}', WeightsMismatchError, "'Other', which is not known"),
        (
            json.dumps({"name": "SparseStructureFlowModel", "args": FLOW | {"attn": 1}}),
            WeightsMismatchError,
            "unknown: attn",
        ),
        ('{"name": "SparseStructureFlowModel", "args": {}}', WeightsMismatchError, "missing: resolution"),
        (
            json.dumps({"name": "SparseStructureFlowModel", "args": FLOW | {"pe_mode": "rope"}}),
            WeightsMismatchError,
            "pe_mode",
        ),
        (
            json.dumps({"name": "SparseStructureFlowModel", "args": FLOW | {"num_blocks": "two"}}),
            WeightsMismatchError,
            "make no sense",
        ),
    ],
)
def test_a_configuration_that_does_not_fit(pair: Path, document: str, error: type[Exception], words: str) -> None:
    pair.with_suffix(".json").write_text(document)
    with pytest.raises(error, match=words):
        load_pair(pair)


def test_what_is_only_for_training_is_passed_over(pair: Path) -> None:
    pair.with_suffix(".json").write_text(
        json.dumps({"name": "SparseStructureFlowModel", "args": FLOW | {"use_checkpoint": True}})
    )
    assert not load_pair(pair).missing


def test_another_network_in_the_file(pair: Path) -> None:
    save_file({"other": torch.zeros(2)}, pair)
    with pytest.raises(WeightsMismatchError, match="has none of the"):
        load_pair(pair)


VGGT = {"img_size": 28, "embed_dim": 64, "depth": 2, "num_heads": 2}


@pytest.fixture
def vggt(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    parts = {
        "aggregator": Aggregator(**VGGT, patch_embed={"depth": 1, "num_heads": 1}),
        "camera_head": CameraHead(dim_in=128, trunk_depth=1),
        "point_head": PointHead(dim_in=128, features=16, out_channels=(8, 8, 8, 8)),
    }
    tensors = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    tensors["track_head.weight"] = torch.zeros(3)
    save_file({key: value.clone() for key, value in tensors.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"img_size": 28, "patch_size": 14, "embed_dim": 64}))
    return tmp_path / "model.safetensors"


def test_vggt_sizes_are_read_off_the_tensors(vggt: Path) -> None:
    loaded = load_vggt(vggt, vggt.with_name("config.json"))
    network = loaded.network
    assert isinstance(network, Aggregator)
    assert (loaded.missing, loaded.extra) == ((), ())
    assert (network.depth, network.head_dim, network.rope_freq) == (2, 32, 100.0)
    torch.manual_seed(0)
    same = Aggregator(**VGGT, patch_embed={"depth": 1, "num_heads": 1}).eval()
    images = torch.rand(1, 2, 3, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(network(images, (1,))[1], same(images, (1,))[1], rtol=0, atol=0)
    assert isinstance(load_vggt(vggt, part="camera_head").network, CameraHead)
    head = load_vggt(vggt, part="point_head").network
    assert isinstance(head, PointHead) and head.layers == (4, 11, 17, 23)


def test_vggt_without_the_part(vggt: Path) -> None:
    save_file({"camera_head.x": torch.zeros(1)}, vggt)
    with pytest.raises(WeightsMismatchError, match="has no part 'aggregator'"):
        load_vggt(vggt)


def test_a_wrong_shape_in_vggt_is_refused(vggt: Path) -> None:
    tensors = load_file(vggt)
    tensors["aggregator.global_blocks.1.attn.proj.bias"] = torch.zeros(3)
    save_file(tensors, vggt)
    with pytest.raises(WeightsMismatchError, match=r"global_blocks\.1\.attn\.proj\.bias is \[3\], not \[64\]"):
        load_vggt(vggt)


def encoder_file(folder: Path) -> Path:
    torch.manual_seed(0)
    network = VisionTransformer(img_size=42, embed_dim=128, depth=2, num_heads=2)
    torch.save(network.state_dict(), folder / "encoder.pth")
    return folder / "encoder.pth"


def test_an_image_encoder_s_sizes_are_read_off_its_tensors(tmp_path: Path) -> None:
    loaded = load_image_encoder(encoder_file(tmp_path))
    network = loaded.network
    assert isinstance(network, VisionTransformer)
    assert (loaded.missing, loaded.extra) == ((), ())
    assert (network.side, network.num_register_tokens, len(network.blocks)) == (3, 4, 2)
    assert network.image_condition(torch.rand(1, 3, 42, 42)).shape == (1, 14, 128)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_an_image_encoder_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    path = encoder_file(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightsDamagedError, match=r"encoder\.pth .*cut short"):
        load_image_encoder(path)


def test_an_image_encoder_of_another_layout(tmp_path: Path) -> None:
    torch.save({"head.weight": torch.zeros(2)}, tmp_path / "a.pth")
    with pytest.raises(WeightsMismatchError, match=r"has no patch_embed\.proj\.weight"):
        load_image_encoder(tmp_path / "a.pth")
    torch.save([1, 2], tmp_path / "b.pth")
    with pytest.raises(WeightsMismatchError, match="no table of tensors"):
        load_image_encoder(tmp_path / "b.pth")
