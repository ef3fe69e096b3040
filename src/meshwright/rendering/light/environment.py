"""Light from all around, as a cube map that can be fitted, and its blurred copies for split-sum shading."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from meshwright.errors import OptionError, ShapeError
from meshwright.rendering.light.convolve import convolve
from meshwright.rendering.light.lobes import Lobe, ggx_density, solid_angles
from meshwright.rendering.ops.cubemap import CubeLevels, cube_texture, face_directions, stack_cube
from meshwright.types import Array

__all__ = ["SMOOTHEST", "EnvironmentLight", "LightMaps", "sharpness_levels"]

SMOOTHEST = 0.08
"""The lowest roughness that is told apart from a mirror."""
EXACT = 16
"""Texels along an edge of maps so blurred that each texel is simply a sum over all others; diffuse light is one."""
BLURRED = 7
"""Levels above the light itself."""


@dataclass(frozen=True)
class LightMaps:
    """What shading reads of a light.

    Attributes:
        specular: The light as mirrored by ever rougher surfaces, float32 [T, 3]; level 0 is the light itself.
        levels: How that is stored.
        diffuse: Mean light over the hemisphere about each direction, by cosine, float32 [6 * 16 * 16, 3].
    """

    specular: torch.Tensor
    levels: CubeLevels
    diffuse: torch.Tensor

    def mirrored(self, direction: torch.Tensor, roughness: torch.Tensor) -> torch.Tensor:
        """Light along mirrored directions [..., 3] as surfaces of a roughness [...] blur it, [..., 3]."""
        # Clamped before the logarithm, whose slope at 0 is infinite.
        ratio = torch.log(roughness.clamp(SMOOTHEST, 1) / SMOOTHEST) / math.log(1 / SMOOTHEST)
        return cube_texture(self.specular, self.levels, direction, ratio * BLURRED)

    def scattered(self, normal: torch.Tensor) -> torch.Tensor:
        """Light that falls on white matt surfaces with normals [..., 3] and leaves them, [..., 3]."""
        return cube_texture(self.diffuse, CubeLevels((EXACT,)), normal)

    def seen(self, direction: torch.Tensor) -> torch.Tensor:
        """The light itself along directions [..., 3], as a background, [..., 3]."""
        return cube_texture(self.specular, self.levels, direction)


def sharpness_levels(size: int) -> tuple[tuple[int, float], ...]:
    """Size and roughness of each level of `LightMaps.specular` for a light of so many texels along an edge.

    Roughness rises by the same factor from level to level; texels are about as large as the lobes are wide.
    """
    result = [(size, SMOOTHEST)]
    for level in range(1, BLURRED + 1):
        roughness = SMOOTHEST ** (1 - level / BLURRED)
        finest = 2 ** round(math.log2(1 / roughness**2))
        result.append((min(max(finest, EXACT), size), roughness))
    return tuple(result)


class EnvironmentLight(torch.nn.Module):
    """Trainable light from all around.

    Attributes:
        texels: Radiance, linear RGB, not negative: float32 [6, size, size, 3], faces as in `ops.cubemap.faces`.
    """

    def __init__(self, size: int = 64, *, value: float = 0.5, device: torch.device | str = "cpu") -> None:
        """A uniform light.

        Args:
            size: Texels along an edge of a face: a power of two from 16 to 1024.
            value: Radiance in all directions.
            device: "cpu" or a CUDA device.
        Raises:
            OptionError: The size is something else.
        """
        super().__init__()
        if size not in (16, 32, 64, 128, 256, 512, 1024):
            raise OptionError(f"A light of {size} texels cannot be filtered.", hint="Use 16, 32, 64, ... or 1024.")
        self.texels = torch.nn.Parameter(torch.full((6, size, size, 3), float(value), device=device))

    @classmethod
    def of(
        cls, radiance: Callable[[Array], Array], size: int = 64, *, device: torch.device | str = "cpu"
    ) -> EnvironmentLight:
        """A light given as a function from unit vectors [P, 3] to linear RGB [P, 3], both float64.

        A texel has the mean of sixteen places in it.
        """
        light = cls(size, device=device)
        fine = radiance(face_directions(4 * size).reshape(-1, 3)).reshape(6, size, 4, size, 4, 3)
        light._fill(fine.mean((2, 4)))
        return light

    @classmethod
    def from_latlong(cls, picture: Array, size: int = 64, *, device: torch.device | str = "cpu") -> EnvironmentLight:
        """A light from a panorama.

        Args:
            picture: Linear RGB, [H, W, 3], W = 2 H: the first row is up (+Y), the middle column looks along -Z, what
                is right of it towards +X.
            size: See `EnvironmentLight`.
            device: "cpu" or a CUDA device.
        """
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
            raise ShapeError(f"The panorama is {list(picture.shape)}.", hint="Expected [H, W, 3].")
        return cls.of(lambda direction: _panorama(picture, direction), size, device=device)

    def latlong(self, height: int) -> torch.Tensor:
        """The light as a panorama, float32 [height, 2 * height, 3]; see `from_latlong`."""
        row = (torch.arange(height) + 0.5) * math.pi / height
        column = (torch.arange(2 * height) + 0.5) * math.pi / height - math.pi
        up, turn = row[:, None].double(), column[None].double()
        across, along = up.sin() * turn.sin(), -up.sin() * turn.cos()
        direction = torch.stack([across, up.cos().expand_as(across), along], -1).float().to(self.texels.device)
        return cube_texture(self.texels.reshape(-1, 3), CubeLevels((self.size,)), direction)

    @property
    def size(self) -> int:
        """Texels along an edge of a face."""
        return self.texels.shape[1]

    def maps(self, samples: int = 32) -> LightMaps:
        """Filtered for shading; gradients reach `texels`.

        Args:
            samples: Directions per texel of the sharper copies; each reads averages, so few are enough.
        Source: Karis 2013; Munkberg et al. 2022, arXiv:2111.12503. Where lobes are wide, texels are exact
        sums here.
        """
        pyramid: list[torch.Tensor] = [self.texels]
        while pyramid[-1].shape[1] > 1:
            pyramid.append(_halved(pyramid[-1]))
        values, levels = stack_cube(pyramid), CubeLevels.halving(self.size)
        wanted = sharpness_levels(self.size)
        wide = [roughness**2 for side, roughness in wanted[1:] if side == EXACT]
        coarse = next(level for level in pyramid if level.shape[1] == EXACT).reshape(-1, 3)
        # With the channels first: then the way back too reads the matrix row by row, five times as fast on a CPU.
        summed = torch.nn.functional.linear(coarse.t(), _sums(tuple(wide), self.texels.device)).t()
        summed = summed.reshape(-1, 6 * EXACT * EXACT, 3)
        sampled = [
            convolve(values, levels, Lobe(roughness**2, samples, self.size), side)
            for side, roughness in wanted[1:]
            if side > EXACT
        ]
        return LightMaps(
            specular=torch.cat([stack_cube([self.texels, *sampled]), summed[1:].reshape(-1, 3)]),
            levels=CubeLevels(tuple(side for side, _ in wanted)),
            diffuse=summed[0],
        )

    @torch.no_grad()
    def clamp_(self, most: float | None = None) -> None:
        """Keeps radiance from turning negative; call it after each step of an optimiser."""
        self.texels.clamp_(0, most)

    @torch.no_grad()
    def _fill(self, faces: Array) -> None:
        self.texels.copy_(torch.from_numpy(np.ascontiguousarray(faces, np.float32)))


def _halved(faces: torch.Tensor) -> torch.Tensor:
    """The mean of each four texels, by the solid angles they cover."""
    size = faces.shape[1]
    shares = _shares(size, faces.device)
    return (faces * shares).view(6, size // 2, 2, size // 2, 2, 3).sum((2, 4))


@lru_cache(maxsize=64)
def _shares(size: int, device: torch.device) -> torch.Tensor:
    """What each texel is of the four it is averaged with, float32 [size, size, 1]."""
    angle = solid_angles(size)[0]
    four = angle.reshape(size // 2, 2, size // 2, 2).sum((1, 3)).repeat(2, 0).repeat(2, 1)
    return torch.from_numpy((angle / four)[..., None].astype(np.float32)).to(device)


@lru_cache(maxsize=16)
def _sums(alphas: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """From a light of 16 x 16 texels a face to its mean by cosine, then by GGX lobes: float32 [(1 + A) 1536, 1536].

    Rows sum to 1.
    """
    direction = face_directions(EXACT).reshape(-1, 3)
    cosine = direction @ direction.T
    counts = np.clip(cosine, 0, None) * solid_angles(EXACT).ravel()
    half = np.sqrt(np.clip((1 + cosine) / 2, 0, 1))
    stack = [counts, *(counts * ggx_density(half, alpha) for alpha in alphas)]
    rows = np.concatenate([weight / weight.sum(1, keepdims=True) for weight in stack])
    return torch.from_numpy(rows.astype(np.float32)).to(device)


def _panorama(picture: Array, direction: Array) -> Array:
    """A panorama [H, W, 3] along unit vectors [P, 3], bilinear."""
    height, width = picture.shape[:2]
    row = np.arccos(np.clip(direction[:, 1], -1, 1)) / math.pi * height - 0.5
    column = (np.arctan2(direction[:, 0], -direction[:, 2]) / (2 * math.pi) + 0.5) * width - 0.5
    row = np.clip(row, 0, height - 1)
    y, x = np.floor(row).astype(int), np.floor(column).astype(int)
    fy, fx = (row - y)[:, None], (column - x)[:, None]
    below = np.minimum(y + 1, height - 1)
    upper = (1 - fx) * picture[y, x % width] + fx * picture[y, (x + 1) % width]
    lower = (1 - fx) * picture[below, x % width] + fx * picture[below, (x + 1) % width]
    result: Array = (1 - fy) * upper + fy * lower
    return result
