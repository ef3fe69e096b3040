"""The two ways of messages: the embedded queue, a folder with one file for every message, and Redis.

Kombu has a transport through files, but lets readers see a message while it is still being written, and moves messages
through the system's temporary folder. Here a message appears by rename; whoever manages to remove its file has got it.

A worker looks up from waiting for messages only every two seconds, and acknowledges what it has done only then. Both
transports here let it look up more often, so that the next job begins sooner.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any
from uuid import uuid4

from kombu.exceptions import ChannelError
from kombu.transport import filesystem, redis
from kombu.utils.json import dumps, loads

__all__ = ["Channel", "FolderTransport", "RedisTransport"]

_LOOK_UP_S = 0.2


class Channel(filesystem.Channel):  # type: ignore[misc]  # Kombu has no types
    """Messages in `data_folder_in`, in the order in which they were sent."""

    def _put(self, queue: str, payload: Mapping[str, Any], **_: object) -> None:
        folder = Path(self.data_folder_out)
        name = f"{time.time_ns():020d}_{uuid4().hex}.{queue}.msg"
        part = folder / f".{name}"
        try:
            part.write_text(dumps(payload), encoding="utf-8")
            part.rename(folder / name)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise ChannelError(f"A message cannot be written: {error.strerror}") from error

    def _get(self, queue: str) -> Any:
        for name in sorted(os.listdir(self.data_folder_in)):
            if name.startswith(".") or name.partition(".")[2] != f"{queue}.msg":
                continue
            path = Path(self.data_folder_in) / name
            try:
                text = path.read_text(encoding="utf-8")
                path.unlink()
            except FileNotFoundError:
                continue  # somebody else was quicker
            try:
                return loads(text)
            except ValueError:
                continue  # a power cut came between name and content; the job is hinted at again
        raise Empty


class FolderTransport(filesystem.Transport):  # type: ignore[misc]
    """Kombu's file transport with the channel above."""

    Channel = Channel

    def driver_version(self) -> str:
        return "1"

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        super().drain_events(connection, timeout=_soon(timeout), **kwargs)


class RedisQoS(redis.QoS):  # type: ignore[misc]
    """Notices when Redis goes away while a message is acknowledged.

    Celery only notes such a failure in its log. The message then counts as being worked on for ever, so no other one is
    asked for, and since nothing is asked for, the loss of the connection is never noticed: the worker is deaf. Seen
    every few restarts of Redis.
    """

    def ack(self, delivery_tag: str) -> None:
        with self._noticing():
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        with self._noticing():
            super().reject(delivery_tag, requeue=requeue)

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        transport = self.channel.connection
        try:
            yield
        except transport.connection_errors as error:
            transport.lost = error
            raise


class RedisChannel(redis.Channel):  # type: ignore[misc]
    """Kombu's channel with the above."""

    QoS = RedisQoS


class RedisTransport(redis.Transport):  # type: ignore[misc]
    """Kombu's transport through Redis, which connects anew after a failed acknowledgement."""

    Channel = RedisChannel
    lost: Exception | None = None

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        if self.lost is not None:
            lost, self.lost = self.lost, None
            raise lost
        super().drain_events(connection, timeout=_soon(timeout), **kwargs)


def _soon(timeout: float | None) -> float:
    return _LOOK_UP_S if timeout is None else min(timeout, _LOOK_UP_S)
