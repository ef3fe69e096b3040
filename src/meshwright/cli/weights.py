"""`meshwright weights`: which weights there are, on what terms, and how they come to this machine."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from meshwright.cli.console import emit, err, guarded, out, show_progress
from meshwright.errors import FileFault, LicenceNotAcceptedError, OptionError, OutputError
from meshwright.progress import Plan, Stage
from meshwright.weights import FAMILIES, LARGE, Store, family_named
from meshwright.weights.catalogue import Family, Part
from meshwright.weights.licences import accept, acceptance, card_licence, not_accepted, shown
from meshwright.weights.verify import examine, raise_faults, size_in_words
from meshwright.weights.verify import verify as verify_files

__all__ = ["weights"]

weights = typer.Typer(no_args_is_help=True, help="Fetch, check and pass on the weights of networks.")

AsJson = Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")]
Name = Annotated[str, typer.Argument(metavar="FAMILY", help="As `weights list` shows it.")]
Accept = Annotated[
    bool, typer.Option("--accept-licence", help="You have read the licences of all parts and accept them.")
]


@weights.command("list")
@guarded
def list_all(as_json: AsJson = False) -> None:
    """Show every family: its parts, their licences, and what of them is here."""
    store = Store()
    documents = [_document(family_named(family.name), store) for family in FAMILIES]
    if as_json:
        emit("result", folder=str(store.folder), families=documents)
        return
    for index, family in enumerate(family_named(family.name) for family in FAMILIES):
        if index:
            out.print()
        _print_family(family, store, documents[index])


@weights.command()
@guarded
def where(
    family: Annotated[
        str | None, typer.Argument(metavar="FAMILY", help="Also show where each of its networks lies.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the folder that weights lie in. MESHWRIGHT_WEIGHTS names another one."""
    from meshwright.weights.verify import locate

    store = Store()
    files = locate(family_named(family), store) if family else {}
    if as_json:
        paths = {name: {"weights": str(item.weights), "config": str(item.config or "")} for name, item in files.items()}
        emit("result", folder=str(store.folder), networks=paths)
        return
    if not files:
        out.print(str(store.folder), markup=False)
    for name, item in files.items():
        there = "" if item.weights.is_file() else "  (not there)"
        out.print(f"{name}: {item.weights}{there}", markup=False)


@weights.command()
@guarded
def fetch(
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="As `weights list` shows it.")] = LARGE,
    accept_licence: Accept = False,
    mirror: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar="MESHWRIGHT_WEIGHTS_MIRROR",
            help="A web server with a folder laid out as `weights where` is. (For one that speaks as the hub does: "
            "HF_ENDPOINT.)",
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Fetch what is missing, or broken, of a family. Type it again after a break: it goes on where it was."""
    from meshwright.weights.fetch import fetch as fetch_wanted
    from meshwright.weights.fetch import plan_of, survey

    wanted_family, store = family_named(family), Store()
    if wanted_family.packaged:
        if as_json:
            emit("result", family=family, fetched=0, bytes=0, folder=str(store.folder))
        else:
            out.print(f"{family} comes with meshwright; nothing is to be fetched.", markup=False)
        return
    _settle_licences(
        wanted_family, store, accept_licence, f"meshwright weights fetch {family} --accept-licence", as_json
    )
    with show_progress(_single("check", "Checking what is there", 10.0), as_json=as_json) as monitor:
        wanted, found = survey(wanted_family, store, mirror=mirror, monitor=monitor)
    _say_pinned(found.pinned, as_json)
    came = 0
    if wanted:
        if not as_json:
            total, here = sum(item.size for item in wanted), sum(item.here for item in wanted)
            already = f", {size_in_words(here)} of them are here" if here else ""
            err.print(f"{len(wanted)} files, {size_in_words(total)}{already}, to {store.folder}", markup=False)
        try:
            with show_progress(plan_of(wanted), as_json=as_json) as monitor:
                came = fetch_wanted(wanted, store, monitor)
        except KeyboardInterrupt:
            if not as_json:
                err.print("What came so far is kept: the same command goes on after it.")
            raise
    faults, _ = examine(wanted_family, store)
    raise_faults(wanted_family, store, faults)
    if as_json:
        emit("result", family=family, fetched=len(wanted), bytes=came, folder=str(store.folder))
        return
    for part in wanted_family.parts:
        card = card_licence(wanted_family, part, store)
        if card and wanted:
            err.print(f"The model card of {part.folder} gives its licence as: {card}", markup=False)
    said = f"{size_in_words(came)} came" if wanted else "nothing was missing"
    out.print(f"{family} is installed in {store.folder} ({said}).", markup=False)


@weights.command()
@guarded
def verify(
    family: Annotated[
        str | None, typer.Argument(metavar="FAMILY", help="Only this one. (default: all that is here)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read every file and compare it with what is known of it: missing, cut short, renamed, changed, wrong shapes.

    Exit code 5 if anything is wrong.
    """
    store = Store()
    chosen = [family_named(family)] if family else [item for item in _all() if _anything_here(item, store)]
    results = []
    plan = Plan(
        [Stage(name=item.name, title=f"Reading {item.name}", share=max(item.size, 1.0) / 5e8) for item in chosen]
    )
    with show_progress(plan, as_json=as_json) as monitor:
        for item in chosen:
            results.append((item, verify_files(item, store, plan.monitor(item.name, monitor))))
        monitor.report(100.0, "Read")
    for _, found in results:
        _say_pinned(found.pinned, as_json)
        for note in found.notes:
            if not as_json:
                err.print(f"note: {note}", style="dim", markup=False)
    for item, found in results:
        raise_faults(item, store, found.faults)
    if as_json:
        emit(
            "result",
            families=[
                {"family": item.name, "files": found.checked, "pinned": found.pinned, "notes": found.notes}
                for item, found in results
            ],
        )
        return
    for item, found in results:
        files = "1 file" if found.checked == 1 else f"{found.checked} files"
        out.print(f"{item.name}: whole and as it should be ({files}).", markup=False)
    if not family and len(results) < len(FAMILIES):
        away = [item.name for item in _all() if item not in chosen]
        out.print(f"{', '.join(away)}: not installed.", style="dim", markup=False)


@weights.command()
@guarded
def remove(
    family: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete the files of a family, also what came of an unfinished fetch. Accepted licences stay accepted."""
    item, store = family_named(family), Store()
    if item.packaged:
        raise OptionError(
            f"{family} comes with meshwright and is not removed.", hint="`weights list` shows the others."
        )
    files = [store.part_folder(item, part) / entry.path for part in item.parts for entry in part.files]
    there = [file for file in files if file.is_file()]
    leftovers = sorted(store.partial.glob("*")) if store.partial.is_dir() else []
    size = sum(file.stat().st_size for file in (*there, *leftovers))
    if not there and not leftovers:
        if as_json:
            emit("result", family=family, removed=0, bytes=0)
        else:
            out.print(f"Nothing of {family} is in {store.folder}.", markup=False)
        return
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise OptionError(f"{len(there)} files would be deleted.", hint="Add --yes.")
        typer.confirm(f"Delete {len(there)} files ({size_in_words(size)}) from {store.folder}?", abort=True, err=True)
    try:
        with store.writing():
            for file in (*there, *leftovers):
                file.unlink(missing_ok=True)
            for part in item.parts:
                store.forget(part.folder)
                _remove_empty(store.part_folder(item, part), store.folder)
    except OSError as error:
        raise OutputError(
            f"A file cannot be deleted: {error.strerror or error}.", hint="Ask who may write there."
        ) from error
    if as_json:
        emit("result", family=family, removed=len(there), bytes=size)
    else:
        out.print(f"{len(there)} files of {family} are deleted ({size_in_words(size)}).", markup=False)


@weights.command()
@guarded
def export(
    family: Name,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="TAR", help="The bundle to write.")],
    as_json: AsJson = False,
) -> None:
    """Write a family into one file, for a machine without internet access. Everything is read and compared first."""
    from meshwright.weights.bundle import export_bundle

    item, store = family_named(family), Store()
    with show_progress(_single("export", f"Exporting {family}", max(item.size, 1) / 2e8), as_json=as_json) as monitor:
        size = export_bundle(item, store, output, monitor)
    if as_json:
        emit("result", family=family, file=str(output), bytes=size)
    else:
        out.print(
            f"{output} ({size_in_words(size)}). Take it along and type: meshwright weights import {output.name}",
            markup=False,
        )


@weights.command("import")
@guarded
def import_(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A bundle, or a folder that repositories were copied to.")
    ],
    accept_licence: Accept = False,
    as_json: AsJson = False,
) -> None:
    """Bring weights in from a bundle or a folder. Every file is compared before it appears in its place."""
    from meshwright.weights.bundle import family_of, import_from

    store = Store()
    item = family_of(source)
    command = f"meshwright weights import {source} --accept-licence"
    _settle_licences(item, store, accept_licence, command, as_json)
    with show_progress(_single("import", f"Importing {item.name}", 30.0), as_json=as_json) as monitor:
        _, count = import_from(source, store, monitor)
    faults, _ = examine(item, store)
    missing = [fault.file for fault in faults]
    if as_json:
        emit("result", family=item.name, imported=count, missing=missing, folder=str(store.folder))
        return
    out.print(f"{count} files of {item.name} came to {store.folder}.", markup=False)
    if missing:
        err.print(f"Not everything is here yet: {', '.join(missing)}.", style="yellow", markup=False)


# --- parts of them -------------------------------------------------------------------------------------------------


def _all() -> list[Family]:
    return [family_named(family.name) for family in FAMILIES]


def _anything_here(family: Family, store: Store) -> bool:
    return any(
        (store.part_folder(family, part) / entry.path).is_file() for part in family.parts for entry in part.files
    )


def _single(name: str, title: str, share: float) -> Plan:
    return Plan([Stage(name=name, title=title, share=share)])


def _settle_licences(family: Family, store: Store, accepted: bool, command: str, as_json: bool) -> None:
    """Shows terms that nobody has accepted here yet, and goes on only if they are."""
    fresh = not_accepted(family, store)
    if not fresh:
        return
    if not as_json:
        err.print(f"{family.name} consists of parts by different authors. Their terms:\n", style="bold", markup=False)
        for part in fresh:
            _print_terms(part)
    if not accepted:
        if as_json or not sys.stdin.isatty():
            names = ", ".join(part.folder for part in fresh)
            raise LicenceNotAcceptedError(
                f"The licences of {names} have not been accepted.",
                hint=f"If you accept them: {command}",
                licences={part.folder: shown(part) for part in fresh},
                command=command,
            )
        typer.confirm("Do you accept these terms?", abort=True, err=True)
    accept(family, store)
    if not as_json:
        err.print(f"Accepted, and recorded in {store.record_path}.\n", style="dim", markup=False)


def _print_terms(part: Part) -> None:
    heading, *lines = shown(part).rstrip().splitlines()
    err.print(heading, style="bold", markup=False)
    for line in lines:
        err.print(_wrapped(line.strip()), markup=False)
    err.print()


def _wrapped(line: str, indent: str = "  ") -> str:
    import textwrap

    width = min(max(shutil.get_terminal_size().columns, 40), 100)
    return textwrap.fill(
        line, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _say_pinned(names: list[str], as_json: bool) -> None:
    if names and not as_json:
        err.print(
            f"Nobody has published the hashes of {len(names)} files: they are recorded as they are now.",
            style="dim",
            markup=False,
        )


def _document(family: Family, store: Store) -> dict[str, object]:
    faults, notes = examine(family, store)
    wrong = {
        part.folder: [fault for fault in faults if fault.file.startswith(f"{part.folder}/")] for part in family.parts
    }
    parts = []
    for part in family.parts:
        accepted = acceptance(part, store)
        parts.append(
            {
                "part": part.folder,
                "title": part.title,
                "state": _state(wrong[part.folder], part),
                "faults": [f"{fault.file}: {fault.message}" for fault in wrong[part.folder]],
                "bytes": part.size,
                "bytes_here": _bytes_here(family, part, store),
                "revision": store.revision(part.folder) or part.revision,
                "licence": part.licence.name,
                "consequence": part.licence.consequence,
                "accepted": "" if accepted is None else accepted.moment,
                "model_card_licence": card_licence(family, part, store),
            }
        )
    ready = not faults and not not_accepted(family, store)
    return {"family": family.name, "title": family.title, "ready": ready, "parts": parts, "notes": notes}


def _bytes_here(family: Family, part: Part, store: Store) -> int:
    """What the files of a part take on this disk."""
    files = [store.part_folder(family, part) / entry.path for entry in part.files]
    return sum(file.stat().st_size for file in files if file.is_file())


def _state(faults: list[FileFault], part: Part) -> str:
    """`installed`, `missing` (all of it), `incomplete` or `broken`."""
    if not faults:
        return "installed"
    if all(fault.code == "weights.missing" for fault in faults):
        return "missing" if len(faults) >= sum(entry.needed for entry in part.files) else "incomplete"
    return "broken"


_COLOURS = {"installed": "green", "missing": "yellow", "incomplete": "yellow", "broken": "bold red"}


def _print_family(family: Family, store: Store, document: dict[str, object]) -> None:
    state = "[green]ready[/]" if document["ready"] else "[yellow]not ready[/]"
    out.print(f"[bold]{escape(family.name)}[/]  {state}  {escape(family.title)}")
    parts = document["parts"]
    assert isinstance(parts, list)
    for part, item in zip(parts, family.parts, strict=True):
        colour = _COLOURS[part["state"]]
        size = part["bytes_here"] if part["state"] == "installed" else item.size
        out.print(f"  {escape(item.folder)}  [{colour}]{part['state']}[/]{f', {size_in_words(size)}' if size else ''}")
        out.print(_wrapped(item.title, "    "), markup=False)
        out.print(_wrapped(f"Licence: {item.licence.name}. {item.licence.consequence}", "    "), markup=False)
        if not family.packaged:
            revision = part["revision"]
            said = f"accepted {part['accepted']}" if part["accepted"] else "not accepted yet"
            out.print(f"    {said}{f'; revision {revision[:12]}' if revision else ''}", style="dim", markup=False)
        if part["model_card_licence"]:
            out.print(f"    its model card says: {part['model_card_licence']}", style="dim", markup=False)
        for fault in part["faults"] if part["state"] in ("broken", "incomplete") else ():
            out.print(f"    {fault}", style="red", markup=False)
    if not document["ready"]:
        out.print(f"  [dim]to get it:[/] meshwright weights fetch {family.name}")


def _remove_empty(folder: Path, root: Path) -> None:
    """Folders that nothing is left in, up to the store."""
    for inner in sorted((item for item in folder.rglob("*") if item.is_dir()), reverse=True):
        if not any(inner.iterdir()):
            inner.rmdir()
    while folder != root and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
