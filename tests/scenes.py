"""Exact scenes: solids whose silhouettes, depth and colours follow from one ray equation each, in float64 NumPy.

No mesh, no rasteriser and no voxel: what the tests compare with is worked out independently of the code under test.
Rays have depth 1 per unit of their parameter, so a hit's parameter is its z along the optical axis.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy import ndimage

from meshwright.cameras.rigs import DEFAULT_RIG, Rig, rig_cameras
from meshwright.types import Array, Camera, DepthKind, DepthMap, MaskSource, View, ViewSet

Paint = Callable[[Array], Array]
"""World points [N, 3] to linear RGB [N, 3]."""


class Solid(Protocol):
    """Anything that a ray enters once and leaves once."""

    def span(self, origin: Array, direction: Array) -> tuple[Array, Array]:
        """Parameters of entry and exit of rays [..., 3]; inf and -inf where a ray misses."""

    def inside(self, points: Array) -> Array:
        """Which points [..., 3] lie inside."""


@dataclass(frozen=True)
class Ellipsoid:
    """Axis-aligned; a sphere where the radii are equal."""

    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    radii: tuple[float, float, float] = (0.4, 0.4, 0.4)

    def span(self, origin: Array, direction: Array) -> tuple[Array, Array]:
        o = (origin - np.array(self.centre)) / np.array(self.radii)
        d = direction / np.array(self.radii)
        a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1
        root = b * b - a * c
        hit = root > 0
        root = np.sqrt(np.where(hit, root, 0))
        return np.where(hit, (-b - root) / a, np.inf), np.where(hit, (-b + root) / a, -np.inf)

    def inside(self, points: Array) -> Array:
        return (((points - np.array(self.centre)) / np.array(self.radii)) ** 2).sum(-1) < 1

    @property
    def volume(self) -> float:
        return float(4 / 3 * np.pi * np.prod(self.radii))


@dataclass(frozen=True)
class Box:
    """Axis-aligned."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]

    def span(self, origin: Array, direction: Array) -> tuple[Array, Array]:
        safe = np.where(np.abs(direction) < 1e-15, 1e-15, direction)
        one, two = (np.array(self.low) - origin) / safe, (np.array(self.high) - origin) / safe
        enter, leave = np.minimum(one, two).max(-1), np.maximum(one, two).min(-1)
        hit = enter < leave
        return np.where(hit, enter, np.inf), np.where(hit, leave, -np.inf)

    def inside(self, points: Array) -> Array:
        return ((points > np.array(self.low)) & (points < np.array(self.high))).all(-1)


@dataclass(frozen=True)
class Dented:
    """A solid with a ball taken out of it: the bowl is seen by depth but, from the side, by no silhouette."""

    whole: Ellipsoid
    ball: Ellipsoid

    def span(self, origin: Array, direction: Array) -> tuple[Array, Array]:
        enter, leave = self.whole.span(origin, direction)
        ball_enter, ball_leave = self.ball.span(origin, direction)
        # The ball opens the solid's surface, so it hides either the entry or the exit of a ray, never its middle only.
        opened = (ball_enter <= enter) & (ball_leave > enter)
        closed = (ball_leave >= leave) & (ball_enter < leave)
        enter, leave = np.where(opened, ball_leave, enter), np.where(closed, ball_enter, leave)
        hit = enter < leave
        return np.where(hit, enter, np.inf), np.where(hit, leave, -np.inf)

    def inside(self, points: Array) -> Array:
        return self.whole.inside(points) & ~self.ball.inside(points)


def pixel_grid(camera: Camera) -> Array:
    """Pixel centres (x, y), float64 [H, W, 2]."""
    return np.stack(np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5), -1)


def first_hit(solids: Sequence[Solid], camera: Camera, pixels: Array) -> Array:
    """z of the first surface behind pixels [..., 2], float64 [...]; inf where there is none."""
    direction = camera.unproject(pixels, np.ones(pixels.shape[:-1])) - camera.position
    return functools.reduce(np.minimum, [solid.span(camera.position, direction)[0] for solid in solids])


def entry_depth(solids: Sequence[Solid], camera: Camera) -> Array:
    """z of the first surface behind pixel centres, float64 [H, W]; inf on background."""
    return first_hit(solids, camera, pixel_grid(camera))


def coverage(solids: Sequence[Solid], camera: Camera, samples: int = 4) -> Array:
    """Share of each pixel that the solids cover, float32 [H, W], from samples^2 rays.

    Only pixels beside a centre that decides otherwise are sampled: solids here are wider than a pixel.
    """
    centre = np.isfinite(entry_depth(solids, camera))
    around = np.ones((3, 3), bool)
    rim = ndimage.binary_dilation(centre, around) & ~ndimage.binary_erosion(centre, around, border_value=1)
    step = (np.arange(samples) + 0.5) / samples - 0.5
    offsets = np.stack(np.meshgrid(step, step), -1).reshape(-1, 2)
    result = centre.astype(np.float32)
    result[rim] = np.isfinite(first_hit(solids, camera, pixel_grid(camera)[rim][:, None] + offsets)).mean(1)
    return result


def grey(points: Array) -> Array:
    """One colour everywhere."""
    return np.full((len(points), 3), 0.4)


def picture(solids: Sequence[Solid], camera: Camera, *, paint: Paint = grey, samples: int = 4) -> View:
    """What the camera sees: colour at pixel centres on white, soft mask, no shading."""
    z = entry_depth(solids, camera)
    seen = np.isfinite(z)
    points = camera.unproject(pixel_grid(camera)[seen], z[seen])
    mask = coverage(solids, camera, samples)
    rgb = np.ones((camera.height, camera.width, 3), np.float32)
    rgb[mask > 0] = paint(points).mean(0)  # rim pixels whose centre just misses
    rgb[seen] = paint(points)
    return View(
        name=camera.name, rgb=rgb, mask=mask, mask_source=MaskSource.ALPHA, background=np.ones_like(rgb), source=""
    )


def with_depth(
    view: View, z: Array, kind: DepthKind, *, encode: Callable[[Array], Array], bits: int = 8, unit: float | None = None
) -> View:
    """The view with a depth render: `encode` maps z of covered pixels to 0..1, which is then rounded to codes."""
    valid = np.isfinite(z)
    codes = 2**bits - 1
    values = np.zeros(z.shape, np.float32)
    values[valid] = np.maximum(np.rint(encode(z[valid]) * codes), 1) / codes
    depth = DepthMap(values=values, valid=valid, step=1 / codes, kind=kind, unit=unit)
    return replace(view, depth=depth)


def disturbed(camera: Camera, scale: float = 1.0, right: float = 0.0, down: float = 0.0) -> Camera:
    """The camera that sees the picture magnified about its centre and then moved, in shares of the width."""
    return replace(
        camera,
        fl_x=camera.fl_x * scale,
        fl_y=camera.fl_y * scale,
        cx=camera.width / 2 + (camera.cx - camera.width / 2) * scale + right * camera.width,
        cy=camera.height / 2 + (camera.cy - camera.height / 2) * scale + down * camera.width,
    )


DISTURBANCES = (
    (1.05, 0.01, -0.015),
    (0.96, -0.02, 0.0),
    (1.0, 0.015, 0.02),
    (0.94, 0.0, -0.01),
    (1.03, -0.01, 0.01),
    (1.06, 0.02, -0.02),
)
"""Scale, shift to the right and down for `disturbed`, view by view: up to 6 %, and 2 % of the width."""


def six(width: int, height: int | None = None, rig: Rig = DEFAULT_RIG) -> tuple[Camera, ...]:
    """Six cameras of a rig for pictures of one size."""
    return rig_cameras(rig, [(width, height or width)] * 6)


def views_of(
    solids: Sequence[Solid], cameras: Sequence[Camera], *, paint: Paint = grey, samples: int = 4, mirrored: str = ""
) -> ViewSet:
    """Pictures from all cameras, one of them flipped left to right if asked for."""
    views = tuple(picture(solids, camera, paint=paint, samples=samples) for camera in cameras)
    return ViewSet(views=tuple(view.mirrored() if view.name == mirrored else view for view in views))


TOOL = (
    Box((-0.27, -0.42, -0.40), (0.02, -0.24, 0.40)),
    Box((0.02, -0.42, 0.08), (0.27, -0.24, 0.28)),
    Box((-0.27, -0.24, -0.40), (-0.07, 0.42, -0.17)),
    Box((-0.17, -0.24, 0.14), (0.02, 0.02, 0.40)),
    Box((-0.07, 0.12, -0.37), (0.22, 0.26, -0.22)),
    Ellipsoid((0.10, -0.17, -0.12), (0.10, 0.20, 0.14)),
)
"""A foot with a toe to its left, a tower at the back, a nose in front, an arm, a belly: no outline has any symmetry.
The bounding box is centred; every picture of the default rig shows all of it."""

FACE = (
    Ellipsoid((0.0, 0.0, 0.0), (0.34, 0.5, 0.38)),
    Ellipsoid((0.0, -0.05, 0.34), (0.1, 0.12, 0.15)),
    Ellipsoid((0.0, 0.3, -0.3), (0.16, 0.12, 0.16)),
)
"""Left and right halves are mirror images; front and back, top and bottom differ."""


def around(count: int, side: int, distance: float = 2.5) -> tuple[Camera, ...]:
    """Cameras on a spiral over the sphere that look at the origin."""
    found = []
    for i in range(count):
        y = 0.9 - 1.8 * i / (count - 1)
        turn = i * np.pi * (3 - 5**0.5)
        back = np.array([np.sqrt(1 - y * y) * np.cos(turn), y, np.sqrt(1 - y * y) * np.sin(turn)])
        right = np.cross([0, 1, 0], back)
        right /= np.linalg.norm(right)
        matrix = np.eye(4)
        matrix[:3, :3] = np.stack([right, np.cross(back, right), back], 1)
        matrix[:3, 3] = distance * back
        found.append(
            Camera(
                name=f"r{i}", camera_to_world=matrix, fl_x=2.2 * side, fl_y=2.2 * side, cx=side / 2, cy=side / 2,
                width=side, height=side,
            )
        )  # fmt: skip
    return tuple(found)
