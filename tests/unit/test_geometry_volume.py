"""The visual hull against the cones it is cut from, and rays through a field that is known."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np
import pytest

from meshwright.device import map_threads
from meshwright.geometry.volume import Volume, find_bounds, hull_volume, march, over_slabs, seek
from meshwright.geometry.working import WorkingViews, working_views
from meshwright.types import Array, Camera
from scenes import TOOL, Box, Ellipsoid, pixel_grid, six, views_of

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]
WIDTH = 160
RADIUS = 0.4


@functools.cache
def sphere_views() -> WorkingViews:
    cameras = six(WIDTH)
    return working_views(views_of([Ellipsoid()], cameras).views, cameras, 1024)


def cone_distance(points: Array, cameras: tuple[Camera, ...], radius: float = RADIUS) -> Array:
    """Distance to the six cones that touch the sphere at the origin, least over the cameras, positive inside."""
    least = np.full(points.shape[:-1], np.inf)
    for camera in cameras:
        away = points - camera.position
        sine = radius / np.linalg.norm(camera.position)
        along = away @ camera.forward
        beside = np.linalg.norm(away - along[..., None] * camera.forward, axis=-1)
        least = np.minimum(least, along * sine - beside * math.sqrt(1 - sine**2))
    return least


def grid_points(volume: Volume) -> Array:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in volume.field.shape), indexing="ij"), -1)
    return volume.origin + index * volume.cell


@pytest.mark.parametrize("device", DEVICES)
def test_the_hull_of_a_sphere_is_six_cones(device: str) -> None:
    cell = 1 / 48
    volume = hull_volume(sphere_views(), np.full(3, -0.55), np.full(3, 0.55), cell, device)
    truth = cone_distance(grid_points(volume), six(WIDTH))
    # Pixels are 0.36 of a cell here; their distances are half a pixel short (test_geometry_distance.py) and measured
    # across the ray at the point's depth, not at right angles to the cone.
    near = np.abs(truth) < 3 * cell
    error = np.abs(volume.field - truth)[near] / cell
    assert error.max() < 0.5
    assert error.mean() < 0.12
    surface = np.abs(truth) < 0.5 * cell
    assert (np.abs(volume.field - truth)[surface] / cell).mean() < 0.1


def test_the_hull_contains_the_sphere_and_lies_in_the_cube() -> None:
    volume = hull_volume(sphere_views(), np.full(3, -0.55), np.full(3, 0.55), 1 / 48, "cpu")
    points = grid_points(volume)
    inside = volume.field > 0
    slack = 0.1 / 48
    assert inside[np.linalg.norm(points, axis=-1) < RADIUS - slack].all()
    # Two opposite cones meet in the plane through the middle: there the hull reaches farthest along an axis.
    reach = RADIUS / math.sqrt(1 - (RADIUS / 2.5) ** 2)
    assert (np.abs(points[inside]) < reach + slack).all()


def test_the_hulls_volume_is_that_of_the_cones() -> None:
    """Closed form by dense sampling: half a million points of a fine lattice, each tested against the six cones."""
    volume = hull_volume(sphere_views(), np.full(3, -0.55), np.full(3, 0.55), 1 / 48, "cpu")
    # The field's volume: each voxel counts by how far inside it lies, a step blurred over one cell.
    found = np.clip(volume.field / volume.cell + 0.5, 0, 1).sum() * volume.cell**3
    axis = (np.arange(80) + 0.5) / 80 * 0.42  # one octant: everything is symmetric
    lattice = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    expected = 8 * (cone_distance(lattice, six(WIDTH)) > 0).mean() * 0.42**3
    assert expected > 1.03 * Ellipsoid().volume  # the hull is not the sphere
    assert found == pytest.approx(expected, rel=0.01)


def test_points_behind_a_camera_are_outside() -> None:
    volume = hull_volume(sphere_views(), np.array([-0.1, -0.1, 2.4]), np.array([0.1, 0.1, 3.0]), 0.05, "cpu")
    assert (volume.field < 0).all()


def test_the_grid_covers_the_box_and_is_centred_on_it() -> None:
    low, high = np.array([-0.3, -0.2, -0.1]), np.array([0.4, 0.25, 0.12])
    volume = hull_volume(sphere_views(), low, high, 0.03, "cpu")
    last = volume.origin + (np.array(volume.field.shape) - 1) * volume.cell
    assert (volume.origin <= low).all()
    assert (last >= high).all()
    assert (low - volume.origin < volume.cell).all()
    np.testing.assert_allclose(volume.middle, (low + high) / 2, atol=1e-12)
    assert volume.radius == pytest.approx(np.linalg.norm(volume.field.shape) / 2 * 0.03)


@pytest.mark.parametrize(
    ("solids", "low", "high"),
    [
        (TOOL, (-0.27, -0.42, -0.40), (0.27, 0.42, 0.40)),
        # Away from where the cameras look, and small: an eighth of the frame.
        ((Box((0.2, 0.25, -0.3), (0.3, 0.32, -0.2)),), (0.2, 0.25, -0.3), (0.3, 0.32, -0.2)),
        # A plate thinner than a voxel of the first search.
        ((Box((-0.4, -0.01, -0.4), (0.4, 0.01, 0.4)),), (-0.4, -0.01, -0.4), (0.4, 0.01, 0.4)),
    ],
    ids=["tool", "small", "plate"],
)
def test_bounds_hold_the_object_closely(
    solids: tuple[Box, ...], low: tuple[float, ...], high: tuple[float, ...]
) -> None:
    cameras = six(WIDTH)
    found_low, found_high = find_bounds(working_views(views_of(solids, cameras).views, cameras, 1024), "cpu")
    assert (found_low < low).all()
    assert (found_high > high).all()
    # The hull is larger than the object, and the search ends with 1.5 voxels of a 96th of what it found before.
    assert (found_low > np.array(low) - 0.12).all()
    assert (found_high < np.array(high) + 0.12).all()


def test_bounds_where_nothing_is_inside_are_the_whole_region() -> None:
    cameras = six(64)
    views = list(views_of(TOOL, cameras, samples=2).views)
    corner = np.zeros_like(views[0].mask)
    corner[:6, :6] = 1
    views[0] = replace(views[0], mask=corner)
    low, high = find_bounds(working_views(views, cameras, 1024), "cpu")
    assert (high - low).min() > 1.0


def sphere_field(cells: int = 48) -> Volume:
    """The exact distance to a sphere off the grid's middle."""
    cell = 1 / cells
    origin = np.full(3, -0.55)
    index = np.stack(np.meshgrid(*(np.arange(round(1.1 * cells)),) * 3, indexing="ij"), -1)
    points = origin + index * cell
    field = 0.35 - np.linalg.norm(points - [0.03, -0.02, 0.05], axis=-1)
    return Volume(field=field.astype(np.float32), origin=origin, cell=cell)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("view", [0, 3, 4])
def test_rays_enter_and_leave_a_sphere_where_they_should(view: int, device: str) -> None:
    volume, camera = sphere_field(), six(96)[view]
    met = march(volume, camera, device)
    solid = Ellipsoid((0.03, -0.02, 0.05), (0.35, 0.35, 0.35))
    enter, leave = solid.span(
        camera.position, camera.unproject(pixel_grid(camera), np.ones((96, 96))) - camera.position
    )
    hit = np.isfinite(enter)
    chord = (leave - enter) / volume.cell
    assert (met.entry[~hit] == 0).all()
    assert (met.leave[~hit] == 0).all()
    # The voxels' chords cut a curved surface a little short. A ray that passes through many voxels hardly notices; one
    # that grazes the sphere does: measured 0.07, 0.13 and 0.28 voxels.
    for least, most, error in ((8, np.inf, 0.1), (4, 8, 0.2), (2, 4, 0.4)):
        rays = hit & (chord > least) & (chord <= most)
        assert rays.any()
        np.testing.assert_allclose(met.entry[rays], enter[rays], atol=error * volume.cell)
        np.testing.assert_allclose(met.leave[rays], leave[rays], atol=error * volume.cell)


@pytest.mark.parametrize("device", DEVICES)
def test_rays_of_some_pixels_stop_where_they_enter_or_tell_how_far_off_they_pass(device: str) -> None:
    volume, camera = sphere_field(), six(96)[0]
    chosen = np.argwhere(np.add.outer(np.arange(96), np.arange(96)) % 3 == 0)
    best = seek(volume, camera, chosen, device)
    centre, pixels = np.array([0.03, -0.02, 0.05]), pixel_grid(camera)[tuple(chosen.T)]
    direction = camera.unproject(pixels, np.ones(len(pixels))) - camera.position
    along = ((centre - camera.position) * direction).sum(-1) / (direction**2).sum(-1)
    nearest = camera.position + along[:, None] * direction
    distance = 0.35 - np.linalg.norm(nearest - centre, axis=-1)
    misses, hits = (distance < -0.1 * volume.cell) & (distance > -0.1), distance > volume.cell
    assert misses.any()
    assert hits.any()
    # Steps are as long as the distance, five voxels at most, and 0.7 voxels at least.
    assert (best[misses, 3] < 0).all()
    assert (np.abs(best[misses, 3] - distance[misses]) < 1.8 * volume.cell).all()
    rim = misses & (distance > -0.5 * volume.cell)
    assert (np.linalg.norm(best[rim, :3] - nearest[rim], axis=-1) < volume.cell).all()
    # A ray that enters is followed no farther.
    assert (best[hits, 3] >= 0).all()
    before = ((best[hits, :3] - camera.position) * direction[hits]).sum(-1) / (direction[hits] ** 2).sum(-1)
    met = march(volume, camera, device).entry[tuple(chosen[hits].T)]
    assert (before >= met - 1e-5).all()
    assert (before < met + 4 * volume.cell).all()


@pytest.mark.parametrize("device", DEVICES)
def test_no_pixels_are_sought_in_no_time(device: str) -> None:
    assert seek(sphere_field(), six(32)[0], np.zeros((0, 2), int), device).shape == (0, 4)


def test_a_ray_through_two_bodies_enters_the_first_and_leaves_the_last() -> None:
    cell = 1 / 40
    axis = np.arange(41) * cell - 0.5
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    one, other = (0.15 - np.sqrt(x**2 + y**2 + (z - m) ** 2) for m in (0.3, -0.25))
    volume = Volume(field=np.maximum(one, other).astype(np.float32), origin=np.full(3, -0.5), cell=cell)
    met = march(volume, six(97)[0], "cpu")
    assert met.entry[48, 48] == pytest.approx(2.5 - 0.45, abs=0.1 * cell)
    assert met.leave[48, 48] == pytest.approx(2.5 + 0.4, abs=0.1 * cell)


def test_a_field_that_is_empty_is_met_by_no_ray() -> None:
    volume = Volume(field=np.full((20, 20, 20), -0.1, np.float32), origin=np.full(3, -0.5), cell=0.05)
    met = march(volume, six(32)[0], "cpu")
    assert not met.entry.any()
    assert not met.leave.any()


@pytest.mark.parametrize("length", [1, 2, 7, 100])
def test_slabs_cover_everything_once(length: int) -> None:
    seen: list[int] = []
    over_slabs(lambda slab: seen.extend(range(length)[slab]), length, "cpu")
    assert sorted(seen) == list(range(length))


def test_two_runs_are_equal() -> None:
    one, other = (hull_volume(sphere_views(), np.full(3, -0.5), np.full(3, 0.5), 1 / 32, "cpu") for _ in range(2))
    np.testing.assert_array_equal(one.field, other.field)


@pytest.mark.gpu
def test_threads_of_a_gpu_find_what_one_finds() -> None:
    views = sphere_views()
    volume = hull_volume(views, np.full(3, -0.55), np.full(3, 0.55), 1 / 48, "cuda:0")

    def look(camera: Camera) -> tuple[Array, Array, Array]:
        met = march(volume, camera, "cuda:0")
        pixels = np.argwhere(met.entry > 0)
        return met.entry, met.leave, seek(volume, camera, pixels, "cuda:0")

    cameras = [*views.cameras] * 8
    for one, other in zip(
        [look(camera) for camera in cameras], map_threads(look, cameras, device="cuda:0"), strict=True
    ):
        for alone, together in zip(one, other, strict=True):
            np.testing.assert_array_equal(alone, together)
