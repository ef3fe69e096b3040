"""Convolution, pooling, attention and norm on listed voxels against goldens; each seen to refuse what is wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import large_goldens as goldens
from large_goldens import DEVICES
from meshwright.models.reconviagen.large.nets.attention import CrossAttention, SelfAttention
from meshwright.models.reconviagen.large.nets.latent_torso import SparseSelfAttention
from meshwright.models.reconviagen.large.sparse.convolution import SparseConv3d
from meshwright.models.reconviagen.large.sparse.norm import SparseGroupNorm
from meshwright.models.reconviagen.large.sparse.pooling import pool, subdivide, unpool
from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor

NAME = "sparse_ops"
CHANNELS, HEADS, WINDOW = 32, 4, 4

pytestmark = pytest.mark.usefixtures("exact_float32")
exact_float32 = goldens.exact_float32


def sparse(device: str) -> SparseTensor:
    golden = goldens.load(NAME, device)
    return SparseTensor(golden["in.feats"], golden["in.coords"])


def loaded(network: nn.Module, prefix: str, device: str) -> nn.Module:
    network.load_state_dict(goldens.weights(NAME, f"{prefix}."), strict=True)
    return network.to(device).eval()


def conv3(device: str) -> Tensor:
    return loaded(SparseConv3d(CHANNELS, 16, 3), "sd_conv3", device)(sparse(device)).feats


def conv1(device: str) -> Tensor:
    return loaded(SparseConv3d(CHANNELS, 16, 1), "sd_conv1", device)(sparse(device)).feats


def down_feats(device: str) -> Tensor:
    return pool(sparse(device)).feats


def down_coords(device: str) -> Tensor:
    return pool(sparse(device)).coords


def up_feats(device: str) -> Tensor:
    coarse = pool(sparse(device))
    return unpool(coarse.replace(2 * coarse.feats + 1), sparse(device)).feats


def up_coords(device: str) -> Tensor:
    return unpool(pool(sparse(device)), sparse(device)).coords


def sub_feats(device: str) -> Tensor:
    return subdivide(sparse(device)).feats


def sub_coords(device: str) -> Tensor:
    return subdivide(sparse(device)).coords


def groupnorm(device: str) -> Tensor:
    return loaded(SparseGroupNorm(8, CHANNELS), "sd_gn", device)(sparse(device)).feats


def windows(shift: int, device: str) -> Tensor:
    attention = SparseSelfAttention(CHANNELS, HEADS, window_size=WINDOW, shift=shift)
    return loaded(attention, "sd_attn", device)(sparse(device)).feats


def full(device: str) -> Tensor:
    return loaded(SparseSelfAttention(CHANNELS, HEADS, qk_rms_norm=True), "sd_attn_full", device)(sparse(device)).feats


def across(device: str) -> Tensor:
    """Element by element, as the flow of the latent does it."""
    attention, x = loaded(CrossAttention(CHANNELS, 24, HEADS), "sd_cross", device), sparse(device)
    context = goldens.load(NAME, device)["in.ctx"]
    return torch.cat([attention(x.feats[None, a:b], context[i : i + 1])[0] for i, (a, b) in enumerate(x.spans)])


COMPUTED: dict[str, Callable[[str], Tensor]] = {
    "conv3": conv3,
    "conv1": conv1,
    "down_feats": down_feats,
    "down_coords": down_coords,
    "up_feats": up_feats,
    "up_coords": up_coords,
    "sub_feats": sub_feats,
    "sub_coords": sub_coords,
    "groupnorm": groupnorm,
    "win_attn_shift0": lambda device: windows(0, device),
    "win_attn_shift2": lambda device: windows(2, device),
    "full_attn_qkrms": full,
    "cross_attn": across,
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("key", COMPUTED)
@torch.no_grad()
def test_agrees_with_golden(key: str, device: str) -> None:
    golden = goldens.load(NAME)[f"out.{key}"]
    found = COMPUTED[key](device)
    if key.endswith("coords"):
        assert torch.equal(found.cpu(), golden)
    else:
        goldens.assert_agrees(NAME, found, golden)


def test_every_output_is_compared() -> None:
    assert {f"out.{key}" for key in COMPUTED} == {key for key in goldens.load(NAME) if key.startswith("out.")}


@pytest.mark.parametrize("device", DEVICES)
@torch.no_grad()
def test_dense_attention_of_each_element_is_the_same(device: str) -> None:
    attention, x = loaded(SelfAttention(CHANNELS, HEADS, qk_rms_norm=True), "sd_attn_full", device), sparse(device)
    found = torch.cat([attention(x.feats[None, a:b])[0] for a, b in x.spans])
    goldens.assert_agrees(NAME, found, goldens.load(NAME)["out.full_attn_qkrms"])


@pytest.mark.parametrize("key", [key for key in COMPUTED if not key.endswith("coords")])
@torch.no_grad()
def test_golden_refuses_spoiled_numbers(key: str) -> None:
    """One number moved, two channels swapped, two voxels swapped."""
    golden, found = goldens.load(NAME)[f"out.{key}"], COMPUTED[key]("cpu")
    moved = found.clone()
    moved[3, 2] += 0.01
    channels = list(range(found.shape[1]))
    channels[0], channels[1] = 1, 0
    for spoiled in (moved, found[:, channels], found.flip(0), found[:-1]):
        assert not goldens.agrees(NAME, spoiled, golden)


@pytest.mark.parametrize(("a", "b"), [(1, 2), (1, 3), (2, 3)])
@torch.no_grad()
def test_golden_refuses_swapped_axes_of_a_kernel(a: int, b: int) -> None:
    layer = loaded(SparseConv3d(CHANNELS, 16, 3), "sd_conv3", "cpu")
    layer.conv.weight.data = layer.conv.weight.transpose(a, b).contiguous()  # type: ignore[union-attr, operator]
    assert not goldens.agrees(NAME, layer(sparse("cpu")).feats, goldens.load(NAME)["out.conv3"])


@torch.no_grad()
def test_golden_refuses_a_mirrored_kernel() -> None:
    layer = loaded(SparseConv3d(CHANNELS, 16, 3), "sd_conv3", "cpu")
    layer.conv.weight.data = layer.conv.weight.flip(1, 2, 3)  # type: ignore[union-attr, operator]
    assert not goldens.agrees(NAME, layer(sparse("cpu")).feats, goldens.load(NAME)["out.conv3"])


@torch.no_grad()
def test_golden_refuses_a_single_kernel_by_its_shape() -> None:
    """The weights' shape says [O, 1, 1, 1, C]; their storage is a [C, O] matrix."""
    layer, x = loaded(SparseConv3d(CHANNELS, 16, 1), "sd_conv1", "cpu"), sparse("cpu")
    by_shape = nn.functional.linear(x.feats, layer.conv.weight.flatten(1), layer.conv.bias)  # type: ignore
    assert not goldens.agrees(NAME, by_shape, goldens.load(NAME)["out.conv1"])


def test_golden_refuses_the_mean() -> None:
    x, coarse = sparse("cpu"), pool(sparse("cpu"))
    parents = torch.cat([x.coords[:, :1], x.coords[:, 1:] // 2], 1)
    count = (coarse.coords[:, None] == parents).all(2).sum(1, keepdim=True)
    mean = coarse.feats * (count + 1) / count
    assert not goldens.agrees(NAME, mean, goldens.load(NAME)["out.down_feats"])


@torch.no_grad()
def test_golden_refuses_statistics_over_the_batch() -> None:
    layer, x = loaded(SparseGroupNorm(8, CHANNELS), "sd_gn", "cpu"), sparse("cpu")
    together = SparseTensor(x.feats, x.coords, spans=((0, len(x)),))
    assert not goldens.agrees(NAME, layer(together).feats, goldens.load(NAME)["out.groupnorm"])


@pytest.mark.parametrize("shift", [-2, 1, 3])
@torch.no_grad()
def test_golden_refuses_other_windows(shift: int) -> None:
    assert not goldens.agrees(NAME, windows(shift, "cpu"), goldens.load(NAME)["out.win_attn_shift0"])
    assert not goldens.agrees(NAME, windows(shift, "cpu"), goldens.load(NAME)["out.win_attn_shift2"]) or shift == -2


@torch.no_grad()
def test_golden_refuses_attention_across_the_batch() -> None:
    layer, x = loaded(SparseSelfAttention(CHANNELS, HEADS, qk_rms_norm=True), "sd_attn_full", "cpu"), sparse("cpu")
    together = SparseTensor(x.feats, x.coords, spans=((0, len(x)),))
    assert not goldens.agrees(NAME, layer(together).feats, goldens.load(NAME)["out.full_attn_qkrms"])
