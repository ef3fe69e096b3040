"""Which of two surfaces explains the views better, by a measure that needs no fit.

Every other view paints space where it sees the surface; the views between are then predicted from that. A surface in
the wrong place is painted with what lies before or behind it, and shows that to the views between. Space is painted,
not the mesh: how finely that is cut must not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from meshwright.models.nvdiffrec.stage_one.pictures import clip_matrices, picture_size
from meshwright.models.refinement.targets import targets_of
from meshwright.rendering import ops
from meshwright.types import Array, Camera, Mesh, View

__all__ = ["box_of", "explained"]

_AT_ONCE = 8
_CELLS = 128
"""Along the longest side of the painted box."""


def box_of(*meshes: Mesh) -> Array:
    """Least and greatest corner of all of them, float64 [2, 3]."""
    vertices = np.concatenate([mesh.vertices for mesh in meshes]).astype(np.float64)
    return np.stack([vertices.min(0), vertices.max(0)])


class _Paint:
    """Colours in space, sums over what was put there."""

    def __init__(self, box: Array, device: str) -> None:
        self.cell = float((box[1] - box[0]).max()) / _CELLS
        self.low = torch.tensor(box[0] - self.cell, dtype=torch.float32, device=device)
        self.size = [int(n) for n in np.ceil((box[1] - box[0]) / self.cell) + 3]
        self.sums = torch.zeros(int(np.prod(self.size)), 4, device=device)

    def _corners(self, points: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The eight voxels around points [P, 3], and their weights [P, 1]."""
        place = (points - self.low) / self.cell
        top = torch.tensor(self.size, device=points.device) - 2
        corner = torch.minimum(place.floor().long().clamp(min=0), top)
        share = (place - corner).clamp(0, 1)
        for x, y, z in np.ndindex(2, 2, 2):
            step = torch.tensor([x, y, z], device=points.device)
            weight = torch.where(step > 0, share, 1 - share).prod(1, keepdim=True)
            i, j, k = (corner + step).unbind(1)
            yield (i * self.size[1] + j) * self.size[2] + k, weight

    def put(self, points: torch.Tensor, colours: torch.Tensor, weight: torch.Tensor) -> None:
        values = torch.cat([colours, torch.ones_like(weight)], 1) * weight
        for index, share in self._corners(points):
            self.sums.index_add_(0, index, share * values)

    def at(self, points: torch.Tensor) -> torch.Tensor:
        """Colours [P, 3]; the mean of all where nothing was put."""
        found = torch.zeros(len(points), 4, device=points.device)
        for index, share in self._corners(points):
            found += share * self.sums.index_select(0, index)
        usual = self.sums[:, :3].sum(0) / self.sums[:, 3].sum().clamp(min=1e-6)
        return torch.where(found[:, 3:] > 1e-3, found[:, :3] / found[:, 3:].clamp(min=1e-3), usual)


@torch.no_grad()
def explained(
    mesh: Mesh, box: Array, views: Sequence[View], cameras: Sequence[Camera], device: str, *, pixels: int = 200
) -> float:
    """PSNR of views as half of the others predict them, dB, in sRGB over white; each half predicts the other.

    Args:
        mesh: Any.
        box: See `box_of`; surfaces that are compared need the same.
        views: With masks, two or more.
        cameras: One per view.
        device: "cpu" or a CUDA device.
        pixels: Long side of the pictures compared.
    """
    width, height = picture_size(views, pixels)
    target = targets_of(views, width, height, device)
    vertices = torch.tensor(mesh.vertices, dtype=torch.float32, device=device)
    faces = torch.tensor(mesh.faces.astype(np.int32), device=device)
    clip = torch.cat([vertices, torch.ones_like(vertices[:, :1])], 1)
    matrices = clip_matrices(cameras, box.mean(0), device)
    halves = [torch.arange(start, len(views), 2, device=device) for start in (0, 1)]

    def seen(chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Which pixels show the surface [N, H, W, 1], the points that they show [P, 3], and the pictures."""
        rast, _ = ops.rasterize(clip @ matrices.index_select(0, chosen), faces, (height, width), derivatives=False)
        points, _ = ops.interpolate(vertices, rast, faces)
        return rast[..., 3:] > 0, points.reshape(-1, 3), target.index_select(0, chosen)

    errors = []
    for painting, predicted in (halves, halves[::-1]):
        paint = _Paint(box, device)
        for chosen in torch.split(painting, _AT_ONCE):
            there, points, picture = seen(chosen)
            # Half-covered pixels show the ground too.
            whole = (there & (picture[..., 3:] > 0.99)).float().reshape(-1, 1)
            paint.put(points, picture[..., :3].reshape(-1, 3), whole)
        for chosen in torch.split(predicted, _AT_ONCE):
            there, points, picture = seen(chosen)
            shown = torch.where(there, paint.at(points).view(*there.shape[:3], 3), torch.ones(3, device=device))
            errors.append((shown - picture[..., :3] - (1 - picture[..., 3:])).square().mean((1, 2, 3)))
    return float(-10 * torch.log10(torch.cat(errors).mean().clamp(min=1e-10)))
