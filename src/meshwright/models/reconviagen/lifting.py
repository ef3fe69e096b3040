"""What the views say of each cell of a grid: masks, surfaces and normals, lifted through the cameras.

Letters: B objects, V = 6 slots, M side of masks, P side of pictures, N cells along a side of the cube -HALF..HALF.
The world frame here is the object's: longest side about 1, box centred. Signed distances are negative inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as functional

from meshwright._warp import wp
from meshwright.device import map_threads
from meshwright.models.reconviagen.kernels import least_kernel
from meshwright.models.reconviagen.network import PICTURE_CHANNELS, VIEWS, CoarseNet, FineNet, NetConfig, ViewNet

__all__ = ["HALF", "MASK_SIZE", "PICTURE_SIZE", "Prior", "Seen", "Surfaces"]

HALF = 0.6
"""The cube that is looked at spans -HALF..HALF."""
MASK_SIZE, PICTURE_SIZE = 256, 128
_BLURS = (1.0, 4.0, 12.0)
"""Standard deviations in pixels of a mask: near an outline a blurred mask is a signed distance."""
_REACH = 0.15
"""Distances to a view's surface are cut off here."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Views as the networks take them. A slot without a view has `present` 0, and zeros.

    Attributes:
        present: float32 [B, V], 0 or 1.
        mask: Soft, float32 [B, V, M, M].
        picture: Mask, square-root colours times mask, depth relative to the distance of the cube's centre (positive
            towards the camera, 0 where not known), whether depth is known; float32 [B, V, 6, P, P].
        rotation: World to camera (x right, y up, looks along -z), float32 [B, V, 3, 3].
        position: Of the camera, float32 [B, V, 3].
        lens: Focal length and shift right and up, in half pictures, float32 [B, V, 3].
    """

    present: torch.Tensor
    mask: torch.Tensor
    picture: torch.Tensor
    rotation: torch.Tensor
    position: torch.Tensor
    lens: torch.Tensor

    @property
    def distance(self) -> torch.Tensor:
        """Of the cube's centre along each optical axis, float32 [B, V]."""
        return torch.einsum("bvj,bvj->bv", self.rotation[:, :, 2], self.position)


@dataclass(frozen=True, kw_only=True)
class Surfaces:
    """What `ViewNet` says: depth relative to the cube's centre, its log error [B, V, P, P], normals [B, V, 3, P, P]."""

    depth: torch.Tensor
    spread: torch.Tensor
    normal: torch.Tensor


class Prior(torch.nn.Module):
    """The three networks and the lifting between them.

    Args:
        config: Widths.
        grid: Cells along the fine grid's side; the coarse one has half as many.
    """

    def __init__(self, config: NetConfig | None = None, *, grid: int = 128) -> None:
        super().__init__()
        config = NetConfig() if config is None else config
        self.config, self.grid = config, grid
        self.view, self.coarse, self.fine = ViewNet(config), CoarseNet(config), FineNet(config)

    def forward(self, seen: Seen) -> tuple[torch.Tensor, torch.Tensor, Surfaces]:
        """Fine and coarse signed distance in their limits, float32 [B, N, N, N] by x, y, z, and the views' surfaces."""
        kind = seen.mask.device.type
        with torch.no_grad(), torch.autocast(kind, enabled=False):
            layers = blurred(seen.mask)
            outlines = self.outlines(seen, layers)
        surfaces = self.surfaces(seen, layers)
        with torch.no_grad(), torch.autocast(kind, enabled=False):
            cells = self.cells(seen, layers, surfaces)
        last = torch.channels_last_3d
        coarse, features = self.coarse(cells.contiguous(memory_format=last))
        fine = self.fine(coarse, features, outlines.contiguous(memory_format=last))
        return fine, coarse[:, 0], surfaces

    def surfaces(self, seen: Seen, layers: torch.Tensor) -> Surfaces:
        """Each view's surface; pictures of empty slots are looked at too and lifted as nothing."""
        count = len(seen.present)
        soft = functional.avg_pool2d(layers[:, :, 1], MASK_SIZE // PICTURE_SIZE)
        pictures = torch.cat([seen.picture, soft[:, :, None]], 2).flatten(0, 1)
        assert pictures.shape[1] == PICTURE_CHANNELS
        slots = torch.arange(VIEWS, device=pictures.device).repeat(count)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        out = self.view(pictures, slots)
        out = out.view(count, VIEWS, *out.shape[1:])
        normal = functional.normalize(out[:, :, 2:], dim=2, eps=1e-4)
        return Surfaces(depth=out[:, :, 0], spread=out[:, :, 1].clamp(-6, 1), normal=normal)

    def cells(self, seen: Seen, layers: torch.Tensor, surfaces: Surfaces) -> torch.Tensor:
        """The coarse network's input [B, C, N, N, N]. Surfaces are taken as they are: no gradient flows into them."""
        count, side = len(seen.present), self.grid // 2
        points = cube(side, layers.device)
        place, z = project(seen, points)
        masks = _looked_up(layers, place)
        maps = torch.cat([surfaces.depth[:, :, None], surfaces.spread[:, :, None], surfaces.normal], 2)
        maps = _looked_up(maps, place)
        behind = maps[:, :, 0] - (seen.distance[..., None] - z)
        there = seen.present[..., None]
        on = (masks[:, :, 0] > 0.5) * there
        distance = (behind / -_REACH).clamp(-1, 1) * on
        sure = torch.exp(-20.0 * torch.exp(maps[:, :, 1])) * on
        world = torch.einsum("bvij,bvim->bvjm", seen.rotation, maps[:, :, 2:]) * on[:, :, None]
        # Where there is no view everything may be solid.
        masks = 1 - (1 - masks) * there[:, :, None]
        own = torch.cat([masks, distance[:, :, None], sure[:, :, None], world], 2).flatten(1, 2)
        share = seen.present.mean(1)[:, None, None].expand(-1, 1, len(points))
        where = (points.T / HALF).expand(count, -1, -1)
        both = torch.cat([own, masks.amin(1), masks[:, :, 1].mean(1, keepdim=True), share, where], 1)
        return both.view(count, -1, side, side, side)

    def outlines(self, seen: Seen, layers: torch.Tensor) -> torch.Tensor:
        """The least of two blurs over the views in the eight parts of each coarse cell, [B, 16, N, N, N]."""
        side, device = self.grid // 2, str(layers.device)
        count = len(seen.present)
        least = torch.empty((count * 16, side, side, side), device=layers.device)
        inputs = [
            wp.from_torch(layers.flatten(0, 1).contiguous()),
            wp.from_torch(seen.present.contiguous()),
            wp.from_torch(seen.rotation.contiguous(), dtype=wp.mat33),
            wp.from_torch(seen.position.contiguous(), dtype=wp.vec3),
            wp.from_torch(seen.lens.contiguous(), dtype=wp.vec3),
            HALF,
        ]

        def launch(start: int) -> None:
            # A launch on a CPU takes one core: slabs go to threads.
            part = least[:, start : start + depth]
            wp.launch(least_kernel, (count, *part.shape[1:]), [*inputs, start], [wp.from_torch(part)], device=device)

        if layers.device.type == "cpu":
            depth = max(1, side // 16)
            map_threads(launch, range(0, side, depth))
        else:
            depth = side
            with wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(layers.device))):
                launch(0)
        return least.view(count, 16, side, side, side)


@lru_cache(maxsize=8)
def cube(side: int, device: torch.device) -> torch.Tensor:
    """Centres of the cells, float32 [side ** 3, 3], z fastest."""
    line = (torch.arange(side, device=device) + 0.5) / side * (2 * HALF) - HALF
    return torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).view(-1, 3)


def project(seen: Seen, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where points [K, 3] lie in each picture: float32 [B, V, K, 2] in -1..1, x right and y down, and z [B, V, K]."""
    local = torch.einsum("bvij,kj->bvik", seen.rotation, points)
    local = local - torch.einsum("bvij,bvj->bvi", seen.rotation, seen.position)[..., None]
    z = (-local[:, :, 2]).clamp(min=1e-3)
    focal = seen.lens[:, :, 0, None]
    x = focal * local[:, :, 0] / z + seen.lens[:, :, 1, None]
    y = focal * local[:, :, 1] / z + seen.lens[:, :, 2, None]
    return torch.stack([x, -y], -1), z


def blurred(masks: torch.Tensor) -> torch.Tensor:
    """Masks [B, V, M, M] blurred three ways: [B, V, 3, M, M]."""
    size = masks.shape[-1]
    flat = masks.reshape(-1, 1, size, size)
    layers = []
    for sigma in _BLURS:
        radius = int(3 * sigma)
        steps = torch.arange(-radius, radius + 1, device=masks.device, dtype=torch.float32)
        kernel = torch.exp(-(steps**2) / (2 * sigma**2))
        kernel = (kernel / kernel.sum()).to(flat.dtype)
        rows = functional.conv2d(functional.pad(flat, (radius, radius, 0, 0)), kernel.view(1, 1, 1, -1))
        layers.append(functional.conv2d(functional.pad(rows, (0, 0, radius, radius)), kernel.view(1, 1, -1, 1)))
    return torch.cat(layers, 1).view(*masks.shape[:2], len(_BLURS), size, size)


def _looked_up(maps: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Bilinear: maps [B, V, C, H, W] at places [B, V, K, 2] gives [B, V, C, K]; nothing lies beyond the picture."""
    count, views, channels = maps.shape[:3]
    found = functional.grid_sample(
        maps.flatten(0, 1), place.to(maps.dtype).flatten(0, 1)[:, None], align_corners=False, padding_mode="zeros"
    )
    return found.view(count, views, channels, -1)
