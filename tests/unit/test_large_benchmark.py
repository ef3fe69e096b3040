"""The benchmark of the large networks runs and writes what it measured; how long full-size networks take is no test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.published import ENCODERS, NETWORKS

from large_goldens import FOLDER

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def test_small_networks_are_measured(tmp_path: Path) -> None:
    words = f"--device cpu --small --views 1,2 --steps 1 --once --gaussians --out {tmp_path}"
    keys = FOLDER.parent / "state_dict_keys.md"
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "benchmarks" / "networks.py",
            *words.split(),
            *(["--keys", keys] if keys.is_file() else []),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "networks.json").read_text())
    assert [row["network"] for row in found["counts"]] == [*NETWORKS, *ENCODERS]
    assert all(row["parameters"] == row["published"] for row in found["counts"])
    assert all(row.get("keys_equal", True) for row in found["counts"])
    assert list(found["runs"]) == ["1 views", "2 views"]
    for run in found["runs"].values():
        assert run["faces"] > 1000 and run["seconds_in_all"] > 0
    assert "| slat_flow_model |" in (tmp_path / "networks.md").read_text()
