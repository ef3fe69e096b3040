"""Wavefront OBJ with its MTL and PNG. Vertices stay shared across texture seams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from meshwright import __version__
from meshwright.export.corners import check_textured
from meshwright.export.files import encode_png, write_atomic
from meshwright.export.panorama import LIGHT_SUFFIX, write_hdr
from meshwright.types import Array, MaterialMaps, TexturedMesh

__all__ = ["PlainObj", "read_plain_obj", "write_obj"]

MATERIAL = "base"
_NUMBERS = (b"v ", b"vt", b"vn", b"f ")
"""How lines begin that there are many of."""


def write_obj(textured: TexturedMesh, path: Path, *, png: Callable[[], bytes] | None = None) -> tuple[Path, Path, Path]:
    """Write NAME.obj, NAME.mtl and NAME.png; the texture first, so that an OBJ in place always finds its parts.

    With a material also its maps (NAME_roughness.png and so on, named in the MTL) and NAME_light.hdr.

    Args:
        textured: What to write.
        path: The OBJ file.
        png: Gives the texture encoded, where the caller has that done elsewhere; it is waited for as late as possible.
    Returns:
        The three paths: obj, mtl, png.
    Raises:
        ShapeError: The mesh cannot be written (see `check_textured`).
        OutputError: A file cannot be written.
    """
    check_textured(textured)
    mesh, library = textured.mesh, path.with_suffix(".mtl")
    # Nine digits bring every float32 back exactly.
    lines = [f"# meshwright {__version__}", f"mtllib {library.name}", "o object"]
    lines += _rows("v %.9g %.9g %.9g", mesh.vertices)
    lines += _rows("vt %.9g %.9g", textured.uv)
    lines += _rows("vn %.6g %.6g %.6g", mesh.vertex_normals())
    lines += [f"usemtl {MATERIAL}", "s 1"]
    v, t = (mesh.faces + 1).tolist(), (textured.uv_faces + 1).tolist()
    lines += [f"f {a}/{i}/{a} {b}/{j}/{b} {c}/{k}/{c}" for (a, b, c), (i, j, k) in zip(v, t, strict=True)]
    encoded = encode_png(textured.base_color_srgb) if png is None else png()
    texture = write_atomic(path.with_suffix(".png"), encoded)
    # No specular part, no emission: the photographs' light is in the base colour already.
    material = [f"newmtl {MATERIAL}", "Ka 0 0 0", "Kd 1 1 1", "Ks 0 0 0", "illum 1", "d 1", f"map_Kd {texture.name}"]
    if textured.material is not None:
        material += _write_maps(textured.material, path)
    write_atomic(library, "\n".join([f"# meshwright {__version__}", *material, ""]).encode())
    write_atomic(path, ("\n".join(lines) + "\n").encode())
    return path, library, texture


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


@dataclass(frozen=True)
class PlainObj:
    """What an OBJ file of the form that `write_obj` gives it says.

    Attributes:
        vertices: float32 [N, 3].
        faces: int32 [F, 3].
        uv: float32 [T, 2].
        uv_faces: int32 [F, 3].
        library: The name of its MTL file.
    """

    vertices: Array
    faces: Array
    uv: Array
    uv_faces: Array
    library: str


def read_plain_obj(path: Path) -> PlainObj | None:
    """An OBJ file of nothing but triangles `a/b/c` under one material; None for one of any other form.

    Any OBJ file can be read by trimesh, and tests compare the two. But importing it takes longer than all else that is
    done to judge a result on a GPU.
    """
    data = path.read_bytes().replace(b"\r\n", b"\n")
    if not data.endswith(b"\n"):
        data += b"\n"
    blocks: dict[bytes, list[bytes]] = {word: [] for word in (*_NUMBERS, b"mtllib", b"usemtl", b"o", b"s")}
    for kind, block in _blocks(data):
        if kind in _NUMBERS:
            blocks[kind].append(block)
            continue
        for line in block.splitlines():
            word, _, rest = line.partition(b" ")
            if word in blocks:
                blocks[word].append(rest)
            elif word.strip() and not word.startswith(b"#"):
                return None
    if len(blocks[b"mtllib"]) != 1 or len(blocks[b"usemtl"]) != 1 or len(blocks[b"o"]) > 1:
        return None
    corners = _corners(b"".join(blocks[b"f "]))
    vertices = _numbers(b"".join(blocks[b"v "]), b"v", 3)
    uv = _numbers(b"".join(blocks[b"vt"]), b"vt", 2)
    if corners is None or vertices is None or uv is None:
        return None
    if corners.min() < 0 or (corners[..., :2].max((0, 1)) >= (len(vertices), len(uv))).any():
        return None
    return PlainObj(
        vertices=vertices.astype(np.float32),
        faces=corners[..., 0].astype(np.int32),
        uv=uv.astype(np.float32),
        uv_faces=corners[..., 1].astype(np.int32),
        library=blocks[b"mtllib"][0].decode("utf-8", "replace").strip(),
    )


def _blocks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Lines in a row that begin with the same two letters, if these are among `_NUMBERS`, or all with others."""
    text = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(text == ord("\n")) + 1
    starts = np.concatenate([[0], ends[:-1]])
    begins = text[starts].astype(np.int32) * 256 + text[np.minimum(starts + 1, len(text) - 1)]
    kind = np.full(len(starts), -1)
    for number, (first, second) in enumerate(_NUMBERS):
        kind[begins == first * 256 + second] = number
    changes = np.flatnonzero(np.diff(kind, prepend=-2))
    for line, until in zip(changes, [*(changes[1:] - 1), len(kind) - 1], strict=True):
        yield b"" if kind[line] < 0 else _NUMBERS[kind[line]], data[starts[line] : ends[until]]


def _numbers(block: bytes, word: bytes, width: int) -> Array | None:
    """Numbers of lines that begin with a word, float64 [N, width]; None where they are not so many, or not numbers."""
    try:
        values = np.fromstring(block.translate(None, word), np.float64, sep=" ")
    except (ValueError, DeprecationWarning):  # what NumPy will say, and says where warnings are errors
        return None
    # Where words are no numbers it stops before them, so that some are missing.
    return values.reshape(-1, width) if len(values) == width * block.count(b"\n") else None


def _corners(block: bytes) -> Array | None:
    """Indices from 0 of faces `f a/b/c a/b/c a/b/c`, int64 [F, 3, 3]; None where there are none, or others."""
    count = block.count(b"\n")
    text = np.frombuffer(block, np.uint8)
    digit = (text >= ord("0")) & (text <= ord("9"))
    runs = int((digit[1:] & ~digit[:-1]).sum())
    if count == 0 or runs != 9 * count or text[~digit].tobytes() != b"f // // //\n" * count:
        return None
    values = np.fromstring(block.translate(bytes.maketrans(b"f/", b"  ")), np.int64, sep=" ")
    return values.reshape(-1, 3, 3) - 1
