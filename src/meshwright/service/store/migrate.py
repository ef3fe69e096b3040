"""Brings the tables up to date; safe when several processes start at once."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from meshwright.errors import OptionError
from meshwright.service.settings import Settings

__all__ = ["HEAD", "migrate"]

HEAD = "0001"
"""The newest migration; a test holds it to what lies in `migrations/versions`."""

_LOCK = 7_305_101_001  # any number that other programs in the same database do not use


def migrate(engine: Engine, settings: Settings) -> None:
    """Runs what is missing of the migrations; quick where nothing is.

    Raises:
        OptionError: The tables were made by a newer meshwright.
    """
    with engine.connect() as connection, connection.begin():
        version = _version(connection)
    if version == HEAD:
        return
    with _alone(engine, settings), engine.connect() as connection:
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", "meshwright.service.store:migrations")
        config.attributes["connection"] = connection
        with connection.begin():
            found = _version(connection)
            if found is not None:
                try:
                    ScriptDirectory.from_config(config).get_revision(found)
                except CommandError:
                    raise OptionError(
                        f"The store was made by a newer meshwright (its tables are of version {found}).",
                        hint="Update meshwright, or use another database.",
                    ) from None
            command.upgrade(config, "head")


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


@contextmanager
def _alone(engine: Engine, settings: Settings) -> Iterator[None]:
    """Keeps other processes from migrating at the same time."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection, connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            yield
        return
    database = engine.url.database
    folder = Path(database).parent if database else settings.data_dir
    with (folder / "migrate.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
