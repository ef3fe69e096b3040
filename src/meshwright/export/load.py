"""Mesh files back into records: our own OBJ, and whatever trimesh reads (OBJ, GLB, PLY ...)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from meshwright.colour import from_srgb8, srgb_to_linear, to_srgb8
from meshwright.errors import InputError
from meshwright.export.obj import read_plain_obj
from meshwright.export.panorama import LIGHT_SUFFIX, read_hdr
from meshwright.types import Array, ColouredMesh, MaterialMaps, Mesh, TexturedMesh

__all__ = ["load_textured", "weld"]

PLAIN_GREY = 178
"""sRGB code of surfaces without any colour."""
HEAD = 20
"""Lines of an OBJ file in which its material is looked for before all of it is read."""
LARGEST_ATLAS = 16384
"""Texels along an edge."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One mesh of a file: its image and its linear colour factor, or its vertex colours."""

    vertices: Array
    faces: Array
    uv: Array | None
    image_srgb: Array | None
    factor: Array
    colors_srgb: Array | None


def load_textured(path: Path) -> TexturedMesh | ColouredMesh:
    """Open a mesh file.

    Base colour only: other maps, cameras and animations are left aside; node transforms are applied. Only where the
    light that a mesh was seen under lies beside its file (`NAME_light.hdr`) are roughness, metalness and normals, and
    the light, read too; then occlusion is 1, and tangents are made anew, which for our own files gives the same.
    Several textures are packed into one. Vertices at exactly the same place become one again, for formats that split
    them at texture seams. A file with neither texture nor colours comes back plain grey.

    Raises:
        InputError: The file is missing, cannot be read, has no triangles, refers to a texture that is not there, or
            combines several textures in a way that does not fit into one.
    """
    if not path.is_file():
        raise InputError(f"There is no mesh file {path.name!r}.", hint="Give the path of an OBJ, GLB or PLY file.")
    if path.suffix.lower() == ".obj":
        own = _read_own(path)
        if own is not None:
            return own
        _check_obj_parts(path)
    import trimesh  # half a second, which our own files are read without

    try:
        scene = trimesh.load_scene(path, process=False)
        geometries = [g for g in scene.dump(concatenate=False) if isinstance(g, trimesh.Trimesh) and len(g.faces)]
    except Exception as error:  # whatever a reader of a foreign file trips over, the file is what is wrong
        raise InputError(
            f"{path.name!r} cannot be read as a mesh: {type(error).__name__}: {error}.", hint="Use OBJ, GLB or PLY."
        ) from error
    if not geometries:
        raise InputError(f"{path.name!r} holds no triangles.")
    parts = [_read_part(geometry) for geometry in geometries]
    for part in parts:
        _check_finite(path, part.vertices)
    if all(part.image_srgb is None for part in parts):
        return _join_coloured(parts)
    joined = _join_textured(path, parts)
    light = path.with_name(f"{path.stem}{LIGHT_SUFFIX}")
    if len(geometries) != 1 or not light.is_file():
        return joined
    return replace(joined, material=_read_maps(path, geometries[0].visual.material, light))


def _read_own(path: Path) -> TexturedMesh | None:
    """An OBJ file in the form that we write, with one texture; None for any other."""
    with ThreadPoolExecutor(1) as beside:
        # The texture takes longest. An OBJ of ours names its material in one of its first lines.
        begun = beside.submit(_only_picture, path.parent / next(iter(_named(path, "mtllib", most=HEAD)), ""))
        found = read_plain_obj(path)
        picture = begun.result()
    if found is None or picture is None:
        return None
    _check_finite(path, found.vertices)
    vertices, faces = weld(found.vertices, found.faces)
    textured = TexturedMesh(
        mesh=Mesh(vertices=vertices, faces=faces),
        uv=np.nan_to_num(found.uv),
        uv_faces=found.uv_faces,
        base_color_srgb=picture,
    )
    light = path.with_name(f"{path.stem}{LIGHT_SUFFIX}")
    return replace(textured, material=_read_maps(path, None, light)) if light.is_file() else textured


def _only_picture(library: Path) -> Array | None:
    """The base colour in an MTL file with one material, uint8 [H, W, 3]; None where there is another number."""
    if not library.is_file() or len(_named(library, "newmtl")) != 1:
        return None
    try:
        return _map_of(library, "map_kd")
    except InputError:
        return None  # `_check_obj_parts` says so by the name of the OBJ


def _check_finite(path: Path, vertices: Array) -> None:
    if not np.isfinite(vertices).all():
        raise InputError(f"{path.name!r} has vertices that are not finite.", hint="Write the mesh again.")


def _read_maps(path: Path, material: Any, light: Path) -> MaterialMaps | None:
    """Roughness, metalness and normals; None where the material has neither of the first two."""
    normal: Array | None = None
    if path.suffix.lower() == ".obj":
        library = path.parent / next(iter(_named(path, "mtllib")), "")
        found = {word: _map_of(library, word) for word in ("map_pr", "map_pm", "norm")}
        if found["map_pr"] is None or found["map_pm"] is None:
            return None
        both = [found["map_pr"][..., 0], found["map_pm"][..., 0]]
        normal = found["norm"]
    else:
        packed = getattr(material, "metallicRoughnessTexture", None)
        if packed is None:
            return None
        if material.normalTexture is not None:
            normal = np.asarray(material.normalTexture.convert("RGB"))
        codes = np.asarray(packed.convert("RGB"), np.float32)
        factors = [1.0 if f is None else f for f in (material.roughnessFactor, material.metallicFactor)]
        both = [np.rint(codes[..., 1 + i] * factors[i]).astype(np.uint8) for i in range(2)]
    if both[0].shape != both[1].shape:
        raise InputError(f"Roughness and metalness of {path.name!r} differ in size.")
    return MaterialMaps(
        orm=np.stack([np.full_like(both[0], 255), *both], -1),
        normal=normal,
        light=read_hdr(light),
    )


def _map_of(library: Path, word: str) -> Array | None:
    """The picture that a line of an MTL file names, uint8 [H, W, 3]."""
    name = next(iter(_named(library, f"{word} ")), None)
    if name is None:
        return None
    try:
        with Image.open(library.parent / name) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{library.name!r} refers to {name!r}, which cannot be read.",
            hint="Keep OBJ, MTL and textures in one folder.",
        ) from error


def weld(vertices: Array, faces: Array) -> tuple[Array, Array]:
    """Make vertices at exactly the same place one, in order of first use; unused ones go. Faces stay in place."""
    places = np.ascontiguousarray(vertices + np.float32(0))  # -0 and 0 are the same place
    keys = places.view(np.dtype((np.void, places.dtype.itemsize * places.shape[1]))).ravel()
    _, chosen, same = np.unique(keys, return_index=True, return_inverse=True)
    corners = same[faces.ravel()]
    # Written from the last corner to the first, what stays is where each place is first used.
    first = np.full(len(chosen), len(corners))
    first[corners[::-1]] = np.arange(len(corners))[::-1]
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(corners))]
    rank = np.empty(len(chosen), np.int32)
    rank[order] = np.arange(len(order))
    return places[chosen[order]], rank[corners].reshape(-1, 3)


def _check_obj_parts(path: Path) -> None:
    """Are the material files and textures there? trimesh leaves them out without a word."""
    missing = []
    for library in _named(path, "mtllib"):
        if not (path.parent / library).is_file():
            missing.append(library)
            continue
        missing += [name for name in _named(path.parent / library, "map_kd") if not _is_picture(path.parent / name)]
    if missing:
        raise InputError(
            f"{path.name!r} refers to {', '.join(map(repr, missing))}, which cannot be read.",
            hint="Keep OBJ, MTL and texture in one folder.",
        )


def _named(path: Path, keyword: str, most: int | None = None) -> list[str]:
    """The file names that follow a keyword in an OBJ or MTL file, or in so many lines of it."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        naming = (line for line in islice(lines, most) if line.lower().lstrip().startswith(keyword))
        found = [line.strip().split(maxsplit=1) for line in naming]
    return [words[1] for words in found if len(words) == 2]


def _is_picture(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True


def _read_part(geometry: Any) -> _Part:
    """One trimesh geometry. Colour factors of glTF are linear, those of MTL sRGB."""
    vertices = np.asarray(geometry.vertices, np.float32)
    faces = np.asarray(geometry.faces, np.int32)
    uv = image = colors = None
    factor: Array = np.ones(3, np.float32)
    visual = geometry.visual
    kind = getattr(visual, "kind", None)
    if kind == "texture":
        material = visual.material
        if hasattr(material, "baseColorTexture"):
            image = material.baseColorTexture
            if material.baseColorFactor is not None:
                given = np.asarray(material.baseColorFactor)[:3]
                factor = given.astype(np.float32) / (255 if given.dtype == np.uint8 else 1)
        else:
            image = getattr(material, "image", None)
            if image is None:
                factor = srgb_to_linear(np.asarray(material.main_color[:3], np.float32) / 255)
        uv = None if visual.uv is None else np.nan_to_num(np.asarray(visual.uv, np.float32)[:, :2])
        if uv is None:
            image = None
        extra = visual.vertex_attributes.get("color") if image is None else None
        if extra is not None:
            colors = to_srgb8(from_srgb8(np.asarray(extra, np.uint8)[:, :3]) * factor)
    elif kind == "vertex":
        colors = np.asarray(visual.vertex_colors, np.uint8)[:, :3]
    elif kind == "face":
        vertices = vertices[faces].reshape(-1, 3)
        colors = np.repeat(np.asarray(visual.face_colors, np.uint8)[:, :3], 3, 0)
        faces = np.arange(len(vertices), dtype=np.int32).reshape(-1, 3)
    else:
        factor = from_srgb8(np.full(3, PLAIN_GREY, np.uint8))
    pixels = None if image is None else np.asarray(image.convert("RGB"))
    return _Part(vertices=vertices, faces=faces, uv=uv, image_srgb=pixels, factor=factor, colors_srgb=colors)


def _join_coloured(parts: list[_Part]) -> ColouredMesh:
    vertices = np.concatenate([part.vertices for part in parts])
    colors = np.concatenate(
        [
            part.colors_srgb
            if part.colors_srgb is not None
            else np.broadcast_to(to_srgb8(part.factor), part.vertices.shape)
            for part in parts
        ]
    )
    starts = np.cumsum([0] + [len(part.vertices) for part in parts])
    faces = np.concatenate([part.faces + int(start) for part, start in zip(parts, starts, strict=False)])
    return ColouredMesh(mesh=Mesh(vertices=vertices, faces=faces.astype(np.int32)), colors_srgb=colors)


def _join_textured(path: Path, parts: list[_Part]) -> TexturedMesh:
    images = []
    for part in parts:
        if part.image_srgb is None:
            if part.colors_srgb is not None:
                raise InputError(
                    f"{path.name!r} has vertex colours on one part and a texture on another.",
                    hint="Bake its colours into one texture.",
                )
            images.append(np.broadcast_to(to_srgb8(part.factor), (4, 4, 3)))
        elif np.allclose(part.factor, 1):
            images.append(part.image_srgb)
        else:
            images.append(to_srgb8(from_srgb8(part.image_srgb) * part.factor))
    uvs = [part.uv if part.uv is not None else np.full((len(part.vertices), 2), 0.5, np.float32) for part in parts]
    if len(parts) == 1:
        texture = images[0]
    else:
        texture, uvs = _pack(path, images, uvs, [part.faces for part in parts])
    starts = np.cumsum([0] + [len(part.vertices) for part in parts])
    uv_faces = np.concatenate([part.faces + int(start) for part, start in zip(parts, starts, strict=False)])
    vertices, faces = weld(np.concatenate([part.vertices for part in parts]), uv_faces)
    return TexturedMesh(
        mesh=Mesh(vertices=vertices, faces=faces),
        uv=np.concatenate(uvs),
        uv_faces=uv_faces.astype(np.int32),
        base_color_srgb=np.ascontiguousarray(texture),
    )


def _pack(path: Path, images: list[Array], uvs: list[Array], faces: list[Array]) -> tuple[Array, list[Array]]:
    """Put images above each other, each in a frame of its own edge texels, and move the coordinates there."""
    placed = []
    for uv, part_faces in zip(uvs, faces, strict=True):
        # A part may use any one period of a texture that repeats, but not more than one at once.
        shift = np.floor(uv[part_faces].reshape(-1, 2).min(0) + 1e-4)
        inside = uv - shift
        if inside[part_faces].max() > 1 + 1e-4:
            raise InputError(
                f"{path.name!r} has several textures, and one of them repeats across the surface.",
                hint="Bake its colours into one texture.",
            )
        placed.append(np.clip(inside, 0, 1))
    width = max(image.shape[1] for image in images) + 2
    height = sum(image.shape[0] + 2 for image in images)
    if max(width, height) > LARGEST_ATLAS:
        raise InputError(
            f"The textures of {path.name!r} are {width} x {height} texels together, at most {LARGEST_ATLAS} fit.",
            hint="Use smaller textures.",
        )
    atlas = np.zeros((height, width, 3), np.uint8)
    moved = []
    top = 0
    for image, uv in zip(images, placed, strict=True):
        rows, columns = image.shape[:2]
        atlas[top : top + rows + 2, : columns + 2] = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
        x = (uv[:, 0] * columns + 1) / width
        y = ((1 - uv[:, 1]) * rows + top + 1) / height
        moved.append(np.stack([x, 1 - y], 1).astype(np.float32))
        top += rows + 2
    return atlas, moved
