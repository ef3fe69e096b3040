"""The models: each turns evidence (views, cameras, a first shape) into a surface. They never import each other."""

from meshwright.models.base import (
    Appearance,
    BaseReconstructionModel,
    Evidence,
    InferenceResult,
    ModelOutput,
    Proposal,
    Recipe,
)
from meshwright.models.registry import AVAILABLE_MODELS, bind_recipe, get_model

__all__ = [
    "AVAILABLE_MODELS",
    "Appearance",
    "BaseReconstructionModel",
    "Evidence",
    "InferenceResult",
    "ModelOutput",
    "Proposal",
    "Recipe",
    "bind_recipe",
    "get_model",
]
