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
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from meshwright._warp import load_kernels, wp
from meshwright.cameras import kernels
from meshwright.cameras.silhouettes import Silhouette
from meshwright.device import cpu_threads, map_threads
from meshwright.types import Array, Camera

__all__ = ["CameraParameters", "Grazing", "Outlines", "grazing_points", "grazing_values", "inside_field", "search_rays"]


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
        copy = replace(self, log_scale=values[:, 0], offset=values[:, 1:3], turn=values[:, 3:6])
        if np.array_equal(copy.turn, self.turn):
            copy.__dict__["_turned"] = self._turned
        return copy

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
        return self.rows_with(self.corrections()[None])[0]

    def rows_with(self, corrections: Array) -> Array:
        """`rows` of K copies `with_corrections`, from [K, V, 6] to float32 [K, V, 16]."""
        count, views = corrections.shape[:2]
        turns = corrections[..., 3:6]
        if (turns == self.turn).all():
            turned = self._turned
        else:
            matrices = Rotation.from_rotvec(turns.reshape(-1, 3)).as_matrix()
            turned = matrices.reshape(count, views, 3, 3) @ self.rotation
        magnified = np.exp(self.log_focal + corrections[..., 0])
        rows = np.empty((count, views, 16), np.float32)
        rows[..., :9] = turned.reshape(-1, views, 9)
        rows[..., 9:11] = self.shift
        rows[..., 11] = self.distance * math.exp(self.log_focal)
        rows[..., 12] = self.focal * magnified
        rows[..., 13] = self.focal * self.aspect * magnified
        rows[..., 14:16] = self.principal + corrections[..., 1:3]
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Outlines:
    """Silhouettes of V views as the kernels see them, and perhaps each of them mirrored, too.

    Attributes:
        distance: Signed distance images, on the CPU, [V, H, W], or [2 V, H, W] where the latter V are mirrored.
        sizes: (width, height) of each.
        owner: Whose contour point it is, int32 [N].
        contour: The points, float32 [1, N, 2], or [2, N, 2] where the latter are mirrored.
    """

    distance: wp.array
    sizes: wp.array
    owner: Array
    contour: Array

    @classmethod
    def of(cls, silhouettes: Sequence[Silhouette], mirrored: Sequence[Silhouette] = ()) -> Outlines:
        """Stacked, once for many searches.

        Args:
            silhouettes: One per view.
            mirrored: The same, mirrored; leave out where no hypothesis mirrors a view.
        """
        every = (*silhouettes, *mirrored)
        height = max(s.distance.shape[0] for s in every)
        width = max(s.distance.shape[1] for s in every)
        stack = np.zeros((len(every), height, width), np.float32)
        for slot, silhouette in zip(stack, every, strict=True):
            slot[: silhouette.distance.shape[0], : silhouette.distance.shape[1]] = silhouette.distance
        sizes = np.array([s.distance.shape[::-1] for s in every], np.int32)
        owner = np.repeat(np.arange(len(silhouettes), dtype=np.int32), [len(s.contour) for s in silhouettes])
        contour = np.concatenate([s.contour for s in every]).astype(np.float32)
        return cls(
            distance=wp.array(stack, dtype=wp.float32, device="cpu"),
            sizes=wp.array(sizes, dtype=wp.vec2i, device="cpu"),
            owner=owner,
            contour=contour.reshape(-1, len(owner), 2),
        )


_stacked = functools.lru_cache(maxsize=16)(Outlines.of)

_RAYS = 512
"""Searched by one thread at a time, at least."""


def grazing_points(
    parameters: CameraParameters, silhouettes: Sequence[Silhouette], *, steps: int = 64, refinements: int = 2
) -> Grazing:
    """Search every contour ray for its most inner point: evenly first, then finer around the best."""
    outlines = _stacked(tuple(silhouettes))
    (found,) = search_rays([parameters], outlines, [-1], steps=steps, refinements=refinements)
    return found


def inside_field(parameters: CameraParameters, silhouettes: Sequence[Silhouette], half: float, grid: int) -> Array:
    """How far inside all outlines the voxels of a cube around the pivot lie, float32 [grid, grid, grid].

    Args:
        parameters: Cameras.
        silhouettes: One per view.
        half: Half the cube's edge.
        grid: Voxels along it.
    Returns:
        The least signed distance over the views, half picture widths.
    """
    outlines = _stacked(tuple(silhouettes))
    cell = 2 * half / grid
    field = np.empty((grid, grid, grid), np.float32)
    rows, target = _on_cpu((parameters.rows, wp.float32), (field, wp.float32))
    load_kernels(kernels.__name__, "cpu")

    def fill(planes: range) -> None:
        wp.launch(
            kernels.inside_kernel,
            dim=(len(planes), grid, grid),
            inputs=[outlines.distance, outlines.sizes, rows, planes.start, 0.5 * cell - half, cell],
            outputs=[target],
            device="cpu",
        )

    length = -(-grid // cpu_threads())
    map_threads(fill, [range(first, min(first + length, grid)) for first in range(0, grid, length)])
    return field


def search_rays(
    hypotheses: Sequence[CameraParameters],
    outlines: Outlines,
    mirrored: Sequence[int],
    *,
    steps: int = 64,
    refinements: int = 2,
) -> list[Grazing]:
    """`grazing_points` for many cameras of the same views at once.

    Args:
        hypotheses: Cameras.
        outlines: What the views show.
        mirrored: Per hypothesis the view that is mirrored in it, or -1.
        steps: Points along each ray at first.
        refinements: How often the spacing is divided by 4.
    """
    shape = len(hypotheses), len(outlines.owner)
    z, value, judge = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.int32)
    inputs = [
        outlines.distance,
        outlines.sizes,
        *_on_cpu(
            (np.stack([parameters.rows for parameters in hypotheses]), wp.float32),
            (np.array(mirrored, np.int32), wp.int32),
            (np.array([parameters.radius for parameters in hypotheses], np.float32), wp.float32),
            (outlines.owner, wp.int32),
            (outlines.contour, wp.vec2),
        ),
        steps,
        refinements,
    ]
    outputs = _on_cpu((z, wp.float32), (judge, wp.int32), (value, wp.float32))
    load_kernels(kernels.__name__, "cpu")

    def search(part: range) -> None:
        wp.launch(kernels.search_kernel, dim=len(part), inputs=[part.start, *inputs], outputs=outputs, device="cpu")

    count = z.size
    length = max(_RAYS, -(-count // (4 * cpu_threads())))
    map_threads(search, [range(first, min(first + length, count)) for first in range(0, count, length)])
    exact = value.astype(np.float64)
    return [
        Grazing(view=outlines.owner, uv=_points_of(outlines, flipped), z=z[k], judge=judge[k], value=exact[k])
        for k, flipped in enumerate(mirrored)
    ]


def _points_of(outlines: Outlines, mirrored: int) -> Array:
    """Contour points of a hypothesis, float32 [N, 2]."""
    if mirrored < 0:
        return np.asarray(outlines.contour[0])
    return np.where((outlines.owner == mirrored)[:, None], outlines.contour[-1], outlines.contour[0])


def _on_cpu(*arrays: tuple[Array, type]) -> list[wp.array]:
    """Arrays for kernels without a copy: what a kernel writes there is in the original."""
    return [wp.array(values, dtype=kind, device="cpu", copy=False) for values, kind in arrays]


def grazing_values(
    grazing: Sequence[Grazing],
    view_rows: Array,
    judge_rows: Array,
    outlines: Outlines,
    mirrored: Sequence[int],
    shift: Array | None = None,
) -> list[Array]:
    """The judges' values of the same points, float64 [D, N_k] for each of K hypotheses, for D pairs of cameras each.

    Args:
        grazing: Points of each hypothesis, perhaps only some of them.
        view_rows: `CameraParameters.rows` of those whose contour rays are followed, float32 [K, D, V, 16].
        judge_rows: Of those who judge, the same size.
        outlines: What the views show.
        mirrored: Per hypothesis the view that is mirrored in it, or -1.
        shift: By how much the points of each view lie farther off than in `grazing`, [K, D, V]; None: by nothing.
    """
    edges = np.cumsum([0, *(len(points.view) for points in grazing)])
    value = np.empty((view_rows.shape[1], edges[-1]), np.float32)
    shift = np.zeros(view_rows.shape[:3]) if shift is None else shift
    inputs = _on_cpu(
        (view_rows, wp.float32),
        (judge_rows, wp.float32),
        (shift.astype(np.float32), wp.float32),
        (np.array(mirrored, np.int32), wp.int32),
        (np.repeat(np.arange(len(grazing), dtype=np.int32), np.diff(edges)), wp.int32),
        (np.concatenate([points.view for points in grazing]), wp.int32),
        (np.concatenate([points.uv for points in grazing]), wp.vec2),
        (np.concatenate([points.z for points in grazing]), wp.float32),
        (np.concatenate([points.judge for points in grazing]), wp.int32),
    )
    load_kernels(kernels.__name__, "cpu")
    wp.launch(
        kernels.value_kernel,
        dim=value.shape,
        inputs=[outlines.distance, outlines.sizes, *inputs],
        outputs=_on_cpu((value, wp.float32)),
        device="cpu",
    )
    exact = value.astype(np.float64)
    return [exact[:, low:high] for low, high in itertools.pairwise(edges)]
