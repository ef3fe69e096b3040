"""The golden tensors of the large networks: inputs, weights and outputs, and how near a result must come to them.

`<name>.safetensors` beside the checkout hold what the released classes gave on a CPU; their manifest says how far a
result may be off: `abs(found - golden) <= atol + rtol * abs(golden)`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
# Beside the checkout; or inside it, on a machine that only the checkout was copied to.
FOLDER = (
    next((f for f in (ROOT.parent, ROOT) if (f / "shared/reconviagen").is_dir()), ROOT.parent)
    / "shared/reconviagen/goldens"
)

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]


@cache
def manifest() -> dict[str, Any]:
    path = FOLDER / "manifest.json"
    if not path.is_file():
        pytest.skip("the goldens of the large networks are not beside the checkout (shared/reconviagen/goldens)")
    files: dict[str, Any] = json.loads(path.read_text())["files"]
    return files


def entry(name: str) -> dict[str, Any]:
    """What the manifest says of a golden."""
    found: dict[str, Any] = manifest()[f"{name}.safetensors"]
    return found


@cache
def _stored(name: str) -> dict[str, Tensor]:
    entry(name)
    return load_file(FOLDER / f"{name}.safetensors")


def load(name: str, device: str = "cpu") -> dict[str, Tensor]:
    """All tensors of a golden, as stored, on a device; copies, so that a test may spoil them."""
    return {key: value.to(device, copy=True) for key, value in _stored(name).items()}


def weights(name: str, prefix: str = "sd.") -> dict[str, Tensor]:
    """A state dict, on the CPU: `load_state_dict(strict=True)` raises its stored half precision exactly."""
    return {key.removeprefix(prefix): value for key, value in _stored(name).items() if key.startswith(prefix)}


def agrees(name: str, found: Tensor, golden: Tensor) -> bool:
    """Whether every number is as near as the manifest wants it."""
    tolerance = entry(name)["tolerance"]
    found, golden = found.detach().cpu(), golden.detach().cpu()
    if found.shape != golden.shape:
        return False
    error = (found.double() - golden.double()).abs()
    return bool((error <= tolerance["atol"] + tolerance["rtol"] * golden.double().abs()).all())


def largest_error(found: Tensor, golden: Tensor) -> float:
    """For messages."""
    if found.shape != golden.shape:
        return float("inf")
    return float((found.detach().cpu().double() - golden.detach().cpu().double()).abs().max())


def assert_agrees(name: str, found: Tensor, golden: Tensor) -> None:
    assert agrees(name, found, golden), (
        f"{name}: largest error {largest_error(found, golden):.3g}, shapes {tuple(found.shape)}, {tuple(golden.shape)}"
    )


@pytest.fixture
def exact_float32() -> Any:
    """Products of float32 in float32: convolutions on a GPU would round their inputs to ten bits otherwise."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products
