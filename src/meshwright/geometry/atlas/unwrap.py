"""Texture coordinates for a mesh, by whichever method the config names."""

from __future__ import annotations

from dataclasses import dataclass

from meshwright.errors import OptionError
from meshwright.types import Array, Mesh

__all__ = ["Atlas", "AtlasConfig", "unwrap"]

METHODS = ("auto", "views")


@dataclass(frozen=True, kw_only=True)
class AtlasConfig:
    """How a mesh is cut and laid flat."""

    texture_size: int = 2048
    """Side of the square texture in texels."""
    padding: float = 4.0
    """Least distance between two charts in texels."""
    method: str = "auto"
    """`views`: charts are projections along the six axes. `auto` takes what measured best."""

    def __post_init__(self) -> None:
        if not 16 <= self.texture_size <= 16384:
            raise OptionError(f"texture_size={self.texture_size} is out of range.", hint="Use 16 to 16384.")
        if not 0 <= self.padding <= 64:
            raise OptionError(f"padding={self.padding} is out of range.", hint="Use 0 to 64 texels.")
        if self.method not in METHODS:
            raise OptionError(f"method={self.method!r} is not known.", hint=f"Use one of {', '.join(METHODS)}.")


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """Texture coordinates of a mesh.

    Attributes:
        uv: float32 [U, 2] in [0, 1], v up.
        uv_faces: int32 [F, 3] into `uv`, corner by corner with the mesh's faces.
        method: How it was made.
    """

    uv: Array
    uv_faces: Array
    method: str


def unwrap(mesh: Mesh, config: AtlasConfig | None = None) -> Atlas:
    """Cut a mesh into charts and lay them into the unit square without overlap.

    Args:
        mesh: Faces with area; see `simplify`.
        config: What to aim for.
    Raises:
        OptionError: The charts do not fit the texture.
    """
    from meshwright.geometry.atlas.views import unwrap_views

    config = config or AtlasConfig()
    if len(mesh.faces) == 0:
        raise OptionError("The mesh to unwrap has no faces.", hint="Check the silhouettes that it came from.")
    uv, uv_faces = unwrap_views(mesh, config.texture_size, config.padding)
    return Atlas(uv=uv, uv_faces=uv_faces, method="views")
