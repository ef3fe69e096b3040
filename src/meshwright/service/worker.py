"""`python -m meshwright.service.worker`: one worker process, as `meshwright worker` and `meshwright serve` start it."""

from __future__ import annotations

import os
import sys

from meshwright.errors import MeshwrightError
from meshwright.service.logs import configure_logs
from meshwright.service.processes import die_with_parent
from meshwright.service.settings import Settings, load_settings

__all__ = ["work"]


def work(settings: Settings) -> int:
    """Works on jobs until the process is told to end; returns its exit code."""
    configure_logs(settings)
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    from meshwright.service.tasks import run_worker

    return run_worker(settings)


def _main() -> int:
    parent = os.environ.pop("MESHWRIGHT_PARENT", "")
    if parent:
        die_with_parent(int(parent))
        os.nice(5)  # beside an API, which should answer while models compute on all cores
    try:
        return work(load_settings())
    except MeshwrightError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(_main())
