"""Surfaces out of listed cubes with a signed distance at every corner."""

from meshwright.models.reconviagen.large.extraction.extract import ExtractedMesh, extract

__all__ = ["ExtractedMesh", "extract"]
