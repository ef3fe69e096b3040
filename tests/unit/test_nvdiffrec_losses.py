"""What fits are judged by: known values, what must not matter, gradients that stay finite."""

from __future__ import annotations

import math

import pytest
import torch

from meshwright.models.nvdiffrec import losses
from meshwright.models.nvdiffrec.appearance.config import VolumeConfig
from meshwright.models.nvdiffrec.appearance.volume import MaterialVolume
from meshwright.rendering.ops import HashGrid

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]


def numbers(*shape: int, device: str = "cpu", seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(device)


def test_tone_mapping_by_hand() -> None:
    colour = torch.tensor([0.0, 0.001, 1.0, math.e - 1, 100.0])
    expected = [0, 12.92 * math.log1p(0.001), 1.055 * math.log(2) ** (1 / 2.4) - 0.055, 1.0]
    expected.append(1.055 * math.log(101) ** (1 / 2.4) - 0.055)
    torch.testing.assert_close(losses.tone_mapped(colour), torch.tensor(expected))


@pytest.mark.parametrize("device", DEVICES)
def test_tone_mapping_slopes(device: str) -> None:
    colour = torch.tensor([0.0, 1e-8, 0.003, 0.01, 0.5, 3.0, 50.0, -0.1], device=device, requires_grad=True)
    losses.tone_mapped(colour).sum().backward()
    assert torch.isfinite(colour.grad).all() and colour.grad[-1] == 0
    double = torch.tensor([0.002, 0.01, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(losses.tone_mapped, double)


def test_colour_and_mask() -> None:
    picture = numbers(2, 5, 6, 3)
    assert losses.colour_loss(picture, picture) == 0
    off = losses.colour_loss(picture, picture + 0.1)
    larger = torch.cat([picture, picture], 1)
    torch.testing.assert_close(losses.colour_loss(larger, larger + 0.1), off)
    torch.testing.assert_close(losses.mask_loss(torch.ones(1, 2, 2, 1), torch.zeros(1, 2, 2, 1)), torch.tensor(1.0))


@pytest.mark.parametrize("device", DEVICES)
def test_background_tells_transparent_from_black(device: str) -> None:
    generator = torch.Generator(device).manual_seed(3)
    ground = losses.random_background(4, device, generator)
    assert ground.shape == (4, 1, 1, 3) and ground.min() >= 0 and ground.max() <= 1
    assert torch.equal(ground, losses.random_background(4, device, torch.Generator(device).manual_seed(3)))
    nothing = torch.zeros((4, 2, 2, 4), device=device)
    torch.testing.assert_close(losses.over_background(nothing, ground), ground.expand(4, 2, 2, 3))
    black = nothing.clone()
    black[..., 3] = 1
    assert not losses.over_background(black, ground).any()


def test_metric_depth() -> None:
    wanted = 2 + numbers(2, 4, 4, 1)
    weight = torch.ones_like(wanted)
    loss = losses.metric_depth_loss(wanted + 0.02, wanted, weight, size=2.0)
    torch.testing.assert_close(loss, torch.tensor(0.01))
    # What is not known does not count, whatever stands there; what is far off counts so much and no more.
    weight[0] = 0
    shown = wanted + 0.02
    shown[0] = 1e9
    torch.testing.assert_close(losses.metric_depth_loss(shown, wanted, weight, size=2.0), torch.tensor(0.01))
    far = losses.metric_depth_loss(wanted + 5, wanted, weight, size=2.0)
    torch.testing.assert_close(far, torch.tensor(0.05))
    assert losses.metric_depth_loss(shown, wanted, 0 * weight, size=2.0) == 0


@pytest.mark.parametrize("device", DEVICES)
def test_relative_depth_ignores_both_affines(device: str) -> None:
    shown, wanted = numbers(3, 8, 9, 1, device=device) + 2, numbers(3, 8, 9, 1, device=device, seed=1)
    weight = (numbers(3, 8, 9, 1, device=device, seed=2) > 0.3).float()
    loss = losses.relative_depth_loss(shown, wanted, weight)
    assert loss > 0.5  # they have nothing to do with each other
    scale = torch.tensor([0.5, 3.0, -1.0], device=device).view(3, 1, 1, 1)
    for a, b in ((scale * shown + 0.7, wanted), (shown, 20 * wanted - 3), (shown, -wanted)):
        torch.testing.assert_close(losses.relative_depth_loss(a, b, weight), loss, rtol=1e-3, atol=0)
    same = losses.relative_depth_loss(scale * wanted + 4, wanted, weight)
    assert same < 1e-4
    unseen = wanted.clone()
    unseen[weight == 0] = 1e6
    torch.testing.assert_close(losses.relative_depth_loss(shown, unseen, weight), loss, rtol=1e-3, atol=0)


def test_outliers_do_not_bend_the_affine() -> None:
    """A known scale and offset is undone although a tenth of the pixels see something else."""
    wanted = numbers(1, 20, 20, 1)
    shown = 0.7 * wanted + 3
    shown[:, :2] -= 0.5
    weight = torch.ones_like(wanted)
    plain = losses.relative_depth_loss(shown, wanted, weight)
    robust = losses.relative_depth_loss(shown, wanted, weight, 0.3)
    # A tenth is off by 0.5 in a scale of 0.7, and wanted has a spread of a quarter; nothing else is.
    true = 0.1 * 0.5 / 0.7 / 0.25
    assert abs(float(robust) - true) < 0.02 and float(plain) > true + 0.2
    for scale in (-1.0, 3.0):
        again = losses.relative_depth_loss(scale * shown + 2, wanted, weight, 0.3)
        torch.testing.assert_close(again, robust, rtol=1e-3, atol=0)


def test_relative_depth_does_not_flatten() -> None:
    """Shrinking what is shown towards a plane gains nothing: the gradient has no part along it."""
    shown, wanted = (numbers(1, 8, 9, 1) + 2).requires_grad_(), numbers(1, 8, 9, 1, seed=1)
    losses.relative_depth_loss(shown, wanted, torch.ones_like(wanted)).backward()
    flattening = (shown - shown.mean()).detach()
    assert abs(float((shown.grad * flattening).sum())) < 1e-4
    assert abs(float(shown.grad.sum())) < 1e-4


@pytest.mark.parametrize("constant", ["shown", "wanted", "weight"])
def test_relative_depth_of_flat_or_unseen_views_is_finite(constant: str) -> None:
    shown, wanted, weight = numbers(2, 4, 4, 1) + 2, numbers(2, 4, 4, 1, seed=1), torch.ones(2, 4, 4, 1)
    {"shown": shown, "wanted": wanted, "weight": weight}[constant][1] = 0
    shown.requires_grad_()
    loss = losses.relative_depth_loss(shown, wanted, weight)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(shown.grad).all() and shown.grad[0].any()


def test_relative_depth_slopes() -> None:
    shown = (numbers(2, 3, 4, 1).double() + 2).requires_grad_()
    wanted, weight = numbers(2, 3, 4, 1, seed=1).double(), numbers(2, 3, 4, 1, seed=2).double()
    assert torch.autograd.gradcheck(lambda x: losses.relative_depth_loss(x, wanted, weight), shown)


@pytest.mark.parametrize("device", DEVICES)
def test_smoothness_of_materials(device: str) -> None:
    grid = HashGrid(levels=4, coarsest=4, finest=32, log2_size=12)
    volume = MaterialVolume([0, 0, 0], [1, 1, 1], VolumeConfig(grid=grid), device=device)
    where = numbers(500, 3, device=device)
    even = losses.material_smoothness(volume, where, volume(where), reach=0.01)
    assert max(even) < 1e-4
    with torch.no_grad():
        volume.network.table.normal_(0, 1)  # type: ignore[union-attr, operator]
    found = []
    for reach in (0.001, 0.01, 0.1):
        generator = torch.Generator(device).manual_seed(0)
        kd, ks = losses.material_smoothness(volume, where, volume(where), reach=reach, generator=generator)
        found.append(float(kd.detach()))
    assert found[0] < found[1] < found[2]
    (kd + ks).backward()
    assert volume.network.table.grad.any()  # type: ignore[union-attr]


def test_whiteness_of_light() -> None:
    assert losses.light_whiteness(torch.full((6, 4, 4, 3), 7.0)) == 0
    red = torch.tensor([3.0, 0.0, 0.0]).expand(6, 4, 4, 3)
    torch.testing.assert_close(losses.light_whiteness(red), torch.tensor(4 / 3))
