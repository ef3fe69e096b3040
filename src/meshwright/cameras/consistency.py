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

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from meshwright.cameras.silhouettes import Silhouette
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
        return np.asarray(Rotation.from_rotvec(self.turn[view]).as_matrix() @ self.rotation[view])

    def depth_of_pivot(self, view: int) -> float:
        """Distance with the common perspective correction applied."""
        return float(self.distance[view] * math.exp(self.log_focal))

    def focal_of(self, view: int) -> float:
        """Focal length in half widths with all corrections applied."""
        return float(self.focal[view] * math.exp(self.log_focal + self.log_scale[view]))

    def project(self, view: int, points: Array) -> Array:
        """World points [..., 3] to (u, v) [..., 2]."""
        local = (points - self.pivot) @ self.axes(view).T
        z = self.depth_of_pivot(view) - local[..., 2]
        focal = self.focal_of(view) * np.array([1.0, self.aspect[view]])
        return np.asarray(
            (local[..., :2] + self.shift[view]) * focal / z[..., None] + self.principal[view] + self.offset[view]
        )

    def unproject(self, view: int, uv: Array, z: Array) -> Array:
        """(u, v) [..., 2] at depth z [...] to world points [..., 3]."""
        focal = self.focal_of(view) * np.array([1.0, self.aspect[view]])
        flat = (uv - self.offset[view] - self.principal[view]) / focal
        local = np.concatenate([flat * z[..., None] - self.shift[view], (self.depth_of_pivot(view) - z)[..., None]], -1)
        return np.asarray(local @ self.axes(view) + self.pivot)

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


def _least(
    parameters: CameraParameters, silhouettes: Sequence[Silhouette], view: int, points: Array
) -> tuple[Array, Array]:
    """The smallest signed distance over all views but `view`, and whose it is."""
    best = np.full(points.shape[:-1], np.inf)
    judge = np.full(points.shape[:-1], -1, dtype=np.int64)
    for other, silhouette in enumerate(silhouettes):
        if other == view:
            continue
        distance = silhouette.sample(parameters.project(other, points))
        closer = distance < best
        best = np.where(closer, distance, best)
        judge = np.where(closer, other, judge)
    return best, judge


def grazing_points(
    parameters: CameraParameters, silhouettes: Sequence[Silhouette], *, steps: int = 64, refinements: int = 2
) -> Grazing:
    """Search every contour ray for its most inner point: evenly first, then finer around the best."""
    views, uvs, zs, judges, values = [], [], [], [], []
    for view, silhouette in enumerate(silhouettes):
        uv = silhouette.contour
        centre, reach = parameters.depth_of_pivot(view), parameters.radius
        z = np.broadcast_to(np.linspace(centre - reach, centre + reach, steps), (len(uv), steps))
        spacing = 2 * reach / (steps - 1)
        for _ in range(refinements + 1):
            least, judge = _least(parameters, silhouettes, view, parameters.unproject(view, uv[:, None, :], z))
            best = least.argmax(1)
            rows = np.arange(len(uv))
            chosen, value, by = z[rows, best], least[rows, best], judge[rows, best]
            z = chosen[:, None] + np.linspace(-1, 1, 9) * spacing
            spacing /= 4
        views.append(np.full(len(uv), view))
        uvs.append(uv)
        zs.append(chosen)
        judges.append(by)
        values.append(value)
    return Grazing(
        view=np.concatenate(views),
        uv=np.concatenate(uvs),
        z=np.concatenate(zs),
        judge=np.concatenate(judges),
        value=np.concatenate(values),
    )


def grazing_values(
    grazing: Grazing, of_view: CameraParameters, of_judge: CameraParameters, silhouettes: Sequence[Silhouette]
) -> Array:
    """The judges' values [N] of the same points when contour rays follow `of_view` and judges follow `of_judge`."""
    values = np.empty(len(grazing.view))
    for view in range(len(silhouettes)):
        mine = grazing.view == view
        if not mine.any():
            continue
        points = of_view.unproject(view, grazing.uv[mine], grazing.z[mine])
        judges = grazing.judge[mine]
        result = np.empty(len(points))
        for judge in np.unique(judges):
            his = judges == judge
            result[his] = silhouettes[judge].sample(of_judge.project(int(judge), points[his]))
        values[mine] = result
    return values
