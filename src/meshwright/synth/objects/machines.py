"""Made of metal, plastic and wheels: a robot, a toy car, a gear."""

from __future__ import annotations

from meshwright.synth.lettering import ICONS, lettering
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

__all__ = ["gear", "robot", "toy_car"]


def robot() -> SynthObject:
    """One arm up, one down, an aerial on its left ear."""
    shell = Paint(colours=("#4f9fa8", "#3f8790"), pattern=Pattern.GRAIN, scale=2.0, direction=(0.3, 1, 0.2), duty=0.3)
    dark = Paint(colours=("#33373d",))
    warm = Paint(colours=("#e8833a",))
    pale = Paint(colours=("#e9e4d6",))
    joints = Paint(colours=("#33373d", "#8b9096"), pattern=Pattern.STRIPES, scale=22, direction=(0.1, 1, 0.15))
    checks = Paint(colours=("#e9e4d6", "#c8453b"), pattern=Pattern.CHECKS, scale=11)
    arm_up = tube(
        [(-0.24, 0.10, 0), (-0.36, 0.12, 0.02), (-0.41, 0.28, 0.05), (-0.40, 0.40, 0.08)], [0.045] * 4, joints
    )
    arm_down = tube([(0.24, 0.10, 0), (0.37, 0.04, 0), (0.39, -0.10, 0.04), (0.36, -0.20, 0.12)], [0.045] * 4, joints)
    return SynthObject(
        name="robot",
        summary="boxy figure, one arm raised, aerial on one side, lettering front and back",
        solids=(
            box((0, 0, 0), (0.24, 0.22, 0.16), shell, edge=0.05, top=0.86),
            box((0, 0.37, 0.01), (0.17, 0.13, 0.14), pale, edge=0.05),
            cylinder((0, 0.23, 0), 0.06, 0.04, dark),
            *(part.blended(0.02) for part in arm_up),
            *(part.blended(0.02) for part in arm_down),
            ball((-0.40, 0.45, 0.09), 0.075, warm),
            box((-0.40, 0.50, 0.09), (0.02, 0.06, 0.10), warm, edge=0.01).cut(0.01),
            ball((0.355, -0.24, 0.14), 0.075, warm),
            box((0.355, -0.26, 0.19), (0.02, 0.10, 0.05), warm, edge=0.01).turned(x=35).cut(0.01),
            cylinder((0.12, -0.28, 0), 0.055, 0.10, joints).paired(),
            box((0.12, -0.41, 0.035), (0.085, 0.055, 0.14), checks, edge=0.035, top=0.8).paired(),
            cylinder((0.18, 0.38, 0.01), 0.05, 0.02, dark, edge=0.01).turned(z=90).paired(),
            cone((0.19, 0.38, 0.01), (0.22, 0.60, 0.01), 0.012, 0.010, dark),
            ball((0.221, 0.61, 0.01), 0.032, warm),
            box((0, 0.285, 0.15), (0.09, 0.015, 0.02), dark, edge=0.008),
            cylinder((0.07, 0.40, 0.145), 0.042, 0.02, dark, edge=0.01).turned(x=90),
            cylinder((-0.07, 0.40, 0.145), 0.034, 0.02, dark, edge=0.01).turned(x=90),
            box((0.02, 0.02, -0.19), (0.13, 0.14, 0.06), warm, edge=0.03),
        ),
        decals=(
            Decal(at=(0, 0.09, 0.15), right=(0.15, 0, 0), up=(0, 0.045, 0), colour="#f4efe2", rows=lettering("R-42")),
            Decal(at=(-0.08, -0.09, 0.16), right=(0.05, 0, 0), up=(0, 0.045, 0), colour="#c8453b", hole=0.55),
            Decal(at=(0.10, -0.09, 0.16), right=(0.05, 0, 0), up=(0, 0.06, 0), colour="#f2c14e", rows=ICONS["bolt"]),
            Decal(at=(0.07, 0.40, 0.16), right=(0.022, 0, 0), up=(0, 0.022, 0), colour="#8fe3ff", reach=0.03),
            Decal(at=(-0.07, 0.40, 0.16), right=(0.016, 0, 0), up=(0, 0.016, 0), colour="#8fe3ff", reach=0.03),
            Decal(
                at=(0.02, 0.06, -0.25), right=(-0.09, 0, 0), up=(0, 0.032, 0), colour="#33373d", rows=lettering("FUEL")
            ),
            Decal(at=(0.02, -0.05, -0.25), right=(-0.05, 0, 0), up=(0, 0.04, 0), colour="#f4efe2", rows=ICONS["arrow"]),
        ),
    )


def toy_car() -> SynthObject:
    """A racing number on one side, a flag of checks on the bonnet, a spare wheel behind."""
    body = Paint(colours=("#c8322b", "#b32820"), pattern=Pattern.GRAIN, scale=1.5, direction=(0, 1, 0.4), duty=0.3)
    glass = Paint(colours=("#27323c", "#34444f"), pattern=Pattern.STRIPES, scale=6, direction=(1, 1.4, 0.6), duty=0.3)
    tyre = Paint(colours=("#2a2a2c", "#3a3a3d"), pattern=Pattern.SECTORS, scale=18, direction=(1, 0, 0), duty=0.4)
    metal = Paint(colours=("#c9ccd1",))
    cream = Paint(colours=("#f3e6c8",))
    solids = [
        box((0, 0.02, 0), (0.22, 0.10, 0.50), body, edge=0.07),
        box((0, 0.19, -0.06), (0.19, 0.12, 0.27), glass, edge=0.06, top=0.72).blended(0.02),
        box((0, 0.285, -0.06), (0.145, 0.025, 0.20), cream, edge=0.02).blended(0.02),
        cylinder((0.20, -0.07, 0.29), 0.145, 0.10, body).turned(z=90).paired().cut(0.02),
        cylinder((0.20, -0.07, -0.29), 0.145, 0.10, body).turned(z=90).paired().cut(0.02),
        cylinder((0, -0.07, 0.29), 0.03, 0.20, metal).turned(z=90),
        cylinder((0, -0.07, -0.29), 0.03, 0.20, metal).turned(z=90),
        cylinder((0.20, -0.07, 0.29), 0.125, 0.055, tyre, edge=0.03).turned(z=90).paired(),
        cylinder((0.20, -0.07, -0.29), 0.125, 0.055, tyre, edge=0.03).turned(z=90).paired(),
        cylinder((0.245, -0.07, 0.29), 0.065, 0.02, metal, edge=0.01).turned(z=90).paired(),
        cylinder((0.245, -0.07, -0.29), 0.065, 0.02, metal, edge=0.01).turned(z=90).paired(),
        ellipsoid((0.14, 0.05, 0.49), (0.05, 0.05, 0.035), cream).paired(),
        box((0, -0.05, 0.50), (0.20, 0.03, 0.035), metal, edge=0.02),
        box((0, -0.05, -0.50), (0.20, 0.03, 0.035), metal, edge=0.02),
        cylinder((0.04, 0.07, -0.52), 0.10, 0.04, tyre, edge=0.02).turned(x=90),
        cone((-0.17, 0.10, 0.16), (-0.27, 0.15, 0.15), 0.014, 0.014, metal),
        ellipsoid((-0.28, 0.16, 0.145), (0.035, 0.025, 0.015), metal).blended(0.01),
    ]
    return SynthObject(
        name="toy_car",
        summary="car with a number on one side only, a mirror on the right, a spare wheel",
        solids=tuple(solids),
        decals=(
            Decal(at=(0.22, 0.05, -0.02), right=(0, 0, -0.085), up=(0, 0.075, 0), colour="#f3e6c8", reach=0.06),
            Decal(
                at=(0.22, 0.05, -0.02),
                right=(0, 0, -0.05),
                up=(0, 0.045, 0),
                colour="#27323c",
                rows=lettering("27"),
                reach=0.06,
            ),
            Decal(at=(-0.22, 0.05, 0), right=(0, 0, 0.17), up=(0, 0.04, 0), colour="#f3c23c", rows=lettering("RALLY")),
            Decal(at=(-0.08, 0.12, 0), right=(0.022, 0, 0), up=(0, 0, -0.5), colour="#f3e6c8", rows=("#",), reach=0.03),
            Decal(
                at=(0.07, 0.12, 0.36),
                right=(0.07, 0, 0),
                up=(0, 0, -0.07),
                colour="#27323c",
                rows=("#.#.#.", ".#.#.#", "#.#.#.", ".#.#.#", "#.#.#.", ".#.#.#"),
                reach=0.05,
            ),
            Decal(at=(0, 0.31, -0.06), right=(0.08, 0, 0), up=(0, 0, -0.08), colour="#c8322b", rows=ICONS["star"]),
            Decal(at=(0, -0.08, 0), right=(-0.13, 0, 0), up=(0, 0, 0.10), colour="#f3e6c8", rows=lettering("TOY")),
        ),
    )


def gear() -> SynthObject:
    """Flat, with sixteen teeth, five holes around the hub and a notch that breaks the symmetry."""
    steel = Paint(
        colours=("#8d98a3", "#6f7a86"), pattern=Pattern.GRAIN, scale=3.0, direction=(1, 0.7, 0.2), duty=0.5, mottle=0.06
    )
    teeth = Paint(colours=("#d39b3a", "#b98225"), pattern=Pattern.SECTORS, scale=8, direction=(0, 0, 1), duty=0.5)
    hub = Paint(colours=("#b23f34",))
    spokes = Paint(colours=("#47525d",))
    return SynthObject(
        name="gear",
        summary="flat toothed wheel with a bored hub and round holes; thin in one direction",
        solids=(
            cylinder((0, 0, 0), 0.42, 0.075, steel, edge=0.015).turned(x=90),
            box((0.44, 0, 0), (0.06, 0.048, 0.075), teeth, edge=0.015).around(16, "z").blended(0.015),
            ring((0, 0, 0.075), 0.37, 0.022, teeth).blended(0.01),
            cylinder((0.235, 0, 0), 0.085, 0.2, spokes, edge=0.01).turned(x=90).around(5, "z").cut(0.015),
            cylinder((0, 0, 0.03), 0.13, 0.11, hub, edge=0.02).turned(x=90).blended(0.02),
            cylinder((0, 0, 0), 0.065, 0.4, spokes).turned(x=90).cut(0.01),
            box((0, 0.07, 0), (0.022, 0.03, 0.4), spokes, edge=0.005).cut(0.005),
            box((0.0, -0.42, 0.02), (0.03, 0.05, 0.06), hub, edge=0.01).turned(z=11),
        ),
        decals=(
            Decal(
                at=(-0.092, 0.275, 0.0),
                right=(0.075, 0, 0),
                up=(0, 0.03, 0),
                colour="#22282e",
                rows=lettering("N-16"),
                reach=0.13,
            ),
            Decal(
                at=(-0.02, -0.34, 0.0),
                right=(-0.11, 0, 0),
                up=(0, 0.03, 0),
                colour="#f2e9d0",
                rows=lettering("BACK"),
                reach=0.13,
            ),
            Decal(at=(0.33, 0.10, 0), right=(-0.035, 0, 0), up=(0, 0.035, 0), colour="#f2e9d0", rows=ICONS["star"]),
        ),
    )
