"""`meshwright serve`: the job service on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meshwright.cli.console import err, guarded
from meshwright.cli.extras import service_extra
from meshwright.errors import MeshwrightError

__all__ = ["serve"]


@guarded
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind to. (default: 127.0.0.1)")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind to. (default: 8000)")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Worker processes; 0 where they run elsewhere. (default: 1)")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Home of store, queue and files. (default: meshwright's in your data folder)")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. (default: auto)")] = None,
) -> None:
    """Start the job service: API and worker, with store, queue and files under one folder.

    Every option is also an environment variable, MESHWRIGHT_PORT and so on; docs/service.md lists many more.
    """
    with service_extra():
        from meshwright.service.serve import serve as run
        from meshwright.service.settings import load_settings

    settings = load_settings(host=host, port=port, workers=workers, data_dir=data_dir, device=device)

    def ready() -> None:
        address = f"[{settings.host}]" if ":" in settings.host else settings.host
        err.print(
            f"meshwright listens on http://{address}:{settings.port}  (docs: /docs; Ctrl-C ends it)", markup=False
        )
        if not settings.auth_required and not settings.is_loopback:
            err.print("[yellow]warning:[/] anybody who reaches this address can submit jobs (MESHWRIGHT_AUTH=off)")

    code = run(settings, ready=ready)
    if code:
        raise MeshwrightError("The service has ended with an error.", hint="Its messages, above, say why.")
