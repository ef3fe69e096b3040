"""What every kind of training object is put together from: random numbers, paints, and solids that cannot fail."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from meshwright.synth.solids import Paint, Pattern, Shape, Solid, Vec, ball, box, cone, cylinder, ellipsoid, ring

__all__ = ["Words"]

_SUPERQUADRIC, _PRISM, _FRUSTUM = 5, 6, 7


class Words:
    """One object's vocabulary: a random generator, a palette, and solids painted from it.

    Args:
        rng: Where all chance comes from.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        base = rng.uniform(0.05, 0.95, 3)
        self.palette = [self._paint(base) for _ in range(int(rng.integers(1, 6)))]

    def _paint(self, base: np.ndarray) -> Paint:
        rng = self.rng
        spread = rng.choice([0.12, 0.35, 1.0])
        colours = tuple(_hex(base + spread * rng.uniform(-0.5, 0.5, 3)) for _ in range(3))
        plain = rng.random() < 0.55
        direction = rng.normal(size=3)
        return Paint(
            colours=colours,
            pattern=Pattern.PLAIN if plain else Pattern(int(rng.integers(1, 7))),
            scale=float(rng.uniform(3, 18)),
            direction=(float(direction[0]), float(direction[1]), float(direction[2])),
            duty=float(rng.uniform(0.2, 0.7)),
            mottle=float(rng.choice([0.0, 0.03, 0.1])),
        )

    # Chance --------------------------------------------------------------------------------------------------------

    def u(self, low: float, high: float) -> float:
        """Any number between."""
        return float(self.rng.uniform(low, high))

    def log(self, low: float, high: float) -> float:
        """A number between, small ones as often as large ones."""
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def n(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def maybe(self, chance: float) -> bool:
        """True that often."""
        return bool(self.rng.random() < chance)

    def vec(self, x: float, y: float, z: float) -> Vec:
        """A vector within +-x, +-y, +-z."""
        return (self.u(-x, x), self.u(-y, y), self.u(-z, z))

    def paint(self) -> Paint:
        """One of the object's paints."""
        return self.palette[int(self.rng.integers(len(self.palette)))]

    # Solids --------------------------------------------------------------------------------------------------------

    def ball(self, at: Vec, radius: float) -> Solid:
        return ball(at, radius, self.paint())

    def ellipsoid(self, at: Vec, radii: Vec) -> Solid:
        return ellipsoid(at, radii, self.paint())

    def box(self, at: Vec, half: Vec, *, edge: float | None = None, top: float = 1.0) -> Solid:
        """A box; its edges are rounded by chance unless `edge` is given, as a share of its least half side."""
        least = min(half)
        share = self.rng.choice([0.02, 0.1, 0.3, 0.6]) if edge is None else edge
        return box(at, half, self.paint(), edge=float(share) * least * min(1.0, top), top=top)

    def cylinder(self, at: Vec, radius: float, half_height: float, *, edge: float = 0.1) -> Solid:
        return cylinder(at, radius, half_height, self.paint(), edge=edge * min(radius, half_height))

    def rod(self, start: Vec, end: Vec, start_radius: float, end_radius: float | None = None) -> Solid:
        """The hull of two balls; where one would swallow the other, the larger ball."""
        last = start_radius if end_radius is None else end_radius
        length = float(np.linalg.norm(np.subtract(end, start)))
        if length <= 1.05 * abs(start_radius - last) + 1e-4:
            return self.ball(start if start_radius > last else end, max(start_radius, last))
        return cone(start, end, start_radius, last, self.paint())

    def ring(self, at: Vec, radius: float, thickness: float, *, opening: float = 360.0) -> Solid:
        return ring(at, radius, thickness, self.paint(), opening=opening)

    def superquadric(self, at: Vec, radii: Vec, power: float) -> Solid:
        """Between an ellipsoid (power 2) and a box (high powers)."""
        return self._special(_SUPERQUADRIC, at, (*radii, power))

    def prism(self, at: Vec, radius: float, half_height: float, corners: int, dent: float = 1.0) -> Solid:
        """A regular polygon (dent 1) or star (dent below 1) along Y."""
        inner = float(np.cos(np.pi / corners)) * dent
        return self._special(_PRISM, at, (radius, inner, half_height, float(corners)))

    def frustum(self, at: Vec, low_radius: float, high_radius: float, half_height: float) -> Solid:
        """A cut cone along Y."""
        return self._special(_FRUSTUM, at, (low_radius, high_radius, half_height, 0.0))

    def _special(self, shape: int, at: Vec, size: tuple[float, float, float, float]) -> Solid:
        plain = ellipsoid(at, (0.1, 0.1, 0.1), self.paint())
        return replace(plain, shape=shape, size=size)  # type: ignore[arg-type]

    def any_solid(self, at: Vec, size: float) -> Solid:
        """Some solid of about this half size."""
        a, b, c = (size * self.log(0.4, 1.3) for _ in range(3))
        pick = self.n(0, 8)
        if pick == 0:
            return self.box(at, (a, b, c), top=self.u(0.4, 1.0) if self.maybe(0.3) else 1.0)
        if pick == 1:
            return self.cylinder(at, a, b, edge=self.u(0.02, 0.5))
        if pick == 2:
            return self.superquadric(at, (a, b, c), self.u(2.0, 7.0))
        if pick == 3:
            return self.ring(at, a, self.u(0.15, 0.4) * a)
        if pick == 4:
            end = tuple(float(x) for x in np.add(at, self.rng.normal(size=3) * size))
            return self.rod(at, end, 0.5 * a, 0.5 * b)  # type: ignore[arg-type]
        if pick == 5:
            return self.frustum(at, a, a * self.u(0.1, 0.9), b)
        if pick == 6:
            return self.prism(at, a, b, self.n(3, 8), self.choice(1.0, self.u(0.5, 0.9)))
        return self.ellipsoid(at, (a, b, c))

    def choice(self, *items: float) -> float:
        """One of these numbers."""
        return float(items[int(self.rng.integers(len(items)))])

    def turned(self, solid: Solid, most: float = 180.0) -> Solid:
        """Turned about all axes by up to so many degrees."""
        return solid.turned(x=self.u(-most, most), y=self.u(-most, most), z=self.u(-most, most))

    def chain(self, points: list[Vec], radii: list[float], *, seam: float = 0.0) -> list[Solid]:
        """A bent tube of rods through the points, smooth at its joints."""
        keys = np.concatenate([np.array(points, float), np.array(radii, float)[:, None]], 1)
        fine = _smooth_path(keys, 3)
        paint = self.paint()
        rods = []
        for a, b in itertools.pairwise(fine):
            rod = self.rod(tuple(a[:3].tolist()), tuple(b[:3].tolist()), float(a[3]), float(b[3]))
            rods.append(replace(rod, paint=paint, seam=seam))
        return rods


def _smooth_path(keys: np.ndarray, steps: int) -> np.ndarray:
    keys = np.concatenate([2 * keys[:1] - keys[1:2], keys, 2 * keys[-1:] - keys[-2:-1]])
    fine = []
    for i in range(1, len(keys) - 2):
        a, b, c, d = keys[i - 1 : i + 3]
        for t in np.arange(steps) / steps:
            fine.append(
                0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
            )
    fine.append(keys[-2])
    path = np.array(fine)
    path[:, 3] = np.maximum(path[:, 3], 0.25 * keys[:, 3][keys[:, 3] > 0].min())
    return path


def _hex(colour: np.ndarray) -> str:
    red, green, blue = (int(v) for v in np.clip(colour, 0.02, 0.98) * 255)
    return f"#{red:02x}{green:02x}{blue:02x}"


assert Shape.RING < _SUPERQUADRIC  # the special shapes begin after those of `meshwright.synth`
