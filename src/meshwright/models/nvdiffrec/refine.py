"""Refinement: surface, cameras and texture fitted together to the views through the differentiable rasteriser.

The mesh is not moved vertex by vertex: a lattice bends the space around it, coarse first, so that triangles keep their
shape and nothing folds over. A texture is fitted along, at the resolution of the pictures compared: finer, its texels
would part among contradicting views, and nothing would pull them together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from meshwright.models.nvdiffrec.config import Level, RefineConfig
from meshwright.models.nvdiffrec.descent import UniformAdam
from meshwright.models.nvdiffrec.lattice import FOLD_FREE, Lattice, apply, lattice_around, on_device
from meshwright.models.nvdiffrec.poses import PoseCorrections
from meshwright.models.nvdiffrec.targets import shrunk, targets_of
from meshwright.rendering import ops
from meshwright.types import Array, Camera, Mesh, Monitor, TexturedMesh, View

__all__ = ["Refinement", "refine"]

_LOOK = 5
"""Steps between two looks at whether anything is still gained."""
_GAIN = 0.002
"""A share of the loss that counts as a gain."""
_PATIENCE = 3
"""Looks without a gain after which a level ends."""


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """What was found.

    Attributes:
        fields: Lattices and their control displacements, float64 [count, 3] each, world units; their sum, taken at
            where the surface was, moves it.
        cameras: The corrected cameras.
        report: JSON-able: losses by level, largest movements.
    """

    fields: tuple[tuple[Lattice, Array], ...]
    cameras: tuple[Camera, ...]
    report: dict[str, object]

    def moved(self, mesh: Mesh) -> Mesh:
        """A mesh of the object as it was, moved."""
        vertices = mesh.vertices.astype(np.float64)
        total = sum(
            (lattice.weights(vertices) @ controls for lattice, controls in self.fields), np.zeros_like(vertices)
        )
        return replace(mesh, vertices=(vertices + total).astype(np.float32))


class _Scene:
    """What stays the same over all levels."""

    def __init__(self, textured: TexturedMesh, cameras: Sequence[Camera], room: Array, device: str) -> None:
        mesh = textured.mesh
        self.device = device
        self.rest = torch.tensor(mesh.vertices, dtype=torch.float32, device=device)
        self.faces = torch.tensor(mesh.faces.astype(np.int32), device=device)
        self.uv = torch.tensor(textured.uv, dtype=torch.float32, device=device)
        self.uv_faces = torch.tensor(textured.uv_faces.astype(np.int32), device=device)
        self.topology = ops.build_topology(self.faces)
        self.size = float((room.max(0) - room.min(0)).max())
        self.room = room
        self.poses = PoseCorrections(cameras, (room.max(0) + room.min(0)) / 2, device)

    def render(
        self, vertices: torch.Tensor, texture: torch.Tensor, views: torch.Tensor, height: int, width: int
    ) -> torch.Tensor:
        """Colour times cover, and cover: [N, height, width, 4], smooth along outlines."""
        clip = self.poses(vertices)[views]
        seen, _ = ops.rasterize(clip, self.faces, (height, width), derivatives=False)
        place, _ = ops.interpolate(self.uv, seen, self.uv_faces)
        cover = (seen[..., 3:] > 0).float()
        colour = ops.texture(texture, place, filter="linear", boundary="clamp") * cover
        return ops.antialias(torch.cat([colour, cover], -1), seen, clip, self.faces, self.topology)


def refine(
    textured: TexturedMesh,
    room: Array,
    views: Sequence[View],
    cameras: Sequence[Camera],
    *,
    doubt: float,
    free_cameras: bool,
    config: RefineConfig,
    monitor: Monitor,
    device: str,
) -> Refinement:
    """Fit surface and cameras to the views.

    Args:
        textured: A light mesh of the object with a first texture.
        room: Points that the deformation must cover, [P, 3]: the vertices of the mesh that will be moved.
        views: Pictures with masks.
        cameras: One per view.
        doubt: How far the surface may be wrong, as a share of the longest side: moving it by this costs
            `anchor_weight`.
        free_cameras: Whether cameras may move.
        config: See `RefineConfig`.
        monitor: Asked to stop before every step; hears progress.
        device: "cpu" or a CUDA device.
    Raises:
        Cancelled: The monitor wants to stop.
    """
    scene = _Scene(textured, cameras, room, device)
    generator = torch.Generator().manual_seed(config.seed)
    fields: list[tuple[Lattice, Array]] = []
    displaced = torch.zeros_like(scene.rest)
    levels = []
    done, total = 0, sum(level.steps for level in config.levels)
    for level in config.levels:

        def say(step: int, before: int = done) -> None:
            monitor.check()
            monitor.report(100 * (before + step) / total, "Refining shape and cameras")

        lattice = lattice_around(room, level.cell * scene.size)
        fitted = _Fit(scene, lattice, level, textured, views, displaced, doubt, config, free_cameras, generator)
        levels.append(fitted.run(say))
        displaced = fitted.displaced()
        fields.append((lattice, fitted.controls.detach().double().cpu().numpy()))
        done += level.steps
    moved = displaced.norm(dim=1) / scene.size
    report: dict[str, object] = {
        "levels": levels,
        "moved_mean": round(float(moved.mean()), 6),
        "moved_most": round(float(moved.max()), 6),
        "cameras_moved": free_cameras,
    }
    return Refinement(fields=tuple(fields), cameras=scene.poses.cameras(), report=report)


class _Fit:
    """One level."""

    def __init__(
        self,
        scene: _Scene,
        lattice: Lattice,
        level: Level,
        textured: TexturedMesh,
        views: Sequence[View],
        displaced: torch.Tensor,
        doubt: float,
        config: RefineConfig,
        free_cameras: bool,
        generator: torch.Generator,
    ) -> None:
        self.scene, self.lattice, self.level, self.config = scene, lattice, level, config
        self.before, self.generator = displaced, generator
        self.doubt = doubt * scene.size
        longest = max(max(view.width, view.height) for view in views)
        share = min(1.0, level.pixels / longest)
        self.width, self.height = (max(8, round(side * share)) for side in (views[0].width, views[0].height))
        self.target = targets_of(views, self.width, self.height, scene.device)
        # One texel per pixel compared, or there would be texels that only one of two contradicting views sees.
        side = max(64, round(textured.base_color_srgb.shape[0] * share))
        picture = shrunk(textured.base_color_srgb[::-1].astype(np.float32) / 255, side, side)
        self.texture = torch.nn.Parameter(torch.from_numpy(picture)[None].to(scene.device).contiguous())
        self.controls = torch.nn.Parameter(torch.zeros(lattice.count, 3, device=scene.device))
        self.weights = on_device(lattice.weights(scene.rest.cpu().numpy()), scene.device)
        self.field = UniformAdam(self.controls, level.move * scene.size)
        self.cameras = [UniformAdam(p, level.turn) for p in scene.poses.parameters()] if free_cameras else []
        self.colours = torch.optim.Adam([self.texture], lr=config.texture_rate, betas=(0.9, 0.98))
        self.covered = float((self.target[..., 3] > 0).sum()) / len(views)

    def displaced(self) -> torch.Tensor:
        """Where the surface is now, less where it was at first, [V, 3]."""
        with torch.no_grad():
            return self.before + apply(self.weights, self.controls)

    def run(self, say: Callable[[int], None]) -> dict[str, object]:
        """All steps; the state with the lowest loss stays."""
        count = len(self.target)
        best, best_loss, waited, taken = self._state(), math.inf, 0, 0
        first = math.nan
        recent: list[torch.Tensor] = []
        for step in range(self.level.steps):
            say(step)
            chosen = self._chosen(step, count)
            loss, held = self._loss(chosen)
            loss.backward()  # type: ignore[no-untyped-call]
            recent.append(held)
            share = 0.5 + 0.5 * math.cos(math.pi * step / self.level.steps)
            self.field.step(share)
            for camera in self.cameras:
                camera.step(share)
            self.colours.step()
            self.colours.zero_grad()
            with torch.no_grad():
                self.texture.clamp_(0, 1)
                reach = FOLD_FREE * self.lattice.cell
                self.controls.clamp_(-reach, reach)
            taken = step + 1
            if taken % _LOOK == 0 or taken == self.level.steps:
                # Only here the host waits for the device.
                now = float(torch.stack(recent).mean())
                recent.clear()
                first = now if math.isnan(first) else first
                waited = 0 if now < best_loss * (1 - _GAIN) else waited + 1
                if now < best_loss:
                    best, best_loss = self._state(), now
                if waited >= _PATIENCE:
                    break
        self._restore(best)
        return {
            "pixels": self.level.pixels,
            "cell": self.level.cell,
            "steps": taken,
            "loss_first": round(first, 6),
            "loss_best": round(best_loss, 6),
        }

    def _chosen(self, step: int, count: int) -> torch.Tensor:
        if count <= self.config.views_at_once:
            return torch.arange(count, device=self.scene.device)
        order = torch.randperm(count, generator=self.generator)[: self.config.views_at_once]
        return order.to(self.scene.device)

    def _loss(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        config = self.config
        moved = apply(self.weights, self.controls)
        vertices = self.scene.rest + self.before + moved
        shown = self.scene.render(vertices, self.texture, chosen, self.height, self.width)
        wanted = self.target[chosen]
        # Another background each time: what is transparent must not pass for a colour.
        ground = torch.rand(3, generator=self.generator).to(self.scene.device)
        off = shown - wanted
        colour = (off[..., :3] - off[..., 3:] * ground).square().mean(-1)
        outline = off[..., 3].square()
        pixels = self.covered * len(chosen)
        data = (colour + config.mask_weight * outline).sum() / pixels
        anchor = ((self.before + moved) / self.doubt).square().sum(-1).mean()
        held = (
            data
            + config.bending_weight * self.lattice.bending(self.controls)
            + config.anchor_weight * anchor
            + config.camera_weight * self.scene.poses.size()
        )
        return held, held.detach()

    def _state(self) -> list[torch.Tensor]:
        return [p.detach().clone() for p in (self.controls, *self.scene.poses.parameters())]

    @torch.no_grad()
    def _restore(self, state: list[torch.Tensor]) -> None:
        for parameter, value in zip((self.controls, *self.scene.poses.parameters()), state, strict=True):
            parameter.copy_(value)
