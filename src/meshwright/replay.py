"""A step of an optimisation as one CUDA graph: recorded once, then replayed.

A step has some hundred small kernels. Started one by one from Python they keep a GPU waiting for 20 times as long as
they run; replayed, they follow each other at once. On a CPU, and with `graphs=False`, a replay is a plain call.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache

import torch

from meshwright.errors import DeviceError

__all__ = ["Replay"]

_PLAIN = 2
"""Calls before a step is recorded: they load kernels, and make what is only made once (Adam's moments, tables)."""


class Replay:
    """Calls a function again and again.

    Args:
        step: What is called. On a GPU it must do the same each time, to the same tensors: whatever changes from step to
            step lies in tensors that are filled before the call, and what comes out is left in tensors too. It must not
            wait for the GPU (`.item()`, boolean masks, `nonzero`).
        device: "cpu" or a CUDA device.
        graphs: Whether to record at all.
        generators: Of the device, that the step draws from. They go on as they would without recording.

    Where a step cannot be recorded, the call raises a DeviceError.
    """

    def __init__(
        self,
        step: Callable[[], None],
        device: torch.device | str,
        *,
        graphs: bool = True,
        generators: Sequence[torch.Generator] = (),
    ) -> None:
        self.step, self.device = step, torch.device(device)
        self.generators = tuple(generators)
        self.recording = graphs and self.device.type == "cuda"
        self.graph: torch.cuda.CUDAGraph | None = None
        self._plain = 0

    def __call__(self) -> None:
        """One step; on a GPU it may still be running when this returns."""
        if not self.recording:
            self.step()
            return
        if self.graph is None and self._plain < _PLAIN:
            self._plain += 1
            self._aside()
            return
        with torch.cuda.device(self.device):
            if self.graph is None:
                self.graph = self._recorded()
            self.graph.replay()

    def _aside(self) -> None:
        """A plain call on the stream that will be recorded: streams have work spaces of their own."""
        side, current = _side(self.device), torch.cuda.current_stream(self.device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            self.step()
        current.wait_stream(side)

    def _recorded(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        torch.cuda.synchronize(self.device)
        # What Python's collector would free meanwhile may hold memory or graphs of this device.
        collecting = gc.isenabled()
        gc.disable()
        try:
            with torch.cuda.stream(_side(self.device)):
                # Of this thread only: others may use the same device.
                graph.capture_begin(capture_error_mode="thread_local")
                try:
                    self.step()
                except BaseException:
                    with suppress(RuntimeError):  # that it failed is known
                        graph.capture_end()
                    raise
                graph.capture_end()
        except torch.cuda.OutOfMemoryError:
            raise  # it says what is wrong
        except RuntimeError as error:
            raise DeviceError(
                f"A step could not be recorded as a CUDA graph on {self.device}: {error}",
                hint="Please report this; graphs=False in the configuration of the fit goes on without, slower.",
            ) from error
        finally:
            if collecting:
                gc.enable()
        return graph


@lru_cache(maxsize=16)
def _side(device: torch.device) -> torch.cuda.Stream:
    """The stream on which steps of a device are recorded."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
