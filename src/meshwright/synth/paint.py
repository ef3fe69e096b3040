"""Procedural colour: solid textures in the object's frame, and flat marks projected onto the surface.

Patterns are evaluated in 3D, so they need no UV map and cross the seams between solids; random ones (spots, bands) make
left and right differ even where the shape is mirrored. Colours are linear RGB here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from meshwright._warp import wp
from meshwright.synth.field import struct_rows
from meshwright.synth.paint_kernel import DecalData, PaintData
from meshwright.synth.solids import Paint, SynthObject
from meshwright.types import Array

__all__ = ["hex_to_linear", "pack_decals", "pack_paints"]


def hex_to_linear(colour: str) -> Array:
    """`#rrggbb` to linear RGB, float64 [3]."""
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255.0
    linear: Array = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return linear


def pack_paints(paint_index: dict[Paint, int], seed: int, device: str) -> Any:
    """The object's paints as `wp.array[PaintData]`."""
    rows = struct_rows(PaintData, len(paint_index))
    for paint, i in paint_index.items():
        row = rows[i]
        colours = [hex_to_linear(c) for c in (*paint.colours, paint.colours[-1], paint.colours[-1])]
        direction = np.array(paint.direction, float) / np.linalg.norm(paint.direction)
        helper = np.array([0.0, 0.0, 1.0]) if abs(direction[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
        across = np.cross(direction, helper)
        row["pattern"] = paint.pattern
        row["colour_a"], row["colour_b"], row["colour_c"] = colours[:3]
        row["scale"], row["duty"], row["mottle"] = paint.scale, paint.duty, paint.mottle
        row["direction"], row["across"] = direction, across / np.linalg.norm(across)
        row["seed"] = seed * 101 + i * 17 + 1
    return wp.array(rows, dtype=PaintData, device=device)


def pack_decals(item: SynthObject, device: str) -> tuple[Any, Any]:
    """The object's marks as `wp.array[DecalData]`, and the pixels of their pictures, uint8."""
    rows = struct_rows(DecalData, len(item.decals))
    pixels: list[int] = []
    for row, decal in zip(rows, item.decals, strict=True):
        right, up = np.array(decal.right, float), np.array(decal.up, float)
        normal = np.cross(right, up)
        row["at"], row["normal"] = decal.at, normal / np.linalg.norm(normal)
        row["right"], row["up"] = right / (right @ right), up / (up @ up)
        row["colour"] = hex_to_linear(decal.colour)
        row["hole"], row["reach"], row["wrap"] = decal.hole, decal.reach, decal.wrap
        row["radius"], row["half_width"] = np.hypot(decal.at[0], decal.at[2]), np.linalg.norm(right)
        row["first"] = len(pixels)
        row["rows"], row["columns"] = len(decal.rows), max((len(line) for line in decal.rows), default=0)
        for line in decal.rows:
            pixels.extend(int(c == "#") for c in line.ljust(int(row["columns"])))
    packed = wp.array(rows, dtype=DecalData, device=device)
    return packed, wp.array(np.array(pixels or [0], np.uint8), dtype=wp.uint8, device=device)
