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

from meshwright._warp import wp
from meshwright.colour import from_srgb8
from meshwright.device import turn
from meshwright.errors import OptionError, ShapeError
from meshwright.rendering.light import EnvironmentLight, LightMaps, bent_normals, shade_pbr
from meshwright.rendering.ops.texture import texture
from meshwright.rendering.pictures import MAX_SUPERSAMPLE, Picture
from meshwright.rendering.rasterize import rasterize_on_device
from meshwright.rendering.uploads import Uploads
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
    uploads: Uploads | None = None,
) -> Picture:
    """A mesh with a material as a camera sees it.

    Args:
        textured: With a `material`.
        camera: In its frame.
        light: Another light than the material's own.
        supersample: Samples along a pixel's side, box filtered in linear light.
        device: Where to render.
        uploads: Of that device, where more pictures of the mesh are drawn.
    Raises:
        ShapeError: It has no material, or its parts do not fit together.
        OptionError: `supersample` is not 1 .. 8.
    """
    if textured.material is None:
        raise ShapeError("The mesh has no material that light could fall on.", hint="Use render_textured.")
    uploads, panorama = uploads or Uploads(device), textured.material.light
    with turn(device):  # taken before anything of `uploads` is, here as everywhere
        maps = uploads.once(panorama, "light", lambda: light_maps(panorama, device)) if light is None else light
    return render_points(
        textured,
        camera,
        lambda at: shade_pbr(at.kd, at.ks, at.normal, at.view, maps),
        supersample=supersample,
        device=device,
        uploads=uploads,
    )


@torch.no_grad()
def render_points(
    textured: TexturedMesh,
    camera: Camera,
    colour: Callable[[SurfacePoints], torch.Tensor],
    *,
    supersample: int = 2,
    device: str = "cpu",
    uploads: Uploads | None = None,
) -> Picture:
    """A picture whose samples have whatever `colour` makes [P, 3] of the surface under them."""
    if not 1 <= supersample <= MAX_SUPERSAMPLE:
        raise OptionError(f"supersample={supersample} is out of range.", hint=f"Use 1 to {MAX_SUPERSAMPLE}.")
    uploads = uploads or Uploads(device)
    height, width, samples = camera.height, camera.width, supersample
    with turn(device):
        fine = camera.resized(width * samples, height * samples)
        drawn = rasterize_on_device(textured.mesh, fine, device=device, uploads=uploads)
        face, bary = (wp.to_torch(part).flatten(0, 1) for part in drawn[:2])
        covered = (face >= 0).nonzero()[:, 0]
        total = torch.zeros(height * samples * width * samples, 3, device=device)
        if len(covered):
            points = surface_points(textured, camera, face[covered].long(), bary[covered], uploads)
            total[covered] = colour(points)
        rgb = total.view(height, samples, width, samples, 3).sum((1, 3))
        count = (face >= 0).view(height, samples, width, samples).sum((1, 3), dtype=torch.float32)
        rgb /= count.clamp(min=1)[..., None]
        return Picture(rgb=rgb.cpu().numpy(), alpha=(count / samples**2).cpu().numpy())


def surface_points(
    textured: TexturedMesh, camera: Camera, face: torch.Tensor, bary: torch.Tensor, uploads: Uploads
) -> SurfacePoints:
    """The material at places on faces int64 [P], with weights of their corners float32 [P, 3], on the device."""
    mesh, material, device = textured.mesh, textured.material, uploads.device

    def kept(name: str, make: Callable[[], Array], kind: type[np.generic] = np.float32) -> torch.Tensor:
        """An array of the mesh on the device."""
        return uploads.once(
            textured, f"lit {name}", lambda: torch.from_numpy(np.ascontiguousarray(make(), kind)).to(device)
        )

    def looked_up(name: str, make: Callable[[], Array]) -> torch.Tensor:
        """A picture [T, T, C], row 0 on top, at the places, bilinear."""
        upright = kept(name, lambda: make()[::-1])[None]
        missing = -len(place) % ROWS
        laid_out = torch.nn.functional.pad(place, (0, 0, 0, missing)).view(1, -1, ROWS, 2)
        return texture(upright, laid_out, filter="linear").view(-1, upright.shape[-1])[: len(place)]

    def blended(values: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
        return torch.einsum("pk,pkc->pc", bary, values[faces[face]])

    faces = kept("faces", lambda: mesh.faces, np.int64)
    uv_faces = kept("uv faces", lambda: textured.uv_faces, np.int64)
    place = blended(kept("uv", lambda: textured.uv), uv_faces)
    normal = torch.nn.functional.normalize(blended(kept("normals", mesh.vertex_normals), faces), dim=1)
    stand = torch.from_numpy(camera.position.astype(np.float32)).to(device)
    view = torch.nn.functional.normalize(stand - blended(kept("vertices", lambda: mesh.vertices), faces), dim=1)
    kd = looked_up("colour", lambda: from_srgb8(textured.base_color_srgb))
    if material is None:
        ks = torch.tensor([1.0, 1.0, 0.0], device=device).expand(len(kd), 3)
        return SurfacePoints(kd, ks, normal, view)
    ks = looked_up("material", lambda: material.orm.astype(np.float32) / 255)
    bent = material.normal
    if bent is not None:
        tangent = blended(kept("tangents", textured.tangents), uv_faces)
        local = looked_up("bent", lambda: bent.astype(np.float32) / 127.5 - 1)
        local = local * torch.stack([torch.ones_like(view[:, 0]), tangent[:, 3].sign(), torch.ones_like(view[:, 0])], 1)
        normal = bent_normals(normal, local, tangent[:, :3])
    return SurfacePoints(kd, ks, normal, view)


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
