"""What goes on beside the stages: it is waited for, its faults are heard, and nothing writes after the run."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from meshwright.errors import OutputError
from meshwright.progress import Plan, Stage
from meshwright.running import Run
from meshwright.types import SilentMonitor
from meshwright.workspace import Workspace


@pytest.fixture
def run(tmp_path: Path) -> Run:
    workspace = Workspace(tmp_path / "out", own_names=("mesh.obj",))
    return Run(Plan((Stage(name="only", title="Only", share=1),)), SilentMonitor(), workspace)


def test_a_stage_goes_on_while_something_is_done_beside_it(run: Run) -> None:
    stage_is_over, done = threading.Event(), []
    with run:
        run.beside(lambda: done.append(stage_is_over.wait(60)))
        run.do("only", lambda monitor: stage_is_over.set())
        run.settle()
        assert done == [True]
        run.settle()  # nothing is left to wait for


def test_what_fails_beside_a_stage_is_heard_when_the_run_settles(run: Run) -> None:
    def fail() -> None:
        raise OutputError("The disk is full.")

    with run:
        run.beside(fail)
        with pytest.raises(OutputError, match="disk is full"):
            run.settle()


def test_a_run_that_fails_waits_for_what_was_begun_and_begins_no_more(run: Run) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), []

    def first() -> None:
        begun.set()
        go_on.wait(60)
        done.append("first")

    with pytest.raises(ValueError, match="a stage failed"), run:
        run.beside(first)
        run.beside(lambda: done.append("second"))
        begun.wait(60)
        threading.Timer(0.05, go_on.set).start()
        raise ValueError("a stage failed")
    assert done == ["first"]
