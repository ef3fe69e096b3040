from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from meshwright.errors import CameraError, OutputError
from meshwright.transforms import find_image, parse_cameras, png_size, read_cameras, write_cameras
from meshwright.types import Camera

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def camera(seed: int, **changes: object) -> Camera:
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(random_state=seed).as_matrix()
    matrix[:3, 3] = rng.normal(0, 2, 3)
    values: dict[str, object] = {
        "name": f"r_{seed}",
        "camera_to_world": matrix,
        "fl_x": rng.uniform(300, 900),
        "fl_y": rng.uniform(300, 900),
        "cx": rng.uniform(100, 300),
        "cy": rng.uniform(100, 300),
        "width": 400,
        "height": 300,
    }
    return Camera(**(values | changes))  # type: ignore[arg-type]


def parse(document: object) -> tuple[tuple[str, Camera], ...]:
    return parse_cameras(json.dumps(document).encode(), "cameras.json", lambda _: (80, 60))


def frame(matrix: object = None, **more: object) -> dict[str, object]:
    return {"file_path": "./train/r_0", "transform_matrix": np.eye(4).tolist() if matrix is None else matrix, **more}


@pytest.mark.parametrize("shared_angle", [True, False])
def test_written_cameras_come_back(tmp_path: Path, shared_angle: bool) -> None:
    cameras = [camera(seed, **({"fl_x": 500.0} if shared_angle else {})) for seed in range(5)]
    names = [f"views/r_{seed}.png" for seed in range(5)]
    write_cameras(tmp_path / "cameras.json", cameras, names)
    assert [path.name for path in tmp_path.iterdir()] == ["cameras.json"]
    document = json.loads((tmp_path / "cameras.json").read_text())
    assert ("camera_angle_x" in document) == shared_angle
    back = read_cameras(tmp_path / "cameras.json")
    assert [name for name, _ in back] == names
    for (_, found), expected in zip(back, cameras, strict=True):
        np.testing.assert_allclose(found.camera_to_world, expected.camera_to_world, atol=1e-12)
        for key in ("name", "fl_x", "fl_y", "cx", "cy", "width", "height"):
            assert getattr(found, key) == getattr(expected, key)


def test_plain_readers_find_the_same_field_of_view(tmp_path: Path) -> None:
    """Readers that know only `camera_angle_x` compute the focal length from the width: it must be ours."""
    write_cameras(tmp_path / "c.json", [camera(1, fl_x=617.0)], ["a"])
    angle = json.loads((tmp_path / "c.json").read_text())["camera_angle_x"]
    assert 0.5 * 400 / math.tan(0.5 * angle) == pytest.approx(617.0)


def test_depth_paths_are_written_where_they_are(tmp_path: Path) -> None:
    write_cameras(tmp_path / "c.json", [camera(1), camera(2)], ["a", "b"], depth_paths=["depth/a.png", None])
    frames = json.loads((tmp_path / "c.json").read_text())["frames"]
    assert frames[0]["depth_file_path"] == "depth/a.png"
    assert "depth_file_path" not in frames[1]


def test_write_faults(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="1 cameras but 2 file names"):
        write_cameras(tmp_path / "c.json", [camera(1)], ["a", "b"])
    with pytest.raises(OutputError, match="cannot be written"):
        write_cameras(tmp_path / "missing" / "c.json", [camera(1)], ["a"])
    assert list(tmp_path.iterdir()) == []


def test_angle_and_size_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    Image.new("RGB", (120, 90)).save(tmp_path / "train" / "r_0.png")
    (tmp_path / "t.json").write_text(json.dumps({"camera_angle_x": 0.8, "frames": [frame()]}))
    ((path, found),) = read_cameras(tmp_path / "t.json")
    assert path == "./train/r_0"
    assert found.name == "r_0"
    assert (found.width, found.height, found.cx, found.cy) == (120, 90, 60, 45)
    assert found.fl_x == found.fl_y == pytest.approx(60 / math.tan(0.4))


@pytest.mark.parametrize(
    ("top", "own", "fl_x", "fl_y"),
    [
        ({"fl_x": 100}, {}, 100, 100),
        ({"fl_x": 100, "fl_y": 110}, {}, 100, 110),
        ({"fl_x": 100, "fl_y": 110, "camera_angle_x": 1.0}, {}, 100, 110),
        ({"fl_x": 100, "fl_y": 110}, {"fl_x": 90, "fl_y": 95}, 90, 95),
        ({"fl_x": 100}, {"camera_angle_x": math.pi / 2}, 40, 40),
        ({"camera_angle_x": 1.0}, {"fl_x": 70}, 70, 70),
        ({"camera_angle_x": math.pi / 2, "camera_angle_y": math.pi / 2}, {}, 40, 30),
    ],
)
def test_the_frame_wins_and_pixels_win_over_angles(
    top: dict[str, float], own: dict[str, float], fl_x: float, fl_y: float
) -> None:
    ((_, found),) = parse({**top, "frames": [frame(**own)]})
    assert found.fl_x == pytest.approx(fl_x)
    assert found.fl_y == pytest.approx(fl_y)


def test_three_decimals_and_a_uniform_scale_are_fine() -> None:
    """The rotation comes out exact; the camera's place is not scaled with it."""
    rotation = Rotation.from_euler("xyz", [0.4, -1.1, 2.0]).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = np.round(rotation, 3) * 1.7
    matrix[:3, 3] = [1, 2, 3]
    ((_, found),) = parse({"fl_x": 50, "frames": [frame(matrix.tolist())]})
    axes = found.camera_to_world[:3, :3]
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(axes, rotation, atol=2e-3)
    np.testing.assert_array_equal(found.camera_to_world[:3, 3], [1, 2, 3])


def changed(row: int, column: int, value: object) -> list[list[object]]:
    matrix: list[list[object]] = np.eye(4).tolist()
    matrix[row][column] = value
    return matrix


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "has no frames"),
        ({"frames": {}}, "has no frames"),
        ({"frames": [7]}, "frame 0: it is not an object"),
        ({"frames": [{"transform_matrix": np.eye(4).tolist()}]}, "it has no file_path"),
        ({"fl_x": 1, "frames": [frame(np.eye(3).tolist())]}, "transform_matrix is 3x3, expected 4x4"),
        ({"fl_x": 1, "frames": [frame(5)]}, "transform_matrix is a single value, expected 4x4"),
        ({"fl_x": 1, "frames": [frame([[1, 2], [3]])]}, "not a 4x4 table of numbers"),
        ({"fl_x": 1, "frames": [frame(changed(0, 0, math.inf))]}, "not finite"),
        ({"fl_x": 1, "frames": [frame(changed(0, 0, 1.1))]}, "not a rotation"),
        ({"fl_x": 1, "frames": [frame(np.zeros((4, 4)).tolist())]}, "the last row"),
        ({"fl_x": 1, "frames": [frame(np.diag([0, 0, 0, 1.0]).tolist())]}, "not a rotation"),
        ({"fl_x": 1, "frames": [frame(changed(1, 1, -1))]}, "mirrors"),
        ({"frames": [frame()]}, "no focal length"),
        ({"fl_x": -3, "frames": [frame()]}, r"its focal length \(-3, -3\) is not above 0"),
        ({"fl_x": "wide", "frames": [frame()]}, "fl_x is 'wide', which is not a finite number"),
        ({"fl_x": True, "frames": [frame()]}, "fl_x is True"),
        ({"camera_angle_x": 0, "frames": [frame()]}, "is not between 0 and pi"),
        ({"fl_x": 1, "w": 12.5, "h": 10, "frames": [frame()]}, "size 12.5x10 makes no sense"),
        ({"fl_x": 1, "frames": [frame(k1=0.1)]}, "undistort the images first"),
        ({"fl_x": 1, "is_fisheye": True, "frames": [frame()]}, "undistort the images first"),
        ({"fl_x": 1, "frames": [frame(), frame()]}, "r_0 appears 2 times"),
    ],
)
def test_faults(document: object, message: str) -> None:
    with pytest.raises(CameraError, match=message) as caught:
        parse(document)
    assert "cameras.json" in caught.value.message


def test_all_faults_at_once_and_unknown_size() -> None:
    document = {"fl_x": 1, "frames": [frame(), {"file_path": "b"}, 3]}
    with pytest.raises(CameraError) as caught:
        parse_cameras(json.dumps(document).encode(), "t.json", lambda _: None)
    assert caught.value.details["faults"] == [
        "frame 0 (./train/r_0): the image size is not known: no w and h, and no readable image",
        "frame 1 (b): it has no transform_matrix",
        "frame 2: it is not an object",
    ]


def test_not_a_file_and_not_json(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match=r"Camera file 'none\.json' cannot be read"):
        read_cameras(tmp_path / "none.json")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(CameraError, match="not JSON"):
        read_cameras(tmp_path / "deep.json")


def test_image_names_and_sizes(tmp_path: Path) -> None:
    assert find_image("./train/r_0") == ("train/r_0.png", "train/r_0")
    assert find_image("a\\b.PNG") == ("a/b.PNG",)
    assert png_size(tmp_path / "none.png") is None
    (tmp_path / "text.png").write_text("this is no picture at all")
    assert png_size(tmp_path / "text.png") is None


def test_sample_cameras_look_where_the_readme_says() -> None:
    path = DATA / "spot" / "transforms_train.json"
    if not path.is_file():
        pytest.skip("the sample renders (../shared/data) are not here")
    cameras = {found.name: found for _, found in read_cameras(path)}
    assert list(cameras) == ["front", "back", "left", "right", "top", "bottom"]
    np.testing.assert_allclose(cameras["left"].position, [2.5, 0, 0], atol=1e-9)
    pixels, z = cameras["top"].project(np.array([0.0, 0.0, 0.2]))
    assert z == pytest.approx(2.5)
    assert pixels[1] < cameras["top"].cy  # the front is at the top of the picture
