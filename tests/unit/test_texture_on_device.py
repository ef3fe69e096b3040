"""The steps of baking that stay on a device, run on a CPU against those by NumPy and SciPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from meshwright.errors import Cancelled, ShapeError
from meshwright.geometry.atlas import AtlasConfig, unwrap
from meshwright.texture import on_device, on_host
from meshwright.texture.bake import TextureConfig, bake_texture, blend_texture
from meshwright.texture.on_device.nearest import find_nearest
from meshwright.texture.on_device.solve import Looks, conjugate_gradients, look_up, solve_texture
from meshwright.texture.solve import render_matrix
from meshwright.texture.solve import solve_texture as solve_on_host
from meshwright.texture.surface import build_graph
from meshwright.types import Mesh, SilentMonitor, TexturedMesh, View
from texture_scenes import CAMERAS, two_balls

SIZE = 256


@pytest.fixture(scope="module")
def scene() -> tuple[Mesh, list[View]]:
    return two_balls()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (40, 57)])
@pytest.mark.parametrize("share", [0.004, 0.3, 1.0])
def test_nearest_is_nearest(shape: tuple[int, int], share: float) -> None:
    wanted = np.random.default_rng(1).uniform(size=shape) < share
    wanted[-1, 0] = True
    nearest, square = (values.numpy() for values in find_nearest(torch.from_numpy(wanted)))
    np.testing.assert_allclose(np.sqrt(square), distance_transform_edt(~wanted), rtol=1e-12)
    row, column = np.divmod(nearest, shape[1])
    assert wanted[row, column].all()
    here = np.indices(shape)
    np.testing.assert_array_equal((row - here[0]) ** 2 + (column - here[1]) ** 2, square)


def test_nothing_is_nearest_to_nothing() -> None:
    nearest, square = find_nearest(torch.zeros((5, 4), dtype=torch.bool))
    assert (nearest == -1).all() and (square == 2**31 - 1).all()


def test_texels_lie_in_the_same_places(scene: tuple[Mesh, list[View]]) -> None:
    mesh, _ = scene
    atlas, graph = unwrap(mesh, AtlasConfig(texture_size=SIZE)), build_graph(mesh)
    expected = on_host.find_texels(mesh, atlas.uv, atlas.uv_faces, SIZE, graph, device="cpu")
    found = on_device.find_texels(mesh, atlas.uv, atlas.uv_faces, SIZE, graph, device="cpu")
    inside = expected.inside
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.inside, inside)
    np.testing.assert_array_equal(found.graph_face[inside], expected.graph_face[inside])
    np.testing.assert_array_equal(found.graph_bary[inside], expected.graph_bary[inside])
    # In the rim and beyond it two texels may be equally near.
    assert (found.graph_face.numpy() == expected.graph_face).mean() > 0.9
    here = np.stack(np.divmod(np.arange(SIZE * SIZE), SIZE))
    away = [
        np.hypot(*(np.stack(np.divmod(expected.index[np.asarray(t.nearest)], SIZE)) - here)) for t in (found, expected)
    ]
    assert (away[0] <= away[1] + 4).all() and np.abs(away[0] - away[1]).mean() < 0.1
    assert found.spacing == expected.spacing
    with pytest.raises(ShapeError, match="No texel"):
        on_device.find_texels(mesh, atlas.uv * 0, atlas.uv_faces, SIZE, graph, device="cpu")


def test_views_are_judged_alike(scene: tuple[Mesh, list[View]]) -> None:
    mesh, views = scene
    for view, camera in zip(views[:2], CAMERAS[:2], strict=True):
        a, b = (steps.judge_view(view, camera, mesh, 1.0, 3.0, device="cpu") for steps in (on_device, on_host))
        np.testing.assert_array_equal(a.whole, b.whole)
        np.testing.assert_allclose(a.trust.numpy(), b.trust.numpy(), atol=1e-6)
        np.testing.assert_array_equal(a.depth.numpy(), b.depth.numpy())
        assert 0.2 < (b.trust.numpy() > 0).mean() < 0.9
        clean = b.trust.numpy() > 0
        np.testing.assert_array_equal(a.image.numpy()[clean], b.image.numpy()[clean])
        assert (a.image.numpy() == b.image.numpy()).mean() > 0.9
        gain = np.array([0.5, 1.0, 2.0], np.float32)
        brighter = on_device.brightened(a, gain, device="cpu")
        np.testing.assert_array_equal(brighter.image.numpy(), a.image.numpy() * gain)
        np.testing.assert_array_equal(brighter.photograph, view.rgb * gain)


def test_a_view_of_nothing(scene: tuple[Mesh, list[View]]) -> None:
    mesh, views = scene
    away = Mesh(vertices=mesh.vertices + np.float32(100.0), faces=mesh.faces)
    judged = on_device.judge_view(views[0], CAMERAS[0], away, 0.0, 1.0, device="cpu")
    assert not judged.trust.numpy().any() and not judged.whole.any()
    np.testing.assert_array_equal(judged.image.numpy(), views[0].rgb)


def looks_and_matrix(scene: tuple[Mesh, list[View]]) -> tuple[object, object, list[Looks], list[object]]:
    mesh, views = scene
    atlas, graph = unwrap(mesh, AtlasConfig(texture_size=SIZE)), build_graph(mesh)
    expected = on_host.find_texels(mesh, atlas.uv, atlas.uv_faces, SIZE, graph, device="cpu")
    found = on_device.find_texels(mesh, atlas.uv, atlas.uv_faces, SIZE, graph, device="cpu")
    # The same texels for both: of two equally near ones each may take another.
    found = replace(found, nearest=torch.from_numpy(expected.nearest.astype(np.int32)))
    looks, matrices = [], []
    for view, camera in zip(views, CAMERAS, strict=True):
        judged = on_device.judge_view(view, camera, mesh, 1.0, 1.0, device="cpu")
        looks.append(look_up(mesh, atlas, SIZE, judged, camera, device="cpu"))
        judged = on_host.judge_view(view, camera, mesh, 1.0, 1.0, device="cpu")
        matrices.append(render_matrix(mesh, atlas, expected, judged, camera, device="cpu"))
    return expected, found, looks, matrices


@pytest.mark.parametrize("doubt", [0.3, np.inf])
def test_the_same_texture_is_found(scene: tuple[Mesh, list[View]], doubt: float) -> None:
    expected, found, looks, matrices = looks_and_matrix(scene)
    for look, pixels in zip(looks, matrices, strict=True):
        assert pixels.matrix.shape[0] == len(look.colour) > 1000
        np.testing.assert_allclose(look.colour, pixels.colour, atol=1e-6)
    start = np.random.default_rng(2).uniform(0.2, 0.8, (len(expected.index), 3)).astype(np.float32)
    options = {"stiff": 0.3, "hold": 0.005, "doubt": doubt, "monitor": SilentMonitor()}
    a = solve_texture(torch.from_numpy(start), found, looks, **options).numpy()
    b = solve_on_host(start, expected, matrices, **options)
    assert np.abs(b - start).max() > 0.1
    # Twelve steps in float32, each with sums in another order.
    assert np.abs(a - b).max() < 2e-3 and np.abs(a - b).mean() < 1e-5


def test_no_view_no_change_and_stopping(scene: tuple[Mesh, list[View]]) -> None:
    mesh, _ = scene
    atlas, graph = unwrap(mesh, AtlasConfig(texture_size=SIZE)), build_graph(mesh)
    texels = on_device.find_texels(mesh, atlas.uv, atlas.uv_faces, SIZE, graph, device="cpu")
    start = torch.rand((len(texels.index), 3), generator=torch.Generator().manual_seed(0))
    empty = Looks(place=torch.zeros((0, 4, 2)), colour=torch.zeros((0, 3)))
    options = {"stiff": 0.3, "hold": 0.1, "doubt": 0.3}
    assert torch.equal(solve_texture(start, texels, [empty], monitor=SilentMonitor(), **options), start)
    with pytest.raises(Cancelled):
        solve_texture(start, texels, [empty], monitor=SilentMonitor(should_stop=lambda: True), **options)


def test_conjugate_gradients_find_the_solution_and_stay_there() -> None:
    random = np.random.default_rng(4)
    half = random.normal(size=(8, 8))
    matrix = torch.from_numpy((half @ half.T + 2 * np.eye(8)).astype(np.float32))
    truth = torch.from_numpy(random.normal(size=(8, 3)).astype(np.float32))
    found = conjugate_gradients(lambda x: matrix @ x, matrix @ truth, torch.diag(matrix).clone())
    np.testing.assert_allclose(found, truth, atol=0.01 * np.linalg.norm(truth))
    # Done after one step, and nothing is left to do in the others.
    plain = conjugate_gradients(lambda x: 2 * x, truth, torch.full((8,), 2.0))
    np.testing.assert_allclose(plain, truth / 2, rtol=1e-6)


def bake(
    scene: tuple[Mesh, list[View]], monkeypatch: pytest.MonkeyPatch, steps: object, **options: bool
) -> TexturedMesh:
    mesh, views = scene
    atlas = unwrap(mesh, AtlasConfig(texture_size=SIZE))
    monkeypatch.setattr("meshwright.texture.bake.steps_for", lambda _: steps)
    return bake_texture(mesh, atlas, views, CAMERAS, TextureConfig(size=SIZE, **options))


@pytest.mark.parametrize("match_exposure", [False, True])
def test_the_same_picture_comes_out(
    scene: tuple[Mesh, list[View]], monkeypatch: pytest.MonkeyPatch, match_exposure: bool
) -> None:
    a, b = (bake(scene, monkeypatch, steps, match_exposure=match_exposure) for steps in (on_device, on_host))
    np.testing.assert_array_equal(a.seen, b.seen)
    assert a.base_color_srgb.dtype == np.uint8
    off = np.abs(a.base_color_srgb.astype(int) - b.base_color_srgb.astype(int))[b.seen]
    assert (off <= 1).mean() > 0.99 and off.mean() < 0.05


def test_the_same_mean_of_the_views_comes_out(scene: tuple[Mesh, list[View]], monkeypatch: pytest.MonkeyPatch) -> None:
    mesh, views = scene
    atlas, found = unwrap(mesh, AtlasConfig(texture_size=SIZE)), []
    for steps in (on_device, on_host):
        monkeypatch.setattr("meshwright.texture.bake.steps_for", lambda _, steps=steps: steps)
        found.append(blend_texture(mesh, atlas, views, CAMERAS, SIZE))
    np.testing.assert_array_equal(found[0].seen, found[1].seen)
    off = np.abs(found[0].base_color_srgb.astype(int) - found[1].base_color_srgb.astype(int))[found[1].seen]
    assert (off <= 1).mean() > 0.99 and off.mean() < 0.05
