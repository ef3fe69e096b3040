"""Texture coordinates for a mesh, by whichever method the config names."""

from __future__ import annotations

from dataclasses import dataclass

from meshwright.errors import OptionError
from meshwright.geometry.atlas.process import unwrap_xatlas
from meshwright.geometry.atlas.views import unwrap_views
from meshwright.types import Array, Mesh, Monitor, SilentMonitor

__all__ = ["Atlas", "AtlasConfig", "unwrap"]

METHODS = ("auto", "views", "xatlas")


@dataclass(frozen=True, kw_only=True)
class AtlasConfig:
    """How a mesh is cut and laid flat."""

    texture_size: int = 2048
    """Side of the square texture in texels."""
    padding: float = 4.0
    """Least distance between two charts in texels."""
    method: str = "auto"
    """`views`: charts are projections along the six axes. `xatlas`: as flat as possible. `auto` is `views`: as sharp in
    a tenth of the time and with far fewer charts (`docs/texture.md` has the figures)."""
    time_limit: float = 20.0
    """Seconds for xatlas; past them `views` takes over and `Atlas.note` says so."""

    def __post_init__(self) -> None:
        faults = []
        if not 16 <= self.texture_size <= 16384:
            faults.append(f"texture_size={self.texture_size} (use 16 to 16384)")
        if not 0 <= self.padding <= 64:
            faults.append(f"padding={self.padding} (use 0 to 64 texels)")
        if self.method not in METHODS:
            faults.append(f"method={self.method!r} (use one of {', '.join(METHODS)})")
        if not self.time_limit > 0:
            faults.append(f"time_limit={self.time_limit} (use more than 0 seconds)")
        if faults:
            raise OptionError("Atlas options that have no meaning: " + "; ".join(faults) + ".")


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """Texture coordinates of a mesh.

    Attributes:
        uv: float32 [U, 2] in [0, 1], v up.
        uv_faces: int32 [F, 3] into `uv`, corner by corner with the mesh's faces.
        method: How it was made, `views` or `xatlas`.
        note: What went otherwise than asked for; empty if nothing did.
    """

    uv: Array
    uv_faces: Array
    method: str
    note: str = ""


def unwrap(mesh: Mesh, config: AtlasConfig | None = None, monitor: Monitor | None = None) -> Atlas:
    """Cut a mesh into charts and lay them into the unit square without overlap.

    Args:
        mesh: Faces with area; see `simplify`.
        config: What to aim for.
        monitor: Asked while xatlas works whether to stop.
    Raises:
        OptionError: The mesh has no faces, or its charts do not fit the texture.
        MeshwrightError: xatlas failed.
        Cancelled: The monitor wants to stop.
    """
    config = config or AtlasConfig()
    monitor = monitor or SilentMonitor()
    if len(mesh.faces) == 0:
        raise OptionError("The mesh to unwrap has no faces.", hint="Check the silhouettes that it came from.")
    note = ""
    if config.method == "xatlas":
        found = unwrap_xatlas(mesh, config.texture_size, config.padding, config.time_limit, monitor)
        if found is not None:
            return Atlas(uv=found[0], uv_faces=found[1], method="xatlas")
        note = f"xatlas was stopped after {config.time_limit:g} seconds; charts are projections along the axes."
    monitor.check()
    uv, uv_faces = unwrap_views(mesh, config.texture_size, config.padding)
    return Atlas(uv=uv, uv_faces=uv_faces, method="views", note=note)
