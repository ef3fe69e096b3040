"""What a step of `nvdiffrec` is made of on a GPU: launches, and time in kernels against the time that passes.

    python benchmarks/steps.py SCENE --device cuda:0                       # six views: shape, cameras and texture
    python benchmarks/steps.py SCENE --device cuda:0 --lighting pbr        # and materials and light
    python benchmarks/steps.py POSED --device cuda:0 --quality high        # views from all around: stage one too

A whole reconstruction is run once to compile kernels, once as it is, and once under PyTorch's profiler, which says how
long each kernel ran and makes all between them slower. Each message of progress stands for a part of it; the time
between the first and the last message of the same words is that part's, and a kernel belongs to the part during which
it ran. Kernels that ran at the same time count once. "In kernels" is their time against that of the run as it is.
What is done a hundred times or more is recorded at first and then replayed, and the host waits for it now and then:
"once it runs" is the median over twenty steps each, of both times.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

import meshwright

LEAST = 0.1
"""Parts that take less, in seconds, are left out."""
OFTEN, WINDOW = 100, 20
"""From so many messages on, medians over so many of them are shown."""


@dataclass
class Part:
    """What happened under one message of progress."""

    messages: int = 0
    wall: float = 0.0
    launches: int = 0
    busy: float = 0.0
    kernels: Counter[str] = field(default_factory=Counter)
    walls: list[float] = field(default_factory=list)
    """Of each message, and what of it kernels ran."""
    busies: list[float] = field(default_factory=list)


class Marks:
    """A monitor that notes when it hears what, ns since the epoch."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, str]] = []

    def report(self, percent: float, step: str) -> None:
        self.heard.append((time.time_ns(), step))

    def check(self) -> None:
        """Nobody wants to stop."""


def parts_of(heard: list[tuple[int, str]], kernels: list[tuple[int, int, str]]) -> dict[str, Part]:
    """By message. `kernels` have their start and end in ns, and are sorted."""
    parts: dict[str, Part] = {}
    index, until = 0, 0
    for (begun, step), (ended, _) in itertools.pairwise(heard):
        part = parts.setdefault(step, Part())
        part.messages += 1
        part.wall += (ended - begun) / 1e9
        part.walls.append((ended - begun) / 1e9)
        before = part.busy
        while index < len(kernels) and kernels[index][0] < ended:
            start, end, name = kernels[index]
            index += 1
            part.launches += 1
            alone = max(0, end - max(start, until)) / 1e9
            until = max(until, end)
            part.busy += alone
            part.kernels[name] += alone
        part.busies.append(part.busy - before)
    return parts


def steady(each: list[float]) -> float:
    """Seconds of a message in the middle of windows of many, so that what is done once does not count."""
    return statistics.median(sum(each[i : i + WINDOW]) / WINDOW for i in range(0, len(each) - WINDOW + 1, WINDOW))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--quality", default="standard")
    parser.add_argument("--lighting", default="baked")
    parser.add_argument("--kernels", default=6, type=int, help="so many of each part are named")
    options = parser.parse_args()

    def run(marks: Marks) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return meshwright.reconstruct(
                options.scene,
                Path(folder) / "out",
                monitor=marks,
                model="nvdiffrec",
                quality=options.quality,
                lighting=options.lighting,
                device=options.device,
            ).seconds

    run(Marks())
    plain = Marks()
    seconds = run(plain)
    marks = Marks()
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiler:
        profiled = run(marks)
    found = [
        (event.start_ns(), event.start_ns() + event.duration_ns(), event.name())
        for event in profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
        if str(event.device_type()).endswith("CUDA") and not event.name().startswith("Optimizer.")
    ]
    parts, walls = parts_of(marks.heard, sorted(found)), parts_of(plain.heard, [])
    title = f"{options.scene.name}, {options.quality}, {options.lighting}"
    print(f"{title}: {seconds:.1f} s, {profiled:.1f} s under the profiler\n")
    print(
        "| part | messages | s | ms a message | launches a message | in kernels | once it runs: ms | in kernels "
        "| s under the profiler |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    shown = {name: part for name, part in parts.items() if part.wall > LEAST}
    for name, part in shown.items():
        each, wall, running = part.messages, walls[name].wall, " | "
        if each >= OFTEN:
            one = steady(walls[name].walls)
            running = f"{1000 * one:.2f} | {100 * steady(part.busies) / one:.0f} %"
        print(
            f"| {name} | {each} | {wall:.2f} | {1000 * wall / each:.2f} | {part.launches / each:.0f} "
            f"| {100 * part.busy / wall:.0f} % | {running} | {part.wall:.2f} |"
        )
    for name, part in shown.items():
        if part.messages > 10 and part.busy > LEAST / 10:
            print(f"\n{name}:")
            for kernel, busy in part.kernels.most_common(options.kernels):
                print(f"    {1000 * busy:9.1f} ms  {kernel[:90]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
