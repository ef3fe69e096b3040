"""The decoders of the structured latent against golden tensors, and their keys against the published lists."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import large_goldens as goldens
from large_goldens import DEVICES
from large_published import NETWORKS, published, tensors_of
from meshwright.errors import OptionError
from meshwright.models.reconviagen.large.extraction import extract
from meshwright.models.reconviagen.large.nets.gaussian_decoder import LatentGaussianDecoder
from meshwright.models.reconviagen.large.nets.latent_torso import LatentTorso
from meshwright.models.reconviagen.large.nets.mesh_decoder import LatentMeshDecoder
from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor

MESH, GAUSSIANS = "slat_decoder_mesh", "slat_decoder_gs"
CLASSES: dict[str, Any] = {MESH: LatentMeshDecoder, GAUSSIANS: LatentGaussianDecoder}

pytestmark = pytest.mark.usefixtures("exact_float32")
exact_float32 = goldens.exact_float32


def decoder(name: str, device: str = "cpu", **changes: Any) -> Any:
    network = CLASSES[name](**(goldens.entry(name)["config"] | changes))
    network.load_state_dict(goldens.weights(name), strict=True)
    return network.to(device).eval()


def latent(name: str, device: str = "cpu") -> SparseTensor:
    golden = goldens.load(name, device)
    return SparseTensor(golden["in.feats"], golden["in.coords"])


@pytest.mark.parametrize("device", DEVICES)
@torch.no_grad()
def test_mesh_decoder(device: str) -> None:
    golden, network, x = goldens.load(MESH), decoder(MESH, device), latent(MESH, device)
    torso = network.torso(x)
    goldens.assert_agrees(MESH, torso.feats, golden["out.torso"])
    goldens.assert_agrees(MESH, network.upsample[0](torso).feats[:64], golden["out.up0_first64"])
    raw = network(x)
    goldens.assert_agrees(MESH, raw.feats, golden["out.raw"])
    assert torch.equal(raw.coords.cpu(), golden["out.raw_coords"])


@pytest.mark.parametrize("device", DEVICES)
@torch.no_grad()
def test_mesh_decoder_to_surface(device: str) -> None:
    """Random weights give a noisy surface: where a distance is nearly 0, another rounding may add or drop a vertex."""
    golden, network = goldens.load(MESH), decoder(MESH, device)
    assert network.cube_resolution == 32
    raw = network(latent(MESH, device))
    mesh = extract(raw.coords[:, 1:], raw.feats, network.cube_resolution)
    if device == "cpu":
        goldens.assert_agrees(MESH, mesh.vertices, golden["out.vertices"])
        goldens.assert_agrees(MESH, torch.cat([mesh.colors, mesh.normals], 1), golden["out.vertex_attrs"])
        assert torch.equal(mesh.faces, golden["out.faces"])
    assert abs(len(mesh.vertices) - len(golden["out.vertices"])) < 10


@pytest.mark.parametrize("device", DEVICES)
@torch.no_grad()
def test_gaussian_decoder(device: str) -> None:
    network = decoder(GAUSSIANS, device)
    raw = network(latent(GAUSSIANS, device))
    goldens.assert_agrees(GAUSSIANS, raw.feats, goldens.load(GAUSSIANS)["out.raw"])


SPOILERS = {
    "windows not shifted": lambda net: [setattr(block.attn, "shift", 0) for block in net.blocks],
    "all windows shifted": lambda net: [setattr(block.attn, "shift", 2) for block in net.blocks],
    "no windows": lambda net: [setattr(block.attn, "window_size", None) for block in net.blocks],
    "heads swapped": lambda net: setattr(net.blocks[0].attn, "num_heads", 2),
    "blocks swapped": lambda net: setattr(net, "blocks", net.blocks[::-1]),
    "input channels swapped": lambda net: net.input_layer.weight.data.copy_(net.input_layer.weight.data.flip(1)),
}


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("spoiler", SPOILERS)
@torch.no_grad()
def test_goldens_refuse_a_spoiled_torso(name: str, spoiler: str) -> None:
    network = decoder(name)
    SPOILERS[spoiler](network)
    golden = goldens.load(name)
    assert not goldens.agrees(name, network(latent(name)).feats, golden["out.raw"])


@torch.no_grad()
def test_golden_refuses_a_spoiled_subdivision() -> None:
    golden, x = goldens.load(MESH)["out.raw"], latent(MESH)
    for number in (0, 1):
        network = decoder(MESH)
        first = network.upsample[number].out_layers["0"].conv.weight
        first.data = first.data.transpose(1, 3).contiguous()
        assert not goldens.agrees(MESH, network(x).feats, golden)
        network = decoder(MESH)
        skip = network.upsample[number].skip_connection.conv.weight
        outputs, inputs = skip.shape[0], skip.shape[-1]
        skip.data = skip.data.reshape(outputs, inputs).t().reshape(skip.shape).contiguous()
        assert not goldens.agrees(MESH, network(x).feats, golden)


@torch.no_grad()
def test_golden_refuses_the_norm_that_the_other_decoder_has() -> None:
    network = decoder(GAUSSIANS)
    network.norm = torch.nn.Identity()
    assert not goldens.agrees(GAUSSIANS, network(latent(GAUSSIANS)).feats, goldens.load(GAUSSIANS)["out.raw"])


@pytest.mark.parametrize("network", ["slat_dec_mesh_swin8_B_64l8m256c_fp16", "slat_dec_gs_swin8_B_64l8gs32_fp16"])
def test_full_size_keys(network: str) -> None:
    _, arguments, parameters = NETWORKS[network]
    with torch.device("meta"):
        built = CLASSES[MESH if "mesh" in network else GAUSSIANS](**arguments)
    assert tensors_of(built) == published(network)
    assert sum(p.numel() for p in built.parameters()) == parameters


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CLASSES)
@torch.no_grad()
def test_half_precision_is_near(name: str, device: str) -> None:
    """Results are float32 whatever the blocks compute in, and as near as ten bits let them be."""
    half = decoder(name, device)
    half.cast_torso(torch.float16)
    assert half.input_layer.weight.dtype == half.out_layer.weight.dtype == torch.float32
    built = CLASSES[name](**goldens.entry(name)["config"], use_fp16=True)
    assert tensors_of(built) == tensors_of(half)
    raw = half(latent(name, device))
    golden = goldens.load(name)["out.raw"]
    assert raw.dtype == torch.float32
    assert (raw.feats.cpu() - golden).abs().max() < 0.02 * golden.abs().max()


@torch.no_grad()
def test_batch_elements_do_not_hear_each_other() -> None:
    x, network = latent(MESH), decoder(MESH)
    two = SparseTensor(
        torch.cat([x.feats, x.feats.flip(0)]),
        torch.cat([x.coords, x.coords.flip(0) + torch.tensor([1, 0, 0, 0], dtype=torch.int32)]),
    )
    raw = network(two)
    assert raw.spans == ((0, 64 * len(x)), (64 * len(x), 128 * len(x)))
    goldens.assert_agrees(MESH, raw.feats[: 64 * len(x)], goldens.load(MESH)["out.raw"])
    again = raw.feats[64 * len(x) :].reshape(len(x), 64, -1).flip(0).flatten(0, 1)
    goldens.assert_agrees(MESH, again, goldens.load(MESH)["out.raw"])


@torch.no_grad()
def test_nothing_comes_of_nothing() -> None:
    empty = SparseTensor(torch.zeros(0, 8), torch.zeros(0, 4, dtype=torch.int32))
    raw = decoder(MESH)(empty)
    assert raw.feats.shape == (0, 101)
    assert extract(raw.coords[:, 1:], raw.feats, 32).faces.shape == (0, 3)
    network = decoder(GAUSSIANS)
    assert network.gaussians(network(empty)) == ()


@pytest.mark.parametrize(
    "changes", [{"attn_mode": "serialized"}, {"pe_mode": "rope"}, {"representation_config": {"use_color": False}}]
)
def test_unknown_modes_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(changes))):
        LatentMeshDecoder(**(NETWORKS["slat_dec_mesh_swin8_B_64l8m256c_fp16"][1] | changes))


def test_full_attention_is_one_window() -> None:
    torch.manual_seed(1)
    settings = {"resolution": 8, "model_channels": 24, "latent_channels": 8, "num_blocks": 2, "num_heads": 2}
    full = LatentTorso(**settings, attn_mode="full")
    window = LatentTorso(**settings, attn_mode="swin", window_size=64)
    window.load_state_dict(full.state_dict())
    x = latent(MESH)
    torch.testing.assert_close(full.torso(x).feats, window.torso(x).feats, rtol=1e-5, atol=1e-5)
