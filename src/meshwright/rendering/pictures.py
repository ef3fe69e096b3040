"""Renders for people and for judging: base colour, vertex colours, normals, wireframe.

No light falls on anything: a textured render shows the base colour as it is, because photographs bake their light in.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from meshwright._warp import load_kernels, wp
from meshwright.colour import decode_table, from_srgb8, linear_to_srgb, srgb_to_linear
from meshwright.device import turn
from meshwright.errors import OptionError, ShapeError
from meshwright.rendering import shade_kernel
from meshwright.rendering.rasterize import rasterize_on_device
from meshwright.rendering.uploads import Uploads
from meshwright.types import Array, Camera, ColouredMesh, Mesh, TexturedMesh

__all__ = [
    "Picture",
    "colours_on_white",
    "normals_on_white",
    "render_coloured",
    "render_normals",
    "render_textured",
    "render_wireframe",
    "wireframe_on_white",
]

Finished = TypeVar("Finished")

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

    @functools.cached_property
    def srgb(self) -> Array:
        """`rgb` in sRGB."""
        return linear_to_srgb(self.rgb)

    def over(self, background_srgb: Array | float) -> Array:
        """Before a background (sRGB; a number, [3] or [H, W, 3]), float32 [H, W, 3] in sRGB.

        Compositing is done on sRGB values, as browsers and image viewers do with a PNG.
        """
        alpha = self.alpha[..., None]
        result: Array = self.srgb * alpha + np.asarray(background_srgb, np.float32) * (1 - alpha)
        return result


def render_textured(
    textured: TexturedMesh,
    camera: Camera,
    *,
    supersample: int = 2,
    device: str = "cpu",
    uploads: Uploads | None = None,
) -> Picture:
    """Base colour as a camera sees it.

    Bilinear look-ups in linear light, the texture repeats; `supersample` x `supersample` rays a pixel, box filtered.
    No mip levels: a texture much finer than the samples aliases.

    Args:
        textured: The mesh.
        camera: In its frame.
        supersample: Rays along a pixel's side.
        device: Where to draw.
        uploads: Of that device, where more pictures of the mesh are drawn.
    Raises:
        ShapeError: Texture coordinates, faces and texture do not fit together.
        OptionError: `supersample` is not 1 .. 8.
    """
    return _render(textured.mesh, camera, supersample, uploads or Uploads(device), _textured(textured), _picture)


def render_coloured(
    coloured: ColouredMesh,
    camera: Camera,
    *,
    supersample: int = 2,
    device: str = "cpu",
    uploads: Uploads | None = None,
) -> Picture:
    """Vertex colours as a camera sees them, blended in linear light. Otherwise as `render_textured`."""
    return _render(coloured.mesh, camera, supersample, uploads or Uploads(device), _coloured(coloured), _picture)


def render_normals(
    mesh: Mesh, camera: Camera, *, supersample: int = 2, device: str = "cpu", uploads: Uploads | None = None
) -> Picture:
    """Smooth world normals as colours: seen in sRGB, x, y, z from -1 to 1 are red, green, blue from 0 to 1."""
    picture = _render(mesh, camera, supersample, uploads or Uploads(device), _normals(mesh), _picture)
    return Picture(rgb=srgb_to_linear(picture.rgb), alpha=picture.alpha)


def render_wireframe(
    mesh: Mesh, camera: Camera, *, supersample: int = 3, device: str = "cpu", uploads: Uploads | None = None
) -> Picture:
    """Flat-shaded faces, lit from the camera, with the edges of the triangles in front drawn in."""
    return _render(mesh, camera, supersample, uploads or Uploads(device), _wireframe(mesh, camera), _picture)


def colours_on_white(mesh: TexturedMesh | ColouredMesh, camera: Camera, uploads: Uploads) -> Array:
    """`render_textured` or `render_coloured` on white, sRGB uint8 [H, W, 3]; the device does all of it."""
    shade = _textured(mesh) if isinstance(mesh, TexturedMesh) else _coloured(mesh)
    return _render(mesh.mesh, camera, 2, uploads, shade, _on_white(linear=True))


def normals_on_white(mesh: Mesh, camera: Camera, uploads: Uploads) -> Array:
    """`render_normals` on white, sRGB uint8 [H, W, 3]."""
    return _render(mesh, camera, 2, uploads, _normals(mesh), _on_white(linear=False))


def wireframe_on_white(mesh: Mesh, camera: Camera, uploads: Uploads) -> Array:
    """`render_wireframe` on white, sRGB uint8 [H, W, 3]."""
    return _render(mesh, camera, 3, uploads, _wireframe(mesh, camera), _on_white(linear=True))


@dataclass(frozen=True)
class _Drawn:
    """What a shader works on: arrays on the device. `face_id`, `bary` are read, `rgb`, `alpha` filled."""

    face_id: wp.array
    bary: wp.array
    rgb: wp.array
    alpha: wp.array
    samples: int


Shade = Callable[[_Drawn, Uploads], None]
Finish = Callable[[wp.array, wp.array], Finished]
"""What becomes of linear RGB and alpha, while they are on the device."""


def _render(
    mesh: Mesh, camera: Camera, supersample: int, uploads: Uploads, shade: Shade, finish: Finish[Finished]
) -> Finished:
    if not 1 <= supersample <= MAX_SUPERSAMPLE:
        raise OptionError(f"supersample={supersample} is out of range.", hint=f"Use 1 to {MAX_SUPERSAMPLE}.")
    fine = camera.resized(camera.width * supersample, camera.height * supersample)
    device = uploads.device
    load_kernels(shade_kernel.__name__, device)
    with turn(device):
        face_id, bary, _ = rasterize_on_device(mesh, fine, device=device, uploads=uploads)
        rgb = wp.empty((camera.height, camera.width), dtype=wp.vec3, device=device)
        alpha = wp.empty((camera.height, camera.width), dtype=wp.float32, device=device)
        shade(_Drawn(face_id, bary, rgb, alpha, supersample), uploads)
        return finish(rgb, alpha)


def _picture(rgb: wp.array, alpha: wp.array) -> Picture:
    return Picture(rgb=rgb.numpy(), alpha=alpha.numpy())


def _on_white(*, linear: bool) -> Finish[Array]:
    """Codes on white; `linear` is False for values that are sRGB already."""

    def finish(rgb: wp.array, alpha: wp.array) -> Array:
        codes = wp.empty(rgb.shape, dtype=wp.vec3ub, device=rgb.device)
        wp.launch(
            shade_kernel.white_kernel, dim=rgb.shape, inputs=[rgb, alpha, linear], outputs=[codes], device=rgb.device
        )
        return np.asarray(codes.numpy())

    return finish


def _textured(textured: TexturedMesh) -> Shade:
    texture = textured.base_color_srgb

    def check() -> None:
        _check_corners(textured.uv, textured.uv_faces, textured.mesh, "uv")
        if texture.dtype != np.uint8 or texture.ndim != 3 or texture.shape[2] != 3 or 0 in texture.shape:
            raise ShapeError(f"A texture is uint8 [T, T, 3], got {texture.dtype} {texture.shape}.")

    def shade(drawn: _Drawn, uploads: Uploads) -> None:
        uploads.once(textured, "checked", check)
        wp.launch(
            shade_kernel.textured_kernel,
            dim=drawn.alpha.shape,
            inputs=[
                drawn.face_id,
                drawn.bary,
                uploads.array(textured.uv, wp.vec2),
                uploads.array(textured.uv_faces, wp.vec3i),
                uploads.array(texture, wp.vec3ub),
                uploads.array(decode_table(), wp.float32),
                drawn.samples,
            ],
            outputs=[drawn.rgb, drawn.alpha],
            device=uploads.device,
        )

    return shade


def _coloured(coloured: ColouredMesh) -> Shade:
    return _corners(coloured.mesh, coloured, lambda: from_srgb8(coloured.colors_srgb))


def _normals(mesh: Mesh) -> Shade:
    return _corners(mesh, mesh, lambda: mesh.vertex_normals() * np.float32(0.5) + np.float32(0.5))


def _corners(mesh: Mesh, subject: object, values: Callable[[], Array]) -> Shade:
    """Values of vertices, float32 [N, 3], that belong to `subject`."""

    def shade(drawn: _Drawn, uploads: Uploads) -> None:
        def checked() -> wp.array:
            found = values()
            _check_corners(found, mesh.faces, mesh, "values")
            return wp.array(np.ascontiguousarray(found, np.float32), dtype=wp.vec3, device=uploads.device)

        wp.launch(
            shade_kernel.corner_values_kernel,
            dim=drawn.alpha.shape,
            inputs=[
                drawn.face_id,
                drawn.bary,
                uploads.once(subject, "values", checked),
                uploads.array(mesh.faces, wp.vec3i),
                drawn.samples,
            ],
            outputs=[drawn.rgb, drawn.alpha],
            device=uploads.device,
        )

    return shade


def _wireframe(mesh: Mesh, camera: Camera) -> Shade:
    corners = mesh.vertices.astype(np.float64)[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    to_camera = camera.position - corners.mean(1)
    to_camera /= np.maximum(np.linalg.norm(to_camera, axis=1, keepdims=True), 1e-30)
    light = 0.35 + 0.65 * np.abs((normals * to_camera).sum(1))
    tone = (srgb_to_linear(np.array(PAPER)) * light[:, None]).astype(np.float32)
    pixels = camera.project(mesh.vertices)[0].astype(np.float32)
    line_width = max(0.7, 0.7 * min(camera.width, camera.height) / 512)

    def shade(drawn: _Drawn, uploads: Uploads) -> None:
        wp.launch(
            shade_kernel.wireframe_kernel,
            dim=drawn.alpha.shape,
            inputs=[
                drawn.face_id,
                wp.array(pixels, dtype=wp.vec2, device=uploads.device),
                uploads.array(mesh.faces, wp.vec3i),
                wp.array(tone, dtype=wp.vec3, device=uploads.device),
                wp.vec3(*(float(c) for c in srgb_to_linear(np.array(INK)))),
                float(line_width),
                drawn.samples,
            ],
            outputs=[drawn.rgb, drawn.alpha],
            device=uploads.device,
        )

    return shade


def _check_corners(values: Array, faces: Array, mesh: Mesh, name: str) -> None:
    if faces.shape != mesh.faces.shape:
        raise ShapeError(f"{name} has {len(faces)} faces, the mesh {len(mesh.faces)}.")
    if len(faces) and (faces.min() < 0 or faces.max() >= len(values)):
        raise ShapeError(f"Faces name entries {faces.min()} to {faces.max()} of {name}, there are {len(values)}.")
