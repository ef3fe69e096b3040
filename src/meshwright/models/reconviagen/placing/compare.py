"""Render and compare: how well a mesh in some pose explains outlines, colours and depth of the views.

A pose is judged by the share of the outlines that it misses, the mean difference of colours and the mean difference of
depth. What the generated object cannot know is taken out first: one gain and offset of each colour channel for all
views, and the meaning of the numbers in relative depth renders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from meshwright.models.reconviagen.placing.sightings import SeenDepth, Sighting
from meshwright.rendering import Fragments, rasterize_views
from meshwright.types import Array, Camera, DepthKind, Mesh

__all__ = ["Comparison", "Model", "Pose", "Render", "compare", "explained_depth", "fitted_colours", "render"]

_COLOUR, _DEPTH = 1.0, 2.0
"""Weights beside the missed share of the outlines: a colour error of 0.1 counts like a tenth of the outline, and so
does a depth error of a twentieth of the object's size."""
_FINER = 3
"""Samples of a pixel along each axis."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """The mesh as it is rendered here: middle at the origin, longest side 1.

    Attributes:
        vertices: float64 [N, 3].
        faces: int32 [F, 3].
        colours: sRGB 0..1 per vertex, float32 [N, 3], or None.
    """

    vertices: Array
    faces: Array
    colours: Array | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Pose:
    """x -> scale * rotation @ x + offset."""

    rotation: Array
    scale: float
    offset: Array

    def applied(self, points: Array) -> Array:
        """Points [..., 3] of the model in the world."""
        return np.asarray(self.scale * points @ self.rotation.T + self.offset)


@dataclass(frozen=True, kw_only=True, eq=False)
class Render:
    """What one camera sees, in pixels of its sighting.

    Attributes:
        coverage: Share of the pixel, float32 [H, W].
        z: Depth at the pixel's centre, float32 [H, W]; 0 where nothing is there.
        colour: sRGB 0..1 at the pixel's centre, float32 [H, W, 3]; None for a mesh without colours.
    """

    coverage: Array
    z: Array
    colour: Array | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """How far a pose is from explaining the views.

    Attributes:
        score: Lower is better.
        overlap: Intersection over union with each view's mask.
        colour: Mean absolute difference in sRGB 0..1; None without colours.
        depth: Mean absolute difference as a share of the object's size; None without depth.
    """

    score: float
    overlap: tuple[float, ...]
    colour: float | None
    depth: float | None


def render(model: Model, pose: Pose, cameras: Sequence[Camera], device: str) -> list[Render]:
    """The model in a pose from all cameras."""
    mesh = Mesh(vertices=pose.applied(model.vertices).astype(np.float32), faces=model.faces)
    fine = [camera.resized(camera.width * _FINER, camera.height * _FINER) for camera in cameras]
    result = []
    for seen in rasterize_views(mesh, fine, device=device):
        share = sum(seen.covered[i::_FINER, j::_FINER].astype(np.int32) for i in range(_FINER) for j in range(_FINER))
        # The middle sample lies at the pixel's centre; it has the word on all but coverage.
        middle = (slice(_FINER // 2, None, _FINER),) * 2
        centre = Fragments(face_id=seen.face_id[middle], bary=seen.bary[middle], z=seen.z[middle])
        colour = None if model.colours is None else centre.interpolate(model.colours, model.faces)
        coverage = (np.asarray(share, np.float32) / _FINER**2).astype(np.float32)
        result.append(Render(coverage=coverage, z=np.where(centre.covered, centre.z, np.float32(0)), colour=colour))
    return result


def compare(model: Model, pose: Pose, sightings: Sequence[Sighting], device: str) -> Comparison:
    """Judge a pose."""
    renders = render(model, pose, [sighting.camera for sighting in sightings], device)
    overlap = tuple(
        float(np.minimum(r.coverage, s.mask).sum() / max(float(np.maximum(r.coverage, s.mask).sum()), 1e-6))
        for r, s in zip(renders, sightings, strict=True)
    )
    score = 1.0 - float(np.mean(overlap))
    colour = _colour_error(renders, sightings)
    depth = _depth_error(renders, sightings, pose.scale)
    score += _COLOUR * (colour or 0.0) + _DEPTH * (depth or 0.0)
    return Comparison(score=score, overlap=overlap, colour=colour, depth=depth)


def fitted_colours(renders: Sequence[Render], sightings: Sequence[Sighting]) -> list[Array] | None:
    """Rendered colours with the gains and offsets, common to all views, that bring them closest to the views'."""
    pairs = []
    for r, s in zip(renders, sightings, strict=True):
        if r.colour is None:
            return None
        both = _inner(r, s)
        pairs.append((r.colour[both], s.colour[both]))
    mine, theirs = (np.concatenate(part) for part in zip(*pairs, strict=True))
    if len(mine) < 10:
        return [np.asarray(r.colour) for r in renders]
    middle, goal = mine.mean(0), theirs.mean(0)
    # A mesh of one colour says nothing about the gain: then it stays near 1.
    variance = ((mine - middle) ** 2).mean(0) + 1e-3
    gain = np.clip((((mine - middle) * (theirs - goal)).mean(0) + 1e-3) / variance, 0.5, 2.0)
    return [np.clip((np.asarray(r.colour) - middle) * gain + goal, 0.0, 1.0) for r in renders]


def _inner(r: Render, s: Sighting) -> Array:
    return (r.coverage > 0.99) & (s.mask > 0.99)


def _colour_error(renders: Sequence[Render], sightings: Sequence[Sighting]) -> float | None:
    fitted = fitted_colours(renders, sightings)
    if fitted is None:
        return None
    errors = []
    for r, s, colour in zip(renders, sightings, fitted, strict=True):
        both = _inner(r, s)
        errors.append(np.abs(colour[both] - s.colour[both]).mean(-1))
    joined = np.concatenate(errors)
    return float(joined.mean()) if len(joined) else 0.5


def _depth_error(renders: Sequence[Render], sightings: Sequence[Sighting], size: float) -> float | None:
    explained = explained_depth(renders, sightings)
    if explained is None:
        return None
    errors = [
        np.minimum(np.abs(z - r.z)[z > 0], 0.2 * size) for z, r in zip(explained, renders, strict=True) if z is not None
    ]
    joined = np.concatenate(errors)
    return float(joined.mean() / size) if len(joined) else 0.2


def explained_depth(renders: Sequence[Render], sightings: Sequence[Sighting]) -> list[Array | None] | None:
    """z of the depth renders in world units, 0 where not known, None for views without one; None where no view has one.

    Relative numbers get the meaning that agrees best with the pose; all renders of a set mean the same kind of thing.
    """
    if all(s.depth is None for s in sightings):
        return None
    best: list[Array | None] = []
    least = np.inf
    for family in _FAMILIES:
        found = [_explain(r, s, family) for r, s in zip(renders, sightings, strict=True)]
        total = sum(error for _, error in found)
        if total < least:
            best, least = [z for z, _ in found], total
    return best


_FAMILIES = ((False, 1.0), (False, -1.0), (True, 1.0))
"""(inverse, sign of the slope): far is bright; near is bright; inverse depth, near is bright."""


def _explain(r: Render, s: Sighting, family: tuple[bool, float]) -> tuple[Array | None, float]:
    depth = s.depth
    if depth is None:
        return None, 0.0
    both = depth.valid & _inner(r, s)
    if depth.kind is DepthKind.METRIC and depth.unit is not None:
        z = np.where(depth.valid, depth.values * depth.unit, 0.0)
        return z, float(np.abs(z - r.z)[both].mean()) if both.any() else 0.0
    inverse, sign = family
    if not _allowed(depth, family):
        return np.zeros_like(r.z), float("inf")
    if both.sum() < 10:
        return np.zeros_like(r.z), 0.0
    x, y = depth.values[both].astype(np.float64), r.z[both].astype(np.float64)
    goal = 1 / y if inverse else y
    slope, shift = _line(x, goal, sign)
    affine = slope * depth.values + shift
    z = 1 / np.maximum(affine, 1e-6) if inverse else affine
    return np.where(depth.valid, z, 0.0), float(np.abs(z[both] - y).mean())


def _allowed(depth: SeenDepth, family: tuple[bool, float]) -> bool:
    inverse, sign = family
    if depth.kind is DepthKind.METRIC:
        return not inverse and sign > 0
    return depth.kind is DepthKind.AUTO or inverse == (depth.kind is DepthKind.INVERSE)


def _line(x: Array, y: Array, sign: float) -> tuple[float, float]:
    """Robust straight line y = a x + b whose slope has the given sign (or is 0)."""
    weight = np.ones_like(x)
    slope = shift = 0.0
    for _ in range(4):
        middle, goal = np.average(x, weights=weight), np.average(y, weights=weight)
        spread = float((weight * (x - middle) ** 2).sum())
        slope = float((weight * (x - middle) * (y - goal)).sum()) / max(spread, 1e-12)
        slope = sign * max(0.0, sign * slope)
        shift = float(goal - slope * middle)
        miss = np.abs(slope * x + shift - y)
        weight = 1 / (1 + (miss / max(2.5 * float(np.median(miss)), 1e-9)) ** 2)
    return slope, shift
