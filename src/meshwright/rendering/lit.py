"""Renders of meshes with materials under light from all around, as they are judged and shown.

Materials are read from the textures as other viewers read them: bilinear, the base colour in linear light; tangents are
those that the files hold. Shading is `light.shade_pbr`; nothing casts shadows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from meshwright.colour import from_srgb8
from meshwright.device import turn
from meshwright.errors import OptionError, ShapeError
from meshwright.rendering.light import EnvironmentLight, LightMaps, bent_normals, shade_pbr
from meshwright.rendering.ops.texture import texture
from meshwright.rendering.pictures import MAX_SUPERSAMPLE, Picture
from meshwright.rendering.rasterize import rasterize_mesh
from meshwright.types import Array, Camera, TexturedMesh

__all__ = ["SurfacePoints", "light_maps", "render_lit", "render_points", "surface_points"]

ROWS = 64
"""Points are laid out in rows of so many, which several cores share."""
SIZES = (16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class SurfacePoints:
    """What lies under the samples of a picture that see something.

    Attributes:
        kd: Base colour, linear RGB, [P, 3].
        ks: Occlusion, roughness, metalness, [P, 3].
        normal: With the normal map applied, unit vectors in the world, [P, 3].
        view: Unit vectors to the camera, [P, 3].
    All float32, on the device.
    """

    kd: torch.Tensor
    ks: torch.Tensor
    normal: torch.Tensor
    view: torch.Tensor


def render_lit(
    textured: TexturedMesh,
    camera: Camera,
    *,
    light: LightMaps | None = None,
    supersample: int = 2,
    device: str = "cpu",
) -> Picture:
    """A mesh with a material as a camera sees it.

    Args:
        textured: With a `material`.
        camera: In its frame.
        light: Another light than the material's own.
        supersample: Samples along a pixel's side, box filtered in linear light.
        device: Where to render.
    Raises:
        ShapeError: It has no material, or its parts do not fit together.
        OptionError: `supersample` is not 1 .. 8.
    """
    if textured.material is None:
        raise ShapeError("The mesh has no material that light could fall on.", hint="Use render_textured.")
    maps = light_maps(textured.material.light, device) if light is None else light
    return render_points(
        textured,
        camera,
        lambda at: shade_pbr(at.kd, at.ks, at.normal, at.view, maps),
        supersample=supersample,
        device=device,
    )


@torch.no_grad()
def render_points(
    textured: TexturedMesh,
    camera: Camera,
    colour: Callable[[SurfacePoints], torch.Tensor],
    *,
    supersample: int = 2,
    device: str = "cpu",
) -> Picture:
    """A picture whose samples have whatever `colour` makes [P, 3] of the surface under them."""
    if not 1 <= supersample <= MAX_SUPERSAMPLE:
        raise OptionError(f"supersample={supersample} is out of range.", hint=f"Use 1 to {MAX_SUPERSAMPLE}.")
    samples = supersample
    seen = rasterize_mesh(textured.mesh, camera.resized(camera.width * samples, camera.height * samples), device=device)
    covered = np.flatnonzero(seen.face_id >= 0)
    pixel = (covered // (camera.width * samples) // samples) * camera.width + covered % (
        camera.width * samples
    ) // samples
    count = np.bincount(pixel, minlength=camera.width * camera.height).astype(np.float32)
    total = np.zeros((camera.width * camera.height, 3), np.float32)
    if len(covered):
        with turn(device):
            points = surface_points(
                textured, camera, seen.face_id.ravel()[covered], seen.bary.reshape(-1, 3)[covered], device
            )
            found = colour(points).cpu().numpy()
        for channel in range(3):
            total[:, channel] = np.bincount(pixel, found[:, channel], len(total))
    rgb = total / np.maximum(count, 1)[:, None]
    shape = (camera.height, camera.width)
    return Picture(rgb=rgb.reshape(*shape, 3), alpha=(count / samples**2).reshape(shape))


def surface_points(textured: TexturedMesh, camera: Camera, face: Array, bary: Array, device: str) -> SurfacePoints:
    """The material at places on faces int [P], with weights of their corners float [P, 3]."""
    mesh, material = textured.mesh, textured.material
    weights = torch.from_numpy(np.ascontiguousarray(bary, np.float32)).to(device)

    def blended(values: Array, faces: Array) -> torch.Tensor:
        corners = torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)
        index = torch.from_numpy(faces[face].astype(np.int64)).to(device)
        return torch.einsum("pk,pkc->pc", weights, corners[index])

    place = blended(textured.uv, textured.uv_faces)
    normal = torch.nn.functional.normalize(blended(mesh.vertex_normals(), mesh.faces), dim=1)
    stand = torch.from_numpy(camera.position.astype(np.float32)).to(device)
    view = torch.nn.functional.normalize(stand - blended(mesh.vertices, mesh.faces), dim=1)
    kd = _looked_up(from_srgb8(textured.base_color_srgb), place)
    if material is None:
        ks = torch.tensor([1.0, 1.0, 0.0], device=device).expand(len(kd), 3)
        return SurfacePoints(kd, ks, normal, view)
    if material.normal is not None:
        tangent = blended(textured.tangents(), textured.uv_faces)
        local = _looked_up(material.normal.astype(np.float32) / 127.5 - 1, place)
        local = local * torch.stack([torch.ones_like(view[:, 0]), tangent[:, 3].sign(), torch.ones_like(view[:, 0])], 1)
        normal = bent_normals(normal, local, tangent[:, :3])
    return SurfacePoints(kd, _looked_up(material.orm.astype(np.float32) / 255, place), normal, view)


def _looked_up(picture: Array, place: torch.Tensor) -> torch.Tensor:
    """A picture [T, T, C], row 0 on top, at texture coordinates [P, 2], bilinear."""
    upright = torch.from_numpy(np.ascontiguousarray(picture[::-1], np.float32)).to(place.device)[None]
    missing = -len(place) % ROWS
    laid_out = torch.nn.functional.pad(place, (0, 0, 0, missing)).view(1, -1, ROWS, 2)
    return texture(upright, laid_out, filter="linear").view(-1, picture.shape[2])[: len(place)]


def light_maps(panorama: Array, device: str = "cpu") -> LightMaps:
    """A panorama [H, 2 H, 3] made ready for shading; the last few are remembered."""
    panorama = np.ascontiguousarray(panorama, np.float32)
    return _maps(panorama.tobytes(), panorama.shape, device)


@functools.lru_cache(maxsize=4)
def _maps(data: bytes, shape: tuple[int, ...], device: str) -> LightMaps:
    panorama = np.frombuffer(data, np.float32).reshape(shape)
    size = next((size for size in SIZES if 4 * size >= shape[0]), SIZES[-1])
    with torch.no_grad(), turn(device):
        return EnvironmentLight.from_latlong(panorama, size, device=device).maps()
