"""`ops.texture` and its pyramids against a NumPy reference, finite differences and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ops_scenes
from meshwright.errors import OptionError, ShapeError
from meshwright.rendering import ops
from meshwright.rendering.ops.texture.reference import level_reference, mips_reference, texture_reference

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]
FILTERS = ["nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear"]
BOUNDARIES = ["wrap", "clamp", "zero"]


def scene(channels: int = 3, size: tuple[int, int] = (16, 8), own: bool = False) -> list[np.ndarray]:
    """Texture, uv inside and outside 0 .. 1, uv_da of all levels; the first pixels are background."""
    rng = np.random.default_rng(channels)
    tex = rng.random((2 if own else 1, *size, channels)).astype(np.float32)
    uv = rng.uniform(-0.7, 1.8, (2, 12, 13, 2)).astype(np.float32)
    uv_da = (rng.normal(size=(2, 12, 13, 4)) * rng.choice([0.01, 0.1, 0.5], (2, 12, 13, 1))).astype(np.float32)
    uv[0, :2], uv_da[0, :2] = 0, 0
    return [tex, uv, uv_da]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("size", [(16, 8), (12, 4), (5, 7), (1, 8)])
def test_matches_the_reference(size: tuple[int, int], filter: str, boundary: str, device: str) -> None:
    for own in (False, True):
        arrays = scene(3, size, own)
        tex, uv, uv_da = (torch.from_numpy(array).to(device) for array in arrays)
        out = ops.texture(tex, uv, uv_da, filter=filter, boundary=boundary)
        expected = texture_reference(*arrays, filter=filter, boundary=boundary)
        np.testing.assert_allclose(out.cpu().numpy(), expected, atol=3e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize(("channels", "own"), [(3, False), (1, True), (4, False)])
def test_slopes(channels: int, own: bool, filter: str, boundary: str, device: str) -> None:
    arrays = scene(channels, (16, 8), own)
    leaves = [torch.from_numpy(array).to(device).requires_grad_() for array in arrays]
    out = ops.texture(*leaves, filter=filter, boundary=boundary)
    rng = np.random.default_rng(0)
    weight = rng.normal(size=out.shape).astype(np.float32)
    weight[0, 5] = 0
    out.backward(torch.from_numpy(weight).to(device))
    names = {"nearest": 1, "linear": 2, "linear-mipmap-nearest": 2, "linear-mipmap-linear": 3}
    for number in range(names[filter]):

        def value(x: np.ndarray, number: int = number) -> float:
            given = [x if i == number else array for i, array in enumerate(arrays)]
            return float((weight * texture_reference(*given, filter=filter, boundary=boundary)).sum())

        along = rng.normal(size=arrays[number].shape).astype(np.float32)
        if number == 1:
            along[0, :2] = 0  # background: uv = 0 lies on a kink where the texture ends
        terms = leaves[number].grad.cpu().numpy().astype(np.float64) * along
        expected = ops_scenes.slope(value, arrays[number], along, 1e-7)
        assert abs(terms.sum() - expected) < 2e-5 * np.abs(terms).sum(), number
    if filter != "nearest":
        assert leaves[0].grad.shape == arrays[0].shape


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [(64, 64), (32, 4), (1, 16), (24, 40), (7, 8), (1, 1)])
def test_pyramid(size: tuple[int, int], device: str) -> None:
    tex = np.random.default_rng(1).random((2, *size, 3)).astype(np.float32)
    stack = ops.build_mips(torch.from_numpy(tex).to(device))
    expected = mips_reference(tex)
    assert stack.levels == len(expected) - 1
    for number, level in enumerate(expected):
        np.testing.assert_allclose(stack.level(number).cpu().numpy(), level, atol=1e-6)
    assert ops.build_mips(torch.from_numpy(tex).to(device), 1).levels == min(1, stack.levels)


@pytest.mark.parametrize("device", DEVICES)
def test_a_pyramid_can_be_used_again(device: str) -> None:
    tex, uv, uv_da = (torch.from_numpy(array).to(device) for array in scene())
    tex.requires_grad_()
    with ops.deterministic():
        anew = ops.texture(tex, uv, uv_da)
        (expected,) = torch.autograd.grad(anew.square().sum(), tex)
        again = ops.texture(tex, uv, uv_da, mip=ops.build_mips(tex))
        (found,) = torch.autograd.grad(again.square().sum(), tex)
        flat = ops.texture(tex, uv, uv_da, mip=ops.build_mips(tex), max_mip_level=0)
        assert torch.equal(flat, ops.texture(tex, uv, filter="linear"))
    assert torch.equal(anew, again) and torch.equal(expected, found)


@pytest.mark.parametrize("device", DEVICES)
def test_constant_textures_stay_constant(device: str) -> None:
    """And their gradients sum to those of the pixels: every look-up takes 1 of the texture in all."""
    _, uv, uv_da = (torch.from_numpy(array).to(device) for array in scene())
    tex = torch.full((1, 32, 32, 2), 0.75, device=device, requires_grad=True)
    for filter in FILTERS:
        tex.grad = None
        out = ops.texture(tex, uv, uv_da, filter=filter)
        torch.testing.assert_close(out, torch.full_like(out, 0.75), atol=1e-6, rtol=0)
        out.sum().backward()
        assert abs(tex.grad.sum().item() - out.numel()) < 1e-3


@pytest.mark.parametrize("device", DEVICES)
def test_looking_up_texel_centres_gives_texels(device: str) -> None:
    tex = torch.rand((1, 6, 10, 3), generator=torch.Generator().manual_seed(0)).to(device)
    v, u = torch.meshgrid((torch.arange(6) + 0.5) / 6, (torch.arange(10) + 0.5) / 10, indexing="ij")
    uv = torch.stack([u, v], -1)[None].to(device)
    for boundary in BOUNDARIES:
        assert torch.equal(ops.texture(tex, uv, filter="nearest", boundary=boundary), tex)
        torch.testing.assert_close(ops.texture(tex, uv, boundary=boundary), tex, atol=1e-5, rtol=0)
    turned = ops.texture(tex, uv + torch.tensor([3.0, -2.0], device=device))
    torch.testing.assert_close(turned, tex, atol=1e-5, rtol=0)


def test_levels_follow_the_footprint() -> None:
    """A pixel that is 4 texels long in one direction and 1 in the other reads level 2."""
    tex = torch.rand((1, 64, 64, 1), generator=torch.Generator().manual_seed(0))
    uv = torch.full((1, 1, 1, 2), 0.4)
    uv_da = torch.tensor([4 / 64, 0, 0, 1 / 64]).view(1, 1, 1, 4)
    assert level_reference(uv_da.numpy(), 64, 64, 6) == pytest.approx(2)
    expected = ops.texture(ops.build_mips(tex).level(2).contiguous(), uv, filter="linear")
    torch.testing.assert_close(ops.texture(tex, uv, uv_da), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_strange_coordinates_are_survived(device: str) -> None:
    """Infinite and huge coordinates read some texel; they never read or write outside."""
    tex = torch.rand((1, 8, 8, 3)).to(device).requires_grad_()
    strange = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 3e9, 1e-40])
    u, v = torch.meshgrid(strange, strange, indexing="ij")
    uv = torch.stack([u, v], -1)[None].to(device).requires_grad_()
    uv_da = torch.cat([uv.detach(), uv.detach().flip(1)], -1).requires_grad_()
    for filter in FILTERS:
        for boundary in BOUNDARIES:
            out = ops.texture(tex, uv, uv_da, filter=filter, boundary=boundary)
            assert torch.isfinite(out).all()
            out.sum().backward()
            assert torch.isfinite(tex.grad).all()


def test_auto_is_the_best_that_is_possible() -> None:
    tex, uv, uv_da = (torch.from_numpy(array) for array in scene())
    assert torch.equal(ops.texture(tex, uv), ops.texture(tex, uv, filter="linear"))
    assert torch.equal(ops.texture(tex, uv, uv_da), ops.texture(tex, uv, uv_da, filter="linear-mipmap-linear"))


def test_wrong_arguments_are_told() -> None:
    tex, uv, uv_da = (torch.from_numpy(array) for array in scene())
    with pytest.raises(OptionError, match="filter='cubic' is not known"):
        ops.texture(tex, uv, filter="cubic")
    with pytest.raises(OptionError, match="boundary='mirror' is not known"):
        ops.texture(tex, uv, boundary="mirror")
    with pytest.raises(OptionError, match="needs uv_da"):
        ops.texture(tex, uv, filter="linear-mipmap-linear")
    with pytest.raises(OptionError, match="max_mip_level=-1"):
        ops.texture(tex, uv, uv_da, max_mip_level=-1)
    with pytest.raises(ShapeError, match=r"mip is of a texture \[1, 4, 4, 3\]"):
        ops.texture(tex, uv, uv_da, mip=ops.build_mips(tex[:, :4, :4]))
    with pytest.raises(ShapeError, match=r"uv is .* expected float32 \[N, H, W, 2\]"):
        ops.texture(tex, uv_da)
    with pytest.raises(ShapeError, match="as uv has 2 views"):
        ops.texture(tex.expand(3, -1, -1, -1), uv)
