"""What `convolve` stands for: integrals over all texels of a cube map, in NumPy."""

from __future__ import annotations

import numpy as np

from meshwright.rendering.light.lobes import ggx_density, solid_angles
from meshwright.rendering.ops.cubemap.faces import face_directions
from meshwright.types import Array

__all__ = ["irradiance_reference", "specular_reference"]


def specular_reference(faces: Array, direction: Array, alpha: float) -> Array:
    """Light [P, 3] that a GGX surface throws towards a viewer straight above it, from faces [6, R, R, 3].

    As in split-sum shading: normal and view are the mirrored direction, and what comes in counts by its cosine.
    """
    light = face_directions(faces.shape[1]).reshape(-1, 3)
    cosine = direction @ light.T
    # The half vector lies half way: its cosine is that of half the angle.
    density = ggx_density(np.sqrt(np.clip((1 + cosine) / 2, 0, 1)), alpha) / 4
    return _mean(faces, np.where(cosine > 0, density * cosine, 0))


def irradiance_reference(faces: Array, normal: Array) -> Array:
    """Mean light [P, 3] over the hemispheres above normals [P, 3], by cosine."""
    light = face_directions(faces.shape[1]).reshape(-1, 3)
    return _mean(faces, np.clip(normal @ light.T, 0, None))


def _mean(faces: Array, weight: Array) -> Array:
    weight = weight * solid_angles(faces.shape[1]).ravel()
    result: Array = (weight / weight.sum(1, keepdims=True)) @ faces.reshape(-1, 3).astype(np.float64)
    return result
