"""A generated mesh made ready for placing: what matters of it, about the origin, in few triangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from meshwright.errors import ShapeError
from meshwright.geometry.simplify import decimate
from meshwright.models.reconviagen.placing.compare import Model
from meshwright.types import Array, Mesh

__all__ = ["Prepared", "prepare"]

_FACES = 10_000
"""Enough for outlines that are exact to a fraction of a pixel of the working size."""
_CRUMB = 0.01
"""Parts with less than this share of the largest part's area float around the object; they must not stretch it."""
_WELD = 20
"""Bits of a coordinate by which vertices at the same place are found."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """What is placed instead of the mesh: `model = (mesh - middle) / size`.

    Attributes:
        dropped: Loose parts that were left out.
    """

    model: Model
    middle: Array
    size: float
    dropped: int


def prepare(mesh: Mesh, colours: Array | None) -> Prepared:
    """Check, weld, drop crumbs, centre and simplify.

    Raises:
        ShapeError: The mesh has no faces or no extent, is not finite, or has another number of colours than vertices.
    """
    vertices = np.asarray(mesh.vertices, np.float64)
    if len(mesh.faces) == 0:
        raise ShapeError("A mesh without faces cannot be placed.")
    if not np.isfinite(vertices).all():
        raise ShapeError("The mesh to place has vertices that are not finite.")
    if colours is not None and (colours.shape != (len(vertices), 3) or colours.dtype != np.uint8):
        raise ShapeError(
            f"Colours are {colours.dtype} {list(colours.shape)}, expected uint8 [{len(vertices)}, 3].",
            hint="Give one sRGB colour per vertex.",
        )
    faces, dropped = _large_parts(vertices, np.asarray(mesh.faces, np.int64))
    used = np.unique(faces)
    low, high = vertices[used].min(0), vertices[used].max(0)
    middle, size = (low + high) / 2, float((high - low).max())
    if not size > 0:
        raise ShapeError("The mesh to place is a single point.")
    points = ((vertices - middle) / size).astype(np.float32)
    corners = faces.astype(np.int32)
    if len(corners) > _FACES:
        renumber = np.zeros(len(points), np.int32)
        renumber[used] = np.arange(len(used))
        few, corners = decimate(points[used], renumber[corners], _FACES)
    else:
        few = points
    shades = None
    if colours is not None:
        nearest = slice(None) if few is points else used[cKDTree(points[used]).query(few)[1]]
        shades = (colours[nearest] / np.float32(255)).astype(np.float32)
    model = Model(vertices=few.astype(np.float64), faces=np.ascontiguousarray(corners, np.int32), colours=shades)
    return Prepared(model=model, middle=middle, size=size, dropped=dropped)


def _large_parts(vertices: Array, faces: Array) -> tuple[Array, int]:
    """Faces (over welded vertices) of parts that are not crumbs, and how many crumbs there were."""
    low = vertices.min(0)
    step = max(float((vertices.max(0) - low).max()), 1e-30) / (2**_WELD - 1)
    cells = np.rint((vertices - low) / step).astype(np.int64)
    keys = (cells[:, 0] << (2 * _WELD)) | (cells[:, 1] << _WELD) | cells[:, 2]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    faces = first[inverse.reshape(-1)[faces]]
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    if len(faces) == 0:
        raise ShapeError("A mesh without area cannot be placed.")
    ends = faces[:, [0, 1, 1, 2]].reshape(-1, 2)
    graph = coo_matrix((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(len(vertices),) * 2)
    count, label = connected_components(graph, directed=False)
    corners = vertices[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    part = label[faces[:, 0]]
    areas = np.bincount(part, area, count)
    kept = areas >= _CRUMB * areas.max()
    dropped = len(np.unique(part)) - int(kept[np.unique(part)].sum())
    return faces[kept[part]], dropped
