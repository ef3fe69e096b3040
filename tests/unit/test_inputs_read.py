"""`read_inputs` from files on disk: layouts, ZIPs, posed sets, cameras beside views, blank input, what is written."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import meshwright.inputs
from meshwright.errors import InputFilesError, OptionError, OutputError
from meshwright.inputs import InputConfig, read_inputs, write_masks
from meshwright.transforms import write_cameras
from meshwright.types import VIEW_NAMES, Camera, DepthKind, MaskSource, ViewSet

SIDE = 40


def disc(radius: float = 12) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    return np.hypot(x, y) < radius


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def view_bytes(index: int) -> bytes:
    """RGBA; the red channel tells the views apart."""
    picture = np.zeros((SIDE, SIDE, 4), np.uint8)
    picture[..., 0] = 40 * index + 20
    picture[..., 3] = disc() * 255
    return png(picture)


def depth_bytes(index: int, *, bits: int = 8) -> bytes:
    return png((disc() * (100 + index)).astype(np.uint16 if bits == 16 else np.uint8))


def check(views: ViewSet, *, depth: bool = True) -> None:
    """Each view holds its own picture and its own depth."""
    assert [view.name for view in views.views] == list(VIEW_NAMES)
    for index, view in enumerate(views.views):
        code = (40 * index + 20) / 255
        assert view.rgb[0, 0, 0] == pytest.approx(((code + 0.055) / 1.055) ** 2.4, rel=1e-3)
        assert view.mask_source is MaskSource.ALPHA
        np.testing.assert_array_equal(view.mask, disc())
        for array in (view.rgb, view.mask, view.background):
            assert array.dtype == np.float32
        if depth:
            assert view.depth is not None
            assert view.depth.values.max() * 255 == pytest.approx(100 + index)
        else:
            assert view.depth is None


LAYOUTS = {
    "flat": ("{view}.png", "{view}_depth.png"),
    "flat, depth first": ("{view}.png", "depth_{view}.png"),
    "views and depth": ("views/{view}.png", "depth/{view}.png"),
    "views and depth_renders": ("views/view_{number}.png", "depth_renders/depth_{number}.png"),
    "Views and Depth": ("Views/{view}.PNG", "Depth/{view}.PNG"),
    "views at the top": ("{view}.png", "depth/{view}.png"),
    "any folder": ("pictures of it/{view}.png", "depth/{view}.png"),
    "numbered words": ("views/0{number}_{view}.png", "depth/0{number}_{view}.png"),
    "no depth": ("views/{view}.png", ""),
}


def layout(name: str) -> dict[str, bytes]:
    view_name, depth_name = LAYOUTS[name]
    made = {}
    for index, view in enumerate(VIEW_NAMES):
        made[view_name.format(view=view, number=index)] = view_bytes(index)
        if depth_name:
            made[depth_name.format(view=view, number=index)] = depth_bytes(index)
    return made


def put(folder: Path, made: dict[str, bytes]) -> Path:
    for name, data in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def pack(path: Path, made: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in made.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(tmp_path: Path, name: str) -> None:
    made = layout(name) | {"notes.txt": b"x", ".DS_Store": b"x"}
    numbered = name == "views and depth_renders"
    folder = read_inputs(put(tmp_path / "shoe", made))
    archive = read_inputs(pack(tmp_path / "shoe.zip", made))
    wrapped = {f"shoe/{key}": data for key, data in made.items()} | {"__MACOSX/shoe/._front.png": b"x"}
    for views in (folder, archive, read_inputs(pack(tmp_path / "wrapped.zip", wrapped))):
        check(views, depth=name != "no depth")
        assert len(views.warnings) == (2 if numbered else 0)
        assert views.cameras is None
    assert folder.views[0].source in made


def test_depth_in_a_folder_of_its_own(tmp_path: Path) -> None:
    made = layout("views and depth")
    put(tmp_path, made)
    views = read_inputs(tmp_path / "views")
    check(views, depth=False)
    check(read_inputs(tmp_path / "views", depth_dir=tmp_path / "depth"))
    depth = {name.removeprefix("depth/"): data for name, data in made.items() if name.startswith("depth/")}
    check(read_inputs(tmp_path / "views", depth_dir=pack(tmp_path / "depth.zip", depth)))


def test_a_depth_folder_that_was_not_used_is_mentioned(tmp_path: Path) -> None:
    made = {name.replace("depth/", "depth_metric/"): data for name, data in layout("views and depth").items()}
    views = read_inputs(put(tmp_path, made))
    check(views, depth=False)
    assert views.warnings == ("Depth was not used: name one of depth_metric as the depth folder.",)


def test_unknown_names_are_taken_in_order_and_said(tmp_path: Path) -> None:
    """A ZIP keeps the order in which it was packed, a folder is sorted as people sort."""
    names = ["zebra", "ant", "cat", "dog", "emu", "fox"]
    views = read_inputs(pack(tmp_path / "a.zip", {f"{n}.png": view_bytes(index) for index, n in enumerate(names)}))
    check(views, depth=False)
    assert "they were taken in order: front=zebra.png, back=ant.png" in views.warnings[0]
    numbers = {f"shot {number}.png": view_bytes(index) for index, number in enumerate((3, 4, 9, 10, 11, 20))}
    check(read_inputs(put(tmp_path / "b", numbers)), depth=False)


def test_views_of_different_size_and_kind(tmp_path: Path) -> None:
    made = layout("no depth")
    made["views/left.png"] = png(
        np.full((20, 90, 4), [9, 9, 9, 255], np.uint8) * np.tri(20, 90, 35)[..., None].astype(np.uint8)
    )
    white = np.full((SIDE, SIDE, 3), 255, np.uint8)
    white[disc()] = [40, 90, 160]
    made["views/top.png"] = png(white)
    made["views/back.png"] = png(white[..., 0])
    views = read_inputs(put(tmp_path, made)).views
    assert (views[2].width, views[2].height) == (90, 20)
    assert views[4].mask_source is views[1].mask_source is MaskSource.BACKGROUND
    assert np.abs(views[4].mask - disc()).mean() < 0.02
    np.testing.assert_array_equal(views[1].rgb[..., 0], views[1].rgb[..., 2])


@pytest.mark.parametrize(
    ("config", "kind", "unit"),
    [
        (InputConfig(), DepthKind.METRIC, None),
        (InputConfig(depth_kind=DepthKind.LINEAR), DepthKind.LINEAR, None),
        (InputConfig(depth_unit="mm"), DepthKind.METRIC, 65.535),
    ],
)
def test_what_sixteen_bit_depth_means(tmp_path: Path, config: InputConfig, kind: DepthKind, unit: float | None) -> None:
    made = layout("flat")
    for index, view in enumerate(VIEW_NAMES):
        made[f"{view}_depth.png"] = depth_bytes(index, bits=16)
    depth = read_inputs(put(tmp_path, made), config).views[3].depth
    assert depth is not None
    assert depth.kind is kind
    assert depth.unit == (None if unit is None else pytest.approx(unit))


def posed(names: list[str], **top: object) -> bytes:
    frames = [{"file_path": f"./{name}", "transform_matrix": np.eye(4).tolist()} for name in names]
    return json.dumps({"camera_angle_x": 0.9, **top, "frames": frames}).encode()


def test_posed_sets_keep_their_order_and_cameras(tmp_path: Path) -> None:
    names = [f"train/r_{number}" for number in (7, 2, 11)]
    made = {f"{name}.png": view_bytes(index) for index, name in enumerate(names)}
    made["transforms_train.json"] = posed(names)
    made["test/r_0.png"] = b"not read, so it may be anything"
    for path in (put(tmp_path / "a", made), pack(tmp_path / "a.zip", made)):
        views = read_inputs(path)
        assert [view.name for view in views.views] == ["r_7", "r_2", "r_11"]
        assert views.cameras is not None
        assert [camera.name for camera in views.cameras] == ["r_7", "r_2", "r_11"]
        assert views.cameras[0].width == SIDE
        assert views.views[1].source == "train/r_2.png"


def test_posed_sets_with_depth_and_equal_stems(tmp_path: Path) -> None:
    names = ["a/0", "b/0"]
    made = {f"{name}.png": view_bytes(index) for index, name in enumerate(names)}
    document = json.loads(posed(names))
    document["frames"][1]["depth_file_path"] = "d/1.png"
    made |= {"transforms.json": json.dumps(document).encode(), "d/1.png": depth_bytes(1)}
    views = read_inputs(put(tmp_path / "a", made)).views
    assert [view.name for view in views] == ["a/0", "b/0"]
    assert views[0].depth is None
    assert views[1].depth is not None
    write_masks(ViewSet(views=views), tmp_path / "masks")
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["a_0.png", "b_0.png", "contact_sheet.png"]


def test_a_posed_set_of_six_named_views_comes_in_their_order(tmp_path: Path) -> None:
    made = {f"views/{view}.png": view_bytes(index) for index, view in enumerate(VIEW_NAMES)}
    made |= {f"depth/{view}.png": depth_bytes(index) for index, view in enumerate(VIEW_NAMES)}
    made["transforms_train.json"] = posed([f"views/{view}" for view in reversed(VIEW_NAMES)])
    put(tmp_path, made)
    check(read_inputs(tmp_path), depth=False)
    check(read_inputs(tmp_path, depth_dir=tmp_path / "depth"))


def test_cameras_beside_six_views(tmp_path: Path) -> None:
    """Matched by name, whatever the order; scaled to the pictures; extra frames do not matter."""
    put(tmp_path, layout("flat"))
    cameras = [
        Camera(name=view, camera_to_world=np.eye(4), fl_x=200.0 + index, fl_y=200, cx=10, cy=12, width=80, height=80)
        for index, view in enumerate(VIEW_NAMES)
    ]
    order = [5, 3, 0, 1, 4, 2]
    paths = [f"out/{VIEW_NAMES[index]}.png" for index in order]
    write_cameras(tmp_path / "c.json", [*(cameras[i] for i in order), cameras[0]], [*paths, "turntable_3.png"])
    views = read_inputs(tmp_path, InputConfig(cameras=tmp_path / "c.json"))
    assert views.cameras is not None
    assert [camera.name for camera in views.cameras] == list(VIEW_NAMES)
    assert [camera.fl_x for camera in views.cameras] == [(200 + index) / 2 for index in range(6)]
    assert (views.cameras[0].width, views.cameras[0].cx, views.cameras[0].cy) == (SIDE, 5, 6)


@pytest.mark.parametrize("depth", [False, True])
def test_nothing_in_any_frame(tmp_path: Path, depth: bool) -> None:
    """As `convert -size 256x256 xc:gray` and black depth: completes, with the reason."""
    made = {}
    for view in VIEW_NAMES:
        made[f"views/{view}.png"] = png(np.full((256, 256), 128, np.uint8))
        if depth:
            made[f"depth/{view}.png"] = png(np.zeros((128, 128), np.uint8))
    views = read_inputs(put(tmp_path, made))
    for view in views.views:
        assert view.mask_source is MaskSource.NONE
        assert view.depth is None
        assert (view.mask == 1).all()
        np.testing.assert_array_equal(view.background, view.rgb)
    assert "Nothing in the frame could be told from the background" in views.warnings[0]
    assert len(views.warnings) == (2 if depth else 1)
    write_masks(views, tmp_path / "masks")


def test_depth_knows_where_the_object_is_in_a_blank_picture(tmp_path: Path) -> None:
    made = layout("views and depth")
    made["views/top.png"] = png(np.full((SIDE, SIDE, 3), 90, np.uint8))
    view = read_inputs(put(tmp_path, made)).views[4]
    assert view.mask_source is MaskSource.DEPTH
    np.testing.assert_array_equal(view.mask >= 0.5, disc())


def test_with_very_many_files_none_is_decoded(tmp_path: Path) -> None:
    put(tmp_path, {f"{index}.png": b"not even a PNG" for index in range(40)})
    with pytest.raises(InputFilesError) as caught:
        read_inputs(tmp_path)
    assert [fault.code for fault in caught.value.faults] == ["input.count"]


def test_masks_are_written_for_people_to_look_at(tmp_path: Path) -> None:
    views = read_inputs(put(tmp_path / "in", layout("flat")))
    write_masks(views, tmp_path / "new" / "masks")
    for view in VIEW_NAMES:
        with Image.open(tmp_path / "new" / "masks" / f"{view}.png") as mask:
            assert mask.mode == "L"
            np.testing.assert_array_equal(np.asarray(mask), disc() * 255)
    with Image.open(tmp_path / "new" / "masks" / "contact_sheet.png") as sheet:
        assert sheet.size == (3 * 384, 2 * 384)
        assert len(np.unique(np.asarray(sheet).reshape(-1, 3), axis=0)) > 20
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Masks cannot be written"):
        write_masks(views, tmp_path / "file")


def test_public_names() -> None:
    assert meshwright.inputs.__all__ == ["InputConfig", "read_inputs", "write_masks"]


def names(views: ViewSet) -> list[str]:
    return [view.name for view in views.views]


def test_some_of_the_views_alone(tmp_path: Path) -> None:
    """What was asked for is read; bad files of other views do not matter; depth may be there for some."""
    made = layout("flat") | {"bottom.png": b"no picture", "back_depth.png": b"no picture"}
    del made["top_depth.png"]
    put(tmp_path / "shoe", made)
    for source in (tmp_path / "shoe", pack(tmp_path / "shoe.zip", made)):
        views = read_inputs(source, InputConfig(views="Top, front,left"))
        assert names(views) == ["front", "left", "top"]
        for view in views.views:
            code = (40 * VIEW_NAMES.index(view.name) + 20) / 255
            assert view.rgb[0, 0, 0] == pytest.approx(((code + 0.055) / 1.055) ** 2.4, rel=1e-3)
        assert [view.depth is None for view in views.views] == [False, False, True]
        told = " ".join(views.warnings)
        assert "Only top, front, left were asked for; left aside: back.png" in told
        assert "left aside: back_depth.png" in told
        assert "There is no depth render of: top." in told


def test_a_set_of_fewer_views_needs_no_warning(tmp_path: Path) -> None:
    put(tmp_path, {f"views/{view}.png": view_bytes(0) for view in VIEW_NAMES[:4]})
    views = read_inputs(tmp_path, InputConfig(views=VIEW_NAMES[:4]))
    assert names(views) == list(VIEW_NAMES[:4])
    assert views.warnings == ()


def test_depth_of_other_views_only_is_left_aside(tmp_path: Path) -> None:
    put(tmp_path, {f"views/{view}.png": view_bytes(0) for view in ("front", "left")})
    put(tmp_path, {"depth/back.png": depth_bytes(1)})
    views = read_inputs(tmp_path, InputConfig(views="front,left"))
    assert [view.depth for view in views.views] == [None, None]
    assert "left aside: depth/back.png" in views.warnings[0]


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        (
            ("front", "left", "top"),
            "If there are no other views, say so: --views front,left,top (in Python views=...).",
        ),
        (("a", "b", "c"), "Give all six views, or say which ones these are"),
        (("front", "left", "tpo"), ""),
        (("front",), ""),
    ],
)
def test_who_gives_fewer_views_is_told_how_to_say_so(tmp_path: Path, files: tuple[str, ...], hint: str) -> None:
    put(tmp_path, {f"{name}.png": view_bytes(0) for name in files})
    with pytest.raises(InputFilesError) as caught:
        read_inputs(tmp_path)
    assert caught.value.hint.startswith(hint)
    assert bool(caught.value.hint) == bool(hint)
    if "front" in files:
        assert "back" in str(caught.value)


def test_views_of_a_posed_set_are_not_picked_by_name(tmp_path: Path) -> None:
    put(tmp_path, {f"{view}.png": view_bytes(0) for view in VIEW_NAMES})
    (tmp_path / "transforms_train.json").write_bytes(posed(list(VIEW_NAMES)))
    with pytest.raises(OptionError, match="is a posed image set: views='front,left' names none of it"):
        read_inputs(tmp_path, InputConfig(views="front,left"))
