"""What depth codes mean, told from their extremes per row and column, where those are known exactly."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from meshwright.geometry.depth.meaning import DepthMeaning, Extremes, explain, extremes, in_front, judged, metric_unit
from meshwright.types import Array, DepthKind
from scenes import FACE, entry_depth, pixel_grid, six

Encoding = Callable[[Array], Array]
"""z of covered pixels to values 0..1."""

ENCODINGS: dict[str, tuple[DepthKind, Encoding]] = {
    # round(255 z / z_max): far is bright, no offset.
    "linear far": (DepthKind.LINEAR, lambda z: z / z.max()),
    "linear far with offset": (DepthKind.LINEAR, lambda z: 0.2 + 0.75 * (z - z.min()) / np.ptp(z)),
    "linear near": (DepthKind.LINEAR, lambda z: 0.95 - 0.7 * (z - z.min()) / np.ptp(z)),
    # Inverse depth scaled per view to 120..255, as the sample data has it.
    "inverse near": (DepthKind.INVERSE, lambda z: (120 + 135 * (1 / z - 1 / z.max()) / np.ptp(1 / z)) / 255),
}


@functools.cache
def face_depth(view: int) -> Array:
    return entry_depth(FACE, six(120)[view])


@functools.cache
def exit_depth(view: int) -> Array:
    """z where rays leave the face for the last time."""
    camera = six(120)[view]
    direction = camera.unproject(pixel_grid(camera), np.ones((120, 120))) - camera.position
    return np.max([solid.span(camera.position, direction)[1] for solid in FACE], axis=0)


def data_of(encoding: Encoding, view: int, *, noise: float = 0.0, codes: int = 255) -> tuple[Extremes, Array, Array]:
    """Extremes of the render, where the hull touches the object exactly (its entry is the object's), and z, values."""
    z = face_depth(view)
    valid = np.isfinite(z)
    values = np.zeros(z.shape)
    values[valid] = np.rint(encoding(z[valid]) * codes) / codes
    entry = np.where(valid, z, 0.0)
    entry[valid] += np.random.default_rng(view).normal(0, noise, int(valid.sum()))
    leave = np.where(valid, exit_depth(view), 0.0)
    return extremes(values, valid, entry, leave), z[valid], values[valid]


@pytest.mark.parametrize("name", ENCODINGS)
def test_kind_and_affine_are_found(name: str) -> None:
    kind, encoding = ENCODINGS[name]
    made = [data_of(encoding, view) for view in range(6)]
    found = explain([extreme for extreme, _, _ in made], [DepthKind.AUTO] * 6)
    for meaning, (_, z, values) in zip(found, made, strict=True):
        assert meaning is not None
        assert meaning.kind is kind
        # An 8-bit code is 0.003 to 0.01 here: rounding is all that is left on the nearest points, and a slope fitted to
        # them goes on to the far ones.
        assert np.abs(meaning.z(values) - z).mean() < 0.005
        assert meaning.error < 0.005
        assert (
            meaning.words
            == {
                "linear far": "linear, far is bright",
                "linear far with offset": "linear, far is bright",
                "linear near": "linear, near is bright",
                "inverse near": "inverse, near is bright",
            }[name]
        )


def test_a_plain_multiple_is_kept_plain() -> None:
    """z = a * value needs no offset, and is not given one that follows noise."""
    found = explain(
        [data_of(ENCODINGS["linear far"][1], view, noise=0.003)[0] for view in range(6)], [DepthKind.AUTO] * 6
    )
    for view, meaning in enumerate(found):
        assert meaning is not None
        assert meaning.b == 0.0
        z = face_depth(view)
        assert meaning.a == pytest.approx(z[np.isfinite(z)].max(), rel=5e-3)


@pytest.mark.parametrize("name", ["linear far with offset", "linear near", "inverse near"])
def test_a_box_seen_straight_on_does_not_throw_far_parts_away(name: str) -> None:
    """All near points at one depth but for the hull's error: any slope fits them, and either direction.

    The other views tell the direction; what lies behind the box's face must not come to lie behind the hull.
    """
    _, encoding = ENCODINGS[name]
    rng = np.random.default_rng(0)
    ends = np.array([2.1, 2.8])
    near, far = encoding(ends)
    lowest, highest = min(near, far), max(near, far)
    flat = Extremes(
        z=2.1 + rng.normal(0, 0.003, 60),
        far=np.full(60, 2.9),
        low=lowest + np.zeros(60),
        high=highest + np.zeros(60),
    )
    jitter = rng.integers(-1, 2, 60) / 255
    flat = replace(flat, low=flat.low + jitter) if near < far else replace(flat, high=flat.high + jitter)
    meaning, *_ = explain([flat, *(data_of(encoding, view)[0] for view in range(5))], [DepthKind.AUTO] * 6)
    assert meaning is not None
    assert meaning.z(np.array(near)) == pytest.approx(2.1, abs=0.01)
    assert 2.1 < meaning.z(np.array(far)) < 2.95


def test_without_exits_nothing_limits_far_codes() -> None:
    data = data_of(ENCODINGS["linear near"][1], 0)[0]
    open_ended = replace(data, far=np.full(len(data.far), np.inf))
    (found,) = explain([open_ended], [DepthKind.LINEAR])
    (limited,) = explain([data], [DepthKind.LINEAR])
    assert found is not None
    assert limited is not None
    assert found.a == pytest.approx(limited.a, rel=0.02)


@pytest.mark.parametrize("name", ["linear near", "inverse near"])
def test_what_the_user_says_is_not_questioned(name: str) -> None:
    _, encoding = ENCODINGS[name]
    for kind in (DepthKind.LINEAR, DepthKind.INVERSE):
        found = explain([data_of(encoding, view)[0] for view in range(6)], [kind] * 6)
        assert all(meaning is not None and meaning.kind is kind for meaning in found)


def test_a_view_with_weak_evidence_follows_the_others() -> None:
    """One view whose rows all touch at one depth fits any kind; it is read as the rest are."""
    _, encoding = ENCODINGS["inverse near"]
    data: list[Extremes | None] = [data_of(encoding, view)[0] for view in range(6)]
    flat = data[0]
    assert flat is not None
    rng = np.random.default_rng(0)
    few = slice(0, 12)
    z = flat.z[few] + rng.normal(0, 1e-3, 12)
    data[0] = Extremes(z=z, far=flat.far[few], low=flat.low[few], high=flat.high[few])
    found = explain(data, [DepthKind.AUTO] * 6)
    assert found[0] is not None
    assert found[0].kind is DepthKind.INVERSE


def test_views_without_enough_to_tell_get_none() -> None:
    data = data_of(ENCODINGS["linear far"][1], 0)[0]
    little = Extremes(z=data.z[:5], far=data.far[:5], low=data.low[:5], high=data.high[:5])
    assert explain([None, little, data], [DepthKind.AUTO] * 3)[:2] == [None, None]
    assert explain([], []) == []
    assert explain([None], [DepthKind.AUTO]) == [None]


def test_extremes_of_a_table_by_hand() -> None:
    values = np.zeros((8, 7))
    valid = np.zeros((8, 7), bool)
    valid[1:7, 1:7] = True
    values[1:7, 1:7] = np.arange(36).reshape(6, 6) / 36 + 0.1
    entry = np.where(valid, 2 + values, 0)
    entry[3] = 0  # the hull is missed in one row
    leave = np.where(valid, 3 + values, 0)
    found = extremes(values, valid, entry, leave)
    # Columns first: six with five pixels each; then rows: five with six.
    assert len(found.z) == 11
    np.testing.assert_allclose(found.z[:6], 2.1 + np.arange(6) / 36)
    np.testing.assert_allclose(found.far[:6], 3.1 + (30 + np.arange(6)) / 36)
    assert np.isinf(extremes(values, valid, entry).far).all()
    # The second smallest and second largest, so that a stray pixel does not speak for its row.
    np.testing.assert_allclose(found.low[:6], 0.1 + (6 + np.arange(6)) / 36)
    np.testing.assert_allclose(found.high[:6], 0.1 + (24 + np.arange(6)) / 36)
    np.testing.assert_allclose(found.low[6:], 0.1 + (np.array([0, 6, 18, 24, 30]) + 1) / 36)


def test_extremes_of_nothing_are_nothing() -> None:
    found = extremes(np.zeros((6, 6)), np.zeros((6, 6), bool), np.zeros((6, 6)))
    assert len(found.z) == len(found.low) == len(found.high) == 0


def test_one_unit_for_all_views() -> None:
    """16-bit codes of a tenth of a millimetre: a value of 1.0 is 6.5535 lengths."""
    data = [data_of(lambda z: z * 10000 / 65535, view, codes=65535)[0] for view in range(6)]
    assert metric_unit(data) == pytest.approx(6.5535, rel=1e-3)
    stray = Extremes(z=data[0].z * 3, far=data[0].far, low=data[0].low, high=data[0].high)
    assert metric_unit([stray, *data[1:]]) == pytest.approx(6.5535, rel=2e-3)  # a median, not a mean
    nothing = Extremes(z=np.zeros(0), far=np.zeros(0), low=np.zeros(0), high=np.zeros(0))
    assert metric_unit([nothing, *data]) == metric_unit(data)
    assert metric_unit([nothing]) == metric_unit([]) == 1.0


@pytest.mark.parametrize(
    ("meaning", "value", "z"),
    [
        (DepthMeaning(kind=DepthKind.METRIC, a=6.5535, b=0.0), 0.4, 2.6214),
        (DepthMeaning(kind=DepthKind.LINEAR, a=-1.5, b=3.0), 0.4, 2.4),
        (DepthMeaning(kind=DepthKind.INVERSE, a=0.3, b=0.3), 0.4, 1 / 0.42),
    ],
)
def test_meanings_are_arithmetic(meaning: DepthMeaning, value: float, z: float) -> None:
    assert meaning.z(np.array(value)) == pytest.approx(z)
    d = 1e-6
    by_a, by_b = meaning.slopes(np.array(value))
    more = DepthMeaning(kind=meaning.kind, a=meaning.a + d, b=meaning.b)
    lifted = DepthMeaning(kind=meaning.kind, a=meaning.a, b=meaning.b + d)
    assert by_a == pytest.approx((more.z(np.array(value)) - z) / d, rel=1e-4)
    assert by_b == pytest.approx((lifted.z(np.array(value)) - z) / d, rel=1e-4)
    step = abs(meaning.z(np.array(value + 0.5e-3)) - meaning.z(np.array(value - 0.5e-3)))
    assert meaning.step_size(1e-3, z) == pytest.approx(step, rel=1e-3)


@pytest.mark.parametrize(("rows", "known"), [(7, False), (8, True)])
def test_few_rows_judge_nothing(rows: int, known: bool) -> None:
    """A plate seen edge-on has a handful of rows; where they come to lie on a coarse hull says nothing about depth."""
    code = np.full(rows, 0.4)
    data = Extremes(z=np.full(rows, 2.3), far=np.full(rows, 2.5), low=code, high=code)
    meaning = DepthMeaning(kind=DepthKind.METRIC, a=5.0, b=0.0)
    assert judged(meaning, data).error == pytest.approx(0.3 if known else 0.0)
    assert in_front(meaning, data) == pytest.approx(0.3 if known else 0.0)
