"""Pictures of a mesh: what a camera sees of it, its textured, shaded and wireframe renders.

The differentiable operations of `meshwright.rendering.ops` are names of this package too: `rasterize`, `interpolate`,
`texture`, `antialias` and what goes with them. They bring torch, so they are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from meshwright.rendering.ops import (
        CubeLevels,
        HashGrid,
        MipStack,
        antialias,
        build_mips,
        build_neighbours,
        build_topology,
        cube_texture,
        deterministic,
        hash_encode,
        interpolate,
        rasterize,
        stack_cube,
        texture,
    )

__all__ = [
    "CubeLevels",
    "Fragments",
    "HashGrid",
    "MipStack",
    "Picture",
    "antialias",
    "build_mips",
    "build_neighbours",
    "build_topology",
    "contact_sheet",
    "cube_texture",
    "deterministic",
    "hash_encode",
    "interpolate",
    "ops",
    "rasterize",
    "rasterize_mesh",
    "rasterize_views",
    "render_coloured",
    "render_normals",
    "render_textured",
    "render_wireframe",
    "stack_cube",
    "texture",
    "turntable_cameras",
]

_DIFFERENTIABLE = {
    "CubeLevels",
    "HashGrid",
    "MipStack",
    "antialias",
    "build_mips",
    "build_neighbours",
    "build_topology",
    "cube_texture",
    "deterministic",
    "hash_encode",
    "interpolate",
    "rasterize",
    "stack_cube",
    "texture",
}

# The folder `rasterize` holds the z-buffer that pictures are made with; under that name this package offers the op.
globals().pop("rasterize", None)


def __getattr__(name: str) -> Any:
    if name == "ops":
        return importlib.import_module("meshwright.rendering.ops")
    if name in _DIFFERENTIABLE:
        return getattr(importlib.import_module("meshwright.rendering.ops"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
