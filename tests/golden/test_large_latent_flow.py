"""The flow of the latent against golden tensors: one view, several views, a batch; and its keys at full size."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import large_goldens as goldens
from large_goldens import exact_float32
from large_published import published, tensors_of
from meshwright.errors import OptionError, ShapeError
from meshwright.models.reconviagen.large.nets.latent_flow import LatentFlow
from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor

__all__ = ["exact_float32"]

NAME = "slat_flow"
OUTPUTS = ("single", "multi3", "b2")
State = dict[str, Tensor]
Spoil = Callable[[State, State], None]

FULL = {
    "resolution": 64,
    "in_channels": 8,
    "out_channels": 8,
    "model_channels": 1024,
    "cond_channels": 1024,
    "num_blocks": 24,
    "num_heads": 16,
    "mlp_ratio": 4,
    "patch_size": 2,
    "num_io_res_blocks": 2,
    "io_block_channels": [128],
    "pe_mode": "ape",
    "qk_rms_norm": True,
    "use_fp16": True,
}


def network_of(state: State, device: str = "cpu", **changes: object) -> LatentFlow:
    network = LatentFlow(**goldens.entry(NAME)["config"] | changes)
    network.load_state_dict(state, strict=True)
    return network.to(device)


@torch.no_grad()
def computed(key: str, device: str = "cpu", spoil: Spoil | None = None) -> Tensor:
    """The velocity; `spoil` may change weights and inputs first."""
    golden = goldens.load(NAME, device)
    state = {k: v.float() for k, v in goldens.weights(NAME).items()}
    if spoil is not None:
        spoil(state, golden)
    network = network_of(state, device)
    if key == "b2":
        x = SparseTensor(golden["in.b2_feats"], golden["in.b2_coords"])
        velocity = network(x, golden["in.b2_t"], golden["in.b2_cond"])
    else:
        x = SparseTensor(golden["in.feats"], golden["in.coords"])
        views = [golden[f"in.cond_{i}"] for i in range(3)]
        velocity = network(x, golden["in.t"], views[0] if key == "single" else views)
    assert velocity.coords is x.coords or torch.equal(velocity.coords, x.coords)
    return velocity.feats


@pytest.mark.parametrize("device", goldens.DEVICES)
@pytest.mark.parametrize("key", OUTPUTS)
def test_agrees_with_golden(key: str, device: str, exact_float32: None) -> None:
    goldens.assert_agrees(NAME, computed(key, device), goldens.load(NAME)[f"out.{key}"])


def test_every_output_is_compared() -> None:
    assert {f"out.{key}" for key in OUTPUTS} == {key for key in goldens.load(NAME) if key.startswith("out.")}


def axes_swapped(state: State, golden: State) -> None:
    for key in ("in.coords", "in.b2_coords"):
        golden[key] = golden[key][:, [0, 3, 2, 1]]


def shifted_by_one(state: State, golden: State) -> None:
    """Other voxels share a parent then."""
    for key in ("in.coords", "in.b2_coords"):
        golden[key] = golden[key] + torch.tensor([0, 1, 0, 0], dtype=golden[key].dtype)


def channels_swapped(state: State, golden: State) -> None:
    for key in ("in.feats", "in.b2_feats"):
        golden[key] = golden[key].roll(1, dims=1)


def views_replaced(state: State, golden: State) -> None:
    golden["in.cond_0"] = golden["in.cond_1"]
    golden["in.b2_cond"] = golden["in.b2_cond"].flip(0)


def another_time(state: State, golden: State) -> None:
    golden["in.t"] = golden["in.t"] * 0.9
    golden["in.b2_t"] = golden["in.b2_t"].flip(0)


def scale_for_shift(state: State, golden: State) -> None:
    key = "input_blocks.0.emb_layers.1.weight"
    state[key] = state[key].roll(32, dims=0)


def links_before_what_comes_from_below(state: State, golden: State) -> None:
    for name in ("conv1.conv.weight", "norm1.weight", "norm1.bias", "skip_connection.weight"):
        key = f"out_blocks.0.{name}"
        state[key] = state[key].roll(96, dims=-1)


def kernel_turned(state: State, golden: State) -> None:
    key = "input_blocks.1.conv1.conv.weight"
    state[key] = state[key].transpose(1, 3)


def heads_swapped(state: State, golden: State) -> None:
    key = "blocks.0.self_attn.k_rms_norm.gamma"
    state[key] = state[key].roll(1, dims=0)


SPOILS: list[Spoil] = [
    axes_swapped,
    shifted_by_one,
    channels_swapped,
    views_replaced,
    another_time,
    scale_for_shift,
    links_before_what_comes_from_below,
    kernel_turned,
    heads_swapped,
]


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("key", OUTPUTS)
def test_golden_refuses_what_is_spoiled(key: str, spoil: Spoil) -> None:
    assert not goldens.agrees(NAME, computed(key, spoil=spoil), goldens.load(NAME)[f"out.{key}"])


def test_views_are_averaged_not_summed() -> None:
    golden = goldens.load(NAME)
    assert not goldens.agrees(NAME, computed("single"), golden["out.multi3"])


@torch.no_grad()
def test_one_zero_token_does_for_many() -> None:
    """What stands for no condition: attention among equal tokens is attention to one of them."""
    golden = goldens.load(NAME)
    network = network_of(goldens.weights(NAME))
    x = SparseTensor(golden["in.feats"], golden["in.coords"])
    none = torch.zeros_like(golden["in.cond_0"])
    many = network(x, golden["in.t"], [none] * 3)
    one = network(x, golden["in.t"], none[:, :1])
    torch.testing.assert_close(one.feats, many.feats, rtol=0, atol=1e-6)


@torch.no_grad()
def test_half_precision_comes_near() -> None:
    golden = goldens.load(NAME)
    network = network_of(goldens.weights(NAME), use_fp16=True)
    x = SparseTensor(golden["in.feats"], golden["in.coords"])
    velocity = network(x, golden["in.t"], golden["in.cond_0"])
    assert velocity.dtype == torch.float32
    assert goldens.largest_error(velocity.feats, golden["out.single"]) < 0.02
    network.cast_torso(torch.float32)
    goldens.assert_agrees(NAME, network(x, golden["in.t"], golden["in.cond_0"]).feats, golden["out.single"])


def test_keys_and_size_at_full_size() -> None:
    with torch.device("meta"):
        network = LatentFlow(**FULL)
    assert tensors_of(network) == published("slat_flow_img_dit_L_64l8p2_fp16")
    assert sum(parameter.numel() for parameter in network.parameters()) == 600_432_520


@torch.no_grad()
def test_several_finer_resolutions() -> None:
    """Two widths: two halvings on the way in, two doublings on the way out."""
    torch.manual_seed(1)
    small = {"resolution": 8, "model_channels": 12, "cond_channels": 4, "num_heads": 2, "num_blocks": 1}
    network = LatentFlow(**FULL | small | {"patch_size": 4, "io_block_channels": [4, 8], "use_fp16": False})
    coords = torch.nonzero(torch.rand(1, 8, 8, 8) > 0.7).int()
    velocity = network(SparseTensor(torch.randn(len(coords), 8), coords), torch.tensor([500.0]), torch.randn(1, 3, 4))
    assert velocity.feats.shape == (len(coords), 8) and bool(velocity.feats.isfinite().all())


def test_what_does_not_fit_is_refused() -> None:
    small = FULL | {"model_channels": 12, "cond_channels": 4, "num_heads": 2, "num_blocks": 1, "io_block_channels": [4]}
    with pytest.raises(OptionError, match="pe_mode='rope'"):
        LatentFlow(**small | {"pe_mode": "rope"})
    with pytest.raises(OptionError, match="patch_size=4 does not go with"):
        LatentFlow(**small | {"patch_size": 4})
    x = SparseTensor(torch.zeros(1, 3), torch.zeros(1, 4, dtype=torch.int32))
    with pytest.raises(ShapeError, match="3 channels"):
        LatentFlow(**small)(x, torch.zeros(1), torch.zeros(1, 1, 4))
