"""Which triangle is seen through each pixel centre."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from meshwright._warp import load_kernels, wp
from meshwright.device import map_threads, turn
from meshwright.errors import ShapeError
from meshwright.rendering.projection import to_clip
from meshwright.rendering.rasterize import kernel
from meshwright.rendering.uploads import Uploads
from meshwright.types import Array, Camera, Mesh

__all__ = [
    "DEFAULT_NEAR",
    "Fragments",
    "load_kernels",
    "rasterize_clip",
    "rasterize_clip_on_device",
    "rasterize_mesh",
    "rasterize_on_device",
    "rasterize_views",
]

DEFAULT_NEAR = 1e-3
"""What lies nearer to the camera than this, along the optical axis, is not drawn. World units."""


@dataclass(frozen=True, kw_only=True)
class Fragments:
    """What a camera sees, pixel by pixel. Row 0 is on top; rays go through pixel centres.

    Attributes:
        face_id: Nearest triangle, int32 [H, W]; -1 is background.
        bary: Perspective-correct weights of its three corners, float32 [H, W, 3]; their sum is 1, 0 on background.
        z: Depth along the optical axis in world units, float32 [H, W]; inf on background.
    """

    face_id: Array
    bary: Array
    z: Array

    @property
    def covered(self) -> Array:
        """Where something is seen, bool [H, W]."""
        result: Array = self.face_id >= 0
        return result

    def interpolate(self, values: Array, faces: Array) -> Array:
        """Blend corner values [K, C] by `faces` [F, 3] (indices into `values`) into an image, float32 [H, W, C]."""
        image = np.zeros((*self.face_id.shape, values.shape[-1]), np.float32)
        covered = self.covered
        corners = faces[self.face_id[covered]]
        weights = self.bary[covered]
        image[covered] = sum(weights[:, i, None] * values[corners[:, i]] for i in range(3))
        return image


def rasterize_mesh(
    mesh: Mesh, camera: Camera, *, device: str = "cpu", near: float = DEFAULT_NEAR, uploads: Uploads | None = None
) -> Fragments:
    """The nearest triangle through every pixel centre.

    Both sides of a triangle are drawn. A pixel centre on an edge that two triangles share belongs to exactly one of
    them. Triangles that cross the near plane are cut there, pixel by pixel; those without area are not drawn. Of two
    triangles at the same float32 depth the one with the lower index wins, so the result does not depend on the device.

    Args:
        mesh: World coordinates.
        camera: Its `width` and `height` give the frame.
        device: "cpu" or a CUDA device such as "cuda:0".
        near: Distance along the optical axis below which nothing is drawn.
        uploads: Of that device, where more pictures of the mesh are drawn.
    Raises:
        ShapeError: A face names a vertex that does not exist, or a vertex is not finite.
    """
    with turn(device):
        face_id, bary, depth = rasterize_on_device(mesh, camera, device=device, near=near, uploads=uploads)
        return Fragments(face_id=face_id.numpy(), bary=bary.numpy(), z=depth.numpy())


def rasterize_views(mesh: Mesh, cameras: Sequence[Camera], *, device: str = "cpu") -> list[Fragments]:
    """`rasterize_mesh` for several cameras, in threads."""
    load_kernels(kernel.__name__, device)
    return map_threads(lambda camera: rasterize_mesh(mesh, camera, device=device), cameras, device=device)


def rasterize_clip(
    clip: Array, faces: Array, height: int, width: int, *, device: str = "cpu", near: float = DEFAULT_NEAR
) -> Fragments:
    """The same from homogeneous image coordinates, float32 [N, 3] (see `projection`), and faces int32 [F, 3]."""
    face_id, bary, depth = rasterize_clip_on_device(clip, faces, height, width, device=device, near=near)
    return Fragments(face_id=face_id.numpy(), bary=bary.numpy(), z=depth.numpy())


def rasterize_on_device(
    mesh: Mesh, camera: Camera, *, device: str, near: float = DEFAULT_NEAR, uploads: Uploads | None = None
) -> tuple[wp.array, wp.array, wp.array]:
    """`rasterize_mesh` for further kernels: face_id int32, bary vec3, z float32, each [H, W], left on the device."""
    uploads = uploads or Uploads(device)

    def checked() -> wp.array:
        faces = np.ascontiguousarray(mesh.faces, np.int32)
        if len(faces) and (faces.min() < 0 or faces.max() >= len(mesh.vertices)):
            raise ShapeError(
                f"Faces name vertices {faces.min()} to {faces.max()}, the mesh has {len(mesh.vertices)}.",
                hint="Faces hold indices from 0 to the number of vertices minus 1.",
            )
        return wp.array(faces, dtype=wp.vec3i, device=device)

    triangles = uploads.once(mesh, "triangles", checked)
    clip = to_clip(mesh.vertices, camera)
    if not np.isfinite(clip).all():
        raise ShapeError("A vertex or the camera is not finite.", hint="Look for NaN in the vertices and the matrix.")
    return _rasterized(clip, triangles, camera.height, camera.width, device, near)


def rasterize_clip_on_device(
    clip: Array, faces: Array, height: int, width: int, *, device: str, near: float = DEFAULT_NEAR
) -> tuple[wp.array, wp.array, wp.array]:
    """`rasterize_clip` with its results left on the device, as `rasterize_on_device` does."""
    return _rasterized(clip, wp.array(faces, dtype=wp.vec3i, device=device), height, width, device, near)


def _rasterized(
    clip: Array, triangles: wp.array, height: int, width: int, device: str, near: float
) -> tuple[wp.array, wp.array, wp.array]:
    load_kernels(kernel.__name__, device)
    nearest = wp.full((height, width), int(np.iinfo(np.int64).max), dtype=wp.int64, device=device)
    corners = wp.array(clip, dtype=wp.vec3, device=device)
    if len(triangles):
        # A GPU thread with a screen-sized triangle would keep all others waiting, so there rows are shared out.
        lanes = 1 if device == "cpu" else 8
        wp.launch(
            kernel.depth_kernel,
            dim=(len(triangles), lanes),
            inputs=[corners, triangles, float(near), lanes, height, width],
            outputs=[nearest],
            device=device,
        )
    face_id = wp.empty((height, width), dtype=wp.int32, device=device)
    bary = wp.empty((height, width), dtype=wp.vec3, device=device)
    depth = wp.empty((height, width), dtype=wp.float32, device=device)
    wp.launch(
        kernel.resolve_kernel,
        dim=(height, width),
        inputs=[corners, triangles, nearest, height, width],
        outputs=[face_id, bary, depth],
        device=device,
    )
    return face_id, bary, depth
