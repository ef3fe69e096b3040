"""A finished reconstruction to disk, and the check that what lies there is whole."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from meshwright.errors import OptionError, ShapeError
from meshwright.export.corners import check_textured
from meshwright.export.files import encode_png
from meshwright.export.glb import write_glb
from meshwright.export.obj import write_obj
from meshwright.export.panorama import rgbe_decode, rgbe_encode
from meshwright.export.ply import write_ply
from meshwright.transforms import write_cameras
from meshwright.types import Camera, TexturedMesh

__all__ = ["ExportedFiles", "export_result", "save_mesh_both_formats"]


@dataclass(frozen=True, kw_only=True)
class ExportedFiles:
    """What was written, and the records in the frame in which they were written."""

    obj: Path
    mtl: Path
    texture: Path
    ply: Path
    glb: Path | None
    cameras_json: Path | None
    textured: TexturedMesh
    cameras: tuple[Camera, ...]


def save_mesh_both_formats(textured: TexturedMesh, folder: Path, name: str = "mesh") -> ExportedFiles:
    """Write NAME.obj with NAME.mtl and NAME.png, and NAME.ply; the mesh as it is, no GLB, no cameras.

    Raises:
        ShapeError: The mesh cannot be written; names all faults.
        OutputError: A file cannot be written.
    """
    check_textured(textured)
    obj, mtl, texture = write_obj(textured, folder / f"{name}.obj")
    ply = write_ply(textured, folder / f"{name}.ply")
    return ExportedFiles(
        obj=obj, mtl=mtl, texture=texture, ply=ply, glb=None, cameras_json=None, textured=textured, cameras=()
    )


def export_result(
    textured: TexturedMesh,
    cameras: Sequence[Camera],
    file_paths: Sequence[str],
    folder: Path,
    *,
    name: str = "mesh",
    size: float | None = None,
) -> ExportedFiles:
    """Write everything that other programs open: NAME.obj, .mtl, .png, .ply, .glb and cameras.json.

    With a material also NAME_roughness.png, NAME_metallic.png, NAME_normal.png (where normals were fitted) and the
    light, NAME_light.hdr.

    The same input gives the same bytes. Each file appears whole or not at all.

    Args:
        textured: The mesh in the frame of the fitted cameras.
        cameras: The cameras as finally fitted.
        file_paths: The picture that belongs to each camera, relative to `folder`; goes into cameras.json.
        folder: Made if it is not there.
        name: Of the mesh files.
        size: Longest side of the mesh's bounding box in metres; mesh and cameras are scaled together about the
            origin. None keeps the frame as it is.
    Returns:
        The paths, and mesh and cameras as written.
    Raises:
        ShapeError: The mesh cannot be written, or there are not as many file paths as cameras.
        OptionError: `size` is not a positive number.
        OutputError: A file cannot be written.
    """
    check_textured(textured)
    if len(cameras) != len(file_paths):
        raise ShapeError(f"There are {len(cameras)} cameras and {len(file_paths)} file paths.")
    if size is not None:
        textured, cameras = _scaled(textured, cameras, size)
    if textured.material is not None:
        light = rgbe_decode(rgbe_encode(textured.material.light))
        textured = replace(textured, material=replace(textured.material, light=light))
    with ThreadPoolExecutor(3) as beside:
        png = beside.submit(encode_png, textured.base_color_srgb)
        coloured = beside.submit(write_ply, textured, folder / f"{name}.ply")
        binary = beside.submit(write_glb, textured, folder / f"{name}.glb", png=png.result)
        obj, mtl, texture = write_obj(textured, folder / f"{name}.obj", png=png.result)
        ply, glb = coloured.result(), binary.result()
    cameras_json = folder / "cameras.json"
    write_cameras(cameras_json, cameras, file_paths)
    return ExportedFiles(
        obj=obj,
        mtl=mtl,
        texture=texture,
        ply=ply,
        glb=glb,
        cameras_json=cameras_json,
        textured=textured,
        cameras=tuple(cameras),
    )


def _scaled(textured: TexturedMesh, cameras: Sequence[Camera], size: float) -> tuple[TexturedMesh, list[Camera]]:
    if not (np.isfinite(size) and size > 0):
        raise OptionError(f"size={size} is no length.", hint="Give the longest side in metres, such as 0.3.")
    used = textured.mesh.vertices[textured.mesh.faces.ravel()].astype(np.float64)
    longest = float(np.ptp(used, axis=0).max())
    if longest <= 0:
        raise ShapeError("The mesh is a single point and cannot be scaled.")
    factor = size / longest
    vertices = (textured.mesh.vertices.astype(np.float64) * factor).astype(np.float32)
    moved = []
    for camera in cameras:
        pose = camera.camera_to_world.copy()
        pose[:3, 3] *= factor
        moved.append(replace(camera, camera_to_world=pose))
    return replace(textured, mesh=replace(textured.mesh, vertices=vertices)), moved
