"""The small fit of `benchmarks/appearance.py`, shorter still: materials come back from pictures of a known ball."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "benchmarks" / "appearance.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("appearance_benchmark", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_base_colour_comes_back_from_baked_pictures(bench: ModuleType) -> None:
    found = bench.fit("baked", steps=80, side=64, views=8, device="cpu")
    assert found["picture_db"] > 30 and found["kd_db"] > 26


def test_materials_come_back_under_a_known_light(bench: ModuleType) -> None:
    found = bench.fit("known", steps=80, side=64, views=8, device="cpu")
    assert found["picture_db"] > 26 and found["relit_db"] > 24
    assert found["roughness_off"] < 0.25 and found["metalness_off"] < 0.25
