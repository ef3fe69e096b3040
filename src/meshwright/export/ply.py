"""Stanford PLY, binary, with normals and a colour per vertex."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from meshwright import __version__
from meshwright.errors import ShapeError
from meshwright.export.corners import check_textured, vertex_colors
from meshwright.export.files import write_atomic
from meshwright.types import ColouredMesh, TexturedMesh

__all__ = ["write_ply"]

HEADER = """ply
format binary_little_endian 1.0
comment meshwright {version}
element vertex {vertices}
property float x
property float y
property float z
property float nx
property float ny
property float nz
property uchar red
property uchar green
property uchar blue
element face {faces}
property list uchar int vertex_indices
end_header
"""


def write_ply(mesh: TexturedMesh | ColouredMesh, path: Path) -> Path:
    """Write one PLY file; a texture becomes vertex colours (see `vertex_colors`).

    Raises:
        ShapeError: The mesh cannot be written.
        OutputError: The file cannot be written.
    """
    if isinstance(mesh, TexturedMesh):
        check_textured(mesh)
        colors = vertex_colors(mesh)
    else:
        colors = mesh.colors_srgb
        if colors.dtype != np.uint8 or colors.shape != mesh.mesh.vertices.shape:
            raise ShapeError(f"Vertex colours are {colors.dtype} {colors.shape}, expected uint8 [N, 3].")
    geometry = mesh.mesh
    rows = np.zeros(len(geometry.vertices), [("place", "<f4", 3), ("normal", "<f4", 3), ("color", "u1", 3)])
    rows["place"] = geometry.vertices
    rows["normal"] = geometry.vertex_normals()
    rows["color"] = colors
    faces = np.zeros(len(geometry.faces), [("count", "u1"), ("index", "<i4", 3)])
    faces["count"] = 3
    faces["index"] = geometry.faces
    header = HEADER.format(version=__version__, vertices=len(rows), faces=len(faces))
    return write_atomic(path, header.encode() + rows.tobytes() + faces.tobytes())
