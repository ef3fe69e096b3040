"""Work in forked processes, for what keeps Python's interpreter too busy for threads."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import struct
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, BinaryIO, NoReturn, TypeVar

from meshwright.device import cpu_threads, map_threads

__all__ = ["map_forked"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_LENGTH = struct.Struct("<Q")
_PR_SET_PDEATHSIG = 1
"""For `prctl`: the signal that a process gets when the one that began it ends (Linux)."""


def map_forked(
    function: Callable[[Item], Result], items: Iterable[Item], *, meanwhile: Callable[[], None] = lambda: None
) -> list[Result]:
    """`[function(item) for item in items]` in copies of this process, one for each core.

    Only for a program that has not begun to use a GPU, and whose threads are at rest (those of `map_threads` are,
    between calls): copies have neither. They end when it ends. In threads where there are no forks, or too few cores or
    items.

    Args:
        function: What it returns comes back as a pickle.
        items: What it is called with.
        meanwhile: Is called once the others work.
    Raises:
        RuntimeError: One of the copies failed, for whatever reason; in threads what `function` raised is raised.
    """
    items = list(items)
    count = min(cpu_threads(), len(items))
    if count < 2 or sys.platform != "linux":
        meanwhile()
        return map_threads(function, items)
    with ExitStack() as stack:
        children = [_begin(function, items[part::count]) for part in range(count)]
        for child, answer in children:
            stack.callback(os.waitpid, child, 0)
            stack.enter_context(answer)
        pool = stack.enter_context(ThreadPoolExecutor(count))
        parts = [pool.submit(_received, answer) for _, answer in children]
        meanwhile()
        results: list[Any] = [None] * len(items)
        for index, part in enumerate(parts):
            results[index::count] = part.result()
    return results


def _begin(function: Callable[[Item], Result], items: Sequence[Item]) -> tuple[int, BinaryIO]:
    """Number of the copy that works on these, and where its answer comes from."""
    answer, goes_to = os.pipe()
    system, here = ctypes.CDLL(None), os.getpid()
    with warnings.catch_warnings():
        # NumPy's own threads are at rest, and know how to begin anew.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        # They hold each other's pipes: without this they would wait forever for somebody to read.
        system.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != here:
            os._exit(1)
        _work(function, items, goes_to)
    os.close(goes_to)
    return child, os.fdopen(answer, "rb")


def _work(function: Callable[[Item], Result], items: Sequence[Item], goes_to: int) -> NoReturn:
    """What the copy does."""
    status = 1
    try:
        arrays: list[pickle.PickleBuffer] = []
        about = pickle.dumps([function(item) for item in items], protocol=5, buffer_callback=arrays.append)
        with os.fdopen(goes_to, "wb") as answer:
            answer.write(_LENGTH.pack(1 + len(arrays)))
            for part in (memoryview(about), *(array.raw() for array in arrays)):
                answer.write(_LENGTH.pack(part.nbytes))
                answer.write(part)
        status = 0
    finally:
        os._exit(status)  # nothing of what this process was at is the copy's to end


def _received(answer: BinaryIO) -> Any:
    parts: list[bytearray] = []
    try:
        for _ in range(_length(answer)):
            parts.append(bytearray(_length(answer)))
            whole = answer.readinto(parts[-1])  # type: ignore[attr-defined]
            if whole < len(parts[-1]):
                raise EOFError
    except EOFError:
        raise RuntimeError("A forked process ended before its work was done.") from None
    return pickle.loads(parts[0], buffers=parts[1:])


def _length(answer: BinaryIO) -> int:
    head = answer.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    length: int = _LENGTH.unpack(head)[0]
    return length
