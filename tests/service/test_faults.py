"""Each fault a few times; `benchmarks/faults.py` does it often, and with the real models."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from service_faults import FAULTS, Outcome, fleet_for, run_trial
from service_fleet import Fleet
from service_stack import STACKS, Stack, make_stack

SPECIAL = ("disk", "clock")
"""Faults that need processes started in their own way."""

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture(scope="module", params=STACKS)
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    stack = make_stack(request, str(request.param), tmp_path_factory.mktemp(str(request.param)))
    with Fleet(stack) as fleet:
        yield fleet


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in SPECIAL])
def test_fault(fleet: Fleet, name: str) -> None:
    if fleet.stack.name not in FAULTS[name].stacks:
        pytest.skip("there is no such program in this stack")
    outcome = Outcome()
    rng = random.Random(f"test-{name}")
    for _ in range(2):
        run_trial(name, fleet, rng, outcome)
    assert outcome.wrong == []


@pytest.mark.parametrize("name", SPECIAL)
def test_fault_with_processes_of_its_own(stack: Stack, name: str) -> None:
    why = FAULTS[name].needs()
    if why:
        pytest.skip(why)
    outcome = Outcome()
    rng = random.Random(f"test-{name}")
    with fleet_for(name, stack) as fleet:
        for _ in range(2):
            run_trial(name, fleet, rng, outcome)
    assert outcome.wrong == []
