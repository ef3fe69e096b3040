"""What `texture` must compute, said in NumPy."""

from __future__ import annotations

import numpy as np

from meshwright.types import Array

__all__ = ["level_reference", "mips_reference", "texture_reference"]


def mips_reference(tex: Array, max_mip_level: int | None = None) -> list[Array]:
    """The texture [M, Ht, Wt, C] and its averages, each half the size, until one is a texel or has an odd extent."""
    levels = [tex.astype(np.float64)]
    while max_mip_level is None or len(levels) <= max_mip_level:
        finer = levels[-1]
        rows, columns = finer.shape[1:3]
        if rows * columns == 1 or (rows > 1 and rows % 2) or (columns > 1 and columns % 2):
            break
        if rows > 1:
            finer = (finer[:, 0::2] + finer[:, 1::2]) / 2
        if columns > 1:
            finer = (finer[:, :, 0::2] + finer[:, :, 1::2]) / 2
        levels.append(finer)
    return levels


def level_reference(uv_da: Array, rows: int, columns: int, highest: int) -> Array:
    """The level of a mipmapped look-up, [N, H, W]: log2 of the longer axis of a pixel's footprint, in texels."""
    jacobian = uv_da.reshape(*uv_da.shape[:3], 2, 2).astype(np.float64) * np.array([[columns], [rows]])
    longest = np.linalg.svd(jacobian, compute_uv=False)[..., 0]
    level: Array = np.clip(np.log2(np.maximum(longest, 1e-30)), 0, highest)
    return level


def texture_reference(
    tex: Array,
    uv: Array,
    uv_da: Array | None = None,
    *,
    filter: str = "linear",
    boundary: str = "wrap",
    max_mip_level: int | None = None,
) -> Array:
    """Look-ups [N, H, W, C] at uv [N, H, W, 2] in a texture [1 or N, Ht, Wt, C]."""
    uv = uv.astype(np.float64)
    if filter == "nearest":
        return _nearest(tex, uv, boundary)
    if filter == "linear" or uv_da is None:
        return _bilinear(tex, uv, boundary)
    levels = mips_reference(tex, max_mip_level)
    level = level_reference(uv_da, tex.shape[1], tex.shape[2], len(levels) - 1)
    if filter == "linear-mipmap-nearest":
        level = np.floor(level)
    looked_up = np.stack([_bilinear(picture, uv, boundary) for picture in levels])
    lower = np.floor(level).astype(int)
    upper = np.minimum(lower + 1, len(levels) - 1)
    share = (level - lower)[..., None]
    fine = np.take_along_axis(looked_up, lower[None, ..., None], 0)[0]
    coarse = np.take_along_axis(looked_up, upper[None, ..., None], 0)[0]
    result: Array = fine + share * (coarse - fine)
    return result


def _texels(tex: Array, row: Array, column: Array, boundary: str) -> Array:
    """Texels by whole numbers, as the boundary has it."""
    rows, columns = tex.shape[1:3]
    view = np.broadcast_to(np.arange(len(row))[:, None, None] % len(tex), row.shape)
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    if boundary == "wrap":
        row, column = row % rows, column % columns
    texels: Array = tex[view, np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)]
    return np.where(inside[..., None], texels, 0) if boundary == "zero" else texels


def _nearest(tex: Array, uv: Array, boundary: str) -> Array:
    cell = np.floor(uv * [tex.shape[2], tex.shape[1]]).astype(int)
    return _texels(tex, cell[..., 1], cell[..., 0], boundary)


def _bilinear(tex: Array, uv: Array, boundary: str) -> Array:
    rows, columns = tex.shape[1:3]
    point = uv * [columns, rows] - 0.5
    if boundary == "clamp":
        point = np.clip(point, 0, [columns - 1, rows - 1])
    cell = np.floor(point).astype(int)
    x, y = np.moveaxis(point - cell, -1, 0)[..., None]
    column, row = cell[..., 0], cell[..., 1]
    low = (1 - x) * _texels(tex, row, column, boundary) + x * _texels(tex, row, column + 1, boundary)
    high = (1 - x) * _texels(tex, row + 1, column, boundary) + x * _texels(tex, row + 1, column + 1, boundary)
    result: Array = (1 - y) * low + y * high
    return result
