"""The shape stage as a whole: what silhouettes leave open, what depth carves, and what it must not."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from meshwright.errors import Cancelled, InputError, OptionError
from meshwright.geometry import ShapeConfig, ShapeResult, reconstruct_shape
from meshwright.types import Array, DepthKind, Mesh, SilentMonitor, View, ViewSet
from scenes import TOOL, Box, Dented, Ellipsoid, Solid, entry_depth, pixel_grid, six, views_of, with_depth

WIDTH = 128
GRID = 64
BALL = Ellipsoid((0.0, 0.1, 0.42), (0.22, 0.22, 0.22))
SOLIDS: dict[str, tuple[Solid, ...]] = {
    "sphere": (Ellipsoid(),),
    # A bowl of depth 0.18 in the front of a sphere. No outline shows it.
    "dent": (Dented(Ellipsoid(), BALL),),
    "tool": TOOL,
    # Two voxels thick, and a block that makes the sides worth looking at.
    "plate": (Box((-0.35, -0.35, -0.012), (0.35, 0.35, 0.012)), Box((-0.35, -0.35, -0.3), (-0.15, -0.15, 0.3))),
}


@functools.cache
def bare(name: str) -> tuple[View, ...]:
    return views_of(SOLIDS[name], six(WIDTH)).views


@functools.cache
def depths(name: str) -> tuple[Array, ...]:
    return tuple(entry_depth(SOLIDS[name], camera) for camera in six(WIDTH))


def linear_far(z: Array) -> Array:
    return z / z.max()


def tenths_of_millimetres(z: Array) -> Array:
    return z * 10000 / 65535


def metric(name: str, factor: float = 1.0, unit: float | None = None) -> ViewSet:
    return ViewSet(
        views=tuple(
            with_depth(v, factor * z, DepthKind.METRIC, encode=tenths_of_millimetres, bits=16, unit=unit)
            for v, z in zip(bare(name), depths(name), strict=True)
        )
    )


def relative(name: str, encode: Callable[[Array], Array]) -> ViewSet:
    return ViewSet(
        views=tuple(
            with_depth(v, z, DepthKind.AUTO, encode=encode) for v, z in zip(bare(name), depths(name), strict=True)
        )
    )


def reconstruct(views: ViewSet, *, frame: str = "rig", grid: int = GRID, use_depth: bool = True) -> ShapeResult:
    config = ShapeConfig(grid=grid, frame=frame, use_depth=use_depth)
    return reconstruct_shape(views, six(WIDTH), config, SilentMonitor(), "cpu")


def volume_of(mesh: Mesh) -> float:
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    return float(np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6)


def assert_closed(mesh: Mesh) -> None:
    """Every directed edge once, and once the other way round: closed, and outward where the volume is positive."""
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]).astype(np.int64)
    count = len(mesh.vertices)
    there, back = (np.sort(edges[:, a] * count + edges[:, 1 - a]) for a in (0, 1))
    np.testing.assert_array_equal(there, back)
    assert (np.diff(there) > 0).all()
    assert volume_of(mesh) > 0


def dent_distance(points: Array) -> Array:
    """Signed distance to the dented sphere (exact but beside the bowl's rim), positive outside."""
    sphere = np.linalg.norm(points, axis=-1) - 0.4
    ball = 0.22 - np.linalg.norm(points - np.array(BALL.centre), axis=-1)
    return np.maximum(sphere, ball)


def cell_of(result: ShapeResult) -> float:
    cell = result.report["cell"]
    assert isinstance(cell, float)
    return cell


def missed(result: ShapeResult, name: str) -> int:
    """Pixels, two inside the outline of any view, whose ray does not meet the mesh."""
    import trimesh

    mesh = trimesh.Trimesh(result.mesh.vertices, result.mesh.faces, process=False)
    count = 0
    for camera, z in zip(six(WIDTH), depths(name), strict=True):
        inner = ndimage.binary_erosion(np.isfinite(z), iterations=2)
        directions = camera.unproject(pixel_grid(camera)[inner], np.ones(int(inner.sum()))) - camera.position
        if len(directions):
            hits = mesh.ray.intersects_any(np.broadcast_to(camera.position, directions.shape), directions)
            count += int((~hits).sum())
    return count


def test_a_sphere_without_depth_is_its_hull() -> None:
    result = reconstruct(ViewSet(views=bare("sphere")))
    assert_closed(result.mesh)
    radius = np.linalg.norm(result.mesh.vertices, axis=1)
    cell = cell_of(result)
    assert radius.min() > 0.4 - 0.3 * cell
    assert radius.max() < 0.4 * 1.2  # the corners where three cones meet
    np.testing.assert_allclose(result.extent, [[-0.405] * 3, [0.405] * 3], atol=0.5 * cell)
    assert result.report["depth"] == []
    assert result.warnings == ()


@pytest.mark.parametrize(
    ("views", "mean"),
    # In cells: 0.0125 object sides each. Measured 0.05 and 0.10.
    [(metric("dent"), 0.08), (relative("dent", linear_far), 0.15)],
    ids=["metric", "linear 8 bit"],
)
def test_depth_carves_what_no_outline_shows(views: ViewSet, mean: float) -> None:
    result = reconstruct(views)
    assert_closed(result.mesh)
    cell = cell_of(result)
    error = np.abs(dent_distance(result.mesh.vertices.astype(np.float64))) / cell
    assert error.mean() < mean
    bowl = np.linalg.norm(result.mesh.vertices - np.array(BALL.centre), axis=1) < 0.22 + cell
    assert bowl.sum() > 500
    # Measured 0.07 and 0.29; the hull is 3.6 cells off there on average.
    assert error[bowl].mean() < 0.45
    # The bottom of the bowl, seen straight on; an 8-bit step is 0.8 of a cell.
    middle = result.mesh.vertices[np.linalg.norm(result.mesh.vertices[:, :2] - [0.0, 0.1], axis=1) < cell]
    assert middle[middle[:, 2] > 0][:, 2].mean() == pytest.approx(0.2, abs=0.7 * cell)


def test_the_hull_does_not_show_the_bowl() -> None:
    result = reconstruct(metric("dent"), use_depth=False)
    error = dent_distance(result.mesh.vertices.astype(np.float64)) / cell_of(result)
    assert error.max() > 8
    assert result.report["depth"] == []


@pytest.mark.parametrize(
    ("factor", "frame"),
    # Depth that is 0.4 and 0.8 % too far lies one and two cells behind both faces of the plate: taken at its word it
    # would leave nothing of it.
    [(1.0, "given"), (1.004, "given"), (1.008, "given"), (1.0, "rig")],
)
def test_a_thin_plate_is_not_punched(factor: float, frame: str) -> None:
    result = reconstruct(metric("plate", factor, 6.5535), frame=frame)
    assert_closed(result.mesh)
    assert missed(result, "plate") == 0
    cell = cell_of(result)
    middle = np.abs(result.mesh.vertices[:, 0] - 0.1) < 0.2
    thin = result.mesh.vertices[middle & (np.abs(result.mesh.vertices[:, 1] - 0.1) < 0.2)]
    assert np.abs(thin[:, 2]).max() < 0.012 + 1.5 * cell


def test_a_render_of_something_else_is_left_out_with_a_warning() -> None:
    views = list(relative("tool", linear_far).views)
    views[2] = with_depth(bare("tool")[2], depths("sphere")[2], DepthKind.AUTO, encode=linear_far)
    result = reconstruct(ViewSet(views=tuple(views)))
    (warning,) = result.warnings
    assert warning.startswith("The depth of view left is not used: it")
    assert_closed(result.mesh)
    assert missed(result, "tool") < 10  # of 24,000 pixels


def test_renders_of_another_object_leave_the_hull_as_it_is() -> None:
    foreign = [
        with_depth(v, z, DepthKind.AUTO, encode=linear_far) for v, z in zip(bare("tool"), depths("dent"), strict=True)
    ]
    result = reconstruct(ViewSet(views=tuple(foreign)))
    assert len(result.warnings) == 6
    assert result.report["depth"] == []
    without = reconstruct(ViewSet(views=bare("tool")))
    np.testing.assert_array_equal(result.mesh.vertices, without.mesh.vertices)


def test_depth_makes_boxes_of_boxes() -> None:
    """The tool's volume, counted on a fine lattice; the hull's is two fifths larger."""
    axis = [np.linspace(-0.45, 0.45, 120)] * 3
    lattice = np.stack(np.meshgrid(*axis, indexing="ij"), -1)
    truth = np.any([solid.inside(lattice) for solid in TOOL], axis=0).mean() * 0.9**3
    carved, hull = (volume_of(reconstruct(metric("tool"), use_depth=use).mesh) for use in (True, False))
    # Measured 1.002 and 1.41 of the truth, which the lattice counts to half a percent.
    assert hull > 1.3 * truth
    assert carved == pytest.approx(truth, rel=0.015)


def test_extent_is_the_objects_box() -> None:
    result = reconstruct(metric("tool"))
    truth = np.array([[-0.27, -0.42, -0.40], [0.27, 0.42, 0.40]])
    # Measured 0.47 of a cell.
    np.testing.assert_allclose(result.extent, truth, atol=0.6 * cell_of(result))


def test_the_grid_says_how_many_cells_the_longest_side_has() -> None:
    result = reconstruct(ViewSet(views=bare("tool")), grid=40)
    grid = result.report["grid"]
    assert isinstance(grid, list)
    assert max(grid) == 41
    assert json.loads(json.dumps(result.report)) == result.report


def test_silhouettes_that_share_nothing_are_refused() -> None:
    views = list(bare("tool"))
    corner = np.zeros((WIDTH, WIDTH), np.float32)
    corner[:12, :12] = 1
    views[0] = replace(views[0], mask=corner)
    with pytest.raises(InputError, match="No point in space lies inside all silhouettes") as caught:
        reconstruct(ViewSet(views=tuple(views)))
    assert "masks" in caught.value.hint


@pytest.mark.parametrize("options", [{"grid": 16}, {"grid": 2000}, {"frame": "mine"}])
def test_options_without_meaning_are_refused(options: dict[str, int | str]) -> None:
    with pytest.raises(OptionError):
        ShapeConfig(**options)  # type: ignore[arg-type]


def test_two_runs_are_equal() -> None:
    views = relative("dent", linear_far)
    one, other = (reconstruct(views, grid=32) for _ in range(2))
    np.testing.assert_array_equal(one.mesh.vertices, other.mesh.vertices)
    np.testing.assert_array_equal(one.mesh.faces, other.mesh.faces)
    assert one.report == other.report


def test_it_stops_at_every_check() -> None:
    """Count the checks of a whole run, then say stop at each of them in turn."""
    views = metric("dent")
    asked = 0

    def never() -> bool:
        nonlocal asked
        asked += 1
        return False

    config = ShapeConfig(grid=32, frame="rig", image_size=64)
    reconstruct_shape(views, six(WIDTH), config, SilentMonitor(never), "cpu")
    checks = asked
    assert checks >= 4
    for allowed in range(checks):
        asked = 0

        def stop(allowed: int = allowed) -> bool:
            nonlocal asked
            asked += 1
            return asked > allowed

        with pytest.raises(Cancelled):
            reconstruct_shape(views, six(WIDTH), config, SilentMonitor(stop), "cpu")
        assert asked == allowed + 1


@pytest.mark.gpu
def test_a_gpu_makes_the_same_shape() -> None:
    views = metric("dent")
    config = ShapeConfig(grid=GRID, frame="rig")
    one = reconstruct(views)
    other = reconstruct_shape(views, six(WIDTH), config, SilentMonitor(), "cuda:0")
    assert volume_of(other.mesh) == pytest.approx(volume_of(one.mesh), rel=1e-3)
    np.testing.assert_allclose(other.extent, one.extent, atol=0.05 * cell_of(one))
