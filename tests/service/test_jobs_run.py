"""One attempt at a job, in this process, with the fast models: what it leaves, and what it says when it fails."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshwright.errors import (
    CameraError,
    DeviceError,
    DiskFullError,
    InputError,
    MeshwrightError,
    OutputError,
    VramError,
    WeightsNotInstalledError,
)
from meshwright.service import faults
from meshwright.service.jobs import InputFile, JobRecord, Jobs, NewJob, new_job_id
from meshwright.service.run import Runner, models_of
from meshwright.service.storage import Storage, open_storage
from meshwright.service.store import open_store
from meshwright.service.upkeep import Upkeep
from meshwright.types import VIEW_NAMES, JobStatus, ModelType, SilentMonitor
from service_stack import Stack, set_environment


class Desk:
    """A job table, a storage and a runner of one stack."""

    def __init__(self, stack: Stack, **changes: object) -> None:
        self.settings = stack.settings(model_factory="service_fast_model:make", **changes)
        self.store = open_store(self.settings)
        self.jobs = Jobs(self.store, max_attempts=self.settings.max_attempts)
        self.storage: Storage = open_storage(self.settings)
        self.runner = Runner(settings=self.settings, jobs=self.jobs, storage=self.storage)

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def submit(self, model_type: ModelType = ModelType.NVDIFFREC, depth: bool = True) -> str:
        job_id = new_job_id()
        inputs = []
        for kind, folder in [("view", "views"), ("depth", "depth")][: 2 if depth else 1]:
            for view in VIEW_NAMES:
                key = f"jobs/{job_id}/{folder}/{view}.png"
                size = self.storage.put_stream(key, [b"picture"]).size
                inputs.append(InputFile(kind=kind, view=view, key=key, size=size, sha256="0" * 64))
        self.jobs.submit(NewJob(job_id=job_id, model_type=model_type, inputs=tuple(inputs)))
        return job_id

    def work(self, job_id: str, runner: Runner | None = None) -> JobRecord:
        claim = self.jobs.claim(job_id, "worker")
        assert claim is not None
        (runner or self.runner).work_on(claim)
        return self.jobs.get(job_id)

    def keys(self, job_id: str) -> set[str]:
        return {item.key.removeprefix(f"jobs/{job_id}/") for item in self.storage.list(f"jobs/{job_id}")}


@pytest.fixture
def desk(stack: Stack) -> Iterator[Desk]:
    with set_environment(stack.env), Desk(stack) as desk:
        yield desk


# A stage so long that what stops within it was stopped, however slow the machine is; how fast, benchmarks tell.
LONG_STAGE_S = "30"

INPUT = {f"{folder}/{view}.png" for folder in ("views", "depth") for view in VIEW_NAMES}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAST_MODEL_STAGE_S", "0.02")


@pytest.mark.parametrize("model_type", list(ModelType))
def test_what_a_job_leaves(desk: Desk, model_type: ModelType) -> None:
    job_id = desk.submit(model_type)
    job = desk.work(job_id)
    assert (job.status, job.progress, job.step, job.error) == (JobStatus.COMPLETED, 100, "Done", None)
    assert tuple(job.quality) == models_of(model_type)
    assert job.quality[models_of(model_type)[0]]["status"] == "normal"
    artefacts = desk.jobs.artefacts(job_id)
    for model in models_of(model_type):
        names = {item.name for item in artefacts if item.model == model}
        assert {"mesh.obj", "mesh.mtl", "mesh.png", "mesh.ply", "cameras.json", "quality.json"} < names
        assert {f"previews/textured_{index:02d}.png" for index in range(6)} < names
    assert {f"jobs/{job_id}/{key}" for key in desk.keys(job_id)} == {item.key for item in artefacts} | {
        f"jobs/{job_id}/{name}" for name in INPUT
    }
    assert desk.jobs.unswept() == ()


def test_local_files_lie_where_the_contract_says(embedded: Stack) -> None:
    with Desk(embedded) as desk:
        job_id = desk.submit()
        desk.work(job_id)
    folder = desk.settings.data_dir / "storage" / "jobs" / job_id
    assert (folder / "output" / "nvdiffrec" / "mesh.obj").is_file()
    assert (folder / "views" / "front.png").is_file()
    cameras = json.loads((folder / "output" / "nvdiffrec" / "cameras.json").read_text())
    assert (folder / "output" / "nvdiffrec" / cameras["frames"][0]["file_path"]).resolve().is_file()


def test_depth_may_be_missing(desk: Desk) -> None:
    assert desk.work(desk.submit(depth=False)).status is JobStatus.COMPLETED


def test_each_model_of_both_has_its_share(desk: Desk) -> None:
    job_id = desk.submit(ModelType.BOTH)
    seen: list[tuple[float, str | None]] = []
    advance = desk.jobs.advance

    def listen(claim: Any, progress: float, model: str | None, step: str) -> None:
        seen.append((progress, model))
        advance(claim, progress, model, step)

    desk.jobs.advance = listen  # type: ignore[method-assign]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAST_MODEL_STAGE_S", "0.3")
        desk.work(job_id)
    first = [progress for progress, model in seen if model == "reconviagen"]
    second = [progress for progress, model in seen if model == "nvdiffrec"]
    assert first
    assert second
    assert max(first) < min(second) < max(second) < 100
    assert [progress for progress, _ in seen] == sorted(progress for progress, _ in seen)


# --- failing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "code", "says"),
    [
        ("oom", "MODEL_OOM", "ran out of memory"),
        ("vram", "MODEL_VRAM_OOM", "more GPU memory"),
        ("disk", "DISK_FULL", "disk of this service is full"),
        ("bug", "UNKNOWN_ERROR", "unexpected error"),
    ],
)
def test_failures_in_words_for_the_owner(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: str, code: str, says: str
) -> None:
    monkeypatch.setenv("FAST_MODEL_TROUBLE", trouble)
    job_id = desk.submit(ModelType.BOTH)
    job = desk.work(job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code == code
    assert says in job.error.message
    assert job.error.suggestion
    assert "/home" not in str(job.error)
    assert "Traceback" not in str(job.error)
    assert f"job {job_id}" in caplog.text  # the trace is in the log, under the job's id
    assert desk.keys(job_id) == INPUT
    assert desk.jobs.artefacts(job_id) == ()


def test_the_second_model_does_not_run_after_the_first_failed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAST_MODEL_TROUBLE", "oom")
    job = desk.work(desk.submit(ModelType.BOTH))
    assert job.error is not None
    assert "reconviagen" in job.error.message
    assert job.progress < 50


def test_both_uses_what_is_installed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAST_MODEL_MISSING", "reconviagen")
    job = desk.work(desk.submit(ModelType.BOTH))
    assert job.status is JobStatus.COMPLETED
    assert tuple(job.quality) == ("nvdiffrec",)
    assert "reconviagen" in job.step
    monkeypatch.setenv("FAST_MODEL_MISSING", "reconviagen,nvdiffrec")
    for model_type in (ModelType.BOTH, ModelType.RECONVIAGEN):
        job = desk.work(desk.submit(model_type))
        assert job.error is not None
        assert job.error.code == "WEIGHTS_NOT_INSTALLED"


def test_output_that_is_not_whole_is_never_shown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    import service_fast_model

    write = service_fast_model._write

    def write_half(folder: Path, model: str, done: int) -> None:
        write(folder, model, done)
        (folder / "mesh.ply").write_bytes(b"ply\n")

    monkeypatch.setattr(service_fast_model, "_write", write_half)
    job_id = desk.submit()
    job = desk.work(job_id)
    assert job.error is not None
    assert job.error.code == "INCOMPLETE_RESULTS"
    assert desk.jobs.artefacts(job_id) == ()
    assert desk.keys(job_id) == INPUT


def test_a_job_that_takes_too_long(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAST_MODEL_STAGE_S", LONG_STAGE_S)
    slow = stack.env | {"FAST_MODEL_STAGE_S": LONG_STAGE_S}
    with set_environment(slow), Desk(stack, soft_limit_s=1, hard_limit_s=5) as desk:
        job_id = desk.submit()
        began = time.monotonic()
        job = desk.work(job_id)
    assert time.monotonic() - began < float(LONG_STAGE_S)
    assert job.error is not None
    assert job.error.code == "TIME_LIMIT_EXCEEDED"


def test_celerys_time_limit_counts_as_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from celery.exceptions import SoftTimeLimitExceeded

    monkeypatch.setattr("service_fast_model._write", _raise(SoftTimeLimitExceeded()))
    job = desk.work(desk.submit())
    assert job.error is not None
    assert job.error.code == "TIME_LIMIT_EXCEEDED"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (VramError("8 GiB are needed."), "MODEL_VRAM_OOM"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "MODEL_VRAM_OOM"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "MODEL_OOM"),
        (MemoryError(), "MODEL_OOM"),
        (OSError(28, "No space left on device"), "DISK_FULL"),
        (DiskFullError("Full."), "DISK_FULL"),
        (WeightsNotInstalledError("No."), "WEIGHTS_NOT_INSTALLED"),
        (DeviceError("CUDA is not available."), "GPU_UNAVAILABLE"),
        (InputError("front.png is not a picture.", hint="Save it again."), "INVALID_FILE_FORMAT"),
        (CameraError("No rig explains the views."), "MODEL_CONVERGENCE_FAILED"),
        (OutputError("Something with /a/path."), "UNKNOWN_ERROR"),
        (MeshwrightError("It did not work."), "MODEL_FAILED"),
        (ZeroDivisionError("x"), "UNKNOWN_ERROR"),
    ],
)
def test_codes(error: Exception, code: str) -> None:
    said = faults.explain(error, "nvdiffrec")
    assert said.code == code
    assert "/a/path" not in said.message


def test_a_full_disk_behind_a_failed_write() -> None:
    error = OutputError("The results cannot be written.")
    error.__cause__ = OSError(28, "No space left on device")
    assert faults.explain(error, "m").code == "DISK_FULL"


# --- stopping and going on --------------------------------------------------------------------------------------------


def test_a_cancelled_job_stops_and_leaves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAST_MODEL_STAGE_S", LONG_STAGE_S)
    job_id = desk.submit(ModelType.BOTH)
    worker = threading.Thread(target=desk.work, args=(job_id,))
    worker.start()
    time.sleep(0.5)
    desk.jobs.request_cancellation(job_id)
    time.sleep(0.3)
    assert desk.jobs.get(job_id).status is JobStatus.PROCESSING
    began = time.monotonic()
    desk.jobs.confirm_cancellation(job_id)
    worker.join()
    assert time.monotonic() - began < float(LONG_STAGE_S)
    assert desk.jobs.get(job_id).status is JobStatus.CANCELLED
    assert desk.keys(job_id) == set()


def test_a_stage_that_does_not_listen_goes_down_with_its_process(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAST_MODEL_STAGE_S", "4")
    monkeypatch.setenv("FAST_MODEL_TROUBLE", "deaf")
    ended: list[float] = []
    monkeypatch.setattr("os._exit", lambda code: ended.append(time.monotonic()))
    job_id = desk.submit()
    worker = threading.Thread(target=desk.work, args=(job_id, replace(desk.runner, own_process=True)))
    worker.start()
    time.sleep(0.5)
    desk.jobs.confirm_cancellation(job_id)
    confirmed = time.monotonic()
    worker.join()
    assert len(ended) == 1
    assert ended[0] - confirmed < 2


def test_a_worker_that_ends_gives_its_job_back_and_another_goes_on(desk: Desk, stack: Stack) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAST_MODEL_STAGE_S", "0.5")
        job_id = desk.submit()
        leaving = threading.Event()
        worker = threading.Thread(target=desk.work, args=(job_id, replace(desk.runner, leaving=leaving.is_set)))
        worker.start()
        time.sleep(1.3)
        leaving.set()
        worker.join()
    job = desk.jobs.get(job_id)
    assert (job.status, job.attempt) == (JobStatus.QUEUED, 0)
    kept = {key for key in desk.keys(job_id) if key.startswith("checkpoints/") and "/live_" not in key}
    assert kept == {"checkpoints/nvdiffrec/stage0.npz", "checkpoints/nvdiffrec/stage1.npz"}
    # Another machine: nothing is shared but store and storage.
    elsewhere = replace(stack, env=stack.env | {"MESHWRIGHT_STORAGE_URL": stack.env.get("MESHWRIGHT_STORAGE_URL", "")})
    if stack.name == "full":
        elsewhere.env["MESHWRIGHT_DATA_DIR"] = str(stack.folder / "other machine")
    with set_environment(elsewhere.env), Desk(elsewhere) as other:
        after = other.work(job_id)
    assert after.status is JobStatus.COMPLETED
    assert after.quality["nvdiffrec"]["summary"] == "A pyramid by nvdiffrec; 3 stages were worked on."
    assert after.progress == 100
    assert {key for key in desk.keys(job_id) if key.startswith(("checkpoints", "attempts"))} == set()


def test_a_model_that_was_published_is_not_run_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = desk.submit(ModelType.BOTH)
    claim = desk.jobs.claim(job_id, "w")
    assert claim is not None
    one = replace(claim, job=replace(claim.job, model_type=ModelType.RECONVIAGEN))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runner, "_end", lambda self, claim, note: None)
        desk.runner.work_on(one)
    before = desk.jobs.artefacts(job_id, "reconviagen")
    desk.jobs.requeue(job_id, claim.token)
    job = desk.work(job_id)
    assert job.status is JobStatus.COMPLETED
    assert desk.jobs.artefacts(job_id, "reconviagen") == before
    assert set(job.quality) == {"reconviagen", "nvdiffrec"}


def test_light_is_asked_of_the_models_that_can(desk: Desk) -> None:
    job_id = desk.submit(ModelType.BOTH)
    claim = desk.jobs.claim(job_id, "w")
    assert claim is not None
    wished = replace(claim, job=replace(claim.job, options={"lighting": "pbr"}))
    assert "lighting" not in desk.runner._make(wished, "reconviagen", SilentMonitor()).options
    assert desk.runner._make(wished, "nvdiffrec", SilentMonitor()).options["lighting"] == "pbr"


def test_a_worker_that_was_given_up_publishes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It wakes up after somebody else has begun, and is about to publish."""
    job_id = desk.submit()
    first = desk.jobs.claim(job_id, "first")
    assert first is not None
    publish = desk.jobs.publish

    def overtaken(claim: Any, *args: Any) -> bool:
        if claim.token == first.token:
            desk.jobs.requeue(job_id, first.token)
            desk.work(job_id)
        return publish(claim, *args)

    monkeypatch.setattr(desk.jobs, "publish", overtaken)
    desk.runner.work_on(first)
    job = desk.jobs.get(job_id)
    assert (job.status, job.token) == (JobStatus.COMPLETED, 2)
    for artefact in desk.jobs.artefacts(job_id):
        assert len(b"".join(desk.storage.open(artefact.key))) == artefact.size
    upkeep = Upkeep(desk.settings, desk.jobs, desk.storage, _Silent())
    upkeep._first_seen[job_id] = -1000
    upkeep.sweep()
    assert {key for key in desk.keys(job_id) if key.startswith("attempts")} == set()


def test_storage_that_is_away_puts_the_job_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from meshwright.service.storage import StorageUnavailable

    job_id = desk.submit()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(desk.storage, "stage", _raise(StorageUnavailable("It does not answer.")))
        job = desk.work(job_id)
    assert (job.status, job.attempt) == (JobStatus.QUEUED, 1)
    assert desk.work(job_id).status is JobStatus.COMPLETED


# --- keeping order ----------------------------------------------------------------------------------------------------


class _Silent:
    def send(self, job_id: str, model_type: str) -> None:
        """Nobody listens."""


def test_files_without_a_job_go_after_a_while(desk: Desk) -> None:
    desk.storage.put_stream("jobs/zzzzzzzz/views/front.png", [b"x"])
    job_id = desk.submit()
    upkeep = Upkeep(desk.settings, desk.jobs, desk.storage, _Silent())
    upkeep.remove_orphans()
    assert desk.keys("zzzzzzzz")
    upkeep._orphans = dict.fromkeys(upkeep._orphans, -10_000.0)
    upkeep.remove_orphans()
    assert desk.keys("zzzzzzzz") == set()
    assert desk.keys(job_id) == INPUT


def test_retention(stack: Stack) -> None:
    with set_environment(stack.env), Desk(stack, retention="1h") as desk:
        job_id = desk.submit()
        desk.work(job_id)
        upkeep = Upkeep(desk.settings, desk.jobs, desk.storage, _Silent())
        upkeep.expire()
        assert desk.jobs.get(job_id).expired_at is None
        late = Upkeep(stack.settings(retention="0s"), desk.jobs, desk.storage, _Silent())
        late.expire()
        late.sweep()
        late._first_seen = dict.fromkeys(late._first_seen, -1000.0)
        late.sweep()
        assert desk.jobs.get(job_id).expired_at is not None
        assert desk.keys(job_id) == set()


def _raise(error: Exception) -> Callable[..., Any]:
    def call(*args: object, **kwargs: object) -> Any:
        raise error

    return call
