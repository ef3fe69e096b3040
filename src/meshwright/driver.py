"""The CUDA driver, asked without torch: importing that takes a second or more, in which other work can be done.

Nothing here raises: where the driver has no answer there is none, and torch is asked instead.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path

__all__ = ["count_devices", "has_driver", "memory", "open_context"]


def has_driver() -> bool:
    """Whether this machine may have a CUDA driver; its own device file tells on Linux."""
    return sys.platform != "linux" or Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


def open_context(index: int) -> bool:
    """Opens the context of a device that torch and Warp share with everybody (the primary one), if it is not open."""
    return _context(_library(), index) is not None


def count_devices() -> int | None:
    """CUDA devices that the installed torch can use, by its version and that of the driver; None: ask torch itself."""
    built_for = _torch_cuda()
    if built_for is None:
        return None
    if built_for == "":
        return 0
    driver = _library()
    version, count = ctypes.c_int(), ctypes.c_int()
    if driver is None or driver.cuInit(0) != 0 or driver.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None
    # CUDA 13.1 is 13010. A driver runs what was built for its own major version or an earlier one.
    if version.value // 1000 < int(built_for.partition(".")[0]):
        return None
    return count.value if driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else None


def memory(index: int) -> tuple[int, int] | None:
    """Free and total memory of a device, bytes."""
    driver = _library()
    context = _context(driver, index)
    if driver is None or context is None or driver.cuCtxPushCurrent_v2(context) != 0:
        return None
    free, total, popped = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_void_p()
    found = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    driver.cuCtxPopCurrent_v2(ctypes.byref(popped))
    return (free.value, total.value) if found == 0 else None


def _library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None


def _context(driver: ctypes.CDLL | None, index: int) -> ctypes.c_void_p | None:
    device, context = ctypes.c_int(), ctypes.c_void_p()
    # Each answers 0 when it went well.
    if driver is None or driver.cuInit(0) != 0 or driver.cuDeviceGet(ctypes.byref(device), index) != 0:
        return None
    return context if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) == 0 else None


def _torch_cuda() -> str | None:
    """The CUDA version that torch was built for, from the file in which it says so; "" for none, None if unknown."""
    package = importlib.util.find_spec("torch")
    for folder in package.submodule_search_locations or () if package is not None else ():
        spec = importlib.util.spec_from_file_location("_torch_version", Path(folder) / "version.py")
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
                return str(module.cuda or "")
            except (OSError, AttributeError, ImportError):
                return None
    return None
