"""`python -m meshwright.service.http`: the API as one process, as `meshwright serve` starts it."""

from __future__ import annotations

import os
import sys

from meshwright.errors import MeshwrightError
from meshwright.service.logs import configure_logs
from meshwright.service.processes import die_with_parent
from meshwright.service.settings import Settings, load_settings

__all__ = ["listen"]


def listen(settings: Settings) -> int:
    """Answers HTTP requests until the process is told to end; returns its exit code."""
    import uvicorn

    from meshwright.service.api.app import create_app
    from meshwright.service.storage import open_storage
    from meshwright.service.store import open_store

    configure_logs(settings)
    store = open_store(settings, patience_s=settings.store_patience_s)
    store.patience_s = 2.0  # a client waits: it hears soon that it should come back later
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings, store, open_storage(settings)),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=True,
            forwarded_allow_ips=settings.trusted_proxies,
            timeout_graceful_shutdown=max(1, round(settings.shutdown_s / 2)),
            timeout_keep_alive=30,
            h11_max_incomplete_event_size=64 * 1024,
        )
    )
    server.run()
    store.close()
    return 0 if server.started else 1


def _main() -> int:
    parent = os.environ.pop("MESHWRIGHT_PARENT", "")
    if parent:
        die_with_parent(int(parent))
    try:
        return listen(load_settings())
    except MeshwrightError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(_main())
