from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meshwright.cameras.datasets import validate_nerf_dataset, write_nerf_dataset
from meshwright.cameras.rigs import default_rig
from meshwright.datasets import create_nerf_dataset
from meshwright.errors import InputFilesError, OptionError, OutputError, ShapeError
from meshwright.inputs import read_inputs
from meshwright.transforms import png_size
from meshwright.types import VIEW_NAMES, DepthKind, DepthMap, MaskSource, View, ViewSet

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def disc(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (np.hypot(x + 0.5 - width / 2, y + 0.5 - height / 2) < min(width, height) / 3).astype(np.float32)


def view(name: str, width: int = 64, height: int = 64, *, bits: int = 8) -> View:
    mask = disc(width, height)
    top = 65535 if bits == 16 else 255
    depth = DepthMap(
        values=mask * np.float32(0.4),
        valid=mask > 0,
        step=1 / top,
        kind=DepthKind.METRIC if bits == 16 else DepthKind.AUTO,
    )
    return View(
        name=name,
        rgb=np.full((height, width, 3), [0.8, 0.1, 0.05], np.float32),
        mask=mask,
        mask_source=MaskSource.ALPHA,
        background=np.ones((height, width, 3), np.float32),
        depth=depth,
    )


def six(width: int = 64, height: int = 64, **options: int) -> ViewSet:
    return ViewSet(views=tuple(view(name, width, height, **options) for name in VIEW_NAMES))


def rig(views: ViewSet):
    return default_rig([(one.width, one.height) for one in views.views])


def source_folder(folder: Path) -> Path:
    for one in six().views:
        pixels = np.concatenate([one.rgb * 255, one.mask[..., None] * 255], -1).astype(np.uint8)
        for sub in ("views", "depth"):
            (folder / sub).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "views" / f"{one.name}.png")
        Image.fromarray((one.mask * 100).astype(np.uint8)).save(folder / "depth" / f"{one.name}.png")
    return folder


def test_six_views_become_a_dataset_that_is_valid(tmp_path: Path) -> None:
    source = source_folder(tmp_path / "in")
    report = create_nerf_dataset(source / "views", source / "depth", tmp_path / "out", image_size=32)
    assert report.pop("warnings") == []
    assert report == {"valid": True, "frame_count": 6, "camera_angle_x": pytest.approx(math.radians(26))}
    assert report == validate_nerf_dataset(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["depth", "images", "transforms_train.json"]
    document = json.loads((tmp_path / "out" / "transforms_train.json").read_text())
    assert [frame["file_path"] for frame in document["frames"]] == [f"images/{name}" for name in VIEW_NAMES]
    # The rig of the design: side, distance and image-up of each camera.
    expected = {
        "front": ([0, 0, 2.5], [0, 1, 0]),
        "back": ([0, 0, -2.5], [0, 1, 0]),
        "left": ([2.5, 0, 0], [0, 1, 0]),
        "right": ([-2.5, 0, 0], [0, 1, 0]),
        "top": ([0, 2.5, 0], [0, 0, 1]),
        "bottom": ([0, -2.5, 0], [0, 0, 1]),
    }
    for name, frame in zip(VIEW_NAMES, document["frames"], strict=True):
        matrix = np.array(frame["transform_matrix"])
        np.testing.assert_allclose(matrix[:3, 3], expected[name][0], atol=1e-9)
        np.testing.assert_allclose(matrix[:3, 1], expected[name][1], atol=1e-9)
        np.testing.assert_allclose(matrix[:3, 2], np.array(expected[name][0]) / 2.5, atol=1e-9)
        assert (frame["w"], frame["h"], frame["cx"]) == (32, 32, 16)


@pytest.mark.parametrize(("width", "height", "size"), [(64, 64, 32), (64, 48, 32), (48, 64, 128), (64, 64, 64)])
def test_a_dataset_reads_back_as_what_was_written(tmp_path: Path, width: int, height: int, size: int) -> None:
    views = six(width, height)
    write_nerf_dataset(views, rig(views), tmp_path, size)
    back = read_inputs(tmp_path)
    assert back.cameras is not None
    assert [one.name for one in back.views] == list(VIEW_NAMES)
    for old, new, camera, before in zip(views.views, back.views, back.cameras, rig(views), strict=True):
        assert max(new.width, new.height) == size
        assert new.mask.mean() == pytest.approx(old.mask.mean(), abs=0.01)
        inside = new.mask > 0.1
        # Also at soft edges: colours are averaged with coverage as weight. One 8-bit step of the darkest channel.
        np.testing.assert_allclose(new.rgb[inside], old.rgb[0, 0][None].repeat(inside.sum(), 0), atol=0.006)
        assert new.depth is not None
        assert old.depth is not None
        assert new.depth.step == old.depth.step
        assert set(np.unique(new.depth.values)) <= set(np.unique(np.float32(np.round(old.depth.values * 255) / 255)))
        point = np.array([0.1, 0.2, 0.15])
        np.testing.assert_allclose(camera.project(point)[0], before.project(point)[0] * size / max(width, height))


def test_sixteen_bit_depth_stays_sixteen_bit(tmp_path: Path) -> None:
    views = six(bits=16)
    write_nerf_dataset(views, rig(views), tmp_path, 64)
    back = read_inputs(tmp_path).views[0].depth
    assert back is not None
    assert back.kind is DepthKind.METRIC
    np.testing.assert_allclose(back.values, views.views[0].depth.values, atol=0.5 / 65535)  # type: ignore[union-attr]


def test_an_older_dataset_is_replaced(tmp_path: Path) -> None:
    for size in (32, 48):
        views = six()
        write_nerf_dataset(views, rig(views), tmp_path, size)
    assert png_size(tmp_path / "images" / "front.png") == (48, 48)
    assert validate_nerf_dataset(tmp_path)["valid"] is True


def test_write_faults_leave_nothing(tmp_path: Path) -> None:
    views = six()
    with pytest.raises(OptionError, match="image_size=8 is not between 16 and 8192"):
        write_nerf_dataset(views, rig(views), tmp_path / "a", 8)
    with pytest.raises(ShapeError, match="6 views but 5 cameras"):
        write_nerf_dataset(views, rig(views)[:5], tmp_path / "a", 32)
    with pytest.raises(ShapeError, match="its camera 32x32"):
        write_nerf_dataset(views, default_rig([(32, 32)] * 6), tmp_path / "a", 32)
    assert list(tmp_path.iterdir()) == []
    twice = ViewSet(views=(views.views[0], views.views[0]))
    with pytest.raises(ShapeError, match="same name"):
        write_nerf_dataset(twice, rig(views)[:2], tmp_path / "b", 32)
    assert list((tmp_path / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_nerf_dataset(views, rig(views), tmp_path / "file", 32)


def test_bad_views_are_named(tmp_path: Path) -> None:
    source = source_folder(tmp_path / "in")
    (source / "views" / "top.png").unlink()
    with pytest.raises(InputFilesError, match="missing: top"):
        create_nerf_dataset(source / "views", None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def spoil(folder: Path, how: str) -> None:
    document = json.loads((folder / "transforms_train.json").read_text())
    image = folder / "images" / "left.png"
    if how == "no camera file":
        (folder / "transforms_train.json").unlink()
        return
    if how == "not json":
        (folder / "transforms_train.json").write_text("{")
        return
    if how == "no picture":
        image.unlink()
    elif how == "text":
        image.write_text("left")
    elif how == "cut":
        image.write_bytes(image.read_bytes()[:200])
    elif how == "size":
        Image.new("RGB", (20, 20)).save(image)
    elif how == "nan":
        document["frames"][2]["transform_matrix"][0][0] = math.nan
    (folder / "transforms_train.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("no camera file", "transforms_train.json is missing"),
        ("not json", "transforms_train.json is not JSON (line 1). Is it cut short, or another file?"),
        ("no picture", "images/left: the picture is missing"),
        ("text", "images/left: the picture is not a PNG"),
        ("cut", "images/left: the picture is damaged"),
        ("size", "images/left: the picture is 20x20, its camera 32x32 pixels"),
        (
            "nan",
            "transforms_train.json: 1 faults in its cameras: frame 2 (images/left): transform_matrix holds a value "
            "that is not finite",
        ),
    ],
)
def test_what_is_wrong_with_a_dataset(tmp_path: Path, how: str, error: str) -> None:
    views = six()
    write_nerf_dataset(views, rig(views), tmp_path, 32)
    spoil(tmp_path, how)
    assert validate_nerf_dataset(tmp_path) == {"valid": False, "error": error}


def test_the_sample_datasets_are_valid() -> None:
    if not (DATA / "spot_dense").is_dir():
        pytest.skip("the sample renders (../shared/data) are not here")
    report = validate_nerf_dataset(DATA / "spot_dense")
    assert (report["valid"], report["frame_count"]) == (True, 50)
    assert validate_nerf_dataset(DATA / "spot") == {
        "valid": True,
        "frame_count": 6,
        "camera_angle_x": pytest.approx(math.radians(26)),
    }
