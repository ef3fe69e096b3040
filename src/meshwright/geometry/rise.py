"""A field raised around single points: what mending adds where carving went too deep."""

from __future__ import annotations

import itertools

import numpy as np

from meshwright._warp import load_kernels, wp
from meshwright.device import check_stop, cpu_threads, map_threads, turn
from meshwright.geometry import rise_kernels
from meshwright.geometry.rise_kernels import TILE, blur_kernel, demand_kernel, rise_kernel, widen_kernel
from meshwright.types import Array

__all__ = ["SIGMA", "raise_field"]

SIGMA = 1.2
"""Standard deviation of the blur that spreads a demand, in voxels."""
_TRUNCATE = 4.0
"""How many of them the blur reaches, as in SciPy."""


def raise_field(field: wp.array, hull: wp.array, places: Array, demands: Array, device: str) -> None:
    """Raise a field by what single voxels demand, in place and never beyond the hull.

    A demand spreads over the 5 x 5 x 5 voxels around it, is blurred, and reaches at least its neighbours in full:
    blurring lowers the peak of a lone demand, and no point shall get less than it lacks. Of several demands the largest
    counts. Only tiles within reach of a demand are looked at: all else stays.

    Args:
        field: float32 [X, Y, Z] on `device`, nowhere above the hull.
        hull: The same size.
        places: Voxels, int [K, 3].
        demands: By how much each shall rise, 0 or more, float32 [K].
        device: Of both fields.
    """
    if len(places) == 0:
        return
    load_kernels(rise_kernels.__name__, device)
    weights = _blur_weights()
    tiles = _tiles_within(field.shape, places, 2 + len(weights) - 1)
    with turn(device):
        where = wp.array(tiles.astype(np.int32), dtype=wp.vec3i, device=device)
        taps = wp.array(weights, dtype=wp.float64, device=device)
        one, two, three = (wp.zeros(field.shape, dtype=wp.float32, device=device) for _ in range(3))
        size = wp.vec3i(*field.shape)
        strides = (field.shape[1] * field.shape[2], field.shape[2], 1)

        def over_tiles(kernel: wp.Kernel, inputs: list[object], target: wp.array) -> None:
            def launch(part: slice) -> None:
                wp.launch(
                    kernel,
                    dim=(part.stop - part.start, TILE, TILE, TILE),
                    inputs=[where[part], *inputs],
                    outputs=[target],
                    device=device,
                )

            check_stop()
            pieces = 1 if device != "cpu" else min(len(tiles), cpu_threads())
            edges = np.linspace(0, len(tiles), pieces + 1).astype(int)
            map_threads(launch, [slice(int(a), int(b)) for a, b in itertools.pairwise(edges)])

        wp.launch(
            demand_kernel,
            dim=len(places),
            inputs=[
                wp.array(places.astype(np.int32), dtype=wp.vec3i, device=device),
                wp.array(demands.astype(np.float32), dtype=wp.float32, device=device),
            ],
            outputs=[one],
            device=device,
        )
        # The maximum over 5 voxels is that over 3 of that over 3, which is wanted too: it stays in `two`.
        steps = ((one, two, 0), (two, three, 1), (three, two, 2), (two, three, 0), (three, one, 1), (one, three, 2))
        for source, target, axis in steps:
            over_tiles(widen_kernel, [size, source.flatten(), axis, strides[axis]], target.flatten())
        for source, target, axis in ((three, one, 0), (one, three, 1), (three, one, 2)):
            over_tiles(blur_kernel, [size, source.flatten(), axis, strides[axis], taps], target.flatten())
        over_tiles(rise_kernel, [one, two, hull], field)


def _blur_weights() -> Array:
    """Of the voxel itself and of those 1, 2, ... away, float64; those of `scipy.ndimage.gaussian_filter`."""
    reach = int(_TRUNCATE * SIGMA + 0.5)
    away = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 / (SIGMA * SIGMA) * away**2)
    return np.asarray((weights / weights.sum())[reach:])


def _tiles_within(shape: tuple[int, ...], places: Array, reach: int) -> Array:
    """Tiles that hold a voxel at most `reach` from one of `places` along each axis, int [T, 3]."""
    held = np.zeros([-(-side // TILE) for side in shape], bool)
    places = np.stack(np.unravel_index(np.unique(np.ravel_multi_index(tuple(places.T), shape)), shape), -1)
    # No farther apart than a tile is wide: none between two of them is missed.
    offsets = np.append(np.arange(-reach, reach, TILE), reach)
    for offset in itertools.product(offsets, repeat=3):
        held[tuple(np.clip(places + offset, 0, np.array(shape) - 1).T // TILE)] = True
    return np.argwhere(held)
