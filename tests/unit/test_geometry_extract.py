"""Surfaces from fields: closed, outward, smooth without shrinking, free of crumbs."""

from __future__ import annotations

import numpy as np
import pytest

from meshwright.geometry.extract import extract_mesh, keep_large_parts, taubin_smooth
from meshwright.geometry.volume import Volume
from meshwright.types import Array, Mesh


def field_of(*balls: tuple[tuple[float, float, float], float], cells: int = 40, noise: float = 0.0) -> Volume:
    """Union of balls; a negative radius takes its ball away."""
    cell = 1 / cells
    axis = np.arange(cells + 1) * cell - 0.5
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    field = np.full(points.shape[:3], -1.0)
    for centre, radius in balls:
        distance = abs(radius) - np.linalg.norm(points - np.array(centre), axis=-1)
        field = np.maximum(field, distance) if radius > 0 else np.minimum(field, -distance)
    field += np.random.default_rng(0).normal(0, noise * cell, field.shape)
    return Volume(field=field.astype(np.float32), origin=np.full(3, -0.5), cell=cell)


def volume_of(mesh: Mesh) -> float:
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    return float(np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6)


def edge_uses(mesh: Mesh) -> Array:
    """How often each undirected edge is used, and a check that no directed edge is used twice."""
    f = mesh.faces
    edges = np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]]).astype(np.int64)
    count = len(mesh.vertices)
    directed = np.unique(edges[:, 0] * count + edges[:, 1], return_counts=True)[1]
    assert (directed == 1).all()
    return np.unique(edges.min(1) * count + edges.max(1), return_counts=True)[1]


BALL = 4 / 3 * np.pi


def test_a_ball_is_closed_outward_and_of_the_right_size() -> None:
    mesh = extract_mesh(field_of(((0.02, -0.01, 0.03), 0.35)))
    assert mesh.vertices.dtype == np.float32
    assert mesh.faces.dtype == np.int32
    assert (edge_uses(mesh) == 2).all()
    radius = np.linalg.norm(mesh.vertices - [0.02, -0.01, 0.03], axis=1)
    np.testing.assert_allclose(radius, 0.35, atol=0.02 / 40)
    assert volume_of(mesh) == pytest.approx(BALL * 0.35**3, rel=5e-3)
    corners = mesh.vertices[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((normal * (corners.mean(1) - [0.02, -0.01, 0.03])).sum(1) > 0).all()


def test_what_touches_the_border_is_closed_there() -> None:
    mesh = extract_mesh(field_of(((0.5, 0.0, 0.0), 0.3)))
    assert (edge_uses(mesh) == 2).all()
    # The lid lies between the border's voxels, which are inside, and the next ones beyond: half a voxel outside.
    expected = BALL * 0.3**3 / 2 + np.pi * 0.3**2 * 0.5 / 40
    assert volume_of(mesh) == pytest.approx(expected, rel=0.05)


def test_values_of_exactly_zero_make_no_flat_faces() -> None:
    volume = Volume(field=np.zeros((8, 8, 8), np.float32), origin=np.zeros(3), cell=1.0)
    volume.field[:] = -1
    volume.field[2:6, 2:6, 2:6] = 1
    volume.field[2, 2:6, 2:6] = 0
    mesh = extract_mesh(volume)
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    assert (edge_uses(mesh) == 2).all()
    assert volume_of(mesh) > 0
    assert (area > 0).all()


@pytest.mark.parametrize("value", [-0.1, 0.0])
def test_an_empty_field_is_an_empty_mesh(value: float) -> None:
    mesh = extract_mesh(Volume(field=np.full((6, 7, 8), value, np.float32), origin=np.zeros(3), cell=0.1))
    assert mesh.vertices.shape == (0, 3)
    assert mesh.faces.shape == (0, 3)
    assert taubin_smooth(mesh) is mesh
    kept, gone = keep_large_parts(mesh)
    assert (len(kept.faces), gone) == (0, 0)


def test_taubin_keeps_the_volume_of_a_ball() -> None:
    mesh = extract_mesh(field_of(((0, 0, 0), 0.35)))
    for iterations in (1, 6, 20):
        assert volume_of(taubin_smooth(mesh, iterations)) == pytest.approx(volume_of(mesh), rel=0.01)


def test_taubin_takes_noise_and_leaves_shape() -> None:
    mesh = extract_mesh(field_of(((0, 0, 0), 0.35), noise=0.15))
    mesh, _ = keep_large_parts(mesh)
    smooth = taubin_smooth(mesh, 8)
    rough = np.linalg.norm(mesh.vertices, axis=1)
    radius = np.linalg.norm(smooth.vertices, axis=1)
    assert radius.std() < 0.7 * rough.std()
    assert radius.mean() == pytest.approx(0.35, abs=0.05 / 40)
    assert volume_of(smooth) == pytest.approx(volume_of(mesh), rel=0.01)
    np.testing.assert_array_equal(smooth.faces, mesh.faces)


def test_taubin_of_no_iterations_is_the_mesh() -> None:
    mesh = extract_mesh(field_of(((0, 0, 0), 0.3), cells=12))
    assert taubin_smooth(mesh, 0) is mesh


def test_a_plain_laplace_would_shrink() -> None:
    """What the second factor is for."""
    mesh = extract_mesh(field_of(((0, 0, 0), 0.2), cells=20))
    shrunk = taubin_smooth(mesh, 8, inflate=0.0)
    assert volume_of(shrunk) < 0.95 * volume_of(mesh)


def test_a_cavity_and_a_speck_go() -> None:
    ball, cavity, speck = ((-0.1, 0.0, 0.0), 0.3), ((-0.1, 0.0, 0.05), -0.12), ((0.4, 0.35, 0.3), 0.05)
    mesh = extract_mesh(field_of(ball, cavity, speck))
    kept, gone = keep_large_parts(mesh)
    assert gone == 2
    assert volume_of(kept) == pytest.approx(BALL * 0.3**3, rel=5e-3)
    assert (edge_uses(kept) == 2).all()
    assert len(kept.vertices) == kept.faces.max() + 1 == len(np.unique(kept.faces))
    expected = extract_mesh(field_of(ball))
    assert kept.faces.shape == expected.faces.shape


def test_two_bodies_of_like_size_both_stay() -> None:
    mesh = extract_mesh(field_of(((-0.25, 0, 0), 0.2), ((0.28, 0, 0), 0.15)))
    kept, gone = keep_large_parts(mesh)
    assert gone == 0
    np.testing.assert_array_equal(kept.vertices, mesh.vertices)


def test_the_share_decides_what_is_a_speck() -> None:
    mesh = extract_mesh(field_of(((-0.2, 0, 0), 0.25), ((0.35, 0, 0), 0.1)))  # 6.4 % of the volume
    assert keep_large_parts(mesh, 0.05)[1] == 0
    kept, gone = keep_large_parts(mesh, 0.08)
    assert gone == 1
    assert kept.vertices[:, 0].max() < 0.1
