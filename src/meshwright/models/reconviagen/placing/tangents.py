"""Orientation, scale and offset at once from the planes that touch an object in its outlines.

Through a camera and a straight line that touches the outline in its picture goes a plane that touches the object. A
mesh x -> s R x + t touches the plane n.x = d from within exactly if

    s h(R, n) + n.t = d,    h(R, n) = max over vertices p of n.(R p).

For a given R that is linear in s and t. So a rotation is judged by one small least squares problem over the planes of
all views, exact under perspective and without a single render, and thousands of rotations are tried in a second.
Hollows of the outlines say nothing here; renders speak of them afterwards (`compare`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from skimage import measure

from meshwright.device import check_stop
from meshwright.models.reconviagen.placing.rotations import angles_between, spread_rotations, turned
from meshwright.types import Array, Camera

__all__ = ["Poses", "TangentPlanes", "corner_points", "search", "tangent_planes"]

_DIRECTIONS = 16
"""Tangents per outline."""
_SLACK = 0.04
"""A generated object touches the planes only about: poses that miss them by this share of its radius more than the
best one are worth a render."""
_FEWEST = 8
"""Planes that it takes to find seven numbers."""


@dataclass(frozen=True, kw_only=True)
class TangentPlanes:
    """Planes n.x = d that touch the object, which lies where n.x <= d.

    Attributes:
        normals: Unit length, float64 [K, 3].
        offsets: World units, float64 [K].
    """

    normals: Array
    offsets: Array

    @property
    def enough(self) -> bool:
        """Whether a pose can be found from them at all."""
        return len(self.offsets) >= _FEWEST


@dataclass(frozen=True, kw_only=True)
class Poses:
    """Similarities x -> scale * rotation @ x + offset, the best first.

    Attributes:
        rotation: float64 [M, 3, 3].
        scale: float64 [M], above 0.
        offset: float64 [M, 3].
        misfit: By how much the touching planes are missed, root mean square in world units, float64 [M].
    """

    rotation: Array
    scale: Array
    offset: Array
    misfit: Array

    def __len__(self) -> int:
        return len(self.scale)

    def chosen(self, which: Array) -> Poses:
        """Those at `which`."""
        return Poses(
            rotation=self.rotation[which], scale=self.scale[which], offset=self.offset[which], misfit=self.misfit[which]
        )


def tangent_planes(masks: Sequence[Array], cameras: Sequence[Camera]) -> TangentPlanes:
    """The planes of all views; lines that touch an outline where the frame cuts it off are left out.

    Args:
        masks: Coverage 0..1, float32 [H, W] each.
        cameras: One per mask, in pixels of it.
    """
    angle = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    directions = np.stack([np.cos(angle), np.sin(angle)], -1)
    normals, offsets = [np.zeros((0, 3))], [np.zeros(0)]
    for mask, camera in zip(masks, cameras, strict=True):
        outline = _outline(mask)
        if len(outline) == 0:
            continue
        flat = (outline - [camera.cx, camera.cy]) / [camera.fl_x, -camera.fl_y]
        reach = flat @ directions.T
        touching = reach.argmax(0)
        x, y = outline[touching].T
        whole = (x > 1) & (y > 1) & (x < camera.width - 1) & (y < camera.height - 1)
        local = np.concatenate([directions, reach.max(0)[:, None]], 1)[whole]  # camera looks along -z
        normal = local / np.linalg.norm(local, axis=1, keepdims=True) @ camera.camera_to_world[:3, :3].T
        normals.append(normal)
        offsets.append(normal @ camera.position)
    return TangentPlanes(normals=np.concatenate(normals), offsets=np.concatenate(offsets))


def _outline(mask: Array) -> Array:
    """Points (x, y) in pixels where a soft mask crosses 0.5, float64 [N, 2]."""
    if not (mask >= 0.5).any():
        return np.zeros((0, 2))
    lines = measure.find_contours(np.pad(mask, 1), 0.5)
    return np.concatenate(lines)[:, ::-1] - 0.5  # minus the padding, plus half a pixel


def corner_points(vertices: Array, directions: int = 600) -> Array:
    """The vertices that can touch a plane: corners of the convex hull, of `directions` evenly spread ones at most."""
    vertices = np.unique(np.asarray(vertices, np.float64), axis=0) if len(vertices) < 5000 else vertices
    place = np.arange(directions) + 0.5
    height = 1 - 2 * place / directions
    turn = place * (np.pi * (3 - np.sqrt(5)))
    radius = np.sqrt(1 - height**2)
    axes = np.stack([radius * np.cos(turn), radius * np.sin(turn), height], -1).astype(np.float32)
    if len(vertices) >= 4:
        with contextlib.suppress(QhullError):  # a flat mesh: all of its vertices will do
            vertices = vertices[ConvexHull(vertices).vertices]
    points = np.asarray(vertices, np.float32)
    best = np.concatenate([(part @ points.T).argmax(1) for part in np.array_split(axes, 8)])
    return np.asarray(vertices[np.unique(best)], np.float64)


def search(points: Array, planes: TangentPlanes, *, rotations: int, kept: int) -> Poses:
    """Poses that let the mesh touch the planes, each better than all around it, the best first.

    Args:
        points: Corners of the mesh, float64 [H, 3], about the origin.
        planes: At least `planes.enough`.
        rotations: How many rotations are tried.
        kept: How many of them are made exact.
    """
    grid = spread_rotations(rotations)
    scores = np.concatenate([_judge(part, points, planes) for part in np.array_split(grid, max(1, rotations // 250))])
    best = np.argsort(scores, kind="stable")[:kept]
    poses = _polished(grid[best], points, planes)
    poses = poses.chosen(np.argsort(poses.misfit, kind="stable"))
    reach = np.linalg.norm(points, axis=1).max()
    return distinct(poses.chosen(np.flatnonzero(poses.misfit <= 3 * poses.misfit[0] + _SLACK * reach * poses.scale[0])))


def distinct(poses: Poses, apart: float = 4.0) -> Poses:
    """Of poses closer than `apart` degrees only the first."""
    left = np.arange(len(poses))
    chosen = []
    while len(left):
        chosen.append(left[0])
        left = left[angles_between(poses.rotation[left], poses.rotation[left[0]]) > apart]
    return poses.chosen(np.array(chosen, int))


def _reach(rotations: Array, points: Array, normals: Array) -> tuple[Array, Array]:
    """max over points p of n.(R p), float64 [M, K], and which point, int [M, K]."""
    check_stop()
    local = np.einsum("kc,mcd->mkd", normals, rotations)
    dots = local.reshape(-1, 3).astype(np.float32) @ points.T.astype(np.float32)
    which = dots.argmax(1).reshape(local.shape[:2])
    return (local * points[which]).sum(-1), which


def _judge(rotations: Array, points: Array, planes: TangentPlanes) -> Array:
    """Root mean square misfit of each rotation with its best scale and offset, float64 [M]; inf for scales <= 0."""
    reach, _ = _reach(rotations, points, planes.normals)
    free = np.eye(len(planes.offsets)) - planes.normals @ np.linalg.pinv(planes.normals)
    reach, goal = reach @ free, free @ planes.offsets
    scale = reach @ goal / np.maximum((reach**2).sum(1), 1e-30)
    misfit = np.sqrt(((scale[:, None] * reach - goal) ** 2).mean(1))
    return np.where(scale > 0, misfit, np.inf)


def _polished(rotations: Array, points: Array, planes: TangentPlanes, steps: int = 8) -> Poses:
    """Gauss-Newton on all seven numbers of every pose, robust against single planes."""
    reach, _ = _reach(rotations, points, planes.normals)
    system = np.concatenate([reach[..., None], np.broadcast_to(planes.normals, (*reach.shape, 3))], -1)
    start = np.linalg.pinv(system) @ planes.offsets
    scale, offset = np.maximum(start[:, 0], 1e-6), start[:, 1:]
    for step in range(steps + 1):
        reach, which = _reach(rotations, points, planes.normals)
        residual = scale[:, None] * reach + offset @ planes.normals.T - planes.offsets
        if step == steps:
            break
        spread = 2.5 * np.median(np.abs(residual), axis=1, keepdims=True) + 1e-9
        weight = 1 / (1 + (residual / spread) ** 2)
        moved = scale[:, None, None] * np.einsum("mcd,mkd->mkc", rotations, points[which])
        normals = np.broadcast_to(planes.normals, moved.shape)
        jacobian = np.concatenate([np.cross(moved, normals), (scale[:, None] * reach)[..., None], normals], -1)
        normal = np.einsum("mki,mk,mkj->mij", jacobian, weight, jacobian)
        normal += 1e-6 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(7)
        delta = -np.linalg.solve(normal, np.einsum("mki,mk->mi", jacobian, weight * residual)[..., None])[..., 0]
        angle = np.linalg.norm(delta[:, :3], axis=1, keepdims=True)
        rotations = turned(delta[:, :3] * np.minimum(1, 0.2 / np.maximum(angle, 1e-12))) @ rotations
        scale, offset = scale * np.exp(np.clip(delta[:, 3], -0.2, 0.2)), offset + delta[:, 4:]
    misfit = np.sqrt((residual**2).mean(1))
    return Poses(rotation=rotations, scale=scale, offset=offset, misfit=misfit)
