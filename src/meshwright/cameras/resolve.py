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
    calibrate,
    disagreement,
    scale_from_extents,
)
from meshwright.cameras.colour import colour_disagreement
from meshwright.cameras.consistency import CameraParameters, grazing_points
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


def _variants(items: Sequence[Silhouette], names: Sequence[str]) -> dict[str | None, list[Silhouette]]:
    """The outlines as they are and with each single view mirrored."""
    return {
        name: [s.mirrored() if view == name else s for view, s in zip(names, items, strict=True)]
        for name in (None, *names)
    }


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
    coarse = _variants([s.thinned(_SCAN_POINTS) for s in silhouettes], names)

    def first_look(candidate: tuple[Rig, str | None]) -> tuple[float, CameraParameters]:
        monitor.check()
        outlines = coarse[candidate[1]]
        looks = []
        plain = as_they_stand[candidate[0].name]
        for start in (plain, scale_from_extents(plain, outlines)):
            grazing = grazing_points(start, outlines, steps=40, refinements=1)
            looks.append((float(disagreement(grazing, len(outlines)).mean()), start))
        return min(looks, key=lambda look: look[0])

    different = different_rigs(names, rigs)
    as_they_stand = {rig.name: CameraParameters.from_cameras(rig_cameras(rig, sizes, names)) for rig in different}
    candidates = [(rig, mirrored) for rig in different for mirrored in (None, *names)]
    looks = map_threads(first_look, candidates)
    order = sorted(range(len(candidates)), key=lambda i: (looks[i][0], candidates[i][1] is not None))[:_FITTED]

    def fit(index: int) -> Hypothesis:
        monitor.check()
        rig, mirrored = candidates[index]
        calibration = calibrate(looks[index][1], coarse[mirrored], CalibrationConfig(iterations=10))
        return Hypothesis(rig=rig, mirrored=mirrored, calibration=calibration)

    ranking = sorted(map_threads(fit, order), key=lambda h: h.calibration.disagreement)
    return _decide(ranking, _variants([s.thinned(2 * _SCAN_POINTS) for s in silhouettes], names), pictures, names)


def _decide(
    ranking: Sequence[Hypothesis],
    outlines: dict[str | None, list[Silhouette]],
    pictures: Sequence[Array],
    names: Sequence[str],
) -> Resolution:
    least = ranking[0].calibration.disagreement
    limit = _TIE_FACTOR * least + _TIE_EXTRA
    tied = sorted((h for h in ranking if h.calibration.disagreement <= limit), key=lambda h: h.plainness)
    if len(tied) > 1:
        # Colours are compared on the hulls, so leftovers of the quick fit would decide: converge first.
        tied = map_threads(lambda h: _converged(h, outlines[h.mirrored]), tied)
    colours = map_threads(
        lambda h: colour_disagreement(
            h.calibration.parameters, outlines[h.mirrored], _mirror_pictures(pictures, names, h.mirrored)
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


def _converged(hypothesis: Hypothesis, outlines: Sequence[Silhouette]) -> Hypothesis:
    calibration = calibrate(hypothesis.calibration.parameters, outlines, CalibrationConfig(iterations=30))
    return replace(hypothesis, calibration=calibration)


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
