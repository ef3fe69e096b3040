"""The registry, and what `inference` promises whatever happens inside."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import meshwright
from meshwright.errors import Cancelled, InputError, OptionError, WeightsNotInstalledError
from meshwright.models import (
    AVAILABLE_MODELS,
    BaseReconstructionModel,
    Evidence,
    ModelOutput,
    Proposal,
    get_model,
)
from meshwright.types import Mesh, ModelType, Monitor, SilentMonitor, ViewSet

MESH = Mesh(vertices=np.eye(3, dtype=np.float32), faces=np.array([[0, 1, 2]], np.int32))
EVIDENCE = Evidence(views=ViewSet(views=()), cameras=(), shape=MESH, device="cpu")


def good_recipe(
    input_dir: Path,
    output_dir: Path,
    *,
    model: BaseReconstructionModel,
    monitor: Monitor,
    options: Mapping[str, object],
) -> ModelOutput:
    for percent in (10, 60, 30, 120):
        monitor.report(percent, "working")
    monitor.check()
    assert model.propose(EVIDENCE, monitor).mesh is MESH
    return ModelOutput(
        mesh_path=output_dir / "mesh.obj", ply_path=output_dir / "mesh.ply", texture_path=output_dir / "mesh.png"
    )


def raising(error: BaseException):
    def recipe(*args: object, **kwargs: object) -> ModelOutput:
        raise error

    return recipe


class Heard:
    def __init__(self) -> None:
        self.percents: list[float] = []

    def report(self, percent: float, step: str) -> None:
        self.percents.append(percent)

    def check(self) -> None:
        pass


def test_every_name_of_a_job_is_available() -> None:
    assert set(AVAILABLE_MODELS) == {"hull", "nvdiffrec", "reconviagen"}
    assert {kind.value for kind in ModelType} - {"both"} <= set(AVAILABLE_MODELS)
    assert all(model.model_name == name for name, model in AVAILABLE_MODELS.items())


def test_unknown_model() -> None:
    with pytest.raises(OptionError, match=r"model='nerf' is not known\. Use one of hull, nvdiffrec, reconviagen"):
        get_model("nerf")


def test_inference_reports_and_returns_paths(tmp_path: Path) -> None:
    monitor = Heard()
    model = get_model("hull", recipe=good_recipe, monitor=monitor)
    result = model.inference("in", tmp_path)
    assert result == {
        "status": "success",
        "mesh_path": str(tmp_path / "mesh.obj"),
        "ply_path": str(tmp_path / "mesh.ply"),
        "texture_path": str(tmp_path / "mesh.png"),
        "error": None,
    }
    assert monitor.percents == [10, 60, 60, 100]


def test_inference_turns_known_errors_into_a_failed_result() -> None:
    result = get_model("hull", recipe=raising(InputError("No views.", hint="Give six."))).inference("in", "out")
    assert result == {
        "status": "failed",
        "mesh_path": None,
        "ply_path": None,
        "texture_path": None,
        "error": "No views. Give six.",
    }


def test_inference_keeps_unexpected_errors_out_of_the_message(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        result = get_model("hull", recipe=raising(ValueError("/secret/path"))).inference("in", "out")
    assert result["error"] == "The model hull stopped on an unexpected ValueError."
    assert "/secret/path" in caplog.text


def test_inference_lets_a_wish_to_stop_through() -> None:
    with pytest.raises(Cancelled):
        get_model("hull", recipe=raising(Cancelled("stop"))).inference("in", "out")


def test_cleanup_runs_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    model = get_model("hull", recipe=raising(KeyboardInterrupt()))
    cleaned: list[bool] = []
    monkeypatch.setattr(model, "cleanup", lambda: cleaned.append(True))
    with pytest.raises(KeyboardInterrupt):
        model.inference("in", "out")
    assert cleaned == [True]


@pytest.mark.parametrize("name", ["hull", "nvdiffrec"])
def test_without_anything_to_compare_the_first_shape_is_the_proposal(name: str) -> None:
    proposal = get_model(name, recipe=good_recipe).propose(EVIDENCE, SilentMonitor())
    assert isinstance(proposal, Proposal)
    assert proposal.mesh is MESH
    assert proposal.cameras is None
    assert proposal.report == {"refinement": "none"}
    assert bool(proposal.warnings) == (name == "nvdiffrec")


def test_reconviagen_says_what_is_missing_and_what_to_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = get_model("reconviagen", recipe=good_recipe)
    monkeypatch.setattr(type(model), "checkpoint_path", tmp_path / "mini.safetensors")
    with pytest.raises(WeightsNotInstalledError, match=r"checkpoint mini\.safetensors .* is not there") as caught:
        model.load_weights()
    assert caught.value.code == "weights.not_installed"
    assert caught.value.details["instead"] == ["hull", "nvdiffrec"]
    result = model.inference("in", "out")
    assert result["status"] == "failed"
    assert "--model hull" in str(result["error"])


def test_the_package_root_binds_the_recipe() -> None:
    from meshwright.pipeline import run_model

    assert meshwright.get_model("hull").recipe is run_model
