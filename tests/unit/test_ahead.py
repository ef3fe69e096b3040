"""The first stages in a process of their own."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import meshwright.ahead
from meshwright.ahead import Ahead
from meshwright.cameras import CameraSolution
from meshwright.config import ReconstructConfig
from meshwright.device import checking
from meshwright.errors import Cancelled, InputError
from meshwright.first_stages import carve, find_cameras
from meshwright.geometry import ShapeResult
from meshwright.inputs import InputConfig, read_inputs
from meshwright.pipeline import reconstruct
from meshwright.types import SilentMonitor, ViewSet

EXAMPLE = Path(__file__).parents[2] / "examples" / "six_views"
OPTIONS: dict[str, object] = {"quality": "draft", "views": "front,left", "device": "cpu"}
Found = tuple[ViewSet, CameraSolution, ShapeResult]


@pytest.fixture(scope="module")
def found() -> Iterator[Found]:
    ahead, monitor = Ahead(EXAMPLE, OPTIONS), SilentMonitor()
    ahead.carve_on("cpu")
    try:
        yield ahead.result("read", monitor), ahead.result("cameras", monitor), ahead.result("shape", monitor)
    finally:
        ahead.close()


def test_views_are_those_that_are_read_here(found: Found) -> None:
    views, known = found[0], read_inputs(EXAMPLE, InputConfig(views="front,left"))
    assert views.warnings == known.warnings
    for one, other in zip(views.views, known.views, strict=True):
        assert one.name == other.name
        assert np.array_equal(one.rgb, other.rgb)
        assert np.array_equal(one.mask, other.mask)
        assert one.depth is not None
        assert other.depth is not None
        assert np.array_equal(one.depth.values, other.depth.values, equal_nan=True)
    assert views.views[0].rgb.flags.writeable


def test_cameras_and_shape_are_those_that_are_found_here(found: Found) -> None:
    views, solution, shape = found
    config = ReconstructConfig(**OPTIONS)  # type: ignore[arg-type]
    known = find_cameras(views, config, SilentMonitor())
    for one, other in zip(solution.cameras, known.cameras, strict=True):
        assert np.allclose(one.camera_to_world, other.camera_to_world, atol=1e-9)
    assert np.allclose(shape.mesh.vertices, carve(known, config, "cpu", SilentMonitor()).mesh.vertices, atol=1e-6)


def test_later_stages_refer_to_the_arrays_of_earlier_ones(found: Found) -> None:
    # What is kept of a run would otherwise hold the views once more.
    views, solution, _ = found
    assert solution.views.views[0].rgb is views.views[0].rgb


def test_faults_are_left_to_whoever_reads_then(tmp_path: Path) -> None:
    ahead = Ahead(tmp_path, {})
    assert ahead.result("read", SilentMonitor()) is None
    with pytest.raises(InputError):
        reconstruct(tmp_path, tmp_path / "out", ahead=ahead, device="cpu")
    ahead.close()


class _Other(Ahead):
    """Asks another program."""

    def __init__(self, code: str) -> None:
        class Popen(subprocess.Popen):  # type: ignore[type-arg]
            def __init__(self, words: list[str], **options: object) -> None:
                super().__init__([sys.executable, "-c", code], **options)  # type: ignore[call-overload]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(meshwright.ahead.subprocess, "Popen", Popen)
            super().__init__(EXAMPLE, {})


def frame(letter: bytes, value: object) -> bytes:
    content = pickle.dumps(value)
    return struct.pack("<cQ", letter, len(content)) + content


def saying(answer: bytes) -> _Other:
    return _Other(f"import sys; sys.stdout.buffer.write({answer!r})")


def test_an_answer_that_breaks_off_is_none() -> None:
    said: list[tuple[float, str]] = []

    class Monitor(SilentMonitor):
        def report(self, percent: float, step: str) -> None:
            said.append((percent, step))

    ahead = saying(frame(b"p", (40.0, "halfway")) + struct.pack("<cQ", b"f", 100) + b"short")
    assert ahead.result("read", Monitor()) is None
    assert said == [(40.0, "halfway")]
    ahead.close()


def test_after_a_stage_that_nobody_asked_for_there_is_nothing_more() -> None:
    # A later stage would rest on what somebody else found in its place.
    ahead = saying(frame(b"f", ("read", 1)) + frame(b"f", ("cameras", 2)))
    assert ahead.result("cameras", SilentMonitor()) is None
    assert ahead.result("cameras", SilentMonitor()) is None
    ahead.close()


def test_waiting_can_be_stopped() -> None:
    ahead = _Other("import time; time.sleep(60)")

    def stop() -> None:
        raise Cancelled("enough")

    with checking(stop), pytest.raises(Cancelled):
        ahead.result("read", SilentMonitor())
    ahead.close()
    assert ahead._process.returncode is not None


@pytest.mark.slow
def test_a_run_takes_what_was_found_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("done twice")

    for stage in ("read", "find_cameras", "carve"):
        monkeypatch.setattr(f"meshwright.pipeline.{stage}", never)
    options = {"quality": "draft", "model": "hull", "device": "cpu"}
    ahead = Ahead(EXAMPLE, options)
    try:
        result = reconstruct(EXAMPLE, tmp_path / "out", ahead=ahead, **options)
    finally:
        ahead.close()
    assert result.status == "normal"
    assert {"read", "cameras", "shape"} <= set(result.timings)
