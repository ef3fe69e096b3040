"""One exposure for all views: photographs of one object differ a little in brightness and white balance.

Letters: V views, G vertices of the surface graph.
"""

from __future__ import annotations

import itertools

import numpy as np

from meshwright.types import Array

__all__ = ["find_gains"]

WELL_SEEN = 0.1
"""Only vertices that both views of a pair rate at least so high are compared: 70 degrees or better."""
DARK = 0.01
"""Linear values below this say nothing about a ratio."""
CALM = 0.2
"""Pull of the gains to 1, against an overlap as large as the mean of all overlaps."""
LIMIT = 0.3
"""No logarithm of a gain grows beyond this: more is not exposure but another light."""


def find_gains(rating: Array, coarse: Array) -> Array:
    """Factors that make the views agree where they see the same surface.

    Args:
        rating: float32 [V, G].
        coarse: Blurred linear colour of each view, float32 [V, G, 3]; blurred, so that views some pixels off compare.
    Returns:
        Gain per view and channel, float64 [V, 3], near 1; exactly 1 for a view that overlaps no other.
    Each pair of views gives the median of its colours' ratios; the gains are the regularised least-squares solution.
    """
    views = len(rating)
    pairs = []
    for i, j in itertools.combinations(range(views), 2):
        both = (rating[i] > WELL_SEEN) & (rating[j] > WELL_SEEN) & (np.minimum(coarse[i], coarse[j]).min(1) > DARK)
        count = int(both.sum())
        if count >= 30:
            ratio = np.log(coarse[i, both]) - np.log(coarse[j, both])
            pairs.append((i, j, float(count), np.median(ratio, axis=0)))
    if not pairs:
        return np.ones((views, 3))
    scale = np.mean([weight for _, _, weight, _ in pairs])
    matrix, right = CALM * np.eye(views), np.zeros((views, 3))
    for i, j, weight, ratio in pairs:
        share = weight / scale
        matrix[i, i] += share
        matrix[j, j] += share
        matrix[i, j] -= share
        matrix[j, i] -= share
        right[i] -= share * ratio
        right[j] += share * ratio
    return np.exp(np.clip(np.linalg.solve(matrix, right), -LIMIT, LIMIT))
