"""Grown things: a bird, a toadstool with a snail on it."""

from __future__ import annotations

from meshwright.synth.lettering import ICONS
from meshwright.synth.solids import (
    Decal,
    Paint,
    Pattern,
    SynthObject,
    ball,
    box,
    cone,
    cylinder,
    ellipsoid,
    ring,
    tube,
)

__all__ = ["bird", "toadstool"]


def bird() -> SynthObject:
    """Looks to its left with one wing lifted, so that no two sides agree."""
    blue = Paint(colours=("#2f78b7", "#215a8f"), pattern=Pattern.GRAIN, scale=6, direction=(0.2, 0.6, 1), duty=0.5)
    belly = Paint(colours=("#f2d9a0", "#e7a24b"), pattern=Pattern.SPOTS, scale=16, duty=0.4)
    wing = Paint(
        colours=("#1f4e7f", "#f2f2ee", "#2f78b7"), pattern=Pattern.BANDS, scale=16, direction=(0.1, 0.5, 1), duty=0.5
    )
    beak = Paint(colours=("#f08a24",))
    eye = Paint(colours=("#15181c",))
    rock = Paint(colours=("#8a8478", "#6d675d"), pattern=Pattern.SPOTS, scale=9, duty=0.5, mottle=0.1)
    return SynthObject(
        name="bird",
        summary="perched bird, head turned to its left, one wing lifted",
        solids=(
            ellipsoid((0, 0, 0), (0.20, 0.22, 0.29), blue).turned(x=-24),
            ellipsoid((0, -0.03, 0.07), (0.178, 0.20, 0.23), belly).turned(x=-24).blended(0.02),
            ball((0.03, 0.27, 0.20), 0.145, blue).blended(0.10),
            ellipsoid((0.05, 0.235, 0.27), (0.095, 0.075, 0.075), belly).turned(y=22).blended(0.02),
            cone((0.09, 0.26, 0.33), (0.135, 0.235, 0.45), 0.040, 0.010, beak).blended(0.015),
            ball((0.135, 0.315, 0.265), 0.026, eye),
            ball((-0.035, 0.315, 0.315), 0.026, eye),
            *(
                cone((0.02, 0.39, 0.16), (x, 0.50, z), 0.022, 0.010, beak).blended(0.02)
                for x, z in ((0.03, 0.11), (0.0, 0.06), (0.06, 0.15))
            ),
            ellipsoid((-0.19, 0.0, -0.06), (0.035, 0.13, 0.24), wing).turned(x=-30, z=-10).blended(0.02),
            ellipsoid((0.29, 0.13, -0.07), (0.20, 0.03, 0.15), wing).turned(z=38, y=12).blended(0.03),
            ellipsoid((0.43, 0.235, -0.11), (0.11, 0.022, 0.085), wing).turned(z=33, y=22).blended(0.05),
            box((0, -0.06, -0.40), (0.09, 0.018, 0.20), wing, edge=0.016).turned(x=-14).blended(0.04),
            box((0.07, -0.07, -0.42), (0.04, 0.014, 0.19), blue, edge=0.012).turned(x=-14, y=12).paired().blended(0.02),
            cone((0.07, -0.16, 0.05), (0.075, -0.33, 0.06), 0.028, 0.022, beak).paired().blended(0.03),
            *(
                cone((0.075, -0.335, 0.05), (x, -0.35, z), 0.022, 0.016, beak).paired().blended(0.02)
                for x, z in ((0.075, 0.17), (0.13, 0.14), (0.03, 0.15), (0.075, -0.05))
            ),
            ellipsoid((0.02, -0.43, 0.05), (0.24, 0.10, 0.20), rock),
            ellipsoid((-0.10, -0.45, 0.0), (0.18, 0.085, 0.20), rock).blended(0.06),
            box((0, -0.70, 0), (0.6, 0.20, 0.6), rock).cut(0.02),
        ),
        decals=(
            Decal(at=(-0.21, 0.02, -0.05), right=(0, 0, 0.05), up=(0, 0.045, 0), colour="#f2d9a0", rows=ICONS["heart"]),
        ),
    )


def toadstool() -> SynthObject:
    """A leaning cap with spots, gills below it, a snail at the foot."""
    cap = Paint(colours=("#c22f2a", "#f5efe2"), pattern=Pattern.SPOTS, scale=5.5, duty=0.36)
    gills = Paint(colours=("#f0e3c4", "#c9b48a"), pattern=Pattern.SECTORS, scale=36, duty=0.4)
    stem = Paint(colours=("#f3ead5", "#ddcfae"), pattern=Pattern.GRAIN, scale=8, direction=(1, 0.15, 0.4), duty=0.5)
    grass = Paint(colours=("#5e8f3f", "#47742e", "#86b25a"), pattern=Pattern.SPOTS, scale=12, duty=0.6)
    shell = Paint(colours=("#8d5a34", "#e3c08c"), pattern=Pattern.STRIPES, scale=26, direction=(0.2, 1, 0.5), duty=0.4)
    body = Paint(colours=("#cfa579",))
    return SynthObject(
        name="toadstool",
        summary="leaning cap on a bent stem, a snail on one side",
        solids=(
            ellipsoid((0.03, 0.18, 0.0), (0.44, 0.30, 0.44), cap).turned(z=-8, x=6),
            ellipsoid((0.02, -0.09, -0.01), (0.47, 0.26, 0.47), gills).turned(z=-8, x=6).cut(0.03),
            *(
                part.blended(0.03)
                for part in tube([(-0.05, -0.46, 0), (-0.02, -0.2, 0.0), (0.03, 0.20, 0.0)], [0.13, 0.10, 0.085], stem)
            ),
            ring((-0.005, 0.0, 0.0), 0.115, 0.022, stem).turned(x=96).blended(0.03),
            ellipsoid((0.0, -0.47, 0.02), (0.34, 0.07, 0.30), grass).blended(0.03),
            cylinder((0.19, -0.325, 0.16), 0.105, 0.05, shell, edge=0.045).turned(z=90, y=25),
            *(
                part.blended(0.02)
                for part in tube(
                    [(0.16, -0.41, 0.03), (0.20, -0.41, 0.20), (0.235, -0.385, 0.31)], [0.025, 0.045, 0.04], body
                )
            ),
            cone((0.22, -0.37, 0.32), (0.205, -0.27, 0.36), 0.013, 0.012, body),
            cone((0.25, -0.37, 0.32), (0.275, -0.28, 0.36), 0.013, 0.012, body),
            *(
                cone((x, -0.44, z), (x * 1.12, -0.44 + h, z * 1.15), 0.018, 0.008, grass)
                for x, z, h in (
                    (-0.24, 0.12, 0.16),
                    (-0.28, -0.02, 0.11),
                    (-0.20, -0.18, 0.14),
                    (0.1, -0.25, 0.12),
                    (-0.27, 0.05, 0.2),
                )
            ),
            box((0, -0.72, 0), (0.6, 0.20, 0.6), grass).cut(0.02),
        ),
    )
