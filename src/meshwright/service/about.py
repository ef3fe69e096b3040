"""What a worker says of the machine it is on."""

from __future__ import annotations

import functools
from typing import Any

from meshwright.device import describe_device, pick_device
from meshwright.errors import MeshwrightError, WeightsNotInstalledError
from meshwright.models import AVAILABLE_MODELS, ModelOutput, get_model
from meshwright.service.settings import Settings
from meshwright.types import ModelType

__all__ = ["about_worker"]


@functools.cache
def about_worker(settings: Settings) -> dict[str, Any]:
    """`device` (see `describe_device`), and for each of `models` whether what it needs is installed."""
    try:
        device = describe_device(pick_device(settings.device))
    except MeshwrightError as error:
        device = {"device": settings.device, "name": "not available", "why": error.message}
    offered = [name for name in AVAILABLE_MODELS if name in {model.value for model in ModelType}]
    return {"device": device, "models": [_model(name, settings) for name in offered]}


def _model(name: str, settings: Settings) -> dict[str, Any]:
    missing = "" if settings.model_factory else _missing(name, settings)
    return {"name": name, "ready": not missing, "message": missing or "ready"}


def _missing(name: str, settings: Settings) -> str:
    """What is not installed, and the command that brings it; empty where nothing is missing."""
    model = get_model(name, device=settings.device, recipe=_no_recipe, generation={"checkpoint": settings.checkpoint})
    try:
        model.load_weights()
    except WeightsNotInstalledError as error:
        return f"{error.message} {error.hint}".strip()
    except MeshwrightError:
        return ""  # a device that is not there is said of the device
    finally:
        model.cleanup()
    return ""


def _no_recipe(*args: object, **kwargs: object) -> ModelOutput:
    raise AssertionError("only weights are asked for")
