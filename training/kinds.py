"""The kinds of training objects, each a short program with much chance in it. Front is +Z, up is +Y.

None of them copies an object of `meshwright.synth`: that catalogue is the validation set.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from meshwright.synth.solids import Solid, Vec
from training.words import Words

__all__ = ["KINDS"]


def soup(w: Words) -> list[Solid]:
    """Any solids anywhere, melted or sharp, some taken away; half of them mirrored."""
    mirrored = w.maybe(0.6)
    solids = []
    for i in range(w.n(1, 9)):
        at = w.vec(0.1, 0.1, 0.1) if i == 0 else w.vec(0.5, 0.5, 0.5)
        solid = w.any_solid(at, w.u(0.12, 0.45) * (1.0 if i < 2 else 0.65))
        if w.maybe(0.6):
            solid = w.turned(solid)
        solid = solid.blended(w.u(0.0, 0.12) if w.maybe(0.7) else 0.0)
        if i > 0 and w.maybe(0.2):
            solid = solid.cut(w.choice(0.0, 0.02, 0.06))
        solids.append(solid.paired() if mirrored else solid)
    return solids


def melted(w: Words) -> list[Solid]:
    """Few large solids, most of them melted into each other, some taken away; half of them mirrored."""
    mirrored = w.maybe(0.5)
    solids: list[Solid] = []
    for i in range(w.n(1, 7)):
        scale = 1.0 if i < 2 else 0.7
        a, b, c = (scale * (0.06 + 0.34 * w.u(0, 1) ** 1.3) for _ in range(3))
        reach = 0.1 if i == 0 else 0.32
        at = w.vec(reach, reach, reach)
        pick = w.n(0, 6)
        if pick == 0:
            solid = w.box(at, (a, b, c), edge=0.15)
        elif pick == 1:
            solid = w.cylinder(at, a, b)
        elif pick == 2:
            solid = w.ring(at, 0.8 * a, min(0.35 * b, 0.7 * a))
        elif pick == 3:
            solid = w.rod((at[0], at[1] - b, at[2]), (at[0], at[1] + b, at[2]), 0.5 * a)
        elif pick == 4:
            solid = w.frustum(at, a, 0.25 * a, b)
        else:
            solid = w.ellipsoid(at, (a, b, c))
        if w.maybe(0.6):
            solid = w.turned(solid)
        solid = solid.blended(0.002 + 0.12 * w.u(0, 1) ** 2)
        if i > 0 and w.maybe(0.2):
            solid = solid.cut()
        solids.append(solid.paired() if mirrored else solid)
    return solids


def creature(w: Words) -> list[Solid]:
    """Four legs, a body, a neck, a head, a tail: proportions as they come."""
    length, height, width = w.u(0.25, 0.6), w.u(0.12, 0.32), w.u(0.1, 0.26)
    melt = w.u(0.02, 0.1)
    tilt = w.u(-15, 35) if w.maybe(0.5) else 0.0
    solids = [w.ellipsoid((0, 0, 0), (width, height, length)).turned(x=-tilt)]
    for _ in range(w.n(0, 3)):
        z = w.u(-0.8, 0.8) * length
        r = w.u(0.7, 1.15)
        solids.append(w.ellipsoid((0, w.u(-0.2, 0.2) * height, z), (width * r, height * r, width * r)).blended(melt))
    rise = float(np.sin(np.radians(tilt)) * length * 0.8)
    head_at: Vec = (0.0, rise + w.u(0.0, 0.45), length + w.u(-0.1, 0.25))
    head = w.u(0.09, 0.22)
    solids.append(w.rod((0, rise * 0.7, length * 0.6), head_at, width * w.u(0.4, 0.9), head * 0.7).blended(melt))
    solids.append(w.ellipsoid(head_at, (head, head * w.u(0.8, 1.2), head * w.u(0.9, 1.5))).blended(melt))
    if w.maybe(0.8):
        snout = (0.0, head_at[1] - head * w.u(0.0, 0.5), head_at[2] + head * w.u(0.8, 1.6))
        solids.append(w.rod(head_at, snout, head * w.u(0.4, 0.8), head * w.u(0.15, 0.6)).blended(melt))
    for _ in range(w.n(0, 2)):  # ears, horns
        base = (head * w.u(0.3, 0.8), head_at[1] + head * 0.6, head_at[2] + head * w.u(-0.5, 0.3))
        if w.maybe(0.5):
            tip = tuple(np.add(base, (w.u(0.0, 0.15), w.u(0.05, 0.3), w.u(-0.15, 0.1))).tolist())
            solids.append(w.rod(base, tip, head * w.u(0.15, 0.35), head * w.u(0.03, 0.2)).paired().blended(0.02))
        else:
            ear = w.ellipsoid(base, (head * w.u(0.1, 0.4), head * w.u(0.4, 1.1), head * w.u(0.1, 0.4)))
            solids.append(w.turned(ear, 50).paired().blended(0.02))
    legs = w.n(0, 10)
    stand, thick = w.u(0.1, 0.6), w.u(0.03, 0.12)
    foot = thick * w.u(0.6, 1.4)
    for front in (True, False) if legs > 1 else (True,):
        if legs == 0:
            break
        z = length * w.u(0.4, 0.85) * (1 if front else -1)
        top: Vec = (width * w.u(0.4, 0.9), rise * 0.5 if front else -rise * 0.3, z)
        down: Vec = (top[0] + w.u(-0.03, 0.1), -height - stand, z + w.u(-0.12, 0.15))
        knee: Vec = ((top[0] + down[0]) / 2, (top[1] + down[1]) / 2, (top[2] + down[2]) / 2 + w.u(-0.08, 0.08))
        bulge = thick * w.u(0.9, 2.0)
        parts = [w.rod(top, knee, bulge, thick), w.rod(knee, down, thick, foot)]
        if w.maybe(0.4):
            parts.append(w.ellipsoid((down[0], down[1], down[2] + foot), (foot, foot * 0.7, foot * 1.8)))
        solids.extend(part.paired().blended(min(melt, 0.06)) for part in parts)
    if w.maybe(0.75):
        path: list[Vec] = [(0.0, height * 0.2 - rise * 0.3, -length * 0.85)]
        for _ in range(w.n(1, 3)):
            path.append((path[-1][0] + w.u(-0.08, 0.08), path[-1][1] + w.u(-0.2, 0.25), path[-1][2] - w.u(0.05, 0.3)))
        thickness = w.u(0.02, 0.14)
        radii = [thickness * w.u(0.6, 1.6) for _ in path]
        solids.extend(w.chain(path, radii, seam=0.03))
    return solids


def beast(w: Words) -> list[Solid]:
    """Trunk, neck and head along one bent spine that swells and narrows; jointed legs that taper, ears, horns, tail.

    Where a `creature` is put together from ellipsoids, this one flows: bellies hang, necks widen into chests.
    """
    long, trunk = w.u(0.3, 0.7), w.u(0.12, 0.28)
    melt = w.u(0.02, 0.08)
    sag, arch = w.u(-0.3, 0.3) * trunk, w.u(-0.3, 0.4) * trunk
    shoulder: Vec = (0.0, arch, long * 0.5)
    rise, reach = w.u(-0.05, 0.5), w.u(0.05, 0.35)
    head = trunk * w.u(0.45, 1.1)
    skull: Vec = (0.0, shoulder[1] + rise, shoulder[2] + reach + trunk * 0.5)
    spine: list[Vec] = [
        (0.0, w.u(-0.2, 0.2) * trunk, -long * 0.5),
        (0.0, sag, w.u(-0.2, 0.2) * long),
        shoulder,
        (0.0, shoulder[1] + rise * w.u(0.4, 0.7), shoulder[2] + reach * w.u(0.3, 0.8)),
        skull,
    ]
    radii = [trunk * w.u(0.7, 1.1), trunk * w.u(0.85, 1.25), trunk * w.u(0.75, 1.1), trunk * w.u(0.4, 0.8), head * 0.8]
    solids = w.chain(spine, radii, seam=melt)
    solids.append(w.superquadric(skull, (head, head * w.u(0.8, 1.1), head * w.u(0.8, 1.3)), w.u(2, 3)).blended(melt))
    drop = head * w.u(0.0, 0.7)
    muzzle: Vec = (0.0, skull[1] - drop, skull[2] + head * w.u(0.8, 1.7))
    thick = head * w.u(0.35, 0.8)
    solids.append(w.rod((0, skull[1] - drop * 0.4, skull[2] + head * 0.3), muzzle, head * 0.7, thick).blended(melt))
    if w.maybe(0.4):
        solids.append(w.ellipsoid(muzzle, (thick * w.u(0.9, 1.5), thick * 0.8, thick * 0.8)).blended(melt * 0.5))
    if w.maybe(0.85):  # ears
        base: Vec = (head * w.u(0.5, 0.9), skull[1] + head * w.u(0.3, 0.9), skull[2] - head * w.u(0.0, 0.5))
        ear = w.ellipsoid(base, (head * w.u(0.25, 0.9), head * w.u(0.2, 0.8), head * w.u(0.08, 0.25)))
        solids.append(ear.turned(x=w.u(-40, 40), y=w.u(-40, 40), z=w.u(-40, 60)).paired().blended(0.015))
    if w.maybe(0.35):  # horns
        root: Vec = (head * w.u(0.2, 0.6), skull[1] + head * 0.7, skull[2])
        bow: Vec = (root[0] + head * w.u(0.1, 0.7), root[1] + head * w.u(0.2, 0.6), root[2] + head * w.u(-0.3, 0.3))
        tip: Vec = (bow[0] + head * w.u(-0.3, 0.4), bow[1] + head * w.u(0.1, 0.6), bow[2] + head * w.u(-0.4, 0.4))
        stout = head * w.u(0.1, 0.28)
        solids.append(w.rod(root, bow, stout, stout * 0.7).paired().blended(0.01))
        solids.append(w.rod(bow, tip, stout * 0.7, stout * 0.2).paired())
    stand, thick = w.u(0.15, 0.55), trunk * w.u(0.2, 0.5)
    for at in (0.45, -0.45) if w.maybe(0.9) else (-0.2,):
        z = at * long * w.u(0.7, 1.05)
        hip: Vec = (trunk * w.u(0.3, 0.75), -trunk * w.u(0.1, 0.5), z)
        knee: Vec = (hip[0] + w.u(-0.02, 0.06), -trunk - stand * w.u(0.2, 0.5), z + w.u(-0.08, 0.08))
        ankle: Vec = (knee[0] + w.u(-0.03, 0.03), -trunk - stand * 0.9, z + w.u(-0.08, 0.08))
        solids.append(w.rod(hip, knee, thick * w.u(1.1, 2.0), thick).paired().blended(melt))
        solids.append(w.rod(knee, ankle, thick, thick * w.u(0.6, 1.0)).paired().blended(melt * 0.7))
        if w.maybe(0.6):
            paw = thick * w.u(0.7, 1.2)
            foot: Vec = (ankle[0], ankle[1] - paw * 0.5, ankle[2] + paw * w.u(0.0, 1.0))
            solids.append(
                w.superquadric(foot, (paw, paw * 0.7, paw * w.u(1.0, 1.8)), w.u(2, 4)).paired().blended(0.015)
            )
    if w.maybe(0.8):
        path: list[Vec] = [(0.0, trunk * 0.3, -long * 0.5 - trunk * 0.5)]
        for _ in range(w.n(1, 2)):
            path.append((path[-1][0] + w.u(-0.1, 0.1), path[-1][1] + w.u(-0.25, 0.15), path[-1][2] - w.u(0.02, 0.2)))
        slim = trunk * w.u(0.1, 0.45)
        solids.extend(w.chain(path, [slim * w.u(0.6, 1.5) for _ in path], seam=0.02))
    return solids


def blob(w: Words) -> list[Solid]:
    """Rounded toys, fruit, stones: few smooth solids melted into each other, perhaps with a bite taken out."""
    mirrored = w.maybe(0.6)
    solids = []
    for i in range(w.n(1, 7)):
        size = w.u(0.15, 0.5) if i == 0 else w.u(0.06, 0.35)
        at = (0.0, 0.0, 0.0) if i == 0 else w.vec(0.4, 0.4, 0.4)
        solid = w.ellipsoid(at, (size * w.u(0.6, 1.4), size * w.u(0.6, 1.4), size * w.u(0.6, 1.4)))
        solid = w.turned(solid, 60).blended(w.u(0.03, 0.2))
        solids.append(solid.paired() if mirrored and i > 0 else solid)
    if w.maybe(0.3):
        solids.append(w.any_solid(w.vec(0.3, 0.3, 0.3), 0.2).cut(w.u(0.02, 0.1)))
    return solids


def tubes(w: Words) -> list[Solid]:
    """Bent tubes of changing thickness: fruit, hoses, knots, hooks, stems with leaves."""
    solids: list[Solid] = []
    for _ in range(w.n(1, 3)):
        thickness = w.log(0.025, 0.2)
        p = np.array(w.vec(0.3, 0.3, 0.3)) * (1.0 if solids else 0.5)
        direction = w.rng.normal(size=3)
        path, radii = [], []
        curl = w.rng.normal(size=3) * w.u(0.0, 1.0)
        for _ in range(w.n(3, 7)):
            path.append(tuple(p.tolist()))
            radii.append(thickness * w.u(0.6, 1.3))
            direction = direction / np.linalg.norm(direction)
            p = p + direction * w.u(0.1, 0.3)
            direction = direction + 0.6 * np.cross(curl, direction) + 0.2 * w.rng.normal(size=3)
        if w.maybe(0.6):
            radii[0] *= w.u(0.2, 0.7)
            radii[-1] *= w.u(0.2, 0.7)
        tube = w.chain(path, radii, seam=w.choice(0.0, 0.03))
        solids.extend(part.paired() if w.maybe(0.0) else part for part in tube)
    for _ in range(w.n(0, 2)):
        solids.append(w.turned(w.any_solid(w.vec(0.3, 0.3, 0.3), w.u(0.06, 0.2))).blended(0.03))
    return solids


def ringed(w: Words) -> list[Solid]:
    """A ring lying or standing, with things on it: swim rings, crowns, handles, wreaths."""
    radius = w.u(0.25, 0.45)
    main = w.ring((0, 0, 0), radius, radius * w.u(0.12, 0.55))
    solids = [main.turned(x=90) if w.maybe(0.7) else main.turned(y=90 * w.n(0, 1))]
    melt = w.choice(0.0, 0.03, 0.08)
    for _ in range(w.n(0, 3)):
        angle = w.u(0, 2 * np.pi)
        at = (
            (0.0, w.u(0.0, 0.3), radius * w.u(0.6, 1.1))
            if w.maybe(0.6)
            else (float(radius * np.cos(angle)), w.u(0, 0.2), float(radius * np.sin(angle)))
        )
        part = w.any_solid(at, w.u(0.08, 0.22)) if w.maybe(0.5) else w.ball(at, w.u(0.08, 0.22))
        solids.append(part.blended(melt))
        if w.maybe(0.5):
            tip = (0.0, at[1] + w.u(0.0, 0.3), at[2] + w.u(-0.1, 0.25))
            solids.append(w.rod(at, tip, w.u(0.04, 0.12), w.u(0.02, 0.15)).blended(melt))
            solids.append(w.ellipsoid(tip, (w.u(0.05, 0.16), w.u(0.05, 0.14), w.u(0.06, 0.18))).blended(melt))
    if w.maybe(0.4):
        solids.append(w.any_solid((0, w.u(0.1, 0.2), radius), w.u(0.03, 0.08)).around(w.n(3, 10)))
    return solids


def vessel(w: Words) -> list[Solid]:
    """Turned on a lathe: bottles, bowls, cups, lamps; open ones are hollow; handles and spouts."""
    count = w.n(2, 6)
    heights = np.cumsum([w.u(0.06, 0.3) for _ in range(count)])
    radii = [w.u(0.06, 0.4)]
    for _ in range(count - 1):
        radii.append(float(np.clip(radii[-1] * w.log(0.5, 1.8), 0.03, 0.45)))
    melt = w.choice(0.0, 0.03, 0.08)
    solids = []
    low = 0.0
    inner = []
    wall = w.u(0.02, 0.06)
    for i, high in enumerate(heights.tolist()):
        r0, r1 = radii[i], radii[min(i + 1, count - 1)]
        solids.append(w.frustum((0, (low + high) / 2, 0), r0, r1, (high - low) / 2 + 0.005).blended(melt))
        if min(r0, r1) > 1.6 * wall:
            bottom = max(low - 0.01, wall)
            inner.append((bottom, high + 0.01, r0 - wall, r1 - wall))
        else:
            inner = []
        low = high
    if inner and w.maybe(0.6):
        top = inner[-1]
        inner[-1] = (top[0], top[1] + 0.05, top[2], top[3])
        for a, b, r0, r1 in inner:
            solids.append(w.frustum((0, (a + b) / 2, 0), max(r0, 0.01), max(r1, 0.01), (b - a) / 2).cut(melt * 0.5))
    total = float(heights[-1])
    widest = max(radii)
    for _ in range(w.n(0, 1) if w.maybe(0.6) else 0):
        side = (widest * w.u(0.85, 1.0), total * w.u(0.35, 0.65), 0.0)
        handle = w.ring(side, w.u(0.08, 0.2), w.u(0.015, 0.05)).turned(y=0)
        solids.append(handle.paired() if w.maybe(0.3) else handle)
        solids.append(
            w.frustum((0, total / 2, 0), max(widest * 0.7 - wall, 0.02), max(widest * 0.7 - wall, 0.02), 0.01)
        )
    if w.maybe(0.25):
        base = (-widest * 0.8, total * 0.4, 0.0)
        tip = (-widest - w.u(0.1, 0.3), total * w.u(0.6, 1.0), 0.0)
        solids.append(w.rod(base, tip, w.u(0.04, 0.08), w.u(0.02, 0.05)).blended(0.03))
    if w.maybe(0.3):
        solids.append(w.ball((0, total, 0), w.u(0.03, 0.1)))
    return solids


def furniture(w: Words) -> list[Solid]:
    """Boards, legs, backs, drawers, shelves: tables, stools, cupboards, beds, lamps."""
    x, z = w.u(0.15, 0.5), w.u(0.12, 0.5)
    high, thick = w.u(0.15, 0.7), w.u(0.015, 0.07)
    solids: list[Solid] = []
    if w.maybe(0.35):  # a case with compartments
        y = w.u(0.2, 0.6)
        solids.append(w.box((0, 0, 0), (x, y, z), edge=0.05))
        rows, columns = w.n(1, 4), w.n(1, 3)
        deep = z * w.u(0.3, 1.7)
        for r in range(rows):
            for c in range(columns):
                if w.maybe(0.8):
                    cx = x * (2 * (c + 0.5) / columns - 1)
                    cy = y * (2 * (r + 0.5) / rows - 1)
                    half = (x / columns - thick * 0.7, y / rows - thick * 0.7, deep)
                    if min(half) > 0.01:
                        solids.append(w.box((cx, cy, z + w.u(0.0, 0.05)), half, edge=0.02).cut())
        low = -y
    else:
        top = w.box((0, 0, 0), (x, thick, z)) if w.maybe(0.7) else w.cylinder((0, 0, 0), x, thick)
        solids.append(top)
        low = 0.0
        if w.maybe(0.5):
            solids.append(w.box((0, w.u(0.1, 0.5), -z + thick), (x, w.u(0.05, 0.4), thick)))
        if w.maybe(0.25):
            solids.append(w.box((x - thick, w.u(0.05, 0.2), 0), (thick, w.u(0.05, 0.2), z)).paired())
        if w.maybe(0.3):
            solids.append(w.box((0, -high * w.u(0.3, 0.9), 0), (x * 0.9, thick * 0.6, z * 0.9)))
    if w.maybe(0.8):
        r = w.u(0.015, 0.05)
        lean = w.u(-0.05, 0.1)
        if w.maybe(0.75):
            for s in (1, -1):
                a, b = (x - r, low, s * (z - r)), (x - r + lean, low - high, s * (z - r + lean))
                if w.maybe(0.5):
                    solids.append(w.rod(a, b, r, r * w.u(0.5, 1.0)).paired())
                else:
                    solids.append(w.box((x - r, low - high / 2, s * (z - r)), (r, high / 2 + r, r), edge=0.1).paired())
        else:
            solids.append(w.rod((0, low, 0), (0, low - high, 0), r * 1.5))
            solids.append(w.cylinder((0, low - high, 0), x * w.u(0.5, 1.0), thick))
    return solids


def vehicle(w: Words) -> list[Solid]:
    """Bodies with cabins, wheels in pairs, wings, cannons, funnels: cars, tractors, planes, boats."""
    x, y, z = w.u(0.12, 0.25), w.u(0.06, 0.18), w.u(0.3, 0.55)
    body = (
        w.box((0, 0, 0), (x, y, z), top=w.u(0.7, 1.0))
        if w.maybe(0.5)
        else w.superquadric((0, 0, 0), (x, y, z), w.u(2.0, 6.0))
    )
    solids = [body]
    melt = w.choice(0.0, 0.02, 0.06)
    if w.maybe(0.8):
        half = (x * w.u(0.6, 0.98), w.u(0.06, 0.16), z * w.u(0.25, 0.6))
        solids.append(w.box((0, y + half[1] * 0.8, z * w.u(-0.5, 0.3)), half, top=w.u(0.5, 1.0)).blended(melt))
    if w.maybe(0.3):
        solids.append(w.box((0, y, -z * 0.5), (x * 0.85, y * 0.8, z * 0.4)).cut())
    if w.maybe(0.75):
        r, wide = w.u(0.06, 0.16), w.u(0.02, 0.06)
        for at in w.rng.uniform(-0.8, 0.8, w.n(1, 3)).tolist():
            place = (x * w.u(0.9, 1.1), -y, z * at)
            if w.maybe(0.5):
                solids.append(w.cylinder(place, r * 1.2, wide * 1.5).turned(z=90).cut().paired())
            solids.append(w.cylinder(place, r, wide, edge=0.3).turned(z=90).paired())
    if w.maybe(0.3):
        wing = w.box((x + w.u(0.1, 0.3), w.u(-0.05, 0.1), w.u(-0.1, 0.2)), (w.u(0.15, 0.4), 0.02, w.u(0.05, 0.15)))
        solids.append(wing.turned(z=w.u(-10, 15), y=w.u(-20, 20)).paired().blended(0.02))
        solids.append(w.box((0, w.u(0.1, 0.25), -z * 0.9), (0.015, w.u(0.06, 0.15), 0.08)).blended(0.02))
    for _ in range(w.n(0, 3)):
        at = (w.u(0, x), y * w.u(0.5, 1.5), w.u(-z, z))
        part = w.any_solid(at, w.u(0.02, 0.08))
        solids.append(part.paired() if w.maybe(0.6) else part)
    return solids


def tool(w: Words) -> list[Solid]:
    """A handle and a head, flat or round, with holes: hammers, spoons, keys, knives, rackets."""
    length, r = w.u(0.3, 0.6), w.u(0.015, 0.06)
    handle = (
        w.rod((0, -length, 0), (0, 0, 0), r * w.u(0.7, 1.6), r)
        if w.maybe(0.6)
        else w.box((0, -length / 2, 0), (r * w.u(0.7, 2.0), length / 2, r), edge=0.5)
    )
    solids = [handle]
    size = w.u(0.06, 0.25)
    head = w.any_solid((0, size * 0.5, 0), size)
    if w.maybe(0.5):
        head = w.ellipsoid((0, size, 0), (size, size * w.u(0.8, 1.6), size * w.u(0.1, 0.5)))
    solids.append(head.blended(w.choice(0.0, 0.02, 0.05)))
    for _ in range(w.n(0, 3)):
        at = (w.u(-0.5, 0.5) * size, size * w.u(0.2, 1.6), w.u(-0.1, 0.3) * size)
        part = w.any_solid(at, size * w.u(0.2, 0.7))
        solids.append(part.cut(w.choice(0.0, 0.02)) if w.maybe(0.5) else part.blended(0.01))
    if w.maybe(0.3):
        solids.append(w.cylinder((0, -length * 0.9, 0), r * 0.5, 1.0).turned(x=90).cut())
    pose = w.n(0, 3)
    turns = ((0, 0, 0), (90, 0, 0), (0, 0, 90), (0, 90, 0))[pose]
    return [_posed(solid, turns) for solid in solids]


def _posed(solid: Solid, degrees: tuple[float, float, float]) -> Solid:
    """The solid as part of an object that is turned as a whole about its origin."""
    from dataclasses import replace

    moved = solid.turned(*degrees)
    x, y, z = (np.radians(d) for d in degrees)
    rx = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    ry = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    rz = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    at = rz @ ry @ rx @ np.array(solid.at)
    return replace(moved, at=(float(at[0]), float(at[1]), float(at[2])))


def thin(w: Words) -> list[Solid]:
    """Plates, shells, boxes without lids, arches, grids: all of thin walls."""
    wall = w.u(0.012, 0.05)
    pick = w.n(0, 4)
    if pick == 0:
        half = (w.u(0.15, 0.5), w.u(0.1, 0.5), w.u(0.15, 0.5))
        inner = (half[0] - wall, half[1], half[2] - wall)
        solids = [w.box((0, 0, 0), half, edge=0.1), w.box((0, 2 * wall, 0), inner, edge=0.1).cut()]
        if w.maybe(0.5):
            solids.append(w.any_solid((0, half[1] * 0.3, half[2]), 0.12).cut())
    elif pick == 1:
        r = w.u(0.3, 0.5)
        solids = [w.ball((0, 0, 0), r), w.ball((0, wall * w.u(0.0, 2.0), 0), r - wall).cut()]
        solids.append(w.box((0, r + r * w.u(-0.3, 0.8), 0), (1, r, 1)).cut())
    elif pick == 2:
        solids = [w.box((0, 0, 0), (w.u(0.2, 0.5), w.u(0.2, 0.5), wall), edge=0.1)]
        for _ in range(w.n(0, 3)):
            solids.append(
                w.any_solid(w.vec(0.3, 0.3, 0.0), w.u(0.05, 0.2)).cut()
                if w.maybe(0.5)
                else w.any_solid(w.vec(0.3, 0.3, 0.05), w.u(0.05, 0.15))
            )
        if w.maybe(0.5):
            solids.append(w.box((0, -0.3, 0), (w.u(0.1, 0.4), wall, w.u(0.1, 0.3))))
    elif pick == 3:
        r, deep = w.u(0.25, 0.5), w.u(0.1, 0.4)
        solids = [
            w.cylinder((0, 0, 0), r, deep),
            w.cylinder((0, wall if w.maybe(0.5) else 0, 0), r - wall, deep * 1.2).cut(),
        ]
        solids = [_posed(s, (90, 0, 0)) for s in solids] if w.maybe(0.5) else solids
        if w.maybe(0.5):
            solids.append(w.box((0, -r, 0), (1, r, 1)).cut())
    else:
        solids = []
        for i in range(w.n(2, 6)):
            at = w.u(-0.45, 0.45)
            solids.append(w.box((at, 0, 0), (wall, 0.4, wall)) if i % 2 else w.box((0, at, 0), (0.4, wall, wall)))
        if w.maybe(0.5):
            solids.append(w.ring((0, 0, 0), 0.42, wall))
    for _ in range(w.n(0, 2)):
        solids.append(w.turned(w.any_solid(w.vec(0.4, 0.4, 0.4), w.u(0.05, 0.2))))
    return solids


def many(w: Words) -> list[Solid]:
    """One part again and again, in a circle, a row or a heap, around a core."""
    solids = [w.any_solid((0, 0, 0), w.u(0.15, 0.35))] if w.maybe(0.8) else []
    size = w.u(0.04, 0.16)
    pick = w.n(0, 2)
    axis = "y" if w.maybe(0.6) else "z"
    if pick == 0:
        for _ in range(w.n(1, 2)):
            at = (0.0, w.u(-0.2, 0.2), w.u(0.2, 0.45)) if axis == "y" else (0.0, w.u(0.2, 0.45), w.u(-0.2, 0.2))
            part = w.any_solid(at, size).blended(w.choice(0.0, 0.03))
            part = part.cut(0.01) if w.maybe(0.25) and solids else part
            solids.append(part.around(w.n(3, 12), axis))
    elif pick == 1:
        count = w.n(2, 7)
        step = w.vec(0.15, 0.15, 0.15)
        start = w.vec(0.3, 0.3, 0.3)
        for i in range(count):
            at = tuple(np.add(start, np.multiply(step, i - count / 2)).tolist())
            solids.append(w.any_solid(at, size * 1.3) if w.maybe(0.2) else w.ball(at, size))
    else:
        for _ in range(w.n(3, 10)):
            solids.append(w.turned(w.any_solid(w.vec(0.4, 0.3, 0.4), size * w.u(0.7, 1.8))))
    return solids


def figure(w: Words) -> list[Solid]:
    """Stands upright: a trunk, a head, arms and legs or a pedestal, a hat."""
    melt = w.choice(0.0, 0.02, 0.05, 0.08)
    trunk = w.u(0.1, 0.22)
    tall = w.u(0.15, 0.32)
    boxy = w.maybe(0.3)
    solids = [
        w.box((0, 0, 0), (trunk, tall, trunk * w.u(0.5, 1.0)), top=w.u(0.6, 1.0))
        if boxy
        else w.ellipsoid((0, 0, 0), (trunk, tall, trunk * w.u(0.6, 1.1)))
    ]
    head = w.u(0.09, 0.25)
    at = (0.0, tall + head * w.u(0.6, 1.1), w.u(-0.03, 0.08))
    radii = (head * w.u(0.7, 1.2), head * w.u(0.8, 1.2), head * w.u(0.7, 1.2))
    solids.append((w.superquadric(at, radii, w.u(2, 6)) if w.maybe(0.5) else w.ellipsoid(at, radii)).blended(melt))
    if w.maybe(0.4):
        solids.append(w.cylinder((0, at[1] + head * 0.6, at[2]), head * w.u(1.0, 1.6), head * w.u(0.05, 0.2)))
        solids.append(w.frustum((0, at[1] + head, at[2]), head, head * w.u(0.2, 1.0), head * w.u(0.3, 0.8)))
    if w.maybe(0.8):
        r = w.u(0.03, 0.09)
        shoulder = (trunk * 0.8, tall * w.u(0.3, 0.8), 0.0)
        elbow = (trunk + w.u(0.05, 0.25), shoulder[1] + w.u(-0.2, 0.1), w.u(-0.1, 0.15))
        hand = (elbow[0] + w.u(-0.1, 0.15), elbow[1] + w.u(-0.2, 0.2), elbow[2] + w.u(-0.05, 0.25))
        for part in (w.rod(shoulder, elbow, r, r * 0.9), w.rod(elbow, hand, r * 0.9, r * w.u(0.7, 1.4))):
            solids.append(part.paired().blended(min(melt, 0.04)))
    if w.maybe(0.7):
        r = w.u(0.04, 0.11)
        hip = (trunk * w.u(0.3, 0.7), -tall * 0.7, 0.0)
        foot = (hip[0] + w.u(-0.02, 0.1), -tall - w.u(0.1, 0.4), w.u(-0.05, 0.08))
        solids.append(w.rod(hip, foot, r, r * w.u(0.6, 1.1)).paired().blended(min(melt, 0.04)))
        solids.append(w.ellipsoid((foot[0], foot[1], foot[2] + 0.05), (r, r * 0.6, r * 1.8)).paired())
    else:
        solids.append(w.frustum((0, -tall, 0), w.u(0.15, 0.3), trunk * 0.8, w.u(0.05, 0.2)).blended(melt))
    for _ in range(w.n(0, 3)):
        part = w.any_solid(w.vec(trunk, tall, 0.2), w.u(0.02, 0.08))
        solids.append(part.paired() if w.maybe(0.5) else part)
    return solids


def worn(w: Words) -> list[Solid]:
    """Long and hollow at one end: shoes, boots, slippers, gloves, helmets."""
    length, wide = w.u(0.35, 0.55), w.u(0.1, 0.2)
    sole = w.superquadric((0, 0, 0), (wide, w.u(0.02, 0.07), length), w.u(2.5, 5))
    melt = w.u(0.02, 0.08)
    solids = [sole]
    toe = w.u(0.06, 0.16)
    solids.append(w.ellipsoid((0, toe * 0.6, length * 0.5), (wide * 0.95, toe, length * 0.48)).blended(melt))
    high = w.u(0.12, 0.6)
    back = length * w.u(0.4, 0.7)
    ankle = (wide * w.u(0.65, 0.9), high, length * w.u(0.25, 0.4))
    solids.append(w.superquadric((0, high * 0.5, -back * 0.8), ankle, w.u(2, 4)).blended(melt))
    solids.append(w.rod((0, high * 0.7, -back * 0.5), (0, toe, length * 0.35), wide * 0.7, wide * 0.5).blended(melt))
    if w.maybe(0.8):
        opening = (ankle[0] * 0.75, high * 0.8, ankle[2] * 0.7)
        solids.append(w.superquadric((0, high * 1.35, -back * 0.85), opening, w.u(2, 4)).cut(0.02))
    if w.maybe(0.3):
        solids.append(w.box((0, -0.05, -back), (wide * 0.6, w.u(0.05, 0.12), length * 0.2)).blended(0.02))
    for _ in range(w.n(0, 4)):
        at = (0.0, toe + w.u(0, 0.2), w.u(-0.1, 0.3) * length)
        solids.append(w.rod((-wide * 0.6, at[1], at[2]), (wide * 0.6, at[1], at[2]), w.u(0.01, 0.025)).blended(0.01))
    return solids


def device(w: Words) -> list[Solid]:
    """Boxes and rounded cases with knobs, slots, screens, lenses and feet."""
    half = (w.u(0.12, 0.5), w.u(0.08, 0.5), w.u(0.04, 0.35))
    case = w.box((0, 0, 0), half) if w.maybe(0.6) else w.superquadric((0, 0, 0), half, w.u(3, 8))
    solids = [case]
    for _ in range(w.n(1, 5)):
        face = w.n(0, 2)
        at = [w.u(-0.7, 0.7) * h for h in half]
        at[face] = half[face] * w.choice(1.0, 1.0, -1.0)
        size = w.u(0.15, 0.7) * min(half[(face + 1) % 3], half[(face + 2) % 3])
        pick = w.n(0, 2)
        turn = ((0, 0, 90), (0, 0, 0), (90, 0, 0))[face]
        place: Vec = (at[0], at[1], at[2])
        if pick == 0:
            part = w.cylinder(place, size, w.u(0.02, 0.15)).turned(*turn)
        elif pick == 1:
            box = [size * w.u(0.4, 1.0)] * 3
            box[face] = w.u(0.02, 0.1)
            part = w.box(place, (box[0], box[1], box[2]))
        else:
            part = w.ball(place, size)
        solids.append(part.cut() if w.maybe(0.45) else part)
    if w.maybe(0.3):
        solids.append(w.rod((half[0] * 0.5, half[1], 0), (half[0] * 0.5, half[1] + w.u(0.1, 0.4), 0), 0.015))
    if w.maybe(0.3):
        handle = w.ring((0, half[1], 0), half[0] * w.u(0.4, 0.9), w.u(0.015, 0.04), opening=180)
        solids.append(handle)
    return solids


KINDS: dict[str, tuple[Callable[[Words], list[Solid]], float]] = {
    "melted": (melted, 7.0),
    "soup": (soup, 3.0),
    "creature": (creature, 4.0),
    "beast": (beast, 5.0),
    "blob": (blob, 3.0),
    "tubes": (tubes, 2.0),
    "ringed": (ringed, 1.0),
    "vessel": (vessel, 1.5),
    "furniture": (furniture, 1.5),
    "vehicle": (vehicle, 1.5),
    "tool": (tool, 1.0),
    "thin": (thin, 1.0),
    "many": (many, 1.5),
    "figure": (figure, 2.0),
    "worn": (worn, 1.0),
    "device": (device, 1.5),
}
"""Programs by name, and how often each is drawn against the others."""
