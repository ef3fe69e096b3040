"""What the kernels of `march_fog` must compute, said in NumPy."""

from __future__ import annotations

import numpy as np

from meshwright.types import Array

__all__ = ["march_fog_reference"]


def march_fog_reference(
    grid: Array, mask: Array, origins: Array, ways: Array, jitter: Array, wanted: Array, *, step: float = 0.5
) -> tuple[Array, Array]:
    """See `march_fog`; rays never end early here."""
    far = np.array(grid.shape[:3]) - 1
    seen, apart = np.zeros((len(origins), 4)), np.zeros(len(origins))
    for ray, (origin, way) in enumerate(zip(origins.astype(float), ways.astype(float), strict=True)):
        with np.errstate(divide="ignore"):
            ends = np.sort([-origin / way, (far - origin) / way], 0)
        start, stop = max(0.0, ends[0].max()), ends[1].min()
        if not start < stop:
            continue
        left = 1.0
        for t in np.arange(start + jitter[ray] * step, stop, step):
            point = origin + t * way
            if not mask[tuple(np.clip((point + 0.5).astype(int), 0, far))]:
                continue
            corner = np.clip(point.astype(int), 0, far - 1)
            value = np.zeros(4)
            for steps in np.ndindex(2, 2, 2):
                weights = np.where(steps, point - corner, 1 - (point - corner))
                value += weights.prod() * grid[tuple(corner + steps)]
            clear = np.exp(-np.logaddexp(0, value[3]) * step)
            weight = left * (1 - clear)
            seen[ray] += weight * np.append(value[:3], 1)
            apart[ray] += weight * ((value[:3] - wanted[ray]) ** 2).sum()
            left *= clear
    return seen, apart
