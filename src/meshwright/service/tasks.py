"""The only place that knows Celery: the task, the queue it is sent through, and the worker that takes it out.

A message is only a hint that a job is queued. Lost, late or duplicate ones change nothing: the job table decides who
works on what. So none of the settings below is there for safety; they keep useless work small.
"""

from __future__ import annotations

import logging
import mmap
import os
import signal
import socket
import warnings
from typing import Any

from celery import Celery, signals
from celery.exceptions import SecurityWarning
from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES

from meshwright.errors import MeshwrightError
from meshwright.service.jobs import Jobs
from meshwright.service.jobs.identity import is_dead, own_identity
from meshwright.service.settings import Settings, load_settings
from meshwright.types import JobStatus, ModelType

__all__ = ["TASK_NAME", "Queue", "QueueUnavailable", "make_app", "process_reconstruction", "run_worker"]

log = logging.getLogger(__name__)

TASK_NAME = "reconstruction.process"

_SPARE_S = 600
"""By how much Redis waits longer than the hard limit before it hands out a message again."""


class QueueUnavailable(MeshwrightError):  # noqa: N818  (a state of the queue, not a fault of the call)
    """The queue does not answer. Jobs are safe in the job table; they are hinted at again later."""

    code = "queue.unavailable"


TRANSPORT_ALIASES["meshwright-folder"] = "meshwright.service.transport:FolderTransport"
for _scheme in ("redis", "rediss"):
    TRANSPORT_ALIASES[_scheme] = "meshwright.service.transport:RedisTransport"


def make_app(settings: Settings) -> Celery:
    """The Celery application that the settings describe."""
    patience = settings.hard_limit_s + _SPARE_S
    transport: dict[str, Any] = {"visibility_timeout": patience}
    if settings.is_embedded:
        broker = "meshwright-folder://"
        folder = settings.data_dir / "queue"
        logging.getLogger("kombu.connection").setLevel(logging.ERROR)  # a folder has no host, as it says all the time
        for name in ("messages", "control"):
            (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        transport |= {
            "data_folder_in": str(folder / "messages"),
            "data_folder_out": str(folder / "messages"),
            "control_folder": str(folder / "control"),
            "polling_interval": 0.1,
        }
    else:
        broker = settings.broker_url
        transport |= {
            "socket_connect_timeout": 3,
            "socket_timeout": 10,
            "socket_keepalive": True,
            "health_check_interval": 10,
        }
    app = Celery("meshwright", broker=broker, set_as_current=True)
    app.conf.update(
        # Redis asks for it in all of these places.
        broker_transport_options=transport,
        result_backend_transport_options={"visibility_timeout": patience},
        visibility_timeout=patience,
        task_default_queue=settings.queue,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_soft_time_limit=settings.soft_limit_s,
        task_time_limit=settings.hard_limit_s,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        worker_pool="prefork",
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_proc_alive_timeout=60,
        worker_lost_wait=1.0,  # until then a worker whose child was killed takes no other job
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=3,
        enable_utc=True,
    )
    app.task(
        process_reconstruction,
        name=TASK_NAME,
        acks_late=True,
        reject_on_worker_lost=True,
        soft_time_limit=settings.soft_limit_s,
        time_limit=settings.hard_limit_s,
        ignore_result=True,
    )
    return app


def process_reconstruction(job_id: str, model_type: str = "reconviagen") -> str:
    """Works on a job, if it is to be had.

    Args:
        job_id: The job, also the id of the task.
        model_type: What the sender asked for; what counts is what the job table says.
    Returns:
        What became of it, for the log.
    """
    ModelType(model_type)
    process = _process()
    claim = process.jobs.claim(job_id, process.identity)
    if claim is None:
        claim = process.take_from_the_dead(job_id)
    if claim is None:
        log.info("job %s: nothing to do", job_id)
        return "nothing to do"
    process.runner.work_on(claim)
    return "done"


class Queue:
    """Sends hints.

    Args:
        settings: Which queue.
    """

    def __init__(self, settings: Settings) -> None:
        self._app = make_app(settings)

    def send(self, job_id: str, model_type: str = "reconviagen") -> None:
        """Says that a job is queued.

        Raises:
            QueueUnavailable: The broker does not answer. The job is not lost: whoever looks after things sends again.
        """
        try:
            # A connection of its own: pools are shared by all of a process, and outlive what they were made for.
            with self._app.connection_for_write() as connection:
                self._app.tasks[TASK_NAME].apply_async(
                    args=(job_id,),
                    kwargs={"model_type": str(model_type)},
                    task_id=job_id,
                    connection=connection,
                    retry=False,
                )
        except (OperationalError, OSError) as error:
            raise QueueUnavailable("The queue does not answer.", hint="Try again in a moment.") from error

    def ping(self) -> None:
        """Raises `QueueUnavailable` unless the broker answers now."""
        try:
            with self._app.connection_for_write(connect_timeout=3) as connection:
                connection.ensure_connection(max_retries=1, timeout=3)
        except (OperationalError, OSError) as error:
            raise QueueUnavailable("The queue does not answer.", hint="Try again in a moment.") from error


# --- the worker -------------------------------------------------------------------------------------------------------

# One byte that the parent and its child share: set when the worker is told to end.
_leaving = mmap.mmap(-1, 1)


class _Process:
    """What the process that does the work holds: its own connections, made after the fork."""

    def __init__(self, settings: Settings) -> None:
        from meshwright.service.about import about_worker
        from meshwright.service.run import Runner
        from meshwright.service.storage import open_storage
        from meshwright.service.store import open_store
        from meshwright.service.upkeep import Presence, Upkeep

        self.identity = own_identity()
        self.pid = os.getpid()
        self.store = open_store(settings, patience_s=settings.store_patience_s)
        self.jobs = Jobs(self.store, max_attempts=settings.max_attempts)
        storage = open_storage(settings)
        self.runner = Runner(
            settings=settings,
            jobs=self.jobs,
            storage=storage,
            leaving=lambda: _leaving[0] != 0,
            own_process=True,
        )
        queue = Queue(settings)
        presence = Presence(worker_id=self.identity, about=lambda: about_worker(settings))
        self.upkeep = Upkeep(settings, self.jobs, storage, queue, presence=presence)
        self.upkeep.start()

    def take_from_the_dead(self, job_id: str) -> Any:
        """A job whose worker was killed on this very machine need not wait for its lease to run out."""
        job = self.jobs.many([job_id]).get(job_id)
        if job is None or job.status is not JobStatus.PROCESSING or not is_dead(job.worker or ""):
            return None
        self.jobs.requeue(job_id, job.token)
        return self.jobs.claim(job_id, self.identity)


_current: _Process | None = None
_parent: int | None = None


def _process() -> _Process:
    global _current
    if _current is None or _current.pid != os.getpid():
        _current = _Process(load_settings())
    return _current


def _child_begins(**_: object) -> None:
    from meshwright.service.processes import die_with_parent

    die_with_parent(_parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends us in good order
    try:
        _process()
    except MeshwrightError as error:
        log.error("this worker cannot begin yet: %s", error.message)  # it is tried again with the first job


def _child_ends(**_: object) -> None:
    if _current is not None and _current.pid == os.getpid():
        _current.upkeep.stop()


def _parent_leaves(**_: object) -> None:
    _leaving[0] = 1


def run_worker(settings: Settings) -> int:
    """A Celery worker with one process that works on one job at a time; returns when it is told to end."""
    global _parent
    _parent = os.getpid()
    signals.worker_process_init.connect(_child_begins, weak=False)
    signals.worker_process_shutdown.connect(_child_ends, weak=False)
    signals.worker_shutting_down.connect(_parent_leaves, weak=False)
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)  # we tell of jobs ourselves
    # Said to whoever is root in their container too; the messages are JSON, so nothing in them can run.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    app = make_app(settings)
    worker = app.Worker(
        pool="prefork",
        concurrency=1,
        loglevel=settings.log_level.upper(),
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        use_eventloop=False,  # the plain loop, which our transports make quick; the other would not use what they add
        hostname=f"meshwright-{os.getpid()}@{socket.gethostname()}",
        quiet=True,
        queues=[settings.queue],
    )
    worker.start()
    return int(worker.exitcode or 0)
