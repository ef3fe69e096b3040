"""The volume of materials: bounds, gradients, precision, what it can learn, and the optional backend."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch

from meshwright.errors import DeviceError, OptionError, ShapeError
from meshwright.models.nvdiffrec.appearance.config import Bounds, VolumeConfig
from meshwright.models.nvdiffrec.appearance.look import look
from meshwright.models.nvdiffrec.appearance.network import new_network
from meshwright.models.nvdiffrec.appearance.volume import MaterialVolume
from meshwright.rendering.light import EnvironmentLight, bent_normals, shade_pbr
from meshwright.rendering.ops import HashGrid

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]
BOX = (np.array([-1.0, -0.5, -1.0]), np.array([1.0, 0.5, 1.0]))
SMALL = HashGrid(levels=6, coarsest=4, finest=64, log2_size=12)


def volume(device: str, **changes: object) -> MaterialVolume:
    return MaterialVolume(*BOX, VolumeConfig(**{"grid": SMALL, **changes}), device=device)


def points(count: int, device: str) -> torch.Tensor:
    return (torch.rand((count, 3), generator=torch.Generator().manual_seed(0)) * 2 - 1).to(device)


@pytest.mark.parametrize("device", DEVICES)
def test_begins_grey_flat_and_open(device: str) -> None:
    kd, ks, normal = volume(device)(points(200, device).view(10, 20, 3))
    assert kd.shape == ks.shape == normal.shape == (10, 20, 3)
    torch.testing.assert_close(kd, torch.full_like(kd, 0.5), atol=1e-3, rtol=0)
    assert ks[..., 0].min() > 0.85 and ks[..., 2].max() < 0.15
    torch.testing.assert_close(ks[..., 1], torch.full_like(ks[..., 1], 0.54), atol=1e-3, rtol=0)
    assert normal[..., 2].min() > 0.9999


@pytest.mark.parametrize("device", DEVICES)
def test_stays_within_its_bounds(device: str) -> None:
    bounds = Bounds(kd=(0.1, 0.8), occlusion=(1, 1), roughness=(0.2, 0.6), metalness=(0, 0.3), tilt=0.5)
    made = volume(device, bounds=bounds)
    with torch.no_grad():
        made.network.table.normal_(0, 30)  # type: ignore[union-attr, operator]
    kd, ks, normal = made(10 * points(2000, device))
    assert kd.min() >= 0.1 and kd.max() <= 0.8 and kd.max() - kd.min() > 0.6
    assert (ks[:, 0] == 1).all() and ks[:, 1].min() >= 0.2 and ks[:, 1].max() <= 0.6 and ks[:, 2].max() <= 0.3
    torch.testing.assert_close(normal.norm(dim=1), torch.ones(2000, device=device))
    assert (normal[:, :2].abs() / normal[:, 2:]).max() <= 0.5 + 1e-5


@pytest.mark.parametrize("device", DEVICES)
def test_learns_what_is_where(device: str) -> None:
    """Stripes of colour, rough below and smooth above, from random points."""
    made = volume(device)
    optimiser = torch.optim.Adam(made.parameters(), lr=0.02)
    where = points(4000, device) * torch.tensor([1.0, 0.5, 1.0], device=device)
    kd = 0.5 + 0.4 * torch.sin(6 * where)
    rough = 0.5 + 0.3 * torch.tanh(6 * where[:, 1])
    for _ in range(80):
        optimiser.zero_grad()
        found = made(where)
        loss = (found.kd - kd).square().mean() + (found.ks[:, 1] - rough).square().mean()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 2e-3  # of 0.1 at first


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_reach_the_points(device: str) -> None:
    made = volume(device, precision="float32")  # no difference of 1e-4 survives eight bits
    with torch.no_grad():
        made.network.table.normal_(0, 1)  # type: ignore[union-attr, operator]
    where = points(500, device).requires_grad_()
    weight = torch.rand((500, 3), generator=torch.Generator().manual_seed(1)).to(device)
    (made(where).kd * weight).sum().backward()
    along = torch.nn.functional.normalize(where.detach(), dim=1)
    step = 1e-4
    with torch.no_grad():
        rise = ((made(where + step * along).kd - made(where - step * along).kd) * weight).sum(1) / (2 * step)
    terms = (where.grad * along).sum(1)
    # Steps that pass from cell to cell, or over a kink of the network, see two slopes.
    assert ((rise - terms).abs() < 0.02 * terms.abs() + 0.02).float().mean() > 0.9


def test_the_same_numbers_at_first_and_half_precision_close_by() -> None:
    """bfloat16 has 8 bits: materials of a trained volume move by less than a step of an 8-bit texture, mostly."""
    full, half = volume("cpu", precision="float32"), volume("cpu", precision="bfloat16")
    for a, b in zip(full.parameters(), half.parameters(), strict=True):
        assert torch.equal(a, b)
    with torch.no_grad():
        for each in (full, half):
            each.network.table.copy_(torch.randn(SMALL.entries, 2, generator=torch.Generator().manual_seed(0)) / 3)  # type: ignore[union-attr, operator]
    where = points(1000, "cpu")
    off = (full(where).kd - half(where).kd).abs()
    assert 0 < off.mean() < 1 / 255 and off.max() < 8 / 255
    half(where).kd.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in half.parameters())


def test_baked_is_base_colour_and_pbr_is_shaded() -> None:
    made = volume("cpu")
    where = points(50, "cpu")
    normal = torch.nn.functional.normalize(where, dim=1)
    materials = made(where)
    assert look(materials, normal, normal, None) is materials.kd
    maps = EnvironmentLight(16).maps()
    found = look(materials, normal, normal, maps)
    expected = shade_pbr(materials.kd, materials.ks, bent_normals(normal, materials.normal), normal, maps)
    assert torch.equal(found, expected)


class FakeTiny(types.ModuleType):
    """Stands for tiny-cuda-nn: keeps what it is asked for."""

    def __init__(self) -> None:
        super().__init__("tinycudann")
        self.asked: list[tuple[object, ...]] = []

    def NetworkWithInputEncoding(self, *asked: object, seed: int) -> torch.nn.Module:  # noqa: N802
        self.asked.append((*asked, seed))
        return torch.nn.Linear(3, int(asked[1]), bias=False)  # type: ignore[call-overload]


def test_tinycudann_only_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    config = VolumeConfig(grid=SMALL, backend="tinycudann", seed=7)
    with pytest.raises(DeviceError, match="runs on CUDA only, the device is cpu"):
        new_network(config, 8, "cpu")
    monkeypatch.setitem(sys.modules, "tinycudann", None)
    with pytest.raises(OptionError, match=r"cannot be imported.*backend='warp'"):
        new_network(config, 8, "cuda:0")
    fake = FakeTiny()
    monkeypatch.setitem(sys.modules, "tinycudann", fake)
    made = new_network(config, 8, "cuda:0")
    ((inputs, outputs, encoding, network, seed),) = fake.asked
    assert (inputs, outputs, seed) == (3, 8, 7)
    assert encoding["n_levels"] == 6 and encoding["base_resolution"] == 4  # type: ignore[index]
    assert abs(4 * encoding["per_level_scale"] ** 5 - 64) < 1e-9  # type: ignore[index]
    assert network["n_neurons"] == 32 and network["n_hidden_layers"] == 2  # type: ignore[index]
    assert made(torch.rand(5, 3)).dtype is torch.float32
    volume("cpu")
    assert len(fake.asked) == 1


def test_faults_are_told() -> None:
    with pytest.raises(OptionError, match="is no box"):
        MaterialVolume(BOX[1], BOX[0])
    with pytest.raises(OptionError, match=r"kd=\(0.9, 0.1\), tilt=-1"):
        Bounds(kd=(0.9, 0.1), tilt=-1)
    with pytest.raises(OptionError, match=r"hidden=0.*precision='half'.*backend='numpy'"):
        VolumeConfig(hidden=0, precision="half", backend="numpy")
    with pytest.raises(ShapeError, match=r"points is \[5, 2\]"):
        volume("cpu")(torch.zeros(5, 2))
