"""Hollows that outlines do not show: the hull is filled with a coloured fog, which clears where views contradict it.

A surface feels only what happens where it is. Fog feels every sample along a ray, so a hollow opens wherever the views
agree on what lies behind it. What counts in the end is not where the fog is dense but what is seen through: the inside
of a body is never seen and stays solid, whatever fog is left in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from meshwright.colour import linear_to_srgb
from meshwright.device import map_threads
from meshwright.geometry.volume import Volume
from meshwright.models.nvdiffrec.stage_one.config import CarveConfig
from meshwright.models.refinement.targets import shrunk
from meshwright.rendering.ops.fog import clearance, march_fog
from meshwright.types import Array, Camera, View

__all__ = ["Fog", "carved"]


class Fog:
    """Colour and density on the voxels of a hull.

    Args:
        hull: Of which no voxel but those within, or next to it, may hold fog.
        cells: Along its longest side.
        device: "cpu" or a CUDA device.
    """

    def __init__(self, hull: Volume, cells: int, device: str) -> None:
        size = (np.array(hull.field.shape) - 1) * hull.cell
        self.cell = float(size.max()) / cells
        self.origin = hull.origin
        shape = np.ceil(size / self.cell).astype(int) + 1
        places = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")) * self.cell / hull.cell
        self.hull = ndimage.map_coordinates(hull.field, places, order=1, mode="nearest").astype(np.float32)
        # Blending reaches into the next voxel.
        self.mask = torch.from_numpy((self.hull > -0.9 * self.cell).astype(np.uint8)).to(device)
        self.device = device
        self.colour = torch.full((*shape, 3), 0.5, device=device)
        self.density = torch.zeros((*shape, 1), device=device)

    def grid(self) -> torch.Tensor:
        """As `march_fog` takes it."""
        return torch.cat([self.colour, self.density], -1)

    def take(self, other: Fog) -> None:
        """What a coarser fog found; as dense for a ray as it was."""

        def finer(values: torch.Tensor) -> torch.Tensor:
            planes = values.movedim(-1, 0)[None]
            shape = [int(n) for n in self.mask.shape]
            # Both grids begin at the same point, but end where their own cells do.
            reach = torch.tensor(shape, device=self.device) * 0.0
            for axis in range(3):
                reach[axis] = (shape[axis] - 1) * self.cell / ((values.shape[axis] - 1) * other.cell)
            lines = [torch.linspace(-1, 1, n, device=self.device) for n in shape]
            places = torch.stack(torch.meshgrid(*lines, indexing="ij"), -1)
            places = ((places + 1) * reach - 1).flip(-1)[None]
            found = functional.grid_sample(planes, places, align_corners=True, padding_mode="border")
            return found[0].movedim(0, -1).contiguous()

        self.colour = finer(other.colour)
        share = self.cell / other.cell
        self.density = _raw(functional.softplus(finer(other.density)) * share)


def _raw(extinction: torch.Tensor) -> torch.Tensor:
    """The number whose softplus this is."""
    return extinction + torch.log(-torch.expm1(-extinction.clamp(min=1e-6)))


class _Rays:
    """Every pixel that shows the object."""

    def __init__(self, views: Sequence[View], cameras: Sequence[Camera], pixels: int, device: str) -> None:
        def of_view(pair: tuple[View, Camera]) -> tuple[Array, Array]:
            view, camera = pair
            share = min(1.0, pixels / max(view.width, view.height))
            width, height = (max(8, round(side * share)) for side in (view.width, view.height))
            cover = view.mask[..., None]
            picture = shrunk(np.concatenate([linear_to_srgb(view.rgb) * cover, cover], -1), width, height)
            small = camera.resized(width, height)
            rows, columns = np.nonzero(picture[..., 3] > 0.02)
            local = np.stack(
                [
                    (columns + 0.5 - small.cx) / small.fl_x,
                    -(rows + 0.5 - small.cy) / small.fl_y,
                    -np.ones(len(rows)),
                ],
                1,
            )
            ways = local @ small.camera_to_world[:3, :3].T
            ways /= np.linalg.norm(ways, axis=1, keepdims=True)
            return ways.astype(np.float32), picture[rows, columns]

        found = map_threads(of_view, list(zip(views, cameras, strict=True)))
        self.ways = torch.from_numpy(np.concatenate([ways for ways, _ in found])).to(device)
        self.colours = torch.from_numpy(np.concatenate([colours for _, colours in found])).to(device)
        counts = [len(ways) for ways, _ in found]
        self.view = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(device)


def carved(
    hull: Volume,
    views: Sequence[View],
    cameras: Sequence[Camera],
    config: CarveConfig,
    say: Callable[[float], None],
    device: str,
) -> tuple[Volume, dict[str, object]]:
    """The hull less what the views see through.

    Args:
        hull: Positive inside.
        views, cameras: With masks; one camera per view.
        config: See `CarveConfig`.
        say: Hears the share that is done, before every step; may raise.
        device: "cpu" or a CUDA device.
    Returns:
        A volume on the voxels of the hull, and a report that is JSON-able.
    """
    rays = _Rays(views, cameras, config.pixels, device)
    generator = torch.Generator(device=device)
    total, done = sum(config.steps), 0
    fog: Fog | None = None
    losses: list[torch.Tensor] = []
    for index, (cells, steps) in enumerate(zip(config.cells, config.steps, strict=True)):
        finer = Fog(hull, cells, device)
        if fog is None:
            finer.density += float(_raw(torch.tensor(config.thickness / cells)))
        else:
            finer.take(fog)
        fog = finer
        generator.manual_seed(config.seed * 1009 + index)
        losses += _fit(fog, rays, cameras, config, steps, generator, lambda n, d=done: say((d + n) / total))  # type: ignore[misc]
        done += steps
    assert fog is not None
    say(1.0)
    field = _field(fog, hull, cameras, config)
    few = max(1, len(losses) // 10)
    shown = torch.stack(losses).cpu()
    report: dict[str, object] = {
        "cells": list(config.cells),
        "steps": list(config.steps),
        "loss_first": round(float(shown[:few].mean()), 6),
        "loss_last": round(float(shown[-few:].mean()), 6),
        "carved_share": round(1 - float((field.field > 0).sum()) / max(1, int((hull.field > 0).sum())), 4),
    }
    return field, report


def _stands(fog: Fog, cameras: Sequence[Camera]) -> torch.Tensor:
    places = np.stack([(camera.position - fog.origin) / fog.cell for camera in cameras])
    return torch.tensor(places, dtype=torch.float32, device=fog.device)


def _fit(
    fog: Fog,
    rays: _Rays,
    cameras: Sequence[Camera],
    config: CarveConfig,
    steps: int,
    generator: torch.Generator,
    say: Callable[[int], None],
) -> list[torch.Tensor]:
    """Adam on all voxels; the loss of each step, on the device."""
    stands = _stands(fog, cameras)
    fog.colour.requires_grad_()
    fog.density.requires_grad_()
    optimiser = torch.optim.Adam(
        [{"params": [fog.colour], "lr": config.colour_rate}, {"params": [fog.density], "lr": config.density_rate}],
        betas=(0.9, 0.98),
        eps=1e-12,
    )
    losses = []
    for step in range(steps):
        say(step)
        chosen = torch.randint(len(rays.view), (config.rays,), device=fog.device, generator=generator)
        jitter = torch.rand(config.rays, device=fog.device, generator=generator)
        wanted = rays.colours.index_select(0, chosen)
        origins = stands.index_select(0, rays.view.index_select(0, chosen))
        cover = wanted[:, 3:].clamp(min=0.02)
        seen, apart = march_fog(
            fog.grid(), fog.mask, origins, rays.ways.index_select(0, chosen), jitter, wanted[:, :3] / cover,
            step=config.stride,
        )  # fmt: skip
        data = (seen - wanted).square().sum(1).mean()
        loss = data + config.pure_weight * apart.mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            fog.colour.clamp_(0, 1)
        losses.append(data.detach())
    fog.colour.requires_grad_(False)
    fog.density.requires_grad_(False)
    return losses


def _field(fog: Fog, hull: Volume, cameras: Sequence[Camera], config: CarveConfig) -> Volume:
    """The hull less what is seen through, on the voxels of the hull."""
    within = fog.hull > -fog.cell
    inside = np.argwhere(within)
    voxels = torch.from_numpy(inside.astype(np.int32)).to(fog.device)
    best = clearance(fog.grid(), fog.mask, voxels, _stands(fog, cameras), step=config.stride)
    solid = np.zeros(fog.hull.shape, np.float32)
    solid[within] = np.clip((1 - best[:, 2].cpu().numpy()) / (2 - 2 * config.clear), 0, 1)
    # What lies outside of the hull has no say: blurred with it, thin parts would be lost.
    share = ndimage.gaussian_filter(within.astype(np.float32), config.blur)
    solid = np.where(within, ndimage.gaussian_filter(solid, config.blur) / np.maximum(share, 1e-6), 0)
    solid = np.where(within, solid, ndimage.maximum_filter(solid, 3))
    places = np.stack(np.meshgrid(*(np.arange(n) for n in hull.field.shape), indexing="ij")) * hull.cell / fog.cell
    finer = ndimage.map_coordinates(solid, places, order=1, mode="nearest")
    # From one side of the border to the other in about two cells of the fog.
    return replace(
        hull, field=np.minimum(hull.field, ((finer - 0.5 + 0.5 * config.shift) * 2 * fog.cell).astype(np.float32))
    )
