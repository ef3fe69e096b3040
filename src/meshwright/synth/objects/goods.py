"""Things around the house: a chair, a sneaker, a guitar, spectacles."""

from __future__ import annotations

from meshwright.synth.lettering import ICONS, lettering
from meshwright.synth.solids import (
    Decal,
    Paint,
    Pattern,
    SynthObject,
    box,
    cone,
    cylinder,
    ellipsoid,
    ring,
    tube,
)

__all__ = ["chair", "guitar", "sneaker", "spectacles"]


def chair() -> SynthObject:
    """Thin legs, a back of slats that one sees through, an arm rest on the left side only."""
    wood = Paint(
        colours=("#b07a45", "#7d4f27"), pattern=Pattern.GRAIN, scale=9, direction=(1, 0.15, 0.3), duty=0.5, mottle=0.06
    )
    seat = Paint(colours=("#2f5d8a", "#e8e2d0"), pattern=Pattern.CHECKS, scale=9, direction=(1, 0, 0))
    slat = Paint(
        colours=("#c2483a", "#e7b64c", "#2f5d8a"), pattern=Pattern.BANDS, scale=14, direction=(0.3, 1, 0), duty=0.6
    )
    return SynthObject(
        name="chair",
        summary="thin legs, slatted back (several holes), one arm rest",
        solids=(
            box((0, -0.06, 0), (0.25, 0.03, 0.24), wood, edge=0.015),
            box((0, -0.015, 0.01), (0.23, 0.03, 0.22), seat, edge=0.025),
            cone((0.215, -0.08, 0.20), (0.235, -0.49, 0.225), 0.026, 0.018, wood).paired(),
            cone((0.215, -0.08, -0.20), (0.24, -0.49, -0.25), 0.026, 0.018, wood).paired(),
            cone((0.225, -0.32, 0.21), (0.23, -0.32, -0.225), 0.013, 0.013, wood).paired(),
            cone((-0.23, -0.25, -0.22), (0.23, -0.25, -0.22), 0.013, 0.013, wood),
            cone((0.215, -0.05, -0.215), (0.215, 0.50, -0.29), 0.024, 0.020, wood).paired(),
            box((0, 0.44, -0.283), (0.22, 0.055, 0.018), wood, edge=0.012).turned(x=-7),
            box((0, 0.10, -0.236), (0.20, 0.022, 0.014), wood, edge=0.01).turned(x=-7),
            box((0.10, 0.27, -0.26), (0.032, 0.18, 0.010), slat, edge=0.008).turned(x=-7).paired(),
            box((0.0, 0.27, -0.26), (0.032, 0.18, 0.010), slat, edge=0.008).turned(x=-7),
            cone((0.225, -0.05, 0.16), (0.235, 0.16, 0.17), 0.018, 0.016, wood),
            box((0.235, 0.17, -0.04), (0.03, 0.014, 0.24), wood, edge=0.012),
        ),
        decals=(
            Decal(
                at=(0, 0.445, -0.28), right=(0.13, 0, 0), up=(0, 0.03, 0), colour="#f3ead2", rows=lettering("OSLO 9")
            ),
            Decal(
                at=(0.06, 0.445, -0.28), right=(-0.04, 0, 0), up=(0, 0.035, 0), colour="#c2483a", rows=ICONS["heart"]
            ),
            Decal(at=(0, -0.09, 0), right=(-0.12, 0, 0), up=(0, 0, 0.05), colour="#f3ead2", rows=lettering("MADE")),
        ),
    )


def sneaker() -> SynthObject:
    """A left shoe: the sole bends inwards, the opening shows the lining, laces cross the tongue."""
    canvas = Paint(colours=("#3a7d6b", "#34705f"), pattern=Pattern.STRIPES, scale=30, direction=(0.4, 1, 0.5))
    rubber = Paint(colours=("#f1ede2",))
    tread = Paint(colours=("#c97b3d", "#a75f29"), pattern=Pattern.CHECKS, scale=16)
    lining = Paint(colours=("#e9c46a",))
    lace = Paint(colours=("#f7f3ea",))
    heel = Paint(colours=("#d1495b",))
    laces = [
        cone(
            (-0.075, 0.045 + 0.032 * i, 0.165 - 0.055 * i),
            (0.085, 0.050 + 0.032 * i, 0.150 - 0.055 * i),
            0.014,
            0.014,
            lace,
        )
        for i in range(4)
    ]
    bow = tube([(0.02, 0.16, -0.02), (0.10, 0.18, 0.03), (0.13, 0.12, 0.07), (0.07, 0.10, 0.06)], [0.013] * 4, lace)
    return SynthObject(
        name="sneaker",
        summary="low shoe with an opening, laces tied to one side, a bent sole",
        solids=(
            ellipsoid((0.0, -0.02, -0.21), (0.145, 0.27, 0.23), canvas),
            ellipsoid((0.01, -0.06, 0.05), (0.150, 0.17, 0.30), canvas).blended(0.12),
            ellipsoid((0.02, -0.10, 0.27), (0.150, 0.12, 0.20), canvas).blended(0.08),
            cylinder((0, 0.46, -0.19), 0.33, 0.6, lining).turned(z=90).cut(0.02),
            ellipsoid((0.0, 0.16, -0.20), (0.10, 0.24, 0.17), lining).cut(0.03),
            ellipsoid((0.005, 0.13, -0.02), (0.07, 0.035, 0.10), heel).turned(x=32).blended(0.02),
            box((0, -0.55, 0), (0.6, 0.40, 0.8), rubber).cut(0.02),
            ellipsoid((0.0, -0.135, -0.24), (0.157, 0.075, 0.215), rubber).blended(0.01),
            ellipsoid((0.005, -0.135, 0.0), (0.148, 0.075, 0.30), rubber).blended(0.05),
            ellipsoid((0.02, -0.14, 0.28), (0.167, 0.07, 0.22), rubber).blended(0.05),
            box((0, -0.40, 0), (0.6, 0.225, 0.8), tread).cut(0.012),
            ellipsoid((0.02, -0.09, 0.37), (0.125, 0.085, 0.115), rubber).blended(0.02),
            box((0, 0.02, -0.42), (0.045, 0.11, 0.04), heel, edge=0.02).turned(x=6).blended(0.02),
            *(part.blended(0.006) for part in laces),
            *(part.blended(0.008) for part in bow),
        ),
        decals=(
            Decal(
                at=(0.15, -0.02, -0.12), right=(0, 0, -0.085), up=(0, 0.085, 0), colour="#f7f3ea", rows=ICONS["star"]
            ),
            Decal(
                at=(-0.15, -0.03, -0.08),
                right=(0, 0, 0.14),
                up=(0, 0.035, 0),
                colour="#e9c46a",
                rows=lettering("RUN 5"),
            ),
            Decal(at=(0, -0.132, 0), right=(0.4, 0, 0), up=(0, 0.010, 0), colour="#3a7d6b", rows=("#",), reach=0.6),
            Decal(at=(0, -0.132, 0), right=(-0.4, 0, 0), up=(0, 0.010, 0), colour="#3a7d6b", rows=("#",), reach=0.6),
            Decal(at=(0, -0.132, 0), right=(0, 0, -0.6), up=(0, 0.010, 0), colour="#3a7d6b", rows=("#",), reach=0.6),
            Decal(at=(0, -0.132, 0), right=(0, 0, 0.6), up=(0, 0.010, 0), colour="#3a7d6b", rows=("#",), reach=0.6),
        ),
    )


def guitar() -> SynthObject:
    """Flat: a body with a sound hole, a long neck; strings and frets are painted on."""
    top = Paint(colours=("#d9a25a", "#b97a35"), pattern=Pattern.GRAIN, scale=10, direction=(1, 0.06, 0.5), duty=0.5)
    side = Paint(colours=("#8f4a26", "#6f3414"), pattern=Pattern.GRAIN, scale=5, direction=(0.2, 1, 0.4), duty=0.5)
    dark = Paint(colours=("#2a1c14",))
    peg = Paint(colours=("#e6dcc3",))
    strings = tuple(
        Decal(
            at=(-0.02 + 0.01 * i, 0.03, 0.0),
            right=(0.0018, 0, 0),
            up=(0, 0.42, 0),
            colour="#efe6cf",
            rows=("#",),
            reach=0.2,
        )
        for i in range(5)
    )
    frets = tuple(
        Decal(
            at=(0, 0.05 + 0.042 * i, 0.07),
            right=(0.028, 0, 0),
            up=(0, 0.0035, 0),
            colour="#cfc7b0",
            rows=("#",),
            reach=0.05,
        )
        for i in range(8)
    )
    return SynthObject(
        name="guitar",
        summary="flat body with a sound hole, waist, long thin neck and tuning pegs",
        solids=(
            cylinder((0, -0.32, 0), 0.19, 0.05, side, edge=0.02).turned(x=90),
            cylinder((0.005, -0.10, 0), 0.145, 0.05, side, edge=0.02).turned(x=90).blended(0.09),
            cylinder((0.12, 0.005, 0), 0.075, 0.2, side).turned(x=90).cut(0.03),
            cylinder((0, -0.32, 0.05), 0.182, 0.012, top, edge=0.004).turned(x=90),
            cylinder((0.004, -0.10, 0.05), 0.138, 0.012, top, edge=0.004).turned(x=90),
            box((0.0, -0.2, 0.05), (0.128, 0.07, 0.012), top, edge=0.004),
            cylinder((0.12, 0.005, 0.04), 0.083, 0.05, side).turned(x=90).cut(0.01),
            cylinder((0, -0.17, 0.08), 0.058, 0.10, dark).turned(x=90).cut(0.004),
            box((0, -0.335, 0.055), (0.085, 0.014, 0.014), dark, edge=0.006),
            box((0, 0.15, 0.045), (0.029, 0.28, 0.016), side, edge=0.008, top=0.86),
            box((0, 0.14, 0.062), (0.027, 0.26, 0.008), dark, edge=0.004, top=0.86),
            box((0.006, 0.46, 0.03), (0.042, 0.075, 0.014), side, edge=0.008).turned(x=-10),
            *(
                cone((x, 0.415 + 0.045 * i, 0.03), (x * 2.1, 0.415 + 0.045 * i, 0.03), 0.010, 0.013, peg)
                for i in range(3)
                for x in (0.038, -0.036)
            ),
        ),
        decals=(
            Decal(at=(0, -0.17, 0.05), right=(0.085, 0, 0), up=(0, 0.085, 0), colour="#8c2f2a", hole=0.78, reach=0.02),
            *frets,
            *strings,
            Decal(
                at=(0.02, -0.33, -0.05), right=(-0.10, 0, 0), up=(0, 0.034, 0), colour="#e6dcc3", rows=lettering("LUNA")
            ),
            Decal(
                at=(-0.02, -0.12, -0.05), right=(-0.06, 0, 0), up=(0, 0.055, 0), colour="#d9a25a", rows=ICONS["leaf"]
            ),
            Decal(at=(-0.115, -0.36, 0.05), right=(0.035, 0, 0), up=(0, 0.07, 0), colour="#f0e2c0", rows=ICONS["bolt"]),
        ),
    )


def spectacles() -> SynthObject:
    """Empty rims and thin temples: hardly anything to hold a silhouette."""
    rim = Paint(colours=("#7a3b2e", "#d8a24a", "#2b1d18"), pattern=Pattern.SPOTS, scale=14, duty=0.55)
    metal = Paint(colours=("#b9bec6",))
    tip = Paint(colours=("#2f4f6f", "#e8e2d0"), pattern=Pattern.STRIPES, scale=14, direction=(1, 0.5, 0.3), duty=0.4)
    # Folded: each temple crosses behind the rims, the right one outside the left one.
    left = tube(
        [(0.46, 0.06, -0.02), (0.44, 0.055, -0.10), (0.10, 0.01, -0.135), (-0.28, -0.02, -0.13), (-0.40, -0.13, -0.11)],
        [0.024, 0.022, 0.022, 0.025, 0.030],
        tip,
    )
    right = tube(
        [(-0.46, 0.06, -0.02), (-0.45, 0.06, -0.15), (-0.10, 0.05, -0.215), (0.24, 0.03, -0.21), (0.37, -0.09, -0.18)],
        [0.024, 0.022, 0.022, 0.025, 0.030],
        tip,
    )
    bridge = tube([(-0.09, 0.05, 0.01), (0, 0.085, 0.02), (0.09, 0.05, 0.01)], [0.024] * 3, metal)
    return SynthObject(
        name="spectacles",
        summary="folded glasses: two empty rims, a bridge and two unequal temples; thin everywhere",
        solids=(
            ring((0.25, 0, 0), 0.185, 0.034, rim).turned(y=6).paired(),
            *(part.blended(0.03) for part in bridge),
            ellipsoid((0.455, 0.055, -0.01), (0.045, 0.04, 0.04), rim).paired().blended(0.03),
            *(part.blended(0.015) for part in left),
            *(part.blended(0.015) for part in right),
            ellipsoid((0.075, -0.05, -0.05), (0.016, 0.04, 0.026), metal).paired(),
            cone((0.09, -0.03, -0.01), (0.076, -0.05, -0.05), 0.014, 0.013, metal).paired(),
        ),
    )
