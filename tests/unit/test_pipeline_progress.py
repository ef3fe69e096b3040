"""Stage progress becomes one number that starts at 0, never falls and ends at 100."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshwright.errors import Cancelled
from meshwright.progress import Plan, Stage
from meshwright.types import SilentMonitor

PLAN = Plan([Stage(name=name, title=name.title(), share=share) for name, share in (("a", 1), ("b", 0), ("c", 3))])


class Heard:
    def __init__(self) -> None:
        self.percents: list[float] = []

    def report(self, percent: float, step: str) -> None:
        self.percents.append(percent)

    def check(self) -> None:
        pass


def test_spans_cover_the_whole() -> None:
    assert [(span.start, span.end) for span in PLAN.spans] == [(0, 25), (25, 25), (25, 100)]
    assert [PLAN.at(percent).stage.name for percent in (0, 24.9, 25, 99, 100)] == ["a", "a", "c", "c", "c"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(-50, 150)), max_size=30))
def test_a_stage_stays_in_its_span_and_never_falls(reports: list[tuple[str, float]]) -> None:
    for name in "abc":
        heard = Heard()
        monitor = PLAN.monitor(name, heard)
        span = PLAN.span(name)
        for _, percent in reports:
            monitor.report(percent, "step")
        assert heard.percents == sorted(heard.percents)
        assert all(span.start <= percent <= span.end for percent in heard.percents)
        if span.end > span.start:
            assert all(PLAN.at(percent) == span for percent in heard.percents)


def test_the_wish_to_stop_passes_through() -> None:
    with pytest.raises(Cancelled):
        PLAN.monitor("a", SilentMonitor(should_stop=lambda: True)).check()
