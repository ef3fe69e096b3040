"""Where the texels of a cube map lie, and how its levels are stored.

Faces are +X, -X, +Y, -Y, +Z, -Z, laid out as in OpenGL: as seen from outside, row 0 on top of the four side faces.
Texel (row, column) of a face of R x R texels has its centre at s = (2 column + 1) / R - 1, t = (2 row + 1) / R - 1, in
the direction `major + s * right + t * down` of the face.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch

from meshwright.errors import OptionError
from meshwright.types import Array

__all__ = ["DOWN", "MAJOR", "RIGHT", "CubeLevels", "face_directions", "levels_on"]

MAJOR = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
"""The middle of each face."""
RIGHT = np.array([[0, 0, -1], [0, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0], [-1, 0, 0]], float)
"""Where s grows."""
DOWN = np.array([[0, -1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1], [0, -1, 0], [0, -1, 0]], float)
"""Where t grows."""


@dataclass(frozen=True)
class CubeLevels:
    """Cube maps stored one after the other as one array of texels [T, 3].

    Attributes:
        sizes: Texels along an edge of each of them.
    """

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.sizes) <= 16 or min(self.sizes) < 1 or max(self.sizes) > 4096:
            raise OptionError(
                f"There are no cube maps of sizes {self.sizes}.", hint="Use 1 to 16 levels of 1 to 4096 texels each."
            )

    @classmethod
    def halving(cls, size: int) -> CubeLevels:
        """From a power of two down to a single texel a face."""
        return cls(tuple(size >> level for level in range(max(size, 1).bit_length())))

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The first texel of each level."""
        return tuple(sum(6 * size * size for size in self.sizes[:level]) for level in range(len(self.sizes)))

    @cached_property
    def texels(self) -> int:
        """Of all levels."""
        return sum(6 * size * size for size in self.sizes)


@lru_cache(maxsize=64)
def levels_on(levels: CubeLevels, device: torch.device) -> torch.Tensor:
    """For kernels, int32 [L, 2]: size and first texel of each level."""
    rows = list(zip(levels.sizes, levels.starts, strict=True))
    return torch.tensor(rows, dtype=torch.int32, device=device)


def face_directions(size: int) -> Array:
    """Unit vectors through the centres of all texels of a cube map, float64 [6, size, size, 3]."""
    place = (2 * np.arange(size) + 1) / size - 1
    s, t = place[None, None, :, None], place[None, :, None, None]
    direction = MAJOR[:, None, None] + s * RIGHT[:, None, None] + t * DOWN[:, None, None]
    result: Array = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    return result
