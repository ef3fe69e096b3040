"""`meshwright.texture.sight` on a device: the same judgement of a view's pixels, which stay there.

Letters: H, W pixels of the view.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn.functional import max_pool2d

from meshwright._warp import wp
from meshwright.rendering.rasterize import rasterize_on_device
from meshwright.texture.on_device.nearest import find_nearest
from meshwright.texture.on_device.tensors import sent
from meshwright.texture.sight import SOLID_MASK, STEEP, JudgedView, eye_of
from meshwright.types import Array, Camera, Mesh, View

__all__ = ["brightened", "judge_view"]


def judge_view(view: View, camera: Camera, mesh: Mesh, erode: float, ramp: float, *, device: str) -> JudgedView:
    """As `meshwright.texture.sight.judge_view`; of clean pixels equally near it may take another one's colour."""
    drawn = rasterize_on_device(mesh, camera, device=device)[2]
    depth = wp.to_torch(drawn)
    photograph, mask = (sent(values, device) for values in (view.rgb, view.mask))
    hit = torch.isfinite(depth)
    solid = (mask >= SOLID_MASK) & hit
    slope = STEEP / camera.fl_x * torch.where(hit, depth, 1.0)
    far = -torch.inf
    front, back = -_highest(torch.where(hit, -depth, far)), _highest(torch.where(hit, depth, far))
    whole = solid & (back - front <= slope)
    clean = whole & (_highest((~hit).float()) == 0)
    square = find_nearest(~clean)[1].double()
    # Nothing is known beyond the frame, so its border counts as a silhouette.
    inside = torch.minimum(square.sqrt(), _to_border(clean))
    trust = ((inside - erode) / ramp).clamp(0.0, 1.0).float()
    source = find_nearest(clean)[0].flatten().long()
    # Where nothing is clean the picture stays as it is.
    source = torch.where(source < 0, torch.arange(len(source), device=source.device), source)
    image = photograph.reshape(-1, 3)[source].reshape(photograph.shape)
    return JudgedView(
        eye=eye_of(camera),
        image=wp.from_torch(image, dtype=wp.vec3),
        depth=drawn,
        trust=wp.from_torch(trust),
        photograph=photograph,
        whole=whole,
    )


def brightened(view: JudgedView, gain: Array, *, device: str) -> JudgedView:
    """The view with its colours multiplied by a gain per channel, float32 [3]."""
    factor = sent(gain, device)
    image = wp.from_torch(wp.to_torch(view.image) * factor, dtype=wp.vec3)
    return replace(view, image=image, photograph=view.photograph * factor)


def _highest(values: torch.Tensor) -> torch.Tensor:
    """The maximum over 3 x 3 pixels of [H, W]; pixels beyond the frame do not count."""
    return max_pool2d(values[None, None], 3, 1, 1)[0, 0]


def _to_border(picture: torch.Tensor) -> torch.Tensor:
    """Distance of each pixel of [H, W] to the nearest one beyond the frame, float64."""
    height, width = picture.shape
    row, column = (torch.arange(1, n + 1, device=picture.device, dtype=torch.float64) for n in (height, width))
    return torch.minimum(torch.minimum(row, height + 1 - row)[:, None], torch.minimum(column, width + 1 - column))
