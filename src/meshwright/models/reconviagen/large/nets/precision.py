"""Which weights of a network may be kept in half precision, and how they are changed."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["cast_matrices", "matrix_dtype"]

_SINGLE = (nn.LayerNorm, nn.GroupNorm)
_SINGLE_NAMES = ("gamma",)


def cast_matrices(module: nn.Module, dtype: torch.dtype) -> None:
    """Changes linear maps, convolutions and learned tokens of a module to `dtype`, in place.

    Norms and the gains of heads keep what they have: they are small, and worked out in float32 in any case. So do
    buffers.
    """
    for part in module.modules():
        if isinstance(part, _SINGLE):
            continue
        for name, parameter in part.named_parameters(recurse=False):
            if name not in _SINGLE_NAMES:
                parameter.data = parameter.data.to(dtype)


def matrix_dtype(module: nn.Module) -> torch.dtype:
    """What the linear maps of a module are kept in, which is what they compute in.

    It is read from the weights, not from a setting, so it is right whatever a file held.
    """
    return next(
        parameter.dtype
        for part in module.modules()
        if not isinstance(part, _SINGLE)
        for name, parameter in part.named_parameters(recurse=False)
        if name not in _SINGLE_NAMES
    )
