"""Tells others that a job has ended: signed after Standard Webhooks, tried again with growing pauses.

The rows of `deliveries` are the truth: they are written in the transaction that ends the job. Any number of senders may
run; each takes a delivery by a guarded update. A sender that dies in between leaves a row that another takes up again,
with the same `webhook-id`, by which a receiver tells repetitions.
"""

from __future__ import annotations

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import structlog
from sqlalchemy import or_, select, update
from standardwebhooks.webhooks import Webhook

from meshwright.errors import MeshwrightError
from meshwright.service.api.addresses import AddressError, checked_address
from meshwright.service.api.schemas import state_of
from meshwright.service.jobs import JobNotFound, Jobs
from meshwright.service.settings import Settings
from meshwright.service.store.tables import deliveries, webhooks

__all__ = ["WebhookSender", "pause_before"]

log = structlog.get_logger(__name__)

_PAUSES_S = (5, 30, 120, 600, 1800, 3600, 10_800, 21_600)
_IDLE_S = 1.0
_AT_ONCE = 4
_GONE = 410


def pause_before(attempt: int) -> float:
    """Seconds to wait after `attempt` failed tries, spread so that many do not come back at once."""
    return _PAUSES_S[min(attempt, len(_PAUSES_S)) - 1] * random.uniform(0.8, 1.2)


@dataclass(frozen=True, kw_only=True)
class _Parcel:
    """One delivery that this sender has taken."""

    delivery_id: str
    job_id: str
    event: str
    attempt: int
    created_at: datetime
    url: str
    secret: str


class WebhookSender:
    """A thread that delivers what is due.

    Args:
        jobs: The job table.
        settings: Timeouts, number of tries, whether private addresses are allowed.
        transport: Stands in for the network, in tests.
    """

    def __init__(self, jobs: Jobs, settings: Settings, *, transport: httpx.BaseTransport | None = None) -> None:
        self.jobs = jobs
        self.settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        # No proxy from the environment: it would fetch addresses that are refused here.
        self._client = httpx.Client(
            timeout=settings.webhook_timeout_s, follow_redirects=False, trust_env=False, transport=transport
        )

    def start(self) -> None:
        """Begins to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the deliveries that are under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self.settings.webhook_timeout_s + 1)
        self._client.close()

    def _run(self) -> None:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="webhook") as pool:
            while not self._stop.is_set():
                try:
                    sent = self.deliver_due(pool)
                except MeshwrightError as error:
                    log.warning("webhooks wait for the store", reason=str(error))
                    sent = 0
                if not sent:
                    self._stop.wait(_IDLE_S)

    def deliver_due(self, pool: ThreadPoolExecutor | None = None) -> int:
        """Tries every delivery that is due once; returns how many were tried."""
        parcels = [parcel for row in self._due() if (parcel := self._take(row)) is not None]
        if pool is None:
            for parcel in parcels:
                self._deliver(parcel)
        else:
            list(pool.map(self._deliver, parcels))
        return len(parcels)

    def _due(self) -> list[Any]:
        now = datetime.now(UTC)
        # A clock that was set back would make deliveries wait for as long: nothing is ever due later than this.
        unbelievable = now + timedelta(seconds=2 * _PAUSES_S[-1])
        query = (
            select(deliveries, webhooks.c.url, webhooks.c.secret)
            .join(webhooks, webhooks.c.webhook_id == deliveries.c.webhook_id)
            .where(
                deliveries.c.state == "pending",
                or_(deliveries.c.due_at <= now, deliveries.c.due_at > unbelievable),
            )
            .order_by(deliveries.c.due_at)
            .limit(2 * _AT_ONCE)
        )
        return list(self.jobs.store.read(lambda connection: connection.execute(query).all()))

    def _take(self, row: Any) -> _Parcel | None:
        """Takes a delivery, or None where another sender was quicker."""
        now = datetime.now(UTC)
        # Until then nobody else tries it, unless this process dies.
        hold = timedelta(seconds=6 * self.settings.webhook_timeout_s + 30)
        statement = (
            update(deliveries)
            .where(
                deliveries.c.delivery_id == row.delivery_id,
                deliveries.c.state == "pending",
                deliveries.c.attempts == row.attempts,
            )
            .values(attempts=row.attempts + 1, due_at=now + hold, updated_at=now)
        )
        if self.jobs.store.write(lambda connection: connection.execute(statement).rowcount) != 1:
            return None
        return _Parcel(
            delivery_id=row.delivery_id,
            job_id=row.job_id,
            event=row.event,
            attempt=row.attempts + 1,
            created_at=row.created_at,
            url=row.url,
            secret=row.secret,
        )

    def _deliver(self, parcel: _Parcel) -> None:
        status: int | None = None
        fault: str | None = None
        try:
            status = self._post(parcel)
            if not 200 <= status < 300:
                fault = f"the receiver answered {status}"
        except AddressError as error:
            fault = str(error)
        except httpx.HTTPError as error:
            fault = type(error).__name__
        except JobNotFound:
            fault, status = "the job is gone", _GONE
        except Exception as error:  # one parcel must not stop the others
            log.exception("a webhook could not be sent", job_id=parcel.job_id)
            fault = type(error).__name__
        self._note(parcel, status, fault)

    def _post(self, parcel: _Parcel) -> int:
        job = self.jobs.get(parcel.job_id)
        body = json.dumps(
            {
                "type": parcel.event,
                "timestamp": parcel.created_at.isoformat(),
                "data": state_of(job).model_dump(mode="json"),
            }
        )
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "user-agent": "meshwright-webhooks",
            "webhook-id": parcel.delivery_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(parcel.secret).sign(parcel.delivery_id, now, body),
        }
        target = checked_address(parcel.url, allow_private=self.settings.webhook_allow_private)
        # The address that was checked is the one that is called: the name is not asked for a second time.
        request = self._client.build_request(
            "POST",
            target.pinned_url,
            content=body,
            headers={**headers, "host": target.host_header},
            extensions={"sni_hostname": target.host},
        )
        response = self._client.send(request, stream=True)
        response.close()  # whatever it says, only the status counts
        return response.status_code

    def _note(self, parcel: _Parcel, status: int | None, fault: str | None) -> None:
        now = datetime.now(UTC)
        is_last = parcel.attempt >= self.settings.webhook_attempts or status == _GONE
        state = "delivered" if fault is None else "failed" if is_last else "pending"
        due_at = now + timedelta(seconds=pause_before(parcel.attempt))
        statement = (
            update(deliveries)
            .where(deliveries.c.delivery_id == parcel.delivery_id, deliveries.c.attempts == parcel.attempt)
            .values(state=state, last_status=status, last_error=fault, due_at=due_at, updated_at=now)
        )
        self.jobs.store.write(lambda connection: connection.execute(statement))
        log.info(
            "webhook", job_id=parcel.job_id, event_type=parcel.event, attempt=parcel.attempt, state=state, fault=fault
        )
