"""`meshwright jobs`: submit, watch, download, cancel and list jobs of a service, here or far away."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from meshwright.cli.console import emit, err, guarded, out
from meshwright.cli.follow import follow, receiving
from meshwright.errors import Cancelled, OptionError
from meshwright.types import JobStatus, Lighting, ModelType, Quality

if TYPE_CHECKING:
    from meshwright.client import Client, Job

__all__ = ["jobs"]

jobs = typer.Typer(no_args_is_help=True, help="Submit, watch, download, cancel and list jobs of a service.")

Url = Annotated[str, typer.Option("--url", envvar="MESHWRIGHT_URL", metavar="URL", help="Where the service runs.")]
# Never an option of its own: other users of the machine could read it in the list of processes.
KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", metavar="FILE", help="File with the API key. (default: MESHWRIGHT_API_KEY, if set)"),
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="What `jobs submit` printed.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")]

DEFAULT_URL = "http://127.0.0.1:8000"


@jobs.command()
@guarded
def submit(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder or ZIP with six views (and depth renders).")],
    model: Annotated[ModelType, typer.Option(help="What makes the mesh.")] = ModelType.RECONVIAGEN,
    quality: Annotated[
        Quality | None, typer.Option(help="How much time to spend. (default: the service's)", show_default=False)
    ] = None,
    lighting: Annotated[
        Lighting | None,
        typer.Option(help="pbr tells materials from light, with nvdiffrec. (default: baked)", show_default=False),
    ] = None,
    depth_dir: Annotated[Path | None, typer.Option(help="Depth renders, if they do not lie beside the views.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay until the job has ended.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="ZIP", help="Stay until the job has ended, then download to ZIP."),
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Address that the service tells of the job's end.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same KEY never makes a second job.")
    ] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Send six views; print the id of the job that was made.

    With --watch the exit code says whether the job completed.
    """
    if output is not None:
        _check_target(output)
    with _client(url, key_file) as client:
        job = client.submit(
            source,
            model=model,
            quality=quality,
            lighting=lighting,
            depth_dir=depth_dir,
            webhook_url=webhook,
            idempotency_key=idempotency_key,
        )
        if as_json:
            emit("submitted", **_document(job))
        else:
            out.print(job.job_id, markup=False)
            if secret := job.raw.get("webhook_secret"):
                err.print(f"Webhooks are signed with {secret}; it is not shown again.", markup=False)
        if watch or output is not None:
            _see_through(client, job.job_id, output, as_json)
        elif not as_json:
            err.print(f"Follow it with: meshwright jobs watch {job.job_id}", style="dim", markup=False)


@jobs.command()
@guarded
def watch(
    job_id: JobId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="ZIP", help="Download to ZIP when it has completed.")
    ] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show how a job goes on until it has ended; the exit code says whether it completed.

    Ctrl-C stops watching, not the job.
    """
    if output is not None:
        _check_target(output)
    with _client(url, key_file) as client:
        _see_through(client, job_id, output, as_json)


@jobs.command()
@guarded
def download(
    job_id: JobId,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PATH", help="Where to write. (default: JOB.zip, or the file's name)"),
    ] = None,
    file: Annotated[
        str | None, typer.Option(metavar="MODEL/NAME", help="One file instead of all, such as nvdiffrec/mesh.glb.")
    ] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Fetch what a completed job made. A download that broke goes on where it stopped."""
    model, _, name = (file or "").partition("/")
    if file is not None and not (model and name):
        raise OptionError(f"file={file!r} does not name a file.", hint="Write it as nvdiffrec/mesh.glb.")
    target = output or Path(Path(name).name if name else f"{job_id}.zip")
    _check_target(target)
    with _client(url, key_file) as client, receiving(target.name, as_json=as_json) as progress:
        if name:
            client.file(job_id, model, name, target, progress=progress)
        else:
            client.download(job_id, target, progress=progress)
    _say_written(target, as_json)


@jobs.command()
@guarded
def cancel(
    job_id: JobId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; take both steps.")] = False,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a job in two steps: ask for it, then confirm. Its files go.

    Without --yes and without a terminal only the first step is taken.
    """
    with _client(url, key_file) as client:
        answer = client.cancel(job_id, confirm=yes)
        if not yes and not as_json and err.is_terminal and typer.confirm(f"Cancel job {job_id}?", err=True):
            answer = client.cancel(job_id, confirm=True)
    if as_json:
        emit("result", **asdict(answer))
    else:
        out.print(answer.status, markup=False)
        if answer.message:
            err.print(answer.message, markup=False)


@jobs.command("list")
@guarded
def list_jobs(
    status: Annotated[JobStatus | None, typer.Option(help="Only these.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to show.")] = 20,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show your jobs, newest first."""
    found: list[Job] = []
    with _client(url, key_file) as client:
        for job in client.jobs(status=status):
            found.append(job)
            if len(found) == limit:
                break
    if as_json:
        emit("result", jobs=[_document(job) for job in found])
        return
    table = Table(box=None, pad_edge=False)
    for title in ("job", "status", "progress", "model", "created", "what happens"):
        table.add_column(title, justify="right" if title == "progress" else "left", no_wrap=True)
    for job in found:
        colour = _COLOURS.get(job.status, "default")
        what = job.error.message if job.error else job.step
        table.add_row(
            job.job_id,
            f"[{colour}]{job.status}[/]",
            f"{job.progress:.0f} %",
            job.model_type,
            job.created_at[:19].replace("T", " "),
            escape(what),
        )
    out.print(table if found else "No jobs.")


_COLOURS = {
    JobStatus.PROCESSING: "cyan",
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "yellow",
}


def _client(url: str, key_file: Path | None) -> Client:
    import os

    from meshwright.client import Client

    key = os.environ.get("MESHWRIGHT_API_KEY", "").strip()
    if key_file is not None:
        try:
            key = key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(
                f"The key file {key_file} cannot be read.", hint="Give a file that holds nothing but the key."
            ) from error
    return Client(url, api_key=key or None)


def _check_target(target: Path) -> None:
    """Said before a job runs for minutes, not after."""
    if target.is_dir():
        raise OptionError(f"{target} is a folder.", hint=f"Name a file, such as {target / 'shoe.zip'}.")
    if not target.parent.is_dir():
        raise OptionError(f"There is no folder {target.parent}.", hint="Make it first.")


def _see_through(client: Client, job_id: str, output: Path | None, as_json: bool) -> None:
    try:
        job = follow(client.watch(job_id), job_id, as_json=as_json)
    except (KeyboardInterrupt, Cancelled):
        if not as_json:
            err.print(f"The job goes on; end it with: meshwright jobs cancel {job_id}", style="dim", markup=False)
        raise
    job.check()
    if as_json:
        emit("result", **_document(job))
    else:
        for model, quality in job.quality.items():
            if isinstance(quality, dict):
                err.print(f"{model}: {quality.get('status', '')}: {quality.get('summary', '')}", markup=False)
    if output is not None:
        with receiving(output.name, as_json=as_json) as progress:
            client.download(job_id, output, progress=progress)
        _say_written(output, as_json)


def _say_written(target: Path, as_json: bool) -> None:
    if as_json:
        emit("written", path=str(target), bytes=target.stat().st_size)
    else:
        err.print(f"wrote {target}", markup=False)


def _document(job: Job) -> dict[str, Any]:
    return dict(job.raw)
