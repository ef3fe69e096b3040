"""Configurations changed from the command line of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from benchmarks.settings import changed


@dataclass(frozen=True)
class Level:
    steps: int
    move: float = 0.05


@dataclass(frozen=True)
class Config:
    levels: tuple[Level, ...] = (Level(1), Level(2))
    carve: Level | None = field(default_factory=lambda: Level(3))
    kind: str = "tetrahedra"


def test_values_are_changed_wherever_they_are() -> None:
    found = changed(Config(), ["levels.1.steps=400", "levels.1.move=0.1", "kind=cubes", "carve.steps=7"])
    assert found == Config(levels=(Level(1), Level(400, 0.1)), carve=Level(7), kind="cubes")
    assert changed(found, ["carve=None"]).carve is None
    assert changed(Config(), []) == Config()


@pytest.mark.parametrize(
    ("setting", "said"),
    [("levels", "NAME=VALUE"), ("level=1", "levels, carve"), ("levels.2.steps=1", "0, 1"), ("kind.x=1", "nothing")],
)
def test_names_that_are_not_there_are_refused(setting: str, said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        changed(Config(), [setting])
