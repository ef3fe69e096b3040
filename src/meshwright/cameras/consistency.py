"""How well silhouettes of one object agree, and in which direction each camera has to move for more agreement.

A ray through a point on the outline of view v grazes the object, so somewhere along it lies a point that every other
view sees inside (or on) its own outline. The most inner such point is `max over z of min over w of distance_w`: where
that is negative, v's picture sticks out of what the others allow, by that much. This is the epipolar tangency
constraint of silhouettes in the form that needs no search for frontier points; its hinge summed along all outlines is,
to first order, the area on which the pictures and the silhouettes of their visual hull differ.
Source: the consistency measure of Hernandez, Schmitt, Cipolla, "Silhouette Coherence for Camera Calibration under
Circular Motion", PAMI 2007, with signed distances in place of counts.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from meshwright._warp import load_kernels, wp
from meshwright.cameras import kernels
from meshwright.cameras.silhouettes import Silhouette
from meshwright.device import map_threads
from meshwright.types import Array, Camera

__all__ = ["CameraParameters", "Grazing", "grazing_points", "grazing_values"]


@dataclass(frozen=True, kw_only=True)
class CameraParameters:
    """Six (or more) cameras in the coordinates of silhouettes, and the corrections that calibration finds.

    Attributes:
        rotation: World-to-camera rotations before correction, float64 [V, 3, 3].
        distance: Depth of the pivot (the world point `pivot`), float64 [V].
        shift: Where the pivot lies beside the optical axis, camera x and y, float64 [V, 2].
        focal: Focal length in half picture widths, float64 [V].
        aspect: fl_y / fl_x, float64 [V].
        principal: Principal point in half picture widths from the picture's centre, (u, v), float64 [V, 2].
        pivot: The world point that all cameras look at; turns go round it, float64 [3].
        radius: The object lies within this distance of the pivot.
        log_scale: Size correction, [V].
        offset: Shift of the picture in half picture widths, (u, v), [V, 2].
        turn: Small rotation of the object in front of the camera, axis-angle in camera axes, [V, 3].
        log_focal: One number for all views: focal length and distance grow together, so that perspective weakens.
    """

    rotation: Array
    distance: Array
    shift: Array
    focal: Array
    aspect: Array
    principal: Array
    pivot: Array
    radius: float
    log_scale: Array
    offset: Array
    turn: Array
    log_focal: float = 0.0

    @classmethod
    def from_cameras(cls, cameras: Sequence[Camera]) -> CameraParameters:
        """Cameras with no correction; the pivot is the point nearest to all optical axes."""
        count = len(cameras)
        projectors = [np.eye(3) - np.outer(c.forward, c.forward) for c in cameras]
        pivot = np.linalg.lstsq(
            sum(projectors), sum(m @ c.position for m, c in zip(projectors, cameras, strict=True)), rcond=None
        )[0]
        pivot = np.where(np.abs(pivot) < 1e-12, 0.0, pivot)
        local = np.stack([c.world_to_camera[:3, :3] @ pivot + c.world_to_camera[:3, 3] for c in cameras])
        half_height = np.array([[c.height / 2] for c in cameras])[:, 0]
        half = np.array([c.width / 2 for c in cameras])
        return cls(
            rotation=np.stack([c.camera_to_world[:3, :3].T for c in cameras]),
            distance=-local[:, 2],
            shift=local[:, :2],
            focal=np.array([c.fl_x for c in cameras]) / half,
            aspect=np.array([c.fl_y / c.fl_x for c in cameras]),
            principal=np.stack(
                [
                    np.array([c.cx for c in cameras]) / half - 1,
                    (half_height - np.array([c.cy for c in cameras])) / half,
                ],
                -1,
            ),
            pivot=pivot,
            radius=0.34 * float((-local[:, 2]).min()),
            log_scale=np.zeros(count),
            offset=np.zeros((count, 2)),
            turn=np.zeros((count, 3)),
        )

    def with_corrections(self, values: Array) -> CameraParameters:
        """A copy with corrections set from [V, 6] (log_scale, offset u, offset v, turn x, y, z)."""
        return replace(self, log_scale=values[:, 0], offset=values[:, 1:3], turn=values[:, 3:6])

    def corrections(self) -> Array:
        """[V, 6], see `with_corrections`."""
        return np.concatenate([self.log_scale[:, None], self.offset, self.turn], 1)

    def axes(self, view: int) -> Array:
        """World-to-camera rotation with the turn applied, [3, 3]."""
        return np.asarray(self._turned[view])

    @functools.cached_property
    def _turned(self) -> Array:
        # Once for all views: making a rotation takes longer than projecting a few hundred points with it.
        return np.asarray(Rotation.from_rotvec(self.turn).as_matrix() @ self.rotation)

    def depth_of_pivot(self, view: int) -> float:
        """Distance with the common perspective correction applied."""
        return float(self.distance[view] * math.exp(self.log_focal))

    def focal_of(self, view: int) -> float:
        """Focal length in half widths with all corrections applied."""
        return float(self.focal[view] * math.exp(self.log_focal + self.log_scale[view]))

    def project(self, view: int, points: Array) -> Array:
        """World points [..., 3] to (u, v) [..., 2]."""
        # One matrix product over flat rows: NumPy would do one small product per leading index otherwise.
        x, y, z = self.axes(view) @ (points.reshape(-1, 3) - self.pivot).T
        focal = self.focal_of(view) / (self.depth_of_pivot(view) - z)
        right, up = self.shift[view]
        centre = self.principal[view] + self.offset[view]
        uv = np.stack([(x + right) * focal + centre[0], (y + up) * focal * self.aspect[view] + centre[1]], -1)
        return uv.reshape(*points.shape[:-1], 2)

    def unproject(self, view: int, uv: Array, z: Array) -> Array:
        """(u, v) [..., 2] at depth z [...] to world points [..., 3]."""
        focal = self.focal_of(view) * np.array([1.0, self.aspect[view]])
        flat = (uv - self.offset[view] - self.principal[view]) / focal
        local = np.concatenate([flat * z[..., None] - self.shift[view], (self.depth_of_pivot(view) - z)[..., None]], -1)
        return np.asarray(local @ self.axes(view) + self.pivot)

    @functools.cached_property
    def rows(self) -> Array:
        """What the kernels need of each camera, float32 [V, 16].

        0-8 world-to-camera rotation row by row; 9-10 shift; 11 depth of the pivot; 12-13 focal lengths in half
        widths; 14-15 principal point with the offset.
        """
        rows = np.empty((len(self.focal), 16), np.float32)
        rows[:, :9] = self._turned.reshape(-1, 9)
        rows[:, 9:11] = self.shift
        rows[:, 11] = self.distance * math.exp(self.log_focal)
        rows[:, 12] = self.focal * np.exp(self.log_focal + self.log_scale)
        rows[:, 13] = self.focal * self.aspect * np.exp(self.log_focal + self.log_scale)
        rows[:, 14:16] = self.principal + self.offset
        return rows

    def cameras(self, sizes: Sequence[tuple[int, int]], names: Sequence[str]) -> tuple[Camera, ...]:
        """As records, in pixels of pictures of `sizes` (width, height)."""
        result = []
        for view, ((width, height), name) in enumerate(zip(sizes, names, strict=True)):
            half = width / 2
            axes = self.axes(view)
            matrix = np.eye(4)
            matrix[:3, :3] = axes.T
            pivot_in_camera = np.array([*self.shift[view], -self.depth_of_pivot(view)])
            matrix[:3, 3] = self.pivot - axes.T @ pivot_in_camera
            focal = self.focal_of(view) * half
            centre = self.principal[view] + self.offset[view]
            result.append(
                Camera(
                    name=name,
                    camera_to_world=matrix,
                    fl_x=focal,
                    fl_y=focal * float(self.aspect[view]),
                    cx=width / 2 + float(centre[0]) * half,
                    cy=height / 2 - float(centre[1]) * half,
                    width=width,
                    height=height,
                )
            )
        return tuple(result)


@dataclass(frozen=True, kw_only=True)
class Grazing:
    """For every contour point of every view: where along its ray the other views agree best, and who objects most.

    Attributes:
        view, uv: Whose contour point it is, int [N], and where, [N, 2].
        z: Depth of the most inner point of the ray, [N].
        judge: The view that sees that point least inside, int [N].
        value: How far inside the judge sees it, in half picture widths, [N]; negative: the views contradict.
    """

    view: Array
    uv: Array
    z: Array
    judge: Array
    value: Array

    def where(self, chosen: Array) -> Grazing:
        """Some of the points, by bool [N]."""
        return Grazing(
            view=self.view[chosen],
            uv=self.uv[chosen],
            z=self.z[chosen],
            judge=self.judge[chosen],
            value=self.value[chosen],
        )


@dataclass(frozen=True, kw_only=True)
class _Stack:
    """Silhouettes as the kernels see them; `owner` int32 [N] and `contour` float32 [N, 2] over all views."""

    distance: wp.array
    sizes: wp.array
    owner: Array
    contour: Array


@functools.lru_cache(maxsize=16)
def _stacked(silhouettes: tuple[Silhouette, ...]) -> _Stack:
    height = max(s.distance.shape[0] for s in silhouettes)
    width = max(s.distance.shape[1] for s in silhouettes)
    stack = np.zeros((len(silhouettes), height, width), np.float32)
    for slot, silhouette in zip(stack, silhouettes, strict=True):
        slot[: silhouette.distance.shape[0], : silhouette.distance.shape[1]] = silhouette.distance
    sizes = np.array([s.distance.shape[::-1] for s in silhouettes], np.int32)
    return _Stack(
        distance=wp.array(stack, dtype=wp.float32, device="cpu"),
        sizes=wp.array(sizes, dtype=wp.vec2i, device="cpu"),
        owner=np.repeat(np.arange(len(silhouettes), dtype=np.int32), [len(s.contour) for s in silhouettes]),
        contour=np.concatenate([s.contour for s in silhouettes]).astype(np.float32),
    )


_RAYS = 512
"""Searched by one thread at a time."""


def grazing_points(
    parameters: CameraParameters, silhouettes: Sequence[Silhouette], *, steps: int = 64, refinements: int = 2
) -> Grazing:
    """Search every contour ray for its most inner point: evenly first, then finer around the best."""
    stack = _stacked(tuple(silhouettes))
    count = len(stack.owner)
    z, value = np.empty(count, np.float32), np.empty(count, np.float32)
    judge = np.empty(count, np.int32)
    rows = parameters.rows
    load_kernels(kernels.__name__, "cpu")

    def search(part: slice) -> None:
        wp.launch(
            kernels.search_kernel,
            dim=len(z[part]),
            inputs=[
                stack.distance,
                stack.sizes,
                rows,
                stack.owner[part],
                stack.contour[part],
                parameters.radius,
                steps,
                refinements,
            ],
            outputs=[z[part], judge[part], value[part]],
            device="cpu",
        )

    map_threads(search, [slice(first, first + _RAYS) for first in range(0, count, _RAYS)])
    return Grazing(view=stack.owner, uv=stack.contour, z=z, judge=judge, value=value.astype(np.float64))


def grazing_values(
    grazing: Grazing,
    of_view: Sequence[CameraParameters],
    of_judge: Sequence[CameraParameters],
    silhouettes: Sequence[Silhouette],
    shift: Array | None = None,
) -> Array:
    """The judges' values of the same points, float64 [K, N], for K pairs of cameras.

    Args:
        grazing: The points.
        of_view: Whose contour rays are followed, for each pair.
        of_judge: Who judges, for each pair.
        silhouettes: One per view.
        shift: By how much the points of each view lie farther off than in `grazing`, [K, V]; None: by nothing.
    """
    stack = _stacked(tuple(silhouettes))
    views, pairs = len(silhouettes), len(of_view)
    value = np.empty((pairs, len(grazing.view)), np.float32)
    wp.launch(
        kernels.value_kernel,
        dim=value.shape,
        inputs=[
            stack.distance,
            stack.sizes,
            np.stack([parameters.rows for parameters in of_view]),
            np.stack([parameters.rows for parameters in of_judge]),
            np.zeros((pairs, views), np.float32) if shift is None else shift.astype(np.float32),
            grazing.view,
            grazing.uv,
            grazing.z,
            grazing.judge,
        ],
        outputs=[value],
        device="cpu",
    )
    return value.astype(np.float64)
