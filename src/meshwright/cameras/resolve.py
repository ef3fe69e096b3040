"""Which way named views really look: the rigs that they can tell apart (32 for six views), none or one view mirrored.

Every hypothesis is scored by how far its silhouettes stick out of each other once scale and offset are fitted
(`calibrate`). Silhouettes leave ties, because an object's two sides often have one outline: a mirrored front view of a
symmetric animal fits as well as the true one. Among ties the plainest hypothesis stands unless the pictures' colours
speak clearly against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from meshwright.cameras.calibrate import (
    Calibration,
    CalibrationConfig,
    calibrate_each,
    disagreement,
    scale_from_extents,
)
from meshwright.cameras.colour import colour_disagreement
from meshwright.cameras.consistency import CameraParameters, Outlines, search_rays
from meshwright.cameras.rigs import RIGS, Rig, different_rigs, rig_cameras
from meshwright.cameras.silhouettes import Silhouette
from meshwright.device import map_threads
from meshwright.types import VIEW_NAMES, Array, Monitor

__all__ = ["Hypothesis", "Resolution", "resolve"]

_SCAN_POINTS = 60
_FITTED = 28
"""Hypotheses that are calibrated after the first scan."""
_TIE_FACTOR, _TIE_EXTRA = 1.2, 0.0004
"""Silhouettes do not tell two hypotheses apart when one is at most this much worse (half picture widths)."""
_COLOUR_VERDICT = 0.85
"""Colours overrule the plainer of two hypotheses when they disagree by less than this share of its disagreement."""
_COLOUR_VERDICT_OPEN = 0.5
"""The same where no view looks along one of the three axes: there the hull is a prism, on whose edges colours say
little. Ratios of 0.67 and 0.75 were seen of four sides of which none was mirrored."""
_COLOUR_LEAST = 0.0015
"""And when the difference is at least this large (mean squared difference of square-root colours): on a plainly
coloured object a ratio alone would be noise."""


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A rig, perhaps with one mirrored view, fitted to the silhouettes."""

    rig: Rig
    mirrored: str | None
    calibration: Calibration

    @property
    def name(self) -> str:
        """The rig's name, and which view is mirrored."""
        return self.rig.name + (f",mirrored={self.mirrored}" if self.mirrored else "")

    @property
    def plainness(self) -> tuple[bool, int]:
        """Sorts what is expected first: nothing mirrored, few differences from the default rig."""
        return (self.mirrored is not None, self.rig.differences)


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """The verdict.

    Attributes:
        best: What the views are taken to be.
        ranking: All fitted hypotheses, least disagreement first.
        margin: How firmly the others are ruled out: for each, the larger of two ratios, its silhouette disagreement
            and its colour disagreement over the chosen one's; the smallest of these. Near 1 means a narrow decision.
        by_colour: Whether colours overruled the plainest of the tied hypotheses.
        undecided: Names of hypotheses that neither silhouettes nor colours rule out; they give the same object.
    """

    best: Hypothesis
    ranking: tuple[Hypothesis, ...]
    margin: float
    by_colour: bool
    undecided: tuple[str, ...]


def _mirror_pictures(items: Sequence[Array], names: Sequence[str], name: str | None) -> list[Array]:
    return [p[:, ::-1] if view == name else p for view, p in zip(names, items, strict=True)]


def resolve(
    silhouettes: Sequence[Silhouette],
    pictures: Sequence[Array],
    sizes: Sequence[tuple[int, int]],
    monitor: Monitor,
    *,
    names: Sequence[str] = VIEW_NAMES,
    rigs: Sequence[Rig] = RIGS,
) -> Resolution:
    """Rank what the views may be.

    Args:
        silhouettes: In the order of `names`.
        pictures: From `colour.small_picture`, same order.
        sizes: Picture sizes (width, height).
        monitor: Asked to stop between hypotheses.
        names: Which views they are.
        rigs: The rigs to choose from; pass one to test only for mirrored views.
    """
    monitor.check()
    coarse = [s.thinned(_SCAN_POINTS) for s in silhouettes]
    outlines = _outlines(coarse)
    different = different_rigs(names, rigs)
    mirrors = [-1, *range(len(names))]
    candidates = [(rig, mirrored) for rig in different for mirrored in mirrors]
    # From the rig as it stands, and from the size of each outline.
    starts = []
    for rig in different:
        plain = CameraParameters.from_cameras(rig_cameras(rig, sizes, names))
        sized = scale_from_extents(plain, coarse)
        starts += [start for flipped in mirrors for start in (plain, _mirrored_offset(sized, flipped))]
    flips = [flipped for _, flipped in candidates for _ in range(2)]
    looks = search_rays(starts, outlines, flips, steps=40, refinements=1)
    monitor.check()
    leave = np.array([disagreement(look, len(names)).mean() for look in looks]).reshape(-1, 2)
    chosen = leave.argmin(1)
    least = leave.min(1)
    order = sorted(range(len(candidates)), key=lambda i: (least[i], candidates[i][1] >= 0))[:_FITTED]
    fitted = calibrate_each(
        [starts[2 * i + chosen[i]] for i in order],
        outlines,
        [candidates[i][1] for i in order],
        CalibrationConfig(iterations=10),
        monitor,
    )
    ranking = [
        Hypothesis(rig=candidates[i][0], mirrored=_name_of(names, candidates[i][1]), calibration=calibration)
        for i, calibration in zip(order, fitted, strict=True)
    ]
    ranking.sort(key=lambda h: h.calibration.disagreement)
    return _decide(ranking, [s.thinned(2 * _SCAN_POINTS) for s in silhouettes], pictures, names)


def _name_of(names: Sequence[str], view: int) -> str | None:
    """Of a view; None for -1."""
    return names[view] if view >= 0 else None


def _outlines(silhouettes: Sequence[Silhouette]) -> Outlines:
    return Outlines.of(silhouettes, [s.mirrored() for s in silhouettes])


def _mirrored_offset(parameters: CameraParameters, view: int) -> CameraParameters:
    """`scale_from_extents` for the outlines of which one is mirrored: its middle lies on the other side."""
    if view < 0:
        return parameters
    corrections = parameters.corrections()
    corrections[view, 1] = -corrections[view, 1]
    return parameters.with_corrections(corrections)


def _decide(
    ranking: Sequence[Hypothesis],
    silhouettes: Sequence[Silhouette],
    pictures: Sequence[Array],
    names: Sequence[str],
) -> Resolution:
    least = ranking[0].calibration.disagreement
    limit = _TIE_FACTOR * least + _TIE_EXTRA
    tied = sorted((h for h in ranking if h.calibration.disagreement <= limit), key=lambda h: h.plainness)
    if len(tied) > 1:
        # Colours are compared on the hulls, so leftovers of the quick fit would decide: converge first.
        tied = _converged(tied, silhouettes, names)
    colours = map_threads(
        lambda h: colour_disagreement(
            h.calibration.parameters,
            [s.mirrored() if name == h.mirrored else s for name, s in zip(names, silhouettes, strict=True)],
            _mirror_pictures(pictures, names, h.mirrored),
        ),
        tied,
    )
    closed = len({VIEW_NAMES.index(name) // 2 for name in names}) == 3
    verdict = _COLOUR_VERDICT if closed else _COLOUR_VERDICT_OPEN
    champion = 0
    for challenger in range(1, len(tied)):
        if _colour_ratio(tied, colours, names, champion, challenger) < verdict:
            champion = challenger
    best = tied[champion]
    undecided, strengths = [], []
    for index, hypothesis in enumerate(tied):
        ratio = _colour_ratio(tied, colours, names, champion, index)
        if index != champion and ratio <= 1 / verdict:
            undecided.append(hypothesis.name)
        elif index != champion:
            strengths.append(ratio)
    drawn = {h.name for h in tied}
    scale = best.calibration.disagreement + _TIE_EXTRA
    strengths += [(h.calibration.disagreement + _TIE_EXTRA) / scale for h in ranking if h.name not in drawn]
    return Resolution(
        best=best,
        ranking=tuple(ranking),
        margin=float(min(strengths, default=1.0)),
        by_colour=champion != 0,
        undecided=tuple(undecided),
    )


def _converged(tied: Sequence[Hypothesis], silhouettes: Sequence[Silhouette], names: Sequence[str]) -> list[Hypothesis]:
    calibrations = calibrate_each(
        [h.calibration.parameters for h in tied],
        _outlines(silhouettes),
        [-1 if h.mirrored is None else names.index(h.mirrored) for h in tied],
        CalibrationConfig(iterations=30),
    )
    return [replace(h, calibration=calibration) for h, calibration in zip(tied, calibrations, strict=True)]


def _colour_ratio(
    tied: Sequence[Hypothesis], colours: Sequence[Array], names: Sequence[str], champion: int, challenger: int
) -> float:
    """The challenger's colour disagreement over the champion's, in pairs with a view that the two place differently."""
    a, b = tied[champion], tied[challenger]
    moved = np.array(
        [
            (name in (a.mirrored, b.mirrored) and a.mirrored != b.mirrored)
            or not np.allclose(
                a.calibration.parameters.rotation[view], b.calibration.parameters.rotation[view], atol=1e-6
            )
            for view, name in enumerate(names)
        ]
    )
    involved = moved[:, None] | moved[None, :]

    def mean(sums: Array) -> float:
        weight = float(sums[1][involved].sum())
        return float(sums[0][involved].sum()) / weight if weight > 1e-9 else float("nan")

    one, other = mean(colours[champion]), mean(colours[challenger])
    if not np.isfinite(one) or not np.isfinite(other):
        return 1.0
    return other / max(one, 1e-9) if abs(one - other) >= _COLOUR_LEAST else 1.0
