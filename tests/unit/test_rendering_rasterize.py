"""The z-buffer against arithmetic, a NumPy reference, a ray caster and the tiling property."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from meshwright.errors import ShapeError
from meshwright.rendering import rasterize_mesh, rasterize_views
from meshwright.rendering.projection import clip_matrix, to_clip
from meshwright.rendering.rasterize import rasterize_clip
from meshwright.rendering.rasterize.reference import rasterize_reference
from meshwright.types import Camera, Mesh

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]


def make_camera(width: int = 64, height: int = 48, distance: float = 2.5, fov: float = 26.0) -> Camera:
    pose = np.eye(4)
    pose[2, 3] = distance
    focal = 0.5 * width / np.tan(np.radians(fov / 2))
    return Camera(
        name="front",
        camera_to_world=pose,
        fl_x=focal,
        fl_y=focal,
        cx=width / 2,
        cy=height / 2,
        width=width,
        height=height,
    )


def make_mesh(vertices: object, faces: object) -> Mesh:
    return Mesh(vertices=np.asarray(vertices, np.float32), faces=np.asarray(faces, np.int32))


def turned(camera: Camera, seed: int) -> Camera:
    """The camera somewhere else, off-centre principal point, unequal focal lengths."""
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    pose = np.eye(4)
    pose[:3, :3] = rotation * np.sign(np.linalg.det(rotation))
    pose[:3, 3] = pose[:3, 2] * 2.5 + rng.normal(size=3) * 0.05
    return replace(camera, camera_to_world=pose, fl_y=camera.fl_y * 0.9, cx=camera.cx + 3.3, cy=camera.cy - 2.1)


def test_clip_coordinates_agree_with_the_camera() -> None:
    camera = turned(make_camera(), 1)
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3))
    pixels, z = camera.project(points)
    clip = np.concatenate([points, np.ones((50, 1))], 1) @ clip_matrix(camera).T
    np.testing.assert_allclose(clip[:, 2], z, atol=1e-12)
    np.testing.assert_allclose((clip[:, 0] / z + 1) / 2 * camera.width, pixels[:, 0], atol=1e-9)
    np.testing.assert_allclose((1 - clip[:, 1] / z) / 2 * camera.height, pixels[:, 1], atol=1e-9)


def test_quad_worked_out_by_hand() -> None:
    """A tilted plane: coverage, depth and the point under each pixel follow from the ray, without any triangle."""
    camera = make_camera(40, 30)
    # z = 0.3 x on the rectangle |x| <= 0.4, |y| <= 0.2.
    corners = [[-0.4, -0.2, -0.12], [0.4, -0.2, 0.12], [0.4, 0.2, 0.12], [-0.4, 0.2, -0.12]]
    mesh = make_mesh(corners, [[0, 1, 2], [0, 2, 3]])
    seen = rasterize_mesh(mesh, camera)
    columns, rows = np.meshgrid(np.arange(40) + 0.5, np.arange(30) + 0.5)
    rays = camera.unproject(np.stack([columns, rows], -1), np.ones((30, 40))) - camera.position
    t = (2.5 - 0) / (0.3 * rays[..., 0] - rays[..., 2])  # camera z is 2.5; 2.5 + t dz = 0.3 t dx
    hit = camera.position + t[..., None] * rays
    expected = (np.abs(hit[..., 0]) <= 0.4) & (np.abs(hit[..., 1]) <= 0.2)
    np.testing.assert_array_equal(seen.covered, expected)
    points = seen.interpolate(mesh.vertices, mesh.faces)
    np.testing.assert_allclose(points[expected], hit[expected], atol=3e-7)
    np.testing.assert_allclose(seen.z[expected], t[expected], rtol=1e-6)  # the rays have depth 1 per unit of t
    assert np.isinf(seen.z[~expected]).all()
    assert (seen.bary[~expected] == 0).all()
    np.testing.assert_allclose(seen.bary[expected].sum(-1), 1, atol=2e-7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(4))
def test_random_soup_matches_the_reference(seed: int, device: str) -> None:
    """Triangles of all sizes, before, behind and across the camera."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(40, 1, 3)) * [1, 1, 1.5] + [0, 0, 1]
    clip = (centre + rng.normal(size=(40, 3, 3)) * rng.choice([0.02, 0.3, 3.0], (40, 1, 1))).reshape(-1, 3)
    clip = clip.astype(np.float32)
    faces = np.arange(120, dtype=np.int32).reshape(40, 3)
    seen = rasterize_clip(clip, faces, 50, 70, near=0.05, device=device)
    face_id, bary, z, layers = rasterize_reference(clip, faces, 50, 70, 0.05)
    assert layers.max() >= 3
    np.testing.assert_array_equal(seen.face_id, face_id)
    np.testing.assert_allclose(seen.bary, bary, atol=1e-6)
    np.testing.assert_allclose(seen.z[face_id >= 0], z[face_id >= 0], rtol=1e-6)
    assert (seen.z >= np.float32(0.05)).all()


@pytest.mark.parametrize("device", DEVICES)
def test_sphere_matches_a_ray_caster(device: str) -> None:
    trimesh = pytest.importorskip("trimesh")
    ball = trimesh.creation.icosphere(3, 0.45)
    mesh = make_mesh(ball.vertices, ball.faces)
    for seed in (2, 3):
        camera = turned(make_camera(96, 96), seed)
        seen = rasterize_mesh(mesh, camera, device=device)
        columns, rows = np.meshgrid(np.arange(96) + 0.5, np.arange(96) + 0.5)
        pixels = np.stack([columns, rows], -1).reshape(-1, 2)
        ends = camera.unproject(pixels, np.ones(len(pixels)))
        origins = np.broadcast_to(camera.position, ends.shape)
        face = ball.ray.intersects_first(origins, ends - origins).reshape(96, 96)
        differ = face != seen.face_id
        # The caster works in float32, so it may decide otherwise on edges.
        assert differ.mean() < 2e-3
        assert abs(int((face >= 0).sum()) - int(seen.covered.sum())) <= 3
        points = seen.interpolate(mesh.vertices, mesh.faces)
        columns_back, z_back = camera.project(points[seen.covered])
        np.testing.assert_allclose(columns_back, pixels.reshape(96, 96, 2)[seen.covered], atol=2e-4)
        np.testing.assert_allclose(z_back, seen.z[seen.covered], rtol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("aligned", [True, False])
def test_tiled_quad_has_neither_cracks_nor_doubles(aligned: bool, device: str) -> None:
    """Every pixel of a subdivided quad belongs to exactly one triangle, centres that lie on edges included."""
    n = 12
    steps = np.linspace(-1.0, 1.0, n + 1)
    x, y = np.meshgrid(steps, steps)
    rng = np.random.default_rng(5)
    if not aligned:
        inner = (np.abs(x) < 1) & (np.abs(y) < 1)
        x, y = x + inner * rng.uniform(-0.05, 0.05, x.shape), y + inner * rng.uniform(-0.05, 0.05, x.shape)
    w = np.ones_like(x) if aligned else 2 + 0.3 * x + 0.2 * y
    clip = (np.stack([x, y, np.ones_like(x)], -1) * w[..., None]).reshape(-1, 3).astype(np.float32)
    index = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    flip = rng.random((n, n)) < 0.5
    one = np.where(flip[..., None], np.stack([a, b, c], -1), np.stack([a, b, d], -1))
    two = np.where(flip[..., None], np.stack([a, c, d], -1), np.stack([d, b, c], -1))
    faces = np.concatenate([one.reshape(-1, 3), two.reshape(-1, 3)]).astype(np.int32)
    # 36 pixels over 12 cells: with `aligned`, cell corners and diagonals run through pixel centres.
    size = 36 if aligned else 61
    shift = np.float32(1 / size) if aligned else np.float32(0)
    clip[:, :2] += shift
    count = np.zeros((size, size), int)
    for face in faces:
        count += rasterize_clip(clip, face[None], size, size, device=device).covered
    layers = rasterize_reference(clip, faces, size, size, 1e-3)[3]
    np.testing.assert_array_equal(count, layers)
    inside = count[:-1, 1:] if aligned else count
    assert (inside == 1).all()
    assert count.max() == 1


def test_thin_and_tiny_triangles_land_on_at_most_one_side() -> None:
    """20,480 triangles on a frame of 32x32: the disc is full and each pixel shows the nearest surface."""
    trimesh = pytest.importorskip("trimesh")
    ball = trimesh.creation.icosphere(5, 0.45)
    camera = make_camera(32, 32)
    seen = rasterize_mesh(make_mesh(ball.vertices, ball.faces), camera)
    columns, rows = np.meshgrid(np.arange(32) + 0.5, np.arange(32) + 0.5)
    ends = camera.unproject(np.stack([columns, rows], -1), np.ones((32, 32))) - camera.position
    unit = ends / np.linalg.norm(ends, axis=-1, keepdims=True)
    along = -(unit @ camera.position)
    off = np.sqrt(2.5**2 - along**2)
    assert seen.covered[off < 0.449].all()
    assert not seen.covered[off > 0.45].any()
    deep = off < 0.4
    expected = (along - np.sqrt(np.maximum(0.45**2 - off**2, 0))) * -(unit @ np.array([0, 0, 1.0]))
    np.testing.assert_allclose(seen.z[deep], expected[deep], atol=2e-3)


def test_triangle_around_the_camera_fills_the_frame() -> None:
    """A floor under the camera reaches from before to behind it: everything below the horizon is covered."""
    floor = make_mesh([[-1e4, -0.5, 1e4], [1e4, -0.5, 1e4], [0, -0.5, -1e5]], [[0, 1, 2]])
    camera = make_camera(64, 48, distance=0.0, fov=90)
    seen = rasterize_mesh(floor, camera)
    rows = np.arange(48) + 0.5
    below = rows > 24.5
    assert seen.covered[below].all()
    assert not seen.covered[rows < 24].any()
    expected = 0.5 * camera.fl_y / (rows[below] - 24)
    np.testing.assert_allclose(seen.z[below, 32], expected, rtol=1e-4)


def test_equal_depths_go_to_the_lower_face_and_empty_meshes_show_nothing() -> None:
    corners = [[-0.3, -0.3, 0], [0.3, -0.3, 0], [0, 0.3, 0]]
    seen = rasterize_mesh(make_mesh(corners, [[0, 1, 2], [0, 1, 2], [2, 1, 0]]), make_camera())
    assert set(np.unique(seen.face_id)) == {-1, 0}
    empty = rasterize_mesh(make_mesh(np.zeros((0, 3)), np.zeros((0, 3))), make_camera())
    assert not empty.covered.any()
    line = rasterize_mesh(make_mesh([[-0.3, 0, 0], [0, 0, 0], [0.3, 0, 0]], [[0, 1, 2]]), make_camera())
    assert not line.covered.any()


def test_views_in_threads_are_the_same_as_one_by_one() -> None:
    mesh = make_mesh(np.random.default_rng(0).normal(size=(30, 3)) * 0.2, np.arange(30).reshape(10, 3))
    cameras = [turned(make_camera(), seed) for seed in range(5)]
    for camera, seen in zip(cameras, rasterize_views(mesh, cameras), strict=True):
        np.testing.assert_array_equal(seen.face_id, rasterize_mesh(mesh, camera).face_id)


def test_wrong_indices_and_nan_are_named() -> None:
    with pytest.raises(ShapeError, match="Faces name vertices 0 to 3, the mesh has 3"):
        rasterize_mesh(make_mesh(np.zeros((3, 3)), [[0, 1, 3]]), make_camera())
    with pytest.raises(ShapeError, match="not finite"):
        rasterize_mesh(make_mesh(np.full((3, 3), np.nan), [[0, 1, 2]]), make_camera())
    assert to_clip(np.zeros((0, 3)), make_camera()).shape == (0, 3)
