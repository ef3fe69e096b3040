"""Atlases: charts do not overlap, keep their distance and their density, and every face has a place."""

from __future__ import annotations

import subprocess
import time

import numpy as np
import pytest
import trimesh
from scipy.ndimage import distance_transform_edt

from meshwright.errors import Cancelled, OptionError
from meshwright.geometry.atlas import Atlas, AtlasConfig, unwrap
from meshwright.geometry.atlas import process as atlas_process
from meshwright.geometry.atlas.charts import AXES, PLANES, connect, face_pairs, label_faces
from meshwright.geometry.atlas.packing import pack_charts, place_bitmaps
from meshwright.types import Mesh, SilentMonitor


def as_mesh(mesh: trimesh.Trimesh) -> Mesh:
    return Mesh(vertices=mesh.vertices.astype(np.float32), faces=mesh.faces.astype(np.int32))


def spiral() -> trimesh.Trimesh:
    """A ribbon wound three times around an axis, each turn behind the last: it hides itself from every side."""
    turns = np.linspace(0, 6 * np.pi, 240)
    radius = 0.2 + 0.03 * turns
    line = np.stack([radius * np.cos(turns), radius * np.sin(turns)], 1)
    bottom = np.column_stack([line, np.zeros(len(line))])
    vertices = np.concatenate([bottom, bottom + np.array([0, 0, 0.3])])
    i = np.arange(len(line) - 1)
    n = len(line)
    faces = np.concatenate([np.stack([i, i + 1, i + 1 + n], 1), np.stack([i, i + 1 + n, i + n], 1)])
    return trimesh.Trimesh(vertices, faces, process=False)


def stairs() -> trimesh.Trimesh:
    """A slanted screw: seen from above, all turns lie over each other and all face up."""
    turns = np.linspace(0, 6 * np.pi, 200)
    inner = np.column_stack([0.1 * np.cos(turns), 0.05 * turns, -0.1 * np.sin(turns)])
    outer = np.column_stack([0.5 * np.cos(turns), 0.05 * turns, -0.5 * np.sin(turns)])
    n = len(turns)
    i = np.arange(n - 1)
    faces = np.concatenate([np.stack([i, i + n, i + 1 + n], 1), np.stack([i, i + 1 + n, i + 1], 1)])
    return trimesh.Trimesh(np.concatenate([inner, outer]), faces, process=False)


SHAPES = {
    "sphere": lambda: trimesh.creation.icosphere(subdivisions=4),
    "torus": lambda: trimesh.creation.torus(0.6, 0.25, major_sections=60, minor_sections=24),
    "box": lambda: trimesh.creation.box(extents=(1, 0.5, 0.3)).subdivide().subdivide(),
    "spiral": spiral,
    "stairs": stairs,
}


@pytest.fixture(scope="module", params=sorted(SHAPES))
def unwrapped(request: pytest.FixtureRequest) -> tuple[Mesh, Atlas]:
    mesh = as_mesh(SHAPES[request.param]())
    return mesh, unwrap(mesh, AtlasConfig(texture_size=512, padding=4))


def flat_corners(atlas: Atlas, size: int) -> np.ndarray:
    """Corner positions in texels, x right and y up, float64 [F, 3, 2]."""
    return atlas.uv.astype(np.float64)[atlas.uv_faces] * size


def texel_owners(atlas: Atlas, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which face covers each texel centre (-1 none), and how many do; edges count for nobody."""
    owner, count = np.full((size, size), -1), np.zeros((size, size), int)
    for face, corners in enumerate(flat_corners(atlas, size)):
        low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        inside = np.ones(x.shape, bool)
        for i in range(3):
            a, b = corners[i], corners[(i + 1) % 3]
            side = (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])
            inside &= side > 1e-3 * np.linalg.norm(b - a)
        rows, columns = y[inside].astype(int), x[inside].astype(int)
        owner[rows, columns] = face
        count[rows, columns] += 1
    return owner, count


def charts_of(atlas: Atlas) -> np.ndarray:
    """Charts as the texture has them: faces joined by shared texture coordinates, [F]."""
    return connect(np.zeros(len(atlas.uv_faces), np.int64), face_pairs(atlas.uv_faces))


def test_no_texel_has_two_faces(unwrapped: tuple[Mesh, Atlas]) -> None:
    _, atlas = unwrapped
    _, count = texel_owners(atlas, 512)
    assert count.max() == 1


def test_every_face_has_a_place(unwrapped: tuple[Mesh, Atlas]) -> None:
    mesh, atlas = unwrapped
    assert atlas.uv.dtype == np.float32 and atlas.uv_faces.dtype == np.int32
    assert atlas.uv_faces.shape == mesh.faces.shape
    assert atlas.uv.min() >= 0 and atlas.uv.max() <= 1
    a, b, c = (atlas.uv.astype(np.float64)[atlas.uv_faces[:, i]] for i in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    # Seen from outside, charts are not mirrored: text stays readable in the texture.
    assert area.min() > 0
    assert area.sum() / 2 > 0.3, "more than two thirds of the texture are empty"


def test_charts_keep_their_distance(unwrapped: tuple[Mesh, Atlas]) -> None:
    _, atlas = unwrapped
    owner, _ = texel_owners(atlas, 512)
    chart = np.where(owner >= 0, charts_of(atlas)[owner], -1)
    for name in np.unique(chart[chart >= 0]):
        distance = distance_transform_edt(chart != name)
        others = (chart >= 0) & (chart != name)
        if others.any():
            # From centre to centre: one texel more than from border to border.
            assert distance[others].min() >= 4
    border = np.ones(owner.shape, bool)
    border[2:-2, 2:-2] = False
    assert not (border & (owner >= 0)).any(), "half the padding is kept to the frame"


def test_texel_density_is_that_of_a_photograph(unwrapped: tuple[Mesh, Atlas]) -> None:
    """The area of each face in the texture is its area times the cosine to one of the six axes, times one factor."""
    mesh, atlas = unwrapped
    corners = mesh.vertices.astype(np.float64)[mesh.faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat = flat_corners(atlas, 1)
    u, v = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    seen = np.maximum(cross @ AXES.T, 1e-12)
    # Most faces lie along their best axis.
    factor = np.median(area / seen.max(1))
    assert (np.abs(area[:, None] / (factor * seen) - 1) < 0.01).any(1).all()
    # Nothing is squeezed thinner than the limit of absorbed charts.
    assert (area / np.linalg.norm(cross, axis=1) / factor).min() > 0.11


def test_planes_are_what_the_six_views_show() -> None:
    np.testing.assert_array_equal(np.cross(PLANES[:, 0], PLANES[:, 1]), AXES)


def test_labels_of_a_box_are_its_sides() -> None:
    mesh = as_mesh(SHAPES["box"]())
    labels = label_faces(mesh.vertices, mesh.faces, face_pairs(mesh.faces))
    normals = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).face_normals
    np.testing.assert_allclose(AXES[labels], normals, atol=1e-6)
    assert connect(labels, face_pairs(mesh.faces)).max() == 5


def test_noise_does_not_shatter_the_atlas() -> None:
    ball = trimesh.creation.icosphere(subdivisions=5)
    ball.vertices += np.random.default_rng(0).normal(0, 0.004, ball.vertices.shape)
    atlas = unwrap(as_mesh(ball), AtlasConfig(texture_size=1024))
    assert charts_of(atlas).max() + 1 < 40


def laid(bitmaps: list[np.ndarray], grid: int) -> list[list[int]] | None:
    """Column, row, turned of each bitmap."""
    height, width = np.array([bitmap.shape for bitmap in bitmaps], np.int32).T
    begin = np.cumsum(width * height) - width * height
    cells = np.concatenate([bitmap.ravel() for bitmap in bitmaps])
    places = place_bitmaps(cells, begin.astype(np.int32), width, height, grid)
    return None if places is None else places.tolist()


def test_bitmaps_fill_each_others_bays() -> None:
    """An L and the block that fits into it: together a square that stays in the lower left corner."""
    corner = np.ones((100, 100), np.uint8)
    corner[40:, 40:] = 0
    block = np.ones((60, 60), np.uint8)
    assert laid([corner, block], 100) == [[0, 0, 0], [40, 40, 0]]
    assert laid([corner, block, np.ones((1, 1), np.uint8)], 100) is None


def test_bitmaps_turn_where_that_is_lower() -> None:
    tower = np.ones((60, 10), np.uint8)
    assert laid([tower], 64) == [[0, 0, 1]]


def test_each_bitmap_gets_the_lowest_free_place() -> None:
    """Against every place tried one after the other, with ragged bitmaps full of holes."""
    grid, random = 64, np.random.default_rng(3)
    bitmaps = [(random.random(random.integers(1, 17, 2)) < 0.6).astype(np.uint8) for _ in range(40)]
    for bitmap in bitmaps:
        bitmap[0, 0] = 1
    places = laid(bitmaps, grid)
    assert places is not None
    taken = np.zeros((grid, grid), bool)
    for i in sorted(range(len(bitmaps)), key=lambda i: -int(bitmaps[i].sum())):
        found = []
        for turned, mask in enumerate((bitmaps[i], np.rot90(bitmaps[i], -1))):
            rows = len(mask)
            windows = np.lib.stride_tricks.sliding_window_view(taken, mask.shape)
            free = np.argwhere(~(windows & (mask > 0)).any((2, 3)))
            found += [(int(y) + rows, turned, int(x), int(y)) for y, x in free[:1]]
        _, turned, x, y = min(found)
        assert places[i] == [x, y, turned]
        mask = np.rot90(bitmaps[i], -turned)
        taken[y : y + mask.shape[0], x : x + mask.shape[1]] |= mask > 0


def test_a_turned_chart_keeps_its_winding() -> None:
    """A tall strip is laid flat: its faces must still run counter-clockwise and keep their size."""
    corners = np.array([[[0, 0], [1, 0], [0, 8]], [[1, 0], [1, 8], [0, 8]]], np.float64)
    flat = pack_charts(corners, np.zeros(2, np.int64), 256, 2)
    assert np.ptp(flat[..., 0]) > 7.9 * np.ptp(flat[..., 1])
    u, v = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    assert area[0] == pytest.approx(area[1]) and area[0] > 0


def test_too_many_charts_for_the_texture() -> None:
    boxes = [trimesh.creation.box(extents=(1, 1, 1)) for _ in range(60)]
    for i, item in enumerate(boxes):
        item.apply_translation((3 * i, 0, 0))
    with pytest.raises(OptionError, match=r"360 charts with 8 texels .* larger texture"):
        unwrap(as_mesh(trimesh.util.concatenate(boxes)), AtlasConfig(texture_size=64, padding=8))


def test_xatlas_runs_in_a_process_of_its_own() -> None:
    mesh = as_mesh(trimesh.creation.icosphere(subdivisions=2))
    atlas = unwrap(mesh, AtlasConfig(texture_size=256, method="xatlas", time_limit=60))
    assert (atlas.method, atlas.note) == ("xatlas", "")
    assert atlas.uv_faces.shape == mesh.faces.shape
    assert atlas.uv.min() >= 0 and atlas.uv.max() <= 1
    _, count = texel_owners(atlas, 256)
    assert count.max() == 1


class Started:
    """Remembers the processes that were started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.all: list[subprocess.Popen[bytes]] = []
        real = subprocess.Popen

        def start(*args: object, **options: object) -> subprocess.Popen[bytes]:
            process = real(*args, **options)  # type: ignore[call-overload]
            self.all.append(process)
            return process

        monkeypatch.setattr(atlas_process.subprocess, "Popen", start)


def test_xatlas_is_killed_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    started = Started(monkeypatch)
    mesh = as_mesh(trimesh.creation.icosphere(subdivisions=2))
    begun = time.monotonic()
    atlas = unwrap(mesh, AtlasConfig(texture_size=256, method="xatlas", time_limit=0.01))
    assert time.monotonic() - begun < 10
    assert atlas.method == "views"
    assert "stopped after 0.01 seconds" in atlas.note
    assert [process.returncode is not None for process in started.all] == [True]


def test_xatlas_is_killed_when_nobody_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started = Started(monkeypatch)
    mesh = as_mesh(trimesh.creation.icosphere(subdivisions=2))
    with pytest.raises(Cancelled):
        unwrap(mesh, AtlasConfig(texture_size=256, method="xatlas"), SilentMonitor(should_stop=lambda: True))
    assert [process.returncode is not None for process in started.all] == [True]


def test_config_names_every_fault() -> None:
    with pytest.raises(OptionError, match=r"texture_size=8 .*padding=-1 .*method='best' .*time_limit=0 "):
        AtlasConfig(texture_size=8, padding=-1, method="best", time_limit=0)
    with pytest.raises(OptionError, match="no faces"):
        unwrap(Mesh(vertices=np.zeros((0, 3), np.float32), faces=np.zeros((0, 3), np.int32)))
