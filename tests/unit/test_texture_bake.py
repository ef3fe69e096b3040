"""Baking: colours land where they belong, background never bleeds, unseen sides look plausible, ghosts do not appear.

The views are painted by a formula: the colour at each pixel is a function of the surface point under it, so that the
right colour of every texel is known.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from meshwright.colour import linear_to_srgb
from meshwright.errors import Cancelled, OptionError, ShapeError
from meshwright.geometry.atlas import Atlas, AtlasConfig, unwrap
from meshwright.rendering import render_textured
from meshwright.texture import TextureConfig, bake_texture, blend_texture
from meshwright.texture.surface import build_graph
from meshwright.texture.texels import Texels, find_texels
from meshwright.types import Array, Camera, ColouredMesh, MaskSource, Mesh, SilentMonitor, TexturedMesh, View
from texture_scenes import CAMERAS, RIGHT_UP_BACK, ball, camera, paint, stripes

SIZE = 256
FAST = TextureConfig(size=SIZE)


def laid_out(mesh: Mesh, size: int = SIZE) -> tuple[Atlas, Texels]:
    atlas = unwrap(mesh, AtlasConfig(texture_size=size))
    return atlas, find_texels(mesh, atlas.uv, atlas.uv_faces, size, build_graph(mesh), device="cpu")


def places(mesh: Mesh, texels: Texels) -> Array:
    """Where the texels inside of charts lie in space, [M, 3]."""
    graph = build_graph(mesh).mesh
    inside = texels.inside
    corners = graph.vertices[graph.faces[texels.graph_face[inside]]]
    return (texels.graph_bary[inside, :, None] * corners).sum(1)


def linear(codes: Array) -> Array:
    x = codes / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def baked_colours(textured: TexturedMesh, texels: Texels) -> Array:
    """Linear colour of each texel inside a chart, [M, 3]."""
    return linear(textured.base_color_srgb.reshape(-1, 3)[texels.index[texels.inside]])


def psnr(a: Array, b: Array) -> float:
    return float(-10 * np.log10(((a - b) ** 2).mean()))


@pytest.fixture(scope="module")
def painted_ball() -> tuple[Mesh, Atlas, Texels, list[View], TexturedMesh]:
    mesh = ball()
    atlas, texels = laid_out(mesh)
    views = paint(mesh, CAMERAS)
    return mesh, atlas, texels, views, bake_texture(mesh, atlas, views, CAMERAS, FAST)


def test_every_texel_gets_its_colour(painted_ball: tuple[Mesh, Atlas, Texels, list[View], TexturedMesh]) -> None:
    mesh, _, texels, _, textured = painted_ball
    truth = stripes(places(mesh, texels))
    assert psnr(baked_colours(textured, texels), truth) > 45
    # The worst texel is as far off as the stripes change over two pixels: 0.3 * 12 * 2 / 415.
    assert np.abs(baked_colours(textured, texels) - truth).max() < 0.03


def test_a_ball_is_seen_all_over(painted_ball: tuple[Mesh, Atlas, Texels, list[View], TexturedMesh]) -> None:
    _, _, texels, _, textured = painted_ball
    assert textured.seen is not None
    assert textured.seen.reshape(-1)[texels.index[texels.inside]].all()
    assert not textured.seen.reshape(-1)[texels.index[~texels.inside]].any()
    assert textured.seen.sum() == texels.inside.sum()


def test_renders_repeat_the_views(painted_ball: tuple[Mesh, Atlas, Texels, list[View], TexturedMesh]) -> None:
    _, _, _, views, textured = painted_ball
    for view, one in zip(views, CAMERAS, strict=True):
        picture = render_textured(textured, one, supersample=1)
        inside = (view.mask > 0.99) & (picture.alpha > 0.99)
        assert psnr(picture.rgb[inside], view.rgb[inside]) > 45


def test_the_fit_to_the_pixels_sharpens() -> None:
    """Stripes two to three pixels wide: looking them up twice blurs them, comparing with the views brings them back."""
    mesh = ball()
    atlas = unwrap(mesh, AtlasConfig(texture_size=SIZE))

    def fine(points: Array) -> Array:
        return 0.5 + 0.4 * np.sin(150 * points[..., [0, 1, 2]])

    views = paint(mesh, CAMERAS, fine)
    scores = []
    for stiff in (1000.0, FAST.stiff):
        textured = bake_texture(mesh, atlas, views, CAMERAS, replace(FAST, stiff=stiff, hold=stiff))
        pictures = [render_textured(textured, one, supersample=1).rgb for one in CAMERAS]
        trusted = [v.mask > 0.99 for v in views]
        scores.append(np.mean([psnr(p[t], v.rgb[t]) for p, v, t in zip(pictures, views, trusted, strict=True)]))
    assert scores[1] > scores[0] + 1.5


def test_background_never_bleeds() -> None:
    """White object, magenta background, and cameras half a per cent off: not one magenta texel."""
    mesh = ball()
    atlas, _ = laid_out(mesh)
    white = paint(mesh, CAMERAS, lambda points: np.full_like(points, 0.9))
    off = [replace(one, cx=one.cx + 1.0, cy=one.cy - 0.7) for one in CAMERAS]
    textured = bake_texture(mesh, atlas, white, off, FAST)
    assert linear(textured.base_color_srgb).min() > 0.88


def test_what_lies_behind_is_not_painted_by_what_lies_in_front() -> None:
    """A red plate before a green one: the green one keeps its colour where the red one hides it."""
    plate = trimesh.creation.box(extents=(0.8, 0.8, 0.05)).subdivide().subdivide()
    small = trimesh.creation.box(extents=(0.3, 0.3, 0.05)).subdivide().subdivide()
    small.apply_translation((0, 0, 0.2))
    both = trimesh.util.concatenate([plate, small])
    mesh = Mesh(vertices=both.vertices.astype(np.float32), faces=both.faces.astype(np.int32))
    red, green = np.array([0.8, 0.1, 0.1]), np.array([0.1, 0.8, 0.1])
    views = paint(mesh, CAMERAS, lambda points: np.where(points[..., 2:] > 0.1, red, green))
    atlas, texels = laid_out(mesh)
    textured = bake_texture(mesh, atlas, views, CAMERAS, FAST)
    colours = baked_colours(textured, texels)
    place = places(mesh, texels)
    behind = place[:, 2] < 0.1
    np.testing.assert_allclose(colours[behind], np.broadcast_to(green, (behind.sum(), 3)), atol=0.01)
    np.testing.assert_allclose(colours[~behind], np.broadcast_to(red, ((~behind).sum(), 3)), atol=0.01)
    # The shadow of the small plate on the large one was seen by nobody.
    assert textured.seen is not None
    seen = textured.seen.reshape(-1)[texels.index[texels.inside]]
    hidden = (np.abs(place[:, :2]).max(1) < 0.13) & (np.abs(place[:, 2] - 0.025) < 1e-3)
    assert hidden.any() and not seen[hidden].any()


def test_unseen_sides_go_on_like_the_seen_ones() -> None:
    """Only the front is photographed: red above, blue below. The back goes on red above, blue below."""
    mesh = ball()
    red, blue = np.array([0.8, 0.1, 0.1]), np.array([0.1, 0.1, 0.8])
    front = [CAMERAS[0]]
    views = paint(mesh, front, lambda points: np.where(points[..., 1:2] > 0, red, blue))
    atlas, texels = laid_out(mesh)
    textured = bake_texture(mesh, atlas, views, front, FAST)
    colours, place = baked_colours(textured, texels), places(mesh, texels)
    upper, lower = place[:, 1] > 0.08, place[:, 1] < -0.08
    np.testing.assert_allclose(colours[upper], np.broadcast_to(red, (upper.sum(), 3)), atol=0.08)
    np.testing.assert_allclose(colours[lower], np.broadcast_to(blue, (lower.sum(), 3)), atol=0.08)
    assert textured.seen is not None
    # At this distance a fifth of the way is lost to the horizon, and grazing looks and silhouettes do not count.
    assert 0.25 < textured.seen.sum() / texels.inside.sum() < 0.42


def test_what_no_view_sees_takes_the_colours_that_are_believed() -> None:
    """Only the front is photographed; the model believes in the right stripes, three fifths as bright, behind."""
    mesh = ball()
    front = [CAMERAS[0]]
    views = paint(mesh, front)
    atlas, texels = laid_out(mesh)
    other = ball(subdivisions=5)
    dim = linear_to_srgb((0.6 * stripes(other.vertices)).astype(np.float32))
    believed = ColouredMesh(mesh=other, colors_srgb=np.rint(255 * dim).astype(np.uint8))
    textured = bake_texture(mesh, atlas, views, front, FAST, unseen=believed)
    plain = bake_texture(mesh, atlas, views, front, FAST)
    truth = stripes(places(mesh, texels))
    behind = places(mesh, texels)[:, 2] < -0.05
    assert psnr(baked_colours(textured, texels)[behind], truth[behind]) > 28
    assert psnr(baked_colours(plain, texels)[behind], truth[behind]) < 20
    assert textured.seen is not None
    seen = textured.seen.reshape(-1)[texels.index[texels.inside]]
    np.testing.assert_allclose(baked_colours(textured, texels)[seen], baked_colours(plain, texels)[seen], atol=0.05)
    assert not seen[behind].any()


@pytest.mark.parametrize(("average", "contrast"), [(0.0, 0.85), (0.6, 0.7)])
def test_views_that_contradict_each_other_make_no_ghosts(average: float, contrast: float) -> None:
    """Fine stripes, each view shifted by some pixels: a mean would be flat, one view per region keeps the contrast."""
    mesh = ball()
    random = np.random.default_rng(0)

    def fine(points: Array) -> Array:
        return 0.5 + 0.4 * np.sign(np.sin(60 * points[..., [1, 1, 1]] + 30 * points[..., [0, 0, 0]]))

    views = paint(mesh, CAMERAS, fine)
    off = [replace(c, cx=c.cx + random.uniform(-3, 3), cy=c.cy + random.uniform(-3, 3)) for c in CAMERAS]
    atlas, texels = laid_out(mesh)
    colours = baked_colours(bake_texture(mesh, atlas, views, off, replace(FAST, average=average)), texels)
    assert np.abs(colours - 0.5).mean() > contrast * 0.4


def test_exposures_are_evened_out() -> None:
    """Every view brighter or darker by up to 15 %: matched, the seams are gone but for one common factor."""
    mesh = ball()
    gains = [1.15, 0.9, 1.0, 1.1, 0.87, 1.0]
    views = [
        replace(view, rgb=view.rgb * np.float32(gain)) for view, gain in zip(paint(mesh, CAMERAS), gains, strict=True)
    ]
    atlas, texels = laid_out(mesh)
    truth = stripes(places(mesh, texels))
    spread = []
    for match in (False, True):
        textured = bake_texture(mesh, atlas, views, CAMERAS, replace(FAST, match_exposure=match))
        colours = baked_colours(textured, texels)
        ratio = np.log((colours + 0.01) / (truth + 0.01))
        spread.append(float(ratio.std()))
    assert spread[1] < 0.35 * spread[0]


def test_pictures_of_another_size_than_the_camera(
    painted_ball: tuple[Mesh, Atlas, Texels, list[View], TexturedMesh],
) -> None:
    mesh, atlas, _, views, textured = painted_ball
    doubled = [one.resized(2 * one.width, 2 * one.height) for one in CAMERAS]
    again = bake_texture(mesh, atlas, views, doubled, FAST)
    np.testing.assert_array_equal(again.base_color_srgb, textured.base_color_srgb)


def test_views_finer_than_the_texture_are_averaged() -> None:
    """One-pixel dust on a picture three times finer than the texels: its mean arrives, not what sampling happens on."""
    mesh = ball()
    atlas, texels = laid_out(mesh, 128)
    cameras = [camera(name, 512) for name in RIGHT_UP_BACK]
    random = np.random.default_rng(0)
    views = [
        replace(view, rgb=np.where(view.mask[..., None] > 0, dust, view.rgb).astype(np.float32))
        for view, dust in zip(paint(mesh, cameras), random.choice([0.1, 0.9], (len(cameras), 512, 512, 1)), strict=True)
    ]
    colours = baked_colours(bake_texture(mesh, atlas, views, cameras, TextureConfig(size=128)), texels)
    assert colours.mean() == pytest.approx(0.5, abs=0.02)
    assert colours.std() < 0.5 * 0.4


def test_a_blend_is_the_mean_of_what_views_see() -> None:
    """Every view of the grey ball is a little brighter than the one before. What only one sees has its grey."""
    mesh = ball()
    atlas, texels = laid_out(mesh)
    greys = np.linspace(0.3, 0.5, len(CAMERAS))
    views = [
        paint(mesh, [camera], lambda points, grey=grey: np.full(points.shape, grey))[0]
        for camera, grey in zip(CAMERAS, greys, strict=True)
    ]
    textured = blend_texture(mesh, atlas, views, CAMERAS, SIZE)
    colours = baked_colours(textured, texels)
    assert greys[0] - 0.01 < colours.min() < colours.mean() < colours.max() < greys[-1] + 0.01
    assert abs(colours.mean() - greys.mean()) < 0.02
    assert textured.seen is not None and textured.seen.any()

    front = blend_texture(mesh, atlas, views[:1], CAMERAS[:1], SIZE)
    assert front.seen is not None and 0 < front.seen.sum() < textured.seen.sum()
    np.testing.assert_allclose(baked_colours(front, texels), greys[0], atol=0.01)  # where nothing is seen, the mean


def test_a_blend_of_blank_views_is_grey() -> None:
    mesh = ball(subdivisions=2)
    views = [replace(v, mask=np.zeros_like(v.mask)) for v in paint(mesh, CAMERAS[:2])]
    atlas, _ = laid_out(mesh)
    textured = blend_texture(mesh, atlas, views, CAMERAS[:2], SIZE)
    assert textured.seen is not None and not textured.seen.any()
    assert np.ptp(textured.base_color_srgb) == 0


def test_blank_views_give_a_plain_texture() -> None:
    """Nothing seen at all: grey, and no warning from NumPy."""
    mesh = ball(subdivisions=2)
    views = [replace(v, mask=np.zeros_like(v.mask)) for v in paint(mesh, CAMERAS[:2])]
    atlas, _ = laid_out(mesh)
    textured = bake_texture(mesh, atlas, views, CAMERAS[:2], FAST)
    assert textured.seen is not None and not textured.seen.any()
    assert np.ptp(textured.base_color_srgb) == 0


def test_stopping() -> None:
    mesh = ball(subdivisions=2)
    atlas, _ = laid_out(mesh)
    with pytest.raises(Cancelled):
        bake_texture(mesh, atlas, paint(mesh, CAMERAS), CAMERAS, FAST, SilentMonitor(should_stop=lambda: True))


def test_what_does_not_fit_together_is_said() -> None:
    mesh = ball(subdivisions=2)
    atlas, _ = laid_out(mesh)
    views = paint(mesh, CAMERAS)
    with pytest.raises(ShapeError, match="6 views and 5 cameras"):
        bake_texture(mesh, atlas, views, CAMERAS[:5], FAST)
    with pytest.raises(ShapeError, match="atlas has 320 faces, the mesh 1280"):
        bake_texture(ball(subdivisions=3), atlas, views, CAMERAS, FAST)
    with pytest.raises(OptionError, match=r"size=8 .*erode=-1 .*average=1.5 .*doubt=-2 "):
        TextureConfig(size=8, erode=-1, average=1.5, doubt=-2)


def test_true_geometry_reaches_the_photographs(shared: object) -> None:
    """The cow of the sample data, at half size to be quick: novel views close to what the noise in them allows."""
    import json
    from pathlib import Path

    from PIL import Image

    folder = Path(str(shared)) / "data" / "spot"

    def read(name: str) -> tuple[list[View], list[Camera]]:
        table = json.loads((folder / name).read_text())
        views, cameras = [], []
        for frame in table["frames"]:
            image = (
                Image.open(folder / (frame["file_path"] + ".png"))
                .convert("RGBA")
                .resize((256, 256), Image.Resampling.BOX)
            )
            pixels = np.asarray(image, np.float32) / 255
            focal = 128 / np.tan(table["camera_angle_x"] / 2)
            rgb = linear(255 * pixels[..., :3]).astype(np.float32)
            views.append(
                View(
                    name=frame["file_path"],
                    rgb=rgb,
                    mask=np.ascontiguousarray(pixels[..., 3]),
                    mask_source=MaskSource.ALPHA,
                    background=np.ones_like(rgb),
                )
            )
            pose = np.array(frame["transform_matrix"], float)
            cameras.append(
                Camera(name="", camera_to_world=pose, fl_x=focal, fl_y=focal, cx=128, cy=128, width=256, height=256)
            )
        return views, cameras

    true = trimesh.load(folder / "gt_mesh.ply", process=False)
    mesh = Mesh(vertices=true.vertices.astype(np.float32), faces=true.faces.astype(np.int32))
    views, cameras = read("transforms_train.json")
    atlas = unwrap(mesh, AtlasConfig(texture_size=512))
    textured = bake_texture(mesh, atlas, views, cameras, TextureConfig(size=512))
    scores = []
    for view, one in zip(*read("transforms_test.json"), strict=True):
        shown = render_textured(textured, one).over(1.0)
        truth = Image.open(folder / (view.name + ".png")).convert("RGBA").resize((256, 256), Image.Resampling.BOX)
        pixels = np.asarray(truth, np.float32) / 255
        scores.append(psnr(shown, pixels[..., :3] * pixels[..., 3:] + 1 - pixels[..., 3:]))
    assert np.mean(scores) > 38
