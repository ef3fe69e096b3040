"""Base colour from the views: visibility, projection, blending and filling."""

from __future__ import annotations

from meshwright.texture.bake import TextureConfig, bake_texture

__all__ = ["TextureConfig", "bake_texture"]
