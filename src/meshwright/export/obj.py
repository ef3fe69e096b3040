"""Wavefront OBJ with its MTL and PNG. Vertices stay shared across texture seams."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from meshwright import __version__
from meshwright.export.corners import check_textured
from meshwright.export.files import encode_png, write_atomic
from meshwright.export.panorama import LIGHT_SUFFIX, write_hdr
from meshwright.types import Array, MaterialMaps, TexturedMesh

__all__ = ["write_obj"]

MATERIAL = "base"


def write_obj(textured: TexturedMesh, path: Path, *, png: bytes | None = None) -> tuple[Path, Path, Path]:
    """Write NAME.obj, NAME.mtl and NAME.png; the texture first, so that an OBJ in place always finds its parts.

    With a material also its maps (NAME_roughness.png and so on, named in the MTL) and NAME_light.hdr.

    Args:
        textured: What to write.
        path: The OBJ file.
        png: The texture already encoded, if the caller has it.
    Returns:
        The three paths: obj, mtl, png.
    Raises:
        ShapeError: The mesh cannot be written (see `check_textured`).
        OutputError: A file cannot be written.
    """
    check_textured(textured)
    texture = write_atomic(path.with_suffix(".png"), png if png is not None else encode_png(textured.base_color_srgb))
    # No specular part, no emission: the photographs' light is in the base colour already.
    material = [f"newmtl {MATERIAL}", "Ka 0 0 0", "Kd 1 1 1", "Ks 0 0 0", "illum 1", "d 1", f"map_Kd {texture.name}"]
    if textured.material is not None:
        material += _write_maps(textured.material, path)
    mtl = write_atomic(path.with_suffix(".mtl"), "\n".join([f"# meshwright {__version__}", *material, ""]).encode())
    mesh = textured.mesh
    # Nine digits bring every float32 back exactly.
    lines = [f"# meshwright {__version__}", f"mtllib {mtl.name}", "o object"]
    lines += _rows("v %.9g %.9g %.9g", mesh.vertices)
    lines += _rows("vt %.9g %.9g", textured.uv)
    lines += _rows("vn %.6g %.6g %.6g", mesh.vertex_normals())
    lines += [f"usemtl {MATERIAL}", "s 1"]
    v, t = (mesh.faces + 1).tolist(), (textured.uv_faces + 1).tolist()
    lines += [f"f {a}/{i}/{a} {b}/{j}/{b} {c}/{k}/{c}" for (a, b, c), (i, j, k) in zip(v, t, strict=True)]
    write_atomic(path, ("\n".join(lines) + "\n").encode())
    return path, mtl, texture


def _write_maps(material: MaterialMaps, path: Path) -> list[str]:
    """Writes NAME_roughness.png, NAME_metallic.png, NAME_normal.png where there is one, and NAME_light.hdr.

    Returns:
        Lines of the MTL: its PBR extension, which Blender, Assimp and others read. Maps are linear.
    """
    stem = path.stem
    maps = {"map_Pr": ("roughness", material.orm[..., 1]), "map_Pm": ("metallic", material.orm[..., 2])}
    if material.normal is not None:
        maps["norm"] = ("normal", material.normal)
    lines = ["Pr 1", "Pm 1"]
    for word, (name, picture) in maps.items():
        file = write_atomic(path.with_name(f"{stem}_{name}.png"), encode_png(np.ascontiguousarray(picture)))
        lines.append(f"{word} {file.name}")
    light = write_hdr(path.with_name(f"{stem}{LIGHT_SUFFIX}"), material.light)
    return [*lines, f"# seen under the light of {light.name}"]


def _rows(pattern: str, values: Array) -> list[str]:
    return [pattern % tuple(row) for row in values.tolist()]
