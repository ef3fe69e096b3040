"""From a mesh in any frame back to the frame of its views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from meshwright.colour import to_srgb8
from meshwright.errors import Cancelled, InputError, OptionError, ShapeError
from meshwright.models.reconviagen.placing import PlaceConfig, Placement, place
from meshwright.models.reconviagen.placing.rotations import angles_between, spread_rotations, turned
from meshwright.models.reconviagen.placing.sightings import spread_views
from meshwright.models.reconviagen.placing.tangents import corner_points, search, tangent_planes
from meshwright.types import Array, Camera, DepthKind, MaskSource, Mesh, SilentMonitor, View
from placing_frames import OBJECTS, deformed, missed, random_frame, sample_object, settled
from scenes import TOOL, Box, Dented, Ellipsoid, Paint, coverage, entry_depth, grey, six, views_of, with_depth

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]
CAMERAS = six(256)


def placed(
    mesh: Mesh, views: Sequence[View], cameras: Sequence[Camera], colours: Array | None = None, device: str = "cpu"
) -> Placement:
    return place(mesh, views, cameras, colours=colours, monitor=SilentMonitor(), device=device)


def ball(radii: tuple[float, float, float]) -> Mesh:
    sphere = trimesh.creation.icosphere(4)
    return Mesh(vertices=(sphere.vertices * radii).astype(np.float32), faces=sphere.faces.astype(np.int32))


def brick(box: Box) -> Mesh:
    mesh = trimesh.creation.box(bounds=[box.low, box.high])
    for _ in range(4):
        mesh = mesh.subdivide()
    return Mesh(vertices=mesh.vertices.astype(np.float32), faces=mesh.faces.astype(np.int32))


def label(points: Array) -> Array:
    """Linear RGB that turns smoothly around the upright axis and fades upwards, with a red label on one side."""
    x, y, z = np.asarray(points).T
    angle = np.arctan2(x, z)
    colour = np.stack([0.25 + 0.2 * np.sin(angle), 0.3 + 0.2 * np.cos(angle), 0.4 + 0.3 * y], -1)
    colour[(np.abs(angle - 0.5) < 0.5) & (np.abs(y) < 0.15)] = 0.7, 0.1, 0.1
    return np.asarray(colour.clip(0, 1))


# --- parts -----------------------------------------------------------------------------------------------------------


def test_spread_rotations_leave_nothing_out() -> None:
    grid = spread_rotations(2000)
    np.testing.assert_allclose(grid @ grid.transpose(0, 2, 1), np.broadcast_to(np.eye(3), grid.shape), atol=1e-12)
    assert (np.linalg.det(grid) > 0).all()
    others = Rotation.random(300, random_state=0).as_matrix()
    nearest = angles_between(others[:, None], grid[None]).min(1)
    # 205 / 2000^(1/3); balls of 12 degrees around each would fill the space if they did not overlap.
    assert nearest.max() < 16.3
    assert nearest.mean() < 10


def test_turned_and_angles_agree_with_scipy() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 3)) * np.logspace(-9, 0, 50)[:, None]
    np.testing.assert_allclose(turned(vectors), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(
        angles_between(turned(vectors), np.eye(3)), np.degrees(np.linalg.norm(vectors, axis=1)), rtol=1e-6, atol=1e-12
    )


def test_tangent_planes_touch_an_ellipsoid() -> None:
    radii, centre = np.array([0.2, 0.45, 0.3]), np.array([0.03, -0.02, 0.05])
    solid = Ellipsoid(tuple(centre), tuple(radii))
    planes = tangent_planes([coverage([solid], camera) for camera in CAMERAS], CAMERAS)
    assert len(planes.offsets) == 16 * 6
    # The support function of an ellipsoid: n.c + |r * n|.
    exact = planes.normals @ centre + np.linalg.norm(planes.normals * radii, axis=1)
    # A pixel is 0.0045 wide, its coverage known in steps of 1/16: an outline is known to a quarter of it. The farthest
    # of its points touches, so on average the plane lies a little outside.
    np.testing.assert_allclose(planes.offsets, exact, atol=1.2e-3)
    assert 0 < (planes.offsets - exact).mean() < 3e-4


def test_outlines_cut_off_by_the_frame_give_no_plane_there() -> None:
    camera = replace(CAMERAS[0], cx=CAMERAS[0].cx + 60)
    whole, cut = (coverage([Ellipsoid(radii=(0.4, 0.3, 0.4))], c) for c in (CAMERAS[0], camera))
    assert len(tangent_planes([cut], [camera]).offsets) < len(tangent_planes([whole], [CAMERAS[0]]).offsets)
    assert len(tangent_planes([np.ones((256, 256), np.float32)], [camera]).offsets) == 0
    assert len(tangent_planes([np.zeros((256, 256), np.float32)], [camera]).offsets) == 0


def test_search_finds_a_solid_from_planes_alone() -> None:
    """No render: boxes by their corners, the belly by its own surface."""
    parts = [np.array(trimesh.creation.box(bounds=[b.low, b.high]).vertices) for b in TOOL if isinstance(b, Box)]
    vertices = np.concatenate([*parts, ball(TOOL[-1].radii).vertices + TOOL[-1].centre])  # type: ignore[union-attr]
    planes = tangent_planes([coverage(TOOL, camera) for camera in CAMERAS], CAMERAS)
    frame = random_frame(1)
    points = corner_points(vertices @ frame.rotation.T * frame.scale)
    found = search(points, planes, rotations=4000, kept=100)
    assert angles_between(found.rotation[0] @ frame.rotation, np.eye(3)) < 0.3
    assert found.scale[0] * frame.scale == pytest.approx(1, abs=0.003)
    assert (np.diff(found.misfit) >= 0).all()
    assert found.misfit[0] < 1e-3


def test_corner_points_of_a_flat_mesh_are_its_own() -> None:
    square = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0.5, 0.5, 0]], float)
    assert len(corner_points(square)) == 4


def test_views_are_chosen_from_all_sides() -> None:
    cameras = [camera for camera in CAMERAS for _ in range(5)]
    assert spread_views(cameras, 6) == [0, 5, 10, 15, 20, 25]
    assert spread_views(CAMERAS, 12) == [0, 1, 2, 3, 4, 5]


# --- whole -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
def test_a_fox_comes_home(shared: Path, device: str) -> None:
    views, mesh, colours = sample_object(shared / "data", "fox")
    assert views.cameras is not None
    frame = random_frame(7)
    found = placed(frame.applied(mesh), views.views, views.cameras, colours, device)
    miss = missed(found, frame)
    assert miss.degrees < 0.2
    assert abs(miss.scale) < 0.002
    assert miss.offset < 0.002
    assert found.warnings == ()
    np.testing.assert_allclose(found.mesh.vertices, mesh.vertices, atol=0.004)
    again = placed(frame.applied(mesh), views.views, views.cameras, colours, device)
    np.testing.assert_array_equal(found.matrix, again.matrix)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_comes_home(shared: Path, name: str, seed: int) -> None:
    """The bar: 1 degree, 1 %. Measured: 0.06 degrees, 0.1 %."""
    views, mesh, colours = sample_object(shared / "data", name)
    assert views.cameras is not None
    frame = random_frame(seed)
    for shades in (colours, None):
        found = placed(frame.applied(mesh), views.views, views.cameras, shades)
        miss = missed(found, frame)
        assert miss.degrees < 0.2
        assert abs(miss.scale) < 0.003
        assert found.warnings == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_that_is_only_similar_comes_close(shared: Path, name: str) -> None:
    """Bent by 2 % of its size: where it belongs is itself only known to a degree or so."""
    views, mesh, colours = sample_object(shared / "data", name)
    assert views.cameras is not None
    found = placed(random_frame(4).applied(deformed(mesh, seed=4)), views.views, views.cameras, colours)
    miss = settled(found.mesh, mesh)
    assert miss.degrees < 4
    assert abs(miss.scale) < 0.03
    assert miss.offset < 0.02


@pytest.mark.parametrize("kind", ["depth_linear8", "depth_norm"])
def test_relative_depth_is_explained(shared: Path, kind: str) -> None:
    views, mesh, _ = sample_object(shared / "data", "fox", kind)
    assert views.cameras is not None
    frame = random_frame(9)
    found = placed(frame.applied(mesh), views.views, views.cameras)
    assert missed(found, frame).degrees < 0.2
    error = found.report["depth_error"]
    assert isinstance(error, float)
    assert error < 0.006


BRICK = Box((-0.25, -0.4, -0.15), (0.25, 0.4, 0.15))


def test_colours_decide_what_outlines_leave_open() -> None:
    """A brick looks the same after half a turn about any of its axes."""
    mesh = brick(BRICK)
    views = views_of([BRICK], CAMERAS, paint=label, samples=3).views
    frame = random_frame(3)
    found = placed(frame.applied(mesh), views, CAMERAS, np.asarray(to_srgb8(label(mesh.vertices))))
    assert missed(found, frame).degrees < 0.5
    assert found.warnings == ()
    assert found.report["orientations_by_outline"] >= 4  # type: ignore[operator]


@pytest.mark.slow
def test_without_colours_it_says_that_it_does_not_know() -> None:
    views = views_of([BRICK], CAMERAS, samples=3).views
    found = placed(random_frame(3).applied(brick(BRICK)), views, CAMERAS)
    assert any("not certain" in warning for warning in found.warnings)
    assert found.report["outline_overlap"] > 0.98  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize("paint", [label, lambda points: 0.85 * grey(points) + 0.15 * label(points)])
def test_colours_turn_a_bottle(paint: Paint) -> None:
    """About its axis outlines say nothing at all; the second one is nearly grey."""
    solid = Ellipsoid(radii=(0.28, 0.45, 0.28))
    mesh = ball(solid.radii)
    views = views_of([solid], CAMERAS, paint=paint, samples=3).views
    frame = random_frame(5)
    found = placed(frame.applied(mesh), views, CAMERAS, np.asarray(to_srgb8(paint(mesh.vertices))))
    assert missed(found, frame).degrees < 1.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "unit", "slope", "shift"),
    [(DepthKind.METRIC, 5.0, 0.2, 0.0), (DepthKind.AUTO, None, 0.4, -0.6), (DepthKind.AUTO, None, -0.4, 1.5)],
)
def test_depth_finds_a_hollow_that_no_outline_shows(
    kind: DepthKind, unit: float | None, slope: float, shift: float
) -> None:
    """A ball with a bowl in its front: metric depth, far-bright and near-bright. Its axis is all that can be known."""
    solid = Dented(Ellipsoid(radii=(0.4, 0.4, 0.4)), Ellipsoid((0.0, 0.0, 0.4), (0.25, 0.25, 0.25)))
    whole, cut = (trimesh.creation.icosphere(4, radius=r) for r in (0.4, 0.25))
    cut.apply_translation([0, 0, 0.4])
    bowl = trimesh.boolean.difference([whole, cut])
    mesh = Mesh(vertices=bowl.vertices.astype(np.float32), faces=bowl.faces.astype(np.int32))
    views = [
        with_depth(view, entry_depth([solid], camera), kind, encode=lambda z: slope * z + shift, unit=unit)
        for view, camera in zip(views_of([solid], CAMERAS, samples=3).views, CAMERAS, strict=True)
    ]
    frame = random_frame(6)
    found = placed(frame.applied(mesh), views, CAMERAS)
    axis = found.matrix[:3, :3] @ frame.rotation[:, 2] * frame.scale
    np.testing.assert_allclose(axis, [0, 0, 1], atol=0.02)


def test_crumbs_around_the_object_do_not_move_it(shared: Path) -> None:
    views, mesh, _ = sample_object(shared / "data", "fox")
    assert views.cameras is not None
    crumb = trimesh.creation.icosphere(1, radius=0.01)
    both = Mesh(
        vertices=np.concatenate([mesh.vertices, crumb.vertices + np.array([0.9, 0.7, -0.8])]).astype(np.float32),
        faces=np.concatenate([mesh.faces, crumb.faces + len(mesh.vertices)]).astype(np.int32),
    )
    frame = random_frame(2)
    found = placed(frame.applied(both), views.views, views.cameras)
    assert missed(found, frame).degrees < 0.2
    assert found.report["dropped_parts"] == 1
    assert found.mesh.vertices.shape == both.vertices.shape


@pytest.mark.slow
def test_another_object_is_told(shared: Path) -> None:
    views, _, _ = sample_object(shared / "data", "fox")
    assert views.cameras is not None
    found = placed(ball((0.4, 0.4, 0.4)), views.views, views.cameras)
    assert any("fits the outlines badly" in warning for warning in found.warnings)


# --- errors ----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_placed_is_refused() -> None:
    views, mesh = views_of([BRICK], CAMERAS, samples=1).views, brick(BRICK)
    with pytest.raises(ShapeError, match="6 views and 5 cameras"):
        placed(mesh, views, CAMERAS[:5])
    with pytest.raises(ShapeError, match="without faces"):
        placed(replace(mesh, faces=mesh.faces[:0]), views, CAMERAS)
    with pytest.raises(ShapeError, match="without area"):
        placed(replace(mesh, vertices=np.ones_like(mesh.vertices)), views, CAMERAS)
    with pytest.raises(ShapeError, match="not finite"):
        placed(replace(mesh, vertices=mesh.vertices * np.float32(np.nan)), views, CAMERAS)
    with pytest.raises(ShapeError, match="one sRGB colour per vertex"):
        placed(mesh, views, CAMERAS, np.zeros((3, 3), np.uint8))
    with pytest.raises(ShapeError, match=r"float64 .* expected uint8"):
        placed(mesh, views, CAMERAS, np.zeros((len(mesh.vertices), 3)))


def test_views_without_an_outline_are_refused() -> None:
    blank = [
        replace(view, mask=np.ones_like(view.mask), mask_source=MaskSource.NONE)
        for view in views_of([BRICK], CAMERAS, samples=1).views
    ]
    with pytest.raises(InputError, match="no view shows its whole outline"):
        placed(brick(BRICK), blank, CAMERAS)


@pytest.mark.parametrize("options", [{"image_size": 10}, {"rotations": 3}, {"candidates": 0}, {"views": 0}])
def test_senseless_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(OptionError):
        PlaceConfig(**options)  # type: ignore[arg-type]


def test_it_stops_when_asked() -> None:
    asked = 0

    def enough() -> bool:
        nonlocal asked
        asked += 1
        return asked > 20

    with pytest.raises(Cancelled):
        place(
            brick(BRICK),
            views_of([BRICK], CAMERAS, samples=1).views,
            CAMERAS,
            monitor=SilentMonitor(should_stop=enough),
            device="cpu",
        )
