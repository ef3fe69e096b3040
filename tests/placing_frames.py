"""Objects put into frames of their own, and how far from home they come back; for tests and benchmarks of placing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from meshwright.colour import to_srgb8
from meshwright.export import load_textured
from meshwright.geometry.extract import taubin_smooth
from meshwright.inputs import read_inputs
from meshwright.models.reconviagen.placing import Placement
from meshwright.rendering import rasterize_views
from meshwright.types import Array, Camera, ColouredMesh, Mesh, View, ViewSet

OBJECTS = ("spot", "bob", "fox", "banana")


@dataclass(frozen=True, kw_only=True)
class Frame:
    """x -> scale * rotation @ x + offset: any rotation, scale 0.5 to 2, offset up to an object's size."""

    rotation: Array
    scale: float
    offset: Array

    def applied(self, mesh: Mesh) -> Mesh:
        vertices = self.scale * mesh.vertices.astype(np.float64) @ self.rotation.T + self.offset
        return Mesh(vertices=vertices.astype(np.float32), faces=mesh.faces)


def random_frame(seed: int) -> Frame:
    rng = np.random.default_rng(seed)
    return Frame(
        rotation=Rotation.random(random_state=rng).as_matrix(),
        scale=float(2 ** rng.uniform(-1, 1)),
        offset=rng.uniform(-1, 1, 3),
    )


@dataclass(frozen=True, kw_only=True)
class Miss:
    """What is left of a frame after placing: degrees, scale - 1, and how far the origin is off in world units."""

    degrees: float
    scale: float
    offset: float


def missed(placement: Placement, frame: Frame) -> Miss:
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = frame.scale * frame.rotation, frame.offset
    whole = placement.matrix @ whole
    scale = float(np.cbrt(np.linalg.det(whole[:3, :3])))
    degrees = float(np.degrees(Rotation.from_matrix(whole[:3, :3] / scale).magnitude()))
    return Miss(degrees=degrees, scale=scale - 1, offset=float(np.linalg.norm(whole[:3, 3])))


def sample_object(data: Path, name: str, depth: str | None = None) -> tuple[ViewSet, Mesh, Array]:
    """Views with the true cameras, the true surface, and its colours as the views show them, uint8 [N, 3]."""
    views = read_inputs(data / name, depth_dir=None if depth is None else data / name / depth)
    loaded = load_textured(data / name / "gt_mesh.ply")
    assert isinstance(loaded, ColouredMesh)
    assert views.cameras is not None
    return views, loaded.mesh, seen_colours(loaded.mesh, views.views, views.cameras)


def seen_colours(mesh: Mesh, views: Sequence[View], cameras: Sequence[Camera]) -> Array:
    """Mean of what the views show at each vertex, straight looks first; unseen ones take it from the nearest seen."""
    points, normals = mesh.vertices.astype(np.float64), mesh.vertex_normals()
    total, weights = np.zeros((len(points), 3)), np.zeros(len(points))
    for view, camera, seen in zip(views, cameras, rasterize_views(mesh, cameras), strict=True):
        pixels, z = camera.project(points)
        column, row = (np.clip(pixels[:, i].astype(int), 0, n - 1) for i, n in ((0, camera.width), (1, camera.height)))
        ray = camera.position - points
        cosine = (ray * normals).sum(1) / np.linalg.norm(ray, axis=1)
        weight = np.where((z < seen.z[row, column] + 0.01) & (view.mask[row, column] > 0.99), cosine.clip(0) ** 2, 0)
        total += weight[:, None] * view.rgb[row, column]
        weights += weight
    known = weights > 0.01
    light = total[known] / weights[known, None]
    return np.asarray(to_srgb8(light[cKDTree(points[known]).query(points)[1]]))


def deformed(mesh: Mesh, amount: float = 0.02, smoothing: int = 4, seed: int = 0) -> Mesh:
    """About the same object: bent by waves of `amount` (root mean square, world units) and smoothed."""
    rng = np.random.default_rng(seed)
    points = mesh.vertices.astype(np.float64)
    waves = sum(
        rng.normal(size=3) * np.sin(points @ (4 * rng.normal(size=3)) + rng.uniform(0, 2 * np.pi))[:, None]
        for _ in range(6)
    )
    moved = points + amount * waves / np.sqrt((np.asarray(waves) ** 2).sum(1).mean())
    return taubin_smooth(Mesh(vertices=moved.astype(np.float32), faces=mesh.faces), smoothing)


def settled(placed: Mesh, true: Mesh) -> Miss:
    """How far a placed mesh is turned, scaled and moved from another with the same vertices (Umeyama 1991)."""
    mine, theirs = placed.vertices.astype(np.float64), true.vertices.astype(np.float64)
    a, b = mine - mine.mean(0), theirs - theirs.mean(0)
    left, strength, right = np.linalg.svd(a.T @ b)
    signs = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
    degrees = float(np.degrees(Rotation.from_matrix((left * signs) @ right).magnitude()))
    scale = float((strength * signs).sum() / (b**2).sum())
    return Miss(degrees=degrees, scale=scale - 1, offset=float(np.linalg.norm(mine.mean(0) - theirs.mean(0))))
