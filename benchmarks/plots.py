"""Small plots as SVG, logarithms on both axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#d68910", "#555555")
WIDE, HIGH, EDGE = 640, 400, 60


class Line(NamedTuple):
    """One curve: its name and its points."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """From values to pixels."""

    least: float
    most: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (np.log2(value) - self.least) / max(self.most - self.least, 1e-9)
        return float(self.start + share * (self.end - self.start))

    def ticks(self) -> list[float]:
        """Powers of two, at most nine or so."""
        apart = max(1, int(np.ceil((self.most - self.least) / 8)))
        return [2.0**power for power in range(int(np.ceil(self.least)), int(self.most) + 1, apart)]


def log_plot(lines: Sequence[Line], path: Path, *, across: str, up: str) -> None:
    """One line for each curve, its name at its end; dashed ones have the colour of the solid one in the same place.

    Args:
        lines: With values above 0.
        path: The SVG to write.
        across, up: What the axes mean.
    """
    places = np.array([point for line in lines for point in line.points], float)
    low, high = np.log2(places.min(0)), np.log2(places.max(0))
    x = _Axis(least=low[0], most=high[0], start=EDGE, end=WIDE - 2.6 * EDGE)
    y = _Axis(least=np.floor(low[1]), most=np.ceil(high[1]), start=HIGH - EDGE, end=0.8 * EDGE)
    parts = []
    for tick in y.ticks():
        parts.append(
            f'<line x1="{x.start}" x2="{x.end:.1f}" y1="{y.at(tick):.1f}" y2="{y.at(tick):.1f}" stroke="#ddd"/>'
            f'<text x="{x.start - 8}" y="{y.at(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    parts += [f'<text x="{x.at(tick):.1f}" y="{HIGH - EDGE + 18}">{tick:g}</text>' for tick in x.ticks()]
    solid = [line for line in lines if not line.dashed]
    ends: list[float] = []
    for index, line in enumerate(lines):
        colour = COLOURS[(index if not line.dashed else index - len(solid)) % len(COLOURS)]
        points = [(x.at(a), y.at(b)) for a, b in line.points]
        trail = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points)
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        name_y = points[-1][1]
        while any(abs(name_y - other) < 13 for other in ends):
            name_y += 3
        ends.append(name_y)
        parts.append(
            f'<polyline points="{trail}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>{dots}'
            f'<text x="{points[-1][0] + 8:.1f}" y="{name_y + 4:.1f}" text-anchor="start" fill="{colour}">'
            f"{line.name}</text>"
        )
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" font-family="sans-serif" font-size="11" '
        f'text-anchor="middle"><rect width="{WIDE}" height="{HIGH}" fill="white"/>{"".join(parts)}'
        f'<text x="{(x.start + x.end) / 2:.0f}" y="{HIGH - 14}">{across}</text>'
        f'<text x="{(x.start + x.end) / 2:.0f}" y="24">{up}</text></svg>\n',
        encoding="utf-8",
    )
