"""What is the same for every stage of a run: progress, cancellation, time, checkpoints."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

import numpy as np

from meshwright.checkpoint import Checkpoints, chain_key
from meshwright.device import checking, map_threads
from meshwright.export import write_png
from meshwright.progress import Plan
from meshwright.types import Array, Monitor, View, ViewSet
from meshwright.workspace import Workspace

__all__ = ["Run", "Steps"]

log = logging.getLogger(__name__)

Value = TypeVar("Value")

PIECE = 1 << 21
"""Bytes of the input that a thread hashes at once."""


class Run:
    """What is the same for every stage: progress, cancellation, time, checkpoints, pictures of the work so far.

    A context manager: on leaving it nothing writes any more.
    """

    def __init__(self, plan: Plan, monitor: Monitor, workspace: Workspace, *, live_pictures: bool = False) -> None:
        self.plan = plan
        self.monitor = monitor
        self.workspace = workspace
        self.timings: dict[str, float] = {}
        self.started = time.perf_counter()
        self.live_pictures = live_pictures
        self._shown = 0
        self._key = ""
        self._checkpoints: Checkpoints | None = None
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="beside")
        self._begun: list[Future[Any]] = []

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *failure: object) -> None:
        self._beside.shutdown(wait=True, cancel_futures=True)

    def beside(self, work: Callable[[], Value]) -> Future[Value]:
        """Has something done while the next stages go on, which do not need it; `settle` waits for it too."""
        begun = self._beside.submit(copy_context().run, work)
        self._begun.append(begun)
        return begun

    def settle(self) -> None:
        """Waits for what goes on beside the stages, and raises what went wrong there."""
        while self._begun:
            self._begun.pop(0).result()

    def begin_checkpoints(self, views: ViewSet, records: Sequence[type], version: str) -> None:
        """From here on results are kept; they count for these pictures and this version only.

        Args:
            views: What was read; results refer to its arrays and do not repeat them.
            records: Classes that results may consist of.
            version: Of this program.
        """
        with checking(self.monitor.check):
            self._key = chain_key("", version, _digest(views))
        arrays = [array for view in views.views for array in _arrays(view)]
        self._checkpoints = Checkpoints(self.workspace.checkpoints, records, arrays)

    def do(self, name: str, work: Callable[[Monitor], Value]) -> Value:
        """Runs one stage."""
        span = self.plan.span(name)
        self.monitor.check()
        if span.end > span.start:  # a stage that takes no time is not worth a word
            self.monitor.report(span.start, span.stage.title)
        log.info("stage %s", name)
        begun = time.perf_counter()
        monitor = self.plan.monitor(name, self.monitor)
        with checking(monitor.check):
            value = work(monitor)
        self.timings[name] = time.perf_counter() - begun
        self.monitor.check()
        return value

    def keep(self, name: str, kind: type[Value], work: Callable[[Monitor], Value], *settings: object) -> Value:
        """Runs one stage, or takes what an earlier, killed run left of it under the same input and settings."""
        assert self._checkpoints is not None
        self._key = chain_key(self._key, name, *settings)
        kept = self._checkpoints.load(name, self._key, tuple)
        if kept is not None and len(kept) == 2 and isinstance(kept[1], kind):
            self.timings[name] = kept[0]
            span = self.plan.span(name)
            if span.end > span.start:
                self.monitor.report(span.start, f"{span.stage.title}: taken from an earlier run")
            return kept[1]
        value = self.do(name, work)
        self._checkpoints.save(name, self._key, (self.timings[name], value))
        return value

    def show(self, name: str, draw: Callable[[], Array]) -> None:
        """Leaves a picture (sRGB uint8 [H, W, 3]) of what was reached, where the run was asked for such."""
        if self.live_pictures:
            self._shown += 1
            write_png(self.workspace.checkpoints / f"live_{self._shown:02d}_{name}.png", draw())

    def memory(self, name: str) -> Steps:
        """Where the stage that is being worked on keeps what it has reached."""
        assert self._checkpoints is not None
        return Steps(self._checkpoints, f"{name}.steps", self._key)


class Steps:
    """What a stage has reached so far, kept beside the results of finished stages; see `models.base.Memory`."""

    def __init__(self, checkpoints: Checkpoints, name: str, key: str) -> None:
        self.checkpoints = checkpoints
        self.name = name
        self.key = key

    def recall(self) -> Mapping[str, Any] | None:
        return self.checkpoints.load(self.name, self.key, dict)

    def keep(self, state: Mapping[str, Any]) -> None:
        self.checkpoints.save(self.name, self.key, dict(state))


def _arrays(view: View) -> list[Array]:
    arrays = [view.rgb, view.mask, view.background]
    return arrays if view.depth is None else [*arrays, view.depth.values, view.depth.valid]


def _pieces(array: Array) -> list[Array]:
    count = max(1, PIECE // max(1, array[:1].nbytes))
    return [array[start : start + count] for start in range(0, len(array), count)]


def _digest(views: ViewSet) -> str:
    """A hash of everything that later stages see of the input."""
    # Some rows at a time: one view at a time would leave most of 32 cores idle, for a tenth of a second.
    pieces = [rows for view in views.views for array in _arrays(view) for rows in _pieces(array)]
    hashes = map_threads(lambda rows: hashlib.blake2b(np.ascontiguousarray(rows).data).digest(), pieces)
    whole = hashlib.blake2b(b"".join(hashes))
    for view in views.views:
        whole.update(repr((view.name, view.mask_source, view.rgb.shape)).encode())
        if view.depth is not None:
            whole.update(repr((view.depth.kind, view.depth.unit, view.depth.step, view.depth.values.shape)).encode())
    for camera in views.cameras or ():
        numbers = (camera.name, camera.fl_x, camera.fl_y, camera.cx, camera.cy, camera.width, camera.height)
        whole.update(repr(numbers).encode() + camera.camera_to_world.tobytes())
    return whole.hexdigest()
