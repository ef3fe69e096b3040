"""The nearest of some pixels, for every pixel: an exact distance transform on any device.

Letters: H, W pixels.
Source: Saito and Toriwaki, "New algorithms for Euclidean distance transformation of an n-dimensional digitized
picture", 1994: first along columns, then along rows.
"""

from __future__ import annotations

import torch

from meshwright.programs import Program, packed
from meshwright.texture.on_device import kernels

__all__ = ["find_nearest"]

COLUMNS = Program(kernels.column_kernel)
ROWS = Program(kernels.row_kernel)


def find_nearest(wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For every pixel the nearest wanted one.

    Args:
        wanted: bool [H, W].
    Returns:
        Its place row * W + column, int32 [H, W], and the squared distance to it in pixels, int32 [H, W]. Where nothing
        is wanted at all: -1 and 2**31 - 1.
    """
    height, width = wanted.shape
    rows, nearest, square = (torch.empty_like(wanted, dtype=torch.int32) for _ in range(3))
    COLUMNS(wanted.device, width, packed(wanted.view(torch.uint8)), height, width, rows)
    ROWS(wanted.device, height * width, rows, width, nearest, square)
    return nearest, square
