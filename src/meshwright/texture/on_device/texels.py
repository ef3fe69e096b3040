"""`meshwright.texture.texels` on a device: the same places, in tensors that stay there.

Letters: T side of the texture, F faces, M texels that matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from meshwright._warp import wp
from meshwright.errors import ShapeError
from meshwright.rendering.rasterize import rasterize_clip_on_device
from meshwright.texture.on_device.nearest import find_nearest
from meshwright.texture.surface import SurfaceGraph
from meshwright.texture.texels import RIM, clip_of, place_texels, spacing_of
from meshwright.types import Array, Mesh

__all__ = ["DeviceTexels", "find_texels"]


@dataclass(frozen=True, kw_only=True)
class DeviceTexels:
    """`Texels` whose arrays are tensors of the same types and shapes, on one device."""

    size: int
    index: torch.Tensor
    inside: torch.Tensor
    graph_face: torch.Tensor
    graph_bary: torch.Tensor
    nearest: torch.Tensor
    spacing: float


def find_texels(mesh: Mesh, uv: Array, uv_faces: Array, size: int, graph: SurfaceGraph, *, device: str) -> DeviceTexels:
    """As `meshwright.texture.texels.find_texels`; of texels equally near it may take another one."""
    clip = clip_of(mesh, uv, uv_faces)
    face_id = wp.to_torch(rasterize_clip_on_device(clip, uv_faces, size, size, device=device)[0])
    covered = face_id >= 0
    count = int(torch.count_nonzero(covered))
    if count == 0:
        raise ShapeError("No texel of the atlas is covered.", hint="Use a larger texture.")
    source, square = (values.flatten() for values in find_nearest(covered))
    close = square <= RIM**2
    index = torch.nonzero(close).flatten().int()
    place = torch.cumsum(close, 0, dtype=torch.int32) - 1
    own = source[index]
    face = face_id.flatten()[own]
    sent = wp.from_torch(index), wp.from_torch(face)
    graph_face, graph_bary = place_texels(uv, uv_faces, sent, size, graph.levels, device)
    return DeviceTexels(
        size=size,
        index=index,
        inside=own == index,
        graph_face=wp.to_torch(graph_face),
        graph_bary=wp.to_torch(graph_bary),
        nearest=torch.where(close, place, place[source]),
        spacing=spacing_of(mesh, count),
    )
