"""From depth renders to depth in world units on the pictures' pixels, with normals and trust."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from meshwright.device import map_threads
from meshwright.geometry.depth.agree import LaidDepth, agree
from meshwright.geometry.depth.meaning import DepthMeaning, Extremes, explain, extremes, in_front, judged, metric_unit
from meshwright.geometry.depth.register import Registration, lay_onto, register
from meshwright.geometry.depth.smooth import dequantise
from meshwright.geometry.volume import Volume, march
from meshwright.geometry.working import WorkingViews, box_around
from meshwright.types import Array, Camera, DepthKind, DepthMap, View

__all__ = ["PreparedDepth", "prepare_depth"]

_FIT_SHRINK = 3
"""The hull's entry depth for the fit is marched on every third pixel."""
_MISFIT = 0.06
"""A render whose rows miss the hull by more than this share of the object's size means something else: left out."""


_SET_MISFIT = 0.022
"""Half of the renders missing by more than this say that the set is noise, or of another object: each of them may fit
by accident. Measured medians: true sets of 17 objects, disturbed ones included, up to 0.015 (a mug, whose inside
no outline shows), noise within true outlines from 0.031."""
_ENOUGH_TO_COMPARE = 3


_OVERLAP = 0.85
_OUTLINE_ERROR = 0.008
"""A render whose outline, registered, overlaps with the picture's by less and lies off by more (mean, share of the
width) shows something else. Measured: true renders at least 0.94 (spectacles, all rims: 0.88) and at most 0.0048,
renders of other objects at most 0.73 and at least 0.0115."""


_EXPECTED_MISFIT = 0.006
"""Renders that are consistent with their silhouettes miss the hull's touching points by up to this (object sides)."""


_CONTRADICTION = 0.0015
"""Renders whose rows lie in front of the hull by more than this on average (object sides) contradict it: noise, codes
and grazing rows of renders that fit give less."""
_TERRACES = 2e-3
"""A code that is worth more than this (object sides) leaves terraces."""
_STEEP = 6e-3
"""A code that is worth more than this leaves terraces whose slopes mislead."""


@dataclass(frozen=True, kw_only=True)
class PreparedDepth:
    """Depth as the fusion kernel takes it.

    Attributes:
        surface: z (0 where unknown) and the normal in camera axes, float32 [V, H, W, 4].
        trust: float32 [V, H, W], 0..1: low beside depth edges and on grazing surface.
        band: How far each view's depth may be off, world units, float32 [V].
        slack: How far in front of its surface each view still leaves the hull alone, world units, float32 [V]: above 0
            only for renders that contradict the silhouettes.
        report: JSON-able: registration, kind, affine and misfit of each view.
        warnings: Plain sentences.
        kinds: What the numbers of each view mean; None where its depth is not used.
        unit, unit_error: See `Agreement`.
    """

    surface: Array
    trust: Array
    band: Array
    slack: Array
    report: list[dict[str, object]]
    warnings: tuple[str, ...]
    kinds: tuple[DepthKind | None, ...]
    unit: float | None = None
    unit_error: float = 0.0


def prepare_depth(
    views: Sequence[View], working: WorkingViews, hull: Volume, *, given_cameras: bool, rig_frame: bool, device: str
) -> PreparedDepth | None:
    """Register, explain, reconcile and smooth the depth renders; None where no view has one.

    Terraces that are steep are smoothed before views are reconciled, finer ones after it.
    Where none of them is usable the report is empty, and the warnings say why.

    Args:
        views: The views, in the order of `working`.
        working: Their silhouettes at the working size.
        hull: The visual hull.
        given_cameras: The cameras' units are the user's: metric depth with a unit is used as it is.
        rig_frame: The cameras are exactly a rig's, whose unit is the object's longest side.
        device: Warp device.
    """
    size = float(max(hull.field.shape)) * hull.cell
    if all(view.depth is None for view in views):
        return None

    def lay(item: tuple[View, Camera, Array, Array]) -> _Laid | None:
        view, camera, outline, mask = item
        if view.depth is None or not view.depth.valid.any():
            return None
        registration = register(view.depth, outline[: camera.height, : camera.width])
        values, valid = lay_onto(view.depth, registration, camera.width, camera.height)
        inside = mask > 0.5
        overlap = float((valid & inside).sum()) / max(1, int((valid | inside).sum()))
        valid &= inside
        if valid.sum() < 50:
            return None
        small = camera.resized(max(8, camera.width // _FIT_SHRINK), max(8, camera.height // _FIT_SHRINK))
        met = march(hull, small, device)
        rows = ((np.arange(small.height) + 0.5) * camera.height / small.height).astype(int)
        columns = ((np.arange(small.width) + 0.5) * camera.width / small.width).astype(int)
        picked = np.ix_(rows, columns)
        laid = LaidDepth(camera=camera, values=values, valid=valid)
        touching = extremes(values[picked], valid[picked], met.entry, met.leave)
        foreign = overlap < _OVERLAP and registration.error > _OUTLINE_ERROR * camera.width
        return _Laid(depth=laid, registration=registration, touching=touching, overlap=overlap, foreign=foreign)

    items = list(zip(views, working.cameras, working.outline, working.masks, strict=True))
    laid = map_threads(lay, items, device=device)
    own = [None if entry is None or entry.foreign else entry for entry in laid]
    meanings = _meanings(views, own, size, given_cameras=given_cameras, rig_frame=rig_frame)
    report: list[dict[str, object]] = []
    kept, warnings = _choose(views, laid, meanings, size, given_cameras=given_cameras)
    if not kept:
        nothing = np.zeros((len(views), *working.outline.shape[1:], 4), np.float32)
        none = np.zeros(len(views), np.float32)
        return PreparedDepth(
            surface=nothing,
            trust=nothing[..., 0],
            band=none,
            slack=none,
            report=[],
            warnings=tuple(warnings),
            kinds=(None,) * len(views),
        )

    def evened(index: int) -> _Laid:
        return _evened(_laid(laid, index), _meaning(meanings, index), _given(views, index).step, size, device)

    for index, entry in zip(kept, map_threads(evened, kept, device=device), strict=True):
        laid[index] = entry
    unit, unit_error = None, 0.0
    free = [i for i in kept if not (given_cameras and _known_unit(views[i]))]
    if free and len(free) == len(kept):
        agreement = agree(
            [_laid(laid, i).depth for i in kept],
            [_meaning(meanings, i) for i in kept],
            [_laid(laid, i).touching for i in kept],
            size=size,
            free_frame=not rig_frame,
        )
        final, unit, unit_error = agreement.meanings, agreement.unit, agreement.unit_error
        if rig_frame:
            final = [_snapped(m) for m in final]
        for index, meaning in zip(kept, final, strict=True):
            meanings[index] = judged(meaning, _laid(laid, index).touching)
    height, width = working.outline.shape[1:]
    surface = np.zeros((len(views), height, width, 4), np.float32)
    trust = np.zeros((len(views), height, width), np.float32)
    band = np.full(len(views), 1e-3 * size, np.float32)
    slack = np.zeros(len(views), np.float32)

    def finish(index: int) -> None:
        entry = _laid(laid, index)
        render, registration = entry.depth, entry.registration
        meaning = _meaning(meanings, index)
        values, code = render.values, _given(views, index).step
        step = _step(render, meaning, code)
        if not entry.even and step > _TERRACES * size:
            values = dequantise(values, render.valid, code, device=device)
        # All around it stays 0: memory that nobody writes to costs nothing.
        box = box_around(render.valid, 2)
        z = np.where(render.valid[box], meaning.z(values[box]), 0.0).astype(np.float32)
        surface[index, ..., 0][box] = z
        surface[index, ..., 1:][box], trust[index][box] = _normals(z, render.valid[box], render.camera, box)
        band[index] = max(1e-3 * size, 0.5 * step, 0.5 * meaning.error)
        # Depth behind the hull is a hollow; only depth in front of it contradicts the silhouettes.
        if in_front(meaning, entry.touching) > _CONTRADICTION * size:
            slack[index] = max(0.0, meaning.error - _EXPECTED_MISFIT * size)
        report.append(
            {
                "view": views[index].name,
                "kind": meaning.words,
                "a": round(meaning.a, 6),
                "b": round(meaning.b, 6),
                "misfit": round(meaning.error / size, 5),
                "registration_scale": [round(float(s), 5) for s in registration.scale],
                "registration_offset_pixels": [round(float(s), 2) for s in registration.offset],
                "registration_error_pixels": round(registration.error, 2),
            }
        )

    map_threads(finish, kept, device=device)
    order = {view.name: i for i, view in enumerate(views)}
    report.sort(key=lambda row: order[str(row["view"])])
    return PreparedDepth(
        surface=surface,
        trust=trust,
        band=band,
        slack=slack,
        report=report,
        warnings=tuple(warnings),
        kinds=tuple(_meaning(meanings, i).kind if i in kept else None for i in range(len(views))),
        unit=unit,
        unit_error=unit_error,
    )


@dataclass(frozen=True, kw_only=True)
class _Laid:
    """A depth render on its picture, and where its rows and columns touch the hull."""

    depth: LaidDepth
    registration: Registration
    touching: Extremes
    overlap: float
    """Intersection over union with the picture's mask."""
    foreign: bool
    """Its outline is not the picture's: another object, or no object at all."""
    even: bool = False
    """It has no terraces any more."""


def _evened(laid: _Laid, meaning: DepthMeaning, step: float, size: float, device: str) -> _Laid:
    """The same without terraces, if they are steep.

    Before views are brought into agreement: such terraces have the wrong slopes, all of them face the camera, and the
    wrong points meet. Measured on the four objects of the benchmark, with codes of 0.01 (object sides): the surface
    lies 0.0006 too far out where views agreed on terraces, 0.0002 where on what is between the codes. Codes of 0.004
    do as well without, and disturbed views then agree better on what they really say.
    """
    render = laid.depth
    if _step(render, meaning, step) <= _STEEP * size:
        return laid
    values = dequantise(render.values, render.valid, step, device=device)
    return replace(laid, depth=replace(render, values=values), even=True)


def _step(render: LaidDepth, meaning: DepthMeaning, step: float) -> float:
    """What a code of a render is worth where it typically lies, in world units."""
    return meaning.step_size(step, float(meaning.z(np.median(render.values[render.valid]))))


def _choose(
    views: Sequence[View],
    laid: Sequence[_Laid | None],
    meanings: Sequence[DepthMeaning | None],
    size: float,
    *,
    given_cameras: bool,
) -> tuple[list[int], list[str]]:
    """Which views' depth is used, and a sentence about every other one."""
    kept: list[int] = []
    reasons: dict[int, str] = {}
    misfits: list[float] = []
    for index, view in enumerate(views):
        entry, meaning = laid[index], meanings[index]
        if view.depth is None:
            continue
        if entry is not None and entry.foreign:
            reasons[index] = (
                f"its outline is not the picture's, however it is moved and scaled (they share {entry.overlap:.0%})"
            )
        elif entry is None or meaning is None:
            reasons[index] = "it shows too little"
        else:
            misfit = meaning.error / size
            # A unit that the user gave is not found by agreement: it needs nobody to vouch for it.
            if not (given_cameras and _known_unit(view)):
                misfits.append(misfit)
            if misfit > _MISFIT:
                reasons[index] = f"it contradicts the silhouettes (misfit {misfit:.0%} of the object's size)"
            else:
                kept.append(index)
    if len(misfits) >= _ENOUGH_TO_COMPARE and float(np.median(misfits)) > _SET_MISFIT:
        for index in kept:
            reasons[index] = "most depth renders of this set contradict the silhouettes, and no view can vouch for it"
        kept = []
    return kept, [f"The depth of view {views[i].name} is not used: {reason}." for i, reason in sorted(reasons.items())]


def _known_unit(view: View) -> bool:
    return view.depth is not None and view.depth.kind is DepthKind.METRIC and view.depth.unit is not None


def _given(views: Sequence[View], index: int) -> DepthMap:
    depth = views[index].depth
    assert depth is not None
    return depth


def _laid(laid: Sequence[_Laid | None], index: int) -> _Laid:
    entry = laid[index]
    assert entry is not None
    return entry


def _meaning(meanings: Sequence[DepthMeaning | None], index: int) -> DepthMeaning:
    meaning = meanings[index]
    assert meaning is not None
    return meaning


def _meanings(
    views: Sequence[View],
    laid: Sequence[_Laid | None],
    size: float,
    *,
    given_cameras: bool,
    rig_frame: bool,
) -> list[DepthMeaning | None]:
    """First meaning of every render: metric ones share a unit, the others are explained by the hull."""
    metric = [i for i, v in enumerate(views) if laid[i] is not None and v.depth and v.depth.kind is DepthKind.METRIC]
    others = [None if i in metric or entry is None else entry.touching for i, entry in enumerate(laid)]
    kinds = [DepthKind.AUTO if v.depth is None or i in metric else v.depth.kind for i, v in enumerate(views)]
    meanings = explain(others, kinds)
    if metric:
        unit = metric_unit([_laid(laid, i).touching for i in metric])
        for index in metric:
            depth = _given(views, index)
            a = depth.unit if given_cameras and depth.unit is not None else unit
            data = _laid(laid, index).touching
            meanings[index] = judged(DepthMeaning(kind=DepthKind.METRIC, a=a, b=0.0), data)
        worst = max((_meaning(meanings, i).error for i in metric), default=0.0)
        if worst > 0.5 * _MISFIT * size and not given_cameras:
            # 16 bits do not make depth metric: let the hull say what it is.
            fallback = explain(
                [_laid(laid, i).touching if i in metric else None for i in range(len(views))],
                [DepthKind.AUTO] * len(views),
            )
            for index in metric:
                meanings[index] = fallback[index]
    return meanings


def _snapped(meaning: DepthMeaning) -> DepthMeaning:
    """Metric depth rendered by a rig is stored in a round unit: take it where the fit says so within 0.3 %."""
    if meaning.kind is not DepthKind.METRIC:
        return meaning
    for codes in (65535.0, 255.0):
        per_code = meaning.a / codes
        round_unit = 10.0 ** round(math.log10(per_code))
        if abs(per_code / round_unit - 1) < 3e-3:
            return replace(meaning, a=round_unit * codes)
    return meaning


def _normals(z: Array, valid: Array, camera: Camera, box: tuple[slice, slice]) -> tuple[Array, Array]:
    """Unit normals in camera axes float32 [h, w, 3] of a part of a depth image, and trust [h, w].

    One-sided differences on the side where depth changes less keep normals right beside edges.

    Args:
        z: float32 [h, w], 0 where not valid.
        valid: bool [h, w].
        camera: Of the whole image.
        box: Which part of it this is, with two pixels around what is valid, where the image has them.
    """
    x = ((np.arange(camera.width) + 0.5 - camera.cx) / camera.fl_x).astype(np.float32)[box[1]]
    y = ((camera.cy - np.arange(camera.height) - 0.5) / camera.fl_y).astype(np.float32)[box[0], None]
    return _normals_in_box(z, valid, x, y, camera)


def _normals_in_box(z: Array, valid: Array, x: Array, y: Array, camera: Camera) -> tuple[Array, Array]:
    def difference(axis: int) -> Array:
        ahead = np.roll(z, -1, axis) - z
        behind = np.roll(ahead, 1, axis)
        ahead_ok = np.roll(valid, -1, axis) & valid
        behind_ok = np.roll(valid, 1, axis) & valid
        steep_ahead, steep_behind = np.abs(ahead), np.abs(behind)
        calm = np.where(steep_ahead < 3 * steep_behind, ahead, behind)
        both = (steep_ahead < 3 * steep_behind) & (steep_behind < 3 * steep_ahead)
        calm = np.where(both, (ahead + behind) / 2, calm)
        return np.where(ahead_ok & behind_ok, calm, np.where(ahead_ok, ahead, np.where(behind_ok, behind, 0.0)))

    dx, dy = difference(1), difference(0)
    # Surface point P = (x z, y z, -z); its derivatives along columns and rows span the tangent plane. Of their cross
    # product all that has two differences in it cancels, but for what points along z.
    width, height = z / np.float32(camera.fl_x), z / np.float32(camera.fl_y)
    parts = (height * dx, -width * dy, width * height + x * dx * height - y * dy * width)
    smooth = tuple(ndimage.uniform_filter(part * valid, 3) for part in _unit(parts))
    normal = np.stack(_unit(smooth, 1e-9), -1)
    toward = np.sqrt(x * x + y * y + 1)
    cosine = np.clip((normal[..., 2] - x * normal[..., 0] - y * normal[..., 1]) / toward, 0.0, 1.0)
    # Two pixels from an edge depth is as good as anywhere; on it, it may be a mixture.
    limit = 6 * width / np.maximum(cosine, 0.15)
    jump = np.zeros(z.shape, bool)
    for axis in (0, 1):
        step = np.abs(np.diff(z, axis=axis))
        edge = step > np.minimum(limit[1:] if axis == 0 else limit[:, 1:], limit[:-1] if axis == 0 else limit[:, :-1])
        jump |= np.pad(edge, [(0, 1), (0, 0)] if axis == 0 else [(0, 0), (0, 1)])
        jump |= np.pad(edge, [(1, 0), (0, 0)] if axis == 0 else [(0, 0), (1, 0)])
    sure = np.clip(cosine / 0.35, 0.05, 1.0) * np.maximum(_inner(valid & ~jump), 0.1)
    return normal, np.where(valid, sure, 0.0)


def _unit(parts: tuple[Array, ...], least: float = 1e-20) -> tuple[Array, ...]:
    """Vectors of length one, or 0 where they are shorter than `least`, by components."""
    x, y, z = parts
    length = np.maximum(np.sqrt(x * x + y * y + z * z), np.float32(least))
    return x / length, y / length, z / length


def _inner(region: Array) -> Array:
    """Half the distance to the nearest pixel outside of the region, at most 1, float32 [H, W]."""
    held = np.pad(region, 1, constant_values=True)
    sides = held[:-2, 1:-1] & held[2:, 1:-1] & held[1:-1, :-2] & held[1:-1, 2:]
    corners = held[:-2, :-2] & held[:-2, 2:] & held[2:, :-2] & held[2:, 2:]
    near = np.where(sides, np.where(corners, 1.0, np.sqrt(0.5)), 0.5)
    return np.where(region, near, 0.0).astype(np.float32)
