"""Device choice, GPU memory, and how work is spread over CPU cores."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import TypeVar

from meshwright.errors import DeviceError, OptionError, VramError

__all__ = [
    "check_stop",
    "check_vram_available",
    "checking",
    "cleanup_gpu_memory",
    "cpu_threads",
    "describe_device",
    "map_threads",
    "open_early",
    "pick_device",
    "turn",
]

Item = TypeVar("Item")
Result = TypeVar("Result")

GIB = 1024**3


def pick_device(wanted: str = "auto") -> str:
    """The device to compute on.

    Args:
        wanted: `auto` (the first CUDA device, else the CPU), `cpu`, `cuda`, or one CUDA device such as `cuda:1`.
    Returns:
        `cpu` or `cuda:N`, as Warp and torch both understand it.
    Raises:
        DeviceError: CUDA was asked for and is not there.
        OptionError: `wanted` is none of these.
    """
    name, _, number = wanted.partition(":")
    if name not in ("auto", "cpu", "cuda") or (number and not (name == "cuda" and number.isdecimal())):
        raise OptionError(f"device={wanted!r} is not known.", hint="Use auto, cpu, cuda or cuda:N.")
    if name == "cpu":
        return "cpu"
    index = int(number or 0)
    count = _cuda_device_count()
    if index < count:
        return f"cuda:{index}"
    if name == "auto":
        return "cpu"
    if count:
        raise DeviceError(
            f"There is no CUDA device {index}; this machine has {count}.", hint=f"Use cuda:0 to cuda:{count - 1}."
        )
    raise DeviceError(f"CUDA is not available: {_why_no_cuda()}.", hint="Use --device cpu (or auto).")


def open_early(wanted: str = "auto") -> threading.Thread | None:
    """Has the driver open a GPU while the program still imports: a second that needs no interpreter.

    torch and Warp then find the context that they share with everybody (the primary one) as it is. Nothing is checked,
    and whatever goes wrong shows when the device is picked.

    Args:
        wanted: As for `pick_device`.
    Returns:
        The thread that does it; None where there is nothing to open.
    """
    name, _, number = wanted.partition(":")
    if name not in ("auto", "cuda") or (number and not number.isdecimal()) or not _has_driver():
        return None

    def work() -> None:
        try:
            driver = ctypes.CDLL("libcuda.so.1")
        except OSError:
            return
        device, context = ctypes.c_int(), ctypes.c_void_p()
        # Each answers 0 when it went well.
        if driver.cuInit(0) == 0 and driver.cuDeviceGet(ctypes.byref(device), int(number or 0)) == 0:
            driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _has_driver() -> bool:
    """Whether this machine may have a CUDA driver; its own device file tells on Linux."""
    return sys.platform != "linux" or Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


def _cuda_device_count() -> int:
    """CUDA devices that torch can use; 0 for a build without CUDA or a machine without a driver."""
    if not _has_driver():  # this spares CPU-only machines the second that importing torch takes
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _why_no_cuda() -> str:
    import torch

    if torch.version.cuda is None:
        return "this build of torch has no CUDA support"
    return "no NVIDIA driver or device was found"


def cleanup_gpu_memory() -> None:
    """Gives GPU memory that nothing holds any more back to the driver, so that the next model can have it.

    Does nothing where torch was not used or has no CUDA.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return
    torch.cuda.synchronize()
    torch.cuda.empty_cache()


def check_vram_available(required_gb: float, device: str = "cuda:0") -> float:
    """Stops a job before it starts if it cannot fit.

    Args:
        required_gb: Memory that the job needs, GiB.
        device: A CUDA device; for `cpu` nothing is checked.
    Returns:
        Free memory of the device, GiB (infinite for `cpu`).
    Raises:
        VramError: Less is free than required.
        DeviceError: The device is not there.
    """
    if device == "cpu":
        return float("inf")
    device = pick_device(device)
    import torch

    free_bytes, total_bytes = torch.cuda.mem_get_info(device)
    free_gb, total_gb = free_bytes / GIB, total_bytes / GIB
    if free_gb < required_gb:
        raise VramError(
            f"{required_gb:.1f} GiB of GPU memory are needed, {free_gb:.1f} of {total_gb:.1f} GiB are free.",
            hint="Close other programs on this GPU, use a lower --quality, or --device cpu.",
            required_gb=required_gb,
            free_gb=round(free_gb, 2),
            total_gb=round(total_gb, 2),
        )
    return free_gb


def describe_device(device: str) -> dict[str, object]:
    """What a report should say about the device: JSON-able, without anything that names this machine.

    Args:
        device: As returned by `pick_device`.
    Returns:
        `device`, `name`, and either `cores` (CPU) or `memory_gb` (GPU).
    """
    if device == "cpu":
        return {"device": "cpu", "name": _cpu_name(), "cores": cpu_threads()}
    import torch

    properties = torch.cuda.get_device_properties(device)
    return {"device": device, "name": properties.name, "memory_gb": round(properties.total_memory / GIB, 1)}


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def cpu_threads() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_stop_check: ContextVar[Callable[[], None]] = ContextVar("_stop_check", default=lambda: None)


@contextmanager
def checking(check: Callable[[], None]) -> Iterator[None]:
    """Within this, `check_stop` calls `check`, and so does `map_threads` before every item.

    What `check` raises comes out of them, and ends the work that they stand in. `check` may be called from several
    threads at once.
    """
    token = _stop_check.set(check)
    try:
        yield
    finally:
        _stop_check.reset(token)


def check_stop() -> None:
    """Raises what `checking` was told to raise once the caller wants to stop; nothing outside of `checking`.

    For long work on one picture or volume, between steps of a second at most, at whatever depth of calls.
    """
    _stop_check.get()()


_GPU_THREADS = 16
"""Pieces of work that one GPU holds at a time: each has pictures of its own there."""

_turns: dict[str, threading.RLock] = {}
_turns_change = threading.Lock()


def turn(device: str) -> AbstractContextManager[object]:
    """While a thread is within this, no other one is with the same GPU; on the CPU nobody waits.

    Warp keeps one current stream per device, not per thread, and changes it while it copies an array to the host. So
    launches and copies of one piece of work stand together in a turn. Turns within turns are fine.
    """
    if device == "cpu":
        return nullcontext()
    with _turns_change:
        return _turns.setdefault(device, threading.RLock())


def map_threads(function: Callable[[Item], Result], items: Iterable[Item], *, device: str = "cpu") -> list[Result]:
    """`[function(item) for item in items]` in threads.

    A Warp launch on the CPU uses one core but releases the GIL; NumPy and SciPy mostly do too.
    Context variables reach the threads, so that `check_stop` works in them too.

    Args:
        function: On a GPU it takes its `turn` for whatever it does there; its work on the host overlaps with that.
        items: What it is called with.
        device: Where the work is done.
    """
    items = list(items)

    def run(item: Item) -> Result:
        check_stop()
        return function(item)

    threads = min(cpu_threads(), len(items), cpu_threads() if device == "cpu" else _GPU_THREADS)
    if threads < 2:
        return [run(item) for item in items]
    # A context can be entered once at a time: every item gets its own copy.
    contexts = [copy_context() for _ in items]
    with _pool(cpu_threads() if device == "cpu" else min(cpu_threads(), _GPU_THREADS)) as pool:
        begun = [pool.submit(context.run, run, item) for context, item in zip(contexts, items, strict=True)]
        try:
            return [future.result() for future in begun]
        finally:
            for future in begun:
                future.cancel()
            wait(begun)


class _Pools(threading.local):
    """Threads that a thread keeps for its calls of `map_threads`: some stages make hundreds, each of a millisecond."""

    def __init__(self) -> None:
        self.by_size: dict[int, ThreadPoolExecutor] = {}
        self.one_of_many = False


_pools = _Pools()


def _alone() -> None:
    """A copy of this process has none of its threads."""
    _pools.by_size.clear()
    _pools.one_of_many = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_alone)


@contextmanager
def _pool(size: int) -> Iterator[ThreadPoolExecutor]:
    """This thread's own; a new one for one of those threads, which end with the thread that they belong to."""
    if _pools.one_of_many:
        with ThreadPoolExecutor(size) as pool:
            yield pool
    else:
        if size not in _pools.by_size:
            _pools.by_size[size] = ThreadPoolExecutor(size, "map", initializer=_join_in)
        yield _pools.by_size[size]


def _join_in() -> None:
    _pools.one_of_many = True
