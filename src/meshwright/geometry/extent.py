"""The box of the object, more exactly than the box of its mesh: corrected by the outlines that the views show."""

from __future__ import annotations

import numpy as np
from skimage import measure

from meshwright.device import map_threads
from meshwright.geometry.working import WorkingViews
from meshwright.types import Array, Camera, Mesh

__all__ = ["extent_slack", "outline_extent"]

_SIDEWAYS = 0.5
"""A view tells where the object ends along an axis if its optical axis is at least 60 degrees off that axis."""
_CREDIBLE = 0.02
"""Corrections beyond this share of the longest side mean that mask and mesh show different things there: left out."""


def outline_extent(mesh: Mesh, working: WorkingViews) -> Array:
    """The box of the object, (low, high) float64 [2, 3], in the frame of the cameras.

    Smoothing shortens the tips of a mesh and voxels blur them, but each view that looks across an axis shows where the
    object ends along it. In the direction of the axis, the extreme of the mask less that of the projected mesh is what
    the mesh lacks, to first order wherever the two touch; the mean over the views goes onto the mesh's box.

    Args:
        mesh: Any, near to the object.
        working: Silhouettes and cameras.
    """
    vertices = mesh.vertices.astype(np.float64)
    box = np.stack([vertices.min(0), vertices.max(0)])
    longest = float((box[1] - box[0]).max())
    pairs = list(zip(working.cameras, working.outline, strict=True))
    found = [lack for of_view in map_threads(lambda pair: _lacks(vertices, *pair), pairs) for lack in of_view]
    for end, sign in ((0, -1.0), (1, 1.0)):
        for axis in range(3):
            lacks = [lack for its_end, its_axis, lack in found if (its_end, its_axis) == (end, axis)]
            credible = [lack for lack in lacks if abs(lack) < _CREDIBLE * longest]
            if credible:
                box[end, axis] += sign * float(np.mean(credible))
    return box


def _lacks(vertices: Array, camera: Camera, distance: Array) -> list[tuple[int, int, float]]:
    """What a view says the mesh lacks: end of an axis (0 low, 1 high), axis, length in world units."""
    lines = measure.find_contours(distance[: camera.height, : camera.width], 0.0)
    if not lines:
        return []
    rim = np.concatenate(lines)[:, ::-1] + 0.5
    pixels, z = camera.project(vertices)
    lacks = []
    for axis in range(3):
        if abs(camera.forward[axis]) > _SIDEWAYS:
            continue
        across = camera.camera_to_world[axis, :2] * np.array([1.0, -1.0])
        across = across / np.linalg.norm(across)
        for end, direction in ((0, -across), (1, across)):
            shown = float((rim @ direction).max())
            heights = pixels @ direction
            tip = int(heights.argmax())
            lacks.append((end, axis, (shown - float(heights[tip])) * float(z[tip]) / camera.fl_x))
    return lacks


def extent_slack(box: Array, working: WorkingViews) -> float:
    """By what share the object's longest side may fall short of its box's, because too few views look across it.

    An outline says at which angle the object ends, not how far from the camera: a tip at the near side of the box lies
    less far out than one in its middle, by half the box's depth as a share of the distance. Where views look across the
    longest side from all four sides this is taken for 0: there the box was measured to be right.

    Args:
        box: From `outline_extent`.
        working: Cameras; outlines are not looked at.
    """
    sides = box[1] - box[0]
    longest = int(sides.argmax())
    across = [camera for camera in working.cameras if abs(camera.forward[longest]) <= _SIDEWAYS]
    stands = {(axis, bool(camera.forward[axis] > 0)) for camera in across if (axis := _main_axis(camera)) != longest}
    if len(stands) == 4:
        return 0.0
    shares = [
        0.5 * float(np.abs(camera.forward) @ sides) / float((box.mean(0) - camera.position) @ camera.forward)
        for camera in across
    ]
    return min(shares, default=0.0)


def _main_axis(camera: Camera) -> int:
    return int(np.abs(camera.forward).argmax())
