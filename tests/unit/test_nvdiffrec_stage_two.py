"""Stage two: known materials under a known light come back from pictures, and renders of the files are lit alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from meshwright.colour import to_srgb8
from meshwright.device import map_threads
from meshwright.errors import Cancelled, OptionError, ShapeError
from meshwright.export import export_result, load_textured
from meshwright.geometry import AtlasConfig, unwrap
from meshwright.models import get_model
from meshwright.models.nvdiffrec.stage_two.charts import continued, resized, vertex_picture
from meshwright.models.nvdiffrec.stage_two.config import LIGHTING, LightingConfig, lighting_of
from meshwright.models.nvdiffrec.stage_two.lit import fit_lighting
from meshwright.models.nvdiffrec.stage_two.samples import collect
from meshwright.quality import judge
from meshwright.rendering import render_textured
from meshwright.rendering.light import EnvironmentLight
from meshwright.rendering.lit import light_maps, render_lit, render_points
from meshwright.rendering.uploads import Uploads
from meshwright.texture import TextureConfig, bake_texture
from meshwright.types import Array, Camera, MaskSource, MaterialMaps, Mesh, SilentMonitor, TexturedMesh, View, ViewSet
from scenes import six

SIZE = 80
CAMERAS = six(SIZE)
WHITE = np.ones((16, 32, 3), np.float32)
CONFIG = LightingConfig(steps=100, batch=4096, texture=64, light=16)


def lamp(direction: Array) -> Array:
    """A warm lamp from the upper left over a dim sky."""
    towards = np.array([0.5, 0.6, 0.62]) / np.linalg.norm([0.5, 0.6, 0.62])
    return np.asarray(0.4 + 3 * np.exp(12 * (direction @ towards - 1))[:, None] * [1.0, 0.9, 0.8])


def ball(orm: tuple[int, int, int] = (255, 80, 0), light: Array = WHITE) -> TexturedMesh:
    """A ball in two colours."""
    made = trimesh.creation.icosphere(subdivisions=3, radius=0.45)
    mesh = Mesh(vertices=made.vertices.astype(np.float32), faces=made.faces.astype(np.int32))
    atlas = unwrap(mesh, AtlasConfig(texture_size=128))
    shade, _ = vertex_picture(
        TexturedMesh(mesh=mesh, uv=atlas.uv, uv_faces=atlas.uv_faces, base_color_srgb=np.zeros((1, 1, 3), np.uint8)),
        mesh.vertices[:, :1],
        128,
        "cpu",
    )
    colour = np.where(shade[::-1] > 0, np.array([0.6, 0.2, 0.1]), np.array([0.2, 0.35, 0.5]))
    return TexturedMesh(
        mesh=mesh,
        uv=atlas.uv,
        uv_faces=atlas.uv_faces,
        base_color_srgb=to_srgb8(colour),
        material=MaterialMaps(orm=np.broadcast_to(np.array(orm, np.uint8), (4, 4, 3)), light=light),
    )


def views_of(textured: TexturedMesh) -> tuple[View, ...]:
    pictures = [render_lit(textured, camera) for camera in CAMERAS]
    return tuple(
        View(
            name=camera.name,
            rgb=np.clip(picture.rgb, 0, 1),
            mask=picture.alpha,
            mask_source=MaskSource.ALPHA,
            background=np.ones((SIZE, SIZE, 3), np.float32),
        )
        for camera, picture in zip(CAMERAS, pictures, strict=True)
    )


def test_under_white_light_a_matt_surface_shows_its_base_colour() -> None:
    textured = ball((255, 255, 0))
    plain, lit = render_textured(textured, CAMERAS[0]), render_lit(textured, CAMERAS[0])
    np.testing.assert_array_equal(lit.alpha, plain.alpha)
    # What is mirrored (4 %, at grazing angles more) is white and missing in what is scattered.
    inside = plain.alpha == 1
    middle = inside & (np.hypot(*(np.mgrid[:SIZE, :SIZE] - SIZE / 2)) < SIZE / 5)
    off = lit.rgb - plain.rgb
    assert np.abs(off[middle]).max() < 0.04 and (off[inside] > -0.01).all()


def test_a_mirror_shows_the_light_where_it_is() -> None:
    """Looking along -Z at a ball, its middle mirrors what is behind the camera: +Z, the edges of the panorama."""
    light = np.full((32, 64, 3), 0.1, np.float32)
    light[12:20, :4] = light[12:20, -4:] = 5.0
    mirror = replace(ball((255, 0, 255), light), base_color_srgb=np.full((8, 8, 3), 255, np.uint8))
    front = next(camera for camera in CAMERAS if camera.position[2] > 1)
    picture = render_lit(mirror, front)
    row, column = np.unravel_index(picture.rgb[..., 0].argmax(), (SIZE, SIZE))
    assert abs(row - SIZE / 2) < 6 and abs(column - SIZE / 2) < 6
    other = next(camera for camera in CAMERAS if camera.position[2] < -1)
    assert render_lit(mirror, other).rgb[SIZE // 2, SIZE // 2].max() < 0.3


def test_one_upload_serves_all_pictures_of_a_mesh() -> None:
    textured, uploads = ball((255, 90, 200)), Uploads("cpu")
    shared = map_threads(lambda camera: render_lit(textured, camera, uploads=uploads), CAMERAS[:3])
    for picture, camera in zip(shared, CAMERAS[:3], strict=True):
        alone = render_lit(textured, camera)
        np.testing.assert_allclose(picture.rgb, alone.rgb, atol=1e-6)
        np.testing.assert_array_equal(picture.alpha, alone.alpha)


def test_normal_maps_bend_along_the_texture() -> None:
    """A map that leans by +45 degrees along v on a square whose v is up."""
    corners = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    lean = np.broadcast_to(np.array([128, 218, 218], np.uint8), (4, 4, 3))
    square = TexturedMesh(
        mesh=Mesh(vertices=corners, faces=faces),
        uv=corners[:, :2] + 0.5,
        uv_faces=faces,
        base_color_srgb=np.zeros((4, 4, 3), np.uint8),
        material=MaterialMaps(orm=np.full((4, 4, 3), 255, np.uint8), normal=lean, light=WHITE),
    )
    seen: list[torch.Tensor] = []
    front = next(camera for camera in CAMERAS if camera.position[2] > 1)

    def keep(at: object) -> torch.Tensor:
        seen.append(at.normal)  # type: ignore[attr-defined]
        return at.normal  # type: ignore[attr-defined]

    render_points(square, front, keep)
    np.testing.assert_allclose(seen[0].numpy(), np.tile([0, 0.5**0.5, 0.5**0.5], (len(seen[0]), 1)), atol=0.01)
    mirrored = replace(square, uv=square.uv * [-1, 1] + [1, 0])
    render_points(mirrored, front, keep)
    np.testing.assert_allclose(seen[1].numpy()[:, 1:], np.full((len(seen[1]), 2), 0.5**0.5), atol=0.01)


def test_materials_come_back_and_files_look_like_the_views(tmp_path: Path) -> None:
    light = EnvironmentLight.of(lamp, 16).latlong(64).detach().numpy()
    truth = ball((255, 90, 0), light)
    views = views_of(truth)
    atlas = unwrap(truth.mesh, AtlasConfig(texture_size=128))
    baked = bake_texture(truth.mesh, atlas, views, CAMERAS, TextureConfig(size=128), SilentMonitor(), "cpu")
    found = fit_lighting(baked, views, CAMERAS, CONFIG, SilentMonitor(), "cpu")
    files = export_result(found.textured, CAMERAS, [c.name for c in CAMERAS], tmp_path)
    look = judge(tmp_path, ViewSet(views=views), files.cameras)
    assert look.mean["psnr"] > 40  # baked: 35.7 dB
    ours, same = (load_textured(tmp_path / name) for name in ("mesh.obj", "mesh.glb"))
    assert isinstance(ours, TexturedMesh) and isinstance(same, TexturedMesh)
    pair = [render_lit(mesh, CAMERAS[0]).rgb for mesh in (ours, same)]
    np.testing.assert_allclose(pair[0], pair[1], rtol=0, atol=1e-3)
    material = found.textured.material
    assert material is not None and (material.orm[..., 0] == 255).all()
    assert found.report["lighting"] == "pbr"
    # Under another light the truth is nearer than without stage two.
    other = light_maps(np.ascontiguousarray(light[::-1, ::-1]))
    matt = replace(baked, material=MaterialMaps(orm=np.full((4, 4, 3), [255, 255, 0], np.uint8), light=WHITE))
    off = [relit_error(mesh, truth, other) for mesh in (ours, matt)]
    assert off[0] < 0.85 * off[1]


def relit_error(mesh: TexturedMesh, truth: TexturedMesh, light: object) -> float:
    """Mean difference of renders under a light after the best common factor."""
    pairs = [[render_lit(m, camera, light=light).rgb for m in (mesh, truth)] for camera in CAMERAS]  # type: ignore[arg-type]
    ours, real = (np.stack(pictures) for pictures in zip(*pairs, strict=True))
    factor = (ours * real).sum() / (ours * ours).sum()
    return float(np.abs(factor * ours - real).mean())


def test_the_same_input_gives_the_same_result() -> None:
    truth = ball()
    views = views_of(truth)
    config = replace(CONFIG, steps=6)
    one, two = (
        fit_lighting(replace(truth, material=None), views, CAMERAS, config, SilentMonitor(), "cpu") for _ in "ab"
    )
    assert one.textured.material is not None and two.textured.material is not None
    np.testing.assert_array_equal(one.textured.base_color_srgb, two.textured.base_color_srgb)
    np.testing.assert_array_equal(one.textured.material.orm, two.textured.material.orm)
    np.testing.assert_array_equal(one.textured.material.light, two.textured.material.light)


def test_pixels_carry_what_lies_under_them() -> None:
    truth = ball()
    samples = collect(
        truth, views_of(truth), CAMERAS, pixels=64, most=600, seed=0, monitor=SilentMonitor(), device="cpu"
    )
    assert samples is not None and len(samples.face) == 600
    at, face = samples.drawn(500, torch.Generator().manual_seed(0))
    # On a ball about the origin the normal is where the triangle stands.
    middle = truth.mesh.vertices[truth.mesh.faces[face.numpy()]].mean(1)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    assert (middle * at["normal"].numpy()).sum(1).min() > 0.97
    assert float((at["normal"] * at["view"]).sum(1).min()) > 0
    assert float((at["normal"] * at["tangent"][:, :3]).sum(1).abs().max()) < 0.1
    assert 30 < samples.texels < 600


def test_views_without_the_mesh_leave_it_as_it_is() -> None:
    truth = replace(ball(), material=None)
    empty = tuple(replace(view, mask=np.zeros_like(view.mask)) for view in views_of(ball()))
    found = fit_lighting(truth, empty, CAMERAS, CONFIG, SilentMonitor(), "cpu")
    assert found.textured is truth and "No light was fitted" in found.warnings[0]


def test_a_wish_to_stop_is_heard_between_steps() -> None:
    class Stop:
        calls = 0

        def report(self, percent: float, step: str) -> None:
            del percent, step

        def check(self) -> None:
            self.calls += 1
            if self.calls > 10:
                raise Cancelled("stop")

    with pytest.raises(Cancelled):
        fit_lighting(replace(ball(), material=None), views_of(ball()), CAMERAS, CONFIG, Stop(), "cpu")


def test_gaps_take_the_nearest_texel() -> None:
    picture = np.zeros((4, 4, 1), np.float32)
    picture[0, 0], picture[3, 3] = 1, 2
    known = picture[..., 0] > 0
    filled = continued(picture, known)[..., 0]
    assert filled[0, 1] == filled[1, 0] == 1 and filled[3, 2] == filled[2, 3] == 2
    assert continued(picture, np.zeros((4, 4), bool)) is picture
    np.testing.assert_allclose(resized(picture, 2)[..., 0], [[0.25, 0], [0, 0.5]])
    assert resized(picture, 8).shape == (8, 8, 1)


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(OptionError, match=r"light_rate=-1.*steps=0"):
        LightingConfig(light_rate=-1, steps=0)
    with pytest.raises(ShapeError, match="no material"):
        render_lit(replace(ball(), material=None), CAMERAS[0])
    with pytest.raises(OptionError, match="supersample=0"):
        render_lit(ball(), CAMERAS[0], supersample=0)
    with pytest.raises(OptionError, match="hull does not tell materials from light"):
        get_model("hull").relight(ball(), ViewSet(views=()), (), "draft", SilentMonitor())
    assert set(LIGHTING) == {"draft", "standard", "high"}
    assert lighting_of("draft", "cpu") == LIGHTING["draft"]
    assert lighting_of("draft", "cuda:1") == replace(LIGHTING["draft"], batch=81_920)


def test_the_model_fits_on_its_device() -> None:
    truth = ball()
    views = ViewSet(views=views_of(truth))
    heard: list[float] = []

    class Ear:
        def report(self, percent: float, step: str) -> None:
            del step
            heard.append(percent)
            if percent > 6:
                raise Cancelled("enough")

        def check(self) -> None: ...

    cameras: tuple[Camera, ...] = CAMERAS
    with pytest.raises(Cancelled, match="enough"):
        get_model("nvdiffrec", device="cpu").relight(replace(truth, material=None), views, cameras, "draft", Ear())
    assert heard == sorted(heard)
