"""Times, positions and patches of the large networks against golden tensors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import large_goldens as goldens
from large_goldens import exact_float32
from meshwright.errors import ShapeError
from meshwright.models.reconviagen.large.nets.embeddings import (
    TimestepEmbedder,
    grid_positions,
    position_embedding,
    time_frequencies,
)
from meshwright.models.reconviagen.large.nets.volumes import channels_to_cells, patches_to_channels

NAME = "embeddings"
OUTPUTS = ("t_freq", "t_emb", "ape_64", "ape_128", "ape_1024", "patchify2", "unpatchify2", "pixel_shuffle_3d")

__all__ = ["exact_float32"]


@torch.no_grad()
def computed(key: str, golden: dict[str, Tensor]) -> Tensor:
    if key == "t_freq":
        return time_frequencies(golden["in.t"])
    if key == "t_emb":
        embedder = TimestepEmbedder(64)
        embedder.load_state_dict(goldens.weights(NAME), strict=True)
        return embedder.to(golden["in.t"].device)(golden["in.t"])
    if key.startswith("ape"):
        return position_embedding(golden["in.xyz"], int(key.removeprefix("ape_")))
    if key == "patchify2":
        return patches_to_channels(golden["in.vol"], 2)
    if key == "unpatchify2":
        return channels_to_cells(golden["out.patchify2"], 2)
    return channels_to_cells(golden["in.vol8"], 2)


@pytest.mark.parametrize("device", goldens.DEVICES)
@pytest.mark.parametrize("key", OUTPUTS)
def test_agrees_with_golden(key: str, device: str, exact_float32: None) -> None:
    golden = goldens.load(NAME, device)
    goldens.assert_agrees(NAME, computed(key, golden), golden[f"out.{key}"])


def test_every_output_is_compared() -> None:
    assert {f"out.{key}" for key in OUTPUTS} == {key for key in goldens.load(NAME) if key.startswith("out.")}


@pytest.mark.parametrize("key", OUTPUTS)
def test_golden_refuses_a_spoiled_result(key: str) -> None:
    golden = goldens.load(NAME)
    found, aim = computed(key, golden), golden[f"out.{key}"]
    half = found.shape[1] // 2
    for wrong in (found.roll(1, dims=1), found.roll(half, dims=1) if half else found + 1e-4, found + 1e-4):
        assert not goldens.agrees(NAME, wrong, aim)
    if found.ndim == 5:
        assert not goldens.agrees(NAME, found.transpose(2, 4), aim)
    assert not goldens.agrees(NAME, found[:, :-1], aim)
    assert not goldens.agrees(NAME, found * torch.nan, aim)


def test_axes_of_positions_are_in_order() -> None:
    golden = goldens.load(NAME)
    golden["in.xyz"] = golden["in.xyz"].flip(1)
    assert not goldens.agrees(NAME, computed("ape_64", golden), golden["out.ape_64"])


@pytest.mark.parametrize("side", [1, 2, 3])
def test_patches_come_back(side: int) -> None:
    volume = torch.arange(2 * 3 * 6 * 12 * 6.0).reshape(2, 3, 6, 12, 6)
    patches = patches_to_channels(volume, side)
    assert patches.shape == (2, 3 * side**3, 6 // side, 12 // side, 6 // side)
    assert torch.equal(channels_to_cells(patches, side), volume)


def test_grid_positions_run_along_the_last_axis_first() -> None:
    positions = grid_positions(3)
    assert torch.equal(positions @ torch.tensor([9, 3, 1]), torch.arange(27))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="no patches of 2"):
        patches_to_channels(torch.zeros(1, 1, 3, 4, 4), 2)
    with pytest.raises(ShapeError, match="no volume of patches of 2"):
        channels_to_cells(torch.zeros(1, 7, 4, 4, 4), 2)
    with pytest.raises(ShapeError, match=r"\[N, 3\]"):
        position_embedding(torch.zeros(4, 2), 64)
