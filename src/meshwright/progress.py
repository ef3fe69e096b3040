"""How a run of many stages becomes one number from 0 to 100 that never falls."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from meshwright.types import Monitor

__all__ = ["Plan", "Span", "Stage"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One line of the recipe.

    Attributes:
        name: Short and stable: keys of timings and checkpoints, and what `--json` shows.
        title: What a person reads while it runs.
        share: How long it usually takes: seconds at standard quality on two CPU cores. What counts is the proportion.
    """

    name: str
    title: str
    share: float


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stage with its part of 0-100: from `start` up to, not including, `end`."""

    stage: Stage
    start: float
    end: float


class Plan:
    """The stages of a run, in order, with their parts of 0-100; `seconds` is the usual duration of the whole."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        total = sum(stage.share for stage in stages)
        self.seconds = total
        spans, start = [], 0.0
        for stage in stages:
            end = start + 100.0 * stage.share / total
            spans.append(Span(stage=stage, start=start, end=end))
            start = end
        self.spans: tuple[Span, ...] = tuple(spans)

    def span(self, name: str) -> Span:
        """The part of the stage called `name`."""
        return next(span for span in self.spans if span.stage.name == name)

    def at(self, percent: float) -> Span:
        """Which stage runs while the whole stands at `percent`."""
        for span in self.spans:
            if percent < span.end:
                return span
        return self.spans[-1]

    def monitor(self, name: str, whole: Monitor) -> Monitor:
        """The monitor that the stage `name` gets: it counts 0-100 over its own part of the whole."""
        return _StageMonitor(self.span(name), whole)


class _StageMonitor:
    """Maps 0-100 of a stage into its span, and keeps it from falling.

    A stage that never says how far it is still moves: as long as it checks in, it approaches its end at the pace of its
    usual duration, and never gets there.
    """

    def __init__(self, span: Span, whole: Monitor) -> None:
        self.span = span
        self.whole = whole
        self.reached = span.start
        self.step = span.stage.title
        self.says_how_far = False
        self.began = self.moved = time.monotonic()
        self.lock = threading.Lock()

    def report(self, percent: float, step: str) -> None:
        self.step = step
        self.says_how_far = self.says_how_far or percent > 0
        self._move(min(max(percent, 0.0), 100.0) / 100.0)

    def check(self) -> None:
        self.whole.check()
        now = time.monotonic()
        if not self.says_how_far and self.span.stage.share > 0 and now - self.moved > 0.25:
            self._move(1 - math.exp(-(now - self.began) / self.span.stage.share))

    def _move(self, fraction: float) -> None:
        # The end of a span belongs to the next stage, so a stage stops just short of it.
        last = max(self.span.start, self.span.end - 1e-3)
        with self.lock:  # stages check in from several threads
            self.reached = max(self.reached, min(self.span.start + fraction * (self.span.end - self.span.start), last))
            self.moved = time.monotonic()
            self.whole.report(self.reached, self.step)
