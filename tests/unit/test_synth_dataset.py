"""Example folders: their layout, their encodings, and that pictures, depth, cameras and surface tell one story."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meshwright.errors import Cancelled, OptionError, OutputError
from meshwright.synth import SynthConfig, write_example
from meshwright.synth.encode import DEPTH_ENCODERS, on_white, rgba8
from meshwright.synth.objects import get_object
from meshwright.synth.rig import six_view_cameras
from meshwright.synth.trace import render
from meshwright.synth.truth import prepare
from meshwright.transforms import read_cameras
from meshwright.types import VIEW_NAMES, Array, SilentMonitor

SIZE = 96


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synth") / "robot"
    write_example("robot", folder, SynthConfig(size=SIZE, white=True, mesh_grid=96))
    return folder


def read(path: Path) -> Array:
    with Image.open(path) as image:
        return np.asarray(image)


def mode(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


def names_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_layout_is_that_of_the_sample_objects(robot: Path, shared: Path) -> None:
    sample = shared / "data" / "spot"
    assert names_below(robot) == names_below(sample)
    for name in ("views/front", "views_white/front", "depth_metric/front", "depth_norm/front", "test/r_00"):
        assert mode(robot / f"{name}.png") == mode(sample / f"{name}.png"), name
    ours = dict(read_cameras(robot / "transforms_train.json"))
    for path, camera in read_cameras(sample / "transforms_train.json"):
        np.testing.assert_allclose(ours[path].camera_to_world, camera.camera_to_world, atol=1e-7)
        assert ours[path].fl_x / SIZE == pytest.approx(camera.fl_x / camera.width, rel=1e-6)
    own = json.loads((robot / "transforms_test.json").read_text())["frames"]
    distance = [np.linalg.norm(np.array(frame["transform_matrix"])[:3, 3]) for frame in own]
    np.testing.assert_allclose(distance, 3.4)


def test_depth_kinds_encode_one_depth(robot: Path) -> None:
    for view in VIEW_NAMES:
        z = read(robot / f"depth_metric/{view}.png") / 10_000
        linear, norm = read(robot / f"depth_linear8/{view}.png"), read(robot / f"depth_norm/{view}.png")
        hit = z > 0
        assert ((linear > 0) == hit).all()
        assert ((norm > 0) == hit).all()
        assert 1.9 < z[hit].min() < z[hit].max() < 3.1
        # Half a code of the 8-bit file, and half a code of the metric one it is compared with.
        assert np.abs(linear[hit] - 255 * z[hit] / z.max()).max() < 0.52
        inverse = 1 / z[hit]
        share = (inverse - inverse.min()) / (inverse.max() - inverse.min())
        assert np.abs(norm[hit] - (120 + 135 * share)).max() < 0.6
        alpha = read(robot / f"views/{view}.png")[..., 3]
        assert hit[alpha == 255].all()
        assert not hit[alpha == 0].any()


def test_white_views_are_the_views_on_white(robot: Path) -> None:
    for view in VIEW_NAMES:
        rgba = read(robot / f"views/{view}.png").astype(float)
        white = rgba[..., :3] * rgba[..., 3:] / 255 + 255 - rgba[..., 3:]
        assert np.abs(white - read(robot / f"views_white/{view}.png")).max() <= 0.5


def test_depth_of_one_view_lands_on_the_surface_in_every_other(robot: Path) -> None:
    """Every pixel of every view, carried through both cameras: inside the other silhouette, never in front of it."""
    views = {
        camera.name: (camera, read(robot / f"depth_metric/{camera.name}.png") / 10_000)
        for _, camera in read_cameras(robot / "transforms_train.json")
    }
    for first, (camera, depth) in views.items():
        rows, columns = np.nonzero(depth)
        points = camera.unproject(np.stack([columns + 0.5, rows + 0.5], -1), depth[rows, columns])
        assert np.abs(points).max() < 0.5 + 1e-3
        for second, (other, there) in views.items():
            pixels, z = other.project(points)
            x, y = np.floor(pixels).astype(int).T
            # A pixel is 0.012 wide: the farthest depth of its neighbourhood has to lie behind the point or at it.
            around = np.stack([there[y + dy, x + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
            assert (around.max(0) > 0).mean() > 0.999, (first, second)
            nearest = np.where(around > 0, around, np.inf).min(0)
            assert (z > nearest - 0.03).mean() > 0.99, (first, second)
            if first == second:
                np.testing.assert_allclose(z, there[y, x], atol=1e-9)


def test_surface_fills_the_silhouettes(robot: Path) -> None:
    import trimesh

    mesh = trimesh.load(robot / "gt_mesh.ply", process=False)
    assert mesh.is_watertight
    np.testing.assert_allclose(mesh.extents.max(), 1, atol=1e-5)
    for _, camera in read_cameras(robot / "transforms_test.json"):
        pixels, _ = camera.project(mesh.vertices)
        rows, columns = np.nonzero(read(robot / f"test/{camera.name}.png")[..., 3])
        for axis, codes in ((0, columns), (1, rows)):
            # The first and last covered pixel hold the outermost vertex; a tip may pass between the rays.
            assert codes.min() - 0.5 <= pixels[:, axis].min() < codes.min() + 1.3
            assert codes.max() - 0.3 < pixels[:, axis].max() <= codes.max() + 1.5


@pytest.mark.slow
def test_the_scoring_tool_takes_the_folder(robot: Path, shared: Path) -> None:
    command = [sys.executable, str(shared / "tools" / "score.py"), "--pred", str(robot / "gt_mesh.ply")]
    done = subprocess.run([*command, "--object", str(robot), "--json"], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["geometry"]["fscore_0.01"] == 1
    assert result["images"]["sil_iou"] > 0.96
    assert result["images"]["n_views"] == 8


def test_plain_example_is_what_a_user_has(tmp_path: Path) -> None:
    write_example("teapot", tmp_path / "t", SynthConfig(size=32, plain=True, depth=("norm",), mesh_grid=32))
    assert names_below(tmp_path / "t") == sorted(f"{d}/{v}.png" for d in ("views", "depth") for v in VIEW_NAMES)
    assert mode(tmp_path / "t/views/top.png") == "RGB"
    assert read(tmp_path / "t/views/top.png")[0, 0].tolist() == [255, 255, 255]


def test_posed_example_holds_a_tenth_back(tmp_path: Path) -> None:
    write_example("gear", tmp_path / "g", SynthConfig(size=16, posed=20, samples=1, mesh_grid=32))
    train, test = (read_cameras(tmp_path / f"g/transforms_{split}.json") for split in ("train", "test"))
    assert (len(train), len(test)) == (18, 2)
    assert sorted(camera.name for _, camera in (*train, *test)) == [f"r_{i:02d}" for i in range(20)]
    assert names_below(tmp_path / "g") == sorted(
        [*(f"img/r_{i:02d}.png" for i in range(20)), "gt_mesh.ply", "transforms_test.json", "transforms_train.json"]
    )
    heights = [camera.position[1] for _, camera in train]
    assert min(heights) < -2
    assert max(heights) > 2


def test_seeds_decide_everything(tmp_path: Path) -> None:
    config = {"size": 32, "mesh_grid": 32, "test_views": 2, "depth": ("metric",)}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_example("toadstool", tmp_path / name, SynthConfig(seed=seed, **config))  # type: ignore[arg-type]
    files = names_below(tmp_path / "a")
    same = [(tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files]
    assert all(same)
    for name in ("views/top.png", "test/r_00.png", "transforms_test.json"):
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "c" / name).read_bytes()
    assert (tmp_path / "a/depth_metric/top.png").read_bytes() == (tmp_path / "c/depth_metric/top.png").read_bytes()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="not empty"):
        write_example("mug", tmp_path)
    assert names_below(tmp_path) == ["mine.txt"]


def test_progress_only_rises(tmp_path: Path) -> None:
    class Listener(SilentMonitor):
        heard: list[float] = []  # noqa: RUF012

        def report(self, percent: float, step: str) -> None:
            self.heard.append(percent)

    write_example("gear", tmp_path / "g", SynthConfig(size=16, test_views=4, mesh_grid=16), monitor=Listener())
    assert Listener.heard == sorted(Listener.heard)
    assert (Listener.heard[0], Listener.heard[-1]) == (0, 100)


def test_stopping_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        write_example("mug", tmp_path / "m", SynthConfig(size=16, mesh_grid=16), monitor=SilentMonitor(lambda: True))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 8}, "size=8"),
        ({"depth": ("fog",)}, "'fog' is not known"),
        ({"posed": 1}, "posed=1"),
        ({"posed": 10, "plain": True}, "not posed"),
    ],
)
def test_settings_without_meaning_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        SynthConfig(**values)  # type: ignore[arg-type]


EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "six_views"


def test_bundled_example_is_small_and_plain() -> None:
    files = [path for path in EXAMPLE.rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(EXAMPLE)) for path in files) == sorted(
        f"{folder}/{view}.png" for folder in ("views", "depth") for view in VIEW_NAMES
    )
    assert sum(path.stat().st_size for path in files) < 1_500_000
    assert mode(EXAMPLE / "views/front.png") == "RGB"
    assert mode(EXAMPLE / "depth/front.png") == "L"


def test_bundled_example_is_what_its_command_makes() -> None:
    """One view drawn again; another processor may round a ray differently here and there."""
    scene, _ = prepare(get_object("toy_car"), grid=SynthConfig().mesh_grid)
    picture = render(scene, six_view_cameras(512)[3])
    again = on_white(rgba8(picture)).astype(int)
    assert np.abs(again - read(EXAMPLE / "views/right.png")).mean() < 0.02
    assert (DEPTH_ENCODERS["linear8"](picture.depth) != read(EXAMPLE / "depth/right.png")).mean() < 1e-3
