"""The parts of the texture stage, each against what it must compute, said in NumPy or known beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from meshwright._warp import wp
from meshwright.geometry.atlas import AtlasConfig, unwrap
from meshwright.rendering import rasterize_mesh
from meshwright.texture import kernels
from meshwright.texture.choice import choose_views, fill_unseen
from meshwright.texture.exposure import find_gains
from meshwright.texture.finish import fill_picture
from meshwright.texture.seams import minimum_cut
from meshwright.texture.sight import judge_view, see_points
from meshwright.texture.surface import SurfaceGraph, build_graph, split_faces
from meshwright.texture.texels import find_texels
from meshwright.types import Array, Camera, MaskSource, Mesh, View


def sheet(columns: int = 60, rows: int = 20, step: float = 0.01) -> Mesh:
    """A flat grid in the XY plane that faces +Z."""
    x, y = np.meshgrid(np.arange(columns) * step, np.arange(rows) * step)
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1)
    cell = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    faces = np.concatenate(
        [
            np.stack([cell, cell + 1, cell + columns + 1], 1),
            np.stack([cell, cell + columns + 1, cell + columns], 1),
        ]
    )
    return Mesh(vertices=vertices.astype(np.float32), faces=faces.astype(np.int32))


def graph_of(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> SurfaceGraph:
    """The graph of the mesh as it is, without splitting."""
    monkeypatch.setattr("meshwright.texture.surface.LEAST_FACES", 0)
    return build_graph(mesh)


def ball(subdivisions: int = 3) -> Mesh:
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=0.4)
    return Mesh(vertices=mesh.vertices.astype(np.float32), faces=mesh.faces.astype(np.int32))


def front_camera(pixels: int = 128) -> Camera:
    pose = np.eye(4)
    pose[2, 3] = 2.5
    focal = 0.5 * pixels / np.tan(np.radians(13))
    return Camera(
        name="front", camera_to_world=pose, fl_x=focal, fl_y=focal, cx=60.0, cy=66.0, width=pixels, height=pixels
    )


# --- the surface as a graph ------------------------------------------------------------------------------------------


def test_splitting_keeps_the_surface() -> None:
    mesh = ball(1)
    fine = split_faces(mesh)
    before, after = (trimesh.Trimesh(m.vertices, m.faces, process=False) for m in (mesh, fine))
    assert len(fine.faces) == 4 * len(mesh.faces)
    assert after.is_watertight and after.is_winding_consistent
    assert after.area == pytest.approx(before.area, rel=1e-5)
    np.testing.assert_array_equal(fine.vertices[: len(mesh.vertices)], mesh.vertices)


def test_a_coarse_mesh_gets_a_fine_graph() -> None:
    graph = build_graph(ball(1))
    assert len(graph.mesh.faces) >= 30_000
    assert len(graph.mesh.faces) == len(ball(1).faces) * 4**graph.levels
    np.testing.assert_allclose(np.linalg.norm(graph.normals, axis=1), 1, atol=1e-5)


def test_smoothing_keeps_constants_and_spreads_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(sheet(101, 101), monkeypatch)
    np.testing.assert_allclose(graph.smooth(np.ones((101 * 101, 1)), 0.05), 1)
    spike = np.zeros((101 * 101, 1))
    spike[50 * 101 + 50] = 1
    weight = graph.smooth(spike, 0.05)[:, 0]
    place = graph.mesh.vertices[:, :2].astype(np.float64) - graph.mesh.vertices[50 * 101 + 50, :2]
    spread = np.sqrt((weight[:, None] * place**2).sum() / 2 / weight.sum())
    assert spread == pytest.approx(0.05 * graph.extent, rel=0.15)


def test_a_membrane_hangs_as_its_equation_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held at two edges by very different weights: against a dense solve."""
    graph = graph_of(sheet(60, 20), monkeypatch)
    source, target = graph.links()
    laplace = np.zeros((1200, 1200))
    laplace[source, target] = laplace[target, source] = -1
    laplace -= np.diag(laplace.sum(1))
    column = np.tile(np.arange(60), 20)
    weight = np.select([column == 0, column == 59], [1e4, 5.0], 0.0)
    field = np.where(column == 59, 1.0, 0.0)
    truth = np.linalg.solve(laplace + np.diag(weight), weight * field)
    np.testing.assert_allclose(graph.settle(field[:, None], weight)[:, 0], truth, atol=5e-3)


def test_pieces_without_data_take_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = sheet(10, 10), sheet(10, 10)
    vertices = np.concatenate([one.vertices, two.vertices + 5])
    faces = np.concatenate([one.faces, two.faces + 100])
    graph = graph_of(Mesh(vertices=vertices, faces=faces), monkeypatch)
    known = np.arange(200) < 100
    settled = graph.settle(np.where(known, 0.7, 0.0)[:, None], np.where(known, 10.0, 0.0))
    np.testing.assert_allclose(settled, 0.7, atol=1e-3)


def test_links_are_the_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(ball(2), monkeypatch)
    source, target = graph.links()
    edges = trimesh.Trimesh(graph.mesh.vertices, graph.mesh.faces, process=False).edges_unique
    assert {frozenset(pair) for pair in zip(source, target, strict=True)} == {frozenset(pair) for pair in edges}
    assert len(source) == len(edges)


def test_nearest_goes_along_the_surface(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sheets a hair apart, joined at one end: the nearest place in space is the other sheet, on the surface not."""
    flat = sheet(60, 5)
    folded = flat.vertices.copy()
    back = folded[:, 0] > 0.3
    folded[back, 0] = 0.6 - folded[back, 0]
    folded[back, 2] = -0.002
    graph = graph_of(Mesh(vertices=folded, faces=flat.faces), monkeypatch)
    chosen = flat.vertices[:, 0] < 0.1
    nearest = graph.nearest_of(chosen)
    assert chosen[nearest].all()
    np.testing.assert_array_equal(nearest[chosen], np.flatnonzero(chosen))
    assert (flat.vertices[nearest[back], 0] > 0.085).all(), "the way leads around the fold"


# --- which view paints what ------------------------------------------------------------------------------------------


def test_views_that_agree_part_where_they_see_equally_well(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(sheet(), monkeypatch)
    x = graph.mesh.vertices[:, 0] / 0.59
    rating = np.stack([1 - x, x]).astype(np.float32)
    labels = choose_views(graph, rating, np.full((2, len(x), 3), 0.4, np.float32), 0.001).argmax(0)
    np.testing.assert_array_equal(labels[np.abs(x - 0.5) > 0.05], (x > 0.5)[np.abs(x - 0.5) > 0.05])


def test_the_seam_avoids_what_the_views_paint_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    """Near the middle, where both see equally well, they contradict each other: the seam goes beside that band."""
    graph = graph_of(sheet(), monkeypatch)
    x = graph.mesh.vertices[:, 0] / 0.59
    rating = np.stack([1 - x, x]).astype(np.float32)
    colour = np.full((2, len(x), 3), 0.4, np.float32)
    differ = np.abs(x - 0.52) < 0.1
    colour[1, differ] = 0.9
    labels = choose_views(graph, rating, colour, 0.001).argmax(0)
    assert len(np.unique(labels[differ])) == 1
    assert len(np.unique(labels)) == 2


def test_a_view_that_sees_nothing_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(sheet(), monkeypatch)
    x = graph.mesh.vertices[:, 0] / 0.59
    rating = np.stack([(x < 0.3) * 0.9, np.zeros_like(x)]).astype(np.float32)
    share = choose_views(graph, rating, np.zeros((2, len(x), 3), np.float32), 0.01)
    assert share[1].max() == 0
    np.testing.assert_allclose(share[0, x < 0.25], 1, atol=1e-5)
    assert share[0, x > 0.5].max() == 0


def test_many_views_each_where_it_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(sheet(), monkeypatch)
    x = graph.mesh.vertices[:, 0] / 0.59
    centres = np.linspace(0, 1, 20)
    rating = np.maximum(0, 1 - 4 * np.abs(x - centres[:, None])).astype(np.float32)
    labels = choose_views(graph, rating, np.full((20, len(x), 3), 0.4, np.float32), 0.001).argmax(0)
    assert np.abs(centres[labels] - x).max() < 0.15


def test_steps_of_colour_go_on_as_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left edge seen: black below, white above. The rest of the sheet continues both."""
    graph = graph_of(sheet(), monkeypatch)
    x, y = graph.mesh.vertices[:, 0] / 0.59, graph.mesh.vertices[:, 1] / 0.19
    colour = np.repeat((y > 0.5)[:, None] * 1.0, 3, 1)
    filled = fill_unseen(graph, colour, colour, np.where(x < 0.2, 0.9, 0.0).astype(np.float32))
    sure = np.abs(y - 0.5) > 0.25
    np.testing.assert_allclose(filled[sure], colour[sure], atol=0.1)


def test_minimum_cut_against_every_choice() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        keep, take = random.uniform(0, 1, (2, 7))
        i, j = random.integers(0, 7, (2, 12))
        i, j = i[i != j], j[i != j]
        apart = random.uniform(0, 1, len(i))

        def cost(
            x: Array, keep: Array = keep, take: Array = take, i: Array = i, j: Array = j, a: Array = apart
        ) -> float:
            return float(np.where(x, take, keep).sum() + (a * (~x[i] & x[j])).sum())

        choices = [np.array([bool(n >> k & 1) for k in range(7)]) for n in range(128)]
        # Costs are rounded to thousandths for the flow.
        assert cost(minimum_cut(keep, take, i, j, apart)) < min(map(cost, choices)) + 0.02


def test_gains_of_views_that_overlap() -> None:
    """Three views in a chain, each a tenth brighter than the last; the fourth sees none of what they see."""
    rating = np.zeros((4, 400), np.float32)
    rating[0, :200] = rating[1, 100:300] = rating[2, 200:360] = rating[3, 360:] = 0.8
    colour = np.random.default_rng(0).uniform(0.2, 0.5, (400, 3)).astype(np.float32)
    brightness = np.array([1.0, 1.1, 1.21, 3.0], np.float32)
    gains = find_gains(rating, colour * brightness[:, None, None])
    np.testing.assert_array_equal(gains[3], 1)
    # Held back a little, the views come most of the way.
    assert np.ptp(np.log(gains[:3, 0] * brightness[:3])) < 0.4 * np.log(1.21)
    np.testing.assert_allclose(gains[:, 0], gains[:, 1], atol=1e-5)
    np.testing.assert_array_equal(find_gains(rating[:1], colour[None]), np.ones((1, 3)))


# --- what a view sees ------------------------------------------------------------------------------------------------


def plain_view(camera: Camera, mask: Array, rgb: Array) -> View:
    return View(
        name="front",
        rgb=rgb.astype(np.float32),
        mask=mask.astype(np.float32),
        mask_source=MaskSource.ALPHA,
        background=np.ones_like(rgb, np.float32),
    )


def test_seeing_points_on_a_ball() -> None:
    camera, mesh = front_camera(), ball(4)
    seen = rasterize_mesh(mesh, camera)
    x, y = np.meshgrid(np.arange(128) + 0.5, np.arange(128) + 0.5)
    # A picture that is linear in its pixels shows where it was looked up.
    rgb = np.stack([x / 128, y / 128, np.zeros_like(x)], -1)
    judged = judge_view(plain_view(camera, seen.covered, rgb), camera, mesh, 1.5, 4.0, device="cpu")
    judged = replace(judged, image=wp.array(rgb, dtype=wp.vec3, device="cpu"))
    normals = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    cosine, trust, colour = see_points(judged, mesh.vertices, normals, device="cpu")
    away = camera.position - mesh.vertices
    expected = (normals * away).sum(1) / np.linalg.norm(away, axis=1)
    np.testing.assert_allclose(cosine, np.maximum(expected, 0), atol=1e-5)
    pixel, _ = camera.project(mesh.vertices)
    facing = expected > 0.3
    np.testing.assert_allclose(colour[facing, :2] * 128, pixel[facing], atol=1e-3)
    assert trust[expected <= 0].max() == 0
    middle = expected > 0.7
    np.testing.assert_allclose(trust[middle], 1, atol=1e-5)


def test_what_is_hidden_is_not_trusted() -> None:
    """A plate half a unit behind another one, half covered by it."""
    near, far = sheet(30, 30, 0.01), sheet(60, 30, 0.01)
    vertices = np.concatenate([near.vertices, far.vertices - [0, 0, 0.5]]).astype(np.float32)
    mesh = Mesh(vertices=vertices, faces=np.concatenate([near.faces, far.faces + 900]))
    camera = front_camera()
    seen = rasterize_mesh(mesh, camera)
    judged = judge_view(plain_view(camera, seen.covered, np.zeros((128, 128, 3))), camera, mesh, 1.5, 3.0, device="cpu")
    _, trust, _ = see_points(judged, vertices, np.tile(np.float32([0, 0, 1]), (len(vertices), 1)), device="cpu")
    behind = np.arange(len(vertices)) >= 900
    x, y = vertices[:, 0], vertices[:, 1]
    deep = (y > 0.08) & (y < 0.21)
    # Seen from 2.5 away the near plate's right edge at 0.29 falls on 0.348 of the far one.
    assert trust[behind & deep & (x < 0.33)].max() == 0
    assert trust[behind & deep & (x > 0.42) & (x < 0.53)].min() > 0.999
    assert trust[~behind & deep & (x > 0.08) & (x < 0.21)].min() > 0.999
    # Next to the edge of the near plate nobody is to be trusted, on either side.
    assert trust[~behind & deep & (x > 0.285)].max() == 0


def test_nothing_but_clean_pixels_is_left_in_the_picture() -> None:
    camera, mesh = front_camera(), ball(3)
    seen = rasterize_mesh(mesh, camera)
    rgb = np.where(seen.covered[..., None], [0.2, 0.5, 0.3], [1.0, 0.0, 1.0])
    mask = seen.covered * 1.0
    mask[60:70, 60:70] = 0.5
    judged = judge_view(plain_view(camera, mask, rgb), camera, mesh, 1.5, 4.0, device="cpu")
    np.testing.assert_allclose(judged.image.numpy(), np.broadcast_to([0.2, 0.5, 0.3], rgb.shape), atol=1e-6)
    trust = judged.trust.numpy()
    assert not judged.whole[60:70, 60:70].any()
    assert not judged.whole[~seen.covered].any()
    assert trust[~judged.whole].max() == 0
    assert trust[57:73, 57:73].max() < 1


def test_cubic_look_up_reproduces_parabolas() -> None:
    """Catmull-Rom is exact for polynomials of the second degree."""

    @wp.kernel
    def look_up(image: wp.array2d[wp.vec3], pixel: wp.array[wp.vec2], out: wp.array[wp.vec3]):  # type: ignore[no-untyped-def]
        i = wp.tid()
        out[i] = kernels.sample_cubic(image, pixel[i])

    x, y = np.meshgrid(np.arange(16) + 0.5, np.arange(12) + 0.5)

    def truth(u: Array, v: Array) -> Array:
        return np.stack([u, 0.1 * u * u - v, 0.05 * v * v + 1], -1)

    points = np.random.default_rng(0).uniform([2, 2], [14, 10], (500, 2)).astype(np.float32)
    out = wp.empty(500, dtype=wp.vec3, device="cpu")
    image = wp.array(truth(x, y).astype(np.float32), dtype=wp.vec3, device="cpu")
    wp.launch(look_up, 500, [image, wp.array(points, dtype=wp.vec2, device="cpu")], [out], device="cpu")
    np.testing.assert_allclose(out.numpy(), truth(points[:, 0], points[:, 1]), atol=2e-5)


# --- texels ----------------------------------------------------------------------------------------------------------


def test_texels_lie_where_the_atlas_says() -> None:
    mesh = ball(3)
    atlas = unwrap(mesh, AtlasConfig(texture_size=128))
    graph = build_graph(mesh)
    texels = find_texels(mesh, atlas.uv, atlas.uv_faces, 128, graph, device="cpu")
    assert texels.graph_bary[texels.inside].min() > -1e-5
    np.testing.assert_allclose(texels.graph_bary.sum(1), 1, atol=1e-4)
    corners = graph.mesh.vertices[graph.mesh.faces[texels.graph_face]]
    position = (texels.graph_bary[..., None] * corners).sum(1)
    # On the ball, and no farther off than its faces are flat; the rim continues it by two texels.
    radius = np.linalg.norm(position, axis=1)
    assert np.abs(radius[texels.inside] - 0.4).max() < 0.004
    assert np.abs(radius - 0.4).max() < 0.03
    # Face by face: the mean of the texture coordinates of a face is the texel of its middle.
    middle = atlas.uv[atlas.uv_faces].mean(1)
    column, row = (middle[:, 0] * 128).astype(int), ((1 - middle[:, 1]) * 128).astype(int)
    place = np.searchsorted(texels.index, row * 128 + column)
    np.testing.assert_array_equal(texels.index[place], row * 128 + column)
    distance = np.linalg.norm(position[place] - mesh.vertices[mesh.faces].mean(1), axis=1)
    assert distance.max() < 1.5 * texels.spacing


def test_charts_are_continued_over_the_whole_picture() -> None:
    mesh = ball(2)
    atlas = unwrap(mesh, AtlasConfig(texture_size=64))
    texels = find_texels(mesh, atlas.uv, atlas.uv_faces, 64, build_graph(mesh), device="cpu")
    number = np.arange(len(texels.index), dtype=np.float32)[:, None]
    picture = fill_picture(texels, number)
    assert picture.shape == (64, 64, 1)
    np.testing.assert_array_equal(picture.ravel()[texels.index], number[:, 0])
