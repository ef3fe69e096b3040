"""The tables of the service, and how to reach them: SQLite on one machine, PostgreSQL on many."""

from meshwright.service.store.engine import Store, StoreUnavailable, open_store
from meshwright.service.store.tables import metadata

__all__ = ["Store", "StoreUnavailable", "metadata", "open_store"]
