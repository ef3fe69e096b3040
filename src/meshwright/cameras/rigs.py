"""Rigs: where the six named cameras may stand and which way their pictures are turned.

A name such as `left` does not settle where its camera stood: some tools mean the object's own left, some the viewer's,
and the pictures from above and below come in four turns. `RIGS` lists the 32 combinations; `DEFAULT_RIG` is ours.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from meshwright.errors import OptionError
from meshwright.types import VIEW_NAMES, Array, Camera

__all__ = [
    "DEFAULT_DISTANCE",
    "DEFAULT_FOV_DEGREES",
    "DEFAULT_RIG",
    "RIGS",
    "Rig",
    "default_rig",
    "different_rigs",
    "rig_cameras",
]

DEFAULT_FOV_DEGREES = 26.0
"""Horizontal field of view of every camera of the default rig."""
DEFAULT_DISTANCE = 2.5
"""From the origin to every camera, where the object's longest side is 1."""

_AXES = {"+x": (1.0, 0.0, 0.0), "-x": (-1.0, 0.0, 0.0), "+z": (0.0, 0.0, 1.0), "-z": (0.0, 0.0, -1.0)}


@dataclass(frozen=True, kw_only=True)
class Rig:
    """One hypothesis about six named views.

    Attributes:
        left: Side on which the `left` camera stands: "+x" is the object's own left.
        top_up: World direction that points up in the `top` picture.
        bottom_up: The same for `bottom`.
    """

    left: str = "+x"
    top_up: str = "+z"
    bottom_up: str = "+z"

    def __post_init__(self) -> None:
        if self.left not in ("+x", "-x") or self.top_up not in _AXES or self.bottom_up not in _AXES:
            raise OptionError(
                f"There is no rig {self.left!r}, {self.top_up!r}, {self.bottom_up!r}.",
                hint="left is +x or -x; top and bottom are +x, -x, +z or -z, as in left=+x,top=+z,bottom=-z.",
            )

    @property
    def name(self) -> str:
        """As the command line takes it."""
        return f"left={self.left},top={self.top_up},bottom={self.bottom_up}"

    @property
    def differences(self) -> int:
        """In how many of its three parts it differs from the default."""
        base = Rig()
        return (self.left != base.left) + (self.top_up != base.top_up) + (self.bottom_up != base.bottom_up)

    @classmethod
    def parse(cls, text: str) -> Rig:
        """The rig called `default`, or one written as `name` writes it; missing parts are the default's."""
        parts: dict[str, str] = {}
        for item in () if text == "default" else text.replace(" ", "").split(","):
            key, _, value = item.partition("=")
            field = {"left": "left", "top": "top_up", "bottom": "bottom_up"}.get(key)
            if field is None or not value:
                raise OptionError(
                    f"{text!r} names no rig.", hint="Use auto, default, or for example left=-x,top=-z,bottom=+z."
                )
            parts[field] = value.lower()
        return cls(**parts)

    def directions(self) -> Array:
        """From the origin to the cameras, in the order of VIEW_NAMES, float64 [6, 3]."""
        side = np.array(_AXES[self.left])
        y, z = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
        return np.stack([z, -z, side, -side, y, -y])

    def ups(self) -> Array:
        """World directions that point up in the pictures, float64 [6, 3]."""
        y = (0.0, 1.0, 0.0)
        return np.array([y, y, y, y, _AXES[self.top_up], _AXES[self.bottom_up]])


DEFAULT_RIG = Rig()
RIGS: tuple[Rig, ...] = tuple(
    Rig(left=left, top_up=top, bottom_up=bottom)
    for left, top, bottom in itertools.product(("+x", "-x"), ("+z", "-z", "+x", "-x"), ("+z", "-z", "+x", "-x"))
)


def look_at_origin(direction: Array, up: Array, distance: float) -> Array:
    """Camera-to-world matrix of a camera at `direction * distance` that looks at the origin, float64 [4, 4]."""
    matrix = np.eye(4)
    matrix[:3, 0] = np.cross(up, direction)
    matrix[:3, 1] = up
    matrix[:3, 2] = direction
    matrix[:3, 3] = direction * distance
    return matrix


def rig_cameras(rig: Rig, sizes: Sequence[tuple[int, int]], names: Sequence[str] = VIEW_NAMES) -> tuple[Camera, ...]:
    """The cameras of `rig` for pictures of `sizes` (width, height) that show the views `names`."""
    if len(sizes) != len(names):
        raise OptionError(f"A rig has {len(names)} views, got {len(sizes)}.")
    directions, ups = (dict(zip(VIEW_NAMES, rows, strict=True)) for rows in (rig.directions(), rig.ups()))
    cameras = []
    for name, (width, height) in zip(names, sizes, strict=True):
        direction, up = directions[name], ups[name]
        focal = 0.5 * width / math.tan(math.radians(DEFAULT_FOV_DEGREES) / 2)
        cameras.append(
            Camera(
                name=name,
                camera_to_world=look_at_origin(direction, up, DEFAULT_DISTANCE),
                fl_x=focal,
                fl_y=focal,
                cx=width / 2,
                cy=height / 2,
                width=width,
                height=height,
            )
        )
    return tuple(cameras)


def default_rig(sizes: Sequence[tuple[int, int]], names: Sequence[str] = VIEW_NAMES) -> tuple[Camera, ...]:
    """The cameras of `DEFAULT_RIG` for pictures of `sizes` (width, height) that show the views `names`."""
    return rig_cameras(DEFAULT_RIG, sizes, names)


def different_rigs(names: Sequence[str], rigs: Sequence[Rig] = RIGS) -> tuple[Rig, ...]:
    """Those of `rigs` that differ in how the views `names` stand to each other: no pictures tell the others apart.

    Of rigs that place these views alike, or alike but for a turn of the whole, the one nearest to the default stands.
    """
    chosen = [VIEW_NAMES.index(name) for name in names]
    kept: dict[bytes, Rig] = {}
    for rig in sorted(rigs, key=lambda rig: rig.differences):
        axes = np.stack([np.cross(rig.ups(), rig.directions()), rig.ups(), rig.directions()], 1)[chosen]
        kept.setdefault(np.rint(axes @ axes[0].T).astype(np.int8).tobytes(), rig)
    return tuple(rig for rig in rigs if rig in kept.values())
