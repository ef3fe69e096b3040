"""Which way views look: rigs and mirrored views of a solid without symmetry; colours where outlines tie."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from meshwright.cameras.colour import small_picture
from meshwright.cameras.resolve import Hypothesis, Resolution, resolve
from meshwright.cameras.rigs import DEFAULT_RIG, RIGS, Rig
from meshwright.cameras.silhouettes import silhouette_of
from meshwright.errors import Cancelled
from meshwright.types import VIEW_NAMES, Array, SilentMonitor, ViewSet
from scenes import DISTURBANCES, FACE, TOOL, Paint, disturbed, six, views_of

WIDTH = 96


def judge(views: ViewSet, *, points: int = 16, rigs: tuple[Rig, ...] = RIGS) -> Resolution:
    return resolve(
        [silhouette_of(view, points=points) for view in views.views],
        [small_picture(view) for view in views.views],
        [(WIDTH, WIDTH)] * 6,
        SilentMonitor(),
        rigs=rigs,
    )


@pytest.mark.parametrize(
    "rig",
    [
        Rig(),
        Rig(left="-x"),
        Rig(top_up="+x"),
        Rig(bottom_up="-z"),
        Rig(left="-x", top_up="-z", bottom_up="-x"),
    ],
    ids=lambda rig: rig.name,
)
def test_each_rig_is_found_among_all_32(rig: Rig) -> None:
    verdict = judge(views_of(TOOL, six(WIDTH, rig=rig), samples=3))
    assert verdict.best.name == rig.name
    assert verdict.undecided == ()
    assert not verdict.by_colour
    assert verdict.margin > 5  # by outlines alone: nothing else comes near


@pytest.mark.parametrize("name", VIEW_NAMES)
def test_each_mirrored_view_is_found(name: str) -> None:
    verdict = judge(
        views_of(TOOL, six(WIDTH), samples=3, mirrored=name), rigs=(Rig(), Rig(left="-x"), Rig(top_up="-z"))
    )
    assert verdict.best.name == f"{Rig().name},mirrored={name}"
    assert verdict.undecided == ()
    # The runner-up exchanges left and right and mirrors the other one: outlines nearly the same, by perspective only.
    assert verdict.margin > 3


def test_a_swapped_rig_with_a_mirrored_view_and_disturbed_frames() -> None:
    """All at once: left and right exchanged, bottom mirrored, every picture scaled and shifted."""
    rig = Rig(left="-x")
    cameras = [disturbed(c, *d) for c, d in zip(six(WIDTH, rig=rig), DISTURBANCES, strict=True)]
    verdict = judge(views_of(TOOL, cameras, samples=3, mirrored="bottom"), points=40)
    assert verdict.best.name == f"{rig.name},mirrored=bottom"
    assert verdict.margin > 1.5


def test_the_ranking_is_sorted_and_its_best_is_the_verdict() -> None:
    verdict = judge(views_of(TOOL, six(WIDTH), samples=3), rigs=RIGS[:2])
    errors = [h.calibration.disagreement for h in verdict.ranking]
    assert errors == sorted(errors)
    assert verdict.ranking[0].name == verdict.best.name
    assert len({h.name for h in verdict.ranking}) == len(errors) == 14


def one_sided(points: Array) -> Array:
    """Blue on the object's right (-X), red on its left, greener upward."""
    left = 1 / (1 + np.exp(-20 * points[:, 0]))
    return np.stack([0.15 + 0.7 * left, 0.5 + 0.4 * points[:, 1], 0.8 - 0.6 * left], -1)


def symmetric(points: Array) -> Array:
    """The same on both sides."""
    return one_sided(np.stack([np.abs(points[:, 0]), points[:, 1], points[:, 2]], -1))


@functools.cache
def face(paint: Paint, mirrored: str) -> Resolution:
    return judge(views_of(FACE, six(WIDTH), paint=paint, samples=3, mirrored=mirrored), rigs=(DEFAULT_RIG,))


@pytest.mark.parametrize("mirrored", ["top"])
def test_colours_find_a_mirrored_view_of_a_symmetric_solid(mirrored: str) -> None:
    verdict = face(one_sided, mirrored)
    assert verdict.best.mirrored == mirrored
    assert verdict.by_colour
    assert verdict.undecided == ()
    assert verdict.margin > 2


def test_colours_leave_a_true_view_alone() -> None:
    verdict = face(one_sided, "")
    assert verdict.best.mirrored is None
    assert not verdict.by_colour
    assert verdict.undecided == ()


def test_a_swap_that_outlines_show_is_not_asked_of_colours() -> None:
    """Front and back of the face differ, so a mirrored left view sticks out whatever the colours are."""
    verdict = face(symmetric, "left")
    assert verdict.best.mirrored == "left"
    assert not verdict.by_colour


@pytest.mark.parametrize("mirrored", ["front"])
def test_what_nothing_tells_apart_stays_undecided_and_plain(mirrored: str) -> None:
    verdict = face(symmetric, mirrored)
    assert verdict.best.name == DEFAULT_RIG.name
    assert not verdict.by_colour
    assert set(verdict.undecided) == {
        f"{DEFAULT_RIG.name},mirrored={name}" for name in ("front", "back", "top", "bottom")
    }
    # Undecided ones give the same object; the margin is that over the rest.
    assert verdict.margin > 5


def test_the_plainest_comes_first() -> None:
    calibration = judge(views_of(TOOL, six(WIDTH), samples=2), rigs=(DEFAULT_RIG,)).best.calibration
    plain, turned, mirrored = (
        Hypothesis(rig=rig, mirrored=name, calibration=calibration)
        for rig, name in ((Rig(), None), (Rig(left="-x", top_up="-z"), None), (Rig(), "top"))
    )
    assert sorted([mirrored, turned, plain], key=lambda h: h.plainness) == [plain, turned, mirrored]
    assert turned.name == "left=-x,top=-z,bottom=+z"
    assert mirrored.name == "left=+x,top=+z,bottom=+z,mirrored=top"


def test_two_runs_are_equal() -> None:
    views = views_of(TOOL, six(WIDTH, rig=Rig(left="-x")), samples=2)
    one, other = (judge(views, rigs=RIGS[::16]) for _ in range(2))
    assert [h.name for h in one.ranking] == [h.name for h in other.ranking]
    assert one.margin == other.margin
    np.testing.assert_array_equal(
        one.best.calibration.parameters.corrections(), other.best.calibration.parameters.corrections()
    )


def test_it_can_be_stopped_between_steps() -> None:
    views = views_of(TOOL, six(WIDTH), samples=2)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5

    with pytest.raises(Cancelled):
        resolve(
            [silhouette_of(view, points=24) for view in views.views],
            [small_picture(view) for view in views.views],
            [(WIDTH, WIDTH)] * 6,
            SilentMonitor(stop),
        )
