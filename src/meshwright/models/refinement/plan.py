"""Which levels a refinement goes through: that depends on what the first one finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meshwright.models.refinement.config import Level, RefineConfig

__all__ = ["Part", "Plan"]


@dataclass(frozen=True)
class Part:
    """One level, what holds it back, and between which percents of the whole it lies."""

    level: Level
    config: RefineConfig
    doubt: float
    begin: float
    end: float

    def percent(self, step: int) -> float:
        return self.begin + (self.end - self.begin) * step / self.level.steps


class Plan:
    """Which level comes next: the first one tells whether the views contradict each other."""

    def __init__(self, config: RefineConfig, doubt: float, free_cameras: bool) -> None:
        self.config, self.doubt = config, doubt
        self.sure = doubt < config.sure and not free_cameras

    def settled(self, reports: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the first level has shown that the surface is best left where it was."""
        return self.sure and bool(reports) and reports[0]["disagreement"] <= self.config.agreed

    def part(self, index: int, reports: Sequence[Mapping[str, Any]]) -> Part | None:
        """Level number `index`, given what the ones before it reported; None after the last."""
        config, doubt, yielding = self.config, self.doubt, self.config.yielding
        level, rest = config.levels[0], config.levels[1:]
        longest = _steps(rest) if yielding is None else max(_steps(rest), _steps(yielding.levels))
        first = level.steps / (level.steps + longest)
        if index == 0:
            return Part(level, config, doubt, 0.0, 100 * first)
        if self.settled(reports):
            return None
        if yielding is not None and reports[0]["disagreement"] > yielding.bearable:
            rest, doubt = yielding.levels, max(doubt, yielding.doubt)
            config = replace(config, bending_weight=yielding.bending_weight, camera_weight=yielding.camera_weight)
        if index > len(rest):
            return None
        ends = [first + (1 - first) * _steps(rest[:count]) / _steps(rest) for count in (index - 1, index)]
        return Part(rest[index - 1], config, doubt, 100 * ends[0], 100 * ends[1])


def _steps(levels: Sequence[Level]) -> int:
    return sum(level.steps for level in levels)
