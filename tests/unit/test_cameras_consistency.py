"""Cameras in silhouette coordinates, and by how much outlines contradict each other, against hand-worked cubes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from meshwright.cameras.consistency import (
    CameraParameters,
    Outlines,
    grazing_points,
    grazing_values,
    inside_field,
    search_rays,
)
from meshwright.cameras.silhouettes import Silhouette, silhouette_of
from meshwright.types import Camera
from scenes import TOOL, disturbed, six, views_of

FOCAL = 1 / math.tan(math.radians(13.0))
HALF = 0.3
"""Half the edge of the cube below."""
SQUARE = FOCAL * HALF / (2.5 - HALF)
"""Half the side of its outline, half picture widths: its near face, seen from straight ahead."""


def odd_cameras(count: int = 5) -> tuple[Camera, ...]:
    """Cameras all around, nothing about them round: aspect, principal point, aim, size."""
    rng = np.random.default_rng(3)
    cameras = []
    for index in range(count):
        rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        pose = np.eye(4)
        pose[:3, :3] = rotation * np.sign(np.linalg.det(rotation))
        pose[:3, 3] = pose[:3, 2] * rng.uniform(2, 4) + rng.normal(size=3) * 0.1
        width, height = int(rng.integers(90, 200)), int(rng.integers(90, 200))
        cameras.append(
            Camera(
                name=f"r_{index}",
                camera_to_world=pose,
                fl_x=300.0 + 10 * index,
                fl_y=280.0,
                cx=width / 2 + 3.3,
                cy=height / 2 - 7.1,
                width=width,
                height=height,
            )
        )
    return tuple(cameras)


def square_distance(half_side: float, right: float, size: int = 64) -> np.ndarray:
    """Exact signed distance to a square whose middle lies at (right, 0)."""
    pixel = (np.arange(size) + 0.5) / size * 2 - 1
    u, v = np.meshgrid(pixel - right, -pixel)
    beyond = np.hypot(np.maximum(np.abs(u) - half_side, 0), np.maximum(np.abs(v) - half_side, 0))
    within = np.minimum(half_side - np.abs(u), half_side - np.abs(v))
    return np.where(within > 0, within, -beyond).astype(np.float32)


def square_outline(half_side: float = SQUARE, right: float = 0.0) -> Silhouette:
    """The cube's outline as a closed form, not as pixels; contour points lie on its sides, away from the corners."""
    side = np.linspace(-0.8, 0.8, 12) * half_side
    edge = np.full_like(side, half_side)
    contour = np.concatenate(
        [np.stack(pair, -1) for pair in ((side, edge), (side, -edge), (edge, side), (-edge, side))]
    )
    return Silhouette(
        distance=square_distance(half_side, right),
        contour=contour + np.array([right, 0.0]),
        bounds=(right - half_side, -half_side, right + half_side, half_side),
    )


@pytest.mark.parametrize("cameras", [six(96), six(120, 80), odd_cameras()], ids=["rig", "wide", "odd"])
def test_from_cameras_and_back_is_the_identity(cameras: tuple[Camera, ...]) -> None:
    back = CameraParameters.from_cameras(cameras).cameras(
        [(c.width, c.height) for c in cameras], [c.name for c in cameras]
    )
    for one, other in zip(cameras, back, strict=True):
        np.testing.assert_allclose(other.camera_to_world, one.camera_to_world, atol=1e-12)
        for field in ("name", "fl_x", "fl_y", "cx", "cy", "width", "height"):
            assert getattr(other, field) == pytest.approx(getattr(one, field), abs=1e-9), field


@pytest.mark.parametrize("cameras", [six(120, 80), odd_cameras()], ids=["wide", "odd"])
def test_projection_is_the_cameras_in_other_units(cameras: tuple[Camera, ...]) -> None:
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3))
    parameters = CameraParameters.from_cameras(cameras)
    for view, camera in enumerate(cameras):
        pixels, _ = camera.project(points)
        half = camera.width / 2
        expected = np.stack([pixels[:, 0] - half, camera.height / 2 - pixels[:, 1]], -1) / half
        np.testing.assert_allclose(parameters.project(view, points), expected, atol=1e-9)


def corrected(cameras: tuple[Camera, ...]) -> CameraParameters:
    rng = np.random.default_rng(1)
    count = len(cameras)
    return replace(
        CameraParameters.from_cameras(cameras),
        log_scale=rng.normal(0, 0.05, count),
        offset=rng.normal(0, 0.05, (count, 2)),
        turn=rng.normal(0, 0.05, (count, 3)),
        log_focal=0.2,
    )


def test_unproject_undoes_project_whatever_the_corrections() -> None:
    parameters = corrected(odd_cameras())
    uv = np.random.default_rng(0).uniform(-0.5, 0.5, (4, 10, 2))
    z = np.random.default_rng(1).uniform(2, 3, (4, 10))
    for view in range(5):
        points = parameters.unproject(view, uv, z)
        assert points.shape == (4, 10, 3)
        np.testing.assert_allclose(parameters.project(view, points), uv, atol=1e-9)


def test_corrections_are_in_the_cameras_that_come_out() -> None:
    cameras = odd_cameras()
    parameters = corrected(cameras)
    points = np.random.default_rng(2).uniform(-0.4, 0.4, (30, 3))
    out = parameters.cameras([(c.width, c.height) for c in cameras], [c.name for c in cameras])
    for view, camera in enumerate(out):
        pixels, _ = camera.project(points)
        half = camera.width / 2
        expected = np.stack([pixels[:, 0] - half, camera.height / 2 - pixels[:, 1]], -1) / half
        np.testing.assert_allclose(parameters.project(view, points), expected, atol=1e-9)
        rotation = camera.camera_to_world[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)


def test_a_scale_magnifies_about_the_pivot_and_an_offset_shifts() -> None:
    cameras = six(96)
    plain = CameraParameters.from_cameras(cameras)
    values = np.zeros((6, 6))
    values[:, 0], values[:, 1], values[:, 2] = math.log(1.04), 0.03, -0.02
    changed = plain.with_corrections(values)
    np.testing.assert_array_equal(changed.corrections(), values)
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))
    for view in range(6):
        expected = plain.project(view, points) * 1.04 + [0.03, -0.02]
        np.testing.assert_allclose(changed.project(view, points), expected, atol=1e-12)


def test_refocusing_keeps_size_at_the_pivot_and_weakens_perspective() -> None:
    plain = CameraParameters.from_cameras(six(96))
    longer = replace(plain, log_focal=0.5)
    middle, near = np.array([0.1, 0.2, 0.0]), np.array([0.1, 0.2, 0.4])
    np.testing.assert_allclose(longer.project(0, middle), plain.project(0, middle), atol=1e-12)
    spread = np.linalg.norm(plain.project(0, near)) / np.linalg.norm(plain.project(0, middle))
    weaker = np.linalg.norm(longer.project(0, near)) / np.linalg.norm(longer.project(0, middle))
    assert spread == pytest.approx(2.5 / 2.1)
    distance = 2.5 * math.exp(0.5)
    assert weaker == pytest.approx(distance / (distance - 0.4))


def test_the_pivot_is_where_the_axes_meet() -> None:
    cameras = six(96)
    np.testing.assert_array_equal(CameraParameters.from_cameras(cameras).pivot, 0)
    away = tuple(replace(c, camera_to_world=c.camera_to_world + _translation(0.3, 0.1, -0.2)) for c in cameras)
    np.testing.assert_allclose(CameraParameters.from_cameras(away).pivot, [0.3, 0.1, -0.2], atol=1e-12)


def _translation(*by: float) -> np.ndarray:
    matrix = np.zeros((4, 4))
    matrix[:3, 3] = by
    return matrix


def test_outlines_of_one_cube_do_not_contradict_each_other() -> None:
    """Every point of every outline lies on the cube, so the best point of its ray is on the others' outlines: 0."""
    grazing = grazing_points(CameraParameters.from_cameras(six(64)), [square_outline()] * 6)
    assert grazing.value.min() > -2e-7  # float32 rounding of numbers around 1


def test_a_shifted_view_sticks_out_by_its_shift() -> None:
    """The front picture of the cube moved right by 0.02, cameras so far away that perspective is gone.

    Its right side is then 0.02 outside of what top and bottom allow, wherever on the ray. Its left side, and the
    others' outlines where they run across x, still lie inside. The others' sides at x = -0.3 are what the front picture
    now leaves out: they stick out of it by 0.02.
    """
    far = replace(CameraParameters.from_cameras(six(64)), log_focal=math.log(1000.0))
    side = FOCAL * HALF / 2.5
    square = square_outline(side)
    grazing = grazing_points(far, [square_outline(side, 0.02), *[square] * 5])
    value, (u, v) = grazing.value, grazing.uv.T
    front, back = grazing.view == 0, grazing.view == 1
    # Perspective that is left: 0.3 / 2500 of the outline, and float32 at a distance of 2500.
    close = 2e-4
    np.testing.assert_allclose(value[front & (u > side)], -0.02, atol=close)
    assert (value[front & (u < side) & (np.abs(v) < side - 0.01)] > 0.0).all()
    # Seen from behind, x runs to the left: its right side is x = -0.3.
    np.testing.assert_allclose(value[back & (u > side - 0.01)], -0.02, atol=close)
    assert (value[(grazing.view == 2) | (grazing.view == 3)] > -close).all()


def test_values_follow_moved_cameras() -> None:
    """With points and judges held, moving the judge's picture by d along its outline's normal gives d."""
    parameters = CameraParameters.from_cameras(six(64))
    square = square_outline()
    outlines = Outlines.of([square] * 6)
    (grazing,) = search_rays([parameters], outlines, [-1])
    rows = parameters.rows[None, None]
    ((values,),) = grazing_values([grazing], rows, rows, outlines, [-1])
    np.testing.assert_allclose(values, grazing.value, atol=1e-6)
    shifted = replace(parameters, offset=np.tile([0.01, 0.0], (6, 1)))
    ((values,),) = grazing_values([grazing], rows, shifted.rows[None, None], outlines, [-1])
    change = np.abs(values - grazing.value)
    assert change.max() == pytest.approx(0.01, abs=1e-5)
    # Nothing changes where the judge's outline runs along the shift.
    assert change.min() < 1e-5


def test_the_search_agrees_with_a_slow_one() -> None:
    """Max over z of min over the other views, sampled a thousand times along each ray with `Silhouette.sample`."""
    cameras = six(96)
    views = views_of(TOOL, [disturbed(c, 1.03, 0.01) if c.name == "left" else c for c in cameras], samples=2).views
    outlines = [silhouette_of(view, points=20) for view in views]
    parameters = CameraParameters.from_cameras(cameras)
    grazing = grazing_points(parameters, outlines)
    for view, outline in enumerate(outlines):
        z = np.linspace(2.5 - parameters.radius, 2.5 + parameters.radius, 1000)
        points = parameters.unproject(view, outline.contour[:, None], np.broadcast_to(z, (len(outline.contour), 1000)))
        least = np.min([o.sample(parameters.project(w, points)) for w, o in enumerate(outlines) if w != view], axis=0)
        mine = grazing.view == view
        # The slow search steps 0.0017 in z; the quick one may settle in another of two nearly equal maxima.
        np.testing.assert_allclose(grazing.value[mine], least.max(1), atol=2e-3)
        assert (grazing.judge[mine] != view).all()


def test_a_wrong_view_contradicts_the_others() -> None:
    cameras = six(96)
    outlines = [silhouette_of(view, points=60) for view in views_of(TOOL, cameras, samples=2).views]
    right = grazing_points(CameraParameters.from_cameras(cameras), outlines)
    outlines[2], outlines[3] = outlines[3], outlines[2]
    wrong = grazing_points(CameraParameters.from_cameras(cameras), outlines)
    assert np.maximum(-right.value, 0).mean() < 2e-4
    assert np.maximum(-wrong.value, 0).mean() > 0.01


def test_many_hypotheses_at_once_are_each_one_alone() -> None:
    """Also where one of the views is mirrored: bit for bit."""
    cameras = six(64)
    outlines = [silhouette_of(view, points=30) for view in views_of(TOOL, cameras, samples=2).views]
    mirrored = [outline.mirrored() for outline in outlines]
    plain = CameraParameters.from_cameras(cameras)
    hypotheses = [plain, corrected(cameras), plain, corrected(cameras)]
    flips = [-1, -1, 0, 4]
    found = search_rays(hypotheses, Outlines.of(outlines, mirrored), flips, steps=40, refinements=1)
    for parameters, flipped, points in zip(hypotheses, flips, found, strict=True):
        shown = [mirrored[view] if view == flipped else outline for view, outline in enumerate(outlines)]
        alone = grazing_points(parameters, shown, steps=40, refinements=1)
        for field in ("view", "uv", "z", "judge", "value"):
            np.testing.assert_array_equal(getattr(points, field), getattr(alone, field))


def test_the_field_of_a_cube_is_the_least_of_all_views() -> None:
    cameras = six(64)
    outlines = [silhouette_of(view, points=30) for view in views_of(TOOL, cameras, samples=2).views]
    parameters = corrected(cameras)
    field = inside_field(parameters, outlines, 0.5, 12)
    axis = (np.arange(12) + 0.5) / 12 - 0.5
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1) + parameters.pivot
    values = [outline.sample(parameters.project(view, points)) for view, outline in enumerate(outlines)]
    np.testing.assert_allclose(field, np.min(values, 0), atol=2e-6)  # float32 of numbers around 1
