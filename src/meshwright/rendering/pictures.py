"""Renders for people and for judging: base colour, vertex colours, normals, wireframe.

No light falls on anything: a textured render shows the base colour as it is, because photographs bake their light in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from meshwright._warp import load_kernels, wp
from meshwright.colour import decode_table, from_srgb8, linear_to_srgb, srgb_to_linear
from meshwright.device import turn
from meshwright.errors import OptionError, ShapeError
from meshwright.rendering import shade_kernel
from meshwright.rendering.rasterize import rasterize_on_device
from meshwright.types import Array, Camera, ColouredMesh, Mesh, TexturedMesh

__all__ = [
    "Picture",
    "render_coloured",
    "render_normals",
    "render_textured",
    "render_wireframe",
]

MAX_SUPERSAMPLE = 8
INK = (0.10, 0.16, 0.30)
"""Colour of wireframe lines, sRGB."""
PAPER = (0.93, 0.94, 0.96)
"""Colour of wireframe faces that look at the camera, sRGB."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A render.

    Attributes:
        rgb: Linear RGB, float32 [H, W, 3], straight (not multiplied by alpha); black where nothing is seen.
        alpha: Coverage 0..1, float32 [H, W].
    """

    rgb: Array
    alpha: Array

    def over(self, background_srgb: Array | float) -> Array:
        """Before a background (sRGB; a number, [3] or [H, W, 3]), float32 [H, W, 3] in sRGB.

        Compositing is done on sRGB values, as browsers and image viewers do with a PNG.
        """
        alpha = self.alpha[..., None]
        result: Array = linear_to_srgb(self.rgb) * alpha + np.asarray(background_srgb, np.float32) * (1 - alpha)
        return result


def render_textured(textured: TexturedMesh, camera: Camera, *, supersample: int = 2, device: str = "cpu") -> Picture:
    """Base colour as a camera sees it.

    Bilinear look-ups in linear light, the texture repeats; `supersample` x `supersample` rays a pixel, box filtered.
    No mip levels: a texture much finer than the samples aliases.

    Raises:
        ShapeError: Texture coordinates, faces and texture do not fit together.
        OptionError: `supersample` is not 1 .. 8.
    """
    _check_corners(textured.uv, textured.uv_faces, textured.mesh, "uv")
    texture = textured.base_color_srgb
    if texture.dtype != np.uint8 or texture.ndim != 3 or texture.shape[2] != 3 or 0 in texture.shape:
        raise ShapeError(f"A texture is uint8 [T, T, 3], got {texture.dtype} {texture.shape}.")

    def shade(face_id: wp.array, bary: wp.array, rgb: wp.array, alpha: wp.array) -> None:
        wp.launch(
            shade_kernel.textured_kernel,
            dim=(camera.height, camera.width),
            inputs=[
                face_id,
                bary,
                wp.array(np.ascontiguousarray(textured.uv, np.float32), dtype=wp.vec2, device=device),
                wp.array(np.ascontiguousarray(textured.uv_faces, np.int32), dtype=wp.vec3i, device=device),
                wp.array(np.ascontiguousarray(texture), dtype=wp.vec3ub, device=device),
                wp.array(decode_table(), dtype=wp.float32, device=device),
                supersample,
            ],
            outputs=[rgb, alpha],
            device=device,
        )

    return _render(textured.mesh, camera, supersample, device, shade)


def render_coloured(coloured: ColouredMesh, camera: Camera, *, supersample: int = 2, device: str = "cpu") -> Picture:
    """Vertex colours as a camera sees them, blended in linear light. Errors as `render_textured`."""
    values = from_srgb8(coloured.colors_srgb)
    return _render_corners(coloured.mesh, values, coloured.mesh.faces, camera, supersample, device)


def render_normals(mesh: Mesh, camera: Camera, *, supersample: int = 2, device: str = "cpu") -> Picture:
    """Smooth world normals as colours: seen in sRGB, x, y, z from -1 to 1 are red, green, blue from 0 to 1."""
    codes = mesh.vertex_normals() * np.float32(0.5) + np.float32(0.5)
    picture = _render_corners(mesh, codes, mesh.faces, camera, supersample, device)
    return Picture(rgb=srgb_to_linear(picture.rgb), alpha=picture.alpha)


def render_wireframe(mesh: Mesh, camera: Camera, *, supersample: int = 3, device: str = "cpu") -> Picture:
    """Flat-shaded faces, lit from the camera, with the edges of the triangles in front drawn in."""
    corners = mesh.vertices.astype(np.float64)[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    to_camera = camera.position - corners.mean(1)
    to_camera /= np.maximum(np.linalg.norm(to_camera, axis=1, keepdims=True), 1e-30)
    light = 0.35 + 0.65 * np.abs((normals * to_camera).sum(1))
    tone = (srgb_to_linear(np.array(PAPER)) * light[:, None]).astype(np.float32)
    pixels = camera.project(mesh.vertices)[0].astype(np.float32)
    line_width = max(0.7, 0.7 * min(camera.width, camera.height) / 512)

    def shade(face_id: wp.array, bary: wp.array, rgb: wp.array, alpha: wp.array) -> None:
        del bary
        wp.launch(
            shade_kernel.wireframe_kernel,
            dim=(camera.height, camera.width),
            inputs=[
                face_id,
                wp.array(pixels, dtype=wp.vec2, device=device),
                wp.array(np.ascontiguousarray(mesh.faces, np.int32), dtype=wp.vec3i, device=device),
                wp.array(tone, dtype=wp.vec3, device=device),
                wp.vec3(*(float(c) for c in srgb_to_linear(np.array(INK)))),
                float(line_width),
                supersample,
            ],
            outputs=[rgb, alpha],
            device=device,
        )

    return _render(mesh, camera, supersample, device, shade)


def _render_corners(mesh: Mesh, values: Array, faces: Array, camera: Camera, supersample: int, device: str) -> Picture:
    _check_corners(values, faces, mesh, "values")

    def shade(face_id: wp.array, bary: wp.array, rgb: wp.array, alpha: wp.array) -> None:
        wp.launch(
            shade_kernel.corner_values_kernel,
            dim=(camera.height, camera.width),
            inputs=[
                face_id,
                bary,
                wp.array(np.ascontiguousarray(values, np.float32), dtype=wp.vec3, device=device),
                wp.array(np.ascontiguousarray(faces, np.int32), dtype=wp.vec3i, device=device),
                supersample,
            ],
            outputs=[rgb, alpha],
            device=device,
        )

    return _render(mesh, camera, supersample, device, shade)


Shade = Callable[[wp.array, wp.array, wp.array, wp.array], None]
"""Fills rgb and alpha (last two) from face_id and bary (first two)."""


def _render(mesh: Mesh, camera: Camera, supersample: int, device: str, shade: Shade) -> Picture:
    if not 1 <= supersample <= MAX_SUPERSAMPLE:
        raise OptionError(f"supersample={supersample} is out of range.", hint=f"Use 1 to {MAX_SUPERSAMPLE}.")
    fine = camera.resized(camera.width * supersample, camera.height * supersample)
    load_kernels(shade_kernel.__name__, device)
    with turn(device):
        face_id, bary, _ = rasterize_on_device(mesh, fine, device=device)
        rgb = wp.empty((camera.height, camera.width), dtype=wp.vec3, device=device)
        alpha = wp.empty((camera.height, camera.width), dtype=wp.float32, device=device)
        shade(face_id, bary, rgb, alpha)
        return Picture(rgb=rgb.numpy(), alpha=alpha.numpy())


def _check_corners(values: Array, faces: Array, mesh: Mesh, name: str) -> None:
    if faces.shape != mesh.faces.shape:
        raise ShapeError(f"{name} has {len(faces)} faces, the mesh {len(mesh.faces)}.")
    if len(faces) and (faces.min() < 0 or faces.max() >= len(values)):
        raise ShapeError(f"Faces name entries {faces.min()} to {faces.max()} of {name}, there are {len(values)}.")
