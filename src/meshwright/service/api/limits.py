"""How often one caller may call: moving windows, counted in Redis where there is one, else in this process.

A Redis that does not answer must not stop the service: counting goes on in memory until it is back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import lru_cache

import structlog
from limits import RateLimitItem, parse
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter

from meshwright.service.api.problems import Problem

__all__ = ["RateLimits", "parse_rate"]

log = structlog.get_logger(__name__)

_REDIS_PAUSE_S = 10.0


@lru_cache(maxsize=256)
def parse_rate(text: str) -> RateLimitItem:
    """`60/minute` as an object; raises ValueError for what is none."""
    return parse(text)


class RateLimits:
    """Counts calls.

    Args:
        broker_url: The queue's address; where it is a Redis, all API processes count together.
        clock: Seconds, never going back.
    """

    def __init__(self, broker_url: str = "", *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._local = MovingWindowRateLimiter(MemoryStorage())
        self._shared: MovingWindowRateLimiter | None = None
        self._resume_at = -math.inf
        if broker_url.startswith(("redis://", "rediss://")):
            storage = RedisStorage(broker_url, wrap_exceptions=True, socket_timeout=0.5, socket_connect_timeout=0.5)
            self._shared = MovingWindowRateLimiter(storage)

    @property
    def is_shared(self) -> bool:
        """Whether counting needs the network, and so a thread."""
        return self._shared is not None

    def count(self, rate: str, what: str, caller: str) -> None:
        """Counts one call.

        Raises:
            Problem: RATE_LIMITED, with the seconds to wait.
        """
        item = parse_rate(rate)
        limiter, allowed = self._hit(item, what, caller)
        if allowed:
            return
        reset = limiter.get_window_stats(item, what, caller).reset_time
        # The window's end is wall-clock time; a clock that jumped must not make anybody wait for a year.
        wait = min(max(1, math.ceil(reset - time.time())), item.get_expiry())
        raise Problem(
            "RATE_LIMITED",
            f"More than {item.amount} calls of this kind in {item.get_expiry()} s.",
            headers={"Retry-After": str(wait)},
        )

    def _hit(self, item: RateLimitItem, what: str, caller: str) -> tuple[MovingWindowRateLimiter, bool]:
        if self._shared is not None and self._clock() >= self._resume_at:
            try:
                return self._shared, self._shared.hit(item, what, caller)
            except StorageError as error:
                self._resume_at = self._clock() + _REDIS_PAUSE_S
                log.warning("rate limits are counted in memory for now", reason=str(error.storage_error))
        return self._local, self._local.hit(item, what, caller)
