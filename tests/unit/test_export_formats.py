"""OBJ, PLY and GLB: the same surface in each, byte for byte the same twice, and nothing for a validator to say."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from meshwright.colour import to_srgb8
from meshwright.errors import InputError, OptionError, OutputError, ShapeError
from meshwright.export import (
    encode_png,
    export_result,
    load_textured,
    save_mesh_both_formats,
    validate_mesh_output,
    weld,
    write_atomic,
    write_glb,
    write_obj,
    write_ply,
)
from meshwright.export.obj import read_plain_obj
from meshwright.transforms import read_cameras
from meshwright.types import Camera, ColouredMesh, MaterialMaps, Mesh, TexturedMesh

trimesh = pytest.importorskip("trimesh")
TOOLS = Path(__file__).resolve().parents[1] / "tools"


def make_camera(name: str = "front") -> Camera:
    pose = np.eye(4)
    pose[2, 3] = 2.5
    return Camera(name=name, camera_to_world=pose, fl_x=90, fl_y=90, cx=32, cy=24, width=64, height=48)


def make_textured(texture_size: int = 32) -> TexturedMesh:
    """A closed lumpy ball; every face has texture coordinates of its own, so all vertices are on seams."""
    rng = np.random.default_rng(7)
    ball = trimesh.creation.icosphere(2, 0.4)
    vertices = (ball.vertices * rng.uniform(0.9, 1.1, (len(ball.vertices), 1)) + [0.05, 0, 0]).astype(np.float32)
    corners = rng.uniform(0, 1, (len(ball.faces), 1, 2)) * 0.9 + rng.uniform(0, 0.1, (len(ball.faces), 3, 2))
    return TexturedMesh(
        mesh=Mesh(vertices=vertices, faces=ball.faces.astype(np.int32)),
        uv=corners.reshape(-1, 2).astype(np.float32),
        uv_faces=np.arange(3 * len(ball.faces), dtype=np.int32).reshape(-1, 3),
        base_color_srgb=rng.integers(0, 256, (texture_size, texture_size + 8, 3), dtype=np.uint8),
    )


def test_three_formats_hold_the_same_surface(tmp_path: Path) -> None:
    textured = make_textured()
    files = export_result(textured, [make_camera()], ["front.png"], tmp_path / "new" / "folder")
    truth = trimesh.Trimesh(textured.mesh.vertices, textured.mesh.faces, process=False)
    assert files.glb is not None
    for path in (files.obj, files.ply, files.glb):
        read = trimesh.load_mesh(path, process=False)
        assert len(read.faces) == len(truth.faces)
        np.testing.assert_array_equal(read.bounds.astype(np.float32), truth.bounds.astype(np.float32))
        np.testing.assert_allclose([read.area, read.volume], [truth.area, truth.volume], rtol=1e-6)
        np.testing.assert_array_equal(
            np.asarray(read.triangles, np.float32), textured.mesh.vertices[textured.mesh.faces]
        )
        read.merge_vertices(merge_tex=True, merge_norm=True)
        assert read.is_watertight and read.volume > 0
    assert validate_mesh_output(files.obj.parent) == {
        "valid": True, "vertices": 162, "faces": 320, "texture_size": [40, 32],
    }  # fmt: skip


@pytest.mark.parametrize("suffix", ["obj", "glb"])
def test_reopened_files_are_what_was_written(tmp_path: Path, suffix: str) -> None:
    textured = make_textured()
    export_result(textured, [], [], tmp_path)
    read = load_textured(tmp_path / f"mesh.{suffix}")
    assert isinstance(read, TexturedMesh)
    np.testing.assert_array_equal(read.base_color_srgb, textured.base_color_srgb)
    np.testing.assert_array_equal(read.mesh.vertices[read.mesh.faces], textured.mesh.vertices[textured.mesh.faces])
    assert len(read.mesh.vertices) == len(textured.mesh.vertices)
    # 1 - (1 - v) in float32.
    np.testing.assert_allclose(read.uv[read.uv_faces], textured.uv[textured.uv_faces], atol=6e-8)


def test_our_own_obj_is_read_as_trimesh_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    obj, _, _ = write_obj(make_textured(), tmp_path / "own.obj")
    quick = load_textured(obj)
    monkeypatch.setattr("meshwright.export.load.read_plain_obj", lambda path: None)
    slow = load_textured(obj)
    assert isinstance(quick, TexturedMesh) and isinstance(slow, TexturedMesh)
    np.testing.assert_array_equal(quick.mesh.vertices, slow.mesh.vertices)
    np.testing.assert_array_equal(quick.mesh.faces, slow.mesh.faces)
    np.testing.assert_array_equal(quick.uv[quick.uv_faces], slow.uv[slow.uv_faces])
    np.testing.assert_array_equal(quick.base_color_srgb, slow.base_color_srgb)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("f ", "f 1/1/1 ", 1),  # four corners
        lambda text: text.replace("usemtl base", "usemtl base\nusemtl other"),
        lambda text: text.replace("v ", "v x ", 1),
        lambda text: text + "f 1/1/1 2/2/2 999999/1/1\n",
        lambda text: text + "f -1/-1/-1 -2/-2/-2 -3/-3/-3\n",
        lambda text: text + "l 1 2\n",
        lambda text: text + "v 1 2\n",
        lambda text: text + "v 1 2 three\n",
        lambda text: text + "vt 1 2 3\n",
        lambda text: text + "f 1/1/1 2/2/2 3//3\n",
        lambda text: text + "f 1/1/1 2/2/2 3/3\n",
        lambda text: text + "f 1 2 3\n",
        lambda text: text + "f 1/1/1 2/2/2 3/3/3 4/4/4\n",
        lambda text: "".join(line for line in text.splitlines(keepends=True) if not line.startswith("f ")),
    ],
)
def test_an_obj_of_another_form_is_left_to_trimesh(tmp_path: Path, change: Callable[[str], str]) -> None:
    obj, _, _ = write_obj(make_textured(), tmp_path / "own.obj")
    assert read_plain_obj(obj) is not None
    obj.write_text(change(obj.read_text()))
    assert read_plain_obj(obj) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.removesuffix("\n"),
        lambda text: text.replace("usemtl base\n", "usemtl base\n\n# a word\n"),
        lambda text: "".join(sorted(text.splitlines(keepends=True), key=lambda line: line[0] == "f")),
        lambda text: "".join(sorted(text.splitlines(keepends=True), key=lambda line: line[:2] != "vn")),
    ],
)
def test_an_obj_says_the_same_in_other_words(tmp_path: Path, change: Callable[[str], str]) -> None:
    obj, _, _ = write_obj(make_textured(), tmp_path / "own.obj")
    before = read_plain_obj(obj)
    obj.write_bytes(change(obj.read_text()).encode())
    after = read_plain_obj(obj)
    assert before is not None and after is not None
    for name in ("vertices", "faces", "uv", "uv_faces"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    assert after.library == before.library


def test_ply_colours_are_those_of_the_texture(tmp_path: Path) -> None:
    """On a texture that is linear light in v, the colour of a vertex is that of its place."""
    steps = np.linspace(0.01, 0.99, 64)
    texture = np.repeat(to_srgb8(steps)[::-1, None, None], 64, 1).repeat(3, 2)
    ball = trimesh.creation.icosphere(3, 0.4)
    uv = (ball.vertices[:, :2] + 0.5).astype(np.float32)
    faces = ball.faces.astype(np.int32)
    textured = TexturedMesh(
        mesh=Mesh(vertices=ball.vertices.astype(np.float32), faces=faces),
        uv=uv,
        uv_faces=faces,
        base_color_srgb=texture,
    )
    read = load_textured(write_ply(textured, tmp_path / "a.ply"))
    assert isinstance(read, ColouredMesh)
    np.testing.assert_array_equal(read.mesh.faces, faces)
    np.testing.assert_array_equal(read.mesh.vertices, textured.mesh.vertices)
    expected = to_srgb8(0.01 + 0.98 * (uv[:, 1] * 64 - 0.5) / 63)
    assert np.abs(read.colors_srgb[:, 0].astype(int) - expected).max() <= 4
    # A coloured mesh goes through unchanged.
    again = load_textured(write_ply(read, tmp_path / "b.ply"))
    assert isinstance(again, ColouredMesh)
    np.testing.assert_array_equal(again.colors_srgb, read.colors_srgb)


def test_same_input_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        export_result(make_textured(), [make_camera()], ["front.png"], tmp_path / folder, size=0.3)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["cameras.json", "mesh.glb", "mesh.mtl", "mesh.obj", "mesh.ply", "mesh.png"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


@pytest.mark.web
def test_khronos_validator_has_nothing_to_say(tmp_path: Path) -> None:
    if shutil.which("node") is None or not (TOOLS / "node_modules" / "gltf-validator").is_dir():
        pytest.skip("needs node and `npm ci` in tests/tools")
    textured = make_textured()
    paths = [write_glb(textured, tmp_path / "small.glb")]
    # More than 65,535 split vertices: 32-bit indices.
    fine = trimesh.creation.icosphere(5, 0.4)
    uv = np.random.default_rng(0).random((3 * len(fine.faces) + 9000, 2)).astype(np.float32)
    many = np.concatenate([fine.faces, fine.faces[:3000] + len(fine.vertices)])
    points = np.concatenate([fine.vertices, fine.vertices * 0.5]).astype(np.float32)
    big = TexturedMesh(
        mesh=Mesh(vertices=points, faces=many.astype(np.int32)),
        uv=uv,
        uv_faces=np.arange(3 * len(many), dtype=np.int32).reshape(-1, 3),
        base_color_srgb=textured.base_color_srgb,
    )
    paths.append(write_glb(big, tmp_path / "big.glb"))
    maps = MaterialMaps(
        orm=textured.base_color_srgb,
        normal=np.full((8, 8, 3), [128, 128, 255], np.uint8),
        light=np.ones((8, 16, 3), np.float32),
    )
    paths.append(write_glb(replace(textured, material=maps), tmp_path / "lit.glb"))
    script = (
        "const v=require('gltf-validator'),fs=require('fs');Promise.all(process.argv.slice(1).map(p=>"
        "v.validateBytes(new Uint8Array(fs.readFileSync(p))))).then(r=>console.log(JSON.stringify(r)))"
    )
    done = subprocess.run(
        ["node", "-e", script, *map(str, paths)], cwd=TOOLS, capture_output=True, text=True, check=True, timeout=60
    )
    small_report, big_report, lit_report = json.loads(done.stdout)
    for report in (small_report, big_report, lit_report):
        assert report["issues"]["numErrors"] == 0, report["issues"]["messages"]
        assert report["issues"]["numWarnings"] == 0, report["issues"]["messages"]
    assert small_report["info"]["totalTriangleCount"] == 320
    assert big_report["info"]["totalVertexCount"] == 3 * len(many)


def test_glb_says_who_made_it_and_what_it_is(tmp_path: Path) -> None:
    data = write_glb(make_textured(), tmp_path / "a.glb").read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    document = json.loads(data[20 : 20 + length])
    assert document["asset"]["generator"].startswith("meshwright ")
    material = document["materials"][0]
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0
    assert material["pbrMetallicRoughness"]["roughnessFactor"] == 1
    assert not material.get("doubleSided", False)
    position = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    np.testing.assert_allclose(position["min"], make_textured().mesh.vertices.min(0), rtol=0)


def test_size_scales_mesh_and_cameras_together(tmp_path: Path) -> None:
    textured = make_textured()
    files = export_result(textured, [make_camera()], ["a.png"], tmp_path, size=0.2)
    assert files.cameras_json is not None
    ((name, camera),) = read_cameras(files.cameras_json)
    assert name == "a.png"
    assert np.ptp(files.textured.mesh.vertices, axis=0).max() == pytest.approx(0.2, rel=1e-6)
    before = make_camera().project(textured.mesh.vertices)
    after = camera.project(files.textured.mesh.vertices)
    np.testing.assert_allclose(after[0], before[0], atol=1e-4)
    read = load_textured(files.obj)
    np.testing.assert_array_equal(
        read.mesh.vertices[read.mesh.faces], files.textured.mesh.vertices[textured.mesh.faces]
    )
    with pytest.raises(OptionError, match="size=0"):
        export_result(textured, [], [], tmp_path, size=0)


def test_what_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    textured = make_textured()
    spoilt = textured.mesh.vertices.copy()
    spoilt[3] = np.nan
    bad = replace(
        textured, mesh=replace(textured.mesh, vertices=spoilt), uv=textured.uv[:10], uv_faces=textured.uv_faces[1:]
    )
    with pytest.raises(ShapeError) as caught:
        export_result(bad, [], [], tmp_path / "x")
    for part in (
        "1 vertices are not finite",
        "uv_faces name entries 3 to 959, there are 10",
        "320 faces and 319 uv_faces",
    ):
        assert part in str(caught.value)
    with pytest.raises(ShapeError, match="no faces"):
        save_mesh_both_formats(
            replace(bad, mesh=Mesh(vertices=spoilt, faces=np.zeros((0, 3), np.int32))), tmp_path / "x"
        )
    with pytest.raises(ShapeError, match="1 cameras and 0 file paths"):
        export_result(textured, [make_camera()], [], tmp_path / "x")
    assert not (tmp_path / "x").exists()
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OutputError, match=r"'mesh.png' cannot be written"):
        save_mesh_both_formats(textured, blocked)
    with pytest.raises(ShapeError, match="uint8"):
        encode_png(np.zeros((2, 2, 3)))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_atomic(tmp_path / "a.txt", b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        write_atomic(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_bytes() == b"old"


def cut(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def swap(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: (d / "mesh.mtl").unlink(), "mesh.mtl: is missing"),
        (lambda d: (d / "mesh.png").unlink(), "mesh.png: is missing"),
        (lambda d: (d / "mesh.obj").write_bytes(b""), "mesh.obj: is empty"),
        (lambda d: cut(d / "mesh.png", 0.5), "mesh.png: does not decode"),
        (lambda d: cut(d / "mesh.ply", 0.9), "mesh.ply: has"),
        (lambda d: cut(d / "mesh.glb", 0.9), "mesh.glb: is not a whole GLB 2 file"),
        (lambda d: swap(d / "mesh.mtl", b"mesh.png", b"other.png"), "refers to the textures ['other.png']"),
        (lambda d: swap(d / "mesh.obj", b"mtllib mesh.mtl", b"mtllib m.mtl"), "does not refer to mesh.mtl"),
        (lambda d: swap(d / "mesh.obj", b"\nvn ", b"\nvx "), "names vn"),
        (lambda d: (d / "mesh.obj").write_text((d / "mesh.obj").read_text() + "f 1/1/1 2/2/2 3/3/3\n"), "321 faces"),
        (lambda d: (d / "mesh.obj").write_text((d / "mesh.obj").read_text() + "f 1/1/1 2/2/2 999/3/3\n"), "vertex 998"),
        (lambda d: (d / "mesh.obj").write_text((d / "mesh.obj").read_text() + "v nan 0 0\n"), "not finite"),
        (lambda d: (d / "mesh.obj").write_text((d / "mesh.obj").read_text() + "v 0 0 0\n"), "163 vertices"),
        (lambda d: (d / "mesh.obj").write_text((d / "mesh.obj").read_text() + "f 1 2 3\n"), "does not parse"),
        (lambda d: swap(d / "mesh.ply", b"element vertex 162", b"element vertex ten"), "header that does not parse"),
    ],
)  # fmt: skip
def test_validation_finds_what_is_not_whole(tmp_path: Path, spoil: object, says: str) -> None:
    export_result(make_textured(), [], [], tmp_path)
    spoil(tmp_path)  # type: ignore[operator]
    answer = validate_mesh_output(tmp_path)
    assert answer["valid"] is False
    assert says in str(answer["error"])


def test_everything_missing_is_one_answer(tmp_path: Path) -> None:
    answer = validate_mesh_output(tmp_path / "nothing", "thing")
    assert answer["problems"] == [f"thing.{suffix}: is missing" for suffix in ("obj", "ply", "mtl", "png")]


def test_foreign_files(tmp_path: Path) -> None:
    """Two textures are packed into one; plain surfaces are grey; faults have a name."""
    from PIL import Image

    box = trimesh.creation.box((1, 1, 1))
    uv = np.random.default_rng(1).random((8, 2))
    scene = trimesh.Scene()
    for index, color in enumerate([(255, 0, 0), (0, 0, 255)]):
        material = trimesh.visual.material.PBRMaterial(
            baseColorTexture=Image.new("RGB", (4 + index, 3), color), baseColorFactor=[1.0, 1.0, 1.0, 1.0]
        )
        part = trimesh.Trimesh(
            box.vertices + np.array([2 * index, 0, 0]),
            box.faces,
            visual=trimesh.visual.TextureVisuals(uv=uv, material=material),
        )
        scene.add_geometry(part)
    scene.export(tmp_path / "two.glb")
    read = load_textured(tmp_path / "two.glb")
    assert isinstance(read, TexturedMesh)
    assert len(read.mesh.faces) == 24
    from meshwright.export.corners import sample_texture

    colors = sample_texture(read.base_color_srgb, read.uv[read.uv_faces].mean(1))
    right = read.mesh.vertices[read.mesh.faces][..., 0].mean(1) > 1
    np.testing.assert_allclose(colors[right], np.broadcast_to([0, 0, 1], (12, 3)), atol=1e-6)
    np.testing.assert_allclose(colors[~right], np.broadcast_to([1, 0, 0], (12, 3)), atol=1e-6)

    box.export(tmp_path / "plain.stl")
    plain = load_textured(tmp_path / "plain.stl")
    assert isinstance(plain, ColouredMesh)
    assert np.unique(plain.colors_srgb).tolist() == [178]

    (tmp_path / "broken.glb").write_bytes(b"glTF nothing")
    with pytest.raises(InputError, match=r"'broken.glb' cannot be read as a mesh"):
        load_textured(tmp_path / "broken.glb")
    with pytest.raises(InputError, match=r"There is no mesh file 'no.obj'"):
        load_textured(tmp_path / "no.obj")
    (tmp_path / "points.obj").write_text("v 0 0 0\nv 1 0 0\n")
    with pytest.raises(InputError, match=r"'points.obj'"):
        load_textured(tmp_path / "points.obj")
    textured = make_textured()
    obj, _, png = write_obj(textured, tmp_path / "lost.obj")
    png.unlink()
    with pytest.raises(InputError, match=r"'lost.obj' refers to 'lost.png', which cannot be read"):
        load_textured(obj)


def test_weld_joins_exactly_equal_places() -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [-0.0, 0, 0], [0, 1, 0], [9, 9, 9]], np.float32)
    vertices, faces = weld(points, np.array([[1, 0, 3], [2, 1, 3]], np.int32))
    np.testing.assert_array_equal(vertices, points[[1, 0, 3]])
    np.testing.assert_array_equal(faces, [[0, 1, 2], [1, 0, 2]])


def test_weld_keeps_corners_where_they_are_and_counts_by_first_use() -> None:
    rng = np.random.default_rng(7)
    points = rng.integers(-1, 3, (200, 3)).astype(np.float32)
    triangles = rng.integers(0, 150, (90, 3)).astype(np.int32)
    vertices, faces = weld(points, triangles)
    np.testing.assert_array_equal(vertices[faces], points[triangles])
    assert len(np.unique(vertices, axis=0)) == len(vertices)
    _, first = np.unique(faces, return_index=True)  # of 0, 1, 2 ... each later than the one before
    assert len(first) == len(vertices) and (np.diff(first) > 0).all()


def test_no_torch_and_no_warp_in_this_package() -> None:
    code = "import sys, meshwright.export; print([m for m in ('torch', 'warp') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
