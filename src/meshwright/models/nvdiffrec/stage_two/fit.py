"""Gradient descent on base colour, roughness, metalness, normals and light until the shaded mesh looks like the views.

Roughness and metalness are told only where a highlight passes, so they begin as one value per vertex, held together
along the surface except where its colour changes; in the second part of the steps they get differences per texel, and
normals too. The base colour is one texel per pixel compared from the start: that of the views, under white light.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from meshwright.colour import from_srgb8
from meshwright.models.adam import Adam
from meshwright.models.nvdiffrec import losses
from meshwright.models.nvdiffrec.appearance.volume import Materials
from meshwright.models.nvdiffrec.stage_two.charts import resized
from meshwright.models.nvdiffrec.stage_two.config import LightingConfig
from meshwright.models.nvdiffrec.stage_two.samples import Samples
from meshwright.rendering import ops
from meshwright.rendering.light import EnvironmentLight, LightMaps, bent_normals, shade_pbr
from meshwright.rendering.ops.choice import is_nvdiffrast
from meshwright.replay import Replay
from meshwright.types import Array, TexturedMesh

__all__ = ["Fit", "Found"]

_ROWS = 64
"""Points are laid out in rows of so many, which several cores share."""
_ROUGH = 0.5
"""Where roughness begins."""
_SMOOTHEST = 0.08
_BLOWN = 0.985
"""A channel from here on may have been brighter than the picture can say (linear)."""
_ALIKE = 0.1
"""Neighbours whose colours differ by so much (sRGB) hold each other only by a third."""
_TILT = 1.0
"""Most that a normal leans per axis, against 1 upright."""
_REPORT = 20
"""Steps between two looks at the loss."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was fitted, on the host.

    Attributes:
        colour: Base colour, linear, float32 [S, S, 3], row 0 at v = 0.
        vertex: Roughness and metalness of vertices, float32 [V, 2].
        detail: What is added to them, and how far normals lean: float32 [S, S, 4], row 0 at v = 0.
        touched: Texels that some pixel showed, bool [S, S].
        light: The panorama, float32 [H, 2 H, 3].
        report: JSON-able.
    """

    colour: Array
    vertex: Array
    detail: Array
    touched: Array
    light: Array
    report: dict[str, object]


class Fit:
    """One fit.

    Args:
        textured: The mesh with the colours of the views.
        samples: Of the same mesh.
        config: See there.
        device: Where to compute; the samples are there.
    """

    def __init__(self, textured: TexturedMesh, samples: Samples, config: LightingConfig, device: str) -> None:
        self.samples, self.config, self.device = samples, config, device
        finest = min(config.texture, len(textured.base_color_srgb))
        wanted = 2 ** math.floor(math.log2(max(samples.texels, 64)) + 0.5)
        self.size = max(16, min(finest, wanted))
        baked = resized(from_srgb8(textured.base_color_srgb), self.size)[::-1]
        # The root of linear light: steps that the eye finds alike, and cheap to undo.
        self.root = torch.nn.Parameter(torch.from_numpy(np.sqrt(baked))[None].to(device).contiguous())
        self.detail = torch.nn.Parameter(torch.zeros(1, self.size, self.size, 4, device=device))
        self.vertex = torch.nn.Parameter(
            torch.tensor([[_ROUGH, 0.0]], device=device).repeat(len(textured.mesh.vertices), 1)
        )
        self.light = EnvironmentLight(config.light, value=1.0, device=device)
        self.faces = torch.from_numpy(textured.mesh.faces.astype(np.int64)).to(device)
        self.links, self.hold = _links(textured, device)
        self.generator = torch.Generator(device).manual_seed(config.seed)
        self.count = min(config.batch, max(_ROWS, len(samples.face))) // _ROWS * _ROWS
        groups = [
            {"params": [self.root], "lr": config.colour_rate},
            {"params": [self.vertex], "lr": config.material_rate},
            {"params": [self.detail], "lr": config.detail_rate},
        ]
        recordable = device != "cpu"
        self.adam = Adam(groups, betas=(0.9, 0.98), capturable=recordable)
        self.glow = Adam(self.light.parameters(), lr=config.light_rate, betas=(0.9, 0.98), capturable=recordable)
        self.groups = [*self.adam.param_groups, *self.glow.param_groups]
        self.rates = [float(group["lr"]) for group in self.groups]
        self.full = torch.tensor(self.rates, device=device)
        self.now = self.full.clone()
        if device != "cpu":  # a number would be recorded as it is
            for group, rate in zip(self.groups, self.now, strict=True):
                group["lr"] = rate
        self.data = torch.zeros((), device=device)
        self.replays: dict[str, Replay] = {}
        # Filtering the light takes long on a CPU, so what it needs for the way back is kept until the light moves. A
        # recorded step has to make it itself.
        self.recorded = device != "cpu" and config.graphs and not is_nvdiffrast()
        self.made = None if self.recorded else self.light.maps()
        with torch.no_grad():
            self.maps = _apart(self.made or self.light.maps())

    def run(self, say: Callable[[int], None]) -> Found:
        """All steps; `say` hears which comes, and may raise."""
        config = self.config
        recent: list[torch.Tensor] = []
        means: list[float] = []
        for step in range(config.steps):
            say(step)
            recent.append(self.advance(step))
            if len(recent) == _REPORT or step + 1 == config.steps:
                # Only here the host waits for the device.
                means.append(round(float(torch.stack(recent).mean()), 6))
                recent.clear()
        self.replays.clear()
        return self._found(means)

    def advance(self, step: int) -> torch.Tensor:
        """One step; the loss against the pictures, on the device."""
        config = self.config
        share = 0.05 + 0.95 * (0.5 + 0.5 * math.cos(math.pi * step / config.steps))
        torch.mul(self.full, share, out=self.now)
        if self.device == "cpu":
            for group, rate in zip(self.groups, self.rates, strict=True):
                group["lr"] = rate * share
        if step >= config.detail_from * config.steps:
            self._replay("fine", partial(self._step, fine=True))
        else:
            self._replay("coarse", partial(self._step, fine=False))
        if (step + 1) % config.light_every == 0:
            self._replay("light", self._step_light)
        return self.data.clone()

    def _replay(self, name: str, step: Callable[[], None]) -> None:
        """The step, recorded under this name."""
        if name not in self.replays:
            if name == "fine":
                self.replays.pop("coarse", None)  # and its memory
            self.replays[name] = Replay(step, self.device, graphs=self.recorded, generators=[self.generator])
        self.replays[name]()

    def _step(self, fine: bool) -> None:
        """Moves all but the light."""
        data, held = self._loss(fine)
        self.adam.zero_grad()
        (data + held).backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        self._within_bounds()
        self.data.copy_(data.detach())

    def _materials(self, uv: torch.Tensor, coarse: torch.Tensor, fine: bool) -> Materials:
        """At texture coordinates [P, 2], P a multiple of 64, given roughness and metalness of vertices there [P, 2]."""
        place = uv.view(1, -1, _ROWS, 2)
        kd = self.root.square()
        if not fine:
            kd = ops.texture(kd, place, filter="linear", boundary="clamp").view(-1, 3)
            return Materials(kd, _with_occlusion(coarse), _flat(kd))
        looked = ops.texture(torch.cat([kd, self.detail], -1), place, filter="linear", boundary="clamp").view(-1, 7)
        ks = _with_occlusion(coarse + looked[:, 3:5])
        local = torch.cat([looked[:, 5:], torch.ones_like(looked[:, :1])], 1) if self.config.normals else _flat(ks)
        return Materials(looked[:, :3], ks, local)

    def _loss(self, fine: bool) -> tuple[torch.Tensor, torch.Tensor]:
        config = self.config
        at, face = self.samples.drawn(self.count, self.generator)
        bary = torch.cat([at["bary"], 1 - at["bary"].sum(1, keepdim=True)], 1)
        coarse = torch.einsum("pk,pkc->pc", bary, self.vertex[self.faces[face]])
        found = self._materials(at["uv"], coarse, fine)
        normal = at["normal"]
        if fine and config.normals:
            sign = torch.cat([torch.ones_like(at["alpha"]), at["tangent"][:, 3:], torch.ones_like(at["alpha"])], 1)
            normal = bent_normals(normal, found.normal * sign, at["tangent"][:, :3])
        colour = shade_pbr(found.kd, found.ks, normal, at["view"], self.maps)
        # Brighter than white is as white as white in the picture.
        blown = at["wanted"] >= _BLOWN * at["alpha"]
        colour = torch.where(blown, colour.clamp(max=1), colour)
        ground = losses.random_background(1, self.device, self.generator).view(1, 3)
        shown = colour * at["cover"] + (1 - at["cover"]) * ground
        wanted = at["wanted"] + (1 - at["alpha"]) * ground
        data = losses.colour_loss(shown, wanted)

        quarter = self.count // 4 // _ROWS * _ROWS or self.count
        near, here = coarse[:quarter].detach(), Materials(*(part[:quarter] for part in found))
        kd_change, ks_change = losses.material_smoothness(
            lambda uv: self._materials(uv, near, fine),
            at["uv"][:quarter],
            here,
            reach=1.5 / self.size,
            generator=self.generator,
        )
        along = (self.vertex[self.links[:, 0]] - self.vertex[self.links[:, 1]]).abs().sum(1)
        held = (
            config.colour_smooth * kd_change
            + config.material_smooth * (self.hold * along).mean()
            + config.plain * found.ks[:, 2].mean()
        )
        if fine:
            held = held + config.material_smooth * ks_change
            if config.normals:
                held = held + config.upright * found.normal[:, :2].square().sum(1).mean()
        return data, held

    def _step_light(self) -> None:
        """Moves the light by what shading has gathered since it was last filtered, which takes long."""
        self.glow.zero_grad()
        (self.config.whiteness * losses.light_whiteness(self.light.texels)).backward()  # type: ignore[no-untyped-call]
        made = self.made or self.light.maps()
        read = (self.maps.specular, self.maps.diffuse)
        # The mean over the steps since.
        gathered = [part.grad / self.config.light_every for part in read if part.grad is not None]
        torch.autograd.backward((made.specular, made.diffuse), gathered)
        self.glow.step()
        self.light.clamp_()
        if self.made is not None:
            self.made = self.light.maps()
        with torch.no_grad():
            made = self.made or self.light.maps()
            for part, value in zip(read, (made.specular, made.diffuse), strict=True):
                part.copy_(value)
                if part.grad is not None:
                    part.grad.zero_()

    @torch.no_grad()
    def _within_bounds(self) -> None:
        self.root.clamp_(0, 1)
        self.vertex[:, 0].clamp_(_SMOOTHEST, 1)
        self.vertex[:, 1].clamp_(0, 1)
        self.detail[..., 2:].clamp_(-_TILT, _TILT)

    @torch.no_grad()
    def _found(self, means: list[float]) -> Found:
        moments = self.adam.state[self.root]["exp_avg_sq"]
        return Found(
            colour=self.root[0].square().cpu().numpy(),
            vertex=self.vertex.cpu().numpy(),
            detail=self.detail[0].cpu().numpy(),
            touched=(moments[0].sum(-1) > 0).cpu().numpy(),
            light=self.light.latlong(4 * self.config.light).clamp(min=0).cpu().numpy(),
            report={
                "steps": self.config.steps,
                "pixels": len(self.samples.face),
                "texels": self.size,
                "light_texels": self.config.light,
                "losses": means,
            },
        )


def _apart(maps: LightMaps) -> LightMaps:
    """The same maps as leaves, where gradients gather."""
    specular, diffuse = (part.detach().clone().requires_grad_() for part in (maps.specular, maps.diffuse))
    specular.grad, diffuse.grad = torch.zeros_like(specular), torch.zeros_like(diffuse)
    return LightMaps(specular=specular, levels=maps.levels, diffuse=diffuse)


def _with_occlusion(ks: torch.Tensor) -> torch.Tensor:
    """Roughness and metalness [P, 2], within bounds, with an occlusion of 1: light from all around does not tell it."""
    rough, metal = ks[:, :1].clamp(_SMOOTHEST, 1), ks[:, 1:].clamp(0, 1)
    return torch.cat([torch.ones_like(rough), rough, metal], 1)


def _flat(like: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.zeros_like(like[:, :2]), torch.ones_like(like[:, :1])], 1)


def _links(textured: TexturedMesh, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Edges of the mesh, int64 [E, 2], and how strongly each holds its ends together, 0 .. 1, float32 [E]."""
    faces = textured.mesh.faces.astype(np.int64)
    edges = np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    place = np.zeros((len(textured.mesh.vertices), 2), np.float32)
    place[faces.ravel()] = textured.uv[textured.uv_faces.ravel()]
    picture = textured.base_color_srgb
    side = len(picture)
    column = np.clip((place[:, 0] * side).astype(int), 0, side - 1)
    row = np.clip(((1 - place[:, 1]) * side).astype(int), 0, side - 1)
    colour = picture[row, column].astype(np.float32) / 255
    off = np.linalg.norm(colour[edges[:, 0]] - colour[edges[:, 1]], axis=1)
    hold = np.exp(-off / _ALIKE).astype(np.float32)
    return torch.from_numpy(edges).to(device), torch.from_numpy(hold).to(device)
