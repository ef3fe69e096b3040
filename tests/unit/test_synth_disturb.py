"""Disturbed copies: nothing happens at zero, and what happens is exactly what `disturb.json` says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meshwright.errors import InputError, OptionError, OutputError
from meshwright.synth import DisturbConfig, SynthConfig, disturb, write_example
from meshwright.synth.disturb import draw_disturbances
from meshwright.synth.resample import Disturbance, disturbed_camera, resample_depth, resample_picture
from meshwright.synth.rig import six_view_cameras
from meshwright.transforms import read_cameras
from meshwright.types import VIEW_NAMES, Array

STILL = DisturbConfig(scale=0, offset=0, depth_scale=0, depth_shift=0)
SIZE = 128


@pytest.fixture(scope="module")
def bird(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synth") / "bird"
    write_example("bird", folder, SynthConfig(size=SIZE, white=True, test_views=2, mesh_grid=64))
    return folder


def read(path: Path) -> Array:
    with Image.open(path) as image:
        return np.asarray(image)


def difference(a: Path, b: Path) -> int:
    return int(np.abs(read(a).astype(int) - read(b).astype(int)).max())


def test_nothing_happens_at_zero(bird: Path, tmp_path: Path) -> None:
    disturb(bird, tmp_path / "d", STILL)
    for name in VIEW_NAMES:
        for folder, most in (("views", 1), ("views_white", 1), ("depth_metric", 0), ("depth_linear8", 0)):
            assert difference(bird / folder / f"{name}.png", tmp_path / "d" / folder / f"{name}.png") <= most
    for name in ("gt_mesh.ply", "transforms_test.json", "test/r_00.png"):
        assert (bird / name).read_bytes() == (tmp_path / "d" / name).read_bytes()
    assert not (tmp_path / "d" / "transforms_train.json").exists(), "cameras that no longer fit"
    true = read_cameras(tmp_path / "d" / "cameras_true.json")
    for (_, camera), original in zip(true, six_view_cameras(SIZE), strict=True):
        np.testing.assert_allclose(camera.camera_to_world, original.camera_to_world, atol=1e-9)
        assert (camera.fl_x, camera.cx, camera.cy) == pytest.approx((original.fl_x, original.cx, original.cy))


def test_whole_pixels_move_unchanged() -> None:
    codes = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    moved = resample_picture(codes, Disturbance(shows="front", offset=(3 / 32, -2 / 32)))
    np.testing.assert_array_equal(moved[:-2, 3:], codes[2:, :-3])
    depth = np.random.default_rng(1).integers(1, 65535, (32, 32)).astype(np.uint16)
    moved = resample_depth(depth, Disturbance(shows="front", offset=(3 / 32, 0), depth_shift=(0, -2)))
    np.testing.assert_array_equal(moved[:-2, 3:], depth[2:, :-3])
    assert (moved[-2:] == 0).all()


def test_a_ramp_keeps_its_values_at_sub_pixel_places() -> None:
    """Cubic and linear filters reproduce a linear function: each pixel shows the value of the place it came from."""
    x = np.arange(64) + 0.5
    depth = np.repeat((10_000 + 100 * x)[None], 64, 0).astype(np.uint16)
    change = Disturbance(shows="front", scale=1.05, offset=(0.0113, -0.007), depth_scale=0.99, depth_shift=(1.3, 0.4))
    moved = resample_depth(depth, change)
    from_x = 32 + (x - 32 - 0.0113 * 64 * 0.99 - 1.3) / (1.05 * 0.99)
    inner = slice(8, 56)
    np.testing.assert_allclose(moved[32, inner], (10_000 + 100 * from_x)[inner], atol=51)  # half a step of the ramp
    np.testing.assert_allclose(np.median(np.abs(moved[32, inner] - (10_000 + 100 * from_x)[inner])), 0, atol=1)


def test_edges_of_pictures_get_no_halo() -> None:
    """A white disc without background: its colour stays white to the last covered pixel."""
    y, x = np.mgrid[0:64, 0:64] + 0.5
    alpha = np.clip(20 - np.hypot(x - 30, y - 33) + 0.5, 0, 1)
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[..., 3] = np.rint(255 * alpha)
    rgba[alpha > 0, :3] = 255
    change = Disturbance(shows="front", scale=0.953, offset=(0.011, -0.017))
    moved = resample_picture(rgba, change)
    assert (moved[moved[..., 3] > 2, :3] >= 253).all()
    centre = 32 + 0.953 * (np.array([30, 33]) - 32) + np.array([0.011, -0.017]) * 64
    expected = np.clip(20 * 0.953 - np.hypot(x - centre[0], y - centre[1]) + 0.5, 0, 1)
    assert np.abs(moved[..., 3] / 255 - expected).max() < 0.2  # where the rim crosses a pixel corner
    assert np.abs(moved[..., 3] / 255 - expected).mean() < 0.003
    far = np.hypot(x - centre[0], y - centre[1]) > 20 * 0.953 + 2.5
    assert (moved[far] == 0).all(), "ringing outside"


def test_depth_is_never_mixed_across_a_step() -> None:
    """Two planes and background: only their own codes may come out."""
    depth = np.zeros((64, 64), np.uint8)
    depth[10:50, 10:50] = 120
    depth[20:40, 20:40] = 220
    moved = resample_depth(depth, Disturbance(shows="front", scale=1.037, offset=(0.0123, 0.0071), depth_scale=0.985))
    assert set(np.unique(moved)) == {0, 120, 220}


def test_cameras_fit_the_disturbed_pictures(bird: Path, tmp_path: Path) -> None:
    import trimesh

    plan = disturb(bird, tmp_path / "d", DisturbConfig(seed=4))
    vertices = trimesh.load(bird / "gt_mesh.ply", process=False).vertices
    for _, camera in read_cameras(tmp_path / "d" / "cameras_true.json"):
        pixels, _ = camera.project(vertices)
        rows, columns = np.nonzero(read(tmp_path / "d/views" / f"{camera.name}.png")[..., 3] > 127)
        for axis, codes in ((0, columns), (1, rows)):
            assert codes.min() == pytest.approx(pixels[:, axis].min(), abs=1.5)
            assert codes.max() + 1 == pytest.approx(pixels[:, axis].max(), abs=1.5)
        rows, columns = np.nonzero(read(tmp_path / "d/depth_metric" / f"{camera.name}.png"))
        change = plan[camera.name]
        centre = SIZE / 2
        low, high = (
            centre + change.depth_scale * (edge - centre) + np.array(change.depth_shift)
            for edge in (pixels.min(0), pixels.max(0))
        )
        np.testing.assert_allclose([columns.min(), rows.min()], low, atol=1.6)
        np.testing.assert_allclose([columns.max() + 1, rows.max() + 1], high, atol=1.6)


@pytest.mark.parametrize("seed", range(5))
def test_amounts_are_used_in_both_directions_and_differ(seed: int) -> None:
    plan = draw_disturbances(DisturbConfig(seed=seed))
    scales = np.array([change.scale for change in plan.values()]) - 1
    assert scales.min() < -0.04
    assert scales.max() > 0.04
    assert np.ptp(np.sort(scales)[[0, 1]]) > 0.004
    assert np.abs(scales).max() <= 0.06 + 1e-12
    assert np.abs([change.offset for change in plan.values()]).max() <= 0.02
    assert np.abs([change.depth_scale - 1 for change in plan.values()]).max() <= 0.02 + 1e-12
    assert 1 < np.abs([change.depth_shift for change in plan.values()]).max() <= 4


def test_same_seed_same_files(bird: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        disturb(bird, tmp_path / name, DisturbConfig(seed=seed, studio=True, gain=0.05))
    for name in ("views/left.png", "depth_norm/top.png", "disturb.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "c" / name).read_bytes()


def test_swapped_views_exchange_all_their_files(bird: Path, tmp_path: Path) -> None:
    disturb(bird, tmp_path / "d", DisturbConfig(scale=0, offset=0, depth_scale=0, depth_shift=0, swap_left_right=True))
    for folder in ("views", "views_white", "depth_metric", "depth_norm"):
        assert difference(bird / folder / "left.png", tmp_path / "d" / folder / "right.png") <= 1
        assert difference(bird / folder / "right.png", tmp_path / "d" / folder / "left.png") <= 1
        assert difference(bird / folder / "front.png", tmp_path / "d" / folder / "front.png") <= 1
    assert json.loads((tmp_path / "d/disturb.json").read_text())["views"]["left"]["shows"] == "right"
    true = dict(read_cameras(tmp_path / "d" / "cameras_true.json"))
    assert true["./views/left"].position[0] < 0


def test_a_mirrored_view_is_flipped_with_its_depth(bird: Path, tmp_path: Path) -> None:
    disturb(bird, tmp_path / "d", DisturbConfig(scale=0, offset=0, depth_scale=0, depth_shift=0, mirror="top"))
    for folder in ("views", "views_white", "depth_metric"):
        flipped = read(tmp_path / "d" / folder / "top.png")[:, ::-1].astype(int)
        assert np.abs(flipped - read(bird / folder / "top.png")).max() <= 1
    assert json.loads((tmp_path / "d/disturb.json").read_text())["views"]["top"]["mirrored"] is True


def test_no_view_is_pushed_over_the_edge(tmp_path: Path) -> None:
    """An object that nearly fills the frame stays whole, and `keep_inside=False` cuts it off."""
    folder = tmp_path / "s"
    (folder / "views").mkdir(parents=True)
    rgba = np.zeros((100, 100, 4), np.uint8)
    rgba[3:96, 20:80] = 200, 100, 50, 255
    for name in VIEW_NAMES:
        Image.fromarray(rgba).save(folder / "views" / f"{name}.png")
    plan = disturb(folder, tmp_path / "in", DisturbConfig(seed=0))
    disturb(folder, tmp_path / "out", DisturbConfig(seed=0, keep_inside=False))
    touching = {
        run: sum(read(tmp_path / run / "views" / f"{name}.png")[[0, -1], :, 3].max() > 127 for name in VIEW_NAMES)
        for run in ("in", "out")
    }
    assert touching["in"] == 0
    assert touching["out"] > 0
    assert min(change.scale for change in plan.values()) < 0.97
    assert max(abs(value) for change in plan.values() for value in change.offset) <= 0.02 + 1e-9


def test_studio_ground_is_plain_and_leaves_the_object_alone(bird: Path, tmp_path: Path) -> None:
    disturb(bird, tmp_path / "d", DisturbConfig(scale=0, offset=0, depth_scale=0, depth_shift=0, studio=True))
    for name in VIEW_NAMES:
        picture, rgba = read(tmp_path / "d/views" / f"{name}.png").astype(int), read(bird / "views" / f"{name}.png")
        assert picture.shape == (SIZE, SIZE, 3)
        inside, outside = rgba[..., 3] == 255, rgba[..., 3] == 0
        assert np.abs(picture - rgba[..., :3])[inside].max() <= 1
        assert picture[outside].min() > 150
        assert picture[0].min() > 225
        assert 2 < np.ptp(picture[outside]) < 100


def test_views_without_alpha_keep_their_ground(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    (folder / "views").mkdir(parents=True)
    for name in VIEW_NAMES:
        Image.new("RGB", (40, 40), (240, 241, 242)).save(folder / "views" / f"{name}.png")
    disturb(folder, tmp_path / "d", DisturbConfig(seed=1))
    assert (read(tmp_path / "d/views/back.png") == [240, 241, 242]).all()
    with pytest.raises(InputError, match="no alpha"):
        disturb(folder, tmp_path / "e", DisturbConfig(studio=True))
    assert not (tmp_path / "e").exists()


def test_camera_of_a_scaled_picture() -> None:
    camera = six_view_cameras(100)[0]
    change = Disturbance(shows="front", scale=1.1, offset=(0.02, -0.01))
    pixels, _ = camera.project(np.array([[0.1, 0.2, 0.3]]))
    moved, _ = disturbed_camera(camera, change).project(np.array([[0.1, 0.2, 0.3]]))
    np.testing.assert_allclose(moved, 50 + 1.1 * (pixels - 50) + np.array([2, -1]))


def test_mistakes_are_named(bird: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no views/front\.png"):
        disturb(tmp_path, tmp_path / "d")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "y").touch()
    with pytest.raises(OutputError, match="not empty"):
        disturb(bird, tmp_path / "x")
    with pytest.raises(OptionError, match="mirror='side'"):
        DisturbConfig(mirror="side")
    with pytest.raises(OptionError, match=r"scale=0\.9"):
        DisturbConfig(scale=0.9)
    with pytest.raises(OptionError, match="depth_shift=-1"):
        DisturbConfig(depth_shift=-1)
