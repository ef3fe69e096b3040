"""What `field.py` must compute, said in NumPy: the signed distance of an object, solid by solid, in float64."""

from __future__ import annotations

import numpy as np

from meshwright.synth.solids import Join, Shape, Solid, SynthObject
from meshwright.types import Array

__all__ = ["distance_reference"]


def distance_reference(item: SynthObject, points: Array) -> Array:
    """Signed distance (negative inside) at points [N, 3] in the object's own units, float64 [N]."""
    points = np.asarray(points, np.float64)
    total = np.full(len(points), 1e6)
    for solid in item.solids:
        d = _solid_distance(solid, points)
        if solid.join == Join.ADD:
            total = _soft_min(total, d, solid.seam)
        elif solid.join == Join.CUT:
            total = -_soft_min(-total, d, solid.seam)
        else:
            total = -_soft_min(-total, -d, solid.seam)
    return total


def _soft_min(a: Array, b: Array, width: float) -> Array:
    if width <= 0:
        return np.minimum(a, b)
    h = np.maximum(width - np.abs(a - b), 0) / width
    blended: Array = np.minimum(a, b) - h * h * width / 4
    return blended


def _solid_distance(solid: Solid, points: Array) -> Array:
    p = points.copy()
    if solid.both_sides:
        p[:, 0] = np.abs(p[:, 0])
    if solid.copies > 1:
        # Turn every point into the sector of the first copy.
        i, j = (2, 0) if solid.copy_axis == 1 else (0, 1)
        sector = 2 * np.pi / solid.copies
        home = np.arctan2(solid.at[j], solid.at[i])
        angle = np.arctan2(p[:, j], p[:, i]) - home
        angle = home + angle - sector * np.floor(angle / sector + 0.5)
        radius = np.hypot(p[:, i], p[:, j])
        p[:, i], p[:, j] = radius * np.cos(angle), radius * np.sin(angle)
    q = (p - np.array(solid.at)) @ np.array(solid.axes)
    return _shape_distance(solid, q)


def _shape_distance(solid: Solid, q: Array) -> Array:
    sx, sy, sz, sw = solid.size
    x, y, z = q[:, 0], q[:, 1], q[:, 2]
    d: Array
    if solid.shape == Shape.ELLIPSOID:
        radii = np.array([sx, sy, sz])
        k0 = np.linalg.norm(q / radii, axis=1)
        k1 = np.linalg.norm(q / radii**2, axis=1)
        d = np.where(k1 > 1e-9, k0 * (k0 - 1) / np.maximum(k1, 1e-9), -radii.min())
    elif solid.shape == Shape.BOX:
        if sw == 1.0:
            inner = np.abs(q) - (np.array([sx, sy, sz]) - solid.edge)
            d = np.linalg.norm(np.maximum(inner, 0), axis=1) + np.minimum(inner.max(1), 0) - solid.edge
        else:
            slope_x, slope_z = sx * (1 - sw) / (2 * sy), sz * (1 - sw) / (2 * sy)
            dx = (np.abs(x) - (sx - slope_x * (y + sy))) / np.hypot(1, slope_x)
            dz = (np.abs(z) - (sz - slope_z * (y + sy))) / np.hypot(1, slope_z)
            sides = -_soft_min(-dx, -dz, solid.edge)
            d = -_soft_min(-sides, sy - np.abs(y), solid.edge)
    elif solid.shape == Shape.CYLINDER:
        inner = np.stack([np.hypot(x, z) - sx + solid.edge, np.abs(y) - sy + solid.edge], 1)
        d = np.minimum(inner.max(1), 0) + np.linalg.norm(np.maximum(inner, 0), axis=1) - solid.edge
    elif solid.shape == Shape.CONE:
        b = (sx - sy) / sz
        a = np.sqrt(1 - b * b)
        r = np.hypot(x, z)
        k = -b * r + a * y
        d = np.where(
            k < 0,
            np.hypot(r, y) - sx,
            np.where(k > a * sz, np.hypot(r, y - sz) - sy, a * r + b * y - sx),
        )
    else:
        ax, sin_a, cos_a = np.abs(x), np.sin(sz), np.cos(sz)
        at_end = np.linalg.norm(np.stack([ax - sin_a * sx, y - cos_a * sx, z], 1), axis=1)
        on_arc = np.hypot(np.hypot(x, y) - sx, z)
        d = np.where((sz < 3.1415) & (cos_a * ax > sin_a * y), at_end, on_arc) - sy
    return d
