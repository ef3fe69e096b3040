"""`ops.fog` against a NumPy reference, finite differences and what is known of fog."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from meshwright.errors import ShapeError
from meshwright.rendering.ops.fog import clearance, march_fog
from meshwright.rendering.ops.fog.reference import march_fog_reference

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]
Rays = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def rays(count: int, size: tuple[int, int, int], device: str = "cpu") -> Rays:
    """From all around through a grid, some of which miss it."""
    rng = np.random.default_rng(3)
    through = rng.uniform(-0.2, 1.2, (count, 3)) * (np.array(size) - 1)
    ways = rng.normal(size=(count, 3))
    ways[0] = (0, 0, 1)  # along an axis
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    arrays = (through - 20 * ways, ways, rng.uniform(size=count), rng.uniform(size=(count, 3)))
    origins, ways_, jitter, wanted = (torch.tensor(array, dtype=torch.float32, device=device) for array in arrays)
    return origins, ways_, jitter, wanted


def fog(size: tuple[int, int, int], device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(4)
    grid = np.concatenate([rng.uniform(size=(*size, 3)), rng.normal(-1, 1.5, (*size, 1))], -1)
    mask = (rng.uniform(size=size) < 0.8).astype(np.uint8)
    return torch.tensor(grid, dtype=torch.float32, device=device), torch.tensor(mask, device=device)


@pytest.mark.parametrize("device", DEVICES)
def test_rays_are_those_of_the_reference(device: str) -> None:
    size = (5, 7, 6)
    grid, mask = fog(size, device)
    seen, apart = march_fog(grid, mask, *rays(200, size, device))
    plain = [tensor.cpu().numpy() for tensor in (grid, mask, *rays(200, size))]
    wanted = march_fog_reference(*plain)
    # Rays end at a thousandth; float32 besides. A sample at a border may fall to either side of it.
    off = np.abs(seen.cpu().numpy() - wanted[0]).max(1) + np.abs(apart.cpu().numpy() - wanted[1])
    assert np.quantile(off, 0.98) < 2e-3
    assert (wanted[0][:, 3] > 0.1).sum() > 50 and (wanted[0][:, 3] == 0).any()


def test_even_fog_dims_as_its_length() -> None:
    grid = torch.zeros(9, 9, 9, 4)
    grid[..., 0], grid[..., 3] = 0.5, -1.0
    mask = torch.ones(9, 9, 9, dtype=torch.uint8)
    origin, way = torch.tensor([[4.0, 4.0, -3.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    seen, apart = march_fog(grid, mask, origin, way, torch.tensor([0.5]), torch.tensor([[0.5, 0.0, 0.2]]))
    cover = 1 - np.exp(-np.log1p(np.exp(-1.0)) * 8)
    np.testing.assert_allclose(seen[0].numpy(), [0.5 * cover, 0, 0, cover], atol=1e-5)
    np.testing.assert_allclose(float(apart), 0.04 * cover, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_are_finite_differences(device: str) -> None:
    size = (4, 5, 4)
    grid, mask = fog(size, device)
    grid[..., 3] -= 1.5  # no ray may end early: the difference quotient would see it
    seen_pull, apart_pull = torch.randn(60, 4, device=device), torch.randn(60, device=device)

    def loss(values: torch.Tensor) -> torch.Tensor:
        seen, apart = march_fog(values, mask, *rays(60, size, device))
        return (seen * seen_pull).sum() + (apart * apart_pull).sum()

    grid.requires_grad_()
    (found,) = torch.autograd.grad(loss(grid), grid)
    rng = np.random.default_rng(5)
    for index in rng.integers(0, grid.numel(), 24):
        nudge = torch.zeros(grid.numel(), device=device)
        nudge[index] = 1e-2
        nudge = nudge.view(grid.shape)
        quotient = float(loss(grid.detach() + nudge) - loss(grid.detach() - nudge)) / 2e-2
        assert abs(quotient - float(found.view(-1)[index])) < 2e-3 + 0.01 * abs(quotient)


def test_clearance_is_what_is_left_on_the_way_to_the_camera() -> None:
    grid = torch.zeros(8, 8, 8, 4)
    grid[..., 3] = -20.0
    grid[:, :, 4, 3] = 20.0  # a wall
    mask = torch.ones(8, 8, 8, dtype=torch.uint8)
    voxels = torch.tensor([[3, 3, 6], [3, 3, 1]], dtype=torch.int32)
    before = torch.tensor([[3.0, 3.0, 50.0], [4.0, 3.0, 50.0], [3.0, 4.0, 50.0], [2.0, 3.0, 50.0]])
    best = clearance(grid, mask, voxels, before)
    np.testing.assert_allclose(best[0].numpy(), 1.0, atol=1e-5)
    assert best[1].max() <= 0.1
    # Two cameras behind the wall are not three.
    behind = clearance(grid, mask, voxels, torch.cat([before[:1], -before[:2]]))
    assert behind[1, 1] > 0.99 and behind[1, 2] <= 0.1


def test_faults_are_named() -> None:
    grid, mask = fog((4, 4, 4))
    with pytest.raises(ShapeError, match="mask"):
        march_fog(grid, mask.float(), *rays(3, (4, 4, 4)))
    with pytest.raises(ShapeError, match="jitter"):
        origins, ways, _, wanted = rays(3, (4, 4, 4))
        march_fog(grid, mask, origins, ways, torch.zeros(4), wanted)
    with pytest.raises(ShapeError, match="voxels"):
        clearance(grid, mask, torch.zeros(2, 3), origins)
