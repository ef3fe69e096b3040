"""What goes on beside the stages: it is waited for, its faults are heard, and nothing writes after the run."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import meshwright.running
from meshwright.errors import OutputError
from meshwright.progress import Plan, Stage
from meshwright.running import Run
from meshwright.types import DepthKind, DepthMap, MaskSource, SilentMonitor, View, ViewSet
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


@pytest.mark.parametrize("piece", [1, 100, 1 << 21])
def test_the_key_of_views_is_that_of_all_their_bytes(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meshwright.running, "PIECE", piece)
    key = meshwright.running._digest
    rng = np.random.default_rng(8)
    rgb, background = rng.random((2, 6, 5, 3)).astype(np.float32)
    values = rng.random((6, 5)).astype(np.float32)
    depth = DepthMap(values=values, valid=np.ones((6, 5), bool), kind=DepthKind.AUTO, step=0.01)
    mask = rng.random((6, 5)).astype(np.float32)
    view = View(name="a", rgb=rgb, mask=mask, mask_source=MaskSource.ALPHA, background=background, depth=depth)

    def views(*changed: View) -> ViewSet:
        return ViewSet(views=(view, *changed))

    before = key(views(view))
    strided = replace(view, rgb=np.asfortranarray(rgb), background=np.repeat(background, 2, 1)[:, ::2])
    assert key(views(strided)) == before
    others = [replace(view, name="b"), replace(view, mask_source=MaskSource.BACKGROUND), replace(view, depth=None)]
    for name in ("rgb", "mask", "background"):
        for place in (0, -1):
            array = getattr(view, name).copy()
            array.flat[place] += 1
            others.append(replace(view, **{name: array}))
    others.append(replace(view, depth=replace(depth, valid=~depth.valid)))
    others.append(
        replace(view, rgb=rgb.reshape(5, 6, 3), mask=mask.reshape(5, 6), background=background.reshape(5, 6, 3))
    )
    keys = {key(views(other)) for other in others}
    assert len(keys) == len(others) and before not in keys
    assert key(ViewSet(views=(others[0], view))) != key(ViewSet(views=(view, others[0])))
