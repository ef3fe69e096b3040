"""The load benchmark runs and tells the truth; its bounds are for a quiet machine and no concern of this test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.service, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]


def test_load_benchmark_loses_nothing_and_reports() -> None:
    words = "--submissions 6 --clients 3 --jobs 300 --requests 10 --json --patience 60"
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "service.py", *words.split()],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    bounds = {bound["name"]: bound for bound in report["bounds"]}
    assert bounds["submissions"]["reached"] is True
    assert bounds["submissions"]["seen"] == "6 accepted, 6 completed, 0 lost"
    assert bounds["memory of the API, highest"]["reached"] is True
    assert {f"300 jobs: {name}, p99" for name in ("status", "list, first 20", "list, 20 that failed")} <= set(bounds)
    assert done.returncode == (0 if all(bound["reached"] for bound in report["bounds"]) else 1)
    assert report["status_reads"] > 0
