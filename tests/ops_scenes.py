"""Small scenes for the differentiable ops, and slopes by finite differences of their NumPy references."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def soup(seed: int, views: int = 2, triangles: int = 25) -> tuple[Array, npt.NDArray[np.int32]]:
    """Loose triangles of all sizes before, behind and across the camera: clip-space corners and indices."""
    rng = np.random.default_rng(seed)
    count = 3 * triangles
    centre = np.repeat(rng.normal(size=(views, triangles, 3)) * [1, 1, 1.5] + [0, 0, 2], 3, axis=1)
    point = centre + rng.normal(size=(views, count, 3)) * np.repeat(rng.choice([0.05, 0.4, 2.0], triangles), 3)[:, None]
    near, far = 0.2, 6.0
    depth = point[..., 2:]
    z = ((far + near) * depth - 2 * far * near) / (far - near)
    return np.concatenate([point[..., :2], z, depth], -1).astype(np.float32), indices(count)


def indices(count: int) -> npt.NDArray[np.int32]:
    return np.arange(count, dtype=np.int32).reshape(-1, 3)


def ball(views: int = 2, level: int = 2, seed: int = 0) -> tuple[Array, npt.NDArray[np.int32]]:
    """A bumpy ball, closed, in front of cameras that stand somewhere around it."""
    import trimesh

    mesh = trimesh.creation.icosphere(level)
    rng = np.random.default_rng(seed)
    points = mesh.vertices * (0.6 + 0.1 * rng.random((len(mesh.vertices), 1)))
    clips = []
    for _ in range(views):
        rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        x, y, z = (points @ rotation).T
        w = 2.5 - z
        clips.append(np.stack([2.5 * x, 2.5 * y, (3 * w - 4) / 1, w], -1))
    clip = np.stack(clips)
    clip[..., 2] = (5 * clip[..., 3] - 8) / 3  # near 1, far 4
    return clip.astype(np.float32), mesh.faces.astype(np.int32)


def slope(function: Callable[[npt.NDArray[np.float64]], float], at: Array, along: Array, step: float = 1e-6) -> float:
    """The derivative of a function of an array along a direction, by central differences in float64."""
    at, along = at.astype(np.float64), along.astype(np.float64)
    return float((function(at + step * along) - function(at - step * along)) / (2 * step))
