"""The fitted cameras around the object as a drawing: from above and from its left side, SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from meshwright.types import Array, Camera

__all__ = ["camera_figure", "hull_corners"]

PANEL = 340
MARGIN = 46
TITLE = 18
"""Height of the line above the drawing."""
MOST_LABELS = 12
PROJECTIONS = (
    ("From above (front at the bottom)", np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])),
    ("From the object's left (front at the left)", np.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0]])),
)
"""Title, and world to drawing (x right, y down)."""


def hull_corners(vertices: Array) -> Array:
    """Corners of the convex hull, float32 [K, 3]; of the bounding box where the mesh is flat."""
    from scipy.spatial import ConvexHull, QhullError

    points = np.asarray(vertices, np.float64)
    try:
        corners = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        low, high = points.min(0), points.max(0)
        corners = np.array([np.where([i & 1, i & 2, i & 4], high, low) for i in range(8)])
    return np.asarray(corners, np.float32)


def camera_figure(cameras: Sequence[Camera], corners: Array) -> str:
    """Two SVG elements; colours come from the page (classes `object`, `frame`, `ray`, `eye`, `name`).

    Args:
        cameras: In world coordinates.
        corners: Points whose convex hull is the object's outline, [K, 3].
    """
    centre = (corners.min(0) + corners.max(0)) / 2
    frusta = [_frustum(camera, centre) for camera in cameras]
    everything = np.concatenate([corners, *frusta])
    reach = max(float(np.abs((everything - centre) @ axes.T).max()) for _, axes in PROJECTIONS)
    scale = (PANEL / 2 - MARGIN) / max(reach, 1e-9)
    return "".join(_panel(title, axes * scale, cameras, frusta, corners, centre) for title, axes in PROJECTIONS)


def _panel(
    title: str, axes: Array, cameras: Sequence[Camera], frusta: Sequence[Array], corners: Array, centre: Array
) -> str:
    middle = np.array([PANEL / 2, PANEL / 2 + TITLE])

    def place(points: Array) -> Array:
        placed: Array = (points - centre) @ axes.T + middle
        return placed

    parts = [f'<polygon class="object" points="{_points(_outline(place(corners)))}"/>']
    for frustum in frusta:
        eye, *frame = place(frustum)
        parts.append(f'<polygon class="frame" points="{_points(np.array(frame))}"/>')
        parts += [
            f'<line class="ray" x1="{eye[0]:.1f}" y1="{eye[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"/>'
            for end in frame
        ]
        parts.append(f'<circle class="eye" cx="{eye[0]:.1f}" cy="{eye[1]:.1f}" r="3"/>')
    if len(cameras) <= MOST_LABELS:
        parts += _labels([camera.name for camera in cameras], [place(frustum[:1])[0] for frustum in frusta], middle)
    said = f"The fitted cameras around the object. {title}"
    return (
        f'<svg viewBox="0 0 {PANEL} {PANEL + TITLE}" role="img" aria-label="{escape(said)}">'
        f'<text x="{PANEL / 2}" y="12">{escape(title)}</text>{"".join(parts)}</svg>'
    )


def _frustum(camera: Camera, centre: Array) -> Array:
    """The eye and the four corners of its frame a third of the way to the object, [5, 3]."""
    away = 0.33 * float(np.linalg.norm(camera.position - centre))
    pixels = np.array([[0, 0], [camera.width, 0], [camera.width, camera.height], [0, camera.height]])
    return np.concatenate([camera.position[None], camera.unproject(pixels, np.full(4, away))])


def _labels(names: Sequence[str], eyes: Sequence[Array], middle: Array) -> list[str]:
    """Names outside of their cameras; those that look along the drawing's own direction share a line at the foot."""
    parts, facing = [], []
    for name, eye in zip(names, eyes, strict=True):
        outward = eye - middle
        length = float(np.linalg.norm(outward))
        if length < 24:
            facing.append(name)
            continue
        at = eye + outward / length * 14 + np.array([0, 4])
        half = 3.4 * len(name)
        x = float(np.clip(at[0] + half * outward[0] / length, half + 2, PANEL - half - 2))
        parts.append(f'<text class="name" x="{x:.1f}" y="{at[1]:.1f}">{escape(name)}</text>')
    if facing:
        said = escape(", ".join(facing)) + (" looks" if len(facing) == 1 else " look") + " along this direction"
        parts.append(f'<text x="{PANEL / 2}" y="{PANEL + TITLE - 4}">{said}</text>')
    return parts


def _outline(points: Array) -> Array:
    """Convex hull of points in the plane, in order (Andrew's monotone chain)."""
    ordered = sorted({(round(float(x), 2), round(float(y), 2)) for x, y in points})
    if len(ordered) < 3:
        return np.array(ordered)

    def chain(sequence: list[tuple[float, float]]) -> list[tuple[float, float]]:
        kept: list[tuple[float, float]] = []
        for point in sequence:
            while len(kept) > 1:
                (ax, ay), (bx, by) = kept[-2:]
                if (bx - ax) * (point[1] - ay) - (by - ay) * (point[0] - ax) > 0:
                    break
                kept.pop()
            kept.append(point)
        return kept[:-1]

    return np.array(chain(ordered) + chain(ordered[::-1]))


def _points(points: Array) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
