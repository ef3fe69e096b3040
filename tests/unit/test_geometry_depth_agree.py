"""Depth renders that see the same surface are brought to agree, on renders that are exact but for their meaning."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from meshwright.geometry.depth.agree import LaidDepth, agree
from meshwright.geometry.depth.meaning import DepthMeaning, Extremes
from meshwright.types import Array, Camera, DepthKind
from scenes import FACE, entry_depth, six

WIDTH = 120
NOTHING = Extremes(z=np.zeros(0), far=np.zeros(0), low=np.zeros(0), high=np.zeros(0))


@functools.cache
def face_depth(view: int) -> Array:
    return entry_depth(FACE, six(WIDTH)[view])


def laid(kind: DepthKind, truth: list[DepthMeaning], cameras: tuple[Camera, ...]) -> list[LaidDepth]:
    """Renders whose values mean exactly what `truth` says."""
    result = []
    for view, meaning in enumerate(truth):
        z = face_depth(view)
        valid = np.isfinite(z)
        affine = 1 / z[valid] if kind is DepthKind.INVERSE else z[valid]
        values = np.zeros(z.shape, np.float32)
        values[valid] = (affine - meaning.b) / meaning.a
        result.append(LaidDepth(camera=cameras[view], values=values, valid=valid))
    return result


def error(renders: list[LaidDepth], meanings: list[DepthMeaning]) -> float:
    """Mean distance along the axis between what renders say and the face, object sides (the longest is 1)."""
    return float(
        np.mean(
            [
                np.abs(m.z(r.values[r.valid]) - face_depth(view)[r.valid]).mean()
                for view, (r, m) in enumerate(zip(renders, meanings, strict=True))
            ]
        )
    )


TRUTHS = {
    "linear far": [DepthMeaning(kind=DepthKind.LINEAR, a=0.9, b=1.9) for _ in range(6)],
    "linear near": [DepthMeaning(kind=DepthKind.LINEAR, a=-1.1, b=3.0 + 0.02 * i) for i in range(6)],
    "inverse near": [DepthMeaning(kind=DepthKind.INVERSE, a=0.25, b=0.27) for _ in range(6)],
}


@pytest.mark.parametrize("name", TRUTHS)
def test_affines_that_are_two_percent_off_come_right(name: str) -> None:
    """No touching points at all: what the views see in common is enough."""
    truth = TRUTHS[name]
    renders = laid(truth[0].kind, truth, six(WIDTH))
    rng = np.random.default_rng(0)
    off = [
        replace(m, a=m.a * (1 + s), b=m.b + t) for m, s, t in zip(truth, *rng.uniform(-0.02, 0.02, (2, 6)), strict=True)
    ]
    if truth[0].kind is DepthKind.INVERSE:
        off = [replace(m, b=t.b + 0.15 * (m.b - t.b)) for m, t in zip(off, truth, strict=True)]
    before = error(renders, off)
    after = error(renders, agree(renders, off, [NOTHING] * 6, size=1.0).meanings)
    # Measured 0.0099, 0.0171, 0.0083 before; 0.0002 after: samples lie between the other views' pixels.
    assert before > 0.005
    assert after < 0.05 * before


def test_metric_renders_keep_one_unit_and_no_offset() -> None:
    truth = [DepthMeaning(kind=DepthKind.METRIC, a=6.5535, b=0.0)] * 6
    renders = laid(DepthKind.METRIC, truth, six(WIDTH))
    found = agree(renders, [replace(m, a=m.a * 1.01) for m in truth], [NOTHING] * 6, size=1.0).meanings
    assert len({m.a for m in found}) == 1
    assert all(m.b == 0.0 for m in found)
    # 0.01 % of 2.5 is a quarter of a thousandth of the object.
    assert found[0].a == pytest.approx(6.5535, rel=1e-4)


def test_plain_multiples_stay_plain_where_the_frame_is_known() -> None:
    truth = [DepthMeaning(kind=DepthKind.LINEAR, a=3.0 + 0.02 * i, b=0.0) for i in range(6)]
    renders = laid(DepthKind.LINEAR, truth, six(WIDTH))
    off = [replace(m, a=m.a * (1 + 0.004 * (-1) ** i)) for i, m in enumerate(truth)]
    found = agree(renders, off, [NOTHING] * 6, size=1.0).meanings
    assert all(m.b == 0.0 for m in found)
    assert error(renders, found) < 0.1 * error(renders, off)


def test_the_unit_of_the_rig_is_found_where_its_scale_is_open() -> None:
    truth = [DepthMeaning(kind=DepthKind.LINEAR, a=3.0 + 0.02 * i, b=0.0) for i in range(6)]
    renders = laid(DepthKind.LINEAR, truth, six(WIDTH))
    off = [replace(m, a=m.a * (1 + 0.004 * (-1) ** i)) for i, m in enumerate(truth)]
    found = agree(renders, off, [NOTHING] * 6, size=1.0, free_frame=True)
    assert found.unit == pytest.approx(1.0, abs=1.5e-3)
    assert 0 < found.unit_error < 4e-3
    assert agree(renders, off, [NOTHING] * 6, size=1.0).unit is None
    lines = [replace(m, b=0.01) for m in off]
    assert agree(renders, lines, [NOTHING] * 6, size=1.0, free_frame=True).unit is None


def test_offsets_follow_a_frame_that_is_shifted_and_scaled() -> None:
    """Cameras fitted to silhouettes may stand in a world that is 2 % larger and shifted.

    Here they stand where the larger, shifted object makes the same pictures, so its surface lies at scale * z behind
    each pixel; all renders still say z = 3 * value of the object as it was.
    """
    scale, shift = 1.02, np.array([0.02, -0.03, 0.01])
    cameras = tuple(
        replace(c, camera_to_world=_placed(c.camera_to_world, scale * c.position + shift)) for c in six(WIDTH)
    )
    said = [DepthMeaning(kind=DepthKind.LINEAR, a=3.0, b=0.0)] * 6
    renders = laid(DepthKind.LINEAR, said, cameras)
    found = agree(renders, said, [NOTHING] * 6, size=1.0, free_frame=True).meanings

    def off(meanings: list[DepthMeaning]) -> float:
        return float(
            np.mean(
                [
                    np.abs(m.z(r.values[r.valid]) - scale * face_depth(view)[r.valid]).mean()
                    for view, (m, r) in enumerate(zip(meanings, renders, strict=True))
                ]
            )
        )

    # Measured 0.044 and 0.0002.
    assert off(found) < 0.02 * off(said)


def _placed(matrix: Array, position: Array) -> Array:
    result = matrix.copy()
    result[:3, 3] = position
    return result


def test_touching_points_decide_where_views_share_nothing() -> None:
    """Front and back alone see no common surface; each follows the hull's points."""
    truth = TRUTHS["linear near"][:2]
    renders = laid(DepthKind.LINEAR, truth, six(WIDTH))
    touching = []
    for view, render in enumerate(renders):
        rows = np.flatnonzero(render.valid.sum(1) > 5)
        z = np.where(render.valid, face_depth(view), np.inf)[rows].min(1)
        high = np.where(render.valid, render.values, -np.inf)[rows].max(1)
        touching.append(Extremes(z=z, far=np.full(len(z), np.inf), low=high * 0, high=high))
    off = [replace(m, a=m.a * 1.03, b=m.b - 0.01) for m in truth]
    found = agree(renders, off, touching, size=1.0).meanings
    for m, data in zip(found, touching, strict=True):
        before = np.abs(off[0].z(data.high) - data.z).mean()
        assert np.abs(m.z(data.high) - data.z).mean() < 0.2 * before


def test_views_that_agree_are_left_alone() -> None:
    truth = TRUTHS["linear far"]
    renders = laid(DepthKind.LINEAR, truth, six(WIDTH))
    found = agree(renders, truth, [NOTHING] * 6, size=1.0).meanings
    # What is left is that each view's samples lie between the other's pixels.
    assert error(renders, found) < 5e-4
    assert all(m.kind is DepthKind.LINEAR for m in found)


def test_two_runs_are_equal() -> None:
    truth = TRUTHS["inverse near"]
    renders = laid(DepthKind.INVERSE, truth, six(WIDTH))
    off = [replace(m, a=m.a * 1.01) for m in truth]
    assert agree(renders, off, [NOTHING] * 6, size=1.0) == agree(renders, off, [NOTHING] * 6, size=1.0)
