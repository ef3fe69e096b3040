"""Where the synthetic pictures are taken from. Exact, and stated apart from the code that has to find it.

The six product views of the sample data: perspective, horizontal field of view 26 degrees, aimed at the origin from
distance 2.5, principal point in the middle. In `top` and `bottom` the object's front is at the top of the picture.
"""

from __future__ import annotations

import math

import numpy as np

from meshwright.types import VIEW_NAMES, Array, Camera

__all__ = ["FIELD_OF_VIEW", "look_at_origin", "orbit_cameras", "six_view_cameras"]

FIELD_OF_VIEW = math.radians(26.0)

SIX_VIEWS = {
    "front": ((0, 0, 1), (0, 1, 0)),
    "back": ((0, 0, -1), (0, 1, 0)),
    "left": ((1, 0, 0), (0, 1, 0)),
    "right": ((-1, 0, 0), (0, 1, 0)),
    "top": ((0, 1, 0), (0, 0, 1)),
    "bottom": ((0, -1, 0), (0, 0, 1)),
}
"""Where each camera stands, and which way is up in its picture."""


def look_at_origin(name: str, stand: Array, up: Array, size: int) -> Camera:
    """A square camera of side `size` at `stand` [3], aimed at the origin, `up` [3] pointing up in the picture."""
    back = np.asarray(stand, float) / np.linalg.norm(stand)
    right = np.cross(np.asarray(up, float), back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2], matrix[:3, 3] = right, np.cross(back, right), back, stand
    focal = 0.5 * size / math.tan(0.5 * FIELD_OF_VIEW)
    return Camera(
        name=name,
        camera_to_world=matrix,
        fl_x=focal,
        fl_y=focal,
        cx=size / 2,
        cy=size / 2,
        width=size,
        height=size,
    )


def six_view_cameras(size: int, *, distance: float = 2.5) -> tuple[Camera, ...]:
    """Front, back, left, right, top, bottom."""
    return tuple(
        look_at_origin(name, np.array(SIX_VIEWS[name][0]) * distance, np.array(SIX_VIEWS[name][1]), size)
        for name in VIEW_NAMES
    )


def orbit_cameras(count: int, size: int, *, distance: float = 3.4, seed: int = 0) -> tuple[Camera, ...]:
    """`count` cameras all around, spread evenly over the sphere between 65 degrees up and 65 degrees down."""
    turn = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    golden = math.pi * (3 - math.sqrt(5))
    cameras = []
    for i in range(count):
        y = 0.9 - 1.8 * (i + 0.5) / count
        radius, angle = math.sqrt(1 - y * y), turn + golden * i
        stand = np.array([radius * math.sin(angle), y, radius * math.cos(angle)]) * distance
        cameras.append(look_at_origin(f"r_{i:02d}", stand, np.array([0.0, 1.0, 0.0]), size))
    return tuple(cameras)
