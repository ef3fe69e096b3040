"""How the refinement goes about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from meshwright.errors import OptionError

__all__ = ["BELIEVED", "BRIEF", "COARSE", "FINE", "MIDDLE", "Level", "RefineConfig", "Yielding"]


@dataclass(frozen=True, kw_only=True)
class Level:
    """One round of the optimisation, from coarse to fine."""

    pixels: int
    """Long side of the pictures compared."""
    cell: float
    """Cells of the deformation lattice, as a share of the object's longest side."""
    steps: int
    move: float
    """Longest step of a control point at first, as a share of the longest side."""
    turn: float
    """The same for the cameras' corrections: radians, half picture widths, logarithms of scale."""


COARSE = Level(pixels=256, cell=0.12, steps=40, move=0.002, turn=0.0015)
MIDDLE = Level(pixels=512, cell=0.06, steps=40, move=0.0012, turn=0.0006)
FINE = Level(pixels=512, cell=0.035, steps=40, move=0.001, turn=0.0004)


@dataclass(frozen=True, kw_only=True)
class Yielding:
    """How it goes on after the first level where the views contradict each other.

    Pictures that were painted one by one show a seam here in one view and there in the next, though all of them fit the
    same depth. Nothing but a surface that yields, finely, brings the two together.
    """

    levels: tuple[Level, ...]
    """In place of all but the first."""
    bearable: float = 0.003
    """Mean squared difference of colours, in sRGB, where views and mesh cover whole pixels: above it views contradict
    each other."""
    doubt: float = 0.005
    """So far at least the surface may be wrong, as a share of the longest side, however sure its depth is."""
    bending_weight: float = 2e-6
    camera_weight: float = 0.004


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """What is optimised, and what holds it back."""

    levels: tuple[Level, ...] = (COARSE, MIDDLE, FINE)
    faces: int = 30_000
    """Of the light mesh that the deformation is fitted through; the result's own, where it has up to twice as many."""
    texture_size: int = 1024
    """Of the texture that is fitted along and thrown away."""
    texture_rate: float = 0.01
    mask_weight: float = 2.0
    """Of the squared error of the outlines against that of the colours."""
    bending_weight: float = 2e-5
    """Of uneven deformations, per squared cell."""
    anchor_weight: float = 2e-4
    """Of moving surface by as much as it may be wrong."""
    camera_weight: float = 0.02
    """Of moving cameras."""
    sure: float = 0.001
    """A surface of less doubt, seen by known cameras, stays as it is where the first level shows that views agree: what
    is left of their differences would be fitted by a surface that is worse between them."""
    agreed: float = 0.0007
    """Mean squared difference of colours, in sRGB, up to which they do."""
    yielding: Yielding | None = None
    """What changes where the views contradict each other; None: nothing."""
    views_at_once: int = 8
    """With more views each step looks at so many of them in turn."""
    seed: int = 0
    graphs: bool = True
    """On a GPU, steps are recorded once and replayed (see `meshwright.replay`); False starts every kernel anew."""

    def __post_init__(self) -> None:
        faults = [
            f"{name}={getattr(self, name)} (use 0 or more)"
            for name in ("texture_rate", "mask_weight", "bending_weight", "anchor_weight", "camera_weight")
            if not getattr(self, name) >= 0
        ]
        if not self.levels:
            faults.append("levels is empty (use at least one)")
        if faults:
            raise OptionError("Refinement options out of range: " + "; ".join(faults) + ".")


BRIEF = RefineConfig(levels=(replace(COARSE, steps=30),), faces=12_000, texture_size=512)
"""A few seconds, for a shape that is nearly right: outlines and colours of the views come to lie on each other."""

BELIEVED = RefineConfig(levels=(COARSE, MIDDLE), faces=15_000, texture_size=512)
"""For a shape that networks believe in: hundredths of it are wrong still, and pictures often tell where."""
