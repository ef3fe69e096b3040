"""From the evidence to a refined shape: what a model that refines proposes."""

from __future__ import annotations

from meshwright.geometry import AtlasConfig, simplify, unwrap
from meshwright.models.base import Evidence, Proposal
from meshwright.models.refinement.config import RefineConfig
from meshwright.models.refinement.refine import refine
from meshwright.texture import blend_texture
from meshwright.types import Monitor

__all__ = ["refined"]


def refined(evidence: Evidence, config: RefineConfig, monitor: Monitor) -> Proposal:
    """The shape of the evidence bent, and its cameras moved, until renders look like the views.

    Args:
        evidence: With views that have masks.
        config: How much is done.
        monitor: For progress over the whole of it, and cancellation.
    Raises:
        Cancelled: The monitor wants to stop.
        VramError: A GPU has too little memory even for one view in small pictures.
    """
    monitor.report(0, "Preparing the refinement")
    views, cameras, device = evidence.views.views, evidence.cameras, evidence.device
    light = simplify(evidence.shape, config.faces)
    atlas = unwrap(light, AtlasConfig(texture_size=config.texture_size), monitor)
    painted = blend_texture(light, atlas, views, cameras, config.texture_size, monitor, device)
    found = refine(
        painted,
        evidence.shape.vertices,
        views,
        cameras,
        doubt=evidence.doubt,
        free_cameras=evidence.free_cameras,
        config=config,
        monitor=monitor,
        device=device,
        memory=evidence.memory,
    )
    return Proposal(
        mesh=found.moved(evidence.shape),
        cameras=found.cameras if evidence.free_cameras else None,
        report={"refinement": "shape, cameras and texture" if evidence.free_cameras else "shape and texture"}
        | found.report,
        warnings=found.warnings,
    )
