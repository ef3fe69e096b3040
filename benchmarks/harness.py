"""Time small things fairly: build the arguments first, warm up, wait for the device, and report medians.

    @benchmark(side=[256, 1024])
    def interpolate_forward(side: int, device: str):
        args = covered_screen(side, device)
        return lambda: interpolate(*args)

A benchmark builds what it needs and returns what is timed; it runs once for every combination of its parameters.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshwright.device import describe_device, pick_device

__all__ = ["Timing", "benchmark", "main"]

Build = Callable[..., Callable[[], object]]
REGISTRY: dict[str, tuple[Build, dict[str, Sequence[Any]]]] = {}


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one benchmark with one set of parameters."""

    name: str
    parameters: dict[str, Any]
    median: float
    fastest: float
    runs: int


def benchmark(**parameters: Sequence[Any]) -> Callable[[Build], Build]:
    """Registers a function; it is called with every combination of `parameters`, and with `device`."""

    def register(build: Build) -> Build:
        REGISTRY[build.__name__] = (build, parameters)
        return build

    return register


def synchronise(device: str) -> None:
    """Waits until the device has done what it was given."""
    if device != "cpu":
        import torch

        from meshwright._warp import wp

        wp.synchronize()
        torch.cuda.synchronize()


def measure(name: str, device: str, seconds: float) -> list[Timing]:
    """Times every combination of a benchmark's parameters, each for about `seconds` after warming up."""
    build, grid = REGISTRY[name]
    timings = []
    for values in itertools.product(*grid.values()):
        parameters = dict(zip(grid, values, strict=True))
        call = build(**parameters, device=device)
        # The first call compiles kernels, the second one finds memory and caches as all later ones do.
        call()
        call()
        synchronise(device)
        runs: list[float] = []
        begun = time.perf_counter()
        while len(runs) < 3 or (time.perf_counter() - begun < seconds and len(runs) < 1000):
            start = time.perf_counter()
            call()
            synchronise(device)
            runs.append(time.perf_counter() - start)
        timings.append(
            Timing(
                name=name,
                parameters=parameters,
                median=statistics.median(runs),
                fastest=min(runs),
                runs=len(runs),
            )
        )
    return timings


def commit() -> str:
    """The commit that is measured, with a mark where the tree differs from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def main(words: Sequence[str] | None = None) -> None:
    """The command line of a file of benchmarks."""
    parser = argparse.ArgumentParser(description="Time what is registered.")
    parser.add_argument("names", nargs="*", help=f"any of {', '.join(REGISTRY)} (default: all)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each combination of parameters")
    parser.add_argument("--json", action="store_true", help="one JSON line per timing")
    options = parser.parse_args(words)
    unknown = sorted(set(options.names) - set(REGISTRY))
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]!r}")
    device = pick_device(options.device)
    about = describe_device(device)
    if not options.json:
        print(f"{about['name']} ({device}), commit {commit()}\n")
        print("| benchmark | parameters | median | fastest | runs |\n| --- | --- | --- | --- | --- |")
    for name in options.names or REGISTRY:
        for timing in measure(name, device, options.seconds):
            if options.json:
                print(json.dumps(vars(timing) | {"device": about["name"], "commit": commit()}))
            else:
                values = ", ".join(f"{key}={value}" for key, value in timing.parameters.items())
                print(
                    f"| {name} | {values} | {timing.median * 1e3:.3g} ms | {timing.fastest * 1e3:.3g} ms "
                    f"| {timing.runs} |",
                    flush=True,
                )
