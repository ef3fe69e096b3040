"""Camera corrections fitted by gradient descent: per view scale, offset and rotation, one common focal length.

The same corrections as the calibration on silhouettes fits (`meshwright.cameras`), here as torch parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from meshwright.types import Array, Camera

__all__ = ["PoseCorrections"]

_NEAR, _FAR = 0.05, 20.0
"""Clipping planes, in distances of the camera from the object."""


class PoseCorrections(torch.nn.Module):
    """Cameras that can move a little.

    Args:
        cameras: Where they begin.
        pivot: Point they turn around, world frame, float64 [3].
        device: Torch device.
    """

    def __init__(self, cameras: Sequence[Camera], pivot: Array, device: str) -> None:
        super().__init__()
        self.start = tuple(cameras)
        count = len(self.start)

        def constant(values: list[Array]) -> torch.Tensor:
            return torch.tensor(np.stack(values), dtype=torch.float32, device=device)

        self.pivot = constant([np.asarray(pivot)])
        self.rotation = constant([c.camera_to_world[:3, :3].T for c in cameras])
        self.shift = constant([c.camera_to_world[:3, :3].T @ (pivot - c.position) for c in cameras])
        self.zoom = constant([np.array([2 * c.fl_x / c.width, 2 * c.fl_y / c.height]) for c in cameras])
        self.centre = constant([np.array([2 * c.cx / c.width - 1, 1 - 2 * c.cy / c.height]) for c in cameras])
        self.log_scale = torch.nn.Parameter(torch.zeros(count, device=device))
        self.offset = torch.nn.Parameter(torch.zeros(count, 2, device=device))
        self.turn = torch.nn.Parameter(torch.zeros(count, 3, device=device))
        self.log_focal = torch.nn.Parameter(torch.zeros(1, device=device))

    def turned(self) -> torch.Tensor:
        """World-to-camera rotations, [N, 3, 3]."""
        x, y, z = self.turn.unbind(-1)
        nothing = torch.zeros_like(x)
        cross = torch.stack([nothing, -z, y, z, nothing, -x, -y, x, nothing], -1).view(-1, 3, 3)
        # Rodrigues' formula; a matrix exponential waits for the GPU. At 0 the root's slope would be infinite.
        squared = self.turn.square().sum(-1)
        small = squared < 1e-4
        half = squared.clamp(min=1e-4).sqrt() / 2
        along = torch.where(small, 1 - squared / 6 * (1 - squared / 20), torch.sin(2 * half) / (2 * half))
        across = torch.where(small, 0.5 - squared / 24 * (1 - squared / 30), 0.5 * (torch.sin(half) / half).square())
        spin = along.view(-1, 1, 1) * cross + across.view(-1, 1, 1) * (cross @ cross)
        return self.rotation + spin @ self.rotation

    def forward(self, vertices: torch.Tensor, views: torch.Tensor | None = None) -> torch.Tensor:
        """World points [V, 3] to OpenGL clip space [N, V, 4]; of some views only, if their numbers are given."""

        def of(values: torch.Tensor) -> torch.Tensor:
            return values if views is None else values.index_select(0, views)

        shift, log_focal = of(self.shift), self.log_focal
        local = (vertices - self.pivot) @ of(self.turned()).transpose(1, 2)
        distance = -shift[:, None, 2] * torch.exp(log_focal)
        x, y = local[..., 0] + shift[:, None, 0], local[..., 1] + shift[:, None, 1]
        w = distance - local[..., 2]
        zoom = of(self.zoom) * torch.exp(log_focal + of(self.log_scale))[:, None]
        centre = of(self.centre + self.offset)
        near, far = _NEAR * distance, _FAR * distance
        depth = (far + near) / (far - near) * w - 2 * far * near / (far - near)
        return torch.stack(
            [zoom[:, None, 0] * x + centre[:, None, 0] * w, zoom[:, None, 1] * y + centre[:, None, 1] * w, depth, w], -1
        )

    def size(self) -> torch.Tensor:
        """Sum of the squares of all corrections."""
        return sum((p.square().sum() for p in self.parameters()), start=self.log_focal.new_zeros(()))

    @torch.no_grad()
    def cameras(self) -> tuple[Camera, ...]:
        """The corrected cameras."""
        rotation = self.turned().double().cpu().numpy()
        shift = self.shift.double().cpu().numpy().copy()
        focal = float(torch.exp(self.log_focal)[0])
        shift[:, 2] *= focal
        pivot = self.pivot[0].double().cpu().numpy()
        scale = focal * torch.exp(self.log_scale).double().cpu().numpy()
        offset = self.offset.double().cpu().numpy()
        moved = []
        for i, camera in enumerate(self.start):
            matrix = np.eye(4)
            matrix[:3, :3] = rotation[i].T
            matrix[:3, 3] = pivot - rotation[i].T @ shift[i]
            moved.append(
                replace(
                    camera,
                    camera_to_world=matrix,
                    fl_x=camera.fl_x * float(scale[i]),
                    fl_y=camera.fl_y * float(scale[i]),
                    cx=camera.cx + float(offset[i, 0]) * camera.width / 2,
                    cy=camera.cy - float(offset[i, 1]) * camera.height / 2,
                )
            )
        return tuple(moved)
