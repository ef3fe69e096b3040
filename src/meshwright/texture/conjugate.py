"""Conjugate gradients for several right sides at once.

Letters: M unknowns, C columns.
Source: Hestenes and Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from meshwright.types import Array

__all__ = ["conjugate_gradients"]


def conjugate_gradients(
    apply: Callable[[Array], Array],
    right: Array,
    diagonal: Array,
    *,
    steps: int,
    enough: float,
    dot: Callable[[Array, Array], float] = np.vdot,
) -> Array:
    """Solve `apply(x) = right` for symmetric positive `apply`, scaled by its diagonal; columns share their steps.

    Args:
        apply: The matrix, on [M, C].
        right: float32 or float64 [M, C]; all else is of its kind.
        diagonal: Of the matrix, more than 0, [M].
        steps: At most so many.
        enough: The residual may shrink to this share of its start.
        dot: Sum of the products of two arrays [M, C].
    """
    kind = right.dtype.type
    result, scratch = np.zeros_like(right), np.empty_like(right)
    residual, inverse = right.copy(), (1.0 / diagonal)[:, None].astype(kind)
    direction = inverse * residual
    height = first = float(dot(residual, direction))
    for _ in range(steps):
        if height <= enough**2 * first or height == 0.0:
            break
        product = apply(direction)
        length = kind(height / float(dot(direction, product)))
        result += np.multiply(length, direction, out=scratch)
        residual -= np.multiply(length, product, out=scratch)
        np.multiply(inverse, residual, out=scratch)
        before, height = height, float(dot(residual, scratch))
        direction *= kind(height / before)
        direction += scratch
    return result
