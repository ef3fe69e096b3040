"""From a signed field to a smooth closed mesh."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from skimage import measure

from meshwright.geometry.volume import Volume
from meshwright.types import Array, Mesh

__all__ = ["extract_mesh", "keep_large_parts", "taubin_smooth"]


def extract_mesh(volume: Volume) -> Mesh:
    """Marching cubes at level 0, closed at the grid's border. An empty field gives an empty mesh."""
    field = np.pad(volume.field, 1, constant_values=-volume.cell)
    if not (field > 0).any():
        return Mesh(vertices=np.zeros((0, 3), np.float32), faces=np.zeros((0, 3), np.int32))
    # Exact zeros make faces without area; a nudge far below any tolerance avoids them.
    field = np.where(np.abs(field) < 1e-4 * volume.cell, 1e-4 * volume.cell, field)
    vertices, faces, _, _ = measure.marching_cubes(field, 0.0, gradient_direction="ascent")
    world = (vertices - 1) * volume.cell + volume.origin
    return Mesh(vertices=world.astype(np.float32), faces=np.ascontiguousarray(faces, dtype=np.int32))


def _adjacency(mesh: Mesh) -> sparse.csr_matrix:
    f = mesh.faces
    rows = np.concatenate([f[:, 0], f[:, 1], f[:, 2], f[:, 1], f[:, 2], f[:, 0]])
    columns = np.concatenate([f[:, 1], f[:, 2], f[:, 0], f[:, 0], f[:, 1], f[:, 2]])
    count = len(mesh.vertices)
    links = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(count, count))
    links.data[:] = 1.0
    return links


def taubin_smooth(mesh: Mesh, iterations: int = 8, *, shrink: float = 0.5, inflate: float = -0.53) -> Mesh:
    """Smooth without shrinking: alternate positive and negative Laplace steps.

    Source: Taubin, "A signal processing approach to fair surface design", SIGGRAPH 1995.
    """
    if iterations == 0 or len(mesh.faces) == 0:
        return mesh
    links = _adjacency(mesh)
    degree = np.maximum(np.asarray(links.sum(1)), 1.0).astype(np.float32)
    vertices = mesh.vertices.astype(np.float32)
    for _ in range(iterations):
        for factor in (shrink, inflate):
            vertices = vertices + np.float32(factor) * (links @ vertices / degree - vertices)
    return Mesh(vertices=vertices, faces=mesh.faces)


def keep_large_parts(mesh: Mesh, share: float = 0.01) -> tuple[Mesh, int]:
    """Drop closed parts with less than `share` of the largest part's volume, and cavities inside; how many went.

    A cavity is a part turned inside out (negative volume): no view can see it.
    """
    if len(mesh.faces) == 0:
        return mesh, 0
    f = mesh.faces
    # Two edges of a face connect its corners, and one direction is enough.
    links = sparse.coo_matrix(
        (np.ones(2 * len(f), bool), (np.tile(f[:, 0], 2), f[:, 1:].T.ravel())), shape=(len(mesh.vertices),) * 2
    )
    count, label = connected_components(links, directed=False)
    if count == 1:
        return mesh, 0
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    six_volumes = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    part = label[mesh.faces[:, 0]]
    volume = np.bincount(part, six_volumes, count)
    kept: Array = volume > share * volume.max()
    faces = mesh.faces[kept[part]]
    used = np.zeros(len(mesh.vertices), bool)
    used[faces.ravel()] = True
    renumber = np.cumsum(used) - 1
    return (
        Mesh(vertices=mesh.vertices[used], faces=renumber[faces].astype(np.int32)),
        int(count - kept.sum()),
    )
