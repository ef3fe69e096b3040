"""Meshes, cameras and views painted by a formula, for the tests of the texture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import trimesh

from meshwright.rendering import rasterize_mesh
from meshwright.types import Array, Camera, MaskSource, Mesh, View

MAGENTA = np.array([1.0, 0.0, 1.0], np.float32)
RIGHT_UP_BACK = {
    "front": ([1, 0, 0], [0, 1, 0], [0, 0, 1]),
    "back": ([-1, 0, 0], [0, 1, 0], [0, 0, -1]),
    "left": ([0, 0, -1], [0, 1, 0], [1, 0, 0]),
    "right": ([0, 0, 1], [0, 1, 0], [-1, 0, 0]),
    "top": ([-1, 0, 0], [0, 0, 1], [0, 1, 0]),
    "bottom": ([1, 0, 0], [0, 0, 1], [0, -1, 0]),
}


def camera(name: str, pixels: int = 192) -> Camera:
    pose = np.eye(4)
    pose[:3, :3] = np.array(RIGHT_UP_BACK[name], float).T
    pose[:3, 3] = 2.5 * pose[:3, 2]
    focal = 0.5 * pixels / np.tan(np.radians(13))
    return Camera(
        name=name,
        camera_to_world=pose,
        fl_x=focal,
        fl_y=focal,
        cx=pixels / 2,
        cy=pixels / 2,
        width=pixels,
        height=pixels,
    )


CAMERAS = [camera(name) for name in RIGHT_UP_BACK]


def ball(radius: float = 0.45, subdivisions: int = 4) -> Mesh:
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Mesh(vertices=mesh.vertices.astype(np.float32), faces=mesh.faces.astype(np.int32))


def stripes(points: Array) -> Array:
    """Smooth bands in all three axes, well inside 0..1 and never near magenta."""
    waves = 0.5 + 0.3 * np.sin(12 * points + np.array([0.0, 1.0, 2.0]))
    return np.stack([waves[..., 0], 0.3 + 0.6 * waves[..., 1], 0.6 * waves[..., 2]], -1)


def paint(
    mesh: Mesh, cameras: Sequence[Camera], colour: Callable[[Array], Array] = stripes, background: Array = MAGENTA
) -> list[View]:
    """What each camera sees, pixel centres only, on a loud background with a soft mask."""
    views = []
    for one in cameras:
        seen = rasterize_mesh(mesh, one)
        points = seen.interpolate(mesh.vertices, mesh.faces)
        rgb = np.where(seen.covered[..., None], colour(points), background).astype(np.float32)
        fine = rasterize_mesh(mesh, one.resized(4 * one.width, 4 * one.height)).covered
        mask = fine.reshape(one.height, 4, one.width, 4).mean((1, 3)).astype(np.float32)
        views.append(
            View(name=one.name, rgb=rgb, mask=mask, mask_source=MaskSource.ALPHA, background=np.ones_like(rgb))
        )
    return views


def two_balls() -> tuple[Mesh, list[View]]:
    """Two balls, one partly behind the other from most sides, and pictures of them that do not quite agree."""
    one = ball(subdivisions=3)
    small = one.vertices * np.float32(0.6)
    mesh = Mesh(
        vertices=np.concatenate([small - np.float32(0.15), small + np.float32(0.2)]),
        faces=np.concatenate([one.faces, one.faces + len(small)]).astype(np.int32),
    )
    random = np.random.default_rng(0)
    return mesh, paint(mesh, CAMERAS, lambda points: 0.5 + 0.3 * np.sin(20 * points + random.uniform(0, 0.3, 3)))
