"""Pictures of a mesh: what a camera sees of it, its textured, shaded and wireframe renders."""

from __future__ import annotations

from meshwright.rendering.rasterize import Fragments, rasterize_mesh, rasterize_views

__all__ = ["Fragments", "rasterize_mesh", "rasterize_views"]
