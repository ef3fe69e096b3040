"""The condition networks against golden tensors, and their keys at full size."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import large_goldens as goldens
from large_goldens import exact_float32
from large_published import published, tensors_of
from meshwright.errors import OptionError, ShapeError
from meshwright.models.reconviagen.large.nets.conditions import GEOMETRY_LAYERS, LatentCondition, StructureCondition

__all__ = ["exact_float32"]

State = dict[str, Tensor]


@cache
def written_weights() -> State:
    """Weights of the latent's condition by the formula of the manifest; checked against the slices stored there."""
    i, j = torch.arange(1024)[:, None], torch.arange(3072)[None]
    state: State = {}
    for k in range(4):
        steps = (i * 7919 + j * 104729 + (k + 1) * 15485863 + ((i * j) % 1009) * 31) % 2003 - 1001
        state[f"linear_blocks.{k}.0.weight"] = (steps.double() / 1001.0 * 0.03).float()
        steps = (i[:, 0] * 4241 + (k + 1) * 977) % 401 - 200
        state[f"linear_blocks.{k}.0.bias"] = (steps.double() / 200.0 * 0.1).float()
    golden = goldens.load("slat_vggt_cond")
    assert torch.equal(state["linear_blocks.0.0.weight"][:4, :64], golden["check.w0_rows"])
    assert torch.equal(state["linear_blocks.3.0.weight"][1000:1004, 3000:3064], golden["check.w3_rows"])
    assert torch.equal(state["linear_blocks.3.0.bias"], golden["check.b3"])
    return state


@torch.no_grad()
def computed(name: str, device: str = "cpu", spoil: Callable[[State, State], None] | None = None) -> Tensor:
    """The condition; `spoil` may change weights and inputs first."""
    golden = goldens.load(name, device)
    config = goldens.entry(name)["config"]
    if name == "ss_vggt_cond":
        network: nn.Module = StructureCondition(**config)
        state = {key: value.float() for key, value in goldens.weights(name).items()}
    else:
        network, state = LatentCondition(**config), dict(written_weights())
    if spoil is not None:
        spoil(state, golden)
    network.load_state_dict(state, strict=True)
    geometry = {layer: golden[f"in.tokens_{layer}"].float() for layer in GEOMETRY_LAYERS}
    condition: Tensor = network.to(device)(geometry, golden["in.image_cond"].float())
    return condition


@pytest.mark.parametrize("device", goldens.DEVICES)
@pytest.mark.parametrize("name", ["ss_vggt_cond", "slat_vggt_cond"])
def test_agrees_with_golden(name: str, device: str, exact_float32: None) -> None:
    goldens.assert_agrees(name, computed(name, device), goldens.load(name)["out.cond"])


def layers_swapped(state: State, golden: State) -> None:
    golden["in.tokens_4"], golden["in.tokens_23"] = golden["in.tokens_23"], golden["in.tokens_4"]


def pictures_of_other_views(state: State, golden: State) -> None:
    golden["in.image_cond"] = golden["in.image_cond"].flip(1)


def channels_swapped(state: State, golden: State) -> None:
    golden["in.image_cond"][..., [0, 1]] = golden["in.image_cond"][..., [1, 0]]


def picture_before_geometry(state: State, golden: State) -> None:
    for key, value in state.items():
        if value.ndim == 2 and value.shape[1] == 3072:
            state[key] = value.roll(1024, dims=1)


def heads_swapped(state: State, golden: State) -> None:
    key = "cond_blocks.0.self_attn.q_rms_norm.gamma"
    state[key] = state[key].roll(1, dims=0)


def keys_for_values(state: State, golden: State) -> None:
    key = "cond_blocks.1.cross_attn.to_kv.weight"
    state[key] = state[key].roll(64, dims=0)


def tokens_swapped(state: State, golden: State) -> None:
    state["multiview_cond_tokens"] = state["multiview_cond_tokens"].roll(1, dims=1)


def special_tokens_last(state: State, golden: State) -> None:
    for layer in GEOMETRY_LAYERS:
        golden[f"in.tokens_{layer}"] = golden[f"in.tokens_{layer}"].roll(-5, dims=2)


BOTH = [layers_swapped, pictures_of_other_views, channels_swapped, picture_before_geometry, special_tokens_last]
STRUCTURE = [heads_swapped, keys_for_values, tokens_swapped]


@pytest.mark.parametrize(
    ("name", "spoil"),
    [*(("ss_vggt_cond", spoil) for spoil in BOTH + STRUCTURE), *(("slat_vggt_cond", spoil) for spoil in BOTH)],
)
def test_golden_refuses_what_is_spoiled(name: str, spoil: Callable[[State, State], None]) -> None:
    assert not goldens.agrees(name, computed(name, spoil=spoil), goldens.load(name)["out.cond"])


@torch.no_grad()
def test_views_of_the_latent_can_be_given_in_portions() -> None:
    golden = goldens.load("slat_vggt_cond")
    network = LatentCondition(**goldens.entry("slat_vggt_cond")["config"])
    network.load_state_dict(written_weights())
    each = []
    for view in range(2):
        geometry = {layer: golden[f"in.tokens_{layer}"][:, view : view + 1].float() for layer in GEOMETRY_LAYERS}
        each.append(network(geometry, golden["in.image_cond"][:, view : view + 1].float()))
    goldens.assert_agrees("slat_vggt_cond", torch.cat(each), golden["out.cond"])


@pytest.mark.parametrize("name", ["ss_vggt_cond", "slat_vggt_cond"])
def test_keys_and_size_at_full_size(name: str) -> None:
    with torch.device("meta"):
        network = StructureCondition(use_fp16=True) if name == "ss_vggt_cond" else LatentCondition()
    assert tensors_of(network) == published(name)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == {"ss_vggt_cond": 88_150_016, "slat_vggt_cond": 12_587_008}[name]


@torch.no_grad()
def test_half_precision_gives_half() -> None:
    golden = goldens.load("ss_vggt_cond")
    network = StructureCondition(**goldens.entry("ss_vggt_cond")["config"] | {"use_fp16": True})
    network.load_state_dict(goldens.weights("ss_vggt_cond"))
    geometry = {layer: golden[f"in.tokens_{layer}"].float() for layer in GEOMETRY_LAYERS}
    condition = network(geometry, golden["in.image_cond"].float())
    assert condition.dtype == torch.float16
    assert goldens.largest_error(condition, golden["out.cond"]) < 0.02


def test_what_does_not_fit_is_refused() -> None:
    network = LatentCondition(channels=8, ctx_channels=16)
    with pytest.raises(ShapeError, match="Output 11 of the geometry network is missing"):
        network({4: torch.zeros(1, 1, 6, 8)}, torch.zeros(1, 1, 6, 8))
    with pytest.raises(ShapeError, match="not of the same views"):
        network(dict.fromkeys(GEOMETRY_LAYERS, torch.zeros(1, 1, 6, 8)), torch.zeros(1, 1, 5, 8))
    with pytest.raises(OptionError, match="attn_mode='windowed'"):
        StructureCondition(channels=8, num_heads=1, num_init_tokens=1, attn_mode="windowed")
