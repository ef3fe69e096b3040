"""The parts of the refinement, each against arithmetic: lattice, camera corrections, descent, targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from meshwright.errors import OptionError
from meshwright.models.refinement.config import RefineConfig
from meshwright.models.refinement.descent import UniformAdam
from meshwright.models.refinement.lattice import FOLD_FREE, apply, lattice_around, on_device, transposed
from meshwright.models.refinement.poses import PoseCorrections
from meshwright.models.refinement.targets import shrunk, targets_of
from scenes import Ellipsoid, six, views_of

POINTS = np.random.default_rng(0).uniform(-0.5, 0.5, (200, 3)) * [1.0, 0.4, 0.7]


def test_weights_of_a_lattice_sum_to_one_and_repeat_what_is_linear() -> None:
    lattice = lattice_around(POINTS, 0.13)
    weights = lattice.weights(POINTS)
    np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-5)
    places = lattice.origin + lattice.cell * np.stack(np.meshgrid(*map(np.arange, lattice.shape), indexing="ij"), -1)
    slope = np.array([[0.1, -0.2, 0.05], [0.0, 0.3, 0.1], [0.2, 0.0, -0.1]])
    np.testing.assert_allclose(weights @ (places.reshape(-1, 3) @ slope), POINTS @ slope, atol=1e-5)


def test_points_move_as_the_weights_say() -> None:
    lattice = lattice_around(POINTS, 0.13)
    controls = np.random.default_rng(2).normal(size=(lattice.count, 3))
    # The weights are float32: a few roundings of numbers up to 1.
    np.testing.assert_allclose(lattice.displaced(POINTS, controls), lattice.weights(POINTS) @ controls, atol=1e-6)


def test_weights_turn_over_as_a_matrix_does() -> None:
    """What a GPU does itself, against SciPy; there are control points that move nothing."""
    weights = lattice_around(POINTS, 0.13).weights(POINTS)
    plain, turned = on_device(weights, "cpu")
    for ours, theirs in zip(transposed(plain, weights.shape[1]), turned, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_displacements_have_the_gradient_of_their_weights() -> None:
    lattice = lattice_around(POINTS, 0.2)
    sparse = lattice.weights(POINTS)
    controls = torch.randn(lattice.count, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    pull = torch.randn(len(POINTS), 3, generator=torch.Generator().manual_seed(1))
    (apply(on_device(sparse, "cpu"), controls) * pull).sum().backward()
    assert controls.grad is not None
    np.testing.assert_allclose(controls.grad.numpy(), sparse.T @ pull.numpy(), atol=1e-5)


def test_space_does_not_fold_within_the_reach_of_controls() -> None:
    lattice = lattice_around(POINTS, 0.2)
    sign = np.random.default_rng(1).choice([-1.0, 1.0], (lattice.count, 1))
    line = np.stack([np.linspace(-0.45, 0.45, 400), np.zeros(400), np.zeros(400)], -1)
    moved = line + lattice.weights(line) @ (sign * [[FOLD_FREE * lattice.cell, 0.0, 0.0]])
    assert (np.diff(moved[:, 0]) > 0).all()


def test_even_deformations_do_not_bend() -> None:
    lattice = lattice_around(POINTS, 0.2)
    assert float(lattice.bending(torch.ones(lattice.count, 3))) == pytest.approx(0.0, abs=1e-9)
    assert float(lattice.bending(torch.eye(lattice.count, 3))) > 0


def clip_to_pixels(clip: torch.Tensor, width: int, height: int) -> np.ndarray:
    ndc = (clip[..., :2] / clip[..., 3:]).detach().double().numpy()
    return np.stack([(ndc[..., 0] + 1) * width / 2, (1 - ndc[..., 1]) * height / 2], -1)


@pytest.mark.parametrize("corrected", [False, True])
def test_clip_space_is_where_the_corrected_cameras_see_it(corrected: bool) -> None:
    cameras = six(128)
    poses = PoseCorrections(cameras, np.array([0.02, -0.01, 0.03]), "cpu")
    if corrected:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in poses.parameters():
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    clip = poses(torch.tensor(POINTS, dtype=torch.float32))
    for view, camera in enumerate(poses.cameras()):
        pixels, z = camera.project(POINTS)
        np.testing.assert_allclose(clip_to_pixels(clip[view], camera.width, camera.height), pixels, atol=2e-3)
        np.testing.assert_allclose(clip[view, :, 3].detach().numpy(), z, atol=1e-5)


def test_corrections_begin_at_nothing() -> None:
    cameras = six(64)
    poses = PoseCorrections(cameras, np.zeros(3), "cpu")
    assert float(poses.size().detach()) == 0.0
    for before, after in zip(cameras, poses.cameras(), strict=True):
        np.testing.assert_allclose(after.camera_to_world, before.camera_to_world, atol=1e-6)
        assert after.fl_x == pytest.approx(before.fl_x)


def test_descent_finds_a_minimum_and_leaves_what_does_not_matter() -> None:
    goal = torch.tensor([0.3, -0.2, 0.0])
    weight = torch.tensor([1.0, 1.0, 1e-6])
    x = torch.nn.Parameter(torch.zeros(3))
    descent = UniformAdam(x, 0.02)
    for step in range(200):
        (weight * (x - goal) ** 2 + 1e-7 * x).sum().backward()
        descent.step(1 - step / 200)
    assert torch.allclose(x[:2], goal[:2], atol=5e-3)
    assert abs(float(x[2].detach())) < 1e-2


def test_targets_are_bottom_up_premultiplied_and_srgb() -> None:
    views = views_of((Ellipsoid(),), six(64)).views
    target = targets_of(views, 32, 32, "cpu")
    assert target.shape == (6, 32, 32, 4)
    np.testing.assert_allclose(
        target[0, ..., 3].numpy(), views[0].mask.reshape(32, 2, 32, 2).mean((1, 3))[::-1], atol=1e-5
    )
    assert bool((target[..., :3] <= target[..., 3:] + 1e-5).all())


def test_shrinking_keeps_the_mean() -> None:
    picture = np.random.default_rng(0).random((30, 45, 3), np.float32)
    np.testing.assert_allclose(shrunk(picture, 15, 10).mean((0, 1)), picture.mean((0, 1)), atol=1e-5)
    assert shrunk(picture, 45, 30) is not None


def test_options_out_of_range_are_all_named() -> None:
    with pytest.raises(OptionError, match=r"mask_weight=-1.*levels is empty"):
        RefineConfig(mask_weight=-1, levels=())
