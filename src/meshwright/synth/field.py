"""An object's solids packed for Warp, boxes around it, and its signed distance at points."""

from __future__ import annotations

from typing import Any

import numpy as np

from meshwright._warp import wp
from meshwright.synth.field_kernel import SolidData, distance_kernel
from meshwright.synth.solids import Join, Paint, Shape, Solid, SynthObject
from meshwright.types import Array

__all__ = ["bounding_ball", "bounds", "distance_at", "pack_solids", "paint_numbers", "struct_rows"]


def pack_solids(item: SynthObject, paint_index: dict[Paint, int], device: str) -> Any:
    """The object's solids as `wp.array[SolidData]`."""
    rows = struct_rows(SolidData, len(item.solids))
    for row, solid in zip(rows, item.solids, strict=True):
        centre, radius = bounding_ball(solid)
        i, j = (2, 0) if solid.copy_axis == 1 else (0, 1)
        row["shape"], row["join"] = solid.shape, solid.join
        row["both_sides"], row["copies"], row["copy_axis"] = solid.both_sides, solid.copies, solid.copy_axis
        row["paint"] = paint_index[solid.paint]
        row["to_local"] = np.array(solid.axes).T
        row["at"], row["size"] = solid.at, solid.size
        row["home"] = np.arctan2(solid.at[j], solid.at[i])
        row["edge"], row["seam"] = solid.edge, solid.seam
        row["bound_centre"], row["bound_radius"], row["bound_slope"] = centre, radius, bound_slope(solid)
    return wp.array(rows, dtype=SolidData, device=device)


def struct_rows(kind: Any, count: int) -> Any:
    """Zeroed records that Warp takes as an array of the struct `kind`."""
    return np.zeros(count, kind.numpy_dtype())


def bounding_ball(solid: Solid) -> tuple[Array, float]:
    """Centre [3] (object frame, before mirroring and copying) and radius of a ball around the solid."""
    sx, sy, sz, sw = solid.size
    at = np.array(solid.at, float)
    if solid.shape == Shape.CONE:
        along = np.array(solid.axes, float)[:, 1]
        return at + along * sz / 2, sz / 2 + max(sx, sy)
    radius = {
        Shape.ELLIPSOID: max(sx, sy, sz),
        Shape.BOX: float(np.hypot(np.hypot(sx, sz) * max(1.0, sw), sy)),
        Shape.CYLINDER: float(np.hypot(sx, sy)),
        Shape.RING: sx + sy,
    }[solid.shape]
    return at, radius


def bound_slope(solid: Solid) -> float:
    """How fast the formula of `shape_distance` surely grows outside the bounding ball.

    1 where it is the true distance. It falls short of it for ellipsoids (k0 (k0 - 1) / k1 >= (k0 - 1) min(radii)) and
    off the corners of tapered boxes (the largest of five plane distances).
    """
    if solid.shape == Shape.ELLIPSOID:
        return min(solid.size[:3]) / max(solid.size[:3])
    return 0.4 if solid.shape == Shape.BOX and solid.size[3] != 1.0 else 1.0


def bounds(item: SynthObject) -> tuple[Array, Array]:
    """A box [3], [3] that surely holds the object."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for solid in item.solids:
        if solid.join != Join.ADD:
            continue
        centre, radius = bounding_ball(solid)
        corner_low, corner_high = centre - radius, centre + radius
        if solid.both_sides:
            reach = max(abs(corner_low[0]), abs(corner_high[0]))
            corner_low[0], corner_high[0] = -reach, reach
        if solid.copies > 1:
            i, j = (2, 0) if solid.copy_axis == 1 else (0, 1)
            reach = float(np.hypot(centre[i], centre[j])) + radius
            corner_low[[i, j]], corner_high[[i, j]] = -reach, reach
        low, high = np.minimum(low, corner_low - solid.seam / 4), np.maximum(high, corner_high + solid.seam / 4)
    return low, high


def distance_at(item: SynthObject, points: Array, *, device: str = "cpu") -> Array:
    """Signed distance (negative inside) at points [N, 3] in the object's own units, float32 [N]."""
    solids = pack_solids(item, paint_numbers(item), device)
    out = wp.empty(len(points), dtype=wp.float32, device=device)
    where = wp.array(np.ascontiguousarray(points, np.float32), dtype=wp.vec3, device=device)
    wp.launch(distance_kernel, len(points), [solids, where, out], device=device)
    result: Array = out.numpy()
    return result


def paint_numbers(item: SynthObject) -> dict[Paint, int]:
    """Every paint of the object, numbered in order of first use."""
    return {paint: i for i, paint in enumerate(dict.fromkeys(solid.paint for solid in item.solids))}
