"""How near a predicted surface is to the true one, from signed distances alone."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree

__all__ = ["crossings", "f_score"]


def crossings(field: torch.Tensor, half: float, most: int = 40_000) -> torch.Tensor:
    """Points where the field [N, N, N] changes sign along the edges of its grid, at most so many, [K, 3]."""
    side = field.shape[0]
    step = 2 * half / side
    points = []
    for axis in range(3):
        a, b = field.narrow(axis, 0, side - 1), field.narrow(axis, 1, side - 1)
        place = ((a < 0) != (b < 0)).nonzero()
        va, vb = a[tuple(place.T)], b[tuple(place.T)]
        p = place.float()
        p[:, axis] += va / (va - vb)
        points.append((p + 0.5) * step - half)
    found = torch.cat(points)
    if len(found) > most:
        found = found[torch.linspace(0, len(found) - 1, most, device=found.device).long()]
    return found


def f_score(field: torch.Tensor, truth: torch.Tensor, half: float, tau: float = 0.01) -> float:
    """F-score at `tau` of the zero surfaces of two fields over the cube -half..half."""
    a, b = crossings(field, half), crossings(truth, half)
    if len(a) == 0 or len(b) == 0:
        return 0.0
    precision, recall = (_within(x, y, tau) for x, y in ((a, b), (b, a)))
    return 2 * precision * recall / max(precision + recall, 1e-9)


def _within(points: torch.Tensor, others: torch.Tensor, tau: float) -> float:
    if points.device.type == "cpu":  # where all pairs would take minutes an object
        distance, _ = cKDTree(others.numpy()).query(points.numpy(), distance_upper_bound=tau)
        return float((distance < tau).mean())
    near = [torch.cdist(part, others).amin(1) < tau for part in points.split(4096)]
    return float(torch.cat(near).float().mean())
