"""The program `meshwright`."""

from __future__ import annotations

from typing import Annotated

import typer

import meshwright

__all__ = ["app", "main"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Six views of an object become a textured mesh.")


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


def main() -> None:
    """Runs the program."""
    app()
