"""Pictures of a mesh: what a camera sees of it, its textured, shaded and wireframe renders."""

from __future__ import annotations

from meshwright.rendering.pictures import (
    Picture,
    render_coloured,
    render_normals,
    render_textured,
    render_wireframe,
)
from meshwright.rendering.rasterize import Fragments, rasterize_mesh, rasterize_views
from meshwright.rendering.sheet import contact_sheet
from meshwright.rendering.turntable import turntable_cameras

__all__ = [
    "Fragments",
    "Picture",
    "contact_sheet",
    "rasterize_mesh",
    "rasterize_views",
    "render_coloured",
    "render_normals",
    "render_textured",
    "render_wireframe",
    "turntable_cameras",
]
