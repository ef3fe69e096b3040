"""A refinement of next to nothing: what the real one calls is loaded by it, and libraries are begun."""

from __future__ import annotations

import math

import numpy as np

from meshwright.cameras import default_rig
from meshwright.models.base import Evidence
from meshwright.models.refinement.config import Level, RefineConfig
from meshwright.models.refinement.proposal import refined
from meshwright.types import Array, MaskSource, Mesh, SilentMonitor, View, ViewSet

__all__ = ["warm_up"]

_SIDE = 64
"""Of the pictures, pixels."""
_AROUND, _UP = 32, 16
"""Faces of the object."""
_TRIFLE = RefineConfig(
    # As many steps as it takes until one is replayed, and once more after a look.
    levels=(Level(pixels=_SIDE, cell=0.5, steps=6, move=0.002, turn=0.0015),),
    faces=1000,
    texture_size=64,
)


def warm_up(device: str) -> None:
    """Refines a grey ball in six small pictures."""
    cameras = default_rig([(_SIDE, _SIDE)] * 6)
    y, x = np.mgrid[:_SIDE, :_SIDE] + 0.5 - _SIDE / 2
    mask = (np.hypot(x, y) < 0.3 * _SIDE).astype(np.float32)
    grey = np.full((_SIDE, _SIDE, 3), 0.5, np.float32)
    views = tuple(
        View(name=camera.name, rgb=grey, mask=mask, mask_source=MaskSource.ALPHA, background=np.ones_like(grey))
        for camera in cameras
    )
    evidence = Evidence(
        views=ViewSet(views=views), cameras=cameras, shape=_ball(), device=device, faces=1000, texture_size=64
    )
    refined(evidence, _TRIFLE, SilentMonitor())


def _ball() -> Mesh:
    """Radius 0.4, closed."""
    along = np.arange(_AROUND) * (2 * math.pi / _AROUND)
    rows: list[Array] = [np.array([[0.0, 0.0, -1.0]])]
    for angle in np.linspace(-math.pi / 2, math.pi / 2, _UP + 1)[1:-1]:
        ring = math.cos(angle) * np.stack([np.cos(along), np.sin(along)], -1)
        rows.append(np.concatenate([ring, np.full((_AROUND, 1), math.sin(angle))], -1))
    rows.append(np.array([[0.0, 0.0, 1.0]]))
    vertices = 0.4 * np.concatenate(rows)
    last, faces = len(vertices) - 1, []
    for here in range(_AROUND):
        there = (here + 1) % _AROUND
        faces += [(0, 1 + there, 1 + here), (last, last - _AROUND + here, last - _AROUND + there)]
        for low in range(1, last - _AROUND, _AROUND):
            high = low + _AROUND
            faces += [(low + here, low + there, high + there), (low + here, high + there, high + here)]
    return Mesh(vertices=vertices.astype(np.float32), faces=np.array(faces, np.int32))
