"""Materials and light in files: what is written comes back, and other programs can read it."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from meshwright.errors import InputError, ShapeError
from meshwright.export import export_result, load_textured, read_hdr, validate_mesh_output, write_hdr, write_obj
from meshwright.export.panorama import rgbe_decode, rgbe_encode
from meshwright.types import MaterialMaps, Mesh, TexturedMesh

trimesh = pytest.importorskip("trimesh")


def lit_ball(normal: bool = True) -> TexturedMesh:
    rng = np.random.default_rng(3)
    ball = trimesh.creation.icosphere(2, 0.4)
    corners = rng.uniform(0, 0.9, (len(ball.faces), 1, 2)) + rng.uniform(0, 0.1, (len(ball.faces), 3, 2))
    orm = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    orm[..., 0] = 255
    return TexturedMesh(
        mesh=Mesh(vertices=ball.vertices.astype(np.float32), faces=ball.faces.astype(np.int32)),
        uv=corners.reshape(-1, 2).astype(np.float32),
        uv_faces=np.arange(3 * len(ball.faces), dtype=np.int32).reshape(-1, 3),
        base_color_srgb=rng.integers(0, 256, (32, 32, 3), dtype=np.uint8),
        material=MaterialMaps(
            orm=orm,
            normal=rng.integers(100, 156, (16, 16, 3), dtype=np.uint8) if normal else None,
            light=rng.gamma(0.5, 2.0, (16, 32, 3)).astype(np.float32),
        ),
    )


@pytest.mark.parametrize("suffix", ["obj", "glb"])
@pytest.mark.parametrize("normal", [True, False])
def test_what_is_written_comes_back(tmp_path: Path, suffix: str, normal: bool) -> None:
    textured = lit_ball(normal)
    files = export_result(textured, [], [], tmp_path)
    assert files.textured.material is not None
    read = load_textured(tmp_path / f"mesh.{suffix}")
    assert isinstance(read, TexturedMesh) and read.material is not None and textured.material is not None
    np.testing.assert_array_equal(read.base_color_srgb, textured.base_color_srgb)
    np.testing.assert_array_equal(read.material.orm, textured.material.orm)
    # Written once more the light is the same: what the caller gets is what a reader gets.
    np.testing.assert_array_equal(read.material.light, files.textured.material.light)
    if normal:
        np.testing.assert_array_equal(read.material.normal, textured.material.normal)
        assert (tmp_path / "mesh_normal.png").exists()
    else:
        assert read.material.normal is None and not (tmp_path / "mesh_normal.png").exists()
    np.testing.assert_allclose(
        read.tangents()[read.uv_faces], textured.tangents()[textured.uv_faces], rtol=0, atol=2e-4
    )
    assert validate_mesh_output(tmp_path)["valid"]


def test_without_its_light_a_file_is_base_colour_alone(tmp_path: Path) -> None:
    export_result(lit_ball(), [], [], tmp_path)
    (tmp_path / "mesh_light.hdr").unlink()
    for suffix in ("obj", "glb"):
        read = load_textured(tmp_path / f"mesh.{suffix}")
        assert isinstance(read, TexturedMesh) and read.material is None


def test_the_material_file_names_every_map(tmp_path: Path) -> None:
    write_obj(lit_ball(), tmp_path / "mesh.obj")
    lines = (tmp_path / "mesh.mtl").read_text().splitlines()
    for line in ("map_Kd mesh.png", "map_Pr mesh_roughness.png", "map_Pm mesh_metallic.png", "norm mesh_normal.png"):
        assert line in lines


def test_the_gltf_material_is_complete(tmp_path: Path) -> None:
    files = export_result(lit_ball(), [], [], tmp_path)
    assert files.glb is not None
    data = files.glb.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    document = json.loads(data[20 : 20 + length])
    (material,) = document["materials"]
    surface = material["pbrMetallicRoughness"]
    assert surface["metallicFactor"] == surface["roughnessFactor"] == 1
    used = [surface["baseColorTexture"], surface["metallicRoughnessTexture"], material["normalTexture"]]
    names = [document["images"][document["textures"][item["index"]]["source"]]["name"] for item in used]
    assert names == ["base_color", "occlusion_roughness_metallic", "normal"]
    tangent = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"]["TANGENT"]]
    assert tangent["type"] == "VEC4"


def test_radiance_keeps_a_half_per_cent_of_the_brightest_channel(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = (rng.random((7, 40, 3)) * 10.0 ** rng.uniform(-6, 4, (7, 40, 1))).astype(np.float32)
    picture[0, 0] = 0
    read = read_hdr(write_hdr(tmp_path / "a.hdr", picture))
    # Mantissas of 8 bits, about 128 or more for the brightest: half a step is 1/255 of it at most.
    assert (np.abs(read - picture) <= picture.max(-1, keepdims=True) / 255 + 1e-12).all()
    np.testing.assert_array_equal(rgbe_decode(rgbe_encode(read)), read)


def test_radiance_with_runs_is_read_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.hdr"
    head = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 8\n"
    runs = bytes([2, 2, 0, 8, 128 + 8, 100, 128 + 8, 50, 4, 1, 2, 3, 4, 128 + 4, 5, 128 + 8, 129])
    path.write_bytes(head + runs)
    np.testing.assert_allclose(read_hdr(path)[0, 0], np.array([100, 50, 1]) / 128)
    for damage in (b"", head, head + runs[:-1], head + runs[:6] + bytes([128 + 9, 1])):
        path.write_bytes(damage)
        with pytest.raises(InputError, match=r"a\.hdr.* is no whole Radiance picture"):
            read_hdr(path)


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    good = lit_ball()
    assert good.material is not None
    bad = replace(good.material, orm=np.zeros((4, 4), np.uint8), light=np.full((4, 8, 3), -1.0, np.float32))
    with pytest.raises(ShapeError, match=r"map orm is uint8 \(4, 4\).*light has values that are negative"):
        export_result(replace(good, material=bad), [], [], tmp_path)


def test_missing_and_damaged_maps_are_faults(tmp_path: Path) -> None:
    export_result(lit_ball(), [], [], tmp_path)
    (tmp_path / "mesh_roughness.png").write_bytes(b"no picture")
    assert "mesh_roughness.png" in str(validate_mesh_output(tmp_path)["error"])
    with pytest.raises(InputError, match=r"mesh_roughness\.png"):
        load_textured(tmp_path / "mesh.obj")
    (tmp_path / "mesh_light.hdr").write_bytes(b"no light")
    assert "mesh_light.hdr" in str(validate_mesh_output(tmp_path)["error"])


def test_tangents_follow_the_texture() -> None:
    """A square that faces +Z: u along +Y and v along -X; then mirrored, u along -Y."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    uv = np.stack([corners[:, 1], 1 - corners[:, 0]], 1)
    square = TexturedMesh(
        mesh=Mesh(vertices=corners, faces=faces),
        uv=uv,
        uv_faces=faces,
        base_color_srgb=np.zeros((2, 2, 3), np.uint8),
    )
    np.testing.assert_allclose(square.tangents(), np.tile([0.0, 1, 0, 1], (4, 1)), atol=1e-7)
    mirrored = replace(square, uv=uv * [-1, 1] + [1, 0])
    np.testing.assert_allclose(mirrored.tangents(), np.tile([0.0, -1, 0, -1], (4, 1)), atol=1e-7)
    lost = replace(square, uv=np.zeros_like(uv)).tangents()
    np.testing.assert_allclose(np.linalg.norm(lost[:, :3], axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(lost[:, 2], 0, atol=1e-7)
