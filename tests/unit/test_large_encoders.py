"""Small truths about pictures, image encoder and VGGT that no golden holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from meshwright.errors import InputError, ShapeError
from meshwright.models.reconviagen.large.nets.vggt.aggregator import Aggregator
from meshwright.models.reconviagen.large.nets.vggt.poses import matrices_to_pose, pose_to_matrices
from meshwright.models.reconviagen.large.nets.vggt.rope import patch_positions, turn, turns_of
from meshwright.models.reconviagen.large.nets.vision import VisionTransformer, normalised
from meshwright.models.reconviagen.large.nets.vision_blocks import halve_matrices
from meshwright.models.reconviagen.large.pictures import picture_of, prepared, stacked, with_mask
from meshwright.types import MaskSource, View


def view_of(rgb: float, mask: np.ndarray) -> View:
    shape = (*mask.shape, 3)
    return View(
        name="front",
        rgb=np.full(shape, rgb, np.float32),
        mask=mask.astype(np.float32),
        mask_source=MaskSource.ALPHA,
        background=np.ones(shape, np.float32),
    )


def test_a_view_as_a_picture() -> None:
    mask = np.zeros((20, 30))
    mask[5:15, 10:20] = 1
    picture = picture_of(view_of(0.2140411, mask))  # linear light of the middle grey 127.5
    assert picture.dtype == np.uint8 and picture.shape == (20, 30, 4)
    assert set(np.unique(picture[..., :3])) <= {127, 128}
    np.testing.assert_array_equal(picture[..., 3], mask * 255)


def test_the_object_comes_to_the_middle_with_a_margin() -> None:
    picture = np.zeros((100, 200, 4), np.uint8)
    picture[20:60, 130:150] = 255
    crop = prepared(picture, side=430)
    rows, columns = (np.flatnonzero((crop[..., 3] > 127).any(axis)) for axis in (1, 0))
    # 40 rows lie in a crop of 42, at most a pixel (10) off the middle: so the published rounding has it.
    assert abs((rows[0] + rows[-1]) / 2 - 214.5) < 11 and abs((columns[0] + columns[-1]) / 2 - 214.5) < 11
    assert abs(len(rows) - 40 / 42 * 430) < 3 and abs(len(columns) - 20 / 42 * 430) < 3
    assert (crop[..., :3][crop[..., 3] < 200] == 0).all()


def test_pictures_that_cannot_be_prepared() -> None:
    with pytest.raises(InputError, match="no object"):
        prepared(np.zeros((10, 10, 4), np.uint8))
    for wrong in (np.zeros((10, 10, 3), np.uint8), np.zeros((10, 10, 4), np.float32)):
        with pytest.raises(ShapeError, match=r"uint8 \[H, W, 4\]"):
            prepared(wrong)


def test_an_object_that_fills_the_frame() -> None:
    crop = prepared(np.full((40, 60, 4), 210, np.uint8), side=56)
    # Bands above and below, since the picture is wider than high; numbers are truncated, as published.
    assert crop.shape == (56, 56, 4) and (crop[28] >= 209).all() and (crop[28] <= 210).all() and (crop[4] == 0).all()


def test_a_large_picture_with_a_mask_is_shrunk() -> None:
    mask = np.zeros((1500, 2048), np.uint8)
    mask[:, :1024] = 7
    picture = with_mask(np.full((1500, 2048, 3), 90, np.uint8), mask)
    assert picture.shape == (750, 1024, 4)
    assert (picture[:, :510, 3] == 255).all() and (picture[:, 514:, 3] == 0).all()


def test_colours_are_stacked_without_alpha() -> None:
    pictures = [np.full((4, 4, 4), value, np.uint8) for value in (0, 255)]
    pictures[1][0, 1, 2] = 51
    stack = stacked(pictures)
    assert stack.shape == (2, 3, 4, 4) and stack.dtype == torch.float32
    assert stack[1, 2, 0, 1] == pytest.approx(0.2) and stack[0].max() == 0 and stack[1, 0].min() == 1


def test_normalised_pictures_have_the_mean_of_imagenet() -> None:
    grey = torch.tensor([0.485, 0.456, 0.406])[:, None, None].expand(3, 2, 2)
    assert normalised(grey).abs().max() < 1e-6
    assert normalised(grey + 0.229)[0].mean().item() == pytest.approx(1.0)


def test_a_picture_that_is_not_cut_evenly() -> None:
    network = VisionTransformer(img_size=28, embed_dim=32, depth=1, num_heads=2)
    with pytest.raises(ShapeError, match="30 x 28 is not cut into patches of 14"):
        network(torch.zeros(1, 3, 28, 30))


def random_aggregator() -> Aggregator:
    torch.manual_seed(0)
    network = Aggregator(img_size=28, embed_dim=64, depth=3, num_heads=2, patch_embed={"depth": 2, "num_heads": 2})
    for parameter in network.parameters():
        if parameter.ndim != 2:
            parameter.data.add_(torch.randn(parameter.shape) * 0.1)
    return network.eval()


@torch.inference_mode()
def test_views_other_than_the_first_may_change_places() -> None:
    network = random_aggregator()
    images = torch.rand(1, 4, 3, 28, 42)
    order = [0, 3, 1, 2]
    found, moved = network(images, (2,))[2], network(images[:, order], (2,))[2]
    torch.testing.assert_close(moved, found[:, order], rtol=1e-4, atol=1e-5)
    assert (network(images[:, [1, 0, 2, 3]], (2,))[2][:, [1, 0, 2, 3]] - found).abs().max() > 1e-3


@torch.inference_mode()
def test_objects_of_a_batch_have_nothing_to_do_with_each_other() -> None:
    network = random_aggregator()
    images = torch.rand(2, 3, 3, 28, 28)
    both = network(images, (0, 2))
    for index in (0, 2):
        alone = torch.cat([network(one[None], (index,))[index] for one in images])
        torch.testing.assert_close(both[index], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.bfloat16, 0.05), (torch.float16, 0.005)])
@torch.inference_mode()
def test_half_the_precision_of_matrices_changes_little(dtype: torch.dtype, allowed: float) -> None:
    network = random_aggregator()
    images = torch.rand(1, 2, 3, 28, 28)
    full = network(images, (2,))[2]
    halve_matrices(network, dtype)
    half = network(images, (2,))[2]
    kinds = {p.dtype for p in network.frame_blocks[0].parameters()}
    assert kinds == {dtype, torch.float32} and network.camera_token.dtype == torch.float32
    assert half.dtype == torch.float32
    assert 0 < (half - full).norm() / full.norm() < allowed


def test_turned_products_depend_on_the_difference_of_places_alone() -> None:
    places = patch_positions(4, 5, 2, torch.device("cpu"))
    assert places[:3].tolist() == [[0, 0], [0, 0], [1, 1]] and places[-1].tolist() == [4, 5]
    q, k = torch.randn(2, 16).unbind(0)

    def product(a: list[float], b: list[float]) -> float:
        turns = [turns_of(torch.tensor([place]), 16, 100.0) for place in (a, b)]
        return float((turn(q[None], turns[0]) * turn(k[None], turns[1])).sum())

    assert product([3, 4], [1, 1]) == pytest.approx(product([5, 9], [3, 6]), rel=1e-4)
    assert product([3, 4], [1, 1]) != pytest.approx(product([4, 3], [1, 1]), rel=1e-3)


def test_poses_come_back_from_their_matrices() -> None:
    """Half turns too, where a quaternion has no real part."""
    torch.manual_seed(0)
    pose = torch.randn(50, 9, dtype=torch.float64)
    pose[:4, 3:7] = torch.eye(4, dtype=torch.float64)
    pose[:, 3:7] /= pose[:, 3:7].norm(dim=-1, keepdim=True)
    pose[:, 3:7] *= torch.where(pose[:, 6:7] < 0, -1.0, 1.0)
    pose[:, 7:] = pose[:, 7:].abs().clamp(0.1, 2)
    extrinsics, intrinsics = pose_to_matrices(pose, 392, 518)
    rotation = extrinsics[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(50, 3, 3))
    torch.testing.assert_close(matrices_to_pose(extrinsics, intrinsics, 392, 518), pose)
