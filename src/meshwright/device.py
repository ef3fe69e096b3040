"""Device choice, GPU memory, and how work is spread over CPU cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["cpu_threads", "map_threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def cpu_threads() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_threads(function: Callable[[Item], Result], items: Iterable[Item], *, device: str = "cpu") -> list[Result]:
    """`[function(item) for item in items]`, in threads on the CPU, one after the other on a GPU.

    A Warp launch on the CPU uses one core but releases the GIL; NumPy and SciPy mostly do too.
    """
    items = list(items)
    threads = min(cpu_threads(), len(items))
    if device != "cpu" or threads < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
