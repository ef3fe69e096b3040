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


def test_a_stage_that_only_checks_in_moves_by_its_usual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("meshwright.progress.time.monotonic", lambda: now[0])
    heard = Heard()
    monitor = PLAN.monitor("c", heard)  # usually 3 seconds, from 25 to 100
    for seconds in (0.1, 3, 30):
        now[0] = seconds
        monitor.check()
    assert heard.percents == pytest.approx([25 + 75 * (1 - 0.3679), 100], abs=0.1)
    assert heard.percents[-1] < 100
    monitor.report(50, "half")
    now[0] = 300
    monitor.check()
    assert len(heard.percents) == 3  # it speaks for itself now


def test_the_wish_to_stop_passes_through() -> None:
    with pytest.raises(Cancelled):
        PLAN.monitor("a", SilentMonitor(should_stop=lambda: True)).check()
