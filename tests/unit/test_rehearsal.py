"""The rehearsal: once for each device, never on a CPU, and what goes wrong in it is not the run's fault."""

from __future__ import annotations

import threading

import pytest

from meshwright import rehearsal
from meshwright.rehearsal import perform, rehearse


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool, str]]:
    """What was rehearsed, and in which thread."""
    done: list[tuple[str, bool, str]] = []

    def note(device: str, *, refines: bool) -> None:
        done.append((device, refines, threading.current_thread().name))

    monkeypatch.setattr(rehearsal, "perform", note)
    monkeypatch.setattr(rehearsal, "_known", {})
    return done


def test_a_gpu_has_its_rehearsal_once_and_beside_the_caller(performed: list[tuple[str, bool, str]]) -> None:
    for _ in range(3):
        rehearse("cuda:0", refines=True)()
    rehearse("cuda:1", refines=True)()
    assert performed == [("cuda:0", True, "rehearsal"), ("cuda:1", True, "rehearsal")]


def test_a_cpu_has_none(performed: list[tuple[str, bool, str]]) -> None:
    rehearse("cpu", refines=True)()
    assert performed == []


def test_what_goes_wrong_is_left_to_the_run(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(device: str, *, refines: bool) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(rehearsal, "perform", fail)
    monkeypatch.setattr(rehearsal, "_known", {})
    with caplog.at_level("INFO"):
        rehearse("cuda:0", refines=False)()
    assert "the rehearsal on cuda:0 failed" in caplog.text


@pytest.mark.parametrize("refines", [False, True])
def test_it_goes_through_every_stage_that_uses_the_device(refines: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from meshwright.models.refinement import proposal

    steps: list[int] = []
    refine = proposal.refine

    def watched(*arguments: object, **options: object) -> object:
        found = refine(*arguments, **options)  # type: ignore[arg-type]
        steps.append(found.report["levels"][0]["steps"])  # type: ignore[index]
        return found

    monkeypatch.setattr(proposal, "refine", watched)
    perform("cpu", refines=refines)
    assert steps == ([5] if refines else [])


@pytest.mark.gpu
def test_it_works_on_a_gpu() -> None:
    perform("cuda:0", refines=True)
