"""Meshes to disk and back: OBJ, PLY, GLB. Neither torch nor Warp is needed here."""

from __future__ import annotations

from meshwright.export.files import encode_png, write_animation, write_atomic, write_png
from meshwright.export.glb import write_glb
from meshwright.export.load import load_textured, weld
from meshwright.export.obj import write_obj
from meshwright.export.panorama import read_hdr, write_hdr
from meshwright.export.ply import write_ply
from meshwright.export.result import ExportedFiles, export_result, save_mesh_both_formats
from meshwright.export.validate import validate_mesh_output

__all__ = [
    "ExportedFiles",
    "encode_png",
    "export_result",
    "load_textured",
    "read_hdr",
    "save_mesh_both_formats",
    "validate_mesh_output",
    "weld",
    "write_animation",
    "write_atomic",
    "write_glb",
    "write_hdr",
    "write_obj",
    "write_ply",
    "write_png",
]
