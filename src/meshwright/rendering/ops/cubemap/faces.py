"""Where the texels of a cube map lie, and how its levels are stored.

Faces are +X, -X, +Y, -Y, +Z, -Z, laid out as in OpenGL: as seen from outside, row 0 on top of the four side faces.
Texel (row, column) of a face of R x R texels has its centre at s = (2 column + 1) / R - 1, t = (2 row + 1) / R - 1, in
the direction `major + s * right + t * down` of the face.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from meshwright.errors import OptionError
from meshwright.types import Array

__all__ = ["DOWN", "MAJOR", "RIGHT", "CubeLevels", "face_directions"]

MAJOR = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
"""The middle of each face."""
RIGHT = np.array([[0, 0, -1], [0, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0], [-1, 0, 0]], float)
"""Where s grows."""
DOWN = np.array([[0, -1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1], [0, -1, 0], [0, -1, 0]], float)
"""Where t grows."""


@dataclass(frozen=True)
class CubeLevels:
    """Cube maps of falling size, stored one after the other as one array of texels [T, 3].

    Attributes:
        size: Texels along an edge of the first one.
        count: How many there are; each has half the size of the one before, rounded down but at least 1.
    """

    size: int
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 4096 or not 1 <= self.count <= 16:
            raise OptionError(
                f"There are no cube maps of size={self.size}, count={self.count}.",
                hint="Use a size of 1 to 4096 and a count of 1 to 16.",
            )

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Texels along an edge of each level."""
        return tuple(max(self.size >> level, 1) for level in range(self.count))

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The first texel of each level."""
        return tuple(sum(6 * size * size for size in self.sizes[:level]) for level in range(self.count))

    @cached_property
    def texels(self) -> int:
        """Of all levels."""
        return sum(6 * size * size for size in self.sizes)


def face_directions(size: int) -> Array:
    """Unit vectors through the centres of all texels of a cube map, float64 [6, size, size, 3]."""
    place = (2 * np.arange(size) + 1) / size - 1
    s, t = place[None, None, :, None], place[None, :, None, None]
    direction = MAJOR[:, None, None] + s * RIGHT[:, None, None] + t * DOWN[:, None, None]
    result: Array = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    return result
