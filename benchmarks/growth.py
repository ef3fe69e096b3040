"""What stage one of `nvdiffrec` costs as work grows: finer grids, more views, larger pictures.

    python benchmarks/growth.py SCENE --device cuda:0 --out build/growth
    python benchmarks/growth.py SCENE --cells 32,64 --views 6,12 --pixels 128,256 --steps 4      # a CPU

SCENE is a NeRF-synthetic folder. From `--base` (cells, views, pixels) one thing at a time is changed. Views are taken
evenly from those of the scene, again from the start where it has fewer; pictures larger than its own are those
enlarged: the work is the same. Every fit takes `--steps` steps at its last level; seconds of a step are those of the
faster half of all stretches between two looks at the clock, for which the device is waited for. Memory is the most that
the device was seen to hold more than before, with what torch and Warp keep for later; on a CPU the process's growth.
With `--out` a table and one SVG, logarithms on both axes, are written there.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
from plots import Line, log_plot
from scipy import ndimage

from meshwright.geometry.tetra import ShapeField
from meshwright.inputs import read_inputs
from meshwright.models.nvdiffrec.stage_one.config import StageLevel, StageOneConfig
from meshwright.models.nvdiffrec.stage_one.fit import fit_stage_one
from meshwright.models.nvdiffrec.stage_one.proposal import plan_of
from meshwright.models.nvdiffrec.stage_one.scene import Scene
from meshwright.types import Camera, SilentMonitor, View

HEADER = (
    "| {kind} | views | pixels | cells | ms a step | whole fit, s | memory, GiB |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
)

STRETCH = 5
"""Steps between two looks at the clock."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much work."""

    cells: int
    views: int
    pixels: int


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What it took."""

    step: float
    whole: float
    memory: float


def cost_of(size: Size, views: list[View], cameras: list[Camera], options: argparse.Namespace) -> Cost:
    """One fit."""
    chosen = [round(i * max(1.0, len(views) / size.views)) % len(views) for i in range(size.views)]
    scale = size.pixels / max(views[0].width, views[0].height)
    some = [enlarged(views[i], scale) for i in chosen]
    config = config_of(size, options)
    marks: list[float] = []
    last: list[ShapeField] = []

    def look(field: ShapeField, scene: Scene) -> None:
        if last and last[0] is not field:
            marks.clear()
        last[:] = [field]
        if len(marks) % STRETCH == 0:
            settle(options.device)
        marks.append(time.perf_counter())

    with watched(options.device) as most:
        begun = time.perf_counter()
        fit_stage_one(some, [cameras[i] for i in chosen], config, SilentMonitor(), options.device, look=look)
        settle(options.device)
        whole = time.perf_counter() - begun
    edges = marks[::STRETCH]
    stretches = sorted((after - before) / STRETCH for before, after in itertools.pairwise(edges))
    return Cost(step=median(stretches[: max(1, len(stretches) // 2)]), whole=whole, memory=most[0])


def config_of(size: Size, options: argparse.Namespace) -> StageOneConfig:
    """Levels up to the size asked for; only the last takes its time."""
    config = plan_of("standard", options.device)
    cells = [size.cells]
    while cells[0] > 64:
        cells.insert(0, cells[0] // 2)
    levels = [StageLevel(cells=count, pixels=min(256, size.pixels), steps=10) for count in cells[:-1]]
    levels.append(StageLevel(cells=size.cells, pixels=size.pixels, steps=options.steps))
    carve = None if config.carve is None else replace(config.carve, steps=tuple(10 for _ in config.carve.steps))
    return replace(config, levels=tuple(levels), carve=carve, views_at_once=options.at_once)


def enlarged(view: View, scale: float) -> View:
    """The picture in another size, if it is to be larger."""
    if scale <= 1:
        return view
    rgb = ndimage.zoom(view.rgb, (scale, scale, 1), order=1)
    return replace(
        view,
        rgb=rgb,
        mask=ndimage.zoom(view.mask, scale, order=1).clip(0, 1),
        background=None if view.background is None else ndimage.zoom(view.background, (scale, scale, 1), order=1),
    )


def settle(device: str) -> None:
    """Waits for a GPU."""
    if device != "cpu":
        torch.cuda.synchronize(device)


@contextmanager
def watched(device: str) -> Iterator[list[float]]:
    """The most memory that was held meanwhile, GiB, in a list of one."""
    most = [0.0]
    if device == "cpu":
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        yield most
        most[0] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
        return
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info(device)[0]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            most[0] = max(most[0], (free - torch.cuda.mem_get_info(device)[0]) / 2**30)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def numbers(text: str) -> list[int]:
    """Separated by commas."""
    return [int(word) for word in text.split(",")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--base", default="128,48,512", type=numbers, help="cells, views, pixels")
    parser.add_argument("--cells", default="64,128,256", type=numbers)
    parser.add_argument("--views", default="6,12,25,50,100", type=numbers)
    parser.add_argument("--pixels", default="256,512,1024", type=numbers)
    parser.add_argument("--at-once", default=8, type=int, help="views in a step")
    parser.add_argument("--steps", default=40, type=int)
    parser.add_argument("--out", type=Path, help="folder for growth.md and growth.svg")
    options = parser.parse_args()
    everything = read_inputs(options.scene)
    if everything.cameras is None:
        raise SystemExit(f"{options.scene} has no cameras")
    views, cameras = list(everything.views), list(everything.cameras)
    base = Size(**dict(zip(("cells", "views", "pixels"), options.base, strict=True)))
    cost_of(base, views, cameras, options)  # kernels
    pages, times, memory = [], [], []
    for kind in ("cells", "views", "pixels"):
        rows, costs = [HEADER.format(kind="grows")], []
        for count in getattr(options, kind):
            size = replace(base, **{kind: count})
            cost = cost_of(size, views, cameras, options)
            costs.append((count, cost))
            rows.append(
                f"| {kind} | {size.views} | {size.pixels} | {size.cells} | {1000 * cost.step:.1f} | {cost.whole:.2f} "
                f"| {cost.memory:.2f} |"
            )
            print(rows[-1], flush=True)
        pages.append("\n".join([*rows, ""]))
        least = costs[0][0]
        times.append(Line(f"{kind}: ms a step", [(count / least, 1000 * cost.step) for count, cost in costs]))
        held = [(count / least, 1024 * cost.memory) for count, cost in costs if cost.memory > 0]
        memory += [Line(f"{kind}: MiB", held, dashed=True)] if held else []
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "growth.md").write_text("\n".join(pages), encoding="utf-8")
        across = "times the least cells (64), views (6), pixels (256)"
        log_plot([*times, *memory], options.out / "growth.svg", across=across, up="ms a step; MiB (dashed)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
