"""Distances, surfaces and pictures of procedural objects against closed forms and the NumPy reference."""

from __future__ import annotations

import numpy as np
import pytest

from meshwright.errors import OptionError
from meshwright.synth.field import bounding_ball, bounds, distance_at
from meshwright.synth.lettering import lettering
from meshwright.synth.objects import get_object, list_objects
from meshwright.synth.reference import distance_reference
from meshwright.synth.rig import orbit_cameras, six_view_cameras
from meshwright.synth.solids import Join, Paint, Shape, SynthObject, ball, box, cone, cylinder, ellipsoid, ring, tube
from meshwright.synth.trace import render
from meshwright.synth.truth import prepare
from meshwright.types import VIEW_NAMES, Array, Mesh

GREY = Paint(colours=("#808080",), mottle=0.0)


def one(*solids) -> SynthObject:  # type: ignore[no-untyped-def]
    return SynthObject(name="test", summary="", solids=solids)


def test_distances_of_single_solids_are_the_known_ones() -> None:
    """Points chosen so that the nearest surface point can be read off by hand."""
    cases = [
        (ball((1, 0, 0), 0.5, GREY), (1, 2, 0), 1.5),
        (box((0, 0, 0), (1, 2, 3), GREY), (4, 6, 3), 5.0),  # 3 and 4 beyond two faces
        (box((0, 0, 0), (1, 2, 3), GREY), (0.5, 0, 0), -0.5),
        (cylinder((0, 0, 0), 1, 2, GREY), (4, 6, 0), 5.0),
        (ring((0, 0, 0), 2, 0.5, GREY), (0, 0, 0), 1.5),
        (ring((0, 0, 0), 2, 0.5, GREY, opening=180), (0, -2, 0), np.sqrt(8) - 0.5),  # nearest end of the arc: (2, 0)
        (cone((0, 0, 0), (0, 4, 0), 1, 1, GREY), (3, 2, 0), 2.0),
        (cone((0, 0, 0), (4, 0, 0), 1, 1, GREY), (6, 0, 0), 1.0),
        (box((0, 0, 0), (1, 1, 1), GREY).turned(z=45), (2, 0, 0), 2 - np.sqrt(2)),
        (box((2, 0, 0), (1, 1, 1), GREY).paired(), (-4, 0, 0), 1.0),
        (ball((2, 0, 0), 0.5, GREY).around(4, "z"), (0, 3, 0), 0.5),
        (ball((0, 0, 2), 0.5, GREY).around(4, "y"), (-3, 0, 0), 0.5),
    ]
    for solid, point, expected in cases:
        for distance in (distance_at(one(solid), np.array([point]))[0], distance_reference(one(solid), [point])[0]):
            assert distance == pytest.approx(expected, abs=2e-6), (solid, point)


@pytest.mark.parametrize("name", list_objects())
def test_kernel_agrees_with_reference_near_the_surface(name: str) -> None:
    """Away from the surface the kernel leaves out solids that cannot matter; near it both must be the same."""
    item = get_object(name)
    low, high = bounds(item)
    points = np.random.default_rng(0).uniform(low, high, (20_000, 3))
    truth = distance_reference(item, points)
    kernel = distance_at(item, points)
    near = np.abs(truth) < 0.05
    assert near.sum() > 300
    # Object units are about 1; a dozen float32 operations on numbers up to 1 stay below 5e-6.
    np.testing.assert_allclose(kernel[near], truth[near], rtol=0, atol=5e-6)
    assert (np.sign(kernel) == np.sign(truth))[np.abs(truth) > 1e-5].all()


@pytest.mark.parametrize("shape", list(Shape))
def test_bounding_balls_hold_their_solids(shape: Shape) -> None:
    solid = {
        Shape.ELLIPSOID: ellipsoid((0.1, 0, 0), (0.2, 0.5, 0.3), GREY),
        Shape.BOX: box((0, 0.2, 0), (0.2, 0.4, 0.3), GREY, top=1.5, edge=0.02),
        Shape.CYLINDER: cylinder((0, 0, 0.1), 0.3, 0.4, GREY),
        Shape.CONE: cone((0.1, 0.2, 0.3), (-0.4, 0.2, 0.5), 0.2, 0.1, GREY),
        Shape.RING: ring((0, 0, 0), 0.4, 0.1, GREY, opening=120),
    }[shape]
    centre, radius = bounding_ball(solid)
    points = np.random.default_rng(0).uniform(-1.5, 1.5, (20_000, 3))
    inside = points[distance_reference(one(solid), points) < 0]
    assert len(inside) > 20
    assert np.linalg.norm(inside - centre, axis=1).max() <= radius


def test_ball_depth_and_silhouette_have_their_closed_form() -> None:
    """A ball of diameter 1 at distance d: a circle of angular radius asin(r / d), depth from the quadratic."""
    scene, _ = prepare(one(ball((3, 2, 1), 0.7, GREY)), grid=48)
    camera = six_view_cameras(128)[2]
    picture = render(scene, camera)
    d, r = 2.5, 0.5
    y, x = np.mgrid[0:128, 0:128] + 0.5
    u, v = (x - camera.cx) / camera.fl_x, (y - camera.cy) / camera.fl_y
    a = u * u + v * v + 1
    root = d * d - a * (d * d - r * r)
    expected = np.where(root > 0, (d - np.sqrt(np.maximum(root, 0))) / a, 0)
    # The ball's own size comes from a mesh with vertices on the surface: off by 1 - cos of half a cell, below 1e-3.
    inner = root > 0.02
    np.testing.assert_allclose(picture.depth[inner], expected[inner], rtol=0, atol=1.5e-3)
    tangent = r / np.sqrt(d * d - r * r)
    area = np.pi * (tangent * camera.fl_x) ** 2
    assert picture.alpha.sum() == pytest.approx(area, rel=4e-3)
    assert (picture.depth[picture.alpha == 0] == 0).all()
    assert (picture.depth[picture.alpha == 1] > 0).all()


@pytest.mark.parametrize("name", list_objects())
def test_reference_mesh_lies_on_the_surface_and_is_whole(name: str) -> None:
    import trimesh

    item = get_object(name)
    scene, mesh = prepare(item, grid=96)
    own = mesh.vertices.astype(float) / scene.scale + scene.centre
    off = np.abs(distance_reference(item, own)) * scene.scale
    assert off.max() < 1e-5
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    assert (high - low).max() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(low + high, 0, atol=1e-5)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert solid.is_watertight
    assert solid.is_winding_consistent
    assert solid.volume > 0
    assert solid.body_count == 1, "a floating piece"


@pytest.mark.parametrize("name", list_objects())
def test_every_view_holds_the_whole_object_and_no_two_agree(name: str) -> None:
    """Nothing is cut off by the frame, and no object may hide a rig error behind a symmetry of its own."""
    scene, _ = prepare(get_object(name), grid=64)
    pictures = {camera.name: render(scene, camera, samples=1) for camera in six_view_cameras(96)}
    for picture in pictures.values():
        assert picture.alpha[[0, -1]].max() == 0
        assert picture.alpha[:, [0, -1]].max() == 0
        assert picture.alpha.sum() > 100
    for first, second in (("front", "back"), ("left", "right"), ("top", "bottom")):
        a, b = pictures[first].rgb, pictures[second].rgb[:, ::-1]
        covered = (pictures[first].alpha + pictures[second].alpha[:, ::-1]) > 0
        assert np.abs(a - b)[covered].mean() > 0.015, f"{first} is the mirror image of {second}"


def test_ray_depth_agrees_with_ray_casting_of_the_mesh() -> None:
    """Two ways to the same surface: sphere tracing of the field, and Embree on the reference mesh."""
    scene, mesh = prepare(get_object("robot"), grid=160)
    camera = orbit_cameras(3, 96, seed=1)[1]
    picture = render(scene, camera)
    depth = cast_depth(mesh, camera)
    both = (picture.depth > 0) & (depth > 0)
    assert both.sum() > 500
    difference = np.abs(picture.depth - depth)[both]
    assert np.median(difference) < 1e-4
    assert np.quantile(difference, 0.97) < 2e-3
    assert ((picture.depth > 0) != (depth > 0)).mean() < 0.01


def cast_depth(mesh: Mesh, camera) -> Array:  # type: ignore[no-untyped-def]
    import trimesh

    y, x = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    far = camera.unproject(np.stack([x, y], -1).reshape(-1, 2), np.ones(x.size))
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    points, rays, _ = solid.ray.intersects_location(
        np.tile(camera.position, (x.size, 1)), far - camera.position, multiple_hits=False
    )
    depth = np.zeros(x.size)
    depth[rays] = camera.project(points)[1]
    return depth.reshape(x.shape)


def test_light_comes_from_above() -> None:
    scene, _ = prepare(one(ball((0, 0, 0), 0.5, GREY)), grid=32)
    top, bottom = (render(scene, six_view_cameras(32)[VIEW_NAMES.index(n)]).rgb[16, 16] for n in ("top", "bottom"))
    assert (top > 1.8 * bottom).all()


def test_cuts_and_keeps_come_in_order() -> None:
    whole, hole = ball((0, 0, 0), 1, GREY), ball((0, 0, 0), 0.5, GREY)
    centre = np.zeros((1, 3))
    assert distance_at(one(whole, hole.cut()), centre)[0] == pytest.approx(0.5)
    assert distance_at(one(whole, hole.cut(), hole), centre)[0] == pytest.approx(-0.5)
    assert distance_at(one(whole, hole.keep()), np.array([[0.75, 0, 0]]))[0] == pytest.approx(0.25)
    assert hole.cut().join == Join.CUT


def test_mistakes_are_named() -> None:
    with pytest.raises(OptionError, match=r"no object 'cow'.*mug"):
        get_object("cow")
    with pytest.raises(OptionError, match="swallows"):
        cone((0, 0, 0), (0, 0.1, 0), 0.5, 0.1, GREY)
    with pytest.raises(OptionError, match="2 points and 3 radii"):
        tube([(0, 0, 0), (1, 0, 0)], [0.1, 0.1, 0.1], GREY)
    with pytest.raises(OptionError, match="4 colours"):
        Paint(colours=("#000000",) * 4)
    with pytest.raises(OptionError, match="'red' is no colour"):
        Paint(colours=("red",))
    with pytest.raises(OptionError, match="No letter"):
        lettering("ß")
    with pytest.raises(OptionError, match="samples=2"):
        render(prepare(get_object("gear"), grid=16)[0], six_view_cameras(16)[0], samples=2)
    with pytest.raises(OptionError, match="grid=8"):
        prepare(get_object("gear"), grid=8)
