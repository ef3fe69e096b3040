"""What Prometheus reads.

Calls are counted in this process. Everything about jobs comes from the job table when it is asked for, so every API
process tells the same of them: take their maximum over processes, not their sum.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from meshwright.service.jobs import FINAL, Jobs
from meshwright.service.jobs.presence import WorkerSeen
from meshwright.service.store.tables import deliveries
from meshwright.service.store.tables import jobs as table

__all__ = ["Metrics"]

_CALL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
_WORK_BUCKETS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
_PSNR_BUCKETS = (10, 15, 20, 22.5, 25, 27.5, 30, 32.5, 35, 40)
_SSIM_BUCKETS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)


class Metrics:
    """Counters of one application.

    Args:
        jobs: The job table.
        alive: Workers that gave a sign of life lately.
    """

    def __init__(self, jobs: Jobs, alive: Callable[[], Sequence[WorkerSeen]]) -> None:
        self.jobs = jobs
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        workers = Gauge("meshwright_workers", "Workers that gave a sign of life lately.", registry=self.registry)
        workers.set_function(lambda: len(alive()))
        self.calls = Histogram(
            "meshwright_http_request_seconds",
            "Time until an answer was complete.",
            ["method", "route", "status"],
            buckets=_CALL_BUCKETS,
            registry=self.registry,
        )
        self.received = Counter("meshwright_upload_bytes", "Bytes of accepted uploads.", registry=self.registry)
        self.followers = Gauge("meshwright_event_streams", "Clients that follow a job now.", registry=self.registry)
        self._results = Counter(
            "meshwright_results", "Published results by quality.", ["model", "status"], registry=self.registry
        )
        self._psnr = Histogram(
            "meshwright_result_psnr_db",
            "Mean PSNR of published results.",
            ["model"],
            buckets=_PSNR_BUCKETS,
            registry=self.registry,
        )
        self._ssim = Histogram(
            "meshwright_result_ssim",
            "Mean SSIM of published results.",
            ["model"],
            buckets=_SSIM_BUCKETS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "meshwright_stage_seconds",
            "Time of each stage of published results.",
            ["model", "stage"],
            buckets=_WORK_BUCKETS,
            registry=self.registry,
        )
        self._work = Histogram(
            "meshwright_job_seconds",
            "Time from the first attempt to the end of a job.",
            ["model_type", "status"],
            buckets=_WORK_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_JobCollector(jobs))
        self._ended = _EndedJobs(jobs)

    def render(self) -> bytes:
        """The text that Prometheus reads. Asks the store, so it belongs into a thread.

        Raises:
            StoreUnavailable: The store does not answer.
        """
        for row in self._ended.new():
            self._observe(row)
        return generate_latest(self.registry)

    def _observe(self, row: Any) -> None:
        if row.started_at is not None and row.ended_at is not None:
            seconds = max(0.0, (row.ended_at - row.started_at).total_seconds())
            self._work.labels(row.model_type, row.status).observe(seconds)
        for model, quality in (row.quality or {}).items():
            self._results.labels(model, str(quality.get("status", "unknown"))).inc()
            for name, histogram in (("psnr", self._psnr), ("ssim", self._ssim)):
                if isinstance(quality.get(name), int | float):
                    histogram.labels(model).observe(quality[name])
            seconds_of: Mapping[str, object] = quality.get("seconds") or {}
            for stage, spent in seconds_of.items():
                if isinstance(spent, int | float):
                    self._stages.labels(model, stage).observe(spent)


class _EndedJobs:
    """Tells of each job once, after it has ended; those that had ended before this process began are left out.

    No clock is asked: `_low` is the oldest number of a job that has not been told of, `_told` those above it that were.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._lock = threading.Lock()
        self._low = -1
        self._told: set[int] = set()

    def new(self) -> list[Any]:
        final = [state.value for state in FINAL]
        columns = (
            table.c.seq,
            table.c.status,
            table.c.model_type,
            table.c.quality,
            table.c.started_at,
            table.c.ended_at,
        )
        with self._lock:
            ended = select(*columns).where(table.c.seq >= self._low, table.c.status.in_(final))
            bounds = select(func.max(table.c.seq), func.min(table.c.seq).filter(table.c.status.notin_(final)))
            if self._low >= 0:
                bounds = bounds.where(table.c.seq >= self._low)
            rows, (newest, oldest_open) = self._jobs.store.read(
                lambda connection: (connection.execute(ended).all(), connection.execute(bounds).one())
            )
            is_first = self._low < 0
            found = [] if is_first else [row for row in rows if row.seq not in self._told]
            if newest is not None:
                self._low = newest + 1 if oldest_open is None else oldest_open
            elif is_first:
                self._low = 0
            self._told = {row.seq for row in rows if row.seq >= self._low}
            return found


class _JobCollector(Collector):
    """Reads the job table at every scrape."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()  # so that registering does not ask the store

    def collect(self) -> Iterable[GaugeMetricFamily]:
        states = GaugeMetricFamily("meshwright_jobs", "Jobs by state.", labels=["status"])
        for status, count in self._jobs.counts().items():
            states.add_metric([status.value], count)
        yield states
        yield GaugeMetricFamily(
            "meshwright_queue_age_seconds", "How long the longest waiting job has waited.", self._jobs.queue_age()
        )
        query = select(deliveries.c.state, func.count()).group_by(deliveries.c.state)
        sent = GaugeMetricFamily("meshwright_webhook_deliveries", "Webhook deliveries by state.", labels=["state"])
        for state, count in self._jobs.store.read(lambda connection: connection.execute(query).all()):
            sent.add_metric([state], count)
        yield sent
