"""Decimation: the budget holds, the surface stays where it was, and closed meshes stay closed."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from skimage.measure import marching_cubes

from meshwright.errors import OptionError
from meshwright.geometry.simplify import cancel_twins, is_balanced, label_pieces, simplify
from meshwright.types import Mesh


def surface_of(values: np.ndarray, low: float = -1.0, high: float = 1.0) -> Mesh:
    """Marching cubes of a signed distance (negative inside) on a cube's grid."""
    vertices, faces, _, _ = marching_cubes(values, 0.0)
    scale = (high - low) / (values.shape[0] - 1)
    mesh = trimesh.Trimesh(vertices * scale + low, faces, process=False)
    if mesh.volume < 0:
        mesh.invert()
    return Mesh(vertices=mesh.vertices.astype(np.float32), faces=mesh.faces.astype(np.int32))


def grid(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    axis = np.linspace(-1, 1, size)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    return x, y, z


def sphere() -> Mesh:
    x, y, z = grid(65)
    return surface_of(np.sqrt(x**2 + y**2 + z**2) - 0.8)


def torus_distance(points: np.ndarray) -> np.ndarray:
    ring = np.hypot(points[..., 0], points[..., 1]) - 0.6
    return np.hypot(ring, points[..., 2]) - 0.25


def torus() -> Mesh:
    return surface_of(torus_distance(np.stack(grid(65), -1)))


def reopened(mesh: Mesh) -> trimesh.Trimesh:
    """As a reader of the written file would see it: vertices of equal position merged."""
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> trimesh.Trimesh:
    return trimesh.creation.box(bounds=[low, high])


def as_mesh(mesh: trimesh.Trimesh) -> Mesh:
    return Mesh(vertices=mesh.vertices.astype(np.float32), faces=mesh.faces.astype(np.int32))


@pytest.mark.parametrize("budget", [4000, 1000])
def test_sphere_keeps_its_shape(budget: int) -> None:
    before = sphere()
    after = simplify(before, budget)
    assert 0.8 * budget < len(after.faces) <= budget
    assert reopened(after).is_watertight
    points, faces = trimesh.sample.sample_surface(reopened(after), 20_000, seed=0)
    # A chord of n faces over a sphere of radius r sags by about 1.5 * area / r of a face, and the grid itself errs.
    sag = 4 * np.pi * 0.8 / budget
    assert np.abs(np.linalg.norm(points, axis=1) - 0.8).max() < 1.5 * sag + 1e-3
    outward = (reopened(after).face_normals[faces] * points).sum(1) / np.linalg.norm(points, axis=1)
    assert outward.min() > 0.8, "a triangle was flipped"


def test_torus_keeps_its_hole() -> None:
    after = simplify(torus(), 2000)
    mesh = reopened(after)
    assert len(after.faces) <= 2000
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.euler_number == 0
    points, _ = trimesh.sample.sample_surface(mesh, 20_000, seed=0)
    assert np.abs(torus_distance(points)).max() < 0.01


def test_under_the_budget_nothing_moves() -> None:
    before = torus()
    after = simplify(before, 10**6)
    # Marching cubes leaves needles that are points; nothing else may go.
    assert len(before.faces) * 0.97 < len(after.faces) <= len(before.faces)
    assert np.abs(torus_distance(after.vertices)).max() < 2e-3


def test_every_face_has_area_and_every_vertex_a_face() -> None:
    x, y, z = grid(33)
    # Values that are exactly 0 on grid corners make triangles without area.
    after = simplify(surface_of(np.round(8 * (np.maximum(np.abs(x), np.maximum(np.abs(y), np.abs(z))) - 0.5))), 500)
    assert reopened(after).area_faces.min() > 0
    assert set(after.faces.ravel()) == set(range(len(after.vertices)))


def test_sheets_that_touch_stay_two_sheets() -> None:
    one, two = box((0, 0, 0), (1, 1, 1)), box((1, 1, 0), (2, 2, 1))
    both = trimesh.util.concatenate([one, two])
    both.merge_vertices()
    assert not both.is_watertight, "the edge in the middle has four faces"
    after = reopened(simplify(as_mesh(both), 100))
    assert after.is_watertight
    assert after.volume == pytest.approx(2.0, abs=0.05)


def test_no_new_pieces_from_a_thin_bridge() -> None:
    x, y, z = grid(65)
    blobs = np.minimum(np.sqrt((x - 0.5) ** 2 + y**2 + z**2), np.sqrt((x + 0.5) ** 2 + y**2 + z**2)) - 0.35
    bridge = np.maximum(np.hypot(y, z) - 0.04, np.abs(x) - 0.5)
    before = surface_of(np.minimum(blobs, bridge))
    assert reopened(before).body_count == 1
    for budget in (1000, 200):
        after = reopened(simplify(before, budget))
        assert after.is_watertight
        assert after.body_count == 1


def test_pieces_that_were_there_stay() -> None:
    two = trimesh.util.concatenate([box((0, 0, 0), (1, 1, 1)), box((2, 0, 0), (3, 1, 1))]).subdivide().subdivide()
    after = simplify(as_mesh(two), 100)
    assert reopened(after).body_count == 2
    assert len(np.unique(label_pieces(len(after.vertices), after.faces))) == 2


def test_an_open_mesh_is_welcome() -> None:
    x, y = np.meshgrid(np.linspace(0, 1, 40), np.linspace(0, 1, 40))
    vertices = np.stack([x.ravel(), y.ravel(), 0.1 * np.sin(6 * x.ravel())], 1).astype(np.float32)
    cell = (np.arange(39)[:, None] * 40 + np.arange(39)).ravel()
    faces = np.concatenate([np.stack([cell, cell + 1, cell + 41], 1), np.stack([cell, cell + 41, cell + 40], 1)])
    after = simplify(Mesh(vertices=vertices, faces=faces.astype(np.int32)), 600)
    assert len(after.faces) <= 600
    assert reopened(after).area == pytest.approx(trimesh.Trimesh(vertices, faces, process=False).area, rel=0.01)


def test_twins_cancel() -> None:
    faces = np.array([[0, 1, 2], [1, 2, 0], [0, 2, 1], [3, 4, 5], [3, 5, 4], [6, 6, 7], [1, 3, 2]], np.int32)
    kept = cancel_twins(faces)
    # Two of one winding and one of the other leave one; a face and its mirror leave none; (6, 6, 7) is no face.
    assert sorted(map(tuple, kept.tolist())) == [(0, 1, 2), (1, 3, 2)]


def test_balance() -> None:
    closed = sphere().faces
    assert is_balanced(closed)
    assert not is_balanced(closed[1:])
    assert not is_balanced(np.zeros((0, 3), np.int32))


def test_errors_say_what_to_do() -> None:
    with pytest.raises(OptionError, match=r"budget of 3 .* Ask for 4"):
        simplify(sphere(), 3)
    with pytest.raises(OptionError, match="no faces"):
        simplify(Mesh(vertices=np.zeros((0, 3), np.float32), faces=np.zeros((0, 3), np.int32)))
