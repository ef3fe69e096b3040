"""Calibration: views that agree are not touched; corrections put in come out, up to what no outline can tell."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from meshwright.cameras.calibrate import CalibrationConfig, calibrate, disagreement, scale_from_extents
from meshwright.cameras.consistency import CameraParameters, grazing_points
from meshwright.cameras.silhouettes import Silhouette, silhouette_of
from meshwright.types import Array, Camera
from scenes import DISTURBANCES, FACE, TOOL, Ellipsoid, disturbed, six, views_of

WIDTH = 160
PLAIN = CameraParameters.from_cameras(six(WIDTH))
LOOSE = CalibrationConfig(iterations=40, log_scale_prior=0.33, offset_prior=0.33)


def outlines_of(solids: Sequence, cameras: Sequence[Camera]) -> list[Silhouette]:
    return [silhouette_of(view, points=300) for view in views_of(solids, cameras, samples=3).views]


@functools.cache
def disturbed_outlines(solids: Sequence) -> list[Silhouette]:
    """With DISTURBANCES put in."""
    return outlines_of(solids, [disturbed(c, *d) for c, d in zip(six(WIDTH), DISTURBANCES, strict=True)])


def put_in_as_corrections() -> Array:
    """(log scale, offset u, offset v) that undo DISTURBANCES, [6, 3]."""
    return np.array([[math.log(scale), 2 * right, -2 * down] for scale, right, down in DISTURBANCES])


def beyond_gauge(found: Array, truth: Array) -> tuple[float, float]:
    """Largest errors of scale (a factor's logarithm) and offset (picture widths) that no common motion explains.

    Scaling the object, or moving it along x, y, z, changes all pictures and no disagreement: fitted out here by least
    squares over the 18 numbers. Moving it towards a camera scales that camera's picture.
    """
    rows = []
    for view in range(6):
        axes, focal = PLAIN.axes(view), PLAIN.focal_of(view) / PLAIN.depth_of_pivot(view)
        rows.append([1.0, *(axes[2] / PLAIN.depth_of_pivot(view))])
        rows.extend([0.0, *(focal * axes[k])] for k in (0, 1))
    motion, error = np.array(rows), (found - truth).ravel()
    left = (error - motion @ np.linalg.lstsq(motion, error, rcond=None)[0]).reshape(6, 3)
    return float(np.abs(left[:, 0]).max()), float(np.abs(left[:, 1:]).max() / 2)


def test_outlines_that_agree_are_left_exactly_as_they_are() -> None:
    """The cube of test_cameras_consistency, closed form: its outlines agree to float32, so not one bit may change."""
    focal = 1 / math.tan(math.radians(13.0))
    half = focal * 0.3 / 2.2
    pixel = (np.arange(64) + 0.5) / 32 - 1
    u, v = np.meshgrid(pixel, -pixel)
    distance = np.minimum(half - np.abs(u), half - np.abs(v)).astype(np.float32)
    side = np.linspace(-0.8, 0.8, 12) * half
    edge = np.full_like(side, half)
    contour = np.concatenate([np.stack(p, -1) for p in ((side, edge), (side, -edge), (edge, side), (-edge, side))])
    outlines = [Silhouette(distance=distance, contour=contour, bounds=(-half, -half, half, half))] * 6
    for config in (CalibrationConfig(), LOOSE, CalibrationConfig(perspective=True, turns=True)):
        result = calibrate(PLAIN, outlines, config)
        assert result.parameters is PLAIN
        assert result.disagreement < 1e-7


@pytest.mark.parametrize(
    ("solids", "scale_error", "offset_error"),
    # Measured 0.08 % of scale and 0.12 % of the width; 0.27 % and 0.13 %: some scales of the tool hang on a corner or
    # two of its arm and nose. Twice that is allowed.
    [(FACE, 0.0016, 0.0024), (TOOL, 0.0055, 0.0026)],
    ids=["face", "tool"],
)
def test_scale_and_offset_put_in_come_out(solids: Sequence, scale_error: float, offset_error: float) -> None:
    outlines = disturbed_outlines(solids)
    before = disagreement(grazing_points(PLAIN, outlines), 6).mean()
    firm = calibrate(scale_from_extents(PLAIN, outlines), outlines, CalibrationConfig(iterations=40))
    loose = calibrate(firm.parameters, outlines, LOOSE)
    scale, offset = beyond_gauge(loose.parameters.corrections()[:, :3], put_in_as_corrections())
    assert scale < scale_error
    assert offset < offset_error
    assert loose.disagreement < firm.disagreement < 0.05 * before
    assert not loose.parameters.corrections()[:, 3:].any()
    assert loose.parameters.log_focal == 0.0


def test_what_all_views_share_does_not_drift() -> None:
    """A common size and a common shift change no outline's agreement: they stay near nothing, loose priors or not."""
    outlines = disturbed_outlines(TOOL)
    result = calibrate(PLAIN, outlines, LOOSE).parameters.corrections()
    assert abs(result[:, 0].mean()) < 0.01
    # Shifts along x, seen from front and back: to the right and to the left.
    assert abs((result[0, 1] - result[1, 1]) / 2) < 0.04


def test_a_common_size_and_shift_are_no_disagreement() -> None:
    """All pictures 5 % larger, of an object that stands a little to the side: nothing to find, so little is changed."""
    moved = [replace(s, centre=tuple(np.add(s.centre, (0.01, 0.0, 0.0)))) for s in FACE]
    outlines = outlines_of(moved, [disturbed(c, 1.05) for c in six(WIDTH)])
    before = disagreement(grazing_points(PLAIN, outlines), 6).mean()
    assert before < 2e-4  # perspective: a larger picture is not quite a nearer object
    assert np.abs(calibrate(PLAIN, outlines).parameters.corrections()).max() < 0.01


def test_extents_alone_come_close() -> None:
    """Twelve extents, weak perspective assumed, of an object without bumps: all but its own depth is explained."""
    outlines = outlines_of(
        [Ellipsoid(radii=(0.34, 0.5, 0.38))], [disturbed(c, *d) for c, d in zip(six(WIDTH), DISTURBANCES, strict=True)]
    )
    start = scale_from_extents(PLAIN, outlines)
    scale, offset = beyond_gauge(start.corrections()[:, :3], put_in_as_corrections())
    # A half-depth of 0.38 at distance 2.5: outlines lie nearer or farther than the middle by up to 2 %.
    assert scale < 0.02
    assert offset < 0.001
    assert not start.corrections()[:, 3:].any()


def test_perspective_put_in_comes_out() -> None:
    """Cameras 1.4 times as far with as much longer lenses: `log_focal` finds most of ln 1.4 = 0.34."""
    cameras = [
        replace(
            c,
            fl_x=1.4 * c.fl_x,
            fl_y=1.4 * c.fl_y,
            camera_to_world=c.camera_to_world @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1.0], [0, 0, 0, 1]]),
        )
        for c in six(WIDTH)
    ]
    outlines = outlines_of(TOOL, cameras)
    stiff = calibrate(PLAIN, outlines, LOOSE)
    soft = calibrate(stiff.parameters, outlines, replace(LOOSE, perspective=True))
    assert soft.disagreement < 0.5 * stiff.disagreement
    assert 0.15 < soft.parameters.log_focal < 0.45


def test_a_turn_put_in_is_explained_by_turns() -> None:
    """The front camera rolled by 0.04 about its axis.

    Outlines tell a roll of one view from opposite turns of the other five only weakly, so the prior shares it out: half
    of it is found where it is, the rest as small turns elsewhere, and the outlines agree again.
    """
    roll = np.eye(4)
    roll[:2, :2] = [[math.cos(0.04), math.sin(0.04)], [-math.sin(0.04), math.cos(0.04)]]
    cameras = list(six(WIDTH))
    cameras[0] = replace(cameras[0], camera_to_world=cameras[0].camera_to_world @ roll)
    outlines = outlines_of(TOOL, cameras)
    before = disagreement(grazing_points(PLAIN, outlines), 6).mean()
    result = calibrate(PLAIN, outlines, CalibrationConfig(iterations=40, turns=True))
    turn = result.parameters.turn
    assert result.disagreement < 0.1 * before
    assert turn[0, 2] > 0.3 * 0.04
    assert np.abs(turn).max() == turn[0, 2]


@pytest.mark.parametrize("seed", range(4))
def test_the_result_is_never_worse_than_the_start(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cameras = [
        disturbed(c, *d)
        for c, d in zip(six(96), np.c_[rng.uniform(0.8, 1.2, 6), rng.uniform(-0.1, 0.1, (6, 2))], strict=True)
    ]
    outlines = [silhouette_of(view, points=60) for view in views_of(TOOL, cameras, samples=2).views]
    before = disagreement(grazing_points(PLAIN, outlines), 6)
    result = calibrate(PLAIN, outlines)
    assert result.disagreement <= before.mean()
    assert result.disagreement == pytest.approx(result.per_view.mean())
    np.testing.assert_array_equal(result.per_view, disagreement(grazing_points(result.parameters, outlines), 6))


def test_two_runs_are_equal() -> None:
    outlines = disturbed_outlines(TOOL)
    one, other = (calibrate(PLAIN, outlines) for _ in range(2))
    np.testing.assert_array_equal(one.parameters.corrections(), other.parameters.corrections())
    assert one.disagreement == other.disagreement


def test_disagreement_counts_what_sticks_out_view_by_view() -> None:
    grazing = grazing_points(PLAIN, outlines_of(FACE, six(96)))
    values = np.zeros(len(grazing.value))
    first = np.flatnonzero(grazing.view == 0)
    values[first[: len(first) // 2]] = -0.02
    values[grazing.view == 1] = 0.5
    result = disagreement(replace(grazing, value=values), 6)
    expected = 0.02 * (len(first) // 2) / len(first)
    np.testing.assert_allclose(result, [expected, 0, 0, 0, 0, 0], atol=1e-12)


def test_views_without_an_object_do_not_break_it() -> None:
    from meshwright.types import MaskSource, View

    rgb = np.ones((40, 40, 3), np.float32)
    empty = View(name="x", rgb=rgb, mask=rgb[..., 0] * 0, mask_source=MaskSource.NONE, background=rgb)
    outlines = [silhouette_of(empty)] * 6
    result = calibrate(scale_from_extents(PLAIN, outlines), outlines)
    assert np.isfinite(result.parameters.corrections()).all()
    assert np.isfinite(result.disagreement)
