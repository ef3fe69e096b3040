"""Whether any worker can run a model, judged by what workers say of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshwright.service.api.problems import Problem
from meshwright.service.jobs.presence import WorkerSeen
from meshwright.service.run import models_of
from meshwright.types import ModelType

__all__ = ["check_weights", "readiness"]


def readiness(model: ModelType, workers: Sequence[WorkerSeen]) -> tuple[bool | None, str]:
    """Whether a job of this kind can be run, and what is missing in words; None where no worker is there to ask."""
    if not workers:
        return None, "No worker is there to ask."
    states = _states(workers)
    names = models_of(model)
    missing = [name for name in names if not states.get(name, {}).get("ready")]
    if not missing:
        return True, ""
    if len(missing) < len(names):
        return True, f"{missing[0]} is left out: its weights are not installed."
    # What the workers say names every part that is missing, and the command that brings it.
    said = [str(states[name]["message"]) for name in missing if states.get(name, {}).get("message")]
    return False, " ".join([f"The weights of {' and '.join(missing)} are not installed on this service.", *said])


def check_weights(model: ModelType, workers: Sequence[WorkerSeen]) -> None:
    """Refuses a submission that no worker could work on.

    Raises:
        Problem: WEIGHTS_NOT_INSTALLED, with what is missing.
    """
    ready, message = readiness(model, workers)
    if ready is False:
        raise Problem("WEIGHTS_NOT_INSTALLED", message)


def _states(workers: Sequence[WorkerSeen]) -> Mapping[str, Mapping[str, Any]]:
    """Each model as the worker says that is best off."""
    states: dict[str, Mapping[str, Any]] = {}
    for seen in workers:
        for state in seen.about.get("models", ()):
            if state["ready"] or state["name"] not in states:
                states[state["name"]] = state
    return states
