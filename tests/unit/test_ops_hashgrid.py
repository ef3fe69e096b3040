"""`ops.hash_encode` against a NumPy reference, finite differences and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ops_scenes
from meshwright.errors import OptionError, ShapeError
from meshwright.rendering import ops
from meshwright.rendering.ops import HashGrid
from meshwright.rendering.ops.hashgrid.reference import hash_encode_reference

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]


def small(features: int = 2) -> HashGrid:
    """Two levels with all of their points, three that share entries."""
    return HashGrid(levels=5, features=features, coarsest=4, finest=61, log2_size=10)


def scene(grid: HashGrid, points: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """A table of sizeable features, points within the cube and a few beyond it."""
    rng = np.random.default_rng(grid.features)
    table = rng.normal(size=(grid.entries, grid.features)).astype(np.float32)
    return table, rng.uniform(-0.05, 1.05, (points, 3)).astype(np.float32)


def test_levels_are_those_of_the_paper() -> None:
    grid = HashGrid(levels=16, coarsest=16, finest=2048, log2_size=14)
    assert grid.resolutions[0] == 16 and grid.resolutions[-1] == 2048
    growth = np.exp((np.log(2048) - np.log(16)) / 15)
    assert grid.resolutions[1:-1] == tuple(int(16 * growth**level) for level in range(1, 15))
    assert [size == 2**14 for size in grid.sizes] == list(grid.hashed)
    assert grid.sizes[0] == 17**3 and not grid.hashed[0]
    assert small().hashed == (False, False, True, True, True)
    table = grid.new_table(generator=torch.Generator().manual_seed(1))
    assert table.shape == (grid.entries, 2) and table.abs().max() <= 1e-4


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("features", [1, 2, 4])
def test_matches_the_reference(features: int, device: str) -> None:
    grid = small(features)
    table, points = scene(grid)
    points[:4] = [[0, 0, 0], [1, 1, 1], [1, 0, 0.5], [0.25, 0.5, 0.75]]
    found = ops.hash_encode(torch.from_numpy(table).to(device), torch.from_numpy(points).to(device), grid)
    expected = hash_encode_reference(table, points, grid)
    # A point's place among 61 cells has a rounding of 2**-19, features differ by up to 6.
    np.testing.assert_allclose(found.cpu().numpy(), expected, atol=5e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("features", [1, 2, 4])
def test_slopes(features: int, device: str) -> None:
    grid = small(features)
    table, points = scene(grid)
    leaves = [torch.from_numpy(array).to(device).requires_grad_() for array in (table, points)]
    out = ops.hash_encode(*leaves, grid)
    rng = np.random.default_rng(0)
    weight = rng.normal(size=out.shape).astype(np.float32)
    out.backward(torch.from_numpy(weight).to(device))

    def value(a: np.ndarray, b: np.ndarray) -> float:
        return float((weight * hash_encode_reference(a, b, grid)).sum())

    along = rng.normal(size=table.shape).astype(np.float32)
    terms = leaves[0].grad.cpu().numpy().astype(np.float64) * along
    expected = ops_scenes.slope(lambda x: value(x, points), table, along, 1e-3)
    assert abs(terms.sum() - expected) < 2e-5 * np.abs(terms).sum()
    along = rng.normal(size=points.shape).astype(np.float32)
    terms = leaves[1].grad.cpu().numpy().astype(np.float64) * along
    expected = ops_scenes.slope(lambda x: value(table, x), points, along, 1e-8)
    assert abs(terms.sum() - expected) < 2e-4 * np.abs(terms).sum()
    beyond = (points < 0) | (points > 1)
    assert (leaves[1].grad.cpu().numpy()[beyond] == 0).all() and beyond.any()


@pytest.mark.parametrize("device", DEVICES)
def test_a_linear_function_is_reproduced(device: str) -> None:
    """Features that are a linear function of their lattice point are that function in between, with its slope."""
    grid = HashGrid(levels=3, features=1, coarsest=3, finest=9, log2_size=12)
    assert not any(grid.hashed)
    matrix = np.array([1.0, -2.0, 0.5])
    rows = []
    for cells in grid.resolutions:
        z, y, x = np.meshgrid(*[np.arange(cells + 1) / cells] * 3, indexing="ij")
        rows.append((np.stack([x, y, z], -1) @ matrix).ravel())
    table = torch.from_numpy(np.concatenate(rows).astype(np.float32)[:, None]).to(device)
    points = torch.rand((400, 3), generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    out = ops.hash_encode(table, points, grid)
    wanted = points.detach() @ torch.from_numpy(matrix).float().to(device)
    torch.testing.assert_close(out, wanted[:, None].expand(-1, 3), atol=1e-6, rtol=0)
    out.sum().backward()
    torch.testing.assert_close(
        points.grad / 3, torch.from_numpy(matrix).float().to(device).expand(400, 3), atol=2e-5, rtol=0
    )


@pytest.mark.parametrize("device", DEVICES)
def test_only_what_is_asked_for_gets_a_gradient_and_any_order_of_it_does(device: str) -> None:
    grid = small()
    table, points = (torch.from_numpy(array).to(device) for array in scene(grid))
    weight = torch.rand((500, grid.width), generator=torch.Generator().manual_seed(0)).to(device)
    results = []
    for layout in (weight, weight.t().contiguous().t(), torch.stack([weight, weight], 2)[..., 0]):
        leaf = table.clone().requires_grad_()
        ops.hash_encode(leaf, points, grid).backward(layout)
        results.append(leaf.grad)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-5, atol=1e-6)
    leaf = points.clone().requires_grad_()
    ops.hash_encode(table, leaf, grid).sum().backward()
    assert leaf.grad.any()


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_every_time_and_empty_input(device: str) -> None:
    grid = HashGrid(levels=8, finest=256, log2_size=12)
    table, points = (torch.from_numpy(array).to(device) for array in scene(grid, 30_000))

    def gradient() -> torch.Tensor:
        leaf = table.clone().requires_grad_()
        with ops.deterministic():
            ops.hash_encode(leaf, points, grid).square().sum().backward()
        return leaf.grad

    assert torch.equal(gradient(), gradient())
    leaf = table.clone().requires_grad_()
    none = ops.hash_encode(leaf, points[:0], grid)
    none.sum().backward()
    assert none.shape == (0, grid.width) and not leaf.grad.any()


@pytest.mark.parametrize("device", DEVICES)
def test_not_a_number_reads_nothing_beyond_the_table(device: str) -> None:
    grid = small()
    table, points = (torch.from_numpy(array).to(device) for array in scene(grid))
    points[3, 1], points[4, 2] = float("nan"), float("inf")
    assert torch.isfinite(ops.hash_encode(table, points, grid)).all()


def test_wrong_arguments_are_told() -> None:
    grid = small()
    table, points = (torch.from_numpy(array) for array in scene(grid))
    with pytest.raises(OptionError, match=r"levels=0 is not 1 to 32; features=3 is not 1, 2 or 4"):
        HashGrid(levels=0, features=3)
    with pytest.raises(ShapeError, match="as the grid has it"):
        ops.hash_encode(table[1:], points, grid)
    with pytest.raises(ShapeError, match=r"points is torch.float32 \[500, 2\]"):
        ops.hash_encode(table, points[:, :2], grid)
    with pytest.raises(ShapeError, match=r"points is torch\.float64"):
        ops.hash_encode(table, points.double(), grid)
