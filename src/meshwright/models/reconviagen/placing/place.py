"""From a generated object in any frame to the frame of the views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from meshwright.device import checking
from meshwright.errors import InputError, OptionError, ShapeError
from meshwright.models.reconviagen.placing.compare import Comparison, Model, Pose, compare
from meshwright.models.reconviagen.placing.descent import descend
from meshwright.models.reconviagen.placing.prepare import prepare
from meshwright.models.reconviagen.placing.rotations import angles_between
from meshwright.models.reconviagen.placing.sightings import Sighting, shrunk, sightings_of, spread_views
from meshwright.models.reconviagen.placing.tangents import Poses, corner_points, search, tangent_planes
from meshwright.types import Array, Camera, Mesh, Monitor, View

__all__ = ["PlaceConfig", "Placement", "place"]


@dataclass(frozen=True, kw_only=True)
class PlaceConfig:
    """How hard the pose is searched for. The defaults take a few seconds on two CPU cores."""

    image_size: int = 192
    """Long side of the views that the pose is made exact on, in pixels."""
    rotations: int = 12_000
    """Rotations that are tried: any other is within 9 degrees of one of them."""
    candidates: int = 96
    """Poses that touch the outlines equally well and are rendered."""
    views: int = 12
    """Views that are looked at, those from the most different sides."""
    use_depth: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not 64 <= self.image_size <= 2048:
            raise OptionError(f"image_size={self.image_size} is out of range.", hint="Use 64 to 2048 pixels.")
        for name, least in (("rotations", 500), ("candidates", 1), ("views", 1)):
            if getattr(self, name) < least:
                raise OptionError(f"{name}={getattr(self, name)} is below {least}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """Where an object belongs.

    Attributes:
        matrix: From the mesh's own frame to the views' frame, float64 [4, 4]: a rotation times a scale, and an offset.
        mesh: The mesh in the views' frame.
        report: JSON-able: overlap of the outlines per view, errors of colour and depth, the runners-up.
        warnings: Plain sentences, where the fit is bad or another orientation fits as well.
    """

    matrix: Array
    mesh: Mesh
    report: dict[str, object]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Candidate:
    pose: Pose
    judged: Comparison


def place(
    mesh: Mesh,
    views: Sequence[View],
    cameras: Sequence[Camera],
    *,
    colours: Array | None = None,
    monitor: Monitor,
    device: str,
    config: PlaceConfig = PlaceConfig(),
) -> Placement:
    """Find orientation, scale and offset of an object from the outlines, colours and depth renders of its views.

    Args:
        mesh: The object in any frame and unit, of any number of faces; it may differ somewhat from what the views show.
        views: With masks; depth renders are used where there are any.
        cameras: One per view, in pixels of its picture.
        colours: sRGB per vertex, uint8 [N, 3]. They decide where outlines leave several orientations.
        monitor: For progress over this step, and cancellation.
        device: "cpu" or a CUDA device.
        config: See `PlaceConfig`.
    Raises:
        InputError: The outlines say too little: no view shows the whole object against a background.
        ShapeError: Mesh, colours, views and cameras do not fit together.
    """
    if len(views) != len(cameras) or not views:
        raise ShapeError(f"{len(views)} views and {len(cameras)} cameras do not fit together.")
    with checking(monitor.check):
        return _place(mesh, views, cameras, colours, monitor, device, config)


def _place(
    mesh: Mesh,
    views: Sequence[View],
    cameras: Sequence[Camera],
    colours: Array | None,
    monitor: Monitor,
    device: str,
    config: PlaceConfig,
) -> Placement:
    monitor.report(0, "Looking at the outlines")
    chosen = spread_views(cameras, config.views)
    seen, posed = [views[i] for i in chosen], [cameras[i] for i in chosen]
    fine = sightings_of(seen, posed, config.image_size, depth=config.use_depth)
    prepared = prepare(mesh, colours)
    planes = tangent_planes([s.mask for s in fine], [s.camera for s in fine])
    if not planes.enough:
        raise InputError(
            "The object cannot be placed: no view shows its whole outline.",
            hint="Give pictures with a plain background or an alpha channel that do not cut the object off.",
        )
    monitor.report(15, "Trying orientations")
    points = corner_points(prepared.model.vertices[np.unique(prepared.model.faces)])
    poses = search(points, planes, rotations=config.rotations, kept=4 * config.candidates)
    monitor.report(40, "Comparing renders with the views")
    found = _chosen(prepared.model, poses, fine, device, config)
    matrix = np.eye(4)
    best = found[0].pose
    matrix[:3, :3] = best.scale / prepared.size * best.rotation
    matrix[:3, 3] = best.offset - matrix[:3, :3] @ prepared.middle
    placed = np.asarray(mesh.vertices, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    report, warnings = _told(found, [view.name for view in seen], poses, prepared.dropped)
    return Placement(
        matrix=matrix,
        mesh=Mesh(vertices=placed.astype(np.float32), faces=mesh.faces),
        report=report,
        warnings=warnings,
    )


_LEVELS = (
    # what the size of the pictures is divided by, most candidates, how much worse than the best, steps of descent
    (3, 24, (1.5, 0.03), 5),
    (2, 8, (1.35, 0.02), 5),
    (1, 3, (1.2, 0.01), 8),
)
"""Coarse to fine. A candidate goes on if its score is up to so many times the best one's, and so much more."""
_APART = 8.0
"""Degrees: closer candidates are one and the same."""


def _chosen(model: Model, poses: Poses, fine: list[Sighting], device: str, config: PlaceConfig) -> list[_Candidate]:
    """The best pose and others that were made exact, the best first."""
    poses_left = [
        Pose(rotation=poses.rotation[i], scale=float(poses.scale[i]), offset=poses.offset[i])
        for i in range(min(len(poses), config.candidates))
    ]
    found: list[_Candidate] = []
    for factor, most, (times, more), steps in _LEVELS:
        level = shrunk(fine, factor)
        found = _distinct(_judged(model, poses_left, level, device))
        found = [c for c in found if c.judged.score < times * found[0].judged.score + more][:most]
        moved = [descend(model, candidate.pose, level, device, steps=steps) for candidate in found]
        # Samples of a pixel are few: what descended may look worse than before, and then it goes on from there.
        found = _distinct(found + _judged(model, moved, level, device))
        poses_left = [candidate.pose for candidate in found]
    return found


def _judged(model: Model, poses: Sequence[Pose], level: Sequence[Sighting], device: str) -> list[_Candidate]:
    return [_Candidate(pose=pose, judged=compare(model, pose, level, device)) for pose in poses]


def _distinct(candidates: list[_Candidate]) -> list[_Candidate]:
    """The best first; of those that are nearly turned alike only the best."""
    kept: list[_Candidate] = []
    for candidate in sorted(candidates, key=lambda candidate: candidate.judged.score):
        if all(angles_between(candidate.pose.rotation, other.pose.rotation) > _APART for other in kept):
            kept.append(candidate)
    return kept


_POOR = 0.85
"""Mean overlap below which an object is not that of the views, or was generated badly."""
_TIE = 0.01
"""Scores closer than this cannot be told apart."""


def _told(
    found: list[_Candidate], names: list[str], poses: Poses, dropped: int
) -> tuple[dict[str, object], tuple[str, ...]]:
    """Report and warnings."""
    best = found[0]
    overlap = float(np.mean(best.judged.overlap))
    report: dict[str, object] = {
        "outline_overlap": round(overlap, 4),
        "views": {name: round(value, 4) for name, value in zip(names, best.judged.overlap, strict=True)},
        "colour_error": None if best.judged.colour is None else round(best.judged.colour, 4),
        "depth_error": None if best.judged.depth is None else round(best.judged.depth, 4),
        "orientations_by_outline": len(poses),
        "runners_up": [
            {
                "degrees_away": round(float(angles_between(c.pose.rotation, best.pose.rotation)), 1),
                "score": round(c.judged.score, 4),
            }
            for c in found[1:]
        ],
        "score": round(best.judged.score, 4),
        "dropped_parts": dropped,
    }
    warnings = []
    if overlap < _POOR:
        worst = int(np.argmin(best.judged.overlap))
        warnings.append(
            f"The generated object fits the outlines badly: it shares {overlap:.0%} with them on average, "
            f"{best.judged.overlap[worst]:.0%} in view {names[worst]}."
        )
    ties = [c for c in found[1:] if c.judged.score < best.judged.score + _TIE]
    if ties:
        away = float(angles_between(ties[0].pose.rotation, best.pose.rotation))
        warnings.append(
            f"How the generated object is turned is not certain: by {away:.0f} degrees more it fits the views as well."
        )
    return report, tuple(warnings)
