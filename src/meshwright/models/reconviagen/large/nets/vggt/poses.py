"""VGGT's nine numbers for a camera, and the matrices they stand for.

A pose is [..., 9]: translation (3), quaternion x, y, z, w (4), field of view along rows' height and width (2, radians).
Extrinsics are world to camera in OpenCV axes: +X right, +Y down, looks along +Z. Intrinsics are in pixels, with the
principal point in the middle.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["matrices_to_pose", "pose_to_matrices"]


def pose_to_matrices(pose: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Extrinsics [..., 3, 4] and intrinsics [..., 3, 3] of poses [..., 9] for pictures of `height` x `width`."""
    x, y, z, w = pose[..., 3:7].unbind(-1)
    # Twice over the squared length, so that a quaternion of any length gives a rotation.
    s = 2 / (pose[..., 3:7] ** 2).sum(-1)
    rotation = torch.stack(
        [
            1 - s * (y * y + z * z),
            s * (x * y - z * w),
            s * (x * z + y * w),
            s * (x * y + z * w),
            1 - s * (x * x + z * z),
            s * (y * z - x * w),
            s * (x * z - y * w),
            s * (y * z + x * w),
            1 - s * (x * x + y * y),
        ],
        -1,
    ).reshape(*pose.shape[:-1], 3, 3)
    extrinsics = torch.cat([rotation, pose[..., :3, None]], -1)
    fy = height / 2 / torch.tan(pose[..., 7] / 2)
    fx = width / 2 / torch.tan(pose[..., 8] / 2)
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    middle_x, middle_y = one * (width / 2), one * (height / 2)
    entries = [fx, zero, middle_x, zero, fy, middle_y, zero, zero, one]
    return extrinsics, torch.stack(entries, -1).reshape(*pose.shape[:-1], 3, 3)


def matrices_to_pose(extrinsics: Tensor, intrinsics: Tensor, height: int, width: int) -> Tensor:
    """Poses [..., 9] of extrinsics [..., 3, 4] and intrinsics [..., 3, 3]; quaternions of length 1 with w >= 0."""
    field_h = 2 * torch.atan(height / 2 / intrinsics[..., 1, 1])
    field_w = 2 * torch.atan(width / 2 / intrinsics[..., 0, 0])
    quaternion = _quaternion(extrinsics[..., :3])
    return torch.cat([extrinsics[..., 3], quaternion, field_h[..., None], field_w[..., None]], -1)


def _quaternion(rotation: Tensor) -> Tensor:
    """x, y, z, w [..., 4] of rotations [..., 3, 3].

    The outer product of the quaternion with itself is linear in the matrix; its row with the largest diagonal entry,
    divided by that entry's root, is the quaternion: no division by a small number.
    """
    r = rotation
    trace = r[..., 0, 0] + r[..., 1, 1] + r[..., 2, 2]
    xy, xz, yz = r[..., 0, 1] + r[..., 1, 0], r[..., 0, 2] + r[..., 2, 0], r[..., 1, 2] + r[..., 2, 1]
    xw, yw, zw = r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]
    squares = [1 + 2 * r[..., i, i] - trace for i in range(3)] + [1 + trace]
    rows = [[squares[0], xy, xz, xw], [xy, squares[1], yz, yw], [xz, yz, squares[2], zw], [xw, yw, zw, squares[3]]]
    outer = torch.stack([torch.stack(row, -1) for row in rows], -2)
    best = torch.stack(squares, -1).argmax(-1)[..., None, None].expand(*outer.shape[:-2], 1, 4)
    row = outer.gather(-2, best).squeeze(-2)
    row = row / row.norm(dim=-1, keepdim=True)
    return torch.where(row[..., 3:] < 0, -row, row)
