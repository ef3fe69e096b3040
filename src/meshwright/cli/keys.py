"""`meshwright keys`: API keys of the service whose store this machine reaches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from meshwright.cli.console import emit, err, guarded, out
from meshwright.cli.extras import service_extra
from meshwright.errors import OptionError

if TYPE_CHECKING:
    from datetime import datetime

    from meshwright.service.api.keys import KeyRecord
    from meshwright.service.store import Store

__all__ = ["keys"]

keys = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys. Run it where the service runs.")

AsJson = Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")]


@keys.command()
@guarded
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="For people: whose it is, what for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="read (see one's jobs), submit (that and make jobs) or admin. (default: submit)"),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Other limits than the service's: rate_submit=10/minute, rate_read=..., queue_depth=5.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once: only a hash of it is kept."""
    limits = dict(_pair(text) for text in limit or ())
    with _store() as store:
        from meshwright.service.api.keys import create_key

        record, token = create_key(store, name, scope or ["submit"], limits=limits)
    if as_json:
        emit("result", key=token, **_document(record))
        return
    out.print(token, markup=False)
    err.print(
        f"Key {record.key_id} ({', '.join(record.scopes)}) for {record.name}. It is not shown again.",
        style="dim",
        markup=False,
    )


@keys.command("list")
@guarded
def list_all(as_json: AsJson = False) -> None:
    """Show all keys, without their secrets; revoked ones too."""
    with _store() as store:
        from meshwright.service.api.keys import list_keys

        records = list_keys(store)
    if as_json:
        emit("result", keys=[_document(record) for record in records])
        return
    table = Table(box=None, pad_edge=False)
    for title in ("key", "name", "scopes", "created", "last used", "state"):
        table.add_column(title, no_wrap=title != "name")
    for record in records:
        table.add_row(
            record.key_id,
            escape(record.name),
            ", ".join(record.scopes),
            _moment(record.created_at),
            _moment(record.last_used_at),
            "[yellow]revoked[/]" if record.revoked_at else "[green]good[/]",
        )
    out.print(table if records else "No keys.")


@keys.command()
@guarded
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="As `keys list` shows it; not the secret.")],
    as_json: AsJson = False,
) -> None:
    """End a key for good. Its jobs go on, and stay."""
    with _store() as store:
        from meshwright.service.api.keys import revoke_key

        record = revoke_key(store, key_id)
    if record is None:
        raise OptionError(f"There is no key {key_id!r}.", hint="`meshwright keys list` shows all.")
    if as_json:
        emit("result", **_document(record))
    else:
        out.print(f"revoked {record.key_id} ({record.name})", markup=False)


@contextmanager
def _store() -> Iterator[Store]:
    with service_extra():
        from meshwright.service.settings import load_settings
        from meshwright.service.store import open_store
    store = open_store(load_settings())
    try:
        yield store
    finally:
        store.close()


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise OptionError(f"limit={text!r} is not of the form NAME=VALUE.", hint="Such as rate_submit=10/minute.")
    return name, value


def _document(record: KeyRecord) -> dict[str, object]:
    return {
        "key_id": record.key_id,
        "name": record.name,
        "scopes": [scope.value for scope in record.scopes],
        "limits": dict(record.limits),
        "created_at": _iso(record.created_at),
        "last_used_at": _iso(record.last_used_at),
        "revoked_at": _iso(record.revoked_at),
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
