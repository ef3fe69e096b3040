"""`meshwright worker`: one more process that works on jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from meshwright.cli.console import guarded
from meshwright.cli.extras import service_extra

__all__ = ["worker"]


@guarded
def worker(
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. (default: auto)")] = None,
) -> None:
    """Work on jobs of the service, one at a time, until told to end.

    Store, queue and storage are named by MESHWRIGHT_DATABASE_URL, MESHWRIGHT_BROKER_URL and MESHWRIGHT_STORAGE_URL; see
    docs/service.md. On SIGTERM the job that is going on returns to the queue and is continued by another worker.
    """
    with service_extra():
        import os

        from meshwright.service.settings import load_settings
        from meshwright.service.worker import work

    if device is not None:
        os.environ["MESHWRIGHT_DEVICE"] = device  # the process that does the work reads the settings anew
    code = work(load_settings())
    if code:
        raise typer.Exit(code)
