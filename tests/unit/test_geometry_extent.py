"""The object's box: corrected by outlines where the mesh falls short of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from meshwright.geometry.extent import extent_slack, outline_extent
from meshwright.geometry.working import WorkingViews, working_views
from meshwright.rendering import rasterize_mesh
from meshwright.synth.rig import six_view_cameras
from meshwright.types import MaskSource, Mesh, View

SIZE = 256


def egg(scale: float) -> Mesh:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    vertices = ball.vertices * np.array([0.6, 0.8, 1.0]) * scale + np.array([0.02, -0.01, 0.03])
    return Mesh(vertices=vertices.astype(np.float32), faces=ball.faces.astype(np.int32))


@pytest.fixture(scope="module")
def working() -> WorkingViews:
    cameras = six_view_cameras(SIZE)
    views = []
    for camera in cameras:
        covered = rasterize_mesh(egg(1.0), camera.resized(4 * SIZE, 4 * SIZE)).covered.astype(np.float32)
        mask = covered.reshape(SIZE, 4, SIZE, 4).mean((1, 3))
        grey = np.full((SIZE, SIZE, 3), 0.5, np.float32)
        views.append(
            View(name=camera.name, rgb=grey, mask=mask, mask_source=MaskSource.ALPHA, background=np.ones_like(grey))
        )
    return working_views(views, cameras, SIZE)


@pytest.mark.parametrize("scale", [0.985, 1.0, 1.01])
def test_the_box_is_that_of_the_outlines_whatever_the_mesh_lacks(working: WorkingViews, scale: float) -> None:
    box = outline_extent(egg(scale), working)
    truth = np.array([[-0.28, -0.41, -0.47], [0.32, 0.39, 0.53]])
    # A pixel is 0.0045; the outlines know the box to a tenth of one, the mesh alone is off by up to 1.7.
    np.testing.assert_allclose(box, truth, atol=6e-4)


def test_outlines_of_something_else_do_not_move_the_box(working: WorkingViews) -> None:
    mesh = egg(0.7)
    box = outline_extent(mesh, working)
    np.testing.assert_allclose(box, [mesh.vertices.min(0), mesh.vertices.max(0)], atol=1e-6)


def test_empty_outlines_leave_the_mesh_box(working: WorkingViews) -> None:
    mesh = egg(1.0)
    empty = replace(working, outline=np.full_like(working.outline, -5.0))
    np.testing.assert_allclose(outline_extent(mesh, empty), [mesh.vertices.min(0), mesh.vertices.max(0)], atol=1e-6)


@pytest.mark.parametrize(
    ("shown", "slack"),
    [
        ((0, 1, 2, 3, 4, 5), 0.0),
        # The longest side is z: front and back look along it, the other four stand around it.
        ((2, 3, 4, 5), 0.0),
        # Left and right: the box is 0.6 deep for them, half of that at a distance of 2.48 or 2.52.
        ((0, 1, 2, 3), 0.3 / 2.52),
        ((0, 2, 4), 0.3 / 2.48),
        # Only the top looks across, and the box is 0.8 deep for it.
        ((0, 4), 0.4 / 2.51),
    ],
)
def test_how_far_few_views_leave_the_longest_side_open(
    working: WorkingViews, shown: tuple[int, ...], slack: float
) -> None:
    box = np.array([[-0.28, -0.41, -0.47], [0.32, 0.39, 0.53]])
    some = replace(working, cameras=tuple(working.cameras[index] for index in shown))
    assert extent_slack(box, some) == pytest.approx(slack, abs=1e-6)
