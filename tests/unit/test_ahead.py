"""Reading in a process of its own."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import meshwright.ahead
from meshwright.ahead import ReadAhead
from meshwright.device import checking
from meshwright.errors import Cancelled, InputError
from meshwright.inputs import InputConfig, read_inputs
from meshwright.pipeline import reconstruct
from meshwright.types import ViewSet

EXAMPLE = Path(__file__).parents[2] / "examples" / "six_views"


def same(one: ViewSet, other: ViewSet) -> bool:
    return one.warnings == other.warnings and all(
        a.name == b.name
        and np.array_equal(a.rgb, b.rgb)
        and np.array_equal(a.mask, b.mask)
        and (a.depth is None) == (b.depth is None)
        and (a.depth is None or b.depth is None or np.array_equal(a.depth.values, b.depth.values, equal_nan=True))
        for a, b in zip(one.views, other.views, strict=True)
    )


def test_what_is_read_ahead_is_what_is_read() -> None:
    ahead = ReadAhead(EXAMPLE, {"quality": "draft", "views": "front,left"})
    try:
        found = ahead.result()
    finally:
        ahead.close()
    assert found is not None
    assert same(found, read_inputs(EXAMPLE, InputConfig(views="front,left")))
    assert found.views[0].rgb.flags.writeable


def test_faults_are_left_to_whoever_reads_then(tmp_path: Path) -> None:
    ahead = ReadAhead(tmp_path, {})
    assert ahead.result() is None
    with pytest.raises(InputError):
        reconstruct(tmp_path, tmp_path / "out", ahead=ahead, device="cpu")
    ahead.close()


class _Other(ReadAhead):
    """Asks another program."""

    def __init__(self, code: str) -> None:
        class Popen(subprocess.Popen):  # type: ignore[type-arg]
            def __init__(self, words: list[str], **options: object) -> None:
                super().__init__([sys.executable, "-c", code], **options)  # type: ignore[call-overload]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(meshwright.ahead.subprocess, "Popen", Popen)
            super().__init__(EXAMPLE, {})


@pytest.mark.parametrize("end", ["", "; sys.exit(3)"])
def test_an_answer_that_breaks_off_is_none(end: str) -> None:
    part = pickle.dumps(1)
    answer = struct.pack("<Q", len(part)) + part + struct.pack("<Q", 100) + b"short"
    ahead = _Other(f"import sys; sys.stdin.buffer.read(); sys.stdout.buffer.write({answer!r}){end}")
    assert ahead.result() is None
    ahead.close()


def test_waiting_can_be_stopped() -> None:
    ahead = _Other("import time; time.sleep(60)")

    def stop() -> None:
        raise Cancelled("enough")

    with checking(stop), pytest.raises(Cancelled):
        ahead.result()
    ahead.close()
    assert ahead._process.returncode is not None
