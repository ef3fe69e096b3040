"""How the tables are reached: one writer at a time on SQLite, guarded updates everywhere, patience with restarts."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from meshwright.errors import MeshwrightError, OptionError
from meshwright.service.settings import Settings

__all__ = ["Store", "StoreUnavailable", "open_store"]

log = logging.getLogger(__name__)

Value = TypeVar("Value")

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_BUSY_S = 30
_PASSING = ("database is locked", "deadlock", "could not serialize", "disk I/O error", "unable to open database file")


class StoreUnavailable(MeshwrightError):  # noqa: N818  (a state of the store, not a fault of the call)
    """The database does not answer; asking again later may help."""

    code = "store.unavailable"


class Store:
    """The database of the service.

    Args:
        engine: Made by `open_store`.
        patience_s: How long `read` and `write` keep trying while the database is away.
    """

    def __init__(self, engine: Engine, *, patience_s: float = 0.0) -> None:
        self.engine = engine
        self.patience_s = patience_s

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded store."""
        return self.engine.dialect.name == "sqlite"

    def read(self, work: Callable[[Connection], Value]) -> Value:
        """`work` within one transaction that sees one state of the tables.

        Raises:
            StoreUnavailable: The database stayed away for longer than `patience_s`.
        """
        return self._patiently(work, "BEGIN")

    def write(self, work: Callable[[Connection], Value]) -> Value:
        """`work` within one transaction, all of it or nothing.

        It is run again when the connection breaks, possibly after the first run was committed unheard. So `work` must
        recognise what it has done before: name a token, a key or an id that it chose itself.

        Raises:
            StoreUnavailable: The database stayed away for longer than `patience_s`.
        """
        return self._patiently(work, "BEGIN IMMEDIATE")

    def check(self) -> None:
        """Raises `StoreUnavailable` unless the database answers now."""
        try:
            with self._transaction("BEGIN") as connection:
                connection.execute(text("SELECT 1"))
        except DBAPIError as error:
            raise _unavailable(error) from error

    def close(self) -> None:
        """Lets go of all connections."""
        self.engine.dispose()

    def _patiently(self, work: Callable[[Connection], Value], begin: str) -> Value:
        deadline = time.monotonic() + self.patience_s
        pause = _FIRST_PAUSE_S
        while True:
            try:
                with self._transaction(begin) as connection:
                    return work(connection)
            except DBAPIError as error:
                if not _is_passing(error):
                    raise
                if time.monotonic() + pause > deadline:
                    raise _unavailable(error) from error
                log.warning("the store does not answer (%s); trying again", _first_line(error))
            time.sleep(pause * random.uniform(0.7, 1.3))
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        with self.engine.connect().execution_options(meshwright_begin=begin) as connection, connection.begin():
            yield connection


def open_store(settings: Settings, *, patience_s: float = 0.0) -> Store:
    """The store that the settings name, with its tables brought up to date.

    Args:
        settings: Name the database.
        patience_s: How long calls keep trying while the database is away; also how long this call does.
    Raises:
        OptionError: The address cannot be understood, or the tables are of a newer meshwright.
        StoreUnavailable: The database does not answer.
    """
    from meshwright.service.store.migrate import migrate

    store = Store(_make_engine(settings), patience_s=patience_s)
    deadline = time.monotonic() + patience_s
    pause = _FIRST_PAUSE_S
    while True:
        try:
            migrate(store.engine, settings)
            return store
        except DBAPIError as error:
            if not _is_passing(error) or time.monotonic() + pause > deadline:
                raise _unavailable(error) from error
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def _make_engine(settings: Settings) -> Engine:
    try:
        url = make_url(settings.store_url)
        dialect = url.get_backend_name()
    except ArgumentError:
        dialect = ""
    if dialect == "sqlite":
        return _sqlite_engine(settings)
    if dialect == "postgresql":
        # Ten threads of one process at most; pre-ping notices connections that a restart has cut.
        return create_engine(
            url, pool_size=5, max_overflow=10, pool_pre_ping=True, pool_timeout=30, connect_args={"connect_timeout": 5}
        )
    raise OptionError(
        "MESHWRIGHT_DATABASE_URL is neither a postgresql+psycopg:// nor a sqlite:/// address.",
        hint="Leave it empty for the embedded store.",
    )


def _sqlite_engine(settings: Settings) -> Engine:
    url = make_url(settings.store_url)
    if not settings.database_url:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_engine(url, pool_size=5, max_overflow=15, connect_args={"timeout": _BUSY_S})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        del record
        connection.isolation_level = None  # the driver would begin transactions by itself, and too late
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={_BUSY_S * 1000}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes the lock at once: a reader that turns into a writer cannot wait, it fails.
        connection.exec_driver_sql(connection.get_execution_options().get("meshwright_begin", "BEGIN IMMEDIATE"))

    return engine


def _is_passing(error: DBAPIError) -> bool:
    """Whether the same call may succeed later."""
    if error.connection_invalidated:
        return True
    said = str(error.orig)
    if isinstance(error, OperationalError) and "sqlite" not in type(error.orig).__module__:
        return True  # PostgreSQL's class for everything about connections, restarts and resources
    return any(words in said for words in _PASSING) or "full" in said


def _unavailable(error: DBAPIError) -> StoreUnavailable:
    said = _first_line(error)
    if "full" in said:
        return StoreUnavailable("The disk of the store is full.", hint="Free some space.", reason="disk_full")
    return StoreUnavailable("The store does not answer.", hint="Try again in a moment.", reason=said)


def _first_line(error: DBAPIError) -> str:
    return (str(error.orig) or "no reason given").splitlines()[0]
