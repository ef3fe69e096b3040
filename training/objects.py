"""Random objects, packed as the kernels of `fields` take them; drawn in processes of their own, ahead of need."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from meshwright.synth.field import bound_slope, bounding_ball
from meshwright.synth.paint import hex_to_linear
from meshwright.synth.solids import Join, Paint, Solid, SynthObject
from training.eyes import HALF, cameras
from training.kinds import KINDS
from training.words import Words

__all__ = ["DATA_VERSION", "HALF", "Packed", "draw", "pack", "stream"]

DATA_VERSION = 3
"""Rises whenever the same seed would give other objects."""

# The layouts of SolidData, PaintData, BodyData and LightData. Written out, because workers must not load Warp.
_F = np.float32
SOLID = np.dtype(
    [("shape", "<i4"), ("join", "<i4"), ("both_sides", "<i4"), ("copies", "<i4"), ("copy_axis", "<i4"),
     ("paint", "<i4"), ("to_local", _F, (3, 3)), ("at", _F, 3), ("home", _F), ("size", _F, 4), ("edge", _F),
     ("seam", _F), ("bound_centre", _F, 3), ("bound_radius", _F), ("bound_slope", _F)]
)  # fmt: skip
PAINT = np.dtype(
    [("pattern", "<i4"), ("colour_a", _F, 3), ("colour_b", _F, 3), ("colour_c", _F, 3), ("scale", _F),
     ("direction", _F, 3), ("across", _F, 3), ("duty", _F), ("mottle", _F), ("seed", "<i4")]
)  # fmt: skip
BODY = np.dtype(
    [("first", "<i4"), ("last", "<i4"), ("first_paint", "<i4"), ("turn", _F, (3, 3)), ("reach", _F), ("twist", _F),
     ("bend", _F), ("ripple", _F), ("wave_a", _F, 3), ("wave_b", _F, 3), ("caution", _F)]
)  # fmt: skip
LIGHT = np.dtype(
    [("above", _F, 3), ("below", _F, 3), ("lamp", _F, 3), ("lamp_colour", _F, 3), ("gloss", _F), ("crease", _F)]
)


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Objects as records: `solids` [S], `paints` [P], `bodies` [B], `lights` [B], `eyes` [B, 6], and their `kinds`."""

    solids: np.ndarray
    paints: np.ndarray
    bodies: np.ndarray
    lights: np.ndarray
    eyes: np.ndarray
    kinds: tuple[str, ...]


def draw(rng: np.random.Generator, count: int) -> Packed:
    """So many random objects."""
    names = list(KINDS)
    weights = np.array([KINDS[name][1] for name in names])
    parts = []
    for _ in range(count):
        name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        words = Words(rng)
        solids = KINDS[name][0](words)
        # Silhouettes cannot tell a solid that was taken away whole from one that was never there.
        if solids[0].join != Join.ADD:
            solids[0] = replace(solids[0], join=Join.ADD)
        parts.append((name, *_rows(solids, rng), _body(solids, words), _light(words)))
    return _joined(parts, cameras(rng, count, loose=True))


def pack(items: list[SynthObject], seed: int = 0) -> Packed:
    """Given objects, upright and undeformed, in plain light: what validation uses."""
    rng = np.random.default_rng(seed)
    parts = []
    for item in items:
        body = np.zeros((), BODY)
        body["turn"], body["caution"], body["reach"] = np.eye(3), 0.9, _reach(item.solids)
        light = np.zeros((), LIGHT)
        light["above"], light["below"], light["lamp"] = (1.04, 1.05, 1.06), (0.46, 0.45, 0.44), (0, 1, 0)
        light["crease"] = 0.26
        parts.append((item.name, *_rows(item.solids, rng), body, light))
    return _joined(parts, cameras(rng, len(items), loose=False))


def stream(seeds: tuple[int, ...], count: int, first: int = 0, step: int = 1) -> Iterator[Packed]:
    """Endless batches of `count` objects: number `first` and every `step`-th after it. Seeds and number fix each."""
    for number in itertools.count(first, step):
        yield draw(np.random.default_rng([DATA_VERSION, *seeds, number]), count)


class _Stream(torch.utils.data.IterableDataset[Packed]):
    def __init__(self, seeds: tuple[int, ...], count: int, first: int) -> None:
        self.seeds, self.count, self.first = seeds, count, first

    def __iter__(self) -> Iterator[Packed]:
        info = torch.utils.data.get_worker_info()
        worker, step = (0, 1) if info is None else (info.id, info.num_workers)
        return stream(self.seeds, self.count, self.first + worker, step)


def loader(seeds: tuple[int, ...], count: int, workers: int, first: int = 0) -> Iterator[Packed]:
    """Batches from number `first` on in their order, drawn by `workers` processes ahead of need (0: in this one)."""
    extra: dict[str, Any] = {"prefetch_factor": 4, "multiprocessing_context": "fork"} if workers else {}
    data = _Stream(seeds, count, first)
    return iter(torch.utils.data.DataLoader(data, batch_size=None, num_workers=workers, **extra))


def _rows(solids: list[Solid] | tuple[Solid, ...], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    numbers = {paint: i for i, paint in enumerate(dict.fromkeys(solid.paint for solid in solids))}
    rows = np.zeros(len(solids), SOLID)
    for row, solid in zip(rows, solids, strict=True):
        centre, radius, slope = _ball(solid)
        i, j = (2, 0) if solid.copy_axis == 1 else (0, 1)
        row["shape"], row["join"] = int(solid.shape), int(solid.join)
        row["both_sides"], row["copies"], row["copy_axis"] = solid.both_sides, solid.copies, solid.copy_axis
        row["paint"] = numbers[solid.paint]
        row["to_local"] = np.array(solid.axes).T
        row["at"], row["size"] = solid.at, solid.size
        row["home"] = np.arctan2(solid.at[j], solid.at[i])
        row["edge"], row["seam"] = solid.edge, solid.seam
        row["bound_centre"], row["bound_radius"], row["bound_slope"] = centre, radius, slope
    return rows, _paint_rows(numbers, rng)


def _ball(solid: Solid) -> tuple[np.ndarray, float, float]:
    """A ball around the solid, and how fast its formula surely grows outside."""
    if int(solid.shape) < 5:
        centre, radius = bounding_ball(solid)
        return centre, radius, bound_slope(solid)
    x, y, z, _w = solid.size
    at = np.array(solid.at, float)
    if int(solid.shape) == 5:
        # Powers up to infinity reach the corners of the box.
        return at, float(np.linalg.norm([x, y, z])), 0.5 * min(x, y, z) / max(x, y, z)
    if int(solid.shape) == 6:
        return at, float(np.hypot(x, z)), 1.0
    return at, float(np.hypot(max(x, y), z)), 0.7


def _reach(solids: list[Solid] | tuple[Solid, ...]) -> float:
    """The object lies within this distance of the origin."""
    far = [np.linalg.norm(_ball(s)[0]) + _ball(s)[1] + s.seam / 4 for s in solids if s.join == Join.ADD]
    return float(max(far)) * 1.02


def _paint_rows(numbers: dict[Paint, int], rng: np.random.Generator) -> np.ndarray:
    rows = np.zeros(len(numbers), PAINT)
    for paint, i in numbers.items():
        row = rows[i]
        colours = [hex_to_linear(c) for c in (*paint.colours, paint.colours[-1], paint.colours[-1])]
        direction = np.array(paint.direction, float) / np.linalg.norm(paint.direction)
        across = np.cross(direction, (0.0, 0.0, 1.0) if abs(direction[2]) < 0.9 else (1.0, 0.0, 0.0))
        row["pattern"] = paint.pattern
        row["colour_a"], row["colour_b"], row["colour_c"] = colours[:3]
        row["scale"], row["duty"], row["mottle"] = paint.scale, paint.duty, paint.mottle
        row["direction"], row["across"] = direction, across / np.linalg.norm(across)
        row["seed"] = int(rng.integers(1, 1_000_000))
    return rows


def _body(solids: list[Solid], words: Words) -> np.ndarray:
    """How the object stands and is deformed as a whole."""
    body = np.zeros((), BODY)
    reach = _reach(solids)
    body["caution"] = 0.9
    turn = np.eye(3)
    pick = words.u(0, 1)
    if pick < 0.15:
        turn = _about(1, 90.0 * words.n(1, 3))
    elif pick < 0.25:
        turn = _about(1, words.u(0, 360))
    elif pick < 0.37:
        turn = np.linalg.qr(words.rng.normal(size=(3, 3)))[0]
        turn[:, 0] *= np.sign(np.linalg.det(turn))
    body["turn"] = turn
    if words.maybe(0.1):
        body["bend"], body["caution"] = words.u(-0.9, 0.9) / reach, 0.6
    if words.maybe(0.05):
        body["twist"], body["caution"] = words.u(-1.2, 1.2) / reach, 0.6
    if words.maybe(0.25):
        wave = words.log(4, 30) / reach
        amplitude = words.u(0.05, 0.45) / wave
        body["ripple"] = min(amplitude, 0.03 * reach)
        body["wave_a"] = words.rng.normal(size=3) * wave
        body["wave_b"] = words.rng.normal(size=3) * wave
        body["caution"] = min(float(body["caution"]), 0.7)
        reach += float(body["ripple"])
    body["reach"] = reach * (1.5 if body["bend"] != 0 else 1.0)
    return body


def _light(words: Words) -> np.ndarray:
    light = np.zeros((), LIGHT)
    above = words.u(0.5, 1.1)
    tint = 1 + 0.1 * words.rng.uniform(-1, 1, 3)
    light["above"], light["below"] = above * tint, above * words.u(0.25, 1.0) * (2 - tint)
    lamp = words.rng.normal(size=3) + np.array([0.0, 0.7, 0.3])
    light["lamp"] = lamp / np.linalg.norm(lamp)
    light["lamp_colour"] = words.choice(0.0, 0.1, 0.4) * np.ones(3)
    light["gloss"] = words.choice(0.0, 0.0, 0.5)
    light["crease"] = words.u(0.05, 0.35)
    return light


def _about(axis: int, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
    return turn


def _joined(parts: list[tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]], eyes: np.ndarray) -> Packed:
    bodies = np.stack([part[3] for part in parts])
    solids_before = np.cumsum([0, *(len(part[1]) for part in parts)])
    paints_before = np.cumsum([0, *(len(part[2]) for part in parts)])
    bodies["first"], bodies["last"] = solids_before[:-1], solids_before[1:]
    bodies["first_paint"] = paints_before[:-1]
    return Packed(
        solids=np.concatenate([part[1] for part in parts]),
        paints=np.concatenate([part[2] for part in parts]),
        bodies=bodies,
        lights=np.stack([part[4] for part in parts]),
        eyes=eyes,
        kinds=tuple(part[0] for part in parts),
    )
