"""How a job far away, and a download, look while they go on: JSON lines, a live display, or plain lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from meshwright.cli.console import emit, err
from meshwright.errors import ServiceError

if TYPE_CHECKING:
    from meshwright.client import Job
    from meshwright.client.download import Progress as Receiver

__all__ = ["follow", "receiving"]


def follow(states: Iterator[Job], job_id: str, *, as_json: bool) -> Job:
    """Shows every state of a job; returns the last."""
    last = None
    if as_json:
        for last in states:
            emit(
                "progress",
                percent=round(last.progress, 2),
                status=last.status.value,
                model=last.current_model,
                step=last.step,
            )
    elif err.is_terminal:
        last = _live(states, job_id)
    else:
        said = ""
        for last in states:
            what = _what(last)
            if what != said:
                err.print(f"[{last.progress:3.0f} %] {what}", markup=False)
                said = what
    if last is None:
        raise ServiceError(f"The service said nothing of job {job_id}.")
    return last


def _what(job: Job) -> str:
    words = job.step or job.status.value
    return f"{job.current_model}: {words}" if job.current_model else words


def _live(states: Iterator[Job], job_id: str) -> Job | None:
    last = None
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[what]}", markup=True),
        console=err,
        refresh_per_second=8,
    )
    with bar:
        task = bar.add_task(job_id, total=100, what="")
        for last in states:
            bar.update(task, completed=last.progress, what=_what(last).replace("[", "\\["))
    return last


@contextmanager
def receiving(name: str, *, as_json: bool) -> Iterator[Receiver]:
    """A callback for a download: a bar on a terminal, nothing elsewhere."""
    if as_json or not err.is_terminal:
        yield lambda here, total: None
        return
    with Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=24), DownloadColumn(), TransferSpeedColumn(), console=err
    ) as bar:
        task = bar.add_task(name.replace("[", "\\["), total=None)
        yield lambda here, total: bar.update(task, completed=here, total=total)
