"""The exact surface of an object, and the object made ready for tracing: both in the cameras' frame and units."""

from __future__ import annotations

from typing import Any

import numpy as np

from meshwright._warp import wp
from meshwright.errors import OptionError
from meshwright.synth import trace_kernel
from meshwright.synth.field import bounds, pack_solids, paint_numbers
from meshwright.synth.field_kernel import lattice_kernel, settle_kernel
from meshwright.synth.paint import pack_decals, pack_paints
from meshwright.synth.solids import SynthObject
from meshwright.synth.trace import Scene
from meshwright.types import Array, Mesh

__all__ = ["prepare"]


def prepare(item: SynthObject, *, grid: int = 160, seed: int = 0, device: str = "cpu") -> tuple[Scene, Mesh]:
    """The object as a traceable scene and as a mesh, longest side 1, bounding box centred at the origin.

    Args:
        item: What to build.
        grid: Cells along the longest side for marching cubes. Vertices are then moved onto the exact surface, so the
            grid only decides how sharp edges are cut.
        seed: Of the random parts of paints.
        device: Warp device.
    """
    if grid < 16:
        raise OptionError(f"grid={grid} is too coarse for a reference mesh.", hint="Use 64 or more.")
    numbers = paint_numbers(item)
    solids = pack_solids(item, numbers, device)
    low, high = _tight_bounds(item, solids, device)
    own = _extract(solids, low, high, grid, device)
    own_low, own_high = own.vertices.min(0).astype(float), own.vertices.max(0).astype(float)
    centre, scale = (own_low + own_high) / 2, float(1 / (own_high - own_low).max())
    decals, pixels = pack_decals(item, device)
    # Pictures are traced in threads, and Warp must not load one module twice at once.
    wp.load_module(trace_kernel.__name__, device=device)
    scene = Scene(
        solids=solids,
        paints=pack_paints(numbers, seed, device),
        decals=decals,
        pixels=pixels,
        centre=centre,
        scale=scale,
        device=device,
    )
    vertices = ((own.vertices.astype(float) - centre) * scale).astype(np.float32)
    return scene, Mesh(vertices=vertices, faces=own.faces)


def _lattice(solids: Any, low: Array, step: float, counts: Array, device: str) -> Array:
    shape = tuple(int(n) for n in counts)
    out = wp.empty(shape, dtype=wp.float32, device=device)
    wp.launch(lattice_kernel, shape, [solids, wp.vec3(*low), step, out], device=device)
    values: Array = out.numpy()
    return values


def _tight_bounds(item: SynthObject, solids: Any, device: str) -> tuple[Array, Array]:
    """A box that holds the surface, one coarse cell wide around it."""
    low, high = bounds(item)
    step = float((high - low).max()) / 64
    counts = np.ceil((high - low) / step).astype(int) + 1
    near = np.argwhere(_lattice(solids, low, step, counts, device) < step * 1.8)
    return low + (near.min(0) - 1) * step, low + (near.max(0) + 1) * step


def _extract(solids: Any, low: Array, high: Array, grid: int, device: str) -> Mesh:
    """Marching cubes, its vertices moved onto the zero level; in the object's own units."""
    from skimage.measure import marching_cubes

    step = float((high - low).max()) / grid
    counts = np.ceil((high - low) / step).astype(int) + 3
    low = low - step
    field = _lattice(solids, low, step, counts, device)
    vertices, faces, _, _ = marching_cubes(field, 0.0, gradient_direction="descent")
    places = wp.array(vertices.astype(np.float32), dtype=wp.vec3, device=device)
    points = wp.empty(len(vertices), dtype=wp.vec3, device=device)
    wp.launch(settle_kernel, len(vertices), [solids, wp.vec3(*low), step, places, points], device=device)
    return Mesh(vertices=points.numpy(), faces=np.ascontiguousarray(faces, np.int32))
