"""Everything about the service that can be configured, read from the environment.

Every field is the variable `MESHWRIGHT_` + its name in capitals: `lease_s` is `MESHWRIGHT_LEASE_S`. With none set the
service needs no other program: an embedded store, local files and an embedded queue, all under `data_dir`.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from meshwright.errors import OptionError
from meshwright.types import Quality

__all__ = ["Settings", "load_settings", "parse_duration"]

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_duration(text: str) -> int | None:
    """Seconds in `90`, `15m`, `12h`, `30d` or `4w`; None for an empty text.

    Raises:
        ValueError: It is none of these.
    """
    if not text.strip():
        return None
    found = re.fullmatch(r"\s*(\d{1,9})\s*([smhdw]?)\s*", text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration: use for example 12h or 30d")
    return int(found[1]) * _UNITS[found[2]]


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "meshwright"


class Settings(BaseSettings):
    """What the service is told from outside; immutable once read."""

    model_config = SettingsConfigDict(env_prefix="MESHWRIGHT_", frozen=True, extra="ignore")

    # Where things are kept
    data_dir: Path = Field(default_factory=_default_data_dir)
    """Home of the embedded store, of local files and of scratch space."""
    database_url: str = ""
    """`postgresql+psycopg://...`; empty: SQLite under `data_dir`."""
    broker_url: str = ""
    """`redis://...`; empty: an embedded queue under `data_dir`."""
    queue: str = "meshwright"
    """Name of the queue; services that share one Redis need different ones."""
    storage_url: str = ""
    """`s3://bucket/prefix`, or a folder; empty: `data_dir/storage`. Credentials come from the usual AWS_ variables."""
    storage_endpoint: str = ""
    """Address of an S3-compatible server that is not Amazon's."""
    storage_region: str = "us-east-1"
    """Region of the bucket."""

    # Where it listens
    host: str = "127.0.0.1"
    """Address that the API binds to."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port that the API binds to."""
    workers: int = Field(default=1, ge=0, le=64)
    """Worker processes that `meshwright serve` starts beside the API; each works on one job at a time."""
    root_path: str = ""
    """Path prefix that a proxy in front of the API strips."""
    trusted_proxies: str = "127.0.0.1"
    """Addresses whose X-Forwarded-For is believed, separated by commas."""

    # What may come in
    max_file_mb: float = Field(default=20, gt=0)
    """Largest single upload, in units of 1024 * 1024 bytes."""
    max_total_mb: float = Field(default=200, gt=0)
    """Largest request body, in the same unit."""
    upload_timeout_s: float = Field(default=300, gt=0)
    """Longest time that one upload may take."""
    upload_stall_s: float = Field(default=30, gt=0)
    """Longest silence within an upload."""

    min_free_mb: float = Field(default=500, ge=0)
    """Below this much free space in storage the service is not ready and takes no submissions."""
    events_limit_s: float = Field(default=900, gt=0)
    """Streams of events end after this time; clients then go on with Last-Event-ID."""

    # Who may do what
    auth: Literal["auto", "on", "off"] = "auto"
    """API keys: `auto` asks for them unless the API is bound to a loopback address."""
    rate_submit: str = "60/minute"
    """Submissions per key (or address, without keys)."""
    rate_read: str = "1200/minute"
    """Other calls per key (or address)."""
    queue_depth: int = Field(default=500, ge=1)
    """Unfinished jobs that one key may have."""

    # How jobs run
    device: str = "auto"
    """Where models compute: auto, cpu, cuda or cuda:N."""
    quality: Quality = Quality.STANDARD
    """Quality level of jobs that do not ask for one."""
    checkpoint: Literal["auto", "mini", "trellis-vggt-v0-2"] = "auto"
    """Networks of the model reconviagen; `auto`: the large ones where they are installed and a GPU is used."""
    lease_s: float = Field(default=30, gt=0, le=60)
    """A job whose worker gives no sign of life for this long goes back into the queue."""
    beat_s: float | None = Field(default=None, gt=0)
    """Time between signs of life; a sixth of the lease, at most 5 s, where not set."""
    cancel_poll_s: float = Field(default=0.25, gt=0, le=1)
    """How often a worker looks whether its job was cancelled."""
    max_attempts: int = Field(default=3, ge=1, le=10)
    """How often a job is tried whose worker dies, before it counts as failed."""
    soft_limit_s: int = Field(default=7200, gt=0)
    """After this time a job is stopped and fails with TIME_LIMIT_EXCEEDED."""
    hard_limit_s: int = Field(default=7500, gt=0)
    """After this time the process that works on it is killed."""
    shutdown_s: float = Field(default=20, gt=0)
    """How long processes may take to end in good order after SIGTERM."""
    store_patience_s: float = Field(default=60, ge=0)
    """How long a worker keeps trying to reach a store that does not answer."""
    model_factory: str = ""
    """`module:function` called in place of `meshwright.get_model`; for tests of the service itself."""

    # What is kept
    retention: str = ""
    """How long after their end jobs keep their files: `12h`, `30d`; empty: for ever. Afterwards they answer 410."""

    # Webhooks
    webhook_allow_private: bool = False
    """Whether webhooks may go to private, loopback and link-local addresses."""
    webhook_timeout_s: float = Field(default=10, gt=0)
    """How long a webhook's receiver may take to answer."""
    webhook_attempts: int = Field(default=8, ge=1, le=20)
    """How often a delivery is tried, with growing pauses."""

    # What it tells
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto`: for people on a terminal, JSON lines elsewhere."""
    otel_endpoint: str = ""
    """OTLP address for traces; empty: none are sent."""
    metrics_public: bool = False
    """Whether /metrics is open without a key where keys are asked for."""

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("retention")
    @classmethod
    def _duration(cls, value: str) -> str:
        parse_duration(value)
        return value

    @model_validator(mode="after")
    def _together(self) -> Settings:
        if self.hard_limit_s <= self.soft_limit_s:
            raise ValueError("hard_limit_s must be above soft_limit_s")
        if self.max_total_mb < self.max_file_mb:
            raise ValueError("max_total_mb must not be below max_file_mb")
        if self.heartbeat_s * 2 > self.lease_s:
            raise ValueError("beat_s must be at most half of lease_s")
        return self

    @property
    def heartbeat_s(self) -> float:
        """Seconds between two signs of life."""
        return self.beat_s if self.beat_s is not None else min(5.0, self.lease_s / 6)

    @property
    def retention_s(self) -> int | None:
        """Seconds that files are kept after a job's end; None for ever."""
        return parse_duration(self.retention)

    @property
    def max_file_bytes(self) -> int:
        """Largest single upload."""
        return int(self.max_file_mb * 1024 * 1024)

    @property
    def max_total_bytes(self) -> int:
        """Largest request body."""
        return int(self.max_total_mb * 1024 * 1024)

    @property
    def is_loopback(self) -> bool:
        """Whether the API can only be reached from this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def auth_required(self) -> bool:
        """Whether calls need an API key."""
        return self.auth == "on" or (self.auth == "auto" and not self.is_loopback)

    @property
    def store_url(self) -> str:
        """The database, as SQLAlchemy takes it."""
        if not self.database_url:
            return f"sqlite:///{self.data_dir / 'meshwright.sqlite3'}"
        # Hosting services hand out these two forms; SQLAlchemy would look for another driver.
        return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", self.database_url)

    @property
    def is_embedded(self) -> bool:
        """Whether the queue lies in `data_dir`."""
        return not self.broker_url


def load_settings(**changes: object) -> Settings:
    """The settings of this process.

    Args:
        changes: Fields that take precedence over the environment, such as options of a command.
    Raises:
        OptionError: Names every variable that cannot be used, and why.
    """
    try:
        return Settings(**{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        faults = [
            f"  {'MESHWRIGHT_' + str(fault['loc'][0]).upper() if fault['loc'] else 'together'}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise OptionError(
            "The settings of the service cannot be used:\n" + "\n".join(faults) + "\n",
            hint="docs/service.md lists every setting.",
        ) from None
