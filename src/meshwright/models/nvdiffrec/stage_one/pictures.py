"""The views as stage one sees them: linear light, smaller, bottom row first; and their cameras as matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from meshwright.device import map_threads
from meshwright.models.refinement.poses import PoseCorrections
from meshwright.models.refinement.targets import shrunk
from meshwright.types import Array, Camera, View

__all__ = ["clip_matrices", "linear_targets", "picture_size", "pixels_across"]


def picture_size(views: Sequence[View], pixels: int) -> tuple[int, int]:
    """Width and height of the pictures compared, with a long side of at most `pixels`."""
    share = min(1.0, pixels / max(max(view.width, view.height) for view in views))
    width, height = (max(8, round(side * share)) for side in (views[0].width, views[0].height))
    return width, height


def pixels_across(cameras: Sequence[Camera], middle: Array, edge: float, pixels: int) -> float:
    """How many pixels of the pictures compared the edge of a box covers, seen in the middle: the median of the views.

    Args:
        cameras: In pixels of the pictures as they are given.
        middle: Of the box, float64 [3].
        edge: World units.
        pixels: Long side of the pictures compared, at most.
    """
    found = []
    for camera in cameras:
        share = min(1.0, pixels / max(camera.width, camera.height))
        found.append(edge / float(np.linalg.norm(camera.position - middle)) * camera.fl_x * share)
    return float(np.median(found))


def linear_targets(views: Sequence[View], width: int, height: int, device: str) -> torch.Tensor:
    """Linear colour times cover, and cover: float32 [N, height, width, 4], rows from bottom to top."""

    def of_view(view: View) -> Array:
        cover = view.mask[..., None]
        return shrunk(np.concatenate([view.rgb * cover, cover], -1), width, height)[::-1]

    return torch.from_numpy(np.ascontiguousarray(np.stack(map_threads(of_view, views)))).to(device)


@torch.no_grad()
def clip_matrices(cameras: Sequence[Camera], pivot: Array, device: str) -> torch.Tensor:
    """From world points (x, y, z, 1) as rows to OpenGL clip space, float32 [N, 4, 4]: `points @ matrix`."""
    poses = PoseCorrections(cameras, pivot, device)
    corners = torch.cat([torch.eye(3), torch.zeros(1, 3)]).to(device)
    clip = poses(corners)
    return torch.cat([clip[:, :3] - clip[:, 3:], clip[:, 3:]], 1).contiguous()
