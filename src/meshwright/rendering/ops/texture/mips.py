"""Pyramids of ever smaller averages of a texture."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from meshwright.errors import OptionError, ShapeError
from meshwright.rendering.ops.checks import check_floats
from meshwright.rendering.ops.launch import Program, over_items
from meshwright.rendering.ops.texture import kernel

__all__ = ["MipStack", "build_mips", "unfold"]

AT_ONCE = 3
"""Levels made by one launch: each thread makes a block of the first of them, down to one texel of the last."""

SHRINK = Program(kernel.shrink_kernel)
UNFOLD = Program(kernel.unfold_kernel)


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
    tex = tex.detach().contiguous()
    images, rows, columns, channels = tex.shape
    levels = _levels(rows, columns, max_mip_level)
    texels = _texels(rows, columns, levels + 1)
    if images * texels * channels >= 2**31:
        raise ShapeError(
            f"The averages of a texture {list(tex.shape)} would have 2**31 numbers or more.", hint="Use a smaller one."
        )
    values = torch.empty((images, texels, channels), dtype=torch.float32, device=tex.device)
    numbers = (channels, rows, columns, texels)
    done = 0
    while done < levels or done == 0:
        count = min(AT_ONCE, levels - done)
        threads = images * max(rows >> (done + count), 1) * max(columns >> (done + count), 1)
        over_items(SHRINK, tex.device, threads, tex, *numbers, done, count, values)
        done = max(done + count, 1)
    return MipStack(values, (images, rows, columns, channels), levels)


def unfold(dpyramid: torch.Tensor, shape: tuple[int, int, int, int], levels: int) -> torch.Tensor:
    """The gradient of a texture from that of all its levels; `dpyramid` [M T C] is used up."""
    images, rows, columns, channels = shape
    texels = dpyramid.numel() // (images * channels)
    numbers = (channels, rows, columns, texels)
    if dpyramid.device.type == "cpu":
        # Level by level, each taking over from the next one: the least work.
        for level in reversed(range(levels)):
            threads = images * max(rows >> level, 1) * max(columns >> level, 1)
            over_items(UNFOLD, dpyramid.device, threads, *numbers, level, 1, dpyramid)
    elif levels:
        # All at once: one launch, and the small levels come from the cache.
        over_items(UNFOLD, dpyramid.device, images * rows * columns, *numbers, 0, levels, dpyramid)
    return dpyramid.view(images, texels, channels)[:, : rows * columns].reshape(shape)


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
