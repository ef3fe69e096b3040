"""What is fitted besides the surface, and pictures of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from meshwright.geometry.tetra import Surface
from meshwright.models.nvdiffrec.appearance.config import VolumeConfig
from meshwright.models.nvdiffrec.appearance.look import look
from meshwright.models.nvdiffrec.appearance.volume import Materials, MaterialVolume
from meshwright.models.nvdiffrec.stage_one.config import StageOneConfig
from meshwright.models.nvdiffrec.stage_one.pictures import clip_matrices, pixels_across
from meshwright.rendering import ops
from meshwright.rendering.light import EnvironmentLight
from meshwright.types import Array, Camera

__all__ = ["Rendered", "Scene", "vertex_normals"]

REACH = 64
"""How far outlines are looked for, see `ops.antialias`: extracted triangles are far smaller than pixels."""


def vertex_normals(surface: Surface) -> torch.Tensor:
    """Area-weighted unit normals, float32 [V, 3], differentiable."""
    faces = surface.faces.long()
    a, b, c = (surface.vertices.index_select(0, faces[:, i]) for i in range(3))
    normal = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(surface.vertices)
    for corner in range(3):
        total = total.index_add(0, faces[:, corner], normal)
    return functional.normalize(total, dim=1, eps=1e-20)


def _no_finer(low: Array, high: Array, cameras: Sequence[Camera], config: StageOneConfig) -> VolumeConfig:
    """The volume, no finer than pixels show: see `StageOneConfig.sharpness`."""
    grid = config.volume.grid
    pixels = max(level.pixels for level in config.levels)
    shown = pixels_across(cameras, (low + high) / 2, float((high - low).max()), pixels)
    finest = max(grid.coarsest, min(grid.finest, round(config.sharpness * shown)))
    return replace(config.volume, grid=replace(grid, finest=finest))


class Rendered(NamedTuple):
    """What some views see of the surface.

    Attributes:
        picture: Linear colour times cover, and cover, float32 [N, H, W, 4], smooth along outlines.
        depth: Distance along the optical axis, float32 [N, H, W, 1]; where no surface is, any number.
        seen: 1 where pixels' centres see the surface, else 0, float32 [N, H, W, 1]; no gradient.
        points: Of the surface, float32 [P, 3].
        materials: Theirs.
    """

    picture: torch.Tensor
    depth: torch.Tensor
    seen: torch.Tensor
    points: torch.Tensor
    materials: Materials


class Scene:
    """Materials within a box, a light, and cameras that stay where they are.

    Args:
        low, high: The box, float64 [3] each.
        cameras: One per view.
        config: See `StageOneConfig`.
        device: "cpu" or a CUDA device.
    """

    def __init__(self, low: Array, high: Array, cameras: Sequence[Camera], config: StageOneConfig, device: str) -> None:
        self.device = torch.device(device)
        self.volume = MaterialVolume(low.tolist(), high.tolist(), _no_finer(low, high, cameras, config), device=device)
        self.light = None
        if config.lighting == "pbr":
            self.light = EnvironmentLight(config.light_size, value=0.7, device=device)
        self.matrices = clip_matrices(cameras, (low + high) / 2, device)
        self.stands = torch.tensor(np.stack([c.position for c in cameras]), dtype=torch.float32, device=device)

    def modules(self) -> dict[str, torch.nn.Module]:
        """What is fitted, by name."""
        return {"volume": self.volume} | ({} if self.light is None else {"light": self.light})

    def render(self, surface: Surface, views: torch.Tensor, height: int, width: int) -> Rendered:
        """Pictures with gradients to surface, materials and light.

        Args:
            surface: From a field.
            views: Which cameras, int64 [N].
            height, width: In pixels.
        """
        vertices, faces = surface.vertices, surface.faces
        ones = torch.ones_like(vertices[:, :1])
        clip = torch.cat([vertices, ones], 1) @ self.matrices.index_select(0, views)
        seen, _ = ops.rasterize(clip, faces, (height, width), derivatives=False)
        cover = (seen[..., 3:] > 0).float()
        attributes = vertices if self.light is None else torch.cat([vertices, vertex_normals(surface)], 1)
        place, _ = ops.interpolate(attributes, seen, faces)
        # A matrix's last column is the camera's axis.
        axis = self.matrices.index_select(0, views)[:, :, 3:]
        depth = place[..., :3].flatten(1, 2) @ axis[:, :3] + axis[:, 3:]
        place = place.reshape(-1, place.shape[-1])
        # A GPU would wait for the number of covered pixels; a core has better to do than the empty ones.
        chosen = cover.reshape(-1).nonzero()[:, 0] if self.device.type == "cpu" else None
        lit = place if chosen is None else place.index_select(0, chosen)
        points = lit[:, :3]
        materials = self.volume(points)
        colour = materials.kd
        if self.light is not None:
            stand = self.stands.index_select(0, views).repeat_interleave(height * width, 0, output_size=len(place))
            stand = stand if chosen is None else stand.index_select(0, chosen)
            # Empty pixels have no normal; any will do, for their cover is 0.
            normal = functional.normalize(lit[:, 3:] + 1e-12, dim=1)
            towards = functional.normalize(stand - points, dim=1)
            colour = look(materials, normal, towards, self.light.maps())
        if chosen is not None:
            colour = torch.zeros_like(place[:, :3]).index_copy(0, chosen, colour)
        picture = torch.cat([colour.view(*cover.shape[:3], 3) * cover, cover], -1)
        if len(faces) > 0:
            picture = ops.antialias(picture, seen, clip, faces, reach=REACH)
        return Rendered(
            picture=picture,
            depth=depth.view(*cover.shape[:3], 1),
            seen=cover,
            points=points,
            materials=materials,
        )

    @torch.no_grad()
    def colours(self, vertices: Array) -> Array:
        """Linear base colours at points, float32 [V, 3]."""
        points = torch.tensor(vertices, dtype=torch.float32, device=self.device)
        found: Array = self.volume(points).kd.cpu().numpy()
        return found
