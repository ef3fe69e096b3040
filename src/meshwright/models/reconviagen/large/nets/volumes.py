"""Cubic patches of a volume as channels, and back.

Letters: B batch elements, C channels, X, Y, Z cells, P side of a patch.
A patch's channel is ((c*P + i)*P + j)*P + k, with i, j, k along X, Y, Z.
"""

from __future__ import annotations

from torch import Tensor

from meshwright.errors import ShapeError

__all__ = ["channels_to_cells", "patches_to_channels"]


def patches_to_channels(volume: Tensor, side: int) -> Tensor:
    """[B, C, X, Y, Z] -> [B, C*P**3, X/P, Y/P, Z/P]."""
    batch, channels, *cells = volume.shape
    if len(cells) != 3 or any(n % side for n in cells):
        raise ShapeError(
            f"A volume of {tuple(volume.shape)} has no patches of {side}.", hint=f"Use multiples of {side}."
        )
    x, y, z = (n // side for n in cells)
    split = volume.reshape(batch, channels, x, side, y, side, z, side)
    return split.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(batch, channels * side**3, x, y, z)


def channels_to_cells(volume: Tensor, side: int) -> Tensor:
    """[B, C*P**3, X, Y, Z] -> [B, C, X*P, Y*P, Z*P]: the inverse of `patches_to_channels`; a pixel shuffle in 3D."""
    batch, channels, *cells = volume.shape
    if len(cells) != 3 or channels % side**3:
        raise ShapeError(f"{tuple(volume.shape)} is no volume of patches of {side}.", hint=f"Use C*{side}**3 channels.")
    x, y, z = cells
    split = volume.reshape(batch, channels // side**3, side, side, side, x, y, z)
    return split.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(batch, channels // side**3, x * side, y * side, z * side)
