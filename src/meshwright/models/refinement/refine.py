"""Refinement: surface, cameras and texture fitted together to the views through the differentiable rasteriser.

The mesh is not moved vertex by vertex: a lattice bends the space around it, coarse first, so that triangles keep their
shape and nothing folds over. A texture is fitted along, at the resolution of the pictures compared: finer, its texels
would part among contradicting views, and nothing would pull them together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from meshwright.models.adam import Adam
from meshwright.models.base import Memory
from meshwright.models.refinement.config import RefineConfig
from meshwright.models.refinement.descent import UniformAdam
from meshwright.models.refinement.diary import Diary
from meshwright.models.refinement.lattice import FOLD_FREE, Lattice, apply, lattice_around, on_device
from meshwright.models.refinement.plan import Part, Plan
from meshwright.models.refinement.poses import PoseCorrections
from meshwright.models.refinement.targets import shrunk, targets_of
from meshwright.models.stepping_down import Load, is_out_of_memory, lighter, said_of
from meshwright.rendering import ops
from meshwright.rendering.ops.choice import is_nvdiffrast
from meshwright.replay import Replay
from meshwright.types import Array, Camera, Mesh, Monitor, TexturedMesh, View

__all__ = ["Refinement", "refine"]

_LOOK = 5
"""Steps between two looks at whether anything is still gained."""
_GAIN = 0.002
"""A share of the loss that counts as a gain."""
_PATIENCE = 3
"""Looks without a gain after which a level ends."""
_WHOLE = 0.99
"""So much cover means that a pixel shows nothing else."""


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """What was found.

    Attributes:
        fields: Lattices and their control displacements, float64 [count, 3] each, world units; their sum, taken at
            where the surface was, moves it.
        cameras: The corrected cameras.
        report: JSON-able: losses by level, largest movements.
        warnings: Plain sentences for the user.
    """

    fields: tuple[tuple[Lattice, Array], ...]
    cameras: tuple[Camera, ...]
    report: dict[str, object]
    warnings: tuple[str, ...] = ()

    def moved(self, mesh: Mesh) -> Mesh:
        """A mesh of the object as it was, moved."""
        vertices = mesh.vertices.astype(np.float64)
        total = sum(
            (lattice.displaced(vertices, controls) for lattice, controls in self.fields), np.zeros_like(vertices)
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
        self._targets: dict[tuple[int, int], torch.Tensor] = {}

    def targets(self, views: Sequence[View], width: int, height: int) -> torch.Tensor:
        """`targets_of` the views; levels of one size share them."""
        if (width, height) not in self._targets:
            self._targets = {(width, height): targets_of(views, width, height, self.device)}
        return self._targets[width, height]

    def render(
        self, vertices: torch.Tensor, texture: torch.Tensor, views: torch.Tensor | None, height: int, width: int
    ) -> torch.Tensor:
        """Colour times cover, and cover: [N, height, width, 4], smooth along outlines; None means all views."""
        clip = self.poses(vertices, views)
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
    memory: Memory | None = None,
    pause_s: float = 10.0,
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
        memory: Where what was reached is kept, and taken from.
        pause_s: Seconds between two times that something is kept.
    Raises:
        Cancelled: The monitor wants to stop.
        VramError: A GPU has too little memory even for one view in small pictures.
    """
    scene = _Scene(textured, cameras, room, device)
    scene.poses.requires_grad_(free_cameras)
    generator = torch.Generator().manual_seed(config.seed)
    fields: list[tuple[Lattice, Array]] = []
    displaced = torch.zeros_like(scene.rest)
    learned: torch.Tensor | None = None
    levels: list[dict[str, object]] = []
    plan = Plan(config, doubt, free_cameras)
    mesh = textured.mesh
    diary = Diary(memory, (mesh.vertices, mesh.faces, textured.uv, textured.uv_faces), pause_s)
    before = diary.begin()
    if before is not None:
        scene.poses.load_state_dict({name: torch.from_numpy(value) for name, value in before["poses"].items()})
        generator.set_state(torch.from_numpy(before["generator"]))
        displaced = torch.from_numpy(before["displaced"]).to(device)
        levels = list(before["levels"])
    index = 0
    while (part := plan.part(index, levels)) is not None:
        level = part.level
        lattice = lattice_around(room, level.cell * scene.size)
        if before is not None and index < len(before["fields"]):
            fields.append((lattice, before["fields"][index]))
            index += 1
            continue

        def say(step: int, part: Part = part) -> None:
            monitor.check()
            monitor.report(part.percent(step), "Refining shape and cameras")

        fitted = _Fit(scene, lattice, part, textured, views, displaced, free_cameras, generator, learned)
        if before is not None and index == len(before["fields"]):
            fitted.restore(before["fit"])

        controls = [controls for _, controls in fields]
        state = partial(_reached, scene, generator, displaced, list(levels), controls, fitted)
        levels.append(fitted.run(say, partial(diary.write, state)))
        displaced, learned = fitted.displaced(), fitted.learned()
        fields.append((lattice, fitted.controls.detach().double().cpu().numpy()))
        index += 1
    stays = plan.settled(levels)
    if stays:
        fields, displaced = [], torch.zeros_like(displaced)
    moved = displaced.norm(dim=1) / scene.size
    report: dict[str, object] = {
        "levels": levels,
        "moved_mean": round(float(moved.mean()), 6),
        "moved_most": round(float(moved.max()), 6),
        "cameras_moved": free_cameras,
        **({"stays": "views agree, and depth is sure"} if stays else {}),
    }
    return Refinement(
        fields=tuple(fields),
        cameras=scene.poses.cameras(),
        report=report,
        warnings=said_of(levels, "shape and cameras were refined"),
    )


def _reached(
    scene: _Scene,
    generator: torch.Generator,
    displaced: torch.Tensor,
    levels: list[dict[str, object]],
    fields: list[Array],
    fit: _Fit,
) -> dict[str, Any]:
    """Everything that the next step depends on: what finished levels found, and where the present one stands."""
    return {
        "poses": {name: value.cpu().numpy() for name, value in scene.poses.state_dict().items()},
        "generator": generator.get_state().numpy(),
        "displaced": displaced.cpu().numpy(),
        "levels": levels,
        "fields": fields,
        "fit": fit.state(),
    }


def _resized(picture: torch.Tensor, side: int) -> torch.Tensor:
    """A picture [1, T, T, C] with so many texels along a side, blended between those it has."""
    if picture.shape[1] == side:
        return picture
    turned = picture.permute(0, 3, 1, 2)
    found = torch.nn.functional.interpolate(turned, size=(side, side), mode="bilinear", align_corners=False)
    return found.permute(0, 2, 3, 1)


class _Fit:
    """One level."""

    def __init__(
        self,
        scene: _Scene,
        lattice: Lattice,
        part: Part,
        textured: TexturedMesh,
        views: Sequence[View],
        displaced: torch.Tensor,
        free_cameras: bool,
        generator: torch.Generator,
        learned: torch.Tensor | None,
    ) -> None:
        level, config = part.level, part.config
        self.scene, self.lattice, self.level, self.config = scene, lattice, level, config
        self.before, self.generator = displaced, generator
        self.doubt = part.doubt * scene.size
        self.textured, self.views, self.known = textured, views, learned
        self.controls = torch.nn.Parameter(torch.zeros(lattice.count, 3, device=scene.device))
        self.weights = on_device(lattice.weights(scene.rest.cpu().numpy()), scene.device)
        self.field = UniformAdam(self.controls, level.move * scene.size)
        self.cameras = [UniformAdam(p, level.turn) for p in scene.poses.parameters()] if free_cameras else []
        self.best, self.best_loss, self.first = self._state(), math.inf, math.nan
        self.waited, self.taken = 0, 0
        # What changes from step to step, for the steps until the next look; and what each of them found.
        self.slot = torch.zeros(1, dtype=torch.int64, device=scene.device)
        self.shares = torch.zeros(_LOOK, device=scene.device)
        self.grounds = torch.zeros(_LOOK, 3, device=scene.device)
        self.losses = torch.zeros(_LOOK, device=scene.device)
        self._take_on(self._wanted())

    def _wanted(self) -> Load:
        """What steps look at where memory is enough."""
        return Load(at_once=min(len(self.views), self.config.views_at_once), pixels=self.level.pixels)

    def _take_on(self, load: Load) -> None:
        """From now on steps look at so many views, in pictures of that size; the texture begins anew."""
        self.load, views, device = load, self.views, self.scene.device
        longest = max(max(view.width, view.height) for view in views)
        share = min(1.0, load.pixels / longest)
        self.width, self.height = (max(8, round(side * share)) for side in (views[0].width, views[0].height))
        self.target = self.scene.targets(views, self.width, self.height)
        # One texel per pixel compared, or there would be texels that only one of two contradicting views sees.
        baked = self.textured.base_color_srgb
        side = max(64, round(baked.shape[0] * share))
        picture = torch.from_numpy(shrunk(baked[::-1].astype(np.float32) / 255, side, side))[None].to(device)
        self.painted = picture.contiguous()
        self.texture = torch.nn.Parameter(self.painted.clone())
        if self.known is not None:
            with torch.no_grad():
                self.texture.add_(_resized(self.known, side)).clamp_(0, 1)
        self.colours = Adam([self.texture], lr=self.config.texture_rate, betas=(0.9, 0.98), capturable=device != "cpu")
        self.covered = float((self.target[..., 3] > 0).sum()) / len(views)
        self.sometimes = load.at_once < len(views)
        self.orders = torch.zeros(_LOOK, load.at_once, dtype=torch.int64, device=device)

    def learned(self) -> torch.Tensor:
        """By what the texture differs from the painted one, [1, T, T, 3]: the next level begins with it."""
        return self.texture.detach() - self.painted

    def displaced(self) -> torch.Tensor:
        """Where the surface is now, less where it was at first, [V, 3]."""
        with torch.no_grad():
            return self.before + apply(self.weights, self.controls)

    def run(self, say: Callable[[int], None], keep: Callable[[], None] = lambda: None) -> dict[str, object]:
        """All steps that were not taken yet; the state with the lowest loss stays.

        Where a device has too little memory for a step, it is tried with less.

        Args:
            say: Hears which step comes; may raise.
            keep: Called between steps, where `state` is all that there is.
        Raises:
            VramError: There is too little memory for the least that makes sense.
        """
        step = self._replayed()
        while self.taken < self.level.steps and self.waited < _PATIENCE:
            say(self.taken)
            keep()
            count = min(_LOOK - self.taken % _LOOK, self.level.steps - self.taken)
            self._prepare(count)
            try:
                for index in range(count):
                    if index > 0:
                        say(self.taken + index)
                    step()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                for parameter in (self.controls, self.texture, *self.scene.poses.parameters()):
                    parameter.grad = None
                step = self._replayed()  # what was recorded goes first, and its memory with it
                self._take_on(lighter(self.load, error))
                self.best_loss, self.waited = math.inf, 0  # losses of other pictures say nothing of these
                continue
            self.taken += count
            # Only here the host waits for the device.
            now = float(self.losses[:count].mean())
            self.first = now if math.isnan(self.first) else self.first
            self.waited = 0 if now < self.best_loss * (1 - _GAIN) else self.waited + 1
            if now < self.best_loss:
                self.best, self.best_loss = self._state(), now
        self._restore(self.best)
        del step  # and what was recorded, whose memory the look below may need
        return {
            "pixels": self.level.pixels,
            "cell": self.level.cell,
            "steps": self.taken,
            "loss_first": round(self.first, 6),
            "loss_best": round(self.best_loss, 6),
            "disagreement": round(self._disagreement(), 6),
            **({} if self.load == self._wanted() else {"stepped_down": asdict(self.load)}),
        }

    @torch.no_grad()
    def _disagreement(self) -> float:
        """Mean squared difference of colours where a pixel shows nothing but the object, in view and render."""
        total, count = self.losses.new_zeros(()), self.losses.new_zeros(())
        vertices = self.scene.rest + self.displaced()
        for start in range(0, len(self.target), self.load.at_once):
            chosen = torch.arange(start, min(start + self.load.at_once, len(self.target)), device=self.scene.device)
            wanted = self.target.index_select(0, chosen)
            shown = self.scene.render(vertices, self.texture, chosen, self.height, self.width)
            whole = (torch.minimum(shown[..., 3], wanted[..., 3]) > _WHOLE).float()
            total += ((shown - wanted)[..., :3].square().mean(-1) * whole).sum()
            count += whole.sum()
        return float(total / count.clamp(min=1))

    def _replayed(self) -> Replay:
        return Replay(self._step, self.scene.device, graphs=self.config.graphs and not is_nvdiffrast())

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, on the host; camera corrections aside."""
        return {
            "controls": self.controls.detach().cpu().numpy(),
            "texture": self.texture.detach().cpu().numpy(),
            "field": self.field.state(),
            "cameras": [camera.state() for camera in self.cameras],
            "colours": {name: value.cpu().numpy() for name, value in self.colours.state[self.texture].items()},
            "best": [value.cpu().numpy() for value in self.best],
            "numbers": [self.best_loss, self.first, self.waited, self.taken],
            "load": [self.load.at_once, self.load.pixels],
        }

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state`; camera corrections are the scene's."""
        at_once, pixels = (int(number) for number in state["load"])
        if (at_once, pixels) != (self.load.at_once, self.load.pixels):
            self._take_on(Load(at_once=at_once, pixels=pixels))
        self.controls.copy_(torch.from_numpy(state["controls"]))
        self.texture.copy_(torch.from_numpy(state["texture"]))
        self.field.restore(state["field"])
        for camera, kept in zip(self.cameras, state["cameras"], strict=True):
            camera.restore(kept)
        for name, value in self.colours.state[self.texture].items():
            value.copy_(torch.from_numpy(state["colours"][name]))
        self.best = [torch.from_numpy(value).to(self.scene.device) for value in state["best"]]
        self.best_loss, self.first = (float(value) for value in state["numbers"][:2])
        self.waited, self.taken = (int(value) for value in state["numbers"][2:])

    def _prepare(self, count: int) -> None:
        """Puts what the next so many steps need where they look for it."""
        grounds, orders = torch.zeros(_LOOK, 3), torch.zeros(_LOOK, self.load.at_once, dtype=torch.int64)
        shares = torch.zeros(_LOOK)
        for index in range(count):
            if self.sometimes:
                orders[index] = torch.randperm(len(self.target), generator=self.generator)[: self.load.at_once]
            # Another background each time: what is transparent must not pass for a colour.
            grounds[index] = torch.rand(3, generator=self.generator)
            shares[index] = 0.5 + 0.5 * math.cos(math.pi * (self.taken + index) / self.level.steps)
        self.grounds.copy_(grounds, non_blocking=True)
        self.orders.copy_(orders, non_blocking=True)
        self.shares.copy_(shares, non_blocking=True)
        self.slot.zero_()

    def _step(self) -> None:
        """One step of everything, all of it on the device."""
        loss = self._loss()
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            self.losses.index_copy_(0, self.slot, loss.detach().view(1))
            share = self.shares.index_select(0, self.slot)
            self.slot += 1
        self.field.step(share)
        for camera in self.cameras:
            camera.step(share)
        self.colours.step()
        self.colours.zero_grad()
        with torch.no_grad():
            self.texture.clamp_(0, 1)
            reach = FOLD_FREE * self.lattice.cell
            self.controls.clamp_(-reach, reach)

    def _loss(self) -> torch.Tensor:
        config = self.config
        chosen = self.orders.index_select(0, self.slot)[0] if self.sometimes else None
        moved = apply(self.weights, self.controls)
        offset = self.before + moved
        shown = self.scene.render(self.scene.rest + offset, self.texture, chosen, self.height, self.width)
        wanted = self.target if chosen is None else self.target.index_select(0, chosen)
        ground = self.grounds.index_select(0, self.slot)
        off = shown - wanted
        colour = (off[..., :3] - off[..., 3:] * ground).square().mean(-1)
        outline = off[..., 3].square()
        pixels = self.covered * self.load.at_once
        data = (colour + config.mask_weight * outline).sum() / pixels
        anchor = (offset / self.doubt).square().sum(-1).mean()
        return (
            data
            + config.bending_weight * self.lattice.bending(self.controls)
            + config.anchor_weight * anchor
            + config.camera_weight * self.scene.poses.size()
        )

    def _state(self) -> list[torch.Tensor]:
        return [p.detach().clone() for p in (self.controls, *self.scene.poses.parameters())]

    @torch.no_grad()
    def _restore(self, state: list[torch.Tensor]) -> None:
        for parameter, value in zip((self.controls, *self.scene.poses.parameters()), state, strict=True):
            parameter.copy_(value)
