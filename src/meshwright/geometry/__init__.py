"""Shape from silhouettes and depth; meshes fit for texture."""

from meshwright.geometry.atlas import Atlas, AtlasConfig, unwrap
from meshwright.geometry.shape import ShapeConfig, ShapeResult, reconstruct_shape
from meshwright.geometry.simplify import simplify

__all__ = ["Atlas", "AtlasConfig", "ShapeConfig", "ShapeResult", "reconstruct_shape", "simplify", "unwrap"]
