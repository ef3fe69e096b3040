"""`meshwright synth`: examples with known truth, tidy or as untidy as real ones."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from meshwright.cli.console import emit, guarded, out, show_progress
from meshwright.errors import OptionError
from meshwright.progress import Plan, Stage

__all__ = ["synth"]


@guarded
def synth(
    output: Annotated[Path | None, typer.Argument(metavar="OUT", help="Folder to make.", show_default=False)] = None,
    name: Annotated[str, typer.Option("--object", help="What to render; --list shows all.")] = "toy_car",
    size: Annotated[int, typer.Option(help="Side of a picture in pixels.")] = 512,
    posed: Annotated[
        int, typer.Option(metavar="N", help="N pictures from all around in NeRF form, instead of six views.")
    ] = 0,
    plain: Annotated[
        bool, typer.Option("--plain", help="Only what a user would have: views on white and one kind of depth.")
    ] = False,
    depth: Annotated[
        list[str] | None, typer.Option(help="Kinds of depth: metric, linear8, norm. (default: all three)")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    disturb: Annotated[
        bool, typer.Option("--disturb", help="Make it as untidy as real views: scales and offsets per view, depth off.")
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="Disturb this six-view folder instead of rendering one."),
    ] = None,
    swap: Annotated[bool, typer.Option("--swap-left-right", help="With --disturb: exchange left and right.")] = False,
    mirror: Annotated[str | None, typer.Option(metavar="VIEW", help="With --disturb: flip this view.")] = None,
    studio: Annotated[
        bool, typer.Option("--studio", help="With --disturb: near-white ground with a soft shadow, no alpha.")
    ] = False,
    list_all: Annotated[bool, typer.Option("--list", help="Show the objects and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
) -> None:
    """Make an example of a procedural object: views, depth, exact cameras, the true surface, held-out views."""
    from meshwright.synth import DisturbConfig, SynthConfig, list_objects, write_example
    from meshwright.synth import disturb as disturb_folder

    if list_all:
        if as_json:
            emit("result", objects=list(list_objects()))
        else:
            out.print("\n".join(list_objects()))
        return
    if output is None:
        raise OptionError("No output folder was given.", hint="meshwright synth OUT, or --list for the objects.")
    if not disturb and (swap or mirror or studio or source):
        raise OptionError("--from, --swap-left-right, --mirror and --studio need --disturb.", hint="Add --disturb.")
    if disturb and posed:
        raise OptionError("Only six views can be disturbed.", hint="Leave out --posed or --disturb.")
    config = SynthConfig(
        size=size, posed=posed, plain=plain, seed=seed, depth=tuple(depth or ("metric", "linear8", "norm"))
    )
    untidy = DisturbConfig(swap_left_right=swap, mirror=mirror, studio=studio, seed=seed)
    plan = Plan([Stage(name="render", title=f"Rendering {name}", share=5)])
    if source is not None:
        disturb_folder(source, output, untidy)
    elif disturb:
        with (
            show_progress(plan, as_json=as_json) as monitor,
            tempfile.TemporaryDirectory(prefix="meshwright-synth-") as passing,
        ):
            write_example(name, Path(passing) / "tidy", config, monitor=monitor)
            disturb_folder(Path(passing) / "tidy", output, untidy)
    else:
        with show_progress(plan, as_json=as_json) as monitor:
            write_example(name, output, config, monitor=monitor)
    if as_json:
        emit("result", folder=str(output))
    else:
        out.print(f"wrote {output}", markup=False)
