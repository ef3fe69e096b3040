"""The words that procedural objects are written in: solids, how they join, what they are painted with.

An object is an ordered list of solids. Each is added to, cut from, or intersected with what came before it, sharply or
with a soft seam. Lengths are in the object's own units; `truth.py` scales the finished object to the unit cube.
Frame: +Y up, the object's front faces +Z, its own left is +X. Every solid has its own local frame inside that one.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from meshwright.errors import OptionError
from meshwright.types import Array

__all__ = [
    "Decal",
    "Join",
    "Paint",
    "Pattern",
    "Shape",
    "Solid",
    "SynthObject",
    "Vec",
    "ball",
    "box",
    "cone",
    "cylinder",
    "ellipsoid",
    "ring",
    "tube",
]

Vec = tuple[float, float, float]


class Shape(enum.IntEnum):
    """Which distance formula a solid uses; `size` means something else for each."""

    ELLIPSOID = 0
    """size = three radii."""
    BOX = 1
    """size = three half sides and the scale of the upper end against the lower one; `edge` rounds it."""
    CYLINDER = 2
    """size = radius, half height; local axis +Y; `edge` rounds the rims."""
    CONE = 3
    """size = radius at the origin, radius at the far end, height along local +Y; both ends are balls."""
    RING = 4
    """size = ring radius, tube radius, half opening angle in radians; lies in local XY, the arc centred on +Y."""


class Join(enum.IntEnum):
    """What a solid does to the ones before it."""

    ADD = 0
    CUT = 1
    KEEP = 2
    """Only what lies inside this solid stays."""


class Pattern(enum.IntEnum):
    """How a paint's colours are laid out in the object's frame."""

    PLAIN = 0
    CHECKS = 1
    STRIPES = 2
    SPOTS = 3
    """Balls of random size and place; two kinds of spot where there is a third colour."""
    GRAIN = 4
    """Wavy layers across `direction`, as in wood or marble."""
    BANDS = 5
    """Stripes of random width, colours drawn at random: no two places look alike."""
    SECTORS = 6
    """Pie pieces around `direction`."""


@dataclass(frozen=True, kw_only=True)
class Paint:
    """A diffuse colour pattern.

    Attributes:
        colours: One to three sRGB colours, `#rrggbb`.
        scale: Repetitions per unit of length (per turn for SECTORS).
        direction: Axis of stripes, bands, grain and sectors.
        duty: Share of the second colour, 0..1.
        mottle: Strength of fine random shading, so that no part is perfectly flat.
    """

    colours: tuple[str, ...]
    pattern: Pattern = Pattern.PLAIN
    scale: float = 4.0
    direction: Vec = (0.0, 1.0, 0.0)
    duty: float = 0.5
    mottle: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what the kernels cannot paint."""
        if not 1 <= len(self.colours) <= 3:
            raise OptionError(f"A paint has {len(self.colours)} colours.", hint="Give one to three.")
        for colour in self.colours:
            if len(colour) != 7 or colour[0] != "#":
                raise OptionError(f"{colour!r} is no colour.", hint="Write it as '#rrggbb'.")


@dataclass(frozen=True, kw_only=True)
class Decal:
    """A flat mark laid on the surface: a line of text, an icon, or (with neither) a disc.

    Attributes:
        at: Centre of the mark.
        right, up: Half width and half height, as vectors in the object's frame.
        colour: sRGB, `#rrggbb`.
        rows: The picture, row 0 on top, `#` where painted; empty for a disc.
        hole: Inner radius of a disc as a share of the outer one.
        reach: How far in front of and behind `at` the surface may lie.
        wrap: Bend the mark around the vertical axis through the object's origin, as a label around a jar.
    """

    at: Vec
    right: Vec
    up: Vec
    colour: str
    rows: tuple[str, ...] = ()
    hole: float = 0.0
    reach: float = 0.1
    wrap: bool = False


@dataclass(frozen=True, kw_only=True)
class Solid:
    """One primitive, where it stands, and how it joins the others.

    Attributes:
        at: Origin of the local frame.
        axes: Local-to-object rotation, float64 [3, 3], as nested tuples.
        size: Meaning depends on `shape`.
        edge: Radius that rounds edges, inside the given size.
        seam: Width over which the solid melts into the ones before it; 0 is a sharp join.
        both_sides: Also stands mirrored at x = 0.
        copies: So many times around an axis through the origin; 1 is once.
        copy_axis: 1 for Y, 2 for Z.
    """

    shape: Shape
    at: Vec
    size: tuple[float, float, float, float]
    paint: Paint
    axes: tuple[Vec, Vec, Vec] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    edge: float = 0.0
    join: Join = Join.ADD
    seam: float = 0.0
    both_sides: bool = False
    copies: int = 1
    copy_axis: int = 1

    def blended(self, seam: float) -> Solid:
        """Melts into the solids before it over the width `seam`."""
        return replace(self, seam=seam)

    def cut(self, seam: float = 0.0) -> Solid:
        """Is taken away from the solids before it."""
        return replace(self, join=Join.CUT, seam=seam)

    def keep(self, seam: float = 0.0) -> Solid:
        """Leaves only what lies inside it."""
        return replace(self, join=Join.KEEP, seam=seam)

    def paired(self) -> Solid:
        """Stands on both sides of x = 0."""
        return replace(self, both_sides=True)

    def around(self, copies: int, axis: str = "y") -> Solid:
        """Stands `copies` times around the Y or Z axis through the origin; this one is the first."""
        return replace(self, copies=copies, copy_axis={"y": 1, "z": 2}[axis])

    def turned(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Solid:
        """Turned in place, degrees, about the object's X, then Y, then Z axis."""
        turn = _turn_matrix(2, z) @ _turn_matrix(1, y) @ _turn_matrix(0, x)
        return replace(self, axes=_as_axes(turn @ np.array(self.axes)))


@dataclass(frozen=True, kw_only=True)
class SynthObject:
    """A procedural object: solids in order, and marks on their surface."""

    name: str
    summary: str
    solids: tuple[Solid, ...]
    decals: tuple[Decal, ...] = ()


def ellipsoid(at: Vec, radii: Vec, paint: Paint) -> Solid:
    """An ellipsoid along the axes; turn it with `turned`."""
    return Solid(shape=Shape.ELLIPSOID, at=at, size=(*radii, 0.0), paint=paint)


def ball(at: Vec, radius: float, paint: Paint) -> Solid:
    """A ball."""
    return ellipsoid(at, (radius, radius, radius), paint)


def box(at: Vec, half: Vec, paint: Paint, *, edge: float = 0.0, top: float = 1.0) -> Solid:
    """A box with half sides `half`; its upper end is `top` times as wide as its lower one."""
    return Solid(shape=Shape.BOX, at=at, size=(*half, top), paint=paint, edge=edge)


def cylinder(at: Vec, radius: float, half_height: float, paint: Paint, *, edge: float = 0.0) -> Solid:
    """A cylinder along Y."""
    return Solid(shape=Shape.CYLINDER, at=at, size=(radius, half_height, 0.0, 0.0), paint=paint, edge=edge)


def cone(start: Vec, end: Vec, start_radius: float, end_radius: float, paint: Paint) -> Solid:
    """The hull of two balls: limbs, rods, horns. Neither ball may swallow the other."""
    a, b = np.array(start, float), np.array(end, float)
    height = float(np.linalg.norm(b - a))
    if height <= abs(start_radius - end_radius):
        raise OptionError("One end of a cone swallows the other.", hint="Use a ball, or move the ends apart.")
    along = (b - a) / height
    helper = np.array([1.0, 0.0, 0.0]) if abs(along[0]) < 0.9 else np.array([0.0, 0.0, 1.0])
    side = np.cross(along, helper)
    side /= np.linalg.norm(side)
    axes = np.stack([side, along, np.cross(side, along)], 1)
    return Solid(
        shape=Shape.CONE, at=start, size=(start_radius, end_radius, height, 0.0), paint=paint, axes=_as_axes(axes)
    )


def ring(at: Vec, radius: float, thickness: float, paint: Paint, *, opening: float = 360.0) -> Solid:
    """A torus in XY (axis Z), or an arc of it, `opening` degrees centred on +Y."""
    return Solid(shape=Shape.RING, at=at, size=(radius, thickness, math.radians(opening) / 2, 0.0), paint=paint)


def tube(points: Sequence[Vec], radii: Sequence[float], paint: Paint, *, steps: int = 4) -> tuple[Solid, ...]:
    """A bent, tapering tube through `points` (Catmull-Rom), as a chain of cones."""
    if len(points) != len(radii) or len(points) < 2:
        raise OptionError(f"A tube got {len(points)} points and {len(radii)} radii.", hint="Give as many of each.")
    keys = np.concatenate([np.array(points, float), np.array(radii, float)[:, None]], 1)
    keys = np.concatenate([2 * keys[:1] - keys[1:2], keys, 2 * keys[-1:] - keys[-2:-1]])
    fine = []
    for i in range(1, len(keys) - 2):
        for t in np.arange(steps) / steps:
            fine.append(_catmull_rom(keys[i - 1 : i + 3], float(t)))
    fine.append(keys[-2])
    return tuple(
        cone(_as_vec(a[:3]), _as_vec(b[:3]), float(a[3]), float(b[3]), paint) for a, b in itertools.pairwise(fine)
    )


def _catmull_rom(keys: Array, t: float) -> Array:
    a, b, c, d = keys
    point: Array = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return point


def _turn_matrix(axis: int, degrees: float) -> Array:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


def _as_vec(values: Array) -> Vec:
    return (float(values[0]), float(values[1]), float(values[2]))


def _as_axes(matrix: Array) -> tuple[Vec, Vec, Vec]:
    return (_as_vec(matrix[0]), _as_vec(matrix[1]), _as_vec(matrix[2]))
