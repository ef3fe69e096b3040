"""API keys: made once, shown once, kept as a hash.

A key reads `mw_<id>_<secret>`. The id finds its row; the secret has 256 random bits, so that one SHA-256 is as good as
a slow password hash: nothing can be guessed.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from limits import parse
from sqlalchemy import Row, insert, select, update

from meshwright.errors import OptionError
from meshwright.service.store import Store
from meshwright.service.store.tables import keys as table

__all__ = ["KeyRecord", "Scope", "check_key", "create_key", "list_keys", "revoke_key", "touch_key"]


class Scope(enum.StrEnum):
    """What a key may do; each includes those before it."""

    READ = "read"
    """See one's own jobs and their results."""
    SUBMIT = "submit"
    """Submit and cancel jobs."""
    ADMIN = "admin"
    """See and cancel everybody's jobs, read metrics."""


@dataclass(frozen=True, kw_only=True)
class KeyRecord:
    """A key without its secret."""

    key_id: str
    name: str
    scopes: tuple[Scope, ...]
    limits: Mapping[str, Any]
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None

    def allows(self, scope: Scope) -> bool:
        """Whether the key's scopes include this one."""
        order = list(Scope)
        return any(order.index(own) >= order.index(scope) for own in self.scopes)


_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_SHAPE = re.compile(r"mw_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")
_LIMITS = ("rate_submit", "rate_read", "queue_depth")


def create_key(
    store: Store, name: str, scopes: Collection[str] = ("submit",), *, limits: Mapping[str, Any] | None = None
) -> tuple[KeyRecord, str]:
    """A new key.

    Args:
        store: Where to keep it.
        name: For people: whose it is, what for.
        scopes: Of `read`, `submit`, `admin`.
        limits: Other limits than the service's: `rate_submit`, `rate_read` (such as `10/minute`), `queue_depth`.
    Returns:
        The record, and the key itself, which nobody can read again.
    Raises:
        OptionError: A scope or limit is not known, or the name is empty or too long.
    """
    if not 1 <= len(name.strip()) <= 200:
        raise OptionError("The name of a key has between 1 and 200 characters.")
    try:
        wanted = tuple(sorted({Scope(scope) for scope in scopes}, key=list(Scope).index))
    except ValueError:
        raise OptionError(f"scopes={sorted(scopes)} are not all known.", hint="Use read, submit and admin.") from None
    if not wanted:
        raise OptionError("A key needs a scope.", hint="Use read, submit or admin.")
    own_limits = _checked_limits(limits or {})
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    token = f"mw_{key_id}_{secrets.token_urlsafe(32)}"
    now = datetime.now(UTC)
    row = {
        "key_id": key_id,
        "name": name.strip(),
        "hash": _hash(token),
        "scopes": [scope.value for scope in wanted],
        "limits": own_limits,
        "created_at": now,
    }
    store.write(lambda connection: connection.execute(insert(table).values(row)))
    record = KeyRecord(
        key_id=key_id,
        name=name.strip(),
        scopes=wanted,
        limits=own_limits,
        created_at=now,
        last_used_at=None,
        revoked_at=None,
    )
    return record, token


def list_keys(store: Store) -> list[KeyRecord]:
    """All keys, revoked ones too, oldest first."""
    rows = store.read(lambda connection: connection.execute(select(table).order_by(table.c.created_at)).all())
    return [_record(row) for row in rows]


def revoke_key(store: Store, key_id: str) -> KeyRecord | None:
    """Ends a key for good; its jobs stay. None where there is no such key."""

    def work(connection: Any) -> Any:
        now = datetime.now(UTC)
        query = update(table).where(table.c.key_id == key_id, table.c.revoked_at.is_(None))
        connection.execute(query.values(revoked_at=now))
        return connection.execute(select(table).where(table.c.key_id == key_id)).one_or_none()

    row = store.write(work)
    return None if row is None else _record(row)


def check_key(store: Store, token: str) -> KeyRecord | None:
    """The record of a key that is known and not revoked; None for all others."""
    shape = _SHAPE.fullmatch(token)
    if shape is None:
        return None
    query = select(table).where(table.c.key_id == shape[1], table.c.revoked_at.is_(None))
    row = store.read(lambda connection: connection.execute(query).one_or_none())
    if row is None or not hmac.compare_digest(row.hash, _hash(token)):
        return None
    return _record(row)


def touch_key(store: Store, key_id: str) -> None:
    """Notes that a key was used now."""
    query = update(table).where(table.c.key_id == key_id).values(last_used_at=datetime.now(UTC))
    store.write(lambda connection: connection.execute(query))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _checked_limits(limits: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in limits.items():
        if name not in _LIMITS:
            raise OptionError(f"The limit {name!r} is not known.", hint=f"Use {', '.join(_LIMITS)}.")
        try:
            good = int(value) >= 1 if name == "queue_depth" else parse(str(value)).amount >= 1
        except ValueError:
            good = False
        if not good:
            raise OptionError(f"{name}={value!r} is no limit.", hint="Use for example rate_submit=10/minute.")
    return {name: int(value) if name == "queue_depth" else str(value) for name, value in limits.items()}


def _record(row: Row[Any]) -> KeyRecord:
    return KeyRecord(
        key_id=row.key_id,
        name=row.name,
        scopes=tuple(Scope(scope) for scope in row.scopes),
        limits=row.limits,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )
