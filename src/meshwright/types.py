"""The frozen records that stages pass to each other, and the one place where image, camera and world frames meet.

Letters: V views, H rows, W columns, N points, F faces. Arrays are NumPy; float32 unless said otherwise.
World: right-handed, +Y up, the object's front faces +Z, its own left is +X.
Camera: OpenGL axes: +X right, +Y up, looks along -Z. Matrices are camera-to-world, float64 [4, 4].
Image: row 0 is on top; the centre of the top-left pixel is (0.5, 0.5). Depth runs along the optical axis, not the ray.
Colour is linear RGB unless a name says `srgb`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = [
    "VIEW_NAMES",
    "Array",
    "Camera",
    "ColouredMesh",
    "DepthKind",
    "DepthMap",
    "JobStatus",
    "Lighting",
    "MaskSource",
    "MaterialMaps",
    "Mesh",
    "ModelType",
    "Monitor",
    "Quality",
    "SilentMonitor",
    "TexturedMesh",
    "View",
    "ViewSet",
]

Array = npt.NDArray[Any]

VIEW_NAMES = ("front", "back", "left", "right", "top", "bottom")
"""The six product views, in upload order."""


class ModelType(enum.StrEnum):
    """What a job may ask for."""

    RECONVIAGEN = "reconviagen"
    NVDIFFREC = "nvdiffrec"
    BOTH = "both"


class JobStatus(enum.StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Quality(enum.StrEnum):
    """How much time to spend."""

    DRAFT = "draft"
    STANDARD = "standard"
    HIGH = "high"


class DepthKind(enum.StrEnum):
    """What the numbers in a depth render mean. z is the distance along the optical axis."""

    AUTO = "auto"
    """Not known yet: found by agreement with the visual hull."""
    METRIC = "metric"
    """z = unit * value, one unit for all views."""
    LINEAR = "linear"
    """z = a * value + b per view; a > 0 is far-bright, a < 0 near-bright."""
    INVERSE = "inverse"
    """1/z = a * value + b per view; a > 0 is near-bright."""


class MaskSource(enum.StrEnum):
    """Where a silhouette was taken from."""

    ALPHA = "alpha"
    BACKGROUND = "background"
    DEPTH = "depth"
    NONE = "none"
    """Nothing in the frame could be told from the background: the whole frame counts as object."""


class Lighting(enum.StrEnum):
    """What the textures of a result hold."""

    BAKED = "baked"
    """The colours of the views with the light in them."""
    PBR = "pbr"
    """What the surface is made of; the light is a file of its own."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera.

    Attributes:
        camera_to_world: float64 [4, 4], OpenGL axes; the upper 3x3 is a rotation.
        fl_x, fl_y: Focal lengths in pixels.
        cx, cy: Principal point in pixels from the left and top edges.
        width, height: Image size in pixels.
    """

    name: str
    camera_to_world: Array
    fl_x: float
    fl_y: float
    cx: float
    cy: float
    width: int
    height: int

    @property
    def world_to_camera(self) -> Array:
        """float64 [4, 4]."""
        rotation = self.camera_to_world[:3, :3].T
        matrix = np.eye(4)
        matrix[:3, :3] = rotation
        matrix[:3, 3] = -rotation @ self.camera_to_world[:3, 3]
        return matrix

    @property
    def position(self) -> Array:
        """Where the camera stands, float64 [3]."""
        return self.camera_to_world[:3, 3]

    @property
    def forward(self) -> Array:
        """The direction it looks in, unit length, float64 [3]."""
        return -self.camera_to_world[:3, 2]

    def project(self, points: Array) -> tuple[Array, Array]:
        """World points [..., 3] to pixels [..., 2] (x right, y down) and depth z [...]; z <= 0 lies behind."""
        matrix = self.world_to_camera
        local = np.asarray(points) @ matrix[:3, :3].T + matrix[:3, 3]
        z = -local[..., 2]
        safe = np.where(np.abs(z) < 1e-12, 1e-12, z)
        x = self.fl_x * local[..., 0] / safe + self.cx
        y = -self.fl_y * local[..., 1] / safe + self.cy
        return np.stack([x, y], -1), z

    def unproject(self, pixels: Array, z: Array) -> Array:
        """Pixels [..., 2] at depth z [...] to world points [..., 3]."""
        pixels = np.asarray(pixels)
        z = np.asarray(z)
        local = np.stack(
            [(pixels[..., 0] - self.cx) / self.fl_x * z, -(pixels[..., 1] - self.cy) / self.fl_y * z, -z], -1
        )
        return local @ self.camera_to_world[:3, :3].T + self.camera_to_world[:3, 3]

    def resized(self, width: int, height: int) -> Camera:
        """The same camera for an image of another size (the frame's edges stay where they are)."""
        sx, sy = width / self.width, height / self.height
        return Camera(
            name=self.name,
            camera_to_world=self.camera_to_world,
            fl_x=self.fl_x * sx,
            fl_y=self.fl_y * sy,
            cx=self.cx * sx,
            cy=self.cy * sy,
            width=width,
            height=height,
        )


@dataclass(frozen=True, kw_only=True)
class DepthMap:
    """A depth render as read from its file, not yet in any unit of length.

    Attributes:
        values: float32 [h, w], file value / largest code of the format (255 or 65535); 0 where not valid.
        valid: bool [h, w], False on background.
        step: Size of one code in `values` (1/255 or 1/65535).
        kind: What the numbers mean, AUTO if not known.
        unit: Length per 1.0 of `values`; known only for METRIC with a unit given by the user.
    The frame covers the same field of view as its RGB image up to a registration that calibration finds.
    """

    values: Array
    valid: Array
    step: float
    kind: DepthKind = DepthKind.AUTO
    unit: float | None = None


@dataclass(frozen=True, kw_only=True)
class View:
    """One picture of the object.

    Attributes:
        name: `front` ... `bottom`, or the file's stem for posed image sets.
        rgb: Linear RGB, float32 [H, W, 3], straight (not multiplied by the mask).
        mask: Coverage 0..1, float32 [H, W].
        mask_source: Where the mask came from.
        background: What stands behind the object, linear RGB float32 [H, W, 3]: the picture outside the mask, filled
            in smoothly behind the object; plain white for pictures with an alpha channel.
        depth: The depth render of this view, if one was given.
        source: The file, as the user named it.
    """

    name: str
    rgb: Array
    mask: Array
    mask_source: MaskSource
    background: Array
    depth: DepthMap | None = None
    source: str = ""

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    def mirrored(self) -> View:
        """The same view flipped left to right."""
        depth = self.depth
        if depth is not None:
            depth = DepthMap(
                values=np.ascontiguousarray(depth.values[:, ::-1]),
                valid=np.ascontiguousarray(depth.valid[:, ::-1]),
                step=depth.step,
                kind=depth.kind,
                unit=depth.unit,
            )
        return View(
            name=self.name,
            rgb=np.ascontiguousarray(self.rgb[:, ::-1]),
            mask=np.ascontiguousarray(self.mask[:, ::-1]),
            mask_source=self.mask_source,
            background=np.ascontiguousarray(self.background[:, ::-1]),
            depth=depth,
            source=self.source,
        )


@dataclass(frozen=True, kw_only=True)
class ViewSet:
    """All pictures of one object, judged and decoded.

    Attributes:
        views: In the order front, back, left, right, top, bottom for six views; file order for posed image sets.
        cameras: One per view where the user gave them, else None.
        warnings: Plain sentences about what was found odd but usable.
    """

    views: tuple[View, ...]
    cameras: tuple[Camera, ...] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Triangles. `vertices` float32 [N, 3]; `faces` int32 [F, 3], counter-clockwise seen from outside."""

    vertices: Array
    faces: Array

    def vertex_normals(self) -> Array:
        """Area-weighted unit normals, float32 [N, 3]; (0, 1, 0) where a vertex has no area around it."""
        # Axis by axis: rows of three are slow to gather and to multiply.
        v = np.ascontiguousarray(self.vertices.T, np.float64)
        corners = np.ascontiguousarray(self.faces.T)
        u, w = (v[:, corners[i]] - v[:, corners[0]] for i in (1, 2))
        total = np.zeros((v.shape[1], 3))
        for axis, (j, k) in enumerate(((1, 2), (2, 0), (0, 1))):
            cross = u[j] * w[k] - u[k] * w[j]
            for corner in corners:
                total[:, axis] += np.bincount(corner, cross, len(total))
        length = np.linalg.norm(total, axis=1, keepdims=True)
        flat = np.where(length > 1e-20, total / np.maximum(length, 1e-20), np.array([0.0, 1.0, 0.0]))
        return flat.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class MaterialMaps:
    """What a surface is made of beside its base colour, and the light it was seen under.

    Attributes:
        orm: Occlusion, roughness and metalness as glTF packs them, linear codes: uint8 [S, S, 3], row 0 on top.
        normal: Normals in tangent space as glTF has them (+X along u, +Y along v, code 255 is 1), uint8 [N, N, 3];
            None where the surface's own are used.
        light: Radiance from all around, linear RGB, float32 [H, 2 H, 3]: the first row is up (+Y), the middle column
            looks along -Z, what is right of it towards +X.
    Maps may be of other sizes than the base colour; they share its texture coordinates.
    """

    orm: Array
    normal: Array | None = None
    light: Array


@dataclass(frozen=True, kw_only=True)
class TexturedMesh:
    """Triangles with a UV atlas and a base-colour texture.

    Attributes:
        mesh: Geometry; vertices are shared across UV seams.
        uv: Texture coordinates float32 [U, 2] in [0, 1], v up (v = 0 is the bottom row of the texture).
        uv_faces: int32 [F, 3] into `uv`, corner by corner with `mesh.faces`.
        base_color_srgb: uint8 [T, T, 3], row 0 on top.
        seen: Which texels some view saw, bool [T, T]; the rest was filled in. None where not known.
        material: The rest of the material and the light; None where the base colour is what is seen, light and all.
    """

    mesh: Mesh
    uv: Array
    uv_faces: Array
    base_color_srgb: Array
    seen: Array | None = None
    material: MaterialMaps | None = None

    def tangents(self) -> Array:
        """Unit tangents along +u, at right angles to `vertex_normals`, and the sign of +v: float32 [U, 4].

        One per texture coordinate, weighted by area. The bitangent is sign * cross(normal, tangent), as in glTF. Where
        a coordinate has no area around it: any tangent.
        """
        corners = self.mesh.vertices.astype(np.float64)[self.mesh.faces]
        place = self.uv.astype(np.float64)[self.uv_faces]
        e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        d1, d2 = place[:, 1] - place[:, 0], place[:, 2] - place[:, 0]
        turn = np.sign(d1[:, :1] * d2[:, 1:] - d2[:, :1] * d1[:, 1:])
        along_u, along_v = turn * (e1 * d2[:, 1:] - e2 * d1[:, 1:]), turn * (e2 * d1[:, :1] - e1 * d2[:, :1])
        area = np.linalg.norm(np.cross(e1, e2), axis=1, keepdims=True)
        normal = np.zeros((len(self.uv), 3))
        normal[self.uv_faces.ravel()] = self.mesh.vertex_normals()[self.mesh.faces.ravel()]
        u, v = (_gathered(_unit(way) * area, self.uv_faces, len(self.uv)) for way in (along_u, along_v))
        u -= (u * normal).sum(1, keepdims=True) * normal
        lost = np.linalg.norm(u, axis=1) < 1e-20
        if lost.any():
            least = np.eye(3)[np.abs(normal[lost]).argmin(1)]
            u[lost] = least - (least * normal[lost]).sum(1, keepdims=True) * normal[lost]
        u = _unit(u)
        sign = np.where((np.cross(normal, u) * v).sum(1) < 0, -1.0, 1.0)
        return np.concatenate([u, sign[:, None]], 1).astype(np.float32)


def _gathered(values: Array, faces: Array, count: int) -> Array:
    """Sums of values per face [F, 3] at what the faces [F, 3] name, [count, 3]."""
    total = np.zeros((count, 3))
    for corner in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(faces[:, corner], values[:, axis], count)
    return total


def _unit(vectors: Array) -> Array:
    """Of length 1, or 0 where they have none; [N, 3]."""
    result: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    return result


@dataclass(frozen=True, kw_only=True)
class ColouredMesh:
    """Triangles with a colour per vertex, as PLY files hold them: `colors_srgb` uint8 [N, 3]."""

    mesh: Mesh
    colors_srgb: Array


class Monitor(Protocol):
    """How progress leaves the engine and how a wish to stop enters it."""

    def report(self, percent: float, step: str) -> None:
        """`percent` 0-100 of the whole run, never falling; `step` in plain words."""

    def check(self) -> None:
        """Raises `Cancelled` once the caller wants to stop. Stages call it at least every second or so."""


@dataclass(frozen=True)
class SilentMonitor:
    """Reports nothing and stops only when `should_stop` says so."""

    should_stop: Callable[[], bool] | None = field(default=None)

    def report(self, percent: float, step: str) -> None:
        del percent, step

    def check(self) -> None:
        if self.should_stop is not None and self.should_stop():
            from meshwright.errors import Cancelled

            raise Cancelled("The run was stopped.", hint="Nothing half-written was left behind.")
