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


def sphere(level: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    """A unit sphere of 8 * 4**level triangles, an octahedron refined."""
    vertices = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    octants = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
    faces = np.array(octants)
    for _ in range(level):
        sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        middle, index = np.unique(sides, axis=0, return_inverse=True)
        a, b, c = (index.reshape(-1, 3) + len(vertices)).T
        vertices = np.concatenate([vertices, vertices[middle].mean(1)])
        i, j, k = faces.T
        faces = np.concatenate([np.stack(t, 1) for t in ((i, a, c), (j, b, a), (k, c, b), (a, b, c))])
    return vertices / np.linalg.norm(vertices, axis=1, keepdims=True), faces.astype(np.int32)


def ball(views: int = 2, level: int = 2, seed: int = 0) -> tuple[Array, npt.NDArray[np.int32]]:
    """A bumpy ball, closed, in front of cameras that stand somewhere around it."""
    vertices, faces = sphere(level)
    rng = np.random.default_rng(seed)
    points = vertices * (0.6 + 0.1 * rng.random((len(vertices), 1)))
    clips = []
    for _ in range(views):
        rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        x, y, z = (points @ rotation).T
        w = 2.5 - z
        clips.append(np.stack([2.5 * x, 2.5 * y, (5 * w - 8) / 3, w], -1))  # near 1, far 4
    clip = np.stack(clips)
    return clip.astype(np.float32), faces


def slope(function: Callable[[npt.NDArray[np.float64]], float], at: Array, along: Array, step: float = 1e-6) -> float:
    """The derivative of a function of an array along a direction, by central differences in float64."""
    at, along = at.astype(np.float64), along.astype(np.float64)
    return float((function(at + step * along) - function(at - step * along)) / (2 * step))
