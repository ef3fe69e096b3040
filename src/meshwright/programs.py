"""How torch tensors are handed to Warp kernels: fast, on torch's own stream, and over all cores of a CPU.

`wp.launch` checks and packs its arguments anew each time, 20 to 50 microseconds that a GPU spends waiting. Here each
kernel is recorded once per device and thread, and only pointers, numbers and the size change from then on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from meshwright._warp import loading, wp
from meshwright.device import cpu_threads, map_threads

__all__ = ["Argument", "Program", "over_items", "packed", "unrolled"]

Argument = torch.Tensor | int | float | tuple[torch.Tensor | int | None, ...] | None
"""A tensor, a number, or the fields of a Warp struct; None for an array that is not there."""

NUMBER, ARRAY, STRUCT = range(3)
"""Kinds of a kernel's parameters."""


class Program:
    """A Warp kernel as a function of `packed` tensors (or None) and numbers."""

    def __init__(self, kernel: wp.Kernel) -> None:
        self.kernel = kernel
        self.recorded = threading.local()  # autograd runs backward passes in threads of its own

    def __call__(self, device: torch.device, threads: int, *arguments: Argument) -> None:
        """Launches the kernel with so many threads on a device; on CUDA, on torch's current stream."""
        if threads < 1:
            return
        known: dict[torch.device, tuple[Any, list[tuple[int, Any]]]] = self.recorded.__dict__.setdefault("known", {})
        if device not in known:
            known[device] = self._record(device)
        launch, slots = known[device]
        for (kind, parameter), argument in zip(slots, arguments, strict=True):
            if kind == NUMBER:
                parameter.value = argument
            elif kind == ARRAY:
                parameter.data = 0 if argument is None else argument.data_ptr()  # type: ignore[union-attr]
            else:
                for (name, _), value in zip(parameter._fields_, argument, strict=True):  # type: ignore[arg-type]
                    if isinstance(value, int):
                        setattr(parameter, name, value)
                    else:
                        getattr(parameter, name).data = 0 if value is None else value.data_ptr()
        if launch.bounds.size != threads:
            launch.set_dim(threads)
        if device.type == "cpu":
            launch.launch()
        else:
            launch.launch(_stream(device, _current_stream(device)))

    def _record(self, device: torch.device) -> tuple[Any, list[tuple[int, Any]]]:
        kinds = [argument.type for argument in self.kernel.adj.args]
        blank = [None if _is_array(kind) else kind() for kind in kinds]
        name = warp_device(device)
        with loading:
            launch = wp.launch(self.kernel, dim=1, inputs=blank, device=name, record_cmd=True)
        slots = []
        for kind, parameter in zip(kinds, launch.params[1:], strict=True):
            slots.append((ARRAY if _is_array(kind) else STRUCT if hasattr(kind, "vars") else NUMBER, parameter))
            if _is_array(kind):
                _shape_once(parameter, kind)
            elif hasattr(kind, "vars"):
                for label, variable in kind.vars.items():
                    if _is_array(variable.type):
                        _shape_once(getattr(parameter, label), variable.type)
        return launch, slots


def packed(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers without gaps and from a multiple of 16 bytes on: kernels on a GPU read so many at once."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def unrolled(make: Callable[[int], wp.Kernel]) -> Callable[[int], Program]:
    """From a maker of kernels that take `width` channels at a time: the program for so many channels.

    Widths are 4, 3, 2 and 1, whichever divides the number; each is compiled when it is first used.
    """
    programs: dict[int, Program] = {}

    def program(channels: int) -> Program:
        width = next(width for width in (4, 3, 2, 1) if channels % width == 0)
        if width not in programs:
            with loading:
                programs.setdefault(width, Program(make(width)))
        return programs[width]

    return program


def _is_array(kind: Any) -> bool:
    """Arrays are annotated by different classes in different versions of Warp."""
    return hasattr(kind, "dtype") and hasattr(kind, "ndim")


def _shape_once(parameter: Any, kind: Any) -> None:
    """Make an array parameter one row of items without gaps. Warp looks at its length in its debug mode only."""
    parameter.ndim = 1
    parameter.shape[0] = 2**31 - 1
    parameter.strides[0] = wp.types.type_size_in_bytes(kind.dtype)


@lru_cache(maxsize=64)
def warp_device(device: torch.device) -> str:
    """The same device as Warp names it."""
    if device.type == "cpu":
        return "cpu"
    return f"cuda:{torch.cuda.current_device() if device.index is None else device.index}"


def _current_stream(device: torch.device) -> int:
    """The handle of torch's current stream."""
    ask = getattr(torch._C, "_cuda_getCurrentRawStream", None)  # as torch's own compiled code does: ten times as fast
    return int(torch.cuda.current_stream(device).cuda_stream if ask is None else ask(device.index))


@lru_cache(maxsize=256)
def _stream(device: torch.device, handle: int) -> wp.Stream:
    """Warp's view of a stream of torch's."""
    return wp.Stream(warp_device(device), cuda_stream=handle)


def over_items(program: Program, device: torch.device, items: int, *arguments: Argument) -> None:
    """Runs a kernel whose first parameter is its first item, one thread an item; on a CPU on all cores."""
    if device.type != "cpu" or items < 4096:
        program(device, items, 0, *arguments)
        return
    parts = min(cpu_threads(), 16)
    ends = [items * part // parts for part in range(parts + 1)]
    map_threads(lambda part: program(device, ends[part + 1] - ends[part], ends[part], *arguments), range(parts))
