"""Shape from silhouettes and depth; meshes fit for texture."""

from meshwright.geometry.atlas import Atlas, AtlasConfig, unwrap
from meshwright.geometry.shape import RIG_UNIT, ShapeConfig, ShapeResult, reconstruct_shape, remeasured
from meshwright.geometry.simplify import simplify

__all__ = [
    "RIG_UNIT",
    "Atlas",
    "AtlasConfig",
    "ShapeConfig",
    "ShapeResult",
    "reconstruct_shape",
    "remeasured",
    "simplify",
    "unwrap",
]
