"""Where on the surface each texel of an atlas lies.

Letters: T side of the texture, F faces, M texels that matter: those covered by a chart and a rim around them.
Texture row 0 is on top (v = 1); the centre of texel (row 0, column 0) is u = 0.5 / T, v = 1 - 0.5 / T.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from meshwright._warp import wp
from meshwright.errors import ShapeError
from meshwright.rendering.rasterize import load_kernels, rasterize_clip
from meshwright.texture import kernels
from meshwright.texture.surface import SurfaceGraph
from meshwright.types import Array, Mesh

__all__ = ["RIM", "Texels", "clip_of", "find_texels", "place_texels", "spacing_of"]

RIM = 2.0
"""Texels around a chart that bilinear look-ups inside it can touch: they get colour of their own, by continuing the
nearest face's plane."""


@dataclass(frozen=True, kw_only=True)
class Texels:
    """Texels with a place on the surface.

    Attributes:
        size: Side of the texture.
        index: Flat index row * size + column, int32 [M], rising.
        inside: Covered by a chart, not rim; bool [M].
        graph_face: Face of the surface graph, int32 [M].
        graph_bary: Weights of its corners, float32 [M, 3]; in the rim some are negative.
        nearest: For every texel of the texture, the place in `index` of the nearest one that matters, int32 [T * T].
        spacing: Mean distance of neighbouring texels on the surface, in mesh units.
    """

    size: int
    index: Array
    inside: Array
    graph_face: Array
    graph_bary: Array
    nearest: Array
    spacing: float


def find_texels(mesh: Mesh, uv: Array, uv_faces: Array, size: int, graph: SurfaceGraph, *, device: str) -> Texels:
    """Lay the mesh into the texture and look up the surface under each texel.

    Args:
        mesh: Geometry.
        uv: float32 [U, 2]; uv_faces: int32 [F, 3], as in `TexturedMesh`.
        size: Side of the texture in texels.
        graph: The surface graph of `mesh`.
        device: Where to rasterise.
    Raises:
        ShapeError: Mesh and atlas differ in their number of faces, or no texel centre is covered.
    """
    clip = clip_of(mesh, uv, uv_faces)
    face_id = rasterize_clip(clip, uv_faces, size, size, device=device).face_id
    covered = face_id >= 0
    if not covered.any():
        raise ShapeError("No texel of the atlas is covered.", hint="Use a larger texture.")
    far, (row, column) = distance_transform_edt(~covered, return_indices=True)
    close = (far <= RIM).ravel()
    index = np.flatnonzero(close).astype(np.int32)
    source = (row.ravel() * size + column.ravel()).astype(np.int32)
    place = np.cumsum(close, dtype=np.int32) - 1
    nearest = np.where(close, place, place[source])
    face = face_id.ravel()[source[index]]
    sent = wp.array(index, dtype=wp.int32, device=device), wp.array(face, dtype=wp.int32, device=device)
    graph_face, graph_bary = place_texels(uv, uv_faces, sent, size, graph.levels, device)
    return Texels(
        size=size,
        index=index,
        inside=covered.ravel()[index],
        graph_face=graph_face.numpy(),
        graph_bary=graph_bary.numpy(),
        nearest=nearest,
        spacing=spacing_of(mesh, int(np.count_nonzero(covered))),
    )


def clip_of(mesh: Mesh, uv: Array, uv_faces: Array) -> Array:
    """The atlas as a picture to rasterise: homogeneous image coordinates, float32 [U, 3]."""
    if len(uv_faces) != len(mesh.faces):
        raise ShapeError(
            f"The atlas has {len(uv_faces)} faces, the mesh {len(mesh.faces)}.", hint="Unwrap this very mesh."
        )
    return np.stack([2 * uv[:, 0] - 1, 2 * uv[:, 1] - 1, np.ones(len(uv))], 1).astype(np.float32)


def spacing_of(mesh: Mesh, covered: int) -> float:
    """Mean distance of neighbouring texels on the surface if so many texels cover all of it."""
    sides = mesh.vertices[mesh.faces[:, 1:]].astype(np.float64) - mesh.vertices[mesh.faces[:, :1]]
    area = 0.5 * np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1).sum()
    return float(np.sqrt(area / covered))


def place_texels(
    uv: Array, uv_faces: Array, texels: tuple[Any, Any], size: int, levels: int, device: str
) -> tuple[Any, Any]:
    """Graph face int32 [M] and weights vec3 [M] of texels, from their index and face, int32 [M]; all on the device."""
    load_kernels(kernels.__name__, device)
    index, face = texels
    count = len(index)
    graph_face, graph_bary = (
        wp.empty(count, dtype=wp.int32, device=device),
        wp.empty(count, dtype=wp.vec3, device=device),
    )
    inputs = [
        index,
        face,
        size,
        wp.array(uv, dtype=wp.vec2, device=device),
        wp.array(uv_faces, dtype=wp.vec3i, device=device),
        levels,
    ]
    wp.launch(kernels.place_kernel, count, inputs, [graph_face, graph_bary], device=device)
    return graph_face, graph_bary
