"""A pose made exact: Gauss-Newton on outlines, depth and colours of renders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from meshwright.device import check_stop
from meshwright.distance import signed_distance
from meshwright.models.reconviagen.placing.compare import (
    Model,
    Pose,
    Render,
    explained_depth,
    fitted_colours,
    render,
)
from meshwright.models.reconviagen.placing.rotations import turned
from meshwright.models.reconviagen.placing.sightings import Sighting
from meshwright.types import Array, Camera

__all__ = ["descend"]

_OUTLINE, _DEPTH, _COLOUR = 1.0, 0.1, 0.3
"""Weights of the mean squares of what is missed, in pixels, pixels' widths and shares of the contrast. Outlines come
first: a generated object has their shape, while its depth and its colours may be off everywhere."""
_COLOUR_UNIT = 0.25
"""Of the contrast of the views: colour differences are measured by it, so that pale objects are placed like others."""
_NOISE = 0.01
"""Colours are not believed more exactly than this."""
_SAMPLES = 3000
"""Pixels of a view that speak for its depth and colours."""
_SMOOTH = 2.0
"""Pixels by which signed distances are blurred for their slopes."""
_SILENT = 0.02
"""Directions in which outlines resist less than this, measured by the stiffest one, are left to depth and colours:
staircases of pixels make for about 0.002."""
_STILL = 0.02
"""Pixels: a step that moves nothing farther than this is the last."""


def descend(model: Model, pose: Pose, sightings: Sequence[Sighting], device: str, *, steps: int) -> Pose:
    """Move the pose to where the renders lie on the views.

    Each step renders the model; what it sees at the rim must lie on the outlines (sub-pixel: signed distances of the
    render's and of the view's coverage are compared), what it sees within them on the depth and the colours there.
    """
    cameras = [sighting.camera for sighting in sightings]
    unit = _colour_unit(sightings)
    for _ in range(steps):
        check_stop()
        renders = render(model, pose, cameras, device)
        colours, depths = fitted_colours(renders, sightings), explained_depth(renders, sightings)
        # Of outlines, and of what they are silent about.
        normals, gradients = np.zeros((2, 7, 7)), np.zeros((2, 7))
        for i, (seen, sighting) in enumerate(zip(renders, sightings, strict=True)):
            terms = [(0, _outline_term(seen, sighting))]
            if depths is not None and depths[i] is not None:
                terms.append((1, _depth_term(seen, sighting, np.asarray(depths[i]))))
            if colours is not None:
                terms.append((1, _colour_term(seen, sighting, colours[i], unit)))
            for kind, (weight, points, rows, residual) in terms:
                if len(residual) < 10:
                    continue
                spread = max(1.0, 2.5 * float(np.median(np.abs(residual))))
                share = weight / len(residual) / (1 + (residual / spread) ** 2)
                arm = points - pose.offset
                # A point moves by turn x arm + growth * arm + shift; all three in object sizes.
                jacobian = np.concatenate(
                    [np.cross(arm, rows), (arm * rows).sum(1, keepdims=True), pose.scale * rows], 1
                )
                normals[kind] += jacobian.T @ (jacobian * share[:, None])
                gradients[kind] += jacobian.T @ (share * residual)
        if depths is not None or colours is not None:
            normals[0], gradients[0] = _quieted(normals[0], gradients[0])
        normal, gradient = normals.sum(0), gradients.sum(0)
        normal += np.diag(np.full(7, 1e-9 + 1e-7 * np.trace(normal) / 7))
        delta = -np.linalg.solve(normal, gradient)
        delta *= min(1.0, 0.15 / max(float(np.abs(delta).max()), 1e-12))
        pose = Pose(
            rotation=turned(delta[:3]) @ pose.rotation,
            scale=pose.scale * float(np.exp(delta[3])),
            offset=pose.offset + pose.scale * delta[4:],
        )
        pixel = float(np.mean([c.fl_x / max(_distance(c, pose.offset), 1e-6) for c in cameras])) * pose.scale
        if np.abs(delta).max() * pixel < _STILL:
            break
    return pose


def _quieted(normal: Array, gradient: Array) -> tuple[Array, Array]:
    """Outlines left out of what they say nothing about, such as how a bottle is turned about its axis.

    Staircases of pixels seem to resist a turn that moves no outline; colours and depth, weaker than that, would take a
    hundred steps against them.
    """
    strength, ways = np.linalg.eigh(normal)
    share = (np.maximum(strength, 0) / (np.maximum(strength, 0) + _SILENT * max(float(strength[-1]), 1e-30))) ** 2
    kept = (ways * share) @ ways.T
    return kept @ normal, kept @ gradient


Term = tuple[float, Array, Array, Array]
"""Weight, world points [N, 3], how the residual changes as they move [N, 3], residuals [N]."""


def _distance(camera: Camera, point: Array) -> float:
    return float((point - camera.position) @ camera.forward)


def _rim(inside: Array) -> Array:
    """Pixels inside beside pixels outside, the frame's edge left out, bool [H, W]."""
    rim = inside & ~ndimage.binary_erosion(inside, border_value=1)
    rim[[0, -1]] = False
    rim[:, [0, -1]] = False
    return np.asarray(rim)


def _outline_term(seen: Render, sighting: Sighting) -> Term:
    """The rim of the render against the view's outline, and the other way round."""
    distance = signed_distance(seen.coverage)
    mine, theirs = _rim(seen.z > 0), _rim(sighting.mask > 0.5)
    if not mine.any():
        return _OUTLINE, np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0)
    nearest = ndimage.distance_transform_edt(~mine, return_distances=False, return_indices=True)
    points, rows, residual = [], [], []
    for rim, slope in ((mine, sighting.distance), (theirs, distance)):
        at = np.nonzero(rim)
        source = nearest[0][at], nearest[1][at]
        place, z = np.stack([source[1] + 0.5, source[0] + 0.5], -1), seen.z[source]
        # Staircases of pixels turn the slope this way and that; a sphere would seem to resist being turned.
        gy, gx = np.gradient(ndimage.gaussian_filter(slope, _SMOOTH))
        points.append(sighting.camera.unproject(place, z))
        rows.append(_pull_back(sighting.camera, points[-1], np.stack([gx[at], gy[at]], -1)))
        residual.append((sighting.distance - distance)[at])
    return _OUTLINE, np.concatenate(points), np.concatenate(rows), np.concatenate(residual).astype(np.float64)


def _depth_term(seen: Render, sighting: Sighting, z: Array) -> Term:
    """The surface along the rays, in pixels' widths."""
    camera = sighting.camera
    both = ndimage.binary_erosion((seen.coverage > 0.99) & (z > 0), np.ones((3, 3), bool))
    at = _some(both)
    rows, columns = np.indices(seen.z.shape) + 0.5
    cloud = camera.unproject(np.stack([columns, rows], -1), seen.z)
    normal = np.cross(np.gradient(cloud, axis=1)[at], np.gradient(cloud, axis=0)[at])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
    points = cloud[at]
    ray = (points - camera.position) / seen.z[at][:, None]
    along = (normal * ray).sum(1)
    facing = np.abs(along) > 0.3 * np.linalg.norm(ray, axis=1)
    pixels = (camera.fl_x / seen.z[at])[facing]
    residual = (z[at] - seen.z[at])[facing] * pixels
    pull = -normal[facing] / along[facing][:, None] * pixels[:, None]
    return _DEPTH, points[facing], pull, residual


def _colour_term(seen: Render, sighting: Sighting, colour: Array, unit: float) -> Term:
    """Colours of the render against those of the view, the three channels one after the other."""
    both = ndimage.binary_erosion((seen.coverage > 0.99) & (sighting.mask > 0.99), np.ones((3, 3), bool))
    at = _some(both)
    place = np.stack([at[1] + 0.5, at[0] + 0.5], -1)
    points = sighting.camera.unproject(place, seen.z[at])
    pulls, residuals = [], []
    for channel in range(3):
        # The mean of both pictures' slopes: the step is then right to second order (Benhimane and Malis 2004).
        gy, gx = (
            0.5 * (a + b)
            for a, b in zip(np.gradient(sighting.colour[..., channel]), np.gradient(colour[..., channel]), strict=True)
        )
        pulls.append(_pull_back(sighting.camera, points, np.stack([gx[at], gy[at]], -1)) / unit)
        residuals.append((sighting.colour - colour)[..., channel][at] / unit)
    return _COLOUR, np.tile(points, (3, 1)), np.concatenate(pulls), np.concatenate(residuals).astype(np.float64)


def _colour_unit(sightings: Sequence[Sighting]) -> float:
    """What one unit of colour difference is, sRGB 0..1."""
    seen = np.concatenate([s.colour[s.mask > 0.99] for s in sightings])
    return max(_NOISE, _COLOUR_UNIT * float(seen.std(0).mean()) if len(seen) else 0.0)


def _some(chosen: Array) -> tuple[Array, Array]:
    """Rows and columns of at most `_SAMPLES` of the chosen pixels, evenly."""
    rows, columns = np.nonzero(chosen)
    if len(rows) > _SAMPLES:
        kept = np.linspace(0, len(rows) - 1, _SAMPLES).astype(int)
        rows, columns = rows[kept], columns[kept]
    return rows, columns


def _pull_back(camera: Camera, points: Array, slope: Array) -> Array:
    """A slope over pixels [N, 2] (right, down) as a slope over world positions of the points, float64 [N, 3]."""
    pixels, z = camera.project(points)
    x, y = (pixels[:, 0] - camera.cx) / camera.fl_x, -(pixels[:, 1] - camera.cy) / camera.fl_y
    gx, gy = slope[:, 0] * camera.fl_x / z, -slope[:, 1] * camera.fl_y / z
    # x = X / z with z = -Z: moving along Z changes both.
    local = np.stack([gx, gy, gx * x + gy * y], -1)
    return np.asarray(local @ camera.camera_to_world[:3, :3].T)
