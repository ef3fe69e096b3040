"""One attempt at a job: fetch its input, run its models in turn, check and publish what each leaves.

jobs/<id>/attempts/<token>/         (or a folder in local scratch, with object storage)
    views/ depth/                   the input
    output/<model>/                 what the model writes; relative paths in it are right where it is published too
    output/<model>.partial/         the model's own workplace, with the results of finished stages
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from meshwright.device import cleanup_gpu_memory
from meshwright.errors import Cancelled, DiskFullError, OptionError, WeightsNotInstalledError
from meshwright.export.validate import validate_mesh_output
from meshwright.models import AVAILABLE_MODELS, BaseReconstructionModel, get_model
from meshwright.service import faults
from meshwright.service.jobs import Claim, JobError, JobNotFound, Jobs, LostClaim
from meshwright.service.keeper import Keeper
from meshwright.service.settings import Settings
from meshwright.service.storage import FileMissing, Storage, StorageUnavailable, facts_of, job_prefix
from meshwright.service.store import StoreUnavailable
from meshwright.service.upkeep import sweep_job
from meshwright.service.watch import Reason, Watch
from meshwright.types import ModelType, Monitor

__all__ = ["Runner", "models_of"]

log = logging.getLogger(__name__)

_LEAST_FREE_BYTES = 20_000_000


def models_of(model_type: ModelType) -> tuple[str, ...]:
    """The models that a job runs, in order."""
    if model_type is ModelType.BOTH:
        return (ModelType.RECONVIAGEN.value, ModelType.NVDIFFREC.value)
    return (model_type.value,)


class _Failed(Exception):  # noqa: N818  (it never leaves this module)
    """The job has failed, for a reason that its owner can read."""

    def __init__(self, error: JobError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Works on jobs.

    Attributes:
        settings: Device, quality, limits.
        jobs: The job table.
        storage: Files.
        leaving: Whether this worker was told to end: jobs then go back into the queue.
        own_process: Whether this process may be ended where a stage does not stop.
    """

    settings: Settings
    jobs: Jobs
    storage: Storage
    leaving: Callable[[], bool] = lambda: False
    own_process: bool = False

    def work_on(self, claim: Claim) -> None:
        """One attempt; in the end the job has ended, or is back in the queue, or is somebody else's."""
        watch = Watch(
            claim,
            self.jobs,
            self.settings,
            leaving=self.leaving,
            end_process=(lambda: self._end_process(claim, watch)) if self.own_process else None,
        )
        log.info("job %s: attempt %d begins", claim.job_id, claim.job.attempt)
        try:
            with watch:
                outcome = self._attempt(claim, watch)
            outcome()
        except LostClaim:
            log.info("job %s: not ours any more", claim.job_id)
        finally:
            self._clean(claim)

    def _attempt(self, claim: Claim, watch: Watch) -> Callable[[], object]:
        """Does the work.

        Returns:
            How the attempt ends, to be done once the watch has written its last word.
        """
        job_id = claim.job_id
        try:
            note = self._run_models(claim, watch)
            watch.check()
            return lambda: self._end(claim, note)
        except Cancelled:
            return self._after_stop(claim, watch.reason)
        except LostClaim:
            raise
        except _Failed as failed:
            error = failed.error
        except (StorageUnavailable, StoreUnavailable, FileMissing) as unavailable:
            log.warning("job %s: %s %s", job_id, unavailable.message, unavailable.details)
            return lambda: self.jobs.requeue(job_id, claim.token, reason="the storage of this service did not answer.")
        except Exception as unexpected:
            log.exception("job %s failed", job_id)
            error = faults.explain(unexpected, "The service")
        log.info("job %s fails: %s %s", job_id, error.code, error.message)
        return lambda: self.jobs.fail(claim, error)

    def _end(self, claim: Claim, note: str) -> None:
        self.jobs.complete(claim, note)
        log.info("job %s is completed", claim.job_id)

    def _after_stop(self, claim: Claim, reason: Reason | None) -> Callable[[], object]:
        if reason is Reason.TIME:
            return lambda: self.jobs.fail(claim, faults.TIME_LIMIT)
        if reason is Reason.SHUTDOWN:
            log.info("job %s: given back, since this worker ends", claim.job_id)
            return lambda: self.jobs.requeue(claim.job_id, claim.token, counted=False)
        raise LostClaim(claim.job_id, claim.token)

    def _run_models(self, claim: Claim, watch: Watch) -> str:
        """Runs every model that has not published yet; answers what the owner should know besides."""
        job = claim.job
        workplace = self._prepare(claim)
        names = models_of(job.model_type)
        published = self.jobs.published(claim.job_id)
        missing: list[str] = []
        # As long as they usually take: `share` is a model's own part beside the 100 of all other stages.
        weights = [100 + AVAILABLE_MODELS[name].share for name in names]
        for index, name in enumerate(names):
            if name in published:
                continue
            start, end = (100 * sum(weights[:count]) / sum(weights) for count in (index, index + 1))
            watch.check()
            part = _Part(watch, name, start, end)
            part.report(0, f"Starting {name}")
            fault = self._run_model(claim, self._make(claim, name, part), part, workplace)
            if isinstance(fault, WeightsNotInstalledError) and len(names) > 1:
                missing.append(name)  # `both` uses what is installed
            elif fault is not None:
                raise _Failed(fault if isinstance(fault, JobError) else faults.explain(fault, name))
        if len(missing) == len(names):
            raise _Failed(faults.explain(WeightsNotInstalledError(""), " and ".join(names)))
        return f"Done without {missing[0]}: its weights are not installed" if missing else "Done"

    def _run_model(
        self, claim: Claim, model: BaseReconstructionModel, part: _Part, workplace: Path
    ) -> Exception | JobError | None:
        """Runs one model and publishes what it leaves; answers why it failed, if it did."""
        name = model.model_name
        folder = workplace / "output" / name
        checkpoints = f"{job_prefix(claim.job_id)}/checkpoints/{name}"
        keeper = Keeper(self.storage, checkpoints, folder.with_name(f"{name}.partial") / "checkpoints")
        keeper.restore()
        with keeper:
            result = model.inference(workplace / "views", folder)
        part.check()
        if result["status"] != "success":
            log.error("job %s: %s failed", claim.job_id, name, exc_info=model.fault)
            return model.fault or faults.incomplete(name)
        model.cleanup()
        part.report(100, "Checking the files")
        verdict = validate_mesh_output(folder)
        if not verdict["valid"] or not (folder / "quality.json").exists():
            log.error("job %s: %s left %s", claim.job_id, name, verdict)
            return faults.incomplete(name)
        quality = _quality(folder / "quality.json")
        facts = facts_of(folder)
        part.check()
        staged = self.storage.stage(claim.job_id, name, claim.token, folder)
        if not self.jobs.publish(claim, name, staged.place, facts, quality):
            staged.discard()
        log.info("job %s: %s is published (%s)", claim.job_id, name, quality["status"])
        self.storage.delete_prefix(checkpoints)
        return None

    def _make(self, claim: Claim, name: str, monitor: Monitor) -> BaseReconstructionModel:
        options = {
            "quality": self.settings.quality,
            "live_pictures": True,
            "generation": {"checkpoint": self.settings.checkpoint},
            **claim.job.options,
        }
        if not AVAILABLE_MODELS[name].light_share:
            # Of `both`, and of a job run again with another model, it is for those that can.
            options.pop("lighting", None)
        if any(item.kind == "depth" for item in claim.job.inputs):
            options["depth_dir"] = self._workplace(claim) / "depth"
        make = get_model
        if self.settings.model_factory:
            module, _, function = self.settings.model_factory.partition(":")
            make = cast("Any", getattr(importlib.import_module(module), function))
        return make(name, device=self.settings.device, monitor=monitor, **options)

    def _workplace(self, claim: Claim) -> Path:
        return self.storage.workplace(claim.job_id, claim.token)

    def _prepare(self, claim: Claim) -> Path:
        """The workplace with the input in it, and nothing left of earlier attempts."""
        prefix = job_prefix(claim.job_id)
        for token in self.storage.folders(f"{prefix}/attempts"):
            if token != str(claim.token):
                self.storage.delete_prefix(f"{prefix}/attempts/{token}")
        workplace = self._workplace(claim)
        free = shutil.disk_usage(workplace).free
        if free < _LEAST_FREE_BYTES:
            raise DiskFullError(f"{free / 1e6:.0f} MB are free.", hint="Free some space.")
        for item in claim.job.inputs:
            folder = "views" if item.kind == "view" else "depth"
            self.storage.get_file(item.key, workplace / folder / Path(item.key).name)
        (workplace / "output").mkdir(exist_ok=True)
        return workplace

    def _clean(self, claim: Claim) -> None:
        """Removes the workplace, and what else an ended job should not leave."""
        cleanup_gpu_memory()
        try:
            shutil.rmtree(self._workplace(claim), ignore_errors=True)
            job = self.jobs.get(claim.job_id)
            if job.has_ended and job.token == claim.token:
                sweep_job(self.jobs, self.storage, job)
        except (JobNotFound, OptionError, StorageUnavailable, StoreUnavailable) as error:
            log.warning("job %s: left to the upkeep: %s", claim.job_id, error.message)

    def _end_process(self, claim: Claim, watch: Watch) -> None:
        """The last resort: whatever does not listen goes down with its process, its memory and its GPU memory."""
        try:
            if watch.reason is not Reason.LOST:
                self._after_stop(claim, watch.reason)()
            # Other threads may still write: what else lies about is for the upkeep, a few seconds later.
            shutil.rmtree(self._workplace(claim), ignore_errors=True)
        finally:
            os._exit(75)


class _Part:
    """The monitor of one model: its 0-100 are a part of the job's."""

    def __init__(self, watch: Watch, model: str, start: float, end: float) -> None:
        self.watch = watch
        self.model = model
        self.start = start
        self.end = end

    def report(self, percent: float, step: str) -> None:
        # 100 belongs to the moment in which everything is published.
        done = min(self.start + (self.end - self.start) * percent / 100, self.end - 0.1)
        self.watch.say(round(done, 2), self.model, step)

    def check(self) -> None:
        self.watch.check()


def _quality(path: Path) -> dict[str, Any]:
    """What the job table keeps of `quality.json`."""
    document = json.loads(path.read_text(encoding="utf-8"))
    mean = document.get("mean", {})
    kept = {name: document.get(name) for name in ("status", "summary", "warnings")}
    return kept | {name: mean.get(name) for name in ("psnr", "ssim")} | {"seconds": document.get("timings", {})}
