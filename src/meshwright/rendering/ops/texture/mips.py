"""Pyramids of ever smaller averages of a texture."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from meshwright.errors import OptionError, ShapeError
from meshwright.rendering.ops.checks import check_floats
from meshwright.rendering.ops.launch import Program, over_items, packed
from meshwright.rendering.ops.texture import kernel

__all__ = ["MipStack", "Spread", "build_mips", "unfold"]

AT_ONCE = 3
"""Levels made by one launch: each thread makes a block of the first of them, down to one texel of the last."""

SHRINK = Program(kernel.shrink_kernel)
UNFOLD = Program(kernel.unfold_kernel)
AVERAGE = Program(kernel.average_kernel)
COLLECT = Program(kernel.collect_kernel)

SLOTS = 64
"""On a GPU, so many places for what the background adds to one and the same texel."""


@dataclass(frozen=True)
class MipStack:
    """A texture and its averages.

    Attributes:
        values: All levels one after the other, float32 [M, T, C]; level 0 is the texture itself.
        shape: Of the texture: M, Ht, Wt, C.
        levels: How many there are above the texture itself.
    """

    values: torch.Tensor
    shape: tuple[int, int, int, int]
    levels: int

    @property
    def texels(self) -> int:
        """T, of all levels of one texture."""
        return self.values.shape[1]

    def level(self, number: int) -> torch.Tensor:
        """One level as pictures, float32 [M, Ht / 2**number, Wt / 2**number, C]."""
        _, rows, columns, channels = self.shape
        start = _texels(rows, columns, number)
        size = (max(rows >> number, 1), max(columns >> number, 1))
        return self.values[:, start : start + size[0] * size[1]].view(-1, *size, channels)


def build_mips(tex: torch.Tensor, max_mip_level: int | None = None) -> MipStack:
    """The averages of a texture, for `texture(..., mip=...)`.

    Each level halves the one before, a texel being the mean of four; an extent of 1 stays 1. The levels end at a single
    texel, or where an extent larger than 1 is odd (that of 1000 x 1000 at 125 x 125), or at `max_mip_level`.

    Args:
        tex: float32 [M, Ht, Wt, C].
        max_mip_level: So many levels above the texture itself at most.
    Raises:
        ShapeError: `tex` is something else, or too large.
        OptionError: `max_mip_level` is negative.
    """
    check_floats("tex", tex, tex.device, (4,), "[M, Ht, Wt, C]")
    if max_mip_level is not None and max_mip_level < 0:
        raise OptionError(f"max_mip_level={max_mip_level} is negative.", hint="Use 0 for no averages at all.")
    tex = packed(tex.detach())
    images, rows, columns, channels = tex.shape
    levels = _levels(rows, columns, max_mip_level)
    texels = _texels(rows, columns, levels + 1)
    if images * texels * channels >= 2**31:
        raise ShapeError(
            f"The averages of a texture {list(tex.shape)} would have 2**31 numbers or more.", hint="Use a smaller one."
        )
    values = torch.empty((images, texels, channels), dtype=torch.float32, device=tex.device)
    numbers = (channels, rows, columns, texels)
    if tex.device.type != "cpu":
        _average(tex, values, levels)
        return MipStack(values, (images, rows, columns, channels), levels)
    done = 0
    while done < levels or done == 0:
        count = min(AT_ONCE, levels - done)
        threads = images * max(rows >> (done + count), 1) * max(columns >> (done + count), 1)
        over_items(SHRINK, tex.device, threads, tex, *numbers, done, count, values)
        done = max(done + count, 1)
    return MipStack(values, (images, rows, columns, channels), levels)


STEPS = (2, 4)
"""On a GPU, so many levels are made at once, first and later: more threads, of which each adds up more."""


def _average(tex: torch.Tensor, values: torch.Tensor, levels: int) -> None:
    """Fill a pyramid on a GPU: a number of a level is the mean of all that it stands for at one much finer level."""
    images, rows, columns, channels = tex.shape
    texels = values.shape[1]
    values[:, : rows * columns].copy_(tex.view(images, rows * columns, channels))
    source, stride, start, done = tex, rows * columns, 0, 0
    while done < levels:
        count = min(STEPS[0] if done == 0 else STEPS[1], levels - done)
        ends = _texels(rows, columns, done + 1), _texels(rows, columns, done + 1 + count)
        made = ends[1] - ends[0]
        numbers = (stride, start, channels, rows, columns, texels, done, made)
        over_items(AVERAGE, tex.device, images * made * channels, source, *numbers, values)
        done += count
        source, stride, start = values, texels, _texels(rows, columns, done)


@dataclass(frozen=True)
class Spread:
    """How gradients of texels are stored while they are added up.

    Attributes:
        shape: Of the texture: M, Ht, Wt, C.
        texels: Of all levels of one texture.
        levels: How many there are above the texture itself.
        pitch: Numbers for each texel, at least C: a GPU adds four of them at once.
        slots: Places after all levels for what the background adds, of each texture.
    """

    shape: tuple[int, int, int, int]
    texels: int
    levels: int
    pitch: int
    slots: int

    @classmethod
    def of(cls, shape: tuple[int, ...], texels: int, levels: int, *, gpu: bool, spare: bool) -> Spread:
        """For a texture; `spare` says whether the background may have places of its own."""
        images, rows, columns, channels = shape
        pitch = 4 if gpu and channels == 3 else channels
        return cls((images, rows, columns, channels), texels, levels, pitch, SLOTS if gpu and spare else 0)

    @property
    def length(self) -> int:
        """Numbers in all."""
        return self.shape[0] * (self.texels + self.slots) * self.pitch


def unfold(dpyramid: torch.Tensor, how: Spread, boundary: int) -> torch.Tensor:
    """The gradient of a texture [M, Ht, Wt, C] from that of all its levels, which is used up."""
    images, rows, columns, channels = how.shape
    if dpyramid.device.type != "cpu":
        # All at once: one launch, and the small levels come from the cache.
        dtex = torch.empty(how.shape, dtype=torch.float32, device=dpyramid.device)
        numbers = (channels, how.pitch, rows, columns, images, how.texels, how.levels, how.slots, boundary)
        over_items(COLLECT, dpyramid.device, images * rows * columns, dpyramid, *numbers, dtex)
        return dtex
    # Level by level, each taking over from the next one: the least work.
    for level in reversed(range(how.levels)):
        threads = images * max(rows >> level, 1) * max(columns >> level, 1)
        over_items(UNFOLD, dpyramid.device, threads, channels, rows, columns, how.texels, level, 1, dpyramid)
    return dpyramid.view(images, how.texels, channels)[:, : rows * columns].reshape(how.shape)


def _levels(rows: int, columns: int, most: int | None) -> int:
    count = 0
    while (rows > 1 or columns > 1) and (most is None or count < most):
        if (rows > 1 and rows % 2) or (columns > 1 and columns % 2):
            break
        rows, columns, count = max(rows // 2, 1), max(columns // 2, 1), count + 1
    return count


def _texels(rows: int, columns: int, levels: int) -> int:
    """Texels of so many levels, from level 0."""
    return sum(max(rows >> k, 1) * max(columns >> k, 1) for k in range(levels))
