"""Views as the volume kernels see them: one stack of equal-sized images and one row of numbers per camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from meshwright.device import map_threads
from meshwright.distance import signed_distance
from meshwright.types import Array, Camera, View

__all__ = ["WorkingViews", "axes_meet", "box_around", "camera_rows", "resize_mask", "working_views"]


@dataclass(frozen=True, kw_only=True)
class WorkingViews:
    """Silhouettes at a working size.

    Attributes:
        cameras: In pixels of the working images.
        masks: Soft masks, each float32 [h, w].
        outline: Signed distance to the outline in pixels, positive inside, float32 [V, H, W]; images smaller than
            H x W are padded and `cameras[v]` holds their true size.
        rows: float32 [V, 20], see `camera_rows`.
    """

    cameras: tuple[Camera, ...]
    masks: tuple[Array, ...]
    outline: Array
    rows: Array


def box_around(region: Array, margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns that hold a region, bool [H, W], and a margin, cut at the edges; empty for an empty one."""
    spans = []
    for held in (np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))):
        spans.append(slice(max(0, int(held[0]) - margin), int(held[-1]) + 1 + margin) if len(held) else slice(0, 0))
    return spans[0], spans[1]


def resize_mask(mask: Array, width: int, height: int) -> Array:
    """A soft mask at a smaller size, area-averaged, float32 [height, width]."""
    if mask.shape == (height, width):
        return np.ascontiguousarray(mask, dtype=np.float32)
    shrink = mask.shape[1] / width
    smooth = ndimage.gaussian_filter(mask, 0.5 * shrink) if shrink > 1 else mask
    zoom = (height / mask.shape[0], width / mask.shape[1])
    return np.asarray(ndimage.zoom(smooth, zoom, order=1, grid_mode=True, mode="nearest"), dtype=np.float32)


def camera_rows(cameras: Sequence[Camera]) -> Array:
    """Everything a kernel needs of each camera, float32 [V, 20].

    0-11 world-to-camera, row by row; 12 fl_x, 13 fl_y, 14 cx, 15 cy, 16 width, 17 height, 18-19 unused.
    """
    rows = np.zeros((len(cameras), 20), np.float32)
    for row, camera in zip(rows, cameras, strict=True):
        row[:12] = camera.world_to_camera[:3].reshape(-1)
        row[12:18] = camera.fl_x, camera.fl_y, camera.cx, camera.cy, camera.width, camera.height
    return rows


def axes_meet(cameras: Sequence[Camera]) -> Array:
    """The point nearest to all optical axes, float64 [3]."""
    projectors = [np.eye(3) - np.outer(c.forward, c.forward) for c in cameras]
    return np.linalg.lstsq(
        sum(projectors), sum(m @ c.position for m, c in zip(projectors, cameras, strict=True)), rcond=None
    )[0]


def working_views(views: Sequence[View], cameras: Sequence[Camera], size: int) -> WorkingViews:
    """Masks and cameras with the long side at most `size` pixels."""

    def shrink(pair: tuple[View, Camera]) -> tuple[Camera, Array, Array]:
        view, camera = pair
        factor = min(1.0, size / max(view.width, view.height))
        width, height = max(8, round(view.width * factor)), max(8, round(view.height * factor))
        mask = resize_mask(view.mask, width, height)
        return camera.resized(width, height), mask, signed_distance(mask)

    shrunk = map_threads(shrink, list(zip(views, cameras, strict=True)))
    height = max(mask.shape[0] for _, mask, _ in shrunk)
    width = max(mask.shape[1] for _, mask, _ in shrunk)
    outline = np.zeros((len(shrunk), height, width), np.float32)
    for slot, (_, mask, distance) in zip(outline, shrunk, strict=True):
        slot[: mask.shape[0], : mask.shape[1]] = distance
    small = tuple(camera for camera, _, _ in shrunk)
    return WorkingViews(
        cameras=small, masks=tuple(mask for _, mask, _ in shrunk), outline=outline, rows=camera_rows(small)
    )
