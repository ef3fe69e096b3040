"""The program `meshwright`: its commands, and nothing else."""

from __future__ import annotations

import gc
import logging
import os
import sys
from typing import Annotated

import typer

import meshwright
from meshwright.cli.bench import bench
from meshwright.cli.doctor import doctor
from meshwright.cli.evaluate import evaluate
from meshwright.cli.jobs import jobs
from meshwright.cli.keys import keys
from meshwright.cli.reconstruct import reconstruct
from meshwright.cli.serve import serve
from meshwright.cli.synth import synth
from meshwright.cli.weights import weights
from meshwright.cli.worker import worker

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(reconstruct)
app.command()(evaluate)
app.command()(synth)
app.command()(bench)
app.command()(doctor)
app.command()(serve)
app.command()(worker)
app.add_typer(weights, name="weights")
app.add_typer(jobs, name="jobs")
app.add_typer(keys, name="keys")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"meshwright {meshwright.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Six views of an object become a textured triangle mesh that was checked against them."""
    del version


_ONE_SHOT = ("bench", "evaluate", "reconstruct")
"""Commands after which nothing is left to be tidied up by Python."""


def main() -> None:
    """Runs the program."""
    one_shot = len(sys.argv) > 1 and sys.argv[1] in _ONE_SHOT
    if one_shot:
        # Imports make a million objects that stay: going through them for garbage as often as Python would takes a
        # fifth of their time.
        gc.set_threshold(50_000, 20, 100)
    try:
        app()
    except SystemExit as end:
        if one_shot and isinstance(end.code, int | None):
            _leave(end.code or 0)
        raise


def _leave(code: int) -> None:
    """Ends the process at once, if what was said could be delivered.

    Python would first take torch, Warp and all they hold apart, half a second on a CPU and more with a GPU's context;
    the system takes it back anyway. By now every file is in its place and every thread has ended.
    """
    logging.shutdown()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # whoever read it has gone, or it was closed because of that: Python's way then
        return
    os._exit(code)
