"""Faults of the service, many times each, as a table.

    python benchmarks/faults.py                       every fault 20 times with fast models, on both stacks
    python benchmarks/faults.py --real --trials 5     five times with the real models
    python benchmarks/faults.py worker clock --stack embedded

Servers (Redis, PostgreSQL, SeaweedFS) are started by it in temporary folders. Exit code 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from service_faults import FAULTS, Outcome, fleet_for, run_trial  # noqa: E402
from service_stack import PostgresServer, RedisServer, S3Server, Stack, full_env, start_postgres, start_redis, start_s3  # noqa: E402  # noqa: E402

HEADINGS = ("fault", "stack", "model", "trials", "jobs", "completed", "failed", "most attempts", "slowest s", "wrong")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", choices=[[], *FAULTS], help="which ones; all where none is named")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--stack", choices=("embedded", "full", "both"), default="both")
    parser.add_argument("--real", action="store_true", help="with the real models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    chosen = parser.parse_args()
    stacks = ("embedded", "full") if chosen.stack == "both" else (chosen.stack,)
    rows = []
    with tempfile.TemporaryDirectory(prefix="meshwright-faults-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        servers = _start(folder) if "full" in stacks else None
        try:
            print("| " + " | ".join(HEADINGS) + " |\n" + "| --- " * len(HEADINGS) + "|", flush=True)
            for stack in stacks:
                for key in chosen.faults or FAULTS:
                    if stack in FAULTS[key].stacks:
                        rows.append(_row(key, stack, chosen, folder, servers))
                        print("| " + " | ".join(str(value) for value in rows[-1].values()) + " |", flush=True)
        finally:
            for server, how in zip(servers or (), (signal.SIGKILL, signal.SIGQUIT, signal.SIGKILL), strict=False):
                server.stop(how)
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 1 if any(row["wrong"] for row in rows) else 0


def _start(folder: Path) -> tuple[RedisServer, PostgresServer, S3Server]:
    servers = []
    for name, start in (("redis", start_redis), ("postgres", start_postgres), ("s3", start_s3)):
        (folder / name).mkdir()
        server = start(folder / name)  # type: ignore[operator]
        if isinstance(server, str):
            sys.exit(server)
        servers.append(server)
    return tuple(servers)  # type: ignore[return-value]


def _row(
    key: str,
    stack_name: str,
    chosen: argparse.Namespace,
    folder: Path,
    servers: tuple[RedisServer, PostgresServer, S3Server] | None,
) -> dict[str, object]:
    home = folder / f"{stack_name}-{key}-{time.monotonic_ns()}"
    home.mkdir()
    stack = Stack(name=stack_name, folder=home, env={})
    stack.env |= {"MESHWRIGHT_DATA_DIR": str(home / "data"), "MESHWRIGHT_DEVICE": "cpu", "MESHWRIGHT_MIN_FREE_MB": "1"}
    if stack_name == "full" and servers is not None:
        stack.redis, stack.postgres, stack.s3 = servers
        stack.env |= full_env(*servers)
    outcome = Outcome()
    rng = random.Random(f"{chosen.seed}-{key}-{stack_name}")
    span = 20.0 if chosen.real else 1.4  # about as long as a job takes, seconds
    why = FAULTS[key].needs()
    if why:
        sys.exit(f"{key}: {why}")
    with fleet_for(key, stack, real=chosen.real) as fleet:
        for _ in range(chosen.trials):
            run_trial(key, fleet, rng, outcome, span=span)
    for line in outcome.wrong:
        sys.stderr.write(f"{key}/{stack_name}: {line}\n")
    return {
        "fault": FAULTS[key].title,
        "stack": stack_name,
        "model": "real" if chosen.real else "fast",
        "trials": outcome.trials,
        "jobs": sum(outcome.states.values()),
        "completed": outcome.states["completed"],
        "failed": outcome.states["failed"],
        "most attempts": outcome.attempts,
        "slowest s": round(outcome.slowest_s, 1),
        "wrong": len(outcome.wrong),
    }


if __name__ == "__main__":
    sys.exit(main())
