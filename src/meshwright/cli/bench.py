"""`meshwright bench`: how long each stage takes here."""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

import meshwright
from meshwright.cli.console import emit, guarded, out, show_progress
from meshwright.device import describe_device, pick_device
from meshwright.errors import OptionError
from meshwright.models.registry import DEFAULT_MODEL
from meshwright.types import Quality

__all__ = ["bench"]


@guarded
def bench(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="INPUT", help="Views to reconstruct; a rendered toy car if not given.", show_default=False
        ),
    ] = None,
    quality: Annotated[Quality, typer.Option(help="As for reconstruct.")] = Quality.DRAFT,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    model: Annotated[str, typer.Option(help="As for reconstruct.")] = DEFAULT_MODEL,
    repeat: Annotated[int, typer.Option(help="Runs that count; one more goes before them to warm up.")] = 3,
    size: Annotated[int, typer.Option(help="Side of the rendered pictures in pixels.")] = 512,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
) -> None:
    """Time every stage on this machine: medians over several runs, and the device they were measured on."""
    from meshwright import pipeline
    from meshwright.models import AVAILABLE_MODELS
    from meshwright.progress import Plan, Stage
    from meshwright.synth import SynthConfig, write_example

    if repeat < 1:
        raise OptionError(f"repeat={repeat} is not at least 1.")
    if model not in AVAILABLE_MODELS:
        raise OptionError(f"model={model!r} is not known.", hint=f"Use one of {', '.join(AVAILABLE_MODELS)}.")
    stages = pipeline.stages(AVAILABLE_MODELS[model])
    share = sum(stage.share for stage in stages)
    runs = [Stage(name="warm-up", title="Warming up", share=share)]
    runs += [Stage(name=f"run {n}", title=f"Run {n} of {repeat}", share=share) for n in range(1, repeat + 1)]
    results = []
    with (
        tempfile.TemporaryDirectory(prefix="meshwright-bench-") as name,
        show_progress(Plan(runs), as_json=as_json) as monitor,
    ):
        passing = Path(name)
        views = source
        if views is None:
            monitor.report(0, "Rendering the example")
            write_example("toy_car", passing / "views", SynthConfig(size=size, plain=True))
            views = passing / "views"
        for index, run in enumerate(runs):
            inner = Plan(runs).monitor(run.name, monitor)
            results.append(
                pipeline.reconstruct(
                    views, passing / f"out{index}", monitor=inner, quality=quality, device=device, model=model
                )
            )
    medians = {name: statistics.median(result.timings[name] for result in results[1:]) for name in results[0].timings}
    total = statistics.median(result.seconds for result in results[1:])
    # The most memory since this process began; kilobytes on Linux, bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    about = describe_device(pick_device(device))
    if as_json:
        emit(
            "result",
            version=meshwright.__version__,
            device=about,
            model=model,
            quality=quality.value,
            runs=repeat,
            median_seconds={name: round(seconds, 4) for name, seconds in medians.items()},
            median_total_seconds=round(total, 3),
            peak_memory_bytes=peak,
        )
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    for stage_name, seconds in medians.items():
        table.add_row(stage_name, f"{seconds:.2f}")
    table.add_row("[bold]whole run[/]", f"[bold]{total:.2f}[/]")
    out.print(table)
    cores = f", {about['cores']} cores" if "cores" in about else ""
    out.print(
        f"meshwright {meshwright.__version__}, {model}, {quality.value}, median of {repeat}; "
        f"{about['name']}{cores} ({about['device']}); peak memory {peak / 1e9:.2f} GB",
        markup=False,
    )
