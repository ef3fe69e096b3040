"""Renders against arithmetic and against the independent scoring tool's ray-cast renders."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from meshwright._warp import wp
from meshwright.colour import from_srgb8, linear_to_srgb, srgb_to_linear, to_srgb8
from meshwright.device import map_threads
from meshwright.errors import OptionError, ShapeError
from meshwright.rendering import (
    Fragments,
    Picture,
    contact_sheet,
    rasterize_mesh,
    render_coloured,
    render_normals,
    render_textured,
    render_wireframe,
    turntable_cameras,
)
from meshwright.rendering.pictures import colours_on_white, normals_on_white, wireframe_on_white
from meshwright.rendering.uploads import Uploads
from meshwright.types import Camera, ColouredMesh, Mesh, TexturedMesh

SHARED = Path(__file__).resolve().parents[3] / "shared"

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]


def make_camera(size: int = 64, distance: float = 2.5) -> Camera:
    pose = np.eye(4)
    pose[2, 3] = distance
    focal = 0.5 * size / np.tan(np.radians(13))
    return Camera(
        name="c", camera_to_world=pose, fl_x=focal, fl_y=focal, cx=size / 2, cy=size / 2, width=size, height=size
    )


def textured_quad(texture: np.ndarray, half: float = 0.4) -> TexturedMesh:
    """A square in the plane z = 0 that shows the whole texture, upright from the front."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32) * np.float32(half)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    return TexturedMesh(mesh=Mesh(vertices=corners, faces=faces), uv=uv, uv_faces=faces, base_color_srgb=texture)


def textured_ball(size: int = 96, seed: int = 0) -> TexturedMesh:
    """A bumpy ball whose faces have their own places in a smooth random texture."""
    trimesh = pytest.importorskip("trimesh")
    rng = np.random.default_rng(seed)
    ball = trimesh.creation.icosphere(3, 0.4)
    vertices = (ball.vertices * (1 + 0.15 * np.sin(9 * ball.vertices[:, :1]))).astype(np.float32)
    uv = rng.uniform(0.02, 0.98, (len(ball.faces), 1, 2)) + rng.uniform(-0.02, 0.02, (len(ball.faces), 3, 2))
    coarse = rng.random((7, 7, 3))
    grid = np.linspace(0, 5.99, size)
    i, f = grid.astype(int), (grid % 1)[:, None]
    rows = coarse[i] * (1 - f[..., None]) + coarse[i + 1] * f[..., None]
    texture = rows[:, i] * (1 - f[None]) + rows[:, i + 1] * f[None]
    return TexturedMesh(
        mesh=Mesh(vertices=vertices, faces=ball.faces.astype(np.int32)),
        uv=uv.reshape(-1, 2).astype(np.float32),
        uv_faces=np.arange(3 * len(ball.faces), dtype=np.int32).reshape(-1, 3),
        base_color_srgb=np.rint(texture * 255).astype(np.uint8),
    )


def test_transfer_curve_is_its_own_inverse_and_meets_known_points() -> None:
    codes = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_srgb8(from_srgb8(codes)), codes)
    np.testing.assert_allclose(srgb_to_linear(np.array([0.5, 1.0])), [0.21404114, 1.0], atol=1e-7)
    np.testing.assert_allclose(linear_to_srgb(np.array([-1.0, 0.0, 0.18, 2.0])), [0, 0, 0.46135613, 1], atol=1e-6)


def test_texture_lies_upright_and_is_blended_in_linear_light() -> None:
    """Red above, blue below, and half-way between them the mean of their light, not of their codes."""
    texture = np.array([[[255, 0, 0]] * 2, [[0, 0, 255]] * 2], np.uint8)
    camera = make_camera(64)
    picture = render_textured(textured_quad(texture), camera, supersample=1)
    top, bottom = 64 / 2 - 0.4 * camera.fl_y / 2.5, 64 / 2 + 0.4 * camera.fl_y / 2.5
    rows = np.arange(64) + 0.5
    inside = (rows > top) & (rows < bottom)
    v = (bottom - rows[inside]) / (bottom - top)
    y = (1 - v) * 2 - 0.5
    blend = y - np.floor(y)
    # Texel row -1 is row 1 again (the texture repeats).
    red = np.where(np.floor(y) == 0, 1 - blend, blend)
    np.testing.assert_allclose(picture.rgb[inside, 32, 0], red, atol=1e-5)
    np.testing.assert_allclose(picture.rgb[inside, 32, 2], 1 - red, atol=1e-5)
    assert (picture.alpha[inside, 32] == 1).all()
    assert (picture.rgb[~inside] == 0).all()


def test_edges_are_straight_colour_with_partial_alpha() -> None:
    texture = np.full((4, 4, 3), 200, np.uint8)
    picture = render_textured(textured_quad(texture), make_camera(63), supersample=4)
    partial = (picture.alpha > 0) & (picture.alpha < 1)
    assert partial.any()
    np.testing.assert_allclose(picture.rgb[picture.alpha > 0], from_srgb8(np.uint8(200)), atol=1e-6)
    over = picture.over(1.0)
    np.testing.assert_allclose(over[partial][:, 0], 200 / 255 * picture.alpha[partial] + 1 - picture.alpha[partial])
    # The quad's area in pixels is known, so the mean alpha is too.
    area = (0.8 * make_camera(63).fl_x / 2.5) ** 2
    assert abs(picture.alpha.sum() - area) < 0.01 * area


@pytest.mark.parametrize("device", DEVICES)
def test_supersampling_is_the_box_average_of_a_finer_render(device: str) -> None:
    ball = textured_ball()
    camera = make_camera(48)
    fine = render_textured(ball, camera.resized(144, 144), supersample=1, device=device)
    coarse = render_textured(ball, camera, supersample=3, device=device)
    alpha = fine.alpha.reshape(48, 3, 48, 3).mean((1, 3))
    np.testing.assert_allclose(coarse.alpha, alpha, atol=1e-6)
    total = (fine.rgb * fine.alpha[..., None]).reshape(48, 3, 48, 3, 3).mean((1, 3))
    np.testing.assert_allclose(coarse.rgb * coarse.alpha[..., None], total, atol=1e-6)


def test_agrees_with_the_independent_scoring_tool(tmp_path: Path) -> None:
    """The scorer casts rays with Embree through its own texture code."""
    if not (SHARED / "tools" / "score.py").exists():
        pytest.skip("the scoring tool is not beside the checkout (shared/tools/score.py)")
    trimesh = pytest.importorskip("trimesh")
    spec = importlib.util.spec_from_file_location("score", SHARED / "tools" / "score.py")
    assert spec is not None and spec.loader is not None
    score = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(score)
    from PIL import Image

    ball = textured_ball()
    corners = ball.mesh.vertices[ball.mesh.faces].reshape(-1, 3)
    visual = trimesh.visual.TextureVisuals(
        uv=ball.uv,
        material=trimesh.visual.material.PBRMaterial(
            baseColorTexture=Image.fromarray(ball.base_color_srgb), metallicFactor=0.0, roughnessFactor=1.0
        ),
    )
    made = trimesh.Trimesh(corners, ball.uv_faces, visual=visual, process=False)
    made.export(tmp_path / "ball.glb")
    camera = replace(make_camera(128), cx=61.0, fl_y=250.0)
    cam = {
        "c2w": camera.camera_to_world, "w": 128, "h": 128,
        "fx": camera.fl_x, "fy": camera.fl_y, "cx": camera.cx, "cy": camera.cy,
    }  # fmt: skip
    theirs, alpha = score.render(score.Model(str(tmp_path / "ball.glb")), cam)
    picture = render_textured(ball, camera)
    assert np.abs(picture.alpha - alpha).mean() < 1e-4
    assert np.abs(picture.over(1.0) - theirs).mean() < 0.2 / 255


def test_vertex_colours_are_blended_in_linear_light() -> None:
    corners = np.array([[-0.4, -0.4, 0], [0.4, -0.4, 0], [0, 0.4, 0]], np.float32)
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    mesh = Mesh(vertices=corners, faces=np.array([[0, 1, 2]], np.int32))
    camera = make_camera()
    picture = render_coloured(ColouredMesh(mesh=mesh, colors_srgb=colors), camera, supersample=1)
    np.testing.assert_allclose(picture.rgb, rasterize_mesh(mesh, camera).bary, atol=1e-6)


def test_normals_of_a_plane_and_a_ball() -> None:
    flat = render_normals(textured_quad(np.zeros((1, 1, 3), np.uint8)).mesh, make_camera())
    seen = linear_to_srgb(flat.rgb[flat.alpha == 1])
    np.testing.assert_allclose(seen, np.broadcast_to([0.5, 0.5, 1.0], seen.shape), atol=1e-5)


@pytest.mark.gpu
def test_a_gpu_draws_the_same_pictures() -> None:
    """Fused multiplications may round otherwise, so a few pixels on edges may differ."""
    ball = textured_ball()
    camera = make_camera(96)
    for draw in (render_textured, lambda m, c, device: render_wireframe(m.mesh, c, device=device)):
        one, other = draw(ball, camera, device="cpu"), draw(ball, camera, device="cuda:0")
        assert np.abs(one.alpha - other.alpha).mean() < 1e-4
        assert np.abs(one.over(1.0) - other.over(1.0)).mean() < 1e-3


@pytest.mark.gpu
def test_threads_of_a_gpu_draw_what_one_draws() -> None:
    ball = textured_ball()
    cameras = [make_camera(64 + 8 * (i % 5)) for i in range(40)]

    def draw(camera: Camera) -> tuple[Picture, Fragments]:
        return render_textured(ball, camera, device="cuda:0"), rasterize_mesh(ball.mesh, camera, device="cuda:0")

    alone, together = [draw(camera) for camera in cameras], map_threads(draw, cameras, device="cuda:0")
    for (one, fragments), (other, others) in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.rgb, other.rgb)
        np.testing.assert_array_equal(one.alpha, other.alpha)
        np.testing.assert_array_equal(fragments.face_id, others.face_id)


@pytest.mark.parametrize("device", DEVICES)
def test_what_a_device_puts_on_white_is_what_the_host_would(device: str) -> None:
    """One upload serves all pictures; roots differ in their last bit, so a code at a rounding edge may too."""
    ball, camera = textured_ball(), make_camera(48)
    coloured = ColouredMesh(mesh=ball.mesh, colors_srgb=to_srgb8(np.abs(ball.mesh.vertices) * 2))
    uploads = Uploads(device)
    for drawn, picture in (
        (colours_on_white(ball, camera, uploads), render_textured(ball, camera, device=device, uploads=uploads)),
        (colours_on_white(coloured, camera, uploads), render_coloured(coloured, camera, device=device)),
        (normals_on_white(ball.mesh, camera, uploads), render_normals(ball.mesh, camera, device=device)),
        (wireframe_on_white(ball.mesh, camera, uploads), render_wireframe(ball.mesh, camera, device=device)),
    ):
        assert drawn.dtype == np.uint8 and (drawn[0] == 255).all()
        off = np.abs(drawn - np.rint(picture.over(1.0) * 255))
        assert off.max() <= 1 and (off > 0).mean() < 0.001


def test_uploads_are_made_once_and_told_apart() -> None:
    uploads, one, other = Uploads("cpu"), np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
    made = map_threads(lambda _: uploads.array(one, wp.vec3), range(8))
    assert all(array is made[0] for array in made)
    np.testing.assert_array_equal(uploads.array(other, wp.vec3).numpy(), other)
    np.testing.assert_array_equal(made[0].numpy(), one)


def test_wireframe_shows_edges_where_they_are() -> None:
    mesh = textured_quad(np.zeros((1, 1, 3), np.uint8)).mesh
    image = render_wireframe(mesh, make_camera(65)).over(1.0)
    # The diagonal of the quad runs from bottom left to top right through the middle of the frame.
    assert image[32, 32].max() < 0.75
    assert image[32, 24].min() > 0.85
    assert image[0, 0].min() == 1


def test_turntable_cameras_frame_the_mesh() -> None:
    mesh = replace(textured_ball().mesh, vertices=textured_ball().mesh.vertices * 3 + np.float32(1))
    cameras = turntable_cameras(mesh, size=200)
    assert [camera.name for camera in cameras] == [f"turntable_{i:02d}" for i in range(8)]
    for camera in cameras:
        np.testing.assert_allclose(np.linalg.det(camera.camera_to_world[:3, :3]), 1, atol=1e-12)
        pixels, z = camera.project(mesh.vertices)
        assert (z > 0).all()
        assert pixels.min() > 0 and pixels.max() < 200
        assert np.ptp(pixels, 0).max() > 140
    # Up is up in the picture.
    up = cameras[0].project(np.array([[1.0, 1.0, 1.0], [1.0, 1.5, 1.0]]))[0]
    assert up[1, 1] < up[0, 1]


def test_contact_sheet_places_pictures() -> None:
    pictures = [np.full((4, 6, 3), 10 * i, np.uint8) for i in range(3)]
    sheet = contact_sheet(pictures, 2, gap=1)
    assert sheet.shape == (11, 15, 3)
    assert (sheet[1:5, 1:7] == 0).all() and (sheet[1:5, 8:14] == 10).all() and (sheet[6:10, 1:7] == 20).all()
    assert (sheet[6:10, 8:14] == 255).all()
    assert contact_sheet(pictures, 2, labels=["a", "b", "c"]).shape[0] > sheet.shape[0]
    with pytest.raises(ShapeError, match="3 pictures and 1 labels"):
        contact_sheet(pictures, 2, labels=["a"])


def test_faults_are_named() -> None:
    quad = textured_quad(np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(OptionError, match="supersample=0"):
        render_textured(quad, make_camera(), supersample=0)
    with pytest.raises(ShapeError, match="uint8"):
        render_textured(replace(quad, base_color_srgb=np.zeros((2, 2, 3), np.float32)), make_camera())
    with pytest.raises(ShapeError, match="uv has 1 faces, the mesh 2"):
        render_textured(replace(quad, uv_faces=quad.uv_faces[:1]), make_camera())
    with pytest.raises(ShapeError, match=r"Faces name entries 0 to 3 of uv, there are 3\."):
        render_textured(replace(quad, uv=quad.uv[:3]), make_camera())
