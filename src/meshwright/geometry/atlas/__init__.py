"""Texture coordinates: charts, and their places in the square."""

from __future__ import annotations

from meshwright.geometry.atlas.unwrap import Atlas, AtlasConfig, unwrap

__all__ = ["Atlas", "AtlasConfig", "unwrap"]
