"""`ops.cube_texture` against a NumPy reference, finite differences and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ops_scenes
from meshwright.errors import OptionError, ShapeError
from meshwright.rendering import ops
from meshwright.rendering.ops import CubeLevels
from meshwright.rendering.ops.cubemap.faces import DOWN, MAJOR, RIGHT, face_directions
from meshwright.rendering.ops.cubemap.reference import cube_texture_reference

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]
STACKS = [CubeLevels.halving(8), CubeLevels((5, 3, 3)), CubeLevels((1,)), CubeLevels((2, 1)), CubeLevels((16,))]


def scene(levels: CubeLevels, points: int = 600) -> list[np.ndarray]:
    """Texels, directions everywhere and of all lengths (many at edges and corners of the cube), levels and beyond."""
    rng = np.random.default_rng(levels.sizes[0])
    direction = rng.normal(size=(points, 3))
    direction[::3] = np.sign(direction[::3]) + 0.1 * rng.normal(size=direction[::3].shape)
    direction *= rng.uniform(0.1, 10, (points, 1))
    level = rng.uniform(-0.3, len(levels.sizes) - 0.7, points)
    arrays = (rng.random((levels.texels, 3)), direction, level)
    return [array.astype(np.float32) for array in arrays]


def test_faces_are_those_of_opengl() -> None:
    """Of each face the axes are at right angles, and s x t points inwards: rows run down as seen from outside."""
    for major, right, down in zip(MAJOR, RIGHT, DOWN, strict=True):
        np.testing.assert_array_equal(np.cross(right, down), -major)
    np.testing.assert_allclose(face_directions(1)[:, 0, 0], MAJOR)
    assert face_directions(4)[4, 0, 3] @ [1, 1, 0] > 0  # +Z: right is +X, the first row is up


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("levels", STACKS)
def test_matches_the_reference(levels: CubeLevels, device: str) -> None:
    arrays = scene(levels)
    values, direction, level = (torch.from_numpy(array).to(device) for array in arrays)
    found = ops.cube_texture(values, levels, direction, level).cpu().numpy()
    np.testing.assert_allclose(found, cube_texture_reference(arrays[0], levels, *arrays[1:]), atol=5e-6)
    first = ops.cube_texture(values, levels, direction).cpu().numpy()
    np.testing.assert_allclose(first, cube_texture_reference(arrays[0], levels, arrays[1]), atol=5e-6)
    assert ops.cube_texture(values, levels, direction.view(20, 30, 3), level.view(20, 30)).shape == (20, 30, 3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("levels", STACKS)
def test_slopes(levels: CubeLevels, device: str) -> None:
    arrays = scene(levels)
    leaves = [torch.from_numpy(array).to(device).requires_grad_() for array in arrays]
    out = ops.cube_texture(leaves[0], levels, *leaves[1:])
    rng = np.random.default_rng(0)
    weight = rng.normal(size=out.shape).astype(np.float32)
    out.backward(torch.from_numpy(weight).to(device))
    for number, leaf in enumerate(leaves):

        def value(x: np.ndarray, number: int = number) -> float:
            v, d, e = (x if i == number else array for i, array in enumerate(arrays))
            return float((weight * cube_texture_reference(v, levels, d, e)).sum())

        along = rng.normal(size=arrays[number].shape).astype(np.float32)
        terms = leaf.grad.cpu().numpy().astype(np.float64) * along
        expected = ops_scenes.slope(value, arrays[number], along, 1e-8)
        assert abs(terms.sum() - expected) <= 2e-5 * np.abs(terms).sum() + 1e-6, number
    # A direction twice as long sees the same.
    slope, direction = leaves[1].grad, leaves[1].detach()
    assert ((slope * direction).sum(1).abs() <= 1e-4 * slope.norm(dim=1) * direction.norm(dim=1) + 1e-6).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("levels", STACKS)
def test_there_are_no_seams(levels: CubeLevels, device: str) -> None:
    """Along great circles through edges and corners, small steps see small changes."""
    values = torch.from_numpy(scene(levels)[0]).to(device)
    angle = np.linspace(0, 2 * np.pi, 40_001)
    circles = (([1, 1, 1], [1, -1, 0]), ([1, 0, 0], [0, 1, 0]), ([1, 1, 0], [0, 0, 1]), ([0.3, 1, 0.9], [3, 0, -1]))
    for start, side in circles:
        a, b = np.array(start) / np.linalg.norm(start), np.array(side) / np.linalg.norm(side)
        path = np.cos(angle)[:, None] * a + np.sin(angle)[:, None] * b
        seen = ops.cube_texture(values, levels, torch.from_numpy(path.astype(np.float32)).to(device))
        # At corners, s changes by up to 3 a radian, a texel is 2 / size of it, neighbours differ by 1 at most (twice).
        most = 3 * levels.sizes[0] * 2 * np.pi / 40_000 + 1e-5
        assert (seen[1:] - seen[:-1]).abs().max() < most


@pytest.mark.parametrize("device", DEVICES)
def test_centres_give_their_texels_and_constants_stay(device: str) -> None:
    levels = CubeLevels((7,))
    values = torch.from_numpy(scene(levels)[0]).to(device)
    centres = torch.from_numpy(face_directions(7).astype(np.float32).reshape(-1, 3)).to(device)
    torch.testing.assert_close(ops.cube_texture(values, levels, centres), values, atol=5e-6, rtol=0)
    directions = torch.from_numpy(scene(levels)[1]).to(device)
    grey = ops.cube_texture(torch.full_like(values, 0.3), levels, directions)
    torch.testing.assert_close(grey, torch.full_like(grey, 0.3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_every_time(device: str) -> None:
    levels = CubeLevels.halving(8)
    values, direction, level = (torch.from_numpy(array).to(device) for array in scene(levels, 30_000))

    def gradient() -> torch.Tensor:
        leaf = values.clone().requires_grad_()
        with ops.deterministic():
            ops.cube_texture(leaf, levels, direction, level).square().sum().backward()
        return leaf.grad

    assert torch.equal(gradient(), gradient())
    # Many points are shared out among workers, few are not: the sums must be the same.
    pieces = []
    for part in range(10):
        leaf = values.clone().requires_grad_()
        ops.cube_texture(leaf, levels, direction[part::10], level[part::10]).square().sum().backward()
        pieces.append(leaf.grad)
    torch.testing.assert_close(sum(pieces), gradient(), rtol=1e-4, atol=1e-3)
    assert ops.cube_texture(values, levels, direction[:0]).shape == (0, 3)


@pytest.mark.parametrize("device", DEVICES)
def test_no_direction_reads_nothing_beyond_the_texels(device: str) -> None:
    levels = CubeLevels((4, 2))
    values, direction, level = (torch.from_numpy(array).to(device) for array in scene(levels))
    direction[0], direction[1, 1], direction[2, 0], level[3] = 0, float("nan"), float("inf"), float("nan")
    assert torch.isfinite(ops.cube_texture(values, levels, direction, level)).all()
    direction.requires_grad_()
    ops.cube_texture(values, levels, direction, level).sum().backward()
    assert torch.isfinite(direction.grad).all()


def test_wrong_arguments_are_told() -> None:
    levels = CubeLevels((4, 2))
    values, direction, level = (torch.from_numpy(array) for array in scene(levels))
    with pytest.raises(OptionError, match=r"sizes \(4, 0\)"):
        CubeLevels((4, 0))
    with pytest.raises(ShapeError, match=r"values is torch.float32 \[119, 3\]"):
        ops.cube_texture(values[1:], levels, direction)
    with pytest.raises(ShapeError, match="direction is"):
        ops.cube_texture(values, levels, direction[:, :2])
    with pytest.raises(ShapeError, match="level is"):
        ops.cube_texture(values, levels, direction, level[:5])
    with pytest.raises(ShapeError, match=r"expected float32 \[6, R, R, 3\]"):
        ops.stack_cube([torch.zeros(6, 4, 4, 3), torch.zeros(6, 3, 2, 3)])
    assert ops.stack_cube([torch.zeros(6, 4, 4, 3), torch.zeros(6, 2, 2, 3)]).shape == (levels.texels, 3)
