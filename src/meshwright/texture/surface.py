"""The surface as a graph: fields that live on it are smoothed and continued along it, never across a gap.

Letters: N vertices and F faces of the mesh, G vertices of the graph, C channels.
The graph is the mesh itself, its faces split in four until they are small. What is decided per graph vertex (which view
is best here, what colour the unseen side has) is smooth along the surface, whatever its cut into charts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix, diags
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from meshwright.device import map_threads
from meshwright.texture.conjugate import conjugate_gradients
from meshwright.types import Array, Mesh

__all__ = ["SurfaceGraph", "build_graph"]

LEAST_FACES = 30_000
"""Below so many the faces are split: decisions need places to be made at."""
TURN = 0.03
"""A turn by 60 degrees is as far as so many extents, when the nearest place along the surface is looked for."""
TINY = 1e-6
"""Pull towards the mean in `SurfaceGraph.settle`: decides only where a whole piece has no data."""

SETTLED = 1000
"""Steps at most until a field has settled; where the weight is more than 1 everywhere it takes about ten."""
WRONG = 1e-4
"""Share of what was wrong with a field, taken as what it was given, that may stay wrong."""

TOGETHER = 8
"""Channels that one thread blurs."""


@dataclass(frozen=True, kw_only=True)
class SurfaceGraph:
    """Vertices and neighbours on the surface.

    Attributes:
        mesh: The mesh with its faces split; its first N vertices are those of the original.
        levels: How often each face was split in four; child k of face f is 4 f + k.
        normals: Unit normals smoothed over a few rings, float32 [G, 3].
        mean: Row-stochastic matrix [G, G]: the mean of a vertex and its neighbours.
        edge: Mean edge length, mesh units.
        extent: Longest side of the bounding box, mesh units.
    """

    mesh: Mesh
    levels: int
    normals: Array
    mean: csr_matrix
    edge: float
    extent: float

    def smooth(self, field: Array, width: float) -> Array:
        """Blur a field [G, C] along the surface by a Gaussian of standard deviation `width` (share of the extent)."""
        # One step of the mean over a vertex and its six neighbours has a variance of 3/7 squared edges per direction.
        steps = round((width * self.extent / self.edge) ** 2 * 7 / 3)

        def blur(part: Array) -> Array:
            for _ in range(max(steps, 1)):
                part = self.mean @ part
            return part

        channels = field.shape[1]
        if channels <= TOGETHER:
            return blur(field)
        parts = [np.ascontiguousarray(field[:, i : i + TOGETHER]) for i in range(0, channels, TOGETHER)]
        return np.concatenate(map_threads(blur, parts), 1)

    def links(self) -> tuple[Array, Array]:
        """Pairs of neighbours, each once: int64 [L] and int64 [L]."""
        table = self.mean.tocoo()
        once = table.row < table.col
        return table.row[once].astype(np.int64), table.col[once].astype(np.int64)

    def nearest_of(self, chosen: Array) -> Array:
        """For each vertex the nearest of the chosen ones (bool [G], at least one) along the surface, int64 [G].

        Turning costs: around a sharp rim things look different. A piece of the surface without a chosen vertex takes
        the nearest in space.
        """
        links = self.mean.tocoo()
        vertices = self.mesh.vertices
        turn = np.linalg.norm(self.normals[links.row] - self.normals[links.col], axis=1)
        length = np.linalg.norm(vertices[links.row] - vertices[links.col], axis=1)
        length += TURN * self.extent * turn + 1e-9
        graph = csr_matrix((length, (links.row, links.col)), shape=links.shape)
        sources = np.flatnonzero(chosen)
        far, _, origin = dijkstra(graph, indices=sources, min_only=True, return_predecessors=True)
        lost = ~np.isfinite(far)
        if lost.any():
            origin[lost] = sources[cKDTree(vertices[sources]).query(vertices[lost])[1]]
        result: Array = origin.astype(np.int64)
        return result

    def settle(self, field: Array, weight: Array) -> Array:
        """Continue a field [G, C] from where its weight [G] is high to where it is low, as a membrane would hang.

        Solves (W + K) x = W field with K the graph's Laplace matrix: x follows the field where the weight is large
        against 1 and is harmonic where it is 0.
        """
        pull = weight[:, None] + TINY
        right = weight[:, None] * field + TINY * np.average(field, axis=0, weights=weight + 1e-9)
        links = np.diff(self.mean.indptr)[:, None]

        def apply(x: Array) -> Array:
            # A vertex's link to itself is in both terms.
            product = pull * x
            product += links * (x - self.mean @ x)
            return product

        # Solved for the correction, so that the tolerance is a share of what is still wrong.
        start = right / pull
        wrong = right - apply(start)
        return start + conjugate_gradients(
            apply, wrong, (pull + links - 1.0)[:, 0], steps=SETTLED, enough=WRONG, dot=_sum_of_products
        )


def _sum_of_products(a: Array, b: Array) -> float:
    # On one core: BLAS would wake all others for this, which takes longer.
    return float(np.einsum("gc,gc->", a, b))


def build_graph(mesh: Mesh) -> SurfaceGraph:
    """Split the faces of a coarse mesh evenly and connect the vertices."""
    levels, fine = 0, mesh
    while len(fine.faces) < LEAST_FACES:
        fine = split_faces(fine)
        levels += 1
    count = len(fine.vertices)
    start, end = fine.faces[:, [0, 1, 2]].ravel(), fine.faces[:, [1, 2, 0]].ravel()
    rows = np.concatenate([start, end, np.arange(count)])
    columns = np.concatenate([end, start, np.arange(count)])
    links = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    links.data[:] = 1.0
    mean = (diags(1.0 / np.asarray(links.sum(1)).ravel()) @ links).tocsr()
    normals = fine.vertex_normals().astype(np.float64)
    for _ in range(3):
        normals = mean @ normals
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    length = np.linalg.norm(fine.vertices[start] - fine.vertices[end], axis=1)
    return SurfaceGraph(
        mesh=fine,
        levels=levels,
        normals=normals.astype(np.float32),
        mean=mean,
        edge=float(max(length.mean(), 1e-9)),
        extent=float(np.ptp(mesh.vertices, axis=0).max()),
    )


def split_faces(mesh: Mesh) -> Mesh:
    """Each face (a, b, c) becomes (a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)."""
    faces = mesh.faces.astype(np.int64)
    ends = np.stack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]], 1).reshape(-1, 2)
    ends.sort(1)
    edges, number = np.unique(ends, axis=0, return_inverse=True)
    middle = len(mesh.vertices) + number.reshape(-1, 3)
    vertices = np.concatenate([mesh.vertices, mesh.vertices[edges].mean(1)]).astype(np.float32)
    a, b, c = faces.T
    ab, bc, ca = middle.T
    children = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], 1)
    return Mesh(vertices=vertices, faces=children.reshape(-1, 3).astype(np.int32))
