"""Models by name, and the recipe that their `inference` runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from meshwright.errors import OptionError
from meshwright.models.base import BaseReconstructionModel, Recipe
from meshwright.models.hull import HullModel
from meshwright.models.nvdiffrec import NvdiffrecModel
from meshwright.models.reconviagen import ReconviagenModel
from meshwright.types import Monitor

__all__ = ["AVAILABLE_MODELS", "DEFAULT_MODEL", "bind_recipe", "get_model"]

AVAILABLE_MODELS: Mapping[str, type[BaseReconstructionModel]] = MappingProxyType(
    {model.model_name: model for model in (HullModel, NvdiffrecModel, ReconviagenModel)}
)
"""Every model that `get_model` knows, by name. Whether its weights are here is for `load_weights` to say."""

DEFAULT_MODEL = ReconviagenModel.model_name
"""What is used where nobody says anything: better than `hull` on everything measured, and half as long as `nvdiffrec`
(docs/prior.md)."""

_find_recipe: Callable[[], Recipe] | None = None


def bind_recipe(find: Callable[[], Recipe]) -> None:
    """Says how to get the recipe that models run when none is handed to them.

    The package root calls this once (see docs/architecture.md); `find` is called only when a model is made, so that
    binding costs nothing.
    """
    global _find_recipe
    _find_recipe = find


def get_model(
    name: str,
    *,
    device: str = "auto",
    monitor: Monitor | None = None,
    recipe: Recipe | None = None,
    **options: object,
) -> BaseReconstructionModel:
    """A model, ready for `load_weights` and `inference`.

    Args:
        name: One of `AVAILABLE_MODELS`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        monitor: Hears progress and can ask to stop.
        recipe: Stages to run instead of meshwright's own.
        options: Fields of `ReconstructConfig` for `inference`, such as `quality="draft"`.
    Raises:
        OptionError: There is no such model.
    """
    if name not in AVAILABLE_MODELS:
        raise OptionError(f"model={name!r} is not known.", hint=f"Use one of {', '.join(AVAILABLE_MODELS)}.")
    if recipe is None:
        if _find_recipe is None:
            raise RuntimeError("no recipe is bound: import meshwright, or hand one in")
        recipe = _find_recipe()
    return AVAILABLE_MODELS[name](recipe=recipe, device=device, monitor=monitor, options=options)
