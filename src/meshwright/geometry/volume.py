"""The voxel grid: where it lies, the visual hull on it, and rays through it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from meshwright._warp import load_kernels, wp
from meshwright.device import check_stop, cpu_threads, map_threads, turn
from meshwright.geometry import kernels
from meshwright.geometry.kernels import hull_kernel, march_kernel, seek_kernel
from meshwright.geometry.working import WorkingViews, axes_meet, camera_rows
from meshwright.types import Array, Camera

__all__ = ["March", "Volume", "find_bounds", "hull_volume", "march", "over_slabs", "seek"]


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A signed field on a grid of cubes.

    Attributes:
        field: float32 [X, Y, Z], about the distance to the surface in world units, positive inside.
        origin: World position of the centre of voxel (0, 0, 0), float64 [3].
        cell: Edge of a voxel in world units.
    """

    field: Array
    origin: Array
    cell: float

    @property
    def middle(self) -> Array:
        """World position of the grid's centre."""
        return self.origin + (np.array(self.field.shape) - 1) / 2 * self.cell

    @property
    def radius(self) -> float:
        """Half the grid's diagonal."""
        return float(np.linalg.norm(np.array(self.field.shape)) / 2 * self.cell)

    def on_device(self, device: str) -> wp.array:
        """The field for kernels that only read it; on a GPU within a `turn`. It is brought there once: rays are sent
        through a volume from every view, and some of them again and again."""
        if device not in self._brought:
            self._brought[device] = wp.array(self.field, dtype=wp.float32, device=device)
        return self._brought[device]

    @cached_property
    def _brought(self) -> dict[str, wp.array]:
        return {}


@dataclass(frozen=True, kw_only=True)
class March:
    """What a camera's rays meet in a volume: z of entry and of the last exit (0 where a ray misses), float32 [H, W]."""

    entry: Array
    leave: Array


_SLAB = 12


def over_slabs(launch: Callable[[slice], None], length: int, device: str) -> None:
    """Call `launch` for slabs of the first axis: in threads on the CPU, once on a GPU.

    Slabs are thin, because the run can be stopped between two only.
    """
    pieces = 1 if device != "cpu" else min(length, max(4 * cpu_threads(), length // _SLAB))
    edges = np.linspace(0, length, pieces + 1).astype(int)
    map_threads(launch, [slice(int(a), int(b)) for a, b in itertools.pairwise(edges)], device=device)


def hull_volume(views: WorkingViews, low: Array, high: Array, cell: float, device: str) -> Volume:
    """The visual hull's field on a grid that covers the box from `low` to `high`."""
    shape = np.maximum(np.ceil((high - low) / cell).astype(int) + 1, 4)
    middle = (low + high) / 2
    origin = middle - (shape - 1) / 2 * cell
    load_kernels(kernels.__name__, device)
    outline = wp.array(views.outline, dtype=wp.float32, device=device)
    rows = wp.array(views.rows, dtype=wp.float32, device=device)
    field = wp.empty(tuple(int(n) for n in shape), dtype=wp.float32, device=device)

    def launch(slab: slice) -> None:
        start = origin + np.array([slab.start * cell, 0.0, 0.0])
        part = field[slab.start : slab.stop]
        wp.launch(
            hull_kernel, dim=part.shape, inputs=[outline, rows, wp.vec3(*start), cell], outputs=[part], device=device
        )

    over_slabs(launch, int(shape[0]), device)
    return Volume(field=field.numpy(), origin=origin, cell=cell)


def find_bounds(views: WorkingViews, device: str) -> tuple[Array, Array]:
    """The box that holds the visual hull, (low, high) float64 [3] each.

    A coarse hull around the point that the cameras look at, then a finer one around what it found.

    Where no voxel lies inside all silhouettes the whole search region is returned.
    """
    cameras = views.cameras
    pivot = axes_meet(cameras)
    reach = 0.5 * min(float(np.linalg.norm(c.position - pivot)) for c in cameras)
    low, high = pivot - reach, pivot + reach
    for resolution in (64, 96):
        cell = float((high - low).max()) / resolution
        volume = hull_volume(views, low, high, cell, device)
        # A part thinner than a voxel has no inner voxel: half a voxel of distance counts as a find.
        inside = np.argwhere(volume.field > -0.6 * cell)
        if len(inside) == 0:
            break
        low = volume.origin + (inside.min(0) - 1.5) * cell
        high = volume.origin + (inside.max(0) + 1.5) * cell
    return low, high


_MARCH_LINES = 64


def march(volume: Volume, camera: Camera, device: str) -> March:
    """Send a ray through every pixel of `camera` and note where it meets the volume."""
    load_kernels(kernels.__name__, device)
    with turn(device):
        return _march(volume, camera, device)


def _march(volume: Volume, camera: Camera, device: str) -> March:
    field = volume.on_device(device)
    rows = wp.array(camera_rows([camera]), dtype=wp.float32, device=device)
    shape = (camera.height, camera.width)
    entry = wp.zeros(shape, dtype=wp.float32, device=device)
    leave = wp.zeros(shape, dtype=wp.float32, device=device)
    # A launch cannot be stopped: on a CPU many short ones.
    lines = _MARCH_LINES if device == "cpu" else camera.height
    for first in range(0, camera.height, lines):
        check_stop()
        wp.launch(
            march_kernel,
            dim=(min(lines, camera.height - first), camera.width),
            inputs=[
                field,
                rows,
                0,
                first,
                wp.vec3(*camera.position),
                wp.vec3(*volume.origin),
                volume.cell,
                volume.radius,
                wp.vec3(*volume.middle),
            ],
            outputs=[entry, leave],
            device=device,
        )
    return March(entry=entry.numpy(), leave=leave.numpy())


_SEEK_RAYS = 32768


def seek(volume: Volume, camera: Camera, pixels: Array, device: str) -> Array:
    """Send rays through some pixels of `camera` only, each no farther than to where it enters the volume.

    Args:
        volume: What is sought.
        camera: Where from.
        pixels: Row and column, int [K, 2].
        device: "cpu" or "cuda:N".
    Returns:
        Where each ray enters, or else comes nearest to the inside, and the field there (0 or more only
        where it enters), float32 [K, 4].
    """
    load_kernels(kernels.__name__, device)
    with turn(device):
        return _seek(volume, camera, pixels, device)


def _seek(volume: Volume, camera: Camera, pixels: Array, device: str) -> Array:
    field = volume.on_device(device)
    rows = wp.array(camera_rows([camera]), dtype=wp.float32, device=device)
    places = wp.array(pixels.astype(np.int32), dtype=wp.vec2i, device=device)
    best = wp.zeros(len(pixels), dtype=wp.vec4, device=device)
    inputs = [wp.vec3(*camera.position), wp.vec3(*volume.origin), volume.cell, volume.radius, wp.vec3(*volume.middle)]
    # As in `march`.
    count = _SEEK_RAYS if device == "cpu" else max(len(pixels), 1)
    for first in range(0, len(pixels), count):
        check_stop()
        part = slice(first, min(first + count, len(pixels)))
        wp.launch(
            seek_kernel,
            dim=part.stop - first,
            inputs=[field, rows, 0, places[part], *inputs],
            outputs=[best[part]],
            device=device,
        )
    found: Array = best.numpy()
    return found
