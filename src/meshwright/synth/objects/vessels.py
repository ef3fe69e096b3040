"""Hollow round things: a mug, a teapot, a vase."""

from __future__ import annotations

import math

from meshwright.synth.lettering import ICONS, lettering
from meshwright.synth.solids import (
    Decal,
    Paint,
    Pattern,
    SynthObject,
    Vec,
    ball,
    cone,
    cylinder,
    ellipsoid,
    ring,
    tube,
)

__all__ = ["mug", "teapot", "vase"]


def label(rows: tuple[str, ...], turn: float, radius: float, y: float, width: float, colour: str) -> Decal:
    """A mark bent around the vertical axis, `turn` degrees from the front towards the object's left."""
    angle = math.radians(turn)
    at: Vec = (radius * math.sin(angle), y, radius * math.cos(angle))
    height = width * len(rows) / max(len(line) for line in rows)
    right: Vec = (width / 2 * math.cos(angle), 0.0, -width / 2 * math.sin(angle))
    return Decal(at=at, right=right, up=(0.0, height / 2, 0.0), colour=colour, rows=rows, wrap=True, reach=0.08)


def belt(radius: float, y: float, half_height: float, colour: str, reach: float = 0.08) -> Decal:
    """A band all around the vertical axis."""
    return Decal(
        at=(0.0, y, radius),
        right=(math.pi * radius, 0.0, 0.0),
        up=(0.0, half_height, 0.0),
        colour=colour,
        rows=("#",),
        wrap=True,
        reach=reach,
    )


def mug() -> SynthObject:
    """A handle on the object's left makes a hole; the inside is open."""
    glaze = Paint(colours=("#f3e7d3",), mottle=0.05)
    inside = Paint(colours=("#2f6f73",), mottle=0.04)
    handle = Paint(colours=("#d8573c", "#b8402c"), pattern=Pattern.STRIPES, scale=9, direction=(0.2, 1, 0.3), duty=0.4)
    return SynthObject(
        name="mug",
        summary="open cup with a handle (one hole), lettering and bands",
        solids=(
            cylinder((0, 0, 0), 0.38, 0.37, glaze, edge=0.08),
            ring((0.40, 0.0, 0), 0.23, 0.055, handle, opening=215).turned(z=-90).blended(0.06),
            cylinder((0, 0.20, 0), 0.325, 0.5, inside, edge=0.12).cut(0.02),
            ring((0, -0.37, 0), 0.26, 0.03, glaze).turned(x=90).blended(0.02),
        ),
        decals=(
            belt(0.38, -0.24, 0.03, "#2f6f73"),
            belt(0.38, -0.175, 0.011, "#d8573c"),
            belt(0.38, 0.28, 0.025, "#2f6f73", reach=0.02),
            label(lettering("TEA 07"), 0, 0.38, 0.08, 0.46, "#274046"),
            label(ICONS["star"], -90, 0.38, 0.06, 0.30, "#e2a32b"),
            label(ICONS["heart"], 180, 0.38, 0.10, 0.25, "#d8573c"),
            label(ICONS["leaf"], 146, 0.38, -0.06, 0.17, "#3f8f4f"),
            label(ICONS["arrow"], -40, 0.38, -0.08, 0.15, "#7b4fa3"),
        ),
    )


def teapot() -> SynthObject:
    """Spout to the object's left, handle to its right, a lid with a knob."""
    body = Paint(colours=("#3d6fb5", "#f2efe4", "#f0c24b"), pattern=Pattern.SPOTS, scale=5.0, duty=0.36, mottle=0.04)
    lid = Paint(colours=("#f2efe4", "#3d6fb5"), pattern=Pattern.SECTORS, scale=9, duty=0.4)
    trim = Paint(colours=("#c9552f",))
    spout = tube(
        [(0.34, -0.12, 0), (0.55, -0.06, 0.0), (0.66, 0.14, 0.0), (0.80, 0.27, 0.0)],
        [0.13, 0.10, 0.065, 0.055],
        body,
        steps=5,
    )
    handle = tube(
        [(-0.38, 0.20, 0), (-0.62, 0.26, 0), (-0.74, 0.06, 0), (-0.62, -0.16, 0), (-0.40, -0.16, 0)],
        [0.045, 0.042, 0.05, 0.042, 0.045],
        trim,
        steps=5,
    )
    return SynthObject(
        name="teapot",
        summary="round body, bent spout and handle (one hole), knob on the lid",
        solids=(
            ellipsoid((0, 0, 0), (0.47, 0.38, 0.47), body),
            *(part.blended(0.05) for part in spout),
            *(part.blended(0.03) for part in handle),
            cylinder((0.815, 0.295, 0), 0.04, 0.06, trim).turned(z=-42).cut(0.01),
            ellipsoid((0, 0.31, 0), (0.27, 0.12, 0.27), lid).blended(0.02),
            ring((0, 0.325, 0), 0.265, 0.022, trim).turned(x=90).blended(0.02),
            cylinder((0, 0.43, 0), 0.035, 0.05, trim).blended(0.03),
            ball((0, 0.51, 0), 0.065, trim).blended(0.02),
            cylinder((0, -0.365, 0), 0.27, 0.035, trim, edge=0.02).blended(0.03),
        ),
        decals=(
            label(lettering("DAWN"), 0, 0.46, 0.02, 0.42, "#f0c24b"),
            label(ICONS["star"], 180, 0.46, 0.05, 0.30, "#c9552f"),
        ),
    )


def vase() -> SynthObject:
    """A bellied jar with a narrow neck; its bands are of random width, its foot is ribbed."""
    clay = Paint(
        colours=("#b5512e", "#2e2a28", "#e9c79a"), pattern=Pattern.BANDS, scale=15, direction=(0.10, 1, 0.04), duty=0.55
    )
    dark = Paint(colours=("#2a2422",))
    rib = Paint(colours=("#8a3a20", "#e9c79a"), pattern=Pattern.SECTORS, scale=10, duty=0.3)
    return SynthObject(
        name="vase",
        summary="bellied jar with a narrow neck, ribs and two unequal ears",
        solids=(
            ellipsoid((0, -0.02, 0), (0.31, 0.30, 0.31), clay),
            ellipsoid((0, -0.26, 0), (0.20, 0.26, 0.20), clay).blended(0.12),
            cylinder((0, -0.47, 0), 0.17, 0.03, rib, edge=0.02).blended(0.05),
            cylinder((0, 0.30, 0), 0.10, 0.18, clay, edge=0.02).blended(0.10),
            ring((0, 0.47, 0), 0.12, 0.032, dark).turned(x=90).blended(0.05),
            cone((0, -0.13, 0.283), (0, -0.40, 0.165), 0.020, 0.014, rib).around(14).blended(0.02),
            ring((0.16, 0.30, 0), 0.12, 0.026, dark, opening=250).turned(z=-80).blended(0.03),
            ring((-0.13, 0.36, 0), 0.07, 0.024, dark, opening=250).turned(z=80).blended(0.03),
            cylinder((0, 0.46, 0), 0.075, 0.30, dark, edge=0.03).cut(0.02),
            ball((0, 0.02, 0), 0.18, dark).cut(0.08),
        ),
        decals=(
            belt(0.31, 0.03, 0.085, "#ecd9b4"),
            label(ICONS["leaf"], 20, 0.31, 0.03, 0.16, "#2e5b3c"),
            label(ICONS["bolt"], -75, 0.31, 0.03, 0.11, "#a33b22"),
            label(lettering("ATTICA"), 165, 0.31, 0.03, 0.36, "#2e2a28"),
            label(ICONS["star"], 85, 0.31, 0.03, 0.13, "#a33b22"),
        ),
    )
