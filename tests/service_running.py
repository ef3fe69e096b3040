"""`meshwright serve` as a user starts it, with quick models, for tests that talk to it from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from service_stack import Stack, die_with_parent, free_port

__all__ = ["Running", "running"]

TESTS = Path(__file__).resolve().parent


@dataclass
class Running:
    """A service in processes of its own, that can be killed and started again at the same address."""

    stack: Stack
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Of every process of this service, and of commands that reach its store."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MESHWRIGHT_")}
        return inherited | {
            "PYTHONPATH": str(TESTS),
            "MESHWRIGHT_MODEL_FACTORY": "service_fast_model:make",
            "MESHWRIGHT_PORT": str(self.port),
            **self.stack.env,
            **self.env,
        }

    def start(self) -> None:
        """Returns once the API answers and a worker was seen."""
        with (self.stack.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from meshwright.cli.app import main; main()", "serve"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        deadline = time.monotonic() + 60
        while not self._is_ready():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=5).is_success
        except httpx.TransportError:
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends it, by asking or by killing its first process."""
        if self.process is not None:
            self.process.send_signal(how)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
            self.process = None

    def log(self) -> str:
        """The end of what it wrote."""
        return (self.stack.folder / "serve.log").read_text(errors="replace")[-4000:]


@contextmanager
def running(stack: Stack, **env: str) -> Iterator[Running]:
    """A service for the length of a block."""
    service = Running(stack, env)
    service.start()
    try:
        yield service
    finally:
        service.stop()
