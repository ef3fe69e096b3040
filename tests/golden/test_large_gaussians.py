"""What raw numbers of the gaussian decoder stand for, against golden tensors; and the PLY files made of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import large_goldens as goldens
from large_goldens import DEVICES
from meshwright.errors import OptionError
from meshwright.models.reconviagen.large.gaussians import GaussianConfig, Gaussians
from meshwright.models.reconviagen.large.nets.gaussian_decoder import LatentGaussianDecoder
from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor

NAME = "slat_decoder_gs"

FIELDS = {
    "_xyz": "unit_xyz",
    "_scaling": "raw_scaling",
    "_rotation": "raw_rotation",
    "_opacity": "raw_opacity",
    "get_xyz": "centres",
    "get_scaling": "scales",
    "get_rotation": "rotations",
    "get_opacity": "opacities",
    "get_color": "colors",
}


def decoded(device: str = "cpu", raw: Tensor | None = None) -> Gaussians:
    """From the golden's raw numbers."""
    golden = goldens.load(NAME, device)
    network = LatentGaussianDecoder(**goldens.entry(NAME)["config"]).to(device)
    (found,) = network.gaussians(SparseTensor(golden["out.raw"] if raw is None else raw, golden["in.coords"]))
    return found


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("key", FIELDS)
def test_field_agrees_with_golden(key: str, device: str) -> None:
    goldens.assert_agrees(NAME, getattr(decoded(device), FIELDS[key]), goldens.load(NAME)[f"out.{key}"])


@pytest.mark.parametrize("device", DEVICES)
def test_colors_agree_with_golden(device: str) -> None:
    goldens.assert_agrees(NAME, decoded(device).features_dc[:, None], goldens.load(NAME)["out._features_dc"])


@pytest.mark.parametrize("key", FIELDS)
def test_golden_refuses_other_raw_numbers(key: str) -> None:
    """Gaussians of a voxel in another order; channels of one gaussian apart instead of together."""
    golden, raw = goldens.load(NAME), goldens.load(NAME)["out.raw"]
    count = goldens.entry(NAME)["config"]["representation_config"]["num_gaussians"]
    found = getattr(decoded(raw=raw), FIELDS[key])
    shuffled = found.reshape(-1, count, found.shape[-1]).flip(1).flatten(0, 1)
    assert not goldens.agrees(NAME, shuffled, golden[f"out.{key}"])
    assert not goldens.agrees(NAME, found.flip(0), golden[f"out.{key}"])
    mixed = raw.reshape(len(raw), count, -1).transpose(1, 2).flatten(1)
    assert not goldens.agrees(NAME, getattr(decoded(raw=mixed), FIELDS[key]), golden[f"out.{key}"])


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("get_scaling", {"scaling_bias": 0.005}),
        ("get_scaling", {"filter_3d": 0.02}),
        ("get_opacity", {"opacity_bias": 0.12}),
    ],
)
def test_golden_refuses_other_settings(key: str, changes: dict[str, Any]) -> None:
    found = decoded()
    changed = dataclasses.replace(found, config=dataclasses.replace(found.config, **changes))
    assert not goldens.agrees(NAME, getattr(changed, FIELDS[key]), goldens.load(NAME)[f"out.{key}"])


def test_offsets_begin_where_the_golden_says() -> None:
    config = GaussianConfig.from_json(goldens.entry(NAME)["config"]["representation_config"])
    network = LatentGaussianDecoder(**goldens.entry(NAME)["config"])
    assert config == network.config
    torch.testing.assert_close(
        network.offset_perturbation, goldens.weights(NAME)["offset_perturbation"], rtol=0, atol=1e-6
    )


def test_ply_can_be_read_back() -> None:
    """Activations undone by a reader give the gaussians again."""
    gaussians = decoded()
    header, _, body = gaussians.ply().partition(b"end_header\n")
    lines = header.decode().splitlines()
    assert lines[:3] == ["ply", "format binary_little_endian 1.0", f"element vertex {len(gaussians)}"]
    names = [line.removeprefix("property float ") for line in lines[3:]]
    rows = np.frombuffer(body, [(name, "<f4") for name in names])
    assert len(rows) == len(gaussians) == 400

    def columns(*wanted: str) -> Tensor:
        return torch.from_numpy(np.stack([rows[name] for name in wanted], 1))

    golden = goldens.load(NAME)
    goldens.assert_agrees(NAME, columns("x", "y", "z"), golden["out.get_xyz"])
    goldens.assert_agrees(NAME, columns("f_dc_0", "f_dc_1", "f_dc_2"), golden["out._features_dc"][:, 0])
    goldens.assert_agrees(NAME, columns("opacity").sigmoid(), golden["out.get_opacity"])
    goldens.assert_agrees(NAME, columns("scale_0", "scale_1", "scale_2").exp(), golden["out.get_scaling"])
    rotation = torch.nn.functional.normalize(columns("rot_0", "rot_1", "rot_2", "rot_3"), dim=1)
    goldens.assert_agrees(NAME, rotation, golden["out.get_rotation"])
    assert not columns("nx", "ny", "nz").any()


def test_faults_of_a_configuration_are_named() -> None:
    good = dict(goldens.entry(NAME)["config"]["representation_config"])
    with pytest.raises(OptionError, match=r"unknown \['colour'\], missing \['voxel_size'\]"):
        GaussianConfig.from_json({key: v for key, v in good.items() if key != "voxel_size"} | {"colour": 1})
    with pytest.raises(OptionError, match=r"perturb_offset is false; scaling_activation is 'exp'"):
        GaussianConfig.from_json(good | {"perturb_offset": False, "scaling_activation": "exp"})
    with pytest.raises(OptionError, match="lr has the fields"):
        GaussianConfig.from_json(good | {"lr": {"_xyz": 1.0}})
