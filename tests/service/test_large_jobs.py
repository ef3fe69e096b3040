"""Jobs with the large networks (small ones in their place): `reconviagen` and `both`, and what is said without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from large_small import small_store
from meshwright.types import JobStatus
from meshwright.weights import LARGE, Store, family_named
from meshwright.weights.licences import accept
from service_fleet import Fleet, check_jobs
from service_stack import Stack, until

pytestmark = pytest.mark.slow


def test_jobs_use_what_the_service_was_told_to(embedded: Stack, tmp_path: Path) -> None:
    accept(family_named(LARGE), Store(small_store(tmp_path / "weights")))
    env = {"MESHWRIGHT_CHECKPOINT": LARGE, "MESHWRIGHT_WEIGHTS": str(tmp_path / "weights")}
    with Fleet(embedded, workers=1, real=True, env=env) as fleet:
        until(lambda: worker_models(fleet), 60, "the worker says what it has")
        assert {state["message"] for state in worker_models(fleet).values()} == {"ready"}
        jobs = fleet.settle(900, [fleet.submit("reconviagen"), fleet.submit("both")])
        assert check_jobs(fleet, jobs) == []
        assert {job.status for job in jobs} == {JobStatus.COMPLETED}
        assert sorted(model for job in jobs for model in job.quality) == ["nvdiffrec", "reconviagen", "reconviagen"]
        for job in jobs:
            address = f"/api/jobs/{job.job_id}/files/reconviagen/quality.json"
            said = fleet.client.get(address).json()["details"]["model"]
            assert said["checkpoint"].startswith(LARGE)


def test_a_service_without_them_says_so_at_once(embedded: Stack, tmp_path: Path) -> None:
    env = {"MESHWRIGHT_CHECKPOINT": LARGE, "MESHWRIGHT_WEIGHTS": str(tmp_path)}
    with Fleet(embedded, workers=1, real=True, env=env) as fleet:
        until(lambda: worker_models(fleet), 60, "the worker says what it has")
        states = worker_models(fleet)
        assert states["nvdiffrec"]["ready"] is True
        assert states["reconviagen"]["ready"] is False
        answer = fleet.client.post("/api/jobs", files=fleet.files, data={"model_type": "reconviagen"})
        assert (answer.status_code, answer.json()["code"]) == (503, "WEIGHTS_NOT_INSTALLED")
        for words in (answer.json()["detail"], states["reconviagen"]["message"]):
            assert f"meshwright weights fetch {LARGE}" in words
            assert str(tmp_path) not in words


def worker_models(fleet: Fleet) -> dict[str, dict[str, object]]:
    """What `GET /health` says of the only worker's models."""
    workers = fleet.client.get("/health").json()["workers"]
    return {state["name"]: state for state in workers[0]["models"]} if workers else {}
