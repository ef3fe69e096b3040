"""What the ops say when tensors do not fit together."""

from __future__ import annotations

import torch

from meshwright.errors import ShapeError

__all__ = ["check_floats", "check_rast", "check_triangles", "fault"]


def fault(name: str, tensor: torch.Tensor, expected: str) -> ShapeError:
    """The error for a tensor that is not what an op works on."""
    return ShapeError(
        f"{name} is {tensor.dtype} {list(tensor.shape)} on {tensor.device}, expected {expected}.",
        hint="Tensors of one call share a device; convert with .to(device, dtype).",
    )


def check_floats(name: str, tensor: torch.Tensor, device: torch.device, ndims: tuple[int, ...], expected: str) -> None:
    """float32, on the device, with as many dimensions as said and none of them empty."""
    if (
        tensor.dtype is not torch.float32
        or tensor.device != device
        or tensor.ndim not in ndims
        or tensor.numel() == 0
        or tensor.numel() >= 2**31
    ):
        raise fault(name, tensor, f"float32 {expected} on {device}")


def check_triangles(tri: torch.Tensor, device: torch.device) -> None:
    """int32 [F, 3]; whether the indices exist is not looked at, since that would wait for the GPU."""
    if tri.dtype is not torch.int32 or tri.device != device or tri.ndim != 2 or tri.shape[1] != 3:
        raise fault("tri", tri, f"int32 [F, 3] on {device}")


def check_rast(name: str, rast: torch.Tensor, device: torch.device) -> None:
    """float32 [N, H, W, 4]."""
    check_floats(name, rast, device, (4,), "[N, H, W, 4]")
    if rast.shape[3] != 4:
        raise fault(name, rast, f"float32 [N, H, W, 4] on {device}")
