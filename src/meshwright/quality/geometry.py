"""What a mesh is like by itself, and how far it is from another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meshwright.device import cpu_threads
from meshwright.errors import ShapeError
from meshwright.export import weld
from meshwright.types import Array, Mesh

__all__ = ["MeshFacts", "compare_meshes", "mesh_facts", "sample_surface"]

TOLERANCES = (0.01, 0.02)
"""Distances for the F-score, in units of an object whose longest side is 1."""


@dataclass(frozen=True, kw_only=True)
class MeshFacts:
    """A mesh in numbers, vertices at the same place counted once.

    Attributes:
        vertices, faces: Counts.
        components: Connected pieces.
        watertight: Every edge has exactly two faces that run along it in opposite directions.
        open_edges: Edges with one face.
        crowded_edges: Edges with more than two faces.
        degenerate_faces: Faces without area.
        area, volume: In world units squared and cubed; the volume is that enclosed, and None if not watertight.
        size: Sides of the bounding box along x, y, z.
    """

    vertices: int
    faces: int
    components: int
    watertight: bool
    open_edges: int
    crowded_edges: int
    degenerate_faces: int
    area: float
    volume: float | None
    size: tuple[float, float, float]


def mesh_facts(mesh: Mesh) -> MeshFacts:
    """Count and measure."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if len(mesh.faces) == 0:
        raise ShapeError("A mesh without faces has nothing to count.")
    vertices, faces = weld(mesh.vertices, mesh.faces)
    corners = vertices.astype(np.float64)[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    doubled = np.linalg.norm(cross, axis=1)
    start, end = faces[:, [0, 1, 2]].ravel().astype(np.int64), faces[:, [1, 2, 0]].ravel().astype(np.int64)
    low, high = np.minimum(start, end), np.maximum(start, end)
    _, edge, uses = np.unique(low * len(vertices) + high, return_inverse=True, return_counts=True)
    balance = np.bincount(edge, np.where(start < end, 1, -1), len(uses))
    watertight = bool((uses == 2).all() and (balance == 0).all())
    graph = coo_array((np.ones(len(start), np.int8), (start, end)), shape=(len(vertices), len(vertices)))
    components = int(connected_components(graph, directed=False)[0])
    # The divergence theorem needs no reference point on a closed surface; the middle keeps the sums small.
    middle = corners.reshape(-1, 3).mean(0)
    volume = float((cross * (corners[:, 0] - middle)).sum() / 6)
    sides = np.ptp(vertices.astype(np.float64), axis=0)
    return MeshFacts(
        vertices=len(vertices),
        faces=len(faces),
        components=components,
        watertight=watertight,
        open_edges=int((uses == 1).sum()),
        crowded_edges=int((uses > 2).sum()),
        degenerate_faces=int((doubled <= 1e-12 * max(float(doubled.max()), 1e-30)).sum()),
        area=float(doubled.sum() / 2),
        volume=volume if watertight else None,
        size=(float(sides[0]), float(sides[1]), float(sides[2])),
    )


def compare_meshes(pred: Mesh, gt: Mesh, samples: int = 100_000, seed: int = 0) -> dict[str, float]:
    """How far two surfaces are apart, by points drawn evenly from both. Frames and units must agree.

    Returns:
        accuracy: Mean distance from `pred` to the nearest point of `gt`; completeness: the other way round;
        chamfer_l1: their mean. fscore_T: harmonic mean of the shares of points closer than T. normal_consistency: mean
        absolute cosine between the normals of nearest points. The same seed gives the same numbers.
    """
    from scipy.spatial import cKDTree

    points, normals = sample_surface(pred, samples, seed + 1)
    true_points, true_normals = sample_surface(gt, samples, seed)
    threads = cpu_threads()
    to_true, nearest_true = cKDTree(true_points).query(points, workers=threads)
    to_pred, nearest_pred = cKDTree(points).query(true_points, workers=threads)
    result = {
        "chamfer_l1": 0.5 * (to_true.mean() + to_pred.mean()),
        "accuracy": to_true.mean(),
        "completeness": to_pred.mean(),
    }
    for tolerance in TOLERANCES:
        precision, recall = (to_true < tolerance).mean(), (to_pred < tolerance).mean()
        result[f"fscore_{tolerance:g}"] = 2 * precision * recall / max(precision + recall, 1e-12)
    there = np.abs((normals * true_normals[nearest_true]).sum(1)).mean()
    back = np.abs((true_normals * normals[nearest_pred]).sum(1)).mean()
    result["normal_consistency"] = 0.5 * (there + back)
    return {name: float(value) for name, value in result.items()}


def sample_surface(mesh: Mesh, count: int, seed: int) -> tuple[Array, Array]:
    """Points drawn evenly from the surface and the normals of their faces, both float64 [count, 3]."""
    corners = mesh.vertices.astype(np.float64)[mesh.faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(cross, axis=1)
    total = np.cumsum(length)
    if len(total) == 0 or not total[-1] > 0:
        raise ShapeError("A surface without area cannot be sampled.")
    rng = np.random.default_rng(seed)
    face = np.minimum(np.searchsorted(total, rng.random(count) * total[-1], side="right"), len(total) - 1)
    a, b = rng.random((2, count, 1))
    flipped = a + b > 1
    a, b = np.where(flipped, 1 - a, a), np.where(flipped, 1 - b, b)
    first, second, third = corners[face, 0], corners[face, 1], corners[face, 2]
    return first + a * (second - first) + b * (third - first), cross[face] / length[face, None]
