"""Reading large pictures can be stopped: at any check, and checks come often enough."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meshwright.device import checking
from meshwright.errors import Cancelled
from meshwright.inputs import read_inputs, write_masks
from meshwright.types import VIEW_NAMES

SIDE = 1024


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of a ball on white without alpha, which take longest, with depth."""
    folder = tmp_path_factory.mktemp("large")
    y, x = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE - 0.5
    height = np.sqrt(np.maximum(0.16 - x * x - y * y, 0))
    for index, name in enumerate(VIEW_NAMES):
        shade = np.where(height > 0, 40 + 20 * index + 200 * height, 255)
        Image.fromarray(np.repeat(shade[..., None], 3, -1).astype(np.uint8)).save(folder / f"{name}.png")
        depth = np.where(height > 0, 255 - 200 * height, 0)
        Image.fromarray(depth.astype(np.uint8)).save(folder / f"{name}_depth.png")
    return folder


def test_checks_come_often(large: Path) -> None:
    """The longest time that a working thread goes without a check."""
    asked: dict[int, list[float]] = {}

    def check() -> None:
        asked.setdefault(threading.get_ident(), []).append(time.thread_time())

    with checking(check):
        views = read_inputs(large)
        write_masks(views, large / "masks")
    # In seconds of the thread's own work. Measured 0.3, in steps that work on 1024 pixels whatever the picture's size.
    assert max(float(np.diff(times).max()) for times in asked.values() if len(times) > 1) < 0.8
    assert sum(len(times) for times in asked.values()) > 300


@pytest.mark.parametrize("allowed", [0, 5, 40, 150])
def test_it_stops_where_it_is_told_to(large: Path, allowed: int) -> None:
    asked: list[int] = []

    def check() -> None:
        asked.append(threading.get_ident())
        if len(asked) > allowed:
            raise Cancelled("stop")

    with pytest.raises(Cancelled), checking(check):
        read_inputs(large)
    # One more check for every picture that had not begun, or was being read by another thread.
    assert len(asked) <= allowed + 12
