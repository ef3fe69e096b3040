"""Every pixel of every view that shows the mesh, with what lies under it.

Mesh and cameras stay as they are, so the rasteriser has to run only once; a step then draws pixels from all views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from meshwright.models.refinement.poses import PoseCorrections
from meshwright.models.refinement.targets import shrunk
from meshwright.rendering import ops
from meshwright.types import Array, Camera, Monitor, TexturedMesh, View

__all__ = ["Samples", "collect"]

_COLUMNS = {"uv": 2, "normal": 3, "tangent": 4, "view": 3, "bary": 2, "wanted": 3, "alpha": 1, "cover": 1}
_LEAST = 0.5
"""Pixels of which both mesh and mask cover less do not count."""


@dataclass(frozen=True)
class Samples:
    """Pixels, P of them.

    Attributes:
        packed: Everything with a fraction, float32 [P, 19]; see `part`.
        face: Which triangle, int64 [P].
        texels: Texels along a side of a texture of which a pixel covers about one.
    """

    packed: torch.Tensor
    face: torch.Tensor
    texels: float

    def drawn(self, count: int, generator: torch.Generator) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Some pixels: `uv`, unit `normal` and `tangent` (with its sign), `view` to the camera, `bary` of the first two
        corners, `wanted` (linear, times alpha), `alpha` of the view, `cover` of the mesh; and their triangles."""
        index = torch.randint(len(self.face), (count,), generator=generator, device=self.face.device)
        rows = self.packed.index_select(0, index)
        parts = torch.split(rows, list(_COLUMNS.values()), 1)
        return dict(zip(_COLUMNS, parts, strict=True)), self.face.index_select(0, index)


def collect(
    textured: TexturedMesh,
    views: Sequence[View],
    cameras: Sequence[Camera],
    *,
    pixels: int,
    most: int,
    seed: int,
    monitor: Monitor,
    device: str,
) -> Samples | None:
    """The pixels of all views; None where mesh and masks nowhere meet.

    Args:
        textured: Mesh with texture coordinates.
        views: Pictures with masks.
        cameras: One per view.
        pixels: Long side of the pictures compared.
        most: So many pixels are kept, drawn at random from more.
        seed: Of that.
        monitor: Asked to stop between views.
        device: Where they are kept.
    """
    mesh = textured.mesh
    middle = (mesh.vertices.max(0) + mesh.vertices.min(0)).astype(np.float64) / 2

    def on(values: Array, kind: type = np.float32) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, kind)).to(device)

    vertices, faces, uv_faces = on(mesh.vertices), on(mesh.faces, np.int32), on(textured.uv_faces, np.int32)
    surface = torch.cat([on(mesh.vertex_normals()), vertices], 1)
    layout = torch.cat([on(textured.uv), on(textured.tangents())], 1)
    topology = ops.build_topology(faces)
    generator = torch.Generator().manual_seed(seed)
    rows, triangles, footprints = [], [], []
    for view, camera in zip(views, cameras, strict=True):
        monitor.check()
        share = min(1.0, pixels / max(view.width, view.height))
        width, height = (max(8, round(side * share)) for side in (view.width, view.height))
        with torch.no_grad():
            clip = PoseCorrections((camera,), middle, device)(vertices)
        rast, rast_db = ops.rasterize(clip, faces, (height, width))
        inside = (rast[..., 3:] > 0).float()
        cover = ops.antialias(inside, rast, clip, faces, topology)
        look = np.concatenate([view.rgb * view.mask[..., None], view.mask[..., None]], -1)
        target = on(shrunk(look, width, height)[::-1])
        chosen = (inside[0, ..., 0] > 0) & (target[..., 3] > _LEAST) & (cover[0, ..., 0] > _LEAST)
        place = chosen.view(-1).nonzero()[:, 0]
        kept = max(1, round(most / len(views)))
        if len(place) > kept:
            place = place[torch.randperm(len(place), generator=generator)[:kept].to(device)]
        if len(place) == 0:
            continue
        on_surface, _ = ops.interpolate(surface, rast, faces)
        in_layout, change = ops.interpolate(layout, rast, uv_faces, rast_db, diff_attrs=[0, 1])
        normal, point = on_surface.view(-1, 6)[place].chunk(2, 1)
        laid, wanted = in_layout.view(-1, 6)[place], target.view(-1, 4)[place]
        seen, slope = rast.view(-1, 4)[place], change.view(-1, 4)[place]
        towards = on(camera.position) - point
        parts = [laid[:, :2], _unit(normal), _unit(laid[:, 2:5]), laid[:, 5:].sign(), _unit(towards), seen[:, :2]]
        rows.append(torch.cat([*parts, wanted, cover.view(-1, 1)[place]], 1))
        triangles.append(seen[:, 3].long() - 1)
        footprints.append((slope[:, 0] * slope[:, 3] - slope[:, 1] * slope[:, 2]).abs())
    if not rows:
        return None
    footprint = float(torch.cat(footprints).median())
    return Samples(torch.cat(rows), torch.cat(triangles), 1 / max(footprint, 1e-12) ** 0.5)


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors, dim=1)
