"""meshwright: six views of an object become a textured triangle mesh that was checked against them.

    import meshwright
    result = meshwright.reconstruct("examples/six_views", "out/object", quality="draft")
    print(result.mesh_glb, result.summary)

This is also where the package is put together: models lie below the recipe that runs them, so the root hands them the
recipe. Importing it is quick; torch, Warp and the rest are loaded by the stages that use them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from meshwright.errors import MeshwrightError
from meshwright.models.registry import AVAILABLE_MODELS, bind_recipe, get_model
from meshwright.types import JobStatus, ModelType, Quality

if TYPE_CHECKING:
    from meshwright.models.base import Recipe
    from meshwright.pipeline import ReconstructConfig, Result, reconstruct

__all__ = [
    "AVAILABLE_MODELS",
    "JobStatus",
    "MeshwrightError",
    "ModelType",
    "Quality",
    "ReconstructConfig",
    "Result",
    "get_model",
    "reconstruct",
]

__version__ = "0.1.0"

_FROM_PIPELINE = ("ReconstructConfig", "Result", "reconstruct")


def __getattr__(name: str) -> object:
    if name in _FROM_PIPELINE:
        return getattr(import_module("meshwright.pipeline"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _recipe() -> Recipe:
    return cast("Recipe", import_module("meshwright.pipeline").run_model)


bind_recipe(_recipe)
