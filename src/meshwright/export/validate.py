"""Is a written mesh whole? Our own files, read with our own few lines: a second opinion beside the loaders."""

from __future__ import annotations

import functools
import io
import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from meshwright.errors import InputError
from meshwright.export.panorama import LIGHT_SUFFIX, read_hdr
from meshwright.types import Array

__all__ = ["validate_mesh_output"]


class _Fault(Exception):  # noqa: N818  (it never leaves this module)
    """What is wrong with one file."""


def validate_mesh_output(folder: Path, name: str = "mesh") -> dict[str, object]:
    """Check NAME.obj, NAME.mtl, NAME.png and NAME.ply (and NAME.glb, and maps of a material, where they are there).

    Whole means: the files are there and parse; OBJ, PLY and GLB have the same number of faces and OBJ and PLY the same
    vertices; indices point at something; no number is NaN or infinite; the OBJ refers to the MTL, the MTL to the
    textures, and these decode; so does the light where it lies beside them.

    Returns:
        `{"valid": True, "vertices": int, "faces": int, "texture_size": [W, H]}`, or
        `{"valid": False, "error": str, "problems": [str, ...]}` with every fault found.
    """
    problems: list[str] = []
    found: dict[str, tuple[int, int, Array]] = {}
    size: list[int] = []
    for suffix, check in (("obj", functools.partial(_read_obj, name=name)), ("ply", _read_ply), ("glb", _read_glb)):
        path = folder / f"{name}.{suffix}"
        if suffix == "glb" and not path.exists():
            continue
        try:
            found[suffix] = check(_bytes(path))
        except _Fault as fault:
            problems.append(f"{path.name}: {fault}")
    try:
        for file in _check_mtl(_bytes(folder / f"{name}.mtl"), name):
            try:
                _png_size(_bytes(folder / file))
            except _Fault as fault:
                problems.append(f"{file}: {fault}")
    except _Fault as fault:
        problems.append(f"{name}.mtl: {fault}")
    light = folder / f"{name}{LIGHT_SUFFIX}"
    if light.exists():
        try:
            read_hdr(light)
        except InputError as error:
            problems.append(error.message)
    try:
        size.extend(_png_size(_bytes(folder / f"{name}.png")))
    except _Fault as fault:
        problems.append(f"{name}.png: {fault}")
    if "obj" in found and "ply" in found:
        if found["obj"][0] != found["ply"][0]:
            problems.append(f"{name}.obj has {found['obj'][0]} vertices, {name}.ply {found['ply'][0]}")
        elif not np.allclose(found["obj"][2], found["ply"][2], rtol=1e-6, atol=0):
            problems.append(f"{name}.obj and {name}.ply have different bounds")
    for suffix in ("ply", "glb"):
        if "obj" in found and suffix in found and found["obj"][1] != found[suffix][1]:
            problems.append(f"{name}.obj has {found['obj'][1]} faces, {name}.{suffix} {found[suffix][1]}")
    if problems:
        return {"valid": False, "error": "; ".join(problems), "problems": problems}
    return {"valid": True, "vertices": found["obj"][0], "faces": found["obj"][1], "texture_size": size}


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise _Fault("is missing") from None
    except OSError as error:
        raise _Fault(f"cannot be read ({error.strerror})") from None
    if not data:
        raise _Fault("is empty")
    return data


def _summary(vertices: Array, faces: Array) -> tuple[int, int, Array]:
    """Vertex count, face count, bounds [2, 3]."""
    if len(vertices) == 0 or len(faces) == 0:
        raise _Fault(f"has {len(vertices)} vertices and {len(faces)} faces")
    if not np.isfinite(vertices).all():
        raise _Fault("has a vertex that is not finite")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise _Fault(f"has a face that names vertex {faces.max()} of {len(vertices)} (counted from 0)")
    return len(vertices), len(faces), np.stack([vertices.min(0), vertices.max(0)])


def _read_obj(data: bytes, name: str) -> tuple[int, int, Array]:
    if f"\nmtllib {name}.mtl\n".encode() not in data:
        raise _Fault(f"does not refer to {name}.mtl")
    rows: dict[str, list[list[str]]] = {"v": [], "vt": [], "vn": [], "f": []}
    for line in data.decode("utf-8", "replace").splitlines():
        word, *rest = line.split()[:4] or [""]
        if word in rows:
            rows[word].append(rest)
    try:
        vertices = np.array(rows["v"], np.float64).reshape(-1, 3)
        faces = np.array([[c.split("/") for c in corners] for corners in rows["f"]], np.int64).reshape(-1, 3, 3) - 1
        others = [np.array(rows["vt"], np.float64).reshape(-1, 2), np.array(rows["vn"], np.float64).reshape(-1, 3)]
    except ValueError:
        raise _Fault("does not parse: expected v x y z, vt u v, vn x y z and f a/b/c a/b/c a/b/c") from None
    for index, word in enumerate(("vt", "vn")):
        if not np.isfinite(others[index]).all():
            raise _Fault(f"has a {word} that is not finite")
        used = faces[..., index + 1]
        if len(used) and (used.min() < 0 or used.max() >= len(others[index])):
            raise _Fault(f"has a face that names {word} {used.max()} of {len(others[index])} (counted from 0)")
    return _summary(vertices, faces[..., 0])


def _check_mtl(data: bytes, name: str) -> list[str]:
    """The names of further maps that it refers to."""
    lines = data.decode("utf-8", "replace").splitlines()
    maps = [line.split(maxsplit=1)[1].strip() for line in lines if line.startswith("map_Kd ")]
    if maps != [f"{name}.png"]:
        raise _Fault(f"refers to the textures {maps}, expected {name}.png")
    return [line.split(maxsplit=1)[1].strip() for line in lines if line.startswith(("map_Pr ", "map_Pm ", "norm "))]


def _png_size(data: bytes) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
            return image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _Fault(f"does not decode ({error})") from None


_PLY_TYPES = {"float": "<f4", "double": "<f8", "uchar": "u1", "int": "<i4", "uint": "<u4", "short": "<i2"}


def _read_ply(data: bytes) -> tuple[int, int, Array]:
    head, found, body = data.partition(b"end_header\n")
    lines = head.decode("ascii", "replace").splitlines()
    if not found or lines[:2] != ["ply", "format binary_little_endian 1.0"]:
        raise _Fault("is not a binary little-endian PLY file")
    counts = {"vertex": 0, "face": 0}
    columns: list[tuple[str, str]] = []
    try:
        element = ""
        for line in lines[2:]:
            word, *rest = line.split()
            if word == "element":
                element = rest[0]
                counts[element] = int(rest[1])
            elif word == "property" and element == "vertex":
                columns.append((rest[1], _PLY_TYPES[rest[0]]))
        vertex_type = np.dtype(columns)
        face_type = np.dtype([("count", "u1"), ("index", "<i4", 3)])
        expected = counts["vertex"] * vertex_type.itemsize + counts["face"] * face_type.itemsize
        if len(body) != expected:
            raise _Fault(f"has {len(body)} bytes after its header, expected {expected}")
        rows = np.frombuffer(body, vertex_type, counts["vertex"])
        faces = np.frombuffer(body, face_type, counts["face"], counts["vertex"] * vertex_type.itemsize)
        values = np.stack([rows[axis] for axis in ("x", "y", "z", "nx", "ny", "nz")], 1).astype(np.float64)
    except (KeyError, IndexError, ValueError):
        raise _Fault("has a header that does not parse") from None
    if (faces["count"] != 3).any():
        raise _Fault("has faces that are not triangles")
    if not np.isfinite(values).all():
        raise _Fault("has a vertex or normal that is not finite")
    return _summary(values[:, :3], faces["index"])


def _read_glb(data: bytes) -> tuple[int, int, Array]:
    try:
        magic, version, total = struct.unpack_from("<4sII", data)
        if (magic, version, total) != (b"glTF", 2, len(data)):
            raise _Fault(f"is not a whole GLB 2 file ({len(data)} bytes, its header says {total})")
        length = struct.unpack_from("<I", data, 12)[0]
        document = json.loads(data[20 : 20 + length])
        binary = data[20 + length + 8 :]
        primitive = document["meshes"][0]["primitives"][0]

        def accessor(index: int) -> Array:
            entry = document["accessors"][index]
            view = document["bufferViews"][entry["bufferView"]]
            width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[entry["type"]]
            kind = {5126: "<f4", 5123: "<u2", 5125: "<u4"}[entry["componentType"]]
            values = np.frombuffer(binary, kind, entry["count"] * width, view["byteOffset"])
            return values.reshape(-1, width)

        vertices = accessor(primitive["attributes"]["POSITION"]).astype(np.float64)
        faces = accessor(primitive["indices"]).astype(np.int64).reshape(-1, 3)
        image = document["bufferViews"][document["images"][0]["bufferView"]]
        if not binary[image["byteOffset"] :].startswith(b"\x89PNG"):
            raise _Fault("holds no PNG texture")
    except (KeyError, IndexError, ValueError, struct.error):
        raise _Fault("does not parse as GLB") from None
    return _summary(vertices, faces)
