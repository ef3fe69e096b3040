"""How well materials come back from pictures: `python benchmarks/appearance.py --device cpu`.

A ball with a known pattern of base colour, roughness and metalness is rendered under a known light from cameras around
it. A `MaterialVolume` is fitted to those pictures (random background, log tone-mapped L1, smoothness) and judged on
cameras that it has not seen: the picture, the materials themselves, and the picture under another light. Cases:

    baked    what is seen is the base colour
    known    lit, the light is given
    unknown  lit, the light is fitted too (its scale, which no picture can tell from that of base colours, is given)

The pictures come from the same shading that is fitted: what is measured is whether the fit finds its way back.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from meshwright.device import describe_device, pick_device
from meshwright.models.nvdiffrec import losses
from meshwright.models.nvdiffrec.appearance.config import VolumeConfig
from meshwright.models.nvdiffrec.appearance.look import look
from meshwright.models.nvdiffrec.appearance.volume import Materials, MaterialVolume
from meshwright.rendering import ops
from meshwright.rendering.light import EnvironmentLight, LightMaps

CASES = ("baked", "known", "unknown")
GRID = ops.HashGrid(levels=12, coarsest=8, finest=256, log2_size=15)


def sphere(level: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """A unit sphere of 8 * 4**level triangles, an octahedron refined."""
    vertices = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    faces = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    for _ in range(level):
        sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        middle, index = np.unique(sides, axis=0, return_inverse=True)
        a, b, c = (index.reshape(-1, 3) + len(vertices)).T
        vertices = np.concatenate([vertices, vertices[middle].mean(1)])
        i, j, k = faces.T
        faces = np.concatenate([np.stack(t, 1) for t in ((i, a, c), (j, b, a), (k, c, b), (a, b, c))])
    return vertices / np.linalg.norm(vertices, axis=1, keepdims=True), faces.astype(np.int32)


def truth(points: torch.Tensor) -> Materials:
    """Bands of colour with fine stripes; rough and smooth patches; one metal cap."""
    x, y, z = points.unbind(-1)
    stripes = torch.tanh(4 * torch.sin(25 * (x + 0.4 * z)))
    bands = torch.tanh(6 * torch.sin(5 * y))
    kd = 0.5 + torch.stack([0.3 * bands + 0.1 * stripes, 0.35 * torch.sin(4 * x + 1), 0.2 * stripes - 0.2 * bands], -1)
    rough = 0.45 + 0.25 * torch.tanh(5 * torch.sin(4 * z + 2 * x))
    metal = torch.sigmoid(30 * (y - 0.5))
    ks = torch.stack([torch.ones_like(x), rough, metal], -1)
    flat = torch.zeros_like(points)
    flat[..., 2] = 1
    return Materials(kd.clamp(0.02, 0.95), ks, flat)


def lamps(seed: int) -> Any:
    """Light as a function of direction: a sky that is brighter above, and four coloured lamps."""
    rng = np.random.default_rng(seed)
    towards = rng.normal(size=(4, 3))
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    colours = 0.6 + 0.4 * rng.random((4, 3))

    def radiance(direction: np.ndarray) -> np.ndarray:
        ground = 0.4 + 0.2 * direction[:, 1:2]
        lit = np.exp(30 * (direction @ towards.T - 1))[..., None] * 3 * colours
        return np.asarray(ground + lit.sum(1))

    return radiance


@dataclass(frozen=True)
class Shot:
    """The ball as one camera sees it: what lies under each covered pixel."""

    cover: torch.Tensor  # [H, W, 1]
    pixels: torch.Tensor  # [P], which pixels are covered
    points: torch.Tensor  # [P, 3], also the normals of a unit sphere
    view: torch.Tensor  # [P, 3]

    def picture(self, colour: torch.Tensor) -> torch.Tensor:
        """Colours of covered pixels as [1, H, W, 4] with cover."""
        blank = colour.new_zeros((self.cover.numel(), 3)).index_copy(0, self.pixels, colour)
        return torch.cat([blank.view(*self.cover.shape[:2], 3), self.cover], -1)[None]


def shots(count: int, side: int, seed: int, device: str) -> list[Shot]:
    """Cameras at a distance of 3 all around."""
    vertices, faces = sphere()
    rng = np.random.default_rng(seed)
    tri = torch.from_numpy(faces).to(device)
    normal = torch.from_numpy(vertices.astype(np.float32)).to(device)
    made = []
    for _ in range(count):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        turn *= np.sign(np.linalg.det(turn))
        near, far, scale, eye = 1.0, 5.0, 2.7, 3.0
        x, y, z = (vertices @ turn).T
        w = eye - z
        clip = np.stack([scale * x, scale * y, ((far + near) * w - 2 * far * near) / (far - near), w], -1)
        pos = torch.from_numpy(clip[None].astype(np.float32)).to(device)
        rast, _ = ops.rasterize(pos, tri, (side, side), derivatives=False)
        place, _ = ops.interpolate(normal, rast, tri)
        cover = (rast[0, ..., 3:] > 0).float()
        pixels = cover.view(-1).nonzero()[:, 0]
        points = torch.nn.functional.normalize(place[0].reshape(-1, 3)[pixels], dim=1)
        stand = torch.from_numpy((eye * turn[:, 2]).astype(np.float32)).to(device)
        made.append(Shot(cover, pixels, points, torch.nn.functional.normalize(stand - points, dim=1)))
    return made


def psnr(off: torch.Tensor) -> float:
    """Of differences of colours where 1 is white."""
    return float(-10 * torch.log10(off.square().mean()))


def srgb(colour: torch.Tensor) -> torch.Tensor:
    """As it is seen: clipped, with the transfer curve."""
    colour = colour.clamp(0, 1)
    return torch.where(colour <= 0.0031308, 12.92 * colour, 1.055 * colour.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def fit(case: str, *, steps: int, side: int, views: int, device: str) -> dict[str, object]:
    """Fits one case and judges it."""
    sun, other = (EnvironmentLight.of(lamps(seed), 64, device=device) for seed in (1, 2))
    with torch.no_grad():
        lit = None if case == "baked" else sun.maps()
        training, unseen = shots(views, side, 0, device), shots(6, side, 1, device)
        wanted = [shot.picture(look(truth(shot.points), shot.points, shot.view, lit)) for shot in training]
    volume = MaterialVolume(np.full(3, -1.0), np.full(3, 1.0), VolumeConfig(grid=GRID), device=device)
    guess = EnvironmentLight(32, device=device) if case == "unknown" else None
    groups: list[dict[str, Any]] = [{"params": list(volume.parameters()), "lr": 0.03}]
    if guess is not None:
        groups.append({"params": list(guess.parameters()), "lr": 0.02})
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.05 ** (1 / steps))
    brightness = float(sun.texels.detach().mean())
    generator = torch.Generator(device).manual_seed(0)
    begun = time.perf_counter()
    for step in range(steps):
        shot, target = training[step % views], wanted[step % views]
        maps: LightMaps | None = lit
        if guess is not None:
            maps = guess.maps()
        materials = volume(shot.points)
        # The surface is known to be smooth: its own normals are used.
        colour = look(materials._replace(normal=truth(shot.points).normal), shot.points, shot.view, maps)
        ground = losses.random_background(1, device, generator)
        shown, aim = (losses.over_background(picture, ground) for picture in (shot.picture(colour), target))
        kd_change, ks_change = losses.material_smoothness(
            volume, shot.points, materials, reach=0.01, generator=generator
        )
        loss = losses.colour_loss(shown, aim) + 0.002 * kd_change + 0.002 * ks_change
        if guess is not None:
            loss = loss + 0.005 * losses.light_whiteness(guess.texels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if guess is not None:
            guess.clamp_()
            with torch.no_grad():
                guess.texels.mul_(brightness / guess.texels.mean())
    if device != "cpu":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - begun
    return {"case": case, "steps": steps, "seconds": round(seconds, 1), **judged(volume, guess, lit, unseen, other)}


@torch.no_grad()
def judged(
    volume: MaterialVolume,
    guess: EnvironmentLight | None,
    lit: LightMaps | None,
    unseen: Sequence[Shot],
    other: EnvironmentLight,
) -> dict[str, object]:
    """Means over cameras that were not fitted: PSNR in dB (sRGB pictures, linear base colour), mean differences."""
    maps = lit if guess is None else guess.maps()
    relit = other.maps()
    rows = []
    for shot in unseen:
        real = truth(shot.points)
        found = volume(shot.points)._replace(normal=real.normal)
        pair = [shot.picture(look(m, shot.points, shot.view, k)) for m, k in ((found, maps), (real, lit))]
        row = [psnr(srgb(pair[0][..., :3]) - srgb(pair[1][..., :3])), psnr(found.kd - real.kd)]
        if lit is not None:
            again = [shot.picture(look(m, shot.points, shot.view, relit))[..., :3] for m in (found, real)]
            row += [psnr(srgb(again[0]) - srgb(again[1]))]
            row += [float((found.ks - real.ks)[:, k].abs().mean()) for k in (1, 2)]
        rows.append(row)
    names = ("picture_db", "kd_db", "relit_db", "roughness_off", "metalness_off")
    means = np.mean(rows, axis=0)
    return {name: round(float(value), 3) for name, value in zip(names, means, strict=False)}


def main(words: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES, help=f"any of {', '.join(CASES)}")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--side", type=int, default=96, help="pixels along an edge of a picture")
    parser.add_argument("--views", type=int, default=16)
    options = parser.parse_args(words)
    device = pick_device(options.device)
    print(json.dumps(describe_device(device)))
    for case in options.cases:
        result = fit(case, steps=options.steps, side=options.side, views=options.views, device=device)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
