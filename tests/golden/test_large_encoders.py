"""Pictures, image encoder and VGGT against golden tensors; and each golden seen to refuse a spoiled result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from large_goldens import DEVICES, agrees, assert_agrees, entry, exact_float32, load, weights
from meshwright.models.reconviagen.large.nets.vggt.aggregator import Aggregator
from meshwright.models.reconviagen.large.nets.vggt.camera_head import CameraHead
from meshwright.models.reconviagen.large.nets.vggt.point_head import PointHead
from meshwright.models.reconviagen.large.nets.vggt.poses import matrices_to_pose, pose_to_matrices
from meshwright.models.reconviagen.large.nets.vision import VisionTransformer, normalised
from meshwright.models.reconviagen.large.pictures import prepared, with_mask

__all__ = ["exact_float32"]

pytestmark = pytest.mark.usefixtures("exact_float32")

PICTURES: dict[str, dict[str, bool]] = {
    "centre": {},
    "border": {},
    "wide": {},
    "keep_centre": {"recenter": False},
    "with_bg": {"no_background": False},
    "odd": {},
    "rgb": {},
}
SIZES = {"native": 70, "interp": (56, 84)}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(name: str) -> None:
    """To the last bit, where the manifest allows one."""
    found, golden = picture(name)
    np.testing.assert_array_equal(found, golden)


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_refuse_what_is_spoiled(name: str) -> None:
    found, golden = picture(name)
    allowed = entry("preprocess")["tolerance"]["uint8_max_abs"]
    for spoiled in (found[:, ::-1], found[::-1], found[..., [1, 0, 2, 3]], np.roll(found, 1, 0)):
        assert np.abs(spoiled.astype(int) - golden).max() > allowed


def picture(name: str) -> tuple[Any, Any]:
    golden = {key: value.numpy() for key, value in load("preprocess").items()}
    given = with_mask(golden["in.rgb"], golden["in.rgb_mask"]) if name == "rgb" else golden[f"in.{name}"]
    return prepared(given, side=64, **PICTURES[name]), golden[f"out.{name}"]


def vision(device: str) -> tuple[VisionTransformer, dict[str, Tensor]]:
    config = {key: value for key, value in entry("dinov2_image_cond")["config"].items()}
    network = VisionTransformer(**config)
    network.load_state_dict(weights("dinov2_image_cond"), strict=True)
    return network.to(device).eval(), load("dinov2_image_cond", device)


@pytest.mark.parametrize("device", DEVICES)
@torch.inference_mode()
def test_image_encoder(device: str) -> None:
    network, golden = vision(device)
    images = golden["in.images01"]
    assert_agrees("dinov2_image_cond", network(normalised(images)), golden["out.x_prenorm"])
    assert_agrees("dinov2_image_cond", network.patch_tokens(normalised(images)), golden["out.x_norm_patchtokens"])
    assert_agrees("dinov2_image_cond", network.image_condition(images), golden["out.encode_image"])


VISION_FAULTS: dict[str, Callable[[VisionTransformer, Tensor], Tensor]] = {
    "red and blue swapped": lambda net, x: net.image_condition(x.flip(1)),
    "mirrored": lambda net, x: net.image_condition(x.flip(3)),
    "columns first": lambda net, x: net.image_condition(x.transpose(2, 3)),
    "not normalised": lambda net, x: torch.nn.functional.layer_norm(net(x), (48,), eps=1e-5),
    "trained norm": lambda net, x: net.norm(net(normalised(x))),
    "registers first": lambda net, x: net.image_condition(x)[:, [1, 2, 3, 4, 0, *range(5, 30)]],
    "heads swapped": lambda net, x: _swapped_heads(net).image_condition(x),
    "tanh GELU": lambda net, x: _tanh_gelu(net, x),
}


@pytest.mark.parametrize("fault", VISION_FAULTS)
@torch.inference_mode()
def test_image_encoder_refuses_what_is_spoiled(fault: str) -> None:
    network, golden = vision("cpu")
    assert not agrees(
        "dinov2_image_cond", VISION_FAULTS[fault](network, golden["in.images01"]), golden["out.encode_image"]
    )


def _swapped_heads(network: VisionTransformer) -> VisionTransformer:
    """Queries of one head meet keys of another."""
    first = network.blocks[0].attn
    weight = first.qkv.weight.data.unflatten(0, (3, first.num_heads, -1))
    weight[0] = weight[0].flip(0)
    return network


def _tanh_gelu(network: VisionTransformer, images: Tensor) -> Tensor:
    with pytest.MonkeyPatch.context() as patch:
        gelu = torch.nn.functional.gelu
        patch.setattr(torch.nn.functional, "gelu", lambda x: gelu(x, approximate="tanh"))
        found: Tensor = network.image_condition(images) * 1
    return found


def aggregator(device: str) -> tuple[Aggregator, dict[str, Tensor]]:
    config = dict(entry("vggt_aggregator")["config"])
    inner = {k: v for k, v in config.pop("patch_embed").items() if k not in OTHER_SETTINGS}
    network = Aggregator(**config, patch_embed=inner)
    network.load_state_dict(weights("vggt_aggregator"), strict=True)
    return network.to(device).eval(), load("vggt_aggregator", device)


OTHER_SETTINGS = ("block_chunks", "interpolate_antialias", "interpolate_offset")
"""What the published networks have in common, and ours do without saying."""


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("views_at_once", [1, 2, 8])
@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_aggregator(size: str, views_at_once: int, device: str) -> None:
    network, golden = aggregator(device)
    found = network(golden[f"in.images_{size}"], views_at_once=views_at_once)
    assert sorted(found) == [0, 1, 2, 3]
    for index, tokens in found.items():
        assert_agrees("vggt_aggregator", tokens, golden[f"out.{size}.tokens_{index}"])


@torch.inference_mode()
def test_aggregator_keeps_what_is_asked_for() -> None:
    network, golden = aggregator("cpu")
    begun: list[int] = []
    found = network(golden["in.images_native"], keep=(0, 2), between=begun.append)
    assert sorted(found) == [0, 2] and begun == [0, 1, 2]
    assert_agrees("vggt_aggregator", found[2], golden["out.native.tokens_2"])


AGGREGATOR_FAULTS: dict[str, Callable[[Aggregator, Tensor], Tensor]] = {
    "views in another order": lambda net, x: net(x.flip(1))[3],
    "red and blue swapped": lambda net, x: net(x.flip(2))[3],
    "rows and columns swapped": lambda net, x: net(x.transpose(3, 4))[3],
    "global before frame": lambda net, x: net(x)[3].roll(64, -1),
    "blocks swapped": lambda net, x: _swapped_blocks(net)(x)[3],
    "every view the first": lambda net, x: _same_tokens(net)(x)[3],
    "the output before": lambda net, x: net(x)[2],
    "positions from 0": lambda net, x: _from_zero(net, x),
    "other frequencies": lambda net, x: _frequency(net)(x)[3],
}


@pytest.mark.parametrize("fault", AGGREGATOR_FAULTS)
@torch.inference_mode()
def test_aggregator_refuses_what_is_spoiled(fault: str) -> None:
    network, golden = aggregator("cpu")
    found = AGGREGATOR_FAULTS[fault](network, golden["in.images_native"])
    assert not agrees("vggt_aggregator", found, golden["out.native.tokens_3"])


def _swapped_blocks(network: Aggregator) -> Aggregator:
    network.frame_blocks, network.global_blocks = network.global_blocks, network.frame_blocks
    return network


def _same_tokens(network: Aggregator) -> Aggregator:
    network.camera_token.data[:, 1] = network.camera_token.data[:, 0]
    return network


def _frequency(network: Aggregator) -> Aggregator:
    network.rope_freq = 10.0
    return network


def _from_zero(network: Aggregator, images: Tensor) -> Tensor:
    """Special tokens would then stand where the first patch stands: relative places alone do not matter."""
    from meshwright.models.reconviagen.large.nets.vggt import aggregator as module

    places = module.patch_positions
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "patch_positions", lambda *a: (places(*a) - 1).clamp(min=0))
        found: Tensor = network(images)[3]
    return found


def camera_head(device: str) -> tuple[CameraHead, dict[str, Tensor]]:
    network = CameraHead(**entry("vggt_camera_head")["config"])
    network.load_state_dict(weights("vggt_camera_head"), strict=True)
    return network.to(device).eval(), load("vggt_camera_head", device)


@pytest.mark.parametrize("device", DEVICES)
@torch.inference_mode()
def test_camera_head(device: str) -> None:
    network, golden = camera_head(device)
    poses = network(golden["in.tokens_last"])
    assert len(poses) == 4
    for index, pose in enumerate(poses):
        assert_agrees("vggt_camera_head", pose, golden[f"out.pose_enc_{index}"])


@torch.inference_mode()
def test_camera_head_refuses_what_is_spoiled() -> None:
    network, golden = camera_head("cpu")
    tokens, last = golden["in.tokens_last"], golden["out.pose_enc_3"]
    poses = network(tokens)
    assert not agrees("vggt_camera_head", poses[2], last)
    assert not agrees("vggt_camera_head", network(tokens.flip(1))[3], last)
    assert not agrees("vggt_camera_head", network(tokens.flip(2))[3], last)
    assert not agrees("vggt_camera_head", poses[3][..., [0, 1, 2, 6, 3, 4, 5, 7, 8]], last)
    network.trunk[0], network.trunk[1] = network.trunk[1], network.trunk[0]
    assert not agrees("vggt_camera_head", network(tokens)[3], last)


@pytest.mark.parametrize("device", DEVICES)
def test_poses(device: str) -> None:
    golden = load("vggt_camera_head", device)
    pose = golden["in.pose_enc_for_decode"]
    extrinsics, intrinsics = pose_to_matrices(pose, 518, 518)
    assert_agrees("vggt_camera_head", extrinsics, golden["out.extrinsics"])
    assert_agrees("vggt_camera_head", intrinsics, golden["out.intrinsics"])
    assert_agrees("vggt_camera_head", pose_to_matrices(pose, 392, 518)[1], golden["out.intrinsics_392x518"])
    back = matrices_to_pose(extrinsics, intrinsics, 518, 518)
    assert_agrees("vggt_camera_head", back, golden["out.pose_enc_roundtrip"])
    for spoiled in (pose[..., [0, 1, 2, 6, 3, 4, 5, 7, 8]], pose[..., [0, 1, 2, 3, 4, 5, 6, 8, 7]]):
        first, second = pose_to_matrices(spoiled, 518, 518)
        assert not (
            agrees("vggt_camera_head", first, golden["out.extrinsics"])
            and agrees("vggt_camera_head", second, golden["out.intrinsics"])
        )
    assert not agrees("vggt_camera_head", extrinsics.transpose(-1, -2), golden["out.extrinsics"])
    assert not agrees("vggt_camera_head", pose_to_matrices(pose, 518, 392)[1], golden["out.intrinsics_392x518"])


def point_head(device: str) -> tuple[PointHead, dict[str, Tensor], dict[int, Tensor]]:
    config = dict(entry("vggt_dpt_head")["config"])
    # The head is one of points: these three are what that means.
    assert (config.pop("output_dim"), config.pop("activation"), config.pop("conf_activation")) == (
        4,
        "inv_log",
        "expp1",
    )
    network = PointHead(**config)
    network.load_state_dict(weights("vggt_dpt_head"), strict=True)
    golden = load("vggt_dpt_head", device)
    return network.to(device).eval(), golden, {i: golden[f"in.tokens_{i}"] for i in range(4)}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("views_at_once", [1, 8])
@torch.inference_mode()
def test_point_head(views_at_once: int, device: str) -> None:
    network, golden, tokens = point_head(device)
    points, confidence = network(tokens, 56, 70, views_at_once=views_at_once)
    assert golden["in.image_shape"].tolist() == [1, 2, 3, 56, 70]
    assert_agrees("vggt_dpt_head", points, golden["out.points"])
    assert_agrees("vggt_dpt_head", confidence, golden["out.conf"])


POINT_FAULTS: dict[str, Callable[[PointHead, dict[int, Tensor]], Tensor]] = {
    "layers swapped": lambda net, t: net({0: t[1], 1: t[0], 2: t[2], 3: t[3]}, 56, 70)[0],
    "views swapped": lambda net, t: net({i: x.flip(1) for i, x in t.items()}, 56, 70)[0],
    "x and y swapped": lambda net, t: net(t, 56, 70)[0][..., [1, 0, 2]],
    "mirrored": lambda net, t: net(t, 56, 70)[0].flip(3),
    "skip not rectified": lambda net, t: _plain_skip(net, t),
    "no places": lambda net, t: _no_places(net, t),
}


@pytest.mark.parametrize("fault", POINT_FAULTS)
@torch.inference_mode()
def test_point_head_refuses_what_is_spoiled(fault: str) -> None:
    network, golden, tokens = point_head("cpu")
    assert not agrees("vggt_dpt_head", POINT_FAULTS[fault](network, tokens), golden["out.points"])


def _plain_skip(network: PointHead, tokens: dict[int, Tensor]) -> Tensor:
    from meshwright.models.reconviagen.large.nets.vggt import point_head as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._ResidualUnit, "forward", lambda self, x: self.conv2(self.conv1(x.relu()).relu()) + x)
        found: Tensor = network(tokens, 56, 70)[0]
    return found


def _no_places(network: PointHead, tokens: dict[int, Tensor]) -> Tensor:
    from meshwright.models.reconviagen.large.nets.vggt import point_head as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_POSITION_SHARE", 0.0)
        found: Tensor = network(tokens, 56, 70)[0]
    return found
