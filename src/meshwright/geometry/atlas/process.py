"""xatlas at arm's length: in a process that is killed when it takes too long or nobody wants its result any more."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from meshwright.errors import MeshwrightError
from meshwright.types import Array, Mesh, Monitor

__all__ = ["unwrap_xatlas"]

PAUSE = 0.05
"""Seconds between looks at the process."""


def unwrap_xatlas(
    mesh: Mesh, texture_size: int, padding: float, time_limit: float, monitor: Monitor
) -> tuple[Array, Array] | None:
    """Let xatlas unwrap a mesh.

    Returns:
        `uv` float32 [U, 2] and `uv_faces` int32 [F, 3], or None if the time limit passed.
    Raises:
        MeshwrightError: xatlas failed.
        Cancelled: The monitor wants to stop; the process is gone.
    """
    with tempfile.TemporaryDirectory(prefix="meshwright-atlas-") as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, vertices=mesh.vertices, faces=mesh.faces, texture_size=texture_size, padding=padding)
        command = [sys.executable, "-m", "meshwright.geometry.atlas.worker", str(source), str(target)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            try:
                end = time.monotonic() + time_limit
                while process.poll() is None:
                    monitor.check()
                    if time.monotonic() > end:
                        return None
                    time.sleep(PAUSE)
                errors = process.stderr.read().decode(errors="replace") if process.stderr else ""
            finally:
                process.kill()
        if process.returncode != 0 or not target.exists():
            last = errors.strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
            raise MeshwrightError(f"xatlas could not unwrap the mesh: {last[0]}.", hint="Use method='views'.")
        with np.load(target) as data:
            return data["uv"], data["uv_faces"]
