"""One level: a surface on a grid of one size, fitted to pictures of one size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from meshwright.geometry.tetra import Capacity, CubeField, ShapeField, Surface, TetraField, laplacian, unevenness
from meshwright.models.nvdiffrec.losses import (
    colour_loss,
    light_whiteness,
    mask_loss,
    material_smoothness,
    over_background,
    random_background,
)
from meshwright.models.nvdiffrec.stage_one.config import StageLevel, StageOneConfig
from meshwright.models.nvdiffrec.stage_one.depths import KnownDepth
from meshwright.models.nvdiffrec.stage_one.descent import SmoothDescent
from meshwright.models.nvdiffrec.stage_one.pictures import linear_targets, picture_size
from meshwright.models.nvdiffrec.stage_one.scene import Rendered, Scene
from meshwright.models.stepping_down import Load, is_out_of_memory, lighter
from meshwright.types import Array, View

__all__ = ["LevelFit", "cell_of", "leaves_kept", "put_leaves"]

_COUNT = 25
"""Steps on a GPU between two looks at how large the surface has become."""
_ROOM = 1.3
"""So many times as large it may become until then."""
_LEAST = 0.1
"""The share of the first rates that is left in the last step."""


def cell_of(field: ShapeField) -> float:
    """Edge of the cells, world units."""
    assert isinstance(field, TetraField | CubeField)
    return field.lattice.cell


def edges_of(field: ShapeField) -> torch.Tensor:
    """Neighbours on the lattice, int32 [E, 2]."""
    assert isinstance(field, TetraField | CubeField)
    return field.lattice.edges


def leaves_kept(field: ShapeField) -> list[Array]:
    """What is fitted of a field, on the host; with the lattice that is all of it."""
    return [leaf.detach().cpu().numpy() for leaf in field.leaves()]


@torch.no_grad()
def put_leaves(field: ShapeField, kept: Sequence[Array]) -> None:
    """The other way."""
    for leaf, values in zip(field.leaves(), kept, strict=True):
        leaf.copy_(torch.from_numpy(values))


class LevelFit:
    """Steps of Adam on one field.

    All that is random follows from the seed, the level and the step: a fit that goes on is the one that never stopped.
    """

    def __init__(
        self,
        scene: Scene,
        field: ShapeField,
        views: Sequence[View],
        config: StageOneConfig,
        index: int,
        depth: KnownDepth | None = None,
    ) -> None:
        self.scene, self.field, self.config, self.index = scene, field, config, index
        self.known = depth
        self.level: StageLevel = config.levels[index]
        self.cell = cell_of(field)
        # A bend of so many cells costs more the coarser they are: as it is, thin parts would go before they are found.
        self.evenness = config.laplacian_weight * (self.level.cells / config.levels[-1].cells) ** 2
        self.views = views
        device = scene.device
        self._take_on(self._wanted())
        self.generator = torch.Generator(device=device)
        sdf, *others = field.leaves()
        self.descent = SmoothDescent(sdf, edges_of(field), config.spread)
        self.capacity: Capacity | None = None
        rates = [
            {"params": others, "lr": config.offset_rate},
            {"params": list(scene.volume.parameters()), "lr": config.colour_rate, "eps": 1e-12},
        ]
        if scene.light is not None:
            rates.append({"params": list(scene.light.parameters()), "lr": config.light_rate})
        self.optimiser = torch.optim.Adam(rates, betas=(0.9, 0.98))
        self.rates = [float(group["lr"]) for group in self.optimiser.param_groups]
        self.losses: list[torch.Tensor] = []
        self.seconds = 0.0

    def _take_on(self, load: Load) -> None:
        """From now on steps look at so many views, in pictures of that size."""
        self.load = load
        self.width, self.height = picture_size(self.views, load.pixels)
        self.target = linear_targets(self.views, self.width, self.height, str(self.scene.device))
        self.depth = None if self.known is None else self.known.at(self.width, self.height, self.scene.device)
        # Means are over whole pictures; a loss should not depend on how much of them the object fills.
        self.filled = max(float((self.target[..., 3] > 0).float().mean()), 1e-3)
        self.order = self._order(len(self.views), load.at_once).to(self.scene.device)

    def _order(self, count: int, at_once: int) -> torch.Tensor:
        """Which views each step looks at, int64 [steps, views at once]: all of them before any of them again."""
        generator = torch.Generator().manual_seed(self.config.seed * 1009 + self.index)
        rounds = math.ceil(self.level.steps * at_once / count)
        order = torch.cat([torch.randperm(count, generator=generator) for _ in range(rounds)])
        return order[: self.level.steps * at_once].view(-1, at_once)

    @property
    def taken(self) -> int:
        """How many steps there were."""
        return len(self.losses)

    def _rest(self) -> float:
        """Of the first rates, in this step."""
        return _LEAST + (1 - _LEAST) * (0.5 + 0.5 * math.cos(math.pi * self.taken / self.level.steps))

    def step(self) -> None:
        """One step; a GPU is waited for in one of 25, for the size of the surface."""
        share = self._rest()
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
        self.generator.manual_seed((self.config.seed * 1009 + self.index) * 100_003 + self.taken)
        loss, shown = self._loss(self.order[self.taken])
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.descent.step(self.level.move * self.cell * share)
        if self.scene.light is not None:
            self.scene.light.clamp_()
        self.losses.append(shown)

    def _loss(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What is minimised, and the part of it that pictures have."""
        config, scene = self.config, self.scene
        surface = self._surface()
        shown = scene.render(surface, chosen, self.height, self.width)
        picture = shown.picture
        wanted = self.target.index_select(0, chosen)
        ground = random_background(len(chosen), scene.device, self.generator)
        colour = colour_loss(over_background(picture, ground), over_background(wanted, ground))
        data = (colour + config.mask_weight * mask_loss(picture[..., 3:], wanted[..., 3:])) / self.filled
        if self.depth is not None:
            data = data + config.depth_weight * self.depth.loss(shown.depth, shown.seen, chosen)
        loss = data + config.sign_weight * self.field.sign_changes(surface)
        # First found, then made even: thin parts would not come out of an even surface.
        evenness = self.evenness * (1 + _LEAST - self._rest())
        loss = loss + evenness * laplacian(surface.vertices, surface.faces) / self.cell**2
        if config.extractor == "cubes":
            loss = loss + config.uneven_weight * unevenness(surface) / self.cell
        if scene.light is not None:
            loss = loss + self._plainness(shown)
        return loss, data.detach()

    def _surface(self) -> Surface:
        """The mesh. On a GPU in tensors that are large enough for what it may become within a few steps."""
        if self.scene.device.type != "cpu" and (self.capacity is None or self.taken % _COUNT == 0):
            surface = self.field.surface()
            vertices, faces = len(surface.vertices), len(surface.faces)
            self.capacity = Capacity(vertices=int(_ROOM * vertices) + 1024, faces=int(_ROOM * faces) + 1024)
            return surface
        return self.field.surface(capacity=self.capacity)

    def _plainness(self, shown: Rendered) -> torch.Tensor:
        """Materials change little, light is white: what pictures leave open between the two."""
        assert self.scene.light is not None
        kd, ks = material_smoothness(
            self.scene.volume, shown.points, shown.materials, reach=self.cell, generator=self.generator
        )
        white = light_whiteness(self.scene.light.texels)
        return self.config.smooth_weight * (kd + ks) + self.config.white_weight * white

    def run(self, say: Callable[[int], None], keep: Callable[[], None], clock: Callable[[], float]) -> None:
        """All steps that were not taken yet; where a device has too little memory for one, it is tried with less.

        Args:
            say: Hears which step comes; may raise.
            keep: Called between steps, where `state` is all that there is.
            clock: Seconds.
        Raises:
            VramError: There is too little memory for the least that makes sense.
        """
        while self.taken < self.level.steps:
            say(self.taken)
            begun = clock()
            try:
                self.step()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self.optimiser.zero_grad()
                self.capacity = None
                self._take_on(lighter(self.load, error))
                continue
            self.seconds += clock() - begun
            keep()

    def report(self) -> dict[str, object]:
        """JSON-able; waits for the device."""
        losses = torch.stack(self.losses).cpu().numpy()
        few = max(1, len(losses) // 8)
        return {
            "cells": self.level.cells,
            "pixels": self.level.pixels,
            "steps": len(losses),
            "loss_first": round(float(losses[:few].mean()), 6),
            "loss_last": round(float(losses[-few:].mean()), 6),
            "seconds": round(self.seconds, 3),
            **({} if self.load == self._wanted() else {"stepped_down": asdict(self.load)}),
        }

    def _wanted(self) -> Load:
        """What steps look at where memory is enough."""
        return Load(at_once=min(self.config.views_at_once, len(self.views)), pixels=self.level.pixels)

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on besides the lattice and the scene, on the host."""
        adam = self.optimiser.state_dict()["state"]
        return {
            "leaves": leaves_kept(self.field),
            "adam": [
                {name: np.asarray(value.cpu().numpy()) for name, value in adam[index].items()} for index in sorted(adam)
            ],
            "descent": self.descent.state(),
            "losses": torch.stack(self.losses).cpu().numpy() if self.losses else np.zeros(0, np.float32),
            "seconds": self.seconds,
            "load": [self.load.at_once, self.load.pixels],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state`; materials and light are the scene's."""
        at_once, pixels = (int(number) for number in state["load"])
        if (at_once, pixels) != (self.load.at_once, self.load.pixels):
            self._take_on(Load(at_once=at_once, pixels=pixels))
        put_leaves(self.field, state["leaves"])
        self.descent.restore(state["descent"])
        adam = [{name: torch.from_numpy(value) for name, value in entry.items()} for entry in state["adam"]]
        self.optimiser.load_state_dict(
            {"state": dict(enumerate(adam)), "param_groups": self.optimiser.state_dict()["param_groups"]}
        )
        self.losses = list(torch.from_numpy(state["losses"]).to(self.scene.device))
        self.seconds = float(state["seconds"])
