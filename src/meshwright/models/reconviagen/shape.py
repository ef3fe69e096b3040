"""From views to a surface: what the networks believe, held to what the outlines prove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as functional
from scipy import ndimage

from meshwright.geometry.extract import extract_mesh, keep_large_parts, taubin_smooth
from meshwright.geometry.shape import outline_hull, restore_missing
from meshwright.geometry.volume import Volume
from meshwright.geometry.working import working_views
from meshwright.models.reconviagen.crops import Frame, shown, slots_of
from meshwright.models.reconviagen.lifting import HALF
from meshwright.models.reconviagen.network import FINE_LIMIT
from meshwright.models.reconviagen.weights import Checkpoint
from meshwright.types import Array, Camera, Mesh, Monitor, View

__all__ = ["Believed", "PriorConfig", "believe", "prior_shape"]


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """How finely the belief is computed and extracted."""

    grid: int = 224
    """Voxels along the longest side of the result."""
    image_size: int = 1024
    """Long side of the silhouettes that the result is held to, in pixels."""
    smoothing: int = 6
    """Taubin iterations on the extracted surface."""


@dataclass(frozen=True, kw_only=True)
class Believed:
    """What the networks say.

    Attributes:
        field: Signed distance in world units, negative inside, cut off; float32 [N, N, N] by x, y, z.
        frame: The grid spans a cube of 2 * HALF * frame.size around frame.centre.
        views: How many views the networks were shown.
    """

    field: Array
    frame: Frame
    views: int


def believe(
    views: Sequence[View],
    cameras: Sequence[Camera],
    frame: Frame,
    checkpoint: Checkpoint,
    *,
    depths: dict[int, Array] | None = None,
) -> Believed:
    """Run the networks; arguments as for `prior_shape`."""
    device = next(checkpoint.prior.parameters()).device
    seen = shown(views, cameras, frame, depths)
    seen = replace(seen, **{name: getattr(seen, name).to(device) for name in seen.__dataclass_fields__})
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        field = checkpoint.prior(seen)[0].clamp(-1, 1)
    found = field[0].float().cpu().numpy() * (FINE_LIMIT * frame.size)
    return Believed(field=found, frame=frame, views=len(slots_of(cameras, frame)))


def prior_shape(
    views: Sequence[View],
    cameras: Sequence[Camera],
    checkpoint: Checkpoint,
    monitor: Monitor,
    device: str,
    config: PriorConfig = PriorConfig(),
    *,
    depths: dict[int, Array] | None = None,
) -> tuple[Mesh, dict[str, object]]:
    """The surface that the networks believe in, inside all silhouettes and filling every one of them.

    Args:
        views: With masks; any number from any side, of which one for each of the six sides is shown to the networks.
        cameras: One per view, in pixels of its picture.
        checkpoint: From `load_checkpoint`.
        monitor: For progress over this step, and cancellation.
        device: "cpu" or a CUDA device.
        config: See `PriorConfig`.
        depths: z in world units by view, float32 [H, W] of any size, 0 where not known.
    Returns:
        A dense, closed mesh in the frame of the cameras, and a JSON-able account.
    Raises:
        InputError: No point of space lies inside all silhouettes.
    """
    monitor.report(0, "Looking at the outlines")
    working = working_views(views, cameras, config.image_size)
    hull = outline_hull(working, config.grid, device)
    monitor.check()
    frame = _frame(hull)
    monitor.report(30, "Asking the networks")
    believed = believe(views, cameras, frame, checkpoint, depths=depths)
    monitor.check()
    monitor.report(60, "Holding the shape to the outlines")
    inner = -resampled(believed, hull, device)
    volume = replace(hull, field=np.minimum(hull.field, inner))
    volume, repaired = restore_missing(volume, hull, working, device)
    monitor.check()
    monitor.report(85, "Extracting the surface")
    mesh, dropped = keep_large_parts(extract_mesh(volume))
    mesh = taubin_smooth(mesh, config.smoothing)
    report: dict[str, object] = {
        "views_shown": believed.views,
        "grid": list(volume.field.shape),
        "repaired_pixels": repaired,
        "dropped_parts": dropped,
    }
    return mesh, report


def _frame(hull: Volume) -> Frame:
    """Middle and longest side of what lies inside all silhouettes."""
    inside = np.argwhere(hull.field > 0)
    low, high = inside.min(0) - 0.5, inside.max(0) + 0.5
    size = float((high - low).max()) * hull.cell
    return Frame(centre=hull.origin + (low + high) / 2 * hull.cell, size=size)


_SMOOTH = 0.7
"""Cells by which the belief is blurred before it is read between cells: else its steps show as facets."""


def resampled(believed: Believed, volume: Volume, device: str) -> Array:
    """The belief at the voxels of a volume, float32 like its field; trilinear between its own smoothed cells."""
    smooth = ndimage.gaussian_filter(believed.field, _SMOOTH)
    field = torch.from_numpy(smooth)[None, None].to(device)
    span = HALF * believed.frame.size
    axes = [
        (volume.origin[axis] + np.arange(n) * volume.cell - believed.frame.centre[axis]) / span
        for axis, n in enumerate(volume.field.shape)
    ]
    x, y, z = (torch.from_numpy(a.astype(np.float32)).to(device) for a in axes)
    out = np.empty(volume.field.shape, np.float32)
    step = max(1, 2_000_000 // (len(y) * len(z)))
    for start in range(0, len(x), step):
        part = torch.stack(torch.meshgrid(z, y, x[start : start + step], indexing="ij"), -1)
        place = part.permute(2, 1, 0, 3)[None]
        got = functional.grid_sample(field, place, align_corners=False, padding_mode="border")
        out[start : start + step] = got[0, 0].cpu().numpy()
    return out
