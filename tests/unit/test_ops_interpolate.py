"""`ops.interpolate` against a NumPy reference, finite differences and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ops_scenes
from meshwright.errors import OptionError, ShapeError
from meshwright.rendering import ops
from meshwright.rendering.ops.interpolate.reference import interpolate_reference

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]
CHOICES = [None, "all", [2], [3, 0]]


def scene(device: str, channels: int = 4, per_view: bool = False) -> tuple[torch.Tensor, ...]:
    """Attributes, rast, triangles, rast_db."""
    pos, tri = (torch.from_numpy(array).to(device) for array in ops_scenes.ball())
    rng = np.random.default_rng(5)
    shape = (2, pos.shape[1], channels) if per_view else (pos.shape[1], channels)
    attr = torch.from_numpy(rng.normal(size=shape).astype(np.float32)).to(device)
    rast, rast_db = ops.rasterize(pos, tri, (26, 33))
    return attr, rast, tri, rast_db


def chosen(choice: object, channels: int) -> list[int]:
    return [] if choice is None else list(range(channels)) if choice == "all" else list(choice)  # type: ignore[call-overload]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("per_view", [False, True])
@pytest.mark.parametrize("choice", CHOICES)
def test_matches_the_reference(choice: object, per_view: bool, device: str) -> None:
    attr, rast, tri, rast_db = scene(device, 4, per_view)
    out, out_da = ops.interpolate(attr, rast, tri, rast_db, choice)  # type: ignore[arg-type]
    arrays = [tensor.cpu().numpy() for tensor in (attr, rast, tri, rast_db)]
    expected, expected_da = interpolate_reference(*arrays, chosen(choice, 4))
    np.testing.assert_allclose(out.cpu().numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(out_da.cpu().numpy(), expected_da, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("per_view", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 5, 8])
def test_slopes(channels: int, per_view: bool, device: str) -> None:
    """Gradients of a random sum of both results, against differences of the reference, which is linear in each."""
    attr, rast, tri, rast_db = scene(device, channels, per_view)
    leaves = [tensor.clone().requires_grad_() for tensor in (attr, rast, rast_db)]
    results = ops.interpolate(leaves[0], leaves[1], tri, leaves[2], "all")
    rng = np.random.default_rng(channels)
    weights = [rng.normal(size=result.shape).astype(np.float32) for result in results]
    torch.autograd.backward(results, [torch.from_numpy(weight).to(device) for weight in weights])
    arrays = [tensor.cpu().numpy() for tensor in (attr, rast, rast_db)]
    assert (leaves[1].grad[..., 2:] == 0).all()
    for number, leaf in enumerate(leaves):

        def value(x: np.ndarray, number: int = number) -> float:
            a, r, d = (x if i == number else array for i, array in enumerate(arrays))
            found = interpolate_reference(a, r, tri.cpu().numpy(), d, range(channels))
            return float(sum((w * f).sum() for w, f in zip(weights, found, strict=True)))

        along = rng.normal(size=arrays[number].shape).astype(np.float32)
        if number == 1:
            along[..., 2:] = 0
        terms = leaf.grad.cpu().numpy().astype(np.float64) * along
        assert abs(terms.sum() - ops_scenes.slope(value, arrays[number], along, 1e-3)) < 1e-5 * np.abs(terms).sum()


@pytest.mark.parametrize("device", DEVICES)
def test_constants_and_positions_come_back(device: str) -> None:
    """Weights sum to 1; and blending homogeneous positions gives the point that lies under each pixel centre."""
    pos, tri = (torch.from_numpy(array).to(device) for array in ops_scenes.ball())
    rast, _ = ops.rasterize(pos, tri, (30, 20))
    seen = rast[..., 3] > 0
    ones, _ = ops.interpolate(torch.ones_like(pos[0, :, :1]), rast, tri)
    torch.testing.assert_close(ones[..., 0], seen.float(), atol=2e-7, rtol=0)
    point, _ = ops.interpolate(pos, rast, tri)
    column = (2 * torch.arange(20, device=device) + 1) / 20 - 1
    row = (2 * torch.arange(30, device=device) + 1) / 30 - 1
    x = (point[..., 0] / point[..., 3])[seen] - column.expand(2, 30, 20)[seen]
    y = (point[..., 1] / point[..., 3])[seen] - row[:, None].expand(2, 30, 20)[seen]
    assert max(x.abs().max(), y.abs().max()) < 2e-6
    torch.testing.assert_close((point[..., 2] / point[..., 3])[seen], rast[..., 2][seen], atol=1e-6, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_derivatives_foretell_the_next_pixel(device: str) -> None:
    """On one plane without perspective the derivative along X is the difference to the pixel on the right."""
    pos = torch.tensor([[[-3.0, -3, 0, 1], [3, -3, 0, 1], [0, 5, 0, 1]]], device=device)
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
    rast, rast_db = ops.rasterize(pos, tri, (16, 16))
    attr = torch.tensor([[0.3, 1.0], [2.0, -1.0], [0.5, 0.2]], device=device)
    out, out_da = ops.interpolate(attr, rast, tri, rast_db, "all")
    torch.testing.assert_close(out[:, :, 1:] - out[:, :, :-1], out_da[:, :, :-1, 0::2], atol=1e-6, rtol=0)
    torch.testing.assert_close(out[:, 1:] - out[:, :-1], out_da[:, :-1, :, 1::2], atol=1e-6, rtol=0)


def test_only_what_is_asked_for_gets_a_gradient() -> None:
    attr, rast, tri, rast_db = scene("cpu")
    rast.requires_grad_()
    out, _ = ops.interpolate(attr, rast, tri)
    out.sum().backward()
    assert rast.grad is not None and attr.grad is None
    attr.requires_grad_()
    out, out_da = ops.interpolate(attr, rast.detach(), tri, rast_db, "all")
    out_da.sum().backward()
    assert attr.grad is not None and attr.grad.any()


def test_wrong_arguments_are_told() -> None:
    attr, rast, tri, rast_db = scene("cpu")
    with pytest.raises(OptionError, match=r"diff_attrs=\[4\] is not a choice of 4 attributes"):
        ops.interpolate(attr, rast, tri, rast_db, [4])
    with pytest.raises(OptionError, match="without rast_db"):
        ops.interpolate(attr, rast, tri, None, "all")
    with pytest.raises(ShapeError, match="as rast has 2 views"):
        ops.interpolate(attr.expand(3, -1, -1), rast, tri)
    with pytest.raises(ShapeError, match=r"rast is torch.float32 \[2, 26, 33, 3\]"):
        ops.interpolate(attr, rast[..., :3], tri)
    with pytest.raises(ShapeError, match="rast_db is"):
        ops.interpolate(attr, rast, tri, rast_db[:1], "all")
