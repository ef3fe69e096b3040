"""Work in copies of the process."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from meshwright.device import cpu_threads, map_threads
from meshwright.forked import map_forked


def squares(count: int) -> tuple[str, np.ndarray]:
    return f"up to {count}", np.arange(count, dtype=np.float32) ** 2


def test_results_come_in_the_order_of_the_items() -> None:
    found = map_forked(squares, range(7))
    for count, (name, array) in enumerate(found):
        assert name == f"up to {count}"
        assert np.array_equal(array, squares(count)[1])
        assert array.flags.writeable


@pytest.mark.parametrize("items", [[], [3], [3, 4]])
def test_meanwhile_something_else_is_done_here(items: list[int]) -> None:
    here: list[int] = []
    processes = map_forked(lambda _: os.getpid(), items, meanwhile=lambda: here.append(os.getpid()))
    assert here == [os.getpid()]
    assert len(processes) == len(items)


@pytest.mark.skipif(sys.platform != "linux" or cpu_threads() < 2, reason="copies are made on Linux with two cores")
def test_one_that_fails_is_missed() -> None:
    def odd(item: int) -> int:
        if item == 1:
            raise ValueError("not said here")
        return item

    with pytest.raises(RuntimeError, match="before its work was done"):
        map_forked(odd, [0, 1])


def test_arrays_larger_than_a_pipe_come_whole() -> None:
    found = map_forked(lambda seed: np.random.default_rng(seed).random(500_000), [1, 2, 3])
    for seed, array in zip([1, 2, 3], found, strict=True):
        assert np.array_equal(array, np.random.default_rng(seed).random(500_000))


def test_copies_have_threads_of_their_own() -> None:
    assert map_threads(abs, [-1, 2]) == [1, 2]  # from here on this process has some
    assert map_forked(lambda item: map_threads(abs, [item, -item]), [3, 4]) == [[3, 3], [4, 4]]


SCRIPT = """
import time
from meshwright.forked import map_forked

def wait(item):
    print(item, flush=True)
    time.sleep(600)

map_forked(wait, ["one", "two"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="copies are made on Linux only")
def test_copies_end_with_the_process_that_made_them() -> None:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE)
    assert process.stdout is not None
    if cpu_threads() > 1:
        assert {process.stdout.readline(), process.stdout.readline()} == {b"one\n", b"two\n"}
    process.kill()
    assert process.stdout.read() == b""  # this ends when nobody is left who could write
    process.stdout.close()
    process.wait()
