"""What the views say of each cell of a grid: masks, surfaces and normals, lifted through the cameras.

Letters: B objects, V = 6 slots, M side of masks, P side of pictures, N cells along a side of the cube -HALF..HALF.
The world frame here is the object's: longest side about 1, box centred. Signed distances are negative inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as functional

from meshwright._warp import wp
from meshwright.device import map_threads
from meshwright.models.reconviagen.kernels import front_kernel, start_kernel
from meshwright.models.reconviagen.network import (
    COARSE_LIMIT,
    FINE_LIMIT,
    PICTURE_CHANNELS,
    SURFACE_CHANNELS,
    VIEWS,
    CoarseNet,
    FineNet,
    NetConfig,
    ViewNet,
    unfolded,
)

__all__ = ["HALF", "MASK_SIZE", "PICTURE_SIZE", "Prior", "Seen", "Surfaces"]

HALF = 0.6
"""The cube that is looked at spans -HALF..HALF."""
MASK_SIZE, PICTURE_SIZE = 256, 128
_BLURS = (1.0, 4.0, 12.0)
"""Standard deviations in pixels of a mask: near an outline a blurred mask is a signed distance."""
_REACH = 0.15
"""Distances to a view's surface are cut off here."""
_GRAZING = 0.15
"""Least cosine between a surface and the view that sees it."""
_KNOWN = -3.0
"""How much less, as a logarithm, a depth that is known is doubted at first."""
_STEPS = 96
"""Samples along each pixel's ray through the hull."""


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
    """What `ViewNet` says.

    Attributes:
        depth: Relative to the cube's centre, positive towards the camera, float32 [B, V, P, P].
        spread: Log of its likely error, float32 [B, V, P, P].
        normal: In camera axes, unit length, float32 [B, V, 3, P, P].
        features: What else it hands on, float32 [B, V, F, P, P].
    """

    depth: torch.Tensor
    spread: torch.Tensor
    normal: torch.Tensor
    features: torch.Tensor


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
            fronts = self.fronts(seen, layers)
        surfaces = self.surfaces(seen, layers, fronts)
        with torch.autocast(kind, enabled=False):
            within = self.start(seen, layers, surfaces)
            begun = within[:, 16:]
            cells = self.cells(seen, layers, surfaces, begun.mean(1, keepdim=True))
        last = torch.channels_last_3d
        lacks, features = self.coarse(cells.contiguous(memory_format=last))
        finer = self.fine(features, within.contiguous(memory_format=last))
        coarse = begun.mean(1, keepdim=True) / COARSE_LIMIT + lacks
        fine = begun / FINE_LIMIT + lacks * (COARSE_LIMIT / FINE_LIMIT) + finer
        return unfolded(fine), coarse[:, 0], surfaces

    def surfaces(self, seen: Seen, layers: torch.Tensor, fronts: torch.Tensor) -> Surfaces:
        """Each view's surface; pictures of empty slots are looked at too and lifted as nothing."""
        count = len(seen.present)
        soft = functional.avg_pool2d(layers[:, :, 1], MASK_SIZE // PICTURE_SIZE)
        pictures = torch.cat([seen.picture, soft[:, :, None], fronts], 2).flatten(0, 1)
        assert pictures.shape[1] == PICTURE_CHANNELS
        slots = torch.arange(VIEWS, device=pictures.device).repeat(count)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        out = self.view(pictures, slots)
        out = out.view(count, VIEWS, *out.shape[1:])
        towards, known = seen.picture[:, :, 4], seen.picture[:, :, 5]
        normal = functional.normalize(out[:, :, 2:SURFACE_CHANNELS], dim=2, eps=1e-4)
        return Surfaces(
            depth=out[:, :, 0] + torch.where(known > 0.5, towards, fronts[:, :, 0]),
            spread=(out[:, :, 1] + _KNOWN * (known > 0.5)).clamp(-7, 1),
            normal=normal,
            features=out[:, :, SURFACE_CHANNELS:],
        )

    def cells(self, seen: Seen, layers: torch.Tensor, surfaces: Surfaces, begun: torch.Tensor) -> torch.Tensor:
        """The coarse network's input [B, C, N, N, N]. What follows teaches the view network only its features."""
        count, side = len(seen.present), self.grid // 2
        points = cube(side, layers.device)
        there = seen.present[..., None]
        with torch.no_grad():
            place, z = project(seen, points)
            masks = _looked_up(layers, place)
            flat = [surfaces.depth[:, :, None], surfaces.spread[:, :, None], surfaces.normal, seen.picture[:, :, 1:4]]
            maps = _looked_up(torch.cat(flat, 2), place)
            behind = maps[:, :, 0] - (seen.distance[..., None] - z)
            on = (masks[:, :, 0] > 0.5) * there
            distance = (behind / -_REACH).clamp(-1, 1) * on
            sure = torch.exp(-20.0 * torch.exp(maps[:, :, 1])) * on
            world = torch.einsum("bvij,bvim->bvjm", seen.rotation, maps[:, :, 2:5]) * on[:, :, None]
            colours = maps[:, :, 5:] * there[:, :, None]
            # Where there is no view everything may be solid.
            masks = 1 - (1 - masks) * there[:, :, None]
        features = _looked_up(surfaces.features, place) * there[:, :, None]
        own = [masks, distance[:, :, None], sure[:, :, None], world, colours, features]
        share = seen.present.mean(1)[:, None, None].expand(-1, 1, len(points))
        where = (points.T / HALF).expand(count, -1, -1)
        shared = [masks.amin(1), masks[:, :, 1].mean(1, keepdim=True), share, where]
        shared.append(begun.flatten(2) / _REACH)
        both = torch.cat([torch.cat(own, 2).flatten(1, 2), *shared], 1)
        return both.view(count, -1, side, side, side)

    def fronts(self, seen: Seen, layers: torch.Tensor) -> torch.Tensor:
        """Where each pixel's ray enters the hull, how thick that is, and whether it meets it, [B, V, 3, P, P].

        Depth is relative to the cube's centre, positive towards the camera.
        """
        device = str(layers.device)
        count = len(seen.present) * VIEWS
        fronts = torch.empty((count, 3, PICTURE_SIZE, PICTURE_SIZE), device=layers.device)
        inputs = [*_warp_views(seen, layers), HALF, _STEPS]

        def launch(start: int) -> None:
            part = fronts[start : start + step]
            size = (len(part), PICTURE_SIZE, PICTURE_SIZE)
            wp.launch(front_kernel, size, [*inputs, start], [wp.from_torch(part)], device=device)

        step = 1 if layers.device.type == "cpu" else count
        _launched(launch, range(0, count, step), layers.device)
        return fronts.view(-1, VIEWS, 3, PICTURE_SIZE, PICTURE_SIZE)

    @torch.no_grad()
    def start(self, seen: Seen, layers: torch.Tensor, surfaces: Surfaces) -> torch.Tensor:
        """What is known in the eight parts of each coarse cell before anything is learned, [B, 24, N, N, N].

        Least of two blurs of the masks over the views, and the signed distance (in lengths of the object, positive
        outside) to what the outlines and the surfaces that the views see leave.
        """
        side, count = self.grid // 2, len(seen.present)
        begun = torch.empty((count * 24, side, side, side), device=layers.device)
        likely = torch.exp(surfaces.spread)
        cosine = surfaces.normal[:, :, 2].clamp(min=_GRAZING)
        maps = torch.stack([surfaces.depth, likely, cosine, seen.picture[:, :, 0]], 2).float().flatten(0, 1)
        masks, *cameras = _warp_views(seen, layers)
        inputs = [masks, wp.from_torch(maps.contiguous()), *cameras, HALF, _REACH]

        def launch(start: int) -> None:
            part = begun[:, start : start + depth]
            wp.launch(start_kernel, (count, *part.shape[1:]), [*inputs, start], [wp.from_torch(part)], device=device)

        device = str(layers.device)
        depth = max(1, side // 16) if layers.device.type == "cpu" else side
        _launched(launch, range(0, side, depth), layers.device)
        return begun.view(count, 24, side, side, side)


def _warp_views(seen: Seen, layers: torch.Tensor) -> list[Any]:
    """Masks and cameras as the kernels take them."""
    return [
        wp.from_torch(layers.flatten(0, 1).contiguous()),
        wp.from_torch(seen.present.contiguous()),
        wp.from_torch(seen.rotation.contiguous(), dtype=wp.mat33),
        wp.from_torch(seen.position.contiguous(), dtype=wp.vec3),
        wp.from_torch(seen.lens.contiguous(), dtype=wp.vec3),
    ]


def _launched(launch: Callable[[int], None], parts: range, device: torch.device) -> None:
    """A launch on a CPU takes one core: there its parts go to threads; on a GPU there is one, on torch's stream."""
    if device.type == "cpu":
        map_threads(launch, parts)
        return
    with wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(device))):
        for part in parts:
            launch(part)


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
