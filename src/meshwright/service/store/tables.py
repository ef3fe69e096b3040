"""The tables. Alembic's migrations make them; a test compares the two.

All moments are UTC. No decision rests on comparing them (clocks jump); they are for people, and for retention.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

__all__ = [
    "Moment",
    "artefacts",
    "deliveries",
    "idempotency",
    "jobs",
    "keys",
    "metadata",
    "publications",
    "webhooks",
    "workers",
]


class Moment(TypeDecorator[datetime]):
    """A moment in UTC, aware in Python whatever the database keeps."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts rows by itself only in a column of exactly this type.
_Count = BigInteger().with_variant(Integer(), "sqlite")

jobs = Table(
    "jobs",
    metadata,
    Column("seq", _Count, primary_key=True, autoincrement=True),  # order of arrival; pages go by it
    Column("job_id", String(8), nullable=False, unique=True),
    Column("owner_key", String(40)),
    Column("model_type", String(20), nullable=False),
    Column("options", JSON, nullable=False),
    Column("inputs", JSON, nullable=False),
    Column("status", String(12), nullable=False),
    Column("progress", Float, nullable=False, default=0.0),
    Column("current_model", String(40)),
    Column("step", Text, nullable=False, default=""),
    Column("error_code", String(40)),
    Column("error_message", Text),
    Column("error_suggestion", Text),
    Column("quality", JSON, nullable=False),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("attempt", Integer, nullable=False, default=0),
    Column("token", Integer, nullable=False, default=0),  # rises with every claim: the fence
    Column("beat", BigInteger, nullable=False, default=0),  # rises with every sign of life of the holder
    Column("revision", Integer, nullable=False, default=1),  # rises with every visible change
    Column("worker", Text),
    Column("swept", Boolean, nullable=False, default=False),  # nothing is left in storage that should not be
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("queued_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("ended_at", Moment),
    Column("expired_at", Moment),
    Index("ix_jobs_status_seq", "status", "seq"),
    Index("ix_jobs_owner_key_seq", "owner_key", "seq"),
    Index("ix_jobs_owner_key_status", "owner_key", "status"),
    Index("ix_jobs_swept_status", "swept", "status"),
)

publications = Table(
    "publications",
    metadata,
    Column("job_id", String(8), ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("model", String(40), primary_key=True),  # the key that makes a second publication impossible
    Column("token", Integer, nullable=False),
    Column("location", Text, nullable=False),
    Column("published_at", Moment, nullable=False),
)

artefacts = Table(
    "artefacts",
    metadata,
    Column("job_id", String(8), ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("model", String(40), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("key", Text, nullable=False),  # where it lies in storage
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("crc32", BigInteger, nullable=False),  # for ZIP archives that are made while they are sent
)

keys = Table(
    "keys",
    metadata,
    Column("key_id", String(40), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("hash", String(200), nullable=False, unique=True),
    Column("scopes", JSON, nullable=False),
    Column("limits", JSON, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("last_used_at", Moment),
    Column("revoked_at", Moment),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("owner_key", String(40), primary_key=True),  # empty where no keys are asked for
    Column("idempotency_key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("job_id", String(8), ForeignKey("jobs.job_id", ondelete="CASCADE"), nullable=False),
    Column("created_at", Moment, nullable=False),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("webhook_id", String(40), primary_key=True),
    Column("job_id", String(8), ForeignKey("jobs.job_id", ondelete="CASCADE"), nullable=False),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Index("ix_webhooks_job_id", "job_id"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_id", String(40), primary_key=True),
    Column("webhook_id", String(40), ForeignKey("webhooks.webhook_id", ondelete="CASCADE"), nullable=False),
    Column("job_id", String(8), nullable=False),
    Column("event", String(40), nullable=False),
    Column("state", String(12), nullable=False),  # pending, delivered, failed
    Column("attempts", Integer, nullable=False, default=0),
    Column("due_at", Moment, nullable=False),
    Column("last_status", Integer),
    Column("last_error", Text),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Index("ix_deliveries_state_due_at", "state", "due_at"),
    Index("ix_deliveries_job_id", "job_id"),
)

workers = Table(
    "workers",
    metadata,
    Column("worker_id", String(120), primary_key=True),
    Column("beat", BigInteger, nullable=False, default=0),
    Column("about", JSON, nullable=False),  # device, its memory, models and whether their weights are there
    Column("started_at", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
)
