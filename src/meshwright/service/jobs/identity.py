"""Who works on a job, said so that somebody on the same machine can tell for certain whether they still live."""

from __future__ import annotations

import os
import socket
from pathlib import Path

__all__ = ["is_dead", "own_identity"]

_PROC = Path("/proc")


def own_identity() -> str:
    """`host/machine/process`: readable, and unlike that of any other process there ever was."""
    pid = os.getpid()
    return f"{socket.gethostname()[:60]}/{_machine()}/{pid}.{_began(pid) or 0}"


def is_dead(identity: str) -> bool:
    """Whether this process has certainly ended; False where that cannot be seen from here."""
    try:
        _, machine, process = identity.partition("#")[0].rsplit("/", 2)
        pid, began = (int(part) for part in process.split("."))
    except ValueError:
        return False
    if machine != _machine() or machine == "unknown" or not began:
        return False
    return _began(pid) != began


def _machine() -> str:
    """This boot of this machine, and this space of process numbers: containers have their own."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot[:13]}.{os.stat(_PROC / 'self/ns/pid').st_ino}"
    except OSError:
        return "unknown"


def _began(pid: int) -> int | None:
    """When a process began, in ticks since boot; None for one that is not there or only waits to be buried."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    after_name = text.rpartition(")")[2].split()
    return None if after_name[0] in "ZX" else int(after_name[19])
