"""Base colour from the views: visibility, projection, blending and filling."""

from __future__ import annotations

from meshwright.texture.bake import bake_texture, blend_texture
from meshwright.texture.config import TextureConfig

__all__ = ["TextureConfig", "bake_texture", "blend_texture"]
