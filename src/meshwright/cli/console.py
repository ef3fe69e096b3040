"""What the user sees while a command runs, and how it ends: progress, results and errors, for people and programs.

Progress goes to stderr, results to stdout. With `--json` stdout carries JSON Lines, one event each, and stderr stays
empty: `{"event": "progress", ...}` while it runs, then one `{"event": "result", ...}` or `{"event": "error", ...}`.
"""

from __future__ import annotations

import functools
import json
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ParamSpec

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from meshwright.errors import Cancelled, MeshwrightError
from meshwright.progress import Plan, Stage
from meshwright.types import Monitor

__all__ = ["emit", "err", "guarded", "out", "show_progress"]

Parameters = ParamSpec("Parameters")

INTERNAL_ERROR = 70
"""Exit code for a fault in meshwright itself (EX_SOFTWARE)."""

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def emit(event: str, **values: object) -> None:
    """One JSON line on stdout."""
    sys.stdout.write(json.dumps({"event": event, **values}, default=str) + "\n")
    sys.stdout.flush()


def guarded(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Ends a command with a message and an exit code whatever happens in it; see docs/cli.md.

    A parameter called `as_json` decides how errors are shown.
    """

    @functools.wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        as_json = bool(kwargs.get("as_json", False))
        try:
            with _terminable():
                command(*args, **kwargs)
        except (KeyboardInterrupt, Cancelled):
            code = _fail(Cancelled("Stopped.", hint="Nothing half-written was left behind."), as_json)
        except MeshwrightError as error:
            code = _fail(error, as_json)
        except BrokenPipeError:
            sys.stderr.close()  # whoever read our output has gone; nothing is wrong
            code = 0
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            code = _fail(_unexpected(error), as_json)
        else:
            return
        raise typer.Exit(code)

    return run


def _fail(error: MeshwrightError, as_json: bool) -> int:
    if as_json:
        emit("error", code=error.code, message=error.message, hint=error.hint, details=error.details)
    elif isinstance(error, Cancelled):
        err.print(str(error), style="bold")
    else:
        err.print(Text.assemble(("error: ", "bold red"), error.message.rstrip()))
        if error.hint:
            err.print(Text.assemble(("hint:  ", "bold"), error.hint))
    return error.exit_code


def _unexpected(error: Exception) -> MeshwrightError:
    """A fault of ours: the trace goes to a file, the user sees one line."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="meshwright-error-", suffix=".log", delete=False, encoding="utf-8"
    ) as log:
        log.write("".join(traceback.format_exception(error)))
    fault = MeshwrightError(
        f"Unexpected {type(error).__name__}; this is a fault in meshwright. The trace is in {log.name}.",
        hint="Please report it with that file.",
        log=log.name,
    )
    fault.code = "internal"
    fault.exit_code = INTERNAL_ERROR
    return fault


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM is treated as Ctrl-C, so that it leaves nothing half-written either."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def show_progress(plan: Plan, *, as_json: bool) -> Iterator[Monitor]:
    """A monitor that shows progress the way this output can: JSON lines, a live display, or plain lines."""
    if as_json:
        yield _JsonMonitor(plan)
    elif err.is_terminal:
        with _LiveMonitor(plan) as live:
            yield live
    else:
        yield _PlainMonitor(plan)


class _JsonMonitor:
    """One line per report, at most ten a second within a stage."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.stage = ""
        self.last = 0.0

    def report(self, percent: float, step: str) -> None:
        stage = self.plan.at(percent).stage.name
        now = time.monotonic()
        if stage == self.stage and now - self.last < 0.1 and percent < 100:
            return
        self.stage, self.last = stage, now
        emit("progress", percent=round(percent, 2), stage=stage, step=step)

    def check(self) -> None:
        """Stopping comes as a signal."""


class _PlainMonitor:
    """One line per stage, for logs and pipes."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.stage = ""

    def report(self, percent: float, step: str) -> None:
        stage = self.plan.at(percent).stage
        if stage.name != self.stage and percent < 100:
            self.stage = stage.name
            err.print(f"[{percent:3.0f} %] {_heading(stage, step)}", markup=False)

    def check(self) -> None:
        """Stopping comes as a signal."""


class _LiveMonitor:
    """A bar per stage: finished ones with their time, the running one with its step, and how long it will take yet."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            _TimeColumn(),
            TextColumn("[dim]{task.fields[step]}"),
            console=err,
            refresh_per_second=8,
        )
        self.tasks: dict[str, TaskID] = {}
        self.total: TaskID | None = None

    def __enter__(self) -> _LiveMonitor:
        self.progress.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self.total is not None:
            self.progress.remove_task(self.total)
        self.progress.stop()

    def report(self, percent: float, step: str) -> None:
        span = self.plan.at(percent)
        name = span.stage.name
        if name not in self.tasks:
            for task in self.tasks.values():
                self.progress.update(task, completed=100, step="")
            if self.total is not None:
                self.progress.remove_task(self.total)
            self.tasks[name] = self.progress.add_task(_heading(span.stage, step), total=100, step="")
            started = self.progress.tasks[0].start_time
            self.total = self.progress.add_task("[bold]Total", total=100, step="", usual=self.plan.seconds)
            self.progress.tasks[-1].start_time = started
        width = max(span.end - span.start, 1e-9)
        within = 100.0 if percent >= 100 else 100 * (percent - span.start) / width
        shown = "" if step.startswith(span.stage.title) or percent >= 100 else step
        self.progress.update(self.tasks[name], completed=within, step=shown)
        if self.total is not None:
            self.progress.update(self.total, completed=percent)

    def check(self) -> None:
        """Stopping comes as a signal."""


def _heading(stage: Stage, step: str) -> str:
    """The title of a stage, with what its first report adds to it ("... : taken from before")."""
    return step if step.startswith(stage.title) else stage.title


class _TimeColumn(ProgressColumn):
    """Elapsed seconds of a stage; for the whole, an estimate of what is left."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        elapsed = task.finished_time if task.finished else task.elapsed
        if elapsed is None:
            return Text("")
        if "usual" in task.fields:
            return Text(
                f"about {_duration(_time_left(elapsed, task.completed, task.fields['usual']))} left", style="cyan"
            )
        return Text(f"{elapsed:5.1f} s", style="green" if task.finished else "")


def _time_left(elapsed: float, percent: float, usual: float) -> float:
    """Seconds that remain, if this machine goes on as fast, compared with the usual duration, as it did so far.

    Five seconds as usual are taken for granted: without them the estimate would jump about in the beginning.
    """
    pace = (elapsed + 5) / (usual * percent / 100 + 5)
    return pace * usual * (100 - percent) / 100


def _duration(seconds: float) -> str:
    """Seconds in words: `40 s`, `3 min`."""
    return f"{max(1, round(seconds))} s" if seconds < 100 else f"{round(seconds / 60)} min"
