"""The views' depth as stage one compares it: laid onto the pictures, judged by the hull, without what lies at edges.

What renders mean (far or near bright, which unit, of this object at all) is found out as it is for the first shape.
Metric depth of a known unit is then compared as it is, all other depth up to a scale and an offset of each view, which
the loss finds anew in every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from meshwright.device import map_threads
from meshwright.errors import InputError
from meshwright.geometry.depth.prepare import PreparedDepth, prepare_depth
from meshwright.geometry.shape import outline_hull
from meshwright.geometry.working import working_views
from meshwright.models.nvdiffrec.losses import metric_depth_loss, relative_depth_loss
from meshwright.models.refinement.targets import shrunk
from meshwright.types import Array, Camera, DepthKind, View

__all__ = ["DepthPictures", "KnownDepth", "known_depth"]

_WORKING = 400
"""Long side of the pictures that depth is laid onto."""
_SPREAD = 0.1
"""How much depth differs within a view, roughly, as a share of the object's size: relative depth is measured by its
spread, and depth of a known unit should count as much."""
_OUTLIER = 0.5
"""Spreads by which depth is off where it has little say on the scale and offset of its view."""
_FAR_OFF = 2.5
"""Spreads beyond which depth of a known unit counts no further: what is seen there is another part of the object. Bowls
are rarely deeper."""


@dataclass(frozen=True, kw_only=True)
class KnownDepth:
    """What is known of the views' depth.

    Attributes:
        prepared: Depth and trust at the working size.
        cameras: In pixels of that.
        metric: Which views' depth has a known unit, bool [V].
        size: Of the hull, world units.
    """

    prepared: PreparedDepth
    cameras: tuple[Camera, ...]
    metric: Array
    size: float

    def at(self, width: int, height: int, device: torch.device) -> DepthPictures:
        """At the size of the pictures compared, bottom row first."""

        def of_view(index: int) -> Array:
            camera = self.cameras[index]
            z = self.prepared.surface[index, : camera.height, : camera.width, :1]
            trust = self.prepared.trust[index, : camera.height, : camera.width, None]
            return shrunk(np.concatenate([z * trust, trust], -1), width, height)[::-1]

        found = np.stack(map_threads(of_view, range(len(self.cameras))))
        weight = np.where(found[..., 1:] > 1e-3, found[..., 1:], 0)
        # Any number above 0 will do where nothing is known, for its inverse may be taken.
        z = np.where(weight > 0, found[..., :1] / np.maximum(found[..., 1:], 1e-3), self.size)
        inverse = [kind is DepthKind.INVERSE for kind in self.prepared.kinds]

        def rows(values: Array) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)

        return DepthPictures(
            z=rows(z),
            weight=rows(weight),
            metric=rows(self.metric).view(-1, 1, 1, 1),
            inverse=rows(np.array(inverse)).view(-1, 1, 1, 1),
            size=self.size,
            kinds=(bool(self.metric.any()), not self.metric.all()),
        )


@dataclass(frozen=True, kw_only=True)
class DepthPictures:
    """Depth of all views, to be compared with that of a surface.

    Attributes:
        z: Distance along the optical axis, float32 [V, H, W, 1]; any number above 0 where it is not known.
        weight: 0 where it is not known, little at edges, up to 1, float32 [V, H, W, 1].
        metric: 1 for views whose depth has a known unit, float32 [V, 1, 1, 1].
        inverse: 1 for views whose inverse depth is known up to a scale and an offset, float32 [V, 1, 1, 1].
        size: Of the object, world units.
        kinds: Whether there are views of known and of unknown unit.
    """

    z: torch.Tensor
    weight: torch.Tensor
    metric: torch.Tensor
    inverse: torch.Tensor
    size: float
    kinds: tuple[bool, bool]

    def loss(self, shown: torch.Tensor, cover: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """How far depth is off over pixels that both cover; gradients reach `shown`. Nothing waits for a GPU.

        Args:
            shown: Distance along the optical axis, float32 [N, H, W, 1].
            cover: 1 where there is a surface, else 0, float32 [N, H, W, 1].
            chosen: Which views, int64 [N].
        """
        z, weight = self.z.index_select(0, chosen), self.weight.index_select(0, chosen) * cover
        metric, inverse = self.metric.index_select(0, chosen), self.inverse.index_select(0, chosen)
        shown = torch.where(weight > 0, shown, z)  # a camera may stand where there is nothing: its inverse is none
        loss = shown.new_zeros(())
        if self.kinds[0]:
            loss = loss + metric_depth_loss(shown, z, weight * metric, _SPREAD * self.size, _FAR_OFF)
        if self.kinds[1]:
            known = torch.where(inverse > 0, 1 / z, z)
            found = torch.where(inverse > 0, 1 / shown, shown)
            loss = loss + relative_depth_loss(found, known, weight * (1 - metric), outliers=_OUTLIER)
        return loss


def known_depth(
    views: Sequence[View], cameras: Sequence[Camera], grid: int, device: str, *, given_cameras: bool
) -> KnownDepth | None:
    """Depth that stage one can go by; None where no view has such.

    Args:
        views: With masks.
        cameras: One per view.
        grid: Voxels along the longest side of the hull that depth is judged by.
        device: "cpu" or a CUDA device.
        given_cameras: Their unit is that of metric depth.
    """
    if all(view.depth is None for view in views):
        return None
    working = working_views(views, cameras, _WORKING)
    try:
        hull = outline_hull(working, grid, device)
    except InputError:  # nothing to tell true renders from others by
        return None
    prepared = prepare_depth(views, working, hull, given_cameras=given_cameras, rig_frame=False, device=device)
    if prepared is None or not prepared.report:
        return None
    known = [v.depth is not None and v.depth.kind is DepthKind.METRIC and v.depth.unit is not None for v in views]
    metric = np.array([k and kind is DepthKind.METRIC for k, kind in zip(known, prepared.kinds, strict=True)])
    size = float(max(hull.field.shape)) * hull.cell
    return KnownDepth(prepared=prepared, cameras=working.cameras, metric=metric & given_cameras, size=size)
