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
    ready = bool(settings.model_factory) or _is_installed(name)
    return {"name": name, "ready": ready, "message": "ready" if ready else "its weights are not installed"}


def _is_installed(name: str) -> bool:
    model = get_model(name, recipe=_no_recipe)
    try:
        model.load_weights()
    except WeightsNotInstalledError:
        return False
    finally:
        model.cleanup()
    return True


def _no_recipe(*args: object, **kwargs: object) -> ModelOutput:
    raise AssertionError("only weights are asked for")
