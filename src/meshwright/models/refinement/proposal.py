"""From the evidence to a refined shape: what a model that refines proposes."""

from __future__ import annotations

from meshwright.geometry import AtlasConfig, simplify, unwrap
from meshwright.models.base import Evidence, Proposal
from meshwright.models.refinement.config import RefineConfig
from meshwright.models.refinement.refine import refine
from meshwright.texture import blend_texture
from meshwright.types import Monitor

__all__ = ["refined"]

_MORE = 2
"""What is delivered may have so many times the faces, and texels along a side, of what the refinement asks for."""


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
    # Bent is bent: where what is delivered is about as light, it is made now, and once.
    once = evidence.delivered and config.faces <= evidence.faces <= _MORE * config.faces
    light = simplify(evidence.shape, evidence.faces if once else config.faces)
    # Charts that lie closer than that would run into each other where the texture is looked at from afar.
    laid = once and config.texture_size <= evidence.texture_size <= _MORE * config.texture_size
    size = evidence.texture_size if laid else config.texture_size
    atlas = unwrap(light, AtlasConfig(texture_size=size), monitor)
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
        light=found.moved(light) if once else None,
        atlas=atlas if laid else None,
        cameras=found.cameras if evidence.free_cameras else None,
        report={"refinement": "shape, cameras and texture" if evidence.free_cameras else "shape and texture"}
        | found.report,
        warnings=found.warnings,
    )
