"""What the numbers in a depth render mean, found by agreement with the visual hull.

The nearest point of the object in a row (or column) of pixels lies on the hull: there the side views' outlines touch
it. So the extreme depth code of each row must map to the hull's nearest entry in that row. One straight line through
these pairs per view gives the affine; the kind whose line fits best is the kind of the render.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from meshwright.device import check_stop
from meshwright.types import Array, DepthKind

__all__ = ["DepthMeaning", "Extremes", "explain", "extremes", "in_front", "judged", "metric_unit"]


@dataclass(frozen=True, kw_only=True)
class DepthMeaning:
    """z = a * value + b for METRIC and LINEAR, 1 / (a * value + b) for INVERSE; `error` is the mean misfit in z."""

    kind: DepthKind
    a: float
    b: float
    error: float = 0.0

    def z(self, value: Array) -> Array:
        """Depth along the optical axis, in world units."""
        affine = self.a * value + self.b
        if self.kind is DepthKind.INVERSE:
            return np.asarray(1.0 / np.maximum(affine, 1e-6))
        return np.asarray(affine)

    def slopes(self, value: Array) -> tuple[Array, Array]:
        """dz/da and dz/db."""
        if self.kind is DepthKind.INVERSE:
            factor = -(self.z(value) ** 2)
            return factor * value, factor
        return np.asarray(value), np.ones_like(value)

    def step_size(self, step: float, z: float) -> float:
        """How much z changes over one code of size `step` at depth z."""
        return abs(self.a) * step * (z * z if self.kind is DepthKind.INVERSE else 1.0)

    @property
    def words(self) -> str:
        """For reports."""
        if self.kind is DepthKind.METRIC:
            return "metric"
        bright = "near" if (self.a > 0) == (self.kind is DepthKind.INVERSE) else "far"
        return f"{self.kind.value}, {bright} is bright"


@dataclass(frozen=True, kw_only=True)
class Extremes:
    """Per row and column, float64 [N] each: the hull's nearest entry z and farthest exit z (infinite where not known),
    and the smallest and largest depth code."""

    z: Array
    far: Array
    low: Array
    high: Array


def extremes(values: Array, valid: Array, entry: Array, leave: Array | None = None) -> Extremes:
    """Collect row and column extremes of a depth render and of the hull's entry depth.

    Args:
        values, valid: The render on the picture's pixels, [H, W].
        entry: z where each ray enters the hull, 0 where it misses, [H, W].
        leave: z where it leaves the hull for the last time, [H, W]; None: not known, then nothing limits far codes.
    """
    both = valid & (entry > 0)
    exit_z = np.full(entry.shape, np.inf) if leave is None else leave
    z, back, low, high = [], [], [], []
    for axis in (0, 1):
        enough = both.sum(axis) >= 5
        if not enough.any():
            continue
        far, near = np.where(both, values, np.inf), np.where(both, values, -np.inf)
        z.append(np.where(both, entry, np.inf).min(axis)[enough])
        back.append(np.where(both, exit_z, 0.0).max(axis)[enough])
        # The second smallest, so that one stray pixel does not speak for its row.
        low.append(np.take(np.partition(far, 1, axis), 1, axis)[enough])
        high.append(-np.take(np.partition(-near, 1, axis), 1, axis)[enough])
    if not z:
        return Extremes(z=np.zeros(0), far=np.zeros(0), low=np.zeros(0), high=np.zeros(0))
    return Extremes(z=np.concatenate(z), far=np.concatenate(back), low=np.concatenate(low), high=np.concatenate(high))


_HUNCH = 0.05
"""Weight of the guess that far codes lie midway through the hull: felt only where near points leave the slope open."""


def _line(x: Array, y: Array, x_far: Array, y_limit: Array, *, through_zero: bool) -> tuple[float, float]:
    """Least absolute deviations line y = a x + b by reweighting, kept from passing the limits at `x_far`.

    Where the near points all lie at one depth (a box seen straight on) they say little about the slope; the far codes
    must then at least not come to lie behind the hull. `y_limit` is above the line for y = z, below it for 1 / z.
    """
    known = np.isfinite(y_limit) & (y_limit > 0)
    side = np.sign(np.median((y_limit - y)[known])) if known.any() else 1.0
    limits, middles = y_limit[known], (y_limit + y)[known] / 2
    places, goals = np.concatenate([x, x_far[known], x_far[known]]), np.concatenate([y, limits, middles])
    rows = places[:, None] if through_zero else np.stack([places, np.ones_like(places)], -1)
    limited, guessed = slice(len(x), len(x) + len(limits)), slice(len(x) + len(limits), None)
    weight = np.ones_like(places)
    weight[limited], weight[guessed] = 0.0, _HUNCH
    solution = np.zeros(rows.shape[1])
    check_stop()
    for _ in range(25):
        solution = np.linalg.lstsq(rows * weight[:, None], goals * weight, rcond=None)[0]
        residual = rows @ solution - goals
        residual[limited] = np.maximum(side * residual[limited], 0.0)
        wanted = 1 / np.sqrt(np.abs(residual) + 1e-4)
        wanted[limited] *= residual[limited] > 0
        wanted[guessed] *= _HUNCH
        # Half way only: a limit that is passed, then held, then passed again would not settle.
        weight = 0.5 * (weight + wanted)
    return float(solution[0]), 0.0 if through_zero else float(solution[1])


def _candidates(data: Extremes, kind: DepthKind) -> list[DepthMeaning]:
    found = []
    if kind in (DepthKind.AUTO, DepthKind.LINEAR):
        a, b = _line(data.low, data.z, data.high, data.far, through_zero=True)
        found.append(DepthMeaning(kind=DepthKind.LINEAR, a=a, b=b))
        a, b = _line(data.low, data.z, data.high, data.far, through_zero=False)
        if a > 0:
            found.append(DepthMeaning(kind=DepthKind.LINEAR, a=a, b=b))
        a, b = _line(data.high, data.z, data.low, data.far, through_zero=False)
        if a < 0:
            found.append(DepthMeaning(kind=DepthKind.LINEAR, a=a, b=b))
    if kind in (DepthKind.AUTO, DepthKind.INVERSE):
        a, b = _line(data.high, 1 / data.z, data.low, 1 / data.far, through_zero=False)
        if a > 0:
            found.append(DepthMeaning(kind=DepthKind.INVERSE, a=a, b=b))
    return [judged(meaning, data) for meaning in found]


_FEWEST = 8
"""Rows and columns that it takes to judge a render, or to find its meaning."""


def judged(meaning: DepthMeaning, data: Extremes) -> DepthMeaning:
    """The same meaning with its misfit to the touching points; as it is where there are too few of them."""
    if len(data.z) < _FEWEST:
        return meaning
    nearest = data.high if (meaning.a > 0) == (meaning.kind is DepthKind.INVERSE) else data.low
    farthest = data.low if nearest is data.high else data.high
    error = np.abs(meaning.z(nearest) - data.z).mean() + np.maximum(meaning.z(farthest) - data.far, 0.0).mean()
    return DepthMeaning(kind=meaning.kind, a=meaning.a, b=meaning.b, error=float(error))


def in_front(meaning: DepthMeaning, data: Extremes) -> float:
    """By how much the nearest depth of rows and columns lies in front of the hull on average, which cannot be."""
    if len(data.z) < _FEWEST:
        return 0.0
    nearest = data.high if (meaning.a > 0) == (meaning.kind is DepthKind.INVERSE) else data.low
    return float(np.maximum(data.z - meaning.z(nearest), 0.0).mean())


_PARSIMONY = 1.15
"""z = a * value is kept unless a line with an offset fits this much better; and so for one kind against another."""


def _family(meaning: DepthMeaning) -> tuple[DepthKind, bool]:
    return meaning.kind, meaning.a > 0


def explain(data: Sequence[Extremes | None], kinds: Sequence[DepthKind]) -> list[DepthMeaning | None]:
    """The meaning of each view's depth render; None where a view has none or too little to tell.

    All renders of an object come from one tool as a rule, so a view whose own evidence is weak follows the family
    (kind and direction) that fits all views best.
    """
    options = [
        _candidates(extreme, kind) if extreme is not None and len(extreme.z) >= _FEWEST else []
        for extreme, kind in zip(data, kinds, strict=True)
    ]
    totals: dict[tuple[DepthKind, bool], float] = {}
    for family in {_family(m) for found in options for m in found}:
        totals[family] = float(
            np.mean([min((m.error for m in found if _family(m) == family), default=0.5) for found in options if found])
        )
    result: list[DepthMeaning | None] = []
    for found in options:
        if not found:
            result.append(None)
            continue
        best = min(found, key=lambda m: m.error)
        common = min(totals, key=lambda family: totals[family])
        allowed = [m for m in found if _family(m) == common]
        if allowed and min(m.error for m in allowed) <= 1.5 * best.error + 0.003:
            best = min(allowed, key=lambda m: m.error)
            found = allowed
        plain = [m for m in found if m.b == 0.0 and _family(m) == _family(best)]
        if plain and plain[0].error <= _PARSIMONY * best.error + 0.001:
            best = plain[0]
        result.append(best)
    return result


def metric_unit(data: Sequence[Extremes]) -> float:
    """One unit for all views: world length per 1.0 of value, as the median over rows and columns; 1 without any."""
    ratios = [ratio for d in data for ratio in d.z / np.maximum(d.low, 1e-9)]
    return float(np.median(ratios)) if ratios else 1.0
