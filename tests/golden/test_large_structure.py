"""Flow, decoder and encoder of the structure against golden tensors, and their keys at full size."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import large_goldens as goldens
from large_goldens import exact_float32
from large_published import published, tensors_of
from meshwright.errors import OptionError, ShapeError
from meshwright.models.reconviagen.large.nets.structure_decoder import StructureDecoder, StructureEncoder, occupied
from meshwright.models.reconviagen.large.nets.structure_flow import StructureFlow

__all__ = ["exact_float32"]

State = dict[str, Tensor]
Spoil = Callable[[State, State], None]

CLASSES: dict[str, type[nn.Module]] = {
    "ss_flow": StructureFlow,
    "ss_flow_fp16": StructureFlow,
    "ss_flow_p2": StructureFlow,
    "ss_decoder": StructureDecoder,
    "ss_encoder": StructureEncoder,
}
FLOW_FULL = {
    "resolution": 16,
    "in_channels": 8,
    "out_channels": 8,
    "model_channels": 1024,
    "cond_channels": 1024,
    "num_blocks": 24,
    "num_heads": 16,
    "mlp_ratio": 4,
    "patch_size": 1,
    "pe_mode": "ape",
    "qk_rms_norm": True,
    "use_fp16": True,
}


@torch.no_grad()
def computed(name: str, device: str = "cpu", spoil: Spoil | None = None) -> State:
    """What the network gives, by the golden's keys; `spoil` may change weights and inputs first."""
    golden = goldens.load(name, device)
    state = {k: v.float() for k, v in goldens.weights("ss_flow" if name == "ss_flow_fp16" else name).items()}
    if spoil is not None:
        spoil(state, golden)
    network = CLASSES[name](**goldens.entry(name)["config"])
    network.load_state_dict(state, strict=True)
    network.to(device)
    if name == "ss_decoder":
        logits = network(golden["in.z"])
        return {"out.logits": logits, "out.coords": occupied(logits)}
    if name == "ss_encoder":
        mean, log_variance = network(golden["in.occ"])
        return {"out.mean": mean, "out.z": mean, "out.logvar": log_variance}
    return {"out.v": network(golden["in.x"], golden["in.t"], golden["in.cond"])}


@pytest.mark.parametrize("device", goldens.DEVICES)
@pytest.mark.parametrize("name", CLASSES)
def test_agrees_with_golden(name: str, device: str, exact_float32: None) -> None:
    golden = goldens.load(name)
    found = computed(name, device)
    assert found.keys() == {key for key in golden if key.startswith("out.")}
    for key, value in found.items():
        assert value.dtype == golden[key].dtype
        if value.dtype == torch.int32:
            assert torch.equal(value.cpu(), golden[key])
        else:
            goldens.assert_agrees(name, value, golden[key])


def test_half_torso_holds_what_the_golden_says() -> None:
    golden = goldens.load("ss_flow_fp16")
    network = StructureFlow(**goldens.entry("ss_flow_fp16")["config"])
    network.load_state_dict(goldens.weights("ss_flow"))
    probe = network.blocks[0].self_attn.to_qkv.weight.detach().reshape(-1)[:4]
    assert probe.dtype == torch.float16 and torch.equal(probe, golden["dtype_probe.to_qkv"].reshape(-1))


def noise_mirrored(state: State, golden: State) -> None:
    golden["in.x"] = golden["in.x"].transpose(2, 4)


def channels_swapped(state: State, golden: State) -> None:
    golden["in.x"] = golden["in.x"].roll(1, dims=1)


def another_time(state: State, golden: State) -> None:
    golden["in.t"] = golden["in.t"].flip(0)


def another_condition(state: State, golden: State) -> None:
    golden["in.cond"] = golden["in.cond"].flip(0)


def rolled(key: str, by: int) -> Spoil:
    def spoil(state: State, golden: State) -> None:
        state[key] = state[key].roll(by, dims=0)

    spoil.__name__ = f"rolled {key} {by}"
    return spoil


def turned(key: str) -> Spoil:
    def spoil(state: State, golden: State) -> None:
        state[key] = state[key].transpose(2, 4)

    spoil.__name__ = f"turned {key}"
    return spoil


FLOW = [noise_mirrored, channels_swapped, another_time, another_condition]
SPOILS: list[tuple[str, Spoil]] = [
    *(("ss_flow", spoil) for spoil in FLOW),
    ("ss_flow", rolled("blocks.1.self_attn.q_rms_norm.gamma", 1)),
    ("ss_flow", rolled("blocks.1.self_attn.to_qkv.weight", 64)),
    ("ss_flow", rolled("blocks.1.cross_attn.to_kv.weight", 64)),
    ("ss_flow", rolled("blocks.1.adaLN_modulation.1.weight", 64)),
    ("ss_flow", rolled("t_embedder.mlp.0.weight", 1)),
    ("ss_flow", rolled("pos_emb", 1)),
    *(("ss_flow_fp16", spoil) for spoil in FLOW),
    *(("ss_flow_p2", spoil) for spoil in FLOW),
    ("ss_flow_p2", rolled("adaLN_modulation.1.weight", 64)),
    ("ss_flow_p2", rolled("blocks.0.cross_attn.k_rms_norm.gamma", 1)),
    ("ss_flow_p2", rolled("out_layer.weight", 1)),
    ("ss_decoder", turned("input_layer.weight")),
    ("ss_decoder", turned("blocks.7.conv2.weight")),
    ("ss_decoder", rolled("blocks.2.conv.weight", 1)),
    ("ss_decoder", rolled("middle_block.0.norm1.weight", 1)),
    ("ss_encoder", turned("blocks.1.conv.weight")),
    ("ss_encoder", rolled("out_layer.2.weight", 8)),
]


@pytest.mark.parametrize(("name", "spoil"), SPOILS, ids=[f"{name}-{spoil.__name__}" for name, spoil in SPOILS])
def test_golden_refuses_what_is_spoiled(name: str, spoil: Spoil) -> None:
    key = {"ss_decoder": "out.logits", "ss_encoder": "out.mean"}.get(name, "out.v")
    assert not goldens.agrees(name, computed(name, spoil=spoil)[key], goldens.load(name)[key])


@pytest.mark.parametrize(
    ("name", "build", "count"),
    [
        ("ss_flow_img_dit_L_16l8_fp16", lambda: StructureFlow(**FLOW_FULL), 555_543_560),
        ("ss_dec_conv3d_16l8_fp16", lambda: StructureDecoder(use_fp16=True), 73_671_201),
        ("ss_enc_conv3d_16l8_fp16", lambda: StructureEncoder(use_fp16=True), 59_298_192),
    ],
)
def test_keys_and_size_at_full_size(name: str, build: Callable[[], nn.Module], count: int) -> None:
    with torch.device("meta"):
        network = build()
    assert tensors_of(network) == published(name)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@torch.no_grad()
def test_decoder_in_half_precision_finds_nearly_the_same() -> None:
    golden = goldens.load("ss_decoder")
    network = StructureDecoder(**goldens.entry("ss_decoder")["config"], use_fp16=True)
    network.load_state_dict(goldens.weights("ss_decoder"))
    logits = network(golden["in.z"])
    assert logits.dtype == torch.float32
    assert goldens.largest_error(logits, golden["out.logits"]) < 0.05 * float(golden["out.logits"].abs().max())
    network.cast_torso(torch.float32)
    goldens.assert_agrees("ss_decoder", network(golden["in.z"]), golden["out.logits"])


@torch.no_grad()
def test_positions_are_worked_out_where_the_file_has_none() -> None:
    """The buffer of the file is the embedding of the grid; a network without it still has it."""
    state = goldens.weights("ss_flow")
    network = StructureFlow(**goldens.entry("ss_flow")["config"])
    torch.testing.assert_close(network.pos_emb, state["pos_emb"], rtol=0, atol=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    small = FLOW_FULL | {"resolution": 2, "model_channels": 12, "cond_channels": 4, "num_heads": 2, "num_blocks": 1}
    with pytest.raises(OptionError, match="pe_mode='rope'"):
        StructureFlow(**small | {"pe_mode": "rope"})
    with pytest.raises(OptionError, match="no patches of 3"):
        StructureFlow(**small | {"patch_size": 3})
    with pytest.raises(ShapeError, match="do not part into 5 heads"):
        StructureFlow(**small | {"num_heads": 5})
    with pytest.raises(ShapeError, match="The latent is"):
        StructureFlow(**small)(torch.zeros(1, 8, 3, 3, 3), torch.zeros(1), torch.zeros(1, 1, 4))
    with pytest.raises(OptionError, match="norm_type='group'"):
        StructureDecoder(norm_type="group")
