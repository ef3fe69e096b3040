"""Where on the surface each texel of an atlas lies.

Letters: T side of the texture, F faces, M texels that matter: those covered by a chart and a rim around them.
Texture row 0 is on top (v = 1); the centre of texel (row 0, column 0) is u = 0.5 / T, v = 1 - 0.5 / T.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt

from meshwright.errors import ShapeError
from meshwright.rendering.rasterize import rasterize_clip
from meshwright.types import Array, Mesh

__all__ = ["Texels", "find_texels"]

RIM = 2.0
"""Texels around a chart that bilinear look-ups inside it can touch: they get colour of their own, by continuing the
nearest face's plane."""


@dataclass(frozen=True, kw_only=True)
class Texels:
    """Texels with a place on the surface.

    Attributes:
        size: Side of the texture.
        index: Flat index row * size + column, int64 [M], rising.
        face: int32 [M].
        bary: Weights of the face's corners, float32 [M, 3]; in the rim some are negative.
        position: World position, float32 [M, 3].
        normal: Smooth unit normal, float32 [M, 3].
        inside: Covered by a chart, not rim; bool [M].
        spacing: Mean distance of neighbouring texels on the surface, in mesh units.
    """

    size: int
    index: Array
    face: Array
    bary: Array
    position: Array
    normal: Array
    inside: Array
    spacing: float


def find_texels(mesh: Mesh, uv: Array, uv_faces: Array, size: int, *, device: str) -> Texels:
    """Lay the mesh into the texture and look up the surface under each texel.

    Args:
        mesh: Geometry.
        uv: float32 [U, 2]; uv_faces: int32 [F, 3], as in `TexturedMesh`.
        size: Side of the texture in texels.
        device: Where to rasterise.
    Raises:
        ShapeError: Mesh and atlas differ in their number of faces, or no texel centre is covered.
    """
    if len(uv_faces) != len(mesh.faces):
        raise ShapeError(f"The atlas has {len(uv_faces)} faces, the mesh {len(mesh.faces)}.")
    clip = np.stack([2 * uv[:, 0] - 1, 2 * uv[:, 1] - 1, np.ones(len(uv))], 1).astype(np.float32)
    fragments = rasterize_clip(clip, uv_faces, size, size, device=device)
    covered = fragments.face_id >= 0
    if not covered.any():
        raise ShapeError("No texel of the atlas is covered.", hint="Use a larger texture.")
    near, (row, column) = distance_transform_edt(~covered, return_indices=True)
    index = np.flatnonzero(near.ravel() <= RIM)
    face = fragments.face_id[row.ravel()[index], column.ravel()[index]]
    inside = covered.ravel()[index]
    bary = plane_weights(uv, uv_faces[face], index, size)
    corners = mesh.faces[face]
    normals = mesh.vertex_normals()
    position, normal = np.zeros((len(index), 3), np.float32), np.zeros((len(index), 3), np.float32)
    clamped = np.clip(bary, 0, 1)
    for i in range(3):
        position += bary[:, i, None] * mesh.vertices[corners[:, i]]
        normal += clamped[:, i, None] * normals[corners[:, i]]
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    sides = mesh.vertices[mesh.faces[:, 1:]].astype(np.float64) - mesh.vertices[mesh.faces[:, :1]]
    area = 0.5 * np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1).sum()
    return Texels(
        size=size,
        index=index,
        face=face,
        bary=bary,
        position=position,
        normal=normal,
        inside=inside,
        spacing=float(np.sqrt(area / np.count_nonzero(covered))),
    )


def plane_weights(uv: Array, uv_faces: Array, index: Array, size: int) -> Array:
    """Barycentric weights of texel centres in the plane of their face, float32 [M, 3]; not clipped to the face."""
    flat = np.stack([uv[:, 0], 1.0 - uv[:, 1]], 1).astype(np.float64) * size
    a, b, c = (flat[uv_faces[:, i]] for i in range(3))
    point = np.stack([index % size + 0.5, index // size + 0.5], 1)
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    area = np.where(np.abs(area) < 1e-12, 1e-12, area)
    u = ((b[:, 0] - point[:, 0]) * (c[:, 1] - point[:, 1]) - (b[:, 1] - point[:, 1]) * (c[:, 0] - point[:, 0])) / area
    v = ((c[:, 0] - point[:, 0]) * (a[:, 1] - point[:, 1]) - (c[:, 1] - point[:, 1]) * (a[:, 0] - point[:, 0])) / area
    return np.stack([u, v, 1 - u - v], 1).astype(np.float32)
