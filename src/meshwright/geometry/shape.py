"""The shape stage: silhouettes and depth become one closed mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from meshwright._warp import load_kernels, wp
from meshwright.device import map_threads, turn
from meshwright.errors import InputError, OptionError
from meshwright.geometry import kernels
from meshwright.geometry.depth.prepare import PreparedDepth, prepare_depth
from meshwright.geometry.extent import extent_slack, outline_extent
from meshwright.geometry.extract import extract_mesh, keep_large_parts, taubin_smooth
from meshwright.geometry.kernels import fuse_kernel
from meshwright.geometry.rise import raise_field
from meshwright.geometry.volume import Volume, find_bounds, hull_volume, over_slabs, seek
from meshwright.geometry.working import WorkingViews, working_views
from meshwright.types import Array, Camera, Mesh, Monitor, View, ViewSet

__all__ = ["RIG_UNIT", "ShapeConfig", "ShapeResult", "reconstruct_shape", "remeasured"]


RIG_UNIT = 0.01
"""A rig's unit is the longest side of its object: renders whose two agree this closely come from such a rig."""


@dataclass(frozen=True, kw_only=True)
class ShapeConfig:
    """How finely the shape is computed."""

    grid: int = 256
    """Voxels along the longest side; memory grows with the cube of this for chubby objects."""
    image_size: int = 1024
    """Long side of the silhouettes and depth maps the volume is computed from, in pixels."""
    use_depth: bool = True
    smoothing: int = 6
    """Taubin iterations on the extracted surface."""
    frame: str = "given"
    """Whose units the cameras have: "given" the user's, "rig" exactly a rig's, "free" fitted."""

    def __post_init__(self) -> None:
        if not 32 <= self.grid <= 1024:
            raise OptionError(
                f"grid={self.grid} is out of range.", hint="Use 32 to 1024 voxels along the longest side."
            )
        if self.frame not in ("given", "rig", "free"):
            raise OptionError(f"frame={self.frame!r} is unknown.", hint="Use given, rig or free.")


@dataclass(frozen=True, kw_only=True)
class ShapeResult:
    """What the shape stage gives.

    Attributes:
        mesh: Dense, closed, in the cameras' frame.
        extent: The object's box, (low, high) float64 [2, 3], see `outline_extent`. Take the middle from here, not from
            the mesh, whose tips smoothing shortens.
        longest: The box's longest side; where depth tells the unit of the rig, weighed against that.
        doubt: How far the surface may be wrong, as a share of its longest side: little where depth says where it is,
            much where only outlines do.
        report: JSON-able account of how it came about.
        warnings: Plain sentences.
    """

    mesh: Mesh
    extent: Array
    longest: float
    doubt: float
    report: dict[str, object]
    warnings: tuple[str, ...]
    slack: float = 0.0
    """By what share the longest side may be less than that, because too few views look across it."""


def reconstruct_shape(
    views: ViewSet, cameras: Sequence[Camera], config: ShapeConfig, monitor: Monitor, device: str
) -> ShapeResult:
    """Carve the visual hull by depth, mend what carving broke, and extract a smooth closed mesh.

    Args:
        views: With masks, and depth renders where there are any.
        cameras: One per view, in pixels of its picture.
        config: See `ShapeConfig`.
        monitor: For cancellation.
        device: "cpu" or a CUDA device of Warp.
    Raises:
        InputError: No point of space lies inside all silhouettes.
    """
    working = working_views(views.views, cameras, config.image_size)
    monitor.check()
    hull = outline_hull(working, config.grid, device)
    monitor.check()
    depth = None
    if config.use_depth:
        depth = prepare_depth(
            views.views,
            working,
            hull,
            given_cameras=config.frame == "given",
            rig_frame=config.frame == "rig",
            device=device,
        )
        monitor.check()
    volume = rounded(hull) if depth is None or not depth.report else carve(hull, depth, working, device)
    monitor.check()
    volume, repaired = restore_missing(volume, hull, working, device)
    monitor.check()
    mesh, dropped = keep_large_parts(extract_mesh(volume))
    mesh = taubin_smooth(mesh, config.smoothing)
    report: dict[str, object] = {
        "grid": list(volume.field.shape),
        "cell": round(volume.cell, 6),
        "depth": depth.report if depth is not None else [],
        "repaired_pixels": repaired,
        "dropped_parts": dropped,
    }
    extent = outline_extent(mesh, working)
    return ShapeResult(
        mesh=mesh,
        extent=extent,
        longest=_longest(extent, depth),
        doubt=_doubt(extent, depth),
        report=report,
        warnings=depth.warnings if depth is not None else (),
        slack=extent_slack(extent, working),
    )


def remeasured(shape: ShapeResult, mesh: Mesh, views: Sequence[View], cameras: Sequence[Camera]) -> ShapeResult:
    """The same with another mesh of the object, and its size and middle taken anew."""
    extent = outline_extent(mesh, working_views(views, cameras, ShapeConfig.image_size))
    grown = float((extent[1] - extent[0]).max() / (shape.extent[1] - shape.extent[0]).max())
    return replace(shape, mesh=mesh, extent=extent, longest=shape.longest * grown)


_DOUBT_OUTLINES = 0.01
_DOUBT_DEPTH = 0.0005
"""Measured on the objects of the benchmark: median distances of 0.006 to 0.011 without depth, 0.0001 to 0.0005 with."""


def _doubt(extent: Array, depth: PreparedDepth | None) -> float:
    if depth is None or not depth.report:
        return _DOUBT_OUTLINES
    slack = float(np.median(depth.slack[depth.trust.any((1, 2))]))
    return min(_DOUBT_OUTLINES, _DOUBT_DEPTH + slack / float((extent[1] - extent[0]).max()))


_BOX_ERROR = 0.002
"""How far off the longest side of a box is by itself, as a share. Measured: 0.0003 to 0.0056."""
_UNIT_ERROR = 0.0015
"""How far off the unit that depth tells is at least, whatever its fit says: renders are laid onto pictures by their
outlines, to a pixel or so. Measured: 0.0000 to 0.0031 where the fit promised 0.0002."""


def _longest(extent: Array, depth: PreparedDepth | None) -> float:
    """The longest side. It is a rig's unit, too: where depth tells that, there are two opinions."""
    side = float((extent[1] - extent[0]).max())
    if depth is None or depth.unit is None or abs(side / depth.unit - 1.0) > RIG_UNIT:
        return side
    weight = _BOX_ERROR**2 / (_BOX_ERROR**2 + max(_UNIT_ERROR, depth.unit_error) ** 2)
    return (1.0 - weight) * side + weight * depth.unit


_SHELL_CELLS = 3.0


_ROUNDING = 0.009
"""Standard deviation of the blur that rounds a hull, as a share of its longest side. Measured on the four objects of
the benchmark without depth: 0 gives a mean F-score at 0.01 of 0.735, 0.0045 0.740, 0.009 0.745, 0.0134 0.746 but loses
the fox's legs."""


def rounded(hull: Volume) -> Volume:
    """A hull without its sharp ridges. Cones of views meet in edges that few objects have, outside of the surface."""
    sigma = _ROUNDING * max(hull.field.shape)
    reach = 6 * sigma * hull.cell
    blurred = ndimage.gaussian_filter(np.clip(hull.field, -reach, reach), sigma)
    return replace(hull, field=np.minimum(blurred, hull.field))


def carve(hull: Volume, depth: PreparedDepth, working: WorkingViews, device: str) -> Volume:
    """The hull without what depth says is empty."""
    load_kernels(kernels.__name__, device)
    # On a CPU the kernels read what there is, without a copy.
    surface = wp.array(depth.surface, dtype=wp.vec4, device=device, copy=False)
    trust = wp.array(depth.trust, dtype=wp.float32, device=device, copy=False)
    band = wp.array(depth.band, dtype=wp.float32, device=device)
    slack = wp.array(depth.slack, dtype=wp.float32, device=device)
    rows = wp.array(working.rows, dtype=wp.float32, device=device)
    field = wp.array(hull.field, dtype=wp.float32, device=device)

    def launch(slab: slice) -> None:
        start = hull.origin + np.array([slab.start * hull.cell, 0.0, 0.0])
        part = field[slab.start : slab.stop]
        wp.launch(
            fuse_kernel,
            dim=part.shape,
            inputs=[surface, trust, rows, band, slack, _SHELL_CELLS * hull.cell, wp.vec3(*start), hull.cell],
            outputs=[part],
            device=device,
        )

    over_slabs(launch, hull.field.shape[0], device)
    return replace(hull, field=_calmed(field.numpy(), hull, depth))


def _calmed(field: Array, hull: Volume, depth: PreparedDepth) -> Array:
    """Contradicting depth leaves crumbs and pits: the carved field is blurred by as much as it is unsure of itself."""
    unsure = float(np.median(depth.slack[depth.trust.any((1, 2))])) / hull.cell
    if unsure < 0.1:
        return field
    sigma = min(2.0, 0.8 + unsure)
    reach = 4 * hull.cell
    blurred = ndimage.gaussian_filter(np.clip(field, -reach, reach), sigma)
    return np.minimum(blurred, hull.field)


_REPAIR_SHRINK = 2
_REPAIR_ROUNDS = 5


def outline_hull(working: WorkingViews, grid: int, device: str) -> Volume:
    """The visual hull with `grid` voxels along its longest side.

    Raises:
        InputError: No point of space lies inside all silhouettes.
    """
    low, high = find_bounds(working, device)
    hull = hull_volume(working, low, high, float((high - low).max()) / grid, device)
    if not (hull.field > 0).any():
        raise InputError(
            "No point in space lies inside all silhouettes.",
            hint="Look at the masks: a view may show another object, be cut off, or belong to another camera.",
        )
    return hull


def restore_missing(volume: Volume, hull: Volume, working: WorkingViews, device: str) -> tuple[Volume, int]:
    """Put back what carving took from the silhouettes: rims, and thin parts that depth would punch holes into.

    A ray inside a view's mask that met the hull but no longer meets the carved volume demands that the field rise
    where it is least empty, by what it lacks there. The demands are spread over a few voxels and added, never beyond
    the hull. Returns the volume and how many pixels had lost the object.
    """

    def shrunk(item: tuple[Camera, Array]) -> tuple[Camera, Array]:
        camera, mask = item
        small = camera.resized(max(8, camera.width // _REPAIR_SHRINK), max(8, camera.height // _REPAIR_SHRINK))
        rows = ((np.arange(small.height) + 0.5) * camera.height / small.height).astype(int)
        columns = ((np.arange(small.width) + 0.5) * camera.width / small.width).astype(int)
        return small, np.argwhere(mask[np.ix_(rows, columns)] > 0.5)

    def missing(item: tuple[Camera, Array]) -> tuple[tuple[Camera, Array], Array]:
        camera, rays = item
        best = seek(volume, camera, rays, device)
        lost = best[:, 3] < 0
        if attempt < 2:
            lost[lost] = seek(hull, camera, rays[lost], device)[:, 3] >= 0
        return (camera, rays[lost]), best[lost]

    pixels = 0
    searched = map_threads(shrunk, zip(working.cameras, working.masks, strict=True), device=device)
    # Its own copy on the device runs ahead of its field, which is fetched once.
    volume = replace(volume)
    for attempt in range(_REPAIR_ROUNDS):
        found = map_threads(missing, searched, device=device)
        if attempt > 0:
            # Once it is below the hull the field only rises: what is lost later was lost before.
            searched = [item for item, _ in found]
        best = np.concatenate([item for _, item in found])
        points = best[:, :3]
        if attempt == 0:
            pixels = len(points)
        if len(points) == 0:
            break
        lack = 0.2 * volume.cell - best[:, 3]
        place = np.round((points - volume.origin) / volume.cell).astype(int)
        place = np.clip(place, 0, np.array(volume.field.shape) - 1)
        demand = np.minimum(lack, 8 * volume.cell).astype(np.float32)
        with turn(device):
            raise_field(volume.on_device(device), hull.on_device(device), place, demand, device)
    if pixels:
        with turn(device):
            volume = replace(volume, field=volume.on_device(device).numpy())
    return volume, pixels
