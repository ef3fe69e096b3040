"""Everything on one machine: the API and its workers, each a process of its own, started again when it dies.

The processes die with this one, even if it is killed. On SIGTERM or Ctrl-C they end in good order: the API answers what
it has begun, workers give their jobs back to the queue.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from meshwright.errors import MeshwrightError
from meshwright.service.logs import configure_logs
from meshwright.service.settings import Settings
from meshwright.service.storage import open_storage
from meshwright.service.store import open_store

__all__ = ["serve"]

log = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 30.0
_KILLED_PAUSE_S = 0.5
_SETTLED_S = 20.0
"""A process that has run for so long has not failed to start; the next pause is short again."""
_HOPELESS = 5
"""So many failures to start in a row, before it ever ran, end the whole."""


@dataclass
class _Child:
    """One process, in however many lives."""

    name: str
    module: str
    process: subprocess.Popen[bytes] | None = None
    begun: float = 0.0
    next_start: float = 0.0
    failures: int = 0
    has_run: bool = False
    env: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module],
            env=self.env | {"MESHWRIGHT_PARENT": str(os.getpid())},
            stdin=subprocess.DEVNULL,
            # Ctrl-C goes to this process alone; it tells the others.
            start_new_session=True,
        )


def serve(settings: Settings, *, ready: Callable[[], None] = lambda: None) -> int:
    """Runs API and workers until the process is told to end.

    Args:
        settings: What to run.
        ready: Called once the processes are started.
    Returns:
        Exit code.
    Raises:
        MeshwrightError: Store or storage cannot be used; said before anything is started.
    """
    configure_logs(settings)
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    open_store(settings, patience_s=10).close()
    open_storage(settings).check()

    env = _environment(settings)
    children = [_Child("api", "meshwright.service.http", env=env)]
    children += [
        _Child(f"worker {count + 1}", "meshwright.service.worker", env=env) for count in range(settings.workers)
    ]
    stop = threading.Event()

    def leave(signum: int, frame: FrameType | None) -> None:
        del frame
        log.info("%s: ending", signal.Signals(signum).name)
        stop.set()

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        for child in children:
            child.start()
        ready()
        while not stop.wait(0.2):
            for child in children:
                _revive(child)
        return 0
    finally:
        _end(children, settings.shutdown_s)
        for number, handler in before.items():
            signal.signal(number, handler)


def _revive(child: _Child) -> None:
    """Starts a process again that has died, with growing pauses."""
    now = time.monotonic()
    if child.process is None:
        if now >= child.next_start:
            child.start()
        return
    code = child.process.poll()
    if code is None:
        if now - child.begun > _SETTLED_S:
            child.failures, child.has_run = 0, True
        return
    child.process = None
    child.failures += 1
    if child.failures >= _HOPELESS and not child.has_run and code > 0:
        raise MeshwrightError(
            f"The {child.name} does not start.", hint="Its own messages, above, say why.", exit_code=code
        )
    # Who was killed comes back at once; who ended by itself would likely do so again.
    pause = _KILLED_PAUSE_S if code < 0 else min(0.25 * 2 ** (child.failures - 1), _LONGEST_PAUSE_S)
    child.next_start = now + pause
    log.warning("the %s has ended (%s); it is started again in %.1f s", child.name, _said(code), pause)


def _said(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _end(children: list[_Child], patience_s: float) -> None:
    running = [child.process for child in children if child.process is not None and child.process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("process %d does not end by itself; killing it", process.pid)
            process.kill()
            process.wait()


def _environment(settings: Settings) -> dict[str, str]:
    """This process's variables, with the settings as they are after options of the command line."""
    env = dict(os.environ)
    for name, value in settings.model_dump(mode="json", exclude_none=True).items():
        env[f"MESHWRIGHT_{name.upper()}"] = str(value).lower() if isinstance(value, bool) else str(value)
    return env
