"""What the file formats need that the records do not hold: checks, split vertices, a colour per vertex."""

from __future__ import annotations

import numpy as np

from meshwright.colour import from_srgb8, to_srgb8
from meshwright.device import map_threads
from meshwright.errors import ShapeError
from meshwright.types import Array, MaterialMaps, TexturedMesh

__all__ = ["check_textured", "sample_texture", "split_vertices", "vertex_colors"]

AT_ONCE = 2048
"""Faces whose colours a thread looks up at once: what that needs stays in a core's cache."""


def check_textured(textured: TexturedMesh) -> None:
    """Is this something that can be written?

    Raises:
        ShapeError: Empty, not finite, indices out of range, or parts that do not fit together; names all faults.
    """
    mesh, uv, uv_faces, texture = textured.mesh, textured.uv, textured.uv_faces, textured.base_color_srgb
    faults = []
    if len(mesh.faces) == 0:
        faults.append("the mesh has no faces")
    for name, values, width in (("vertices", mesh.vertices, 3), ("uv", uv, 2)):
        if values.ndim != 2 or values.shape[1] != width:
            faults.append(f"{name} have shape {values.shape}, expected [*, {width}]")
        elif not np.isfinite(values).all():
            faults.append(f"{int((~np.isfinite(values)).any(1).sum())} {name} are not finite")
    for name, faces, count in (("faces", mesh.faces, len(mesh.vertices)), ("uv_faces", uv_faces, len(uv))):
        if faces.ndim != 2 or faces.shape[1] != 3:
            faults.append(f"{name} have shape {faces.shape}, expected [*, 3]")
        elif len(faces) and (faces.min() < 0 or faces.max() >= count):
            faults.append(f"{name} name entries {faces.min()} to {faces.max()}, there are {count}")
    if mesh.faces.shape != uv_faces.shape:
        faults.append(f"there are {len(mesh.faces)} faces and {len(uv_faces)} uv_faces")
    if texture.dtype != np.uint8 or texture.ndim != 3 or texture.shape[2] != 3 or 0 in texture.shape:
        faults.append(f"the texture is {texture.dtype} {texture.shape}, expected uint8 [T, T, 3]")
    if textured.material is not None:
        faults += _material_faults(textured.material)
    if faults:
        raise ShapeError(f"The mesh cannot be written: {'; '.join(faults)}.")


def _material_faults(material: MaterialMaps) -> list[str]:
    faults = []
    for name, picture in (("orm", material.orm), ("normal", material.normal)):
        if picture is not None and (
            picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape
        ):
            faults.append(f"the map {name} is {picture.dtype} {picture.shape}, expected uint8 [S, S, 3]")
    light = material.light
    if light.ndim != 3 or light.shape[2] != 3 or light.shape[1] < 8 or light.shape[0] == 0:
        faults.append(f"the light is {light.shape}, expected [H, 2 H, 3]")
    elif not (np.isfinite(light).all() and light.min() >= 0):
        faults.append("the light has values that are negative or not finite")
    return faults


def split_vertices(textured: TexturedMesh) -> tuple[Array, Array, Array]:
    """One vertex per pair of position and texture coordinate that occurs, for formats with a single index.

    Returns:
        `position` [M] and `coordinate` [M], indices into vertices and uv, and faces int32 [F, 3] into both. Vertices
        keep the order in which faces name them, so that neighbours stay close in memory.
    """
    pairs = textured.mesh.faces.astype(np.int64).ravel() * len(textured.uv) + textured.uv_faces.ravel()
    _, first, inverse = np.unique(pairs, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    chosen = first[order]
    faces = rank[inverse].reshape(-1, 3).astype(np.int32)
    return textured.mesh.faces.ravel()[chosen], textured.uv_faces.ravel()[chosen], faces


def sample_texture(texture_srgb: Array, uv: Array) -> Array:
    """Bilinear look-ups in linear light, float32 [..., 3]; uv [..., 2] with v up, the texture repeats."""
    height, width = texture_srgb.shape[:2]
    texels = texture_srgb.reshape(-1, texture_srgb.shape[2])
    x = uv[..., 0] * width - 0.5
    y = (1 - uv[..., 1]) * height - 0.5
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    fx, fy = (x - column)[..., None].astype(np.float32), (y - row)[..., None].astype(np.float32)
    left, right = column % width, (column + 1) % width
    upper, lower = row % height * width, (row + 1) % height * width
    at = [from_srgb8(texels.take(place, 0)) for place in (upper + left, upper + right, lower + left, lower + right)]
    above, below = at[0] * (1 - fx) + at[1] * fx, at[2] * (1 - fx) + at[3] * fx
    result: Array = above * (1 - fy) + below * fy
    return result


def vertex_colors(textured: TexturedMesh) -> Array:
    """The texture around each vertex as one colour, sRGB uint8 [N, 3]; mid-grey where no face has area.

    Each face gives its corners the mean of four look-ups in its nearest third, weighted by its area, so that a
    texture much finer than the mesh does not leave single texels as colours.
    """
    near = np.array([[1, 0, 0], [2 / 3, 1 / 6, 1 / 6], [2 / 3, 1 / 3, 0], [2 / 3, 0, 1 / 3]])
    turned = [np.roll(near, corner, axis=1) for corner in range(3)]
    mesh, texture = textured.mesh, textured.base_color_srgb

    def seen(start: int) -> Array:
        uv = textured.uv.astype(np.float64)[textured.uv_faces[start : start + AT_ONCE]]
        return np.stack([sample_texture(texture, np.einsum("sk,fkc->fsc", spots, uv)).mean(1) for spots in turned], 1)

    colors = np.concatenate([np.zeros((0, 3, 3), np.float32), *map_threads(seen, range(0, len(mesh.faces), AT_ONCE))])
    triangles = mesh.vertices.astype(np.float64)[mesh.faces]
    area = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1)
    total = np.zeros((len(mesh.vertices), 4))
    for corner in range(3):
        for channel in range(3):
            total[:, channel] += np.bincount(mesh.faces[:, corner], colors[:, corner, channel] * area, len(total))
        total[:, 3] += np.bincount(mesh.faces[:, corner], area, len(total))
    known = total[:, 3:] > 0
    return np.where(known, to_srgb8(total[:, :3] / np.where(known, total[:, 3:], 1)), np.uint8(128)).astype(np.uint8)
