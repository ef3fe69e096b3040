"""How the ops hand torch tensors to Warp kernels: fast, on torch's own stream, and over all cores of a CPU.

Kernels are recorded and relaunched by `meshwright.programs`.

Every kernel is written over the pixels of all views in one row, `first` to `last`. On a CPU a thread has an image row,
`span` pixels; on a GPU, where `span` is 0, it has one pixel and a warp a tile of them (see `warps.place_of`). A Warp
launch on a CPU runs in one thread, so there the views go to several workers, each of which adds up its own gradients:
nothing is shared while it is written, and the order is always the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch

from meshwright.device import cpu_threads, map_threads
from meshwright.errors import ShapeError
from meshwright.programs import Argument, Program, over_items, packed, unrolled
from meshwright.rendering.ops.warps import TILE_HIGH, TILE_WIDE

__all__ = ["Argument", "Band", "Frame", "Program", "over_items", "over_pixels", "packed", "plan", "unrolled"]

SMALL = 2**14
"""Pictures of fewer pixels are not worth starting threads for on a CPU."""


@dataclass(frozen=True)
class Frame:
    """How many pictures of what size, on which device."""

    views: int
    height: int
    width: int
    device: torch.device

    @classmethod
    def of(cls, pictures: torch.Tensor) -> Frame:
        """That of pictures [N, H, W, ...]."""
        views, height, width = pictures.shape[:3]
        return cls(views, height, width, pictures.device)

    @property
    def pixels(self) -> int:
        """Of all views."""
        return self.views * self.height * self.width

    def check(self) -> None:
        """Kernels count the four numbers of every pixel in 32 bits."""
        if self.views < 1 or self.height < 1 or self.width < 1 or self.pixels >= 2**29:
            raise ShapeError(
                f"{self.views} pictures of {self.height} x {self.width} pixels cannot be made.",
                hint="Ask for at least one pixel and for fewer than 2**29 in all.",
            )


@dataclass(frozen=True)
class Band:
    """Rows of one view, done by one worker.

    `part` numbers the bands of a view, so that those of equal number never write to the same view.
    """

    view: int
    part: int
    worker: int
    top: int
    bottom: int  # one past the last row
    first: int  # pixels, over all views
    last: int


@lru_cache(maxsize=256)
def plan(frame: Frame) -> tuple[tuple[Band, ...], ...]:
    """The bands of each worker on a CPU; the same each time, and with it the order of all sums."""
    threads = min(cpu_threads(), 16) if frame.pixels >= SMALL else 1  # each has its own copy of what it sums up
    parts = max(1, min(threads // frame.views, frame.height))
    workers = min(threads, frame.views * parts)
    bands: list[list[Band]] = [[] for _ in range(workers)]
    for index in range(frame.views * parts):
        view, part = divmod(index, parts)
        top, bottom = frame.height * part // parts, frame.height * (part + 1) // parts
        start = view * frame.height
        worker = index * workers // (frame.views * parts)
        band = Band(view, part, worker, top, bottom, (start + top) * frame.width, (start + bottom) * frame.width)
        bands[worker].append(band)
    return tuple(tuple(group) for group in bands)


def over_pixels(
    program: Program, frame: Frame, *arguments: Argument, sums: Callable[[Band | None], Argument] | None = None
) -> None:
    """Runs a kernel whose first parameters are `first, last, span, height, width` over all pixels.

    Args:
        program: The kernel.
        frame: The pictures.
        arguments: Its parameters from the sixth on.
        sums: Gives the last parameter, a tensor that several pixels add to: one for all of a GPU (None is passed),
            on a CPU one that no other worker adds to.
    """
    if frame.device.type != "cpu":
        last = () if sums is None else (sums(None),)
        tiles = frame.views * -(-frame.height // TILE_HIGH) * -(-frame.width // TILE_WIDE)
        threads = tiles * TILE_HIGH * TILE_WIDE
        program(frame.device, threads, 0, frame.pixels, 0, frame.height, frame.width, *arguments, *last)
        return

    def work(bands: tuple[Band, ...]) -> None:
        for band in bands:
            last = () if sums is None else (sums(band),)
            rows = band.bottom - band.top
            place = (band.first, band.last, frame.width, frame.height, frame.width)
            program(frame.device, rows, *place, *arguments, *last)

    map_threads(work, plan(frame))
