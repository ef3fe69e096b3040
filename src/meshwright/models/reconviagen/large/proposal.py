"""What the large networks propose of an object, in the frame of its views."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scipy.spatial import cKDTree

from meshwright.errors import InputError
from meshwright.geometry.extract import keep_large_parts
from meshwright.models.base import Evidence, Proposal
from meshwright.models.reconviagen.large.config import GenerationConfig
from meshwright.progress import Plan, Stage
from meshwright.types import Array, MaskSource, Mesh, Monitor

if TYPE_CHECKING:
    from meshwright.models.generation import Generation
    from meshwright.models.reconviagen.large.networks import Networks

__all__ = ["config_of", "proposed"]

_PLAN = Plan(
    (
        Stage(name="networks", title="Asking the large networks", share=8.0),
        Stage(name="place", title="Placing what they made", share=2.0),
    )
)
_GENERATED = 0.02
"""Doubt of a generated shape: it has the object's parts, not its measures."""


def proposed(
    evidence: Evidence, networks: Networks, generation: Generation, monitor: Monitor, *, keep_shape: bool
) -> Proposal:
    """Generates the object from its pictures and brings it to where the views have it.

    Args:
        evidence: With views that have masks.
        networks: Where the large networks are loaded from.
        generation: Seed, steps and strengths.
        monitor: For progress over the whole of it, and cancellation.
        keep_shape: Whether the shape of the evidence stands, and only colours are asked for.
    Raises:
        InputError: The pictures show no object, to the networks or at all.
        WeightsNotInstalledError: A network cannot be loaded.
        VramError: The GPU has too little memory.
    """
    # Here, not above: torch is only needed from here on.
    from meshwright.models.reconviagen.large.generate import generate
    from meshwright.models.reconviagen.large.pictures import picture_of
    from meshwright.models.reconviagen.placing import place

    shown = [view for view in evidence.views.views if view.mask_source is not MaskSource.NONE]
    made = generate(
        [picture_of(view) for view in shown],
        networks,
        config_of(generation),
        _PLAN.monitor("networks", monitor),
        evidence.device,
    )
    # Voxels form a shell, and what is inside of it counts as outside: the surface comes with an inner wall.
    outer, dropped = keep_large_parts(made.mesh)
    if not len(outer.faces):
        raise InputError(
            "What the large networks made of the pictures has no inside.",
            hint="Try another seed, check the masks of the views, or use --checkpoint mini.",
        )
    colours = nearest_colours(made.mesh, made.colours, outer)
    placed = place(
        outer,
        evidence.views.views,
        evidence.cameras,
        colours=colours,
        monitor=_PLAN.monitor("place", monitor),
        device=evidence.device,
    )
    report = {"networks": made.report, "placing": placed.report, "dropped_parts": dropped}
    warnings = (*made.warnings, *placed.warnings)
    if not keep_shape:
        return Proposal(
            mesh=placed.mesh,
            doubt=_GENERATED,
            colours=colours if generation.unseen_colours else None,
            report=report,
            warnings=warnings,
        )
    return Proposal(
        mesh=evidence.shape,
        colours=nearest_colours(placed.mesh, colours, evidence.shape),
        report=report,
        warnings=warnings,
    )


def config_of(generation: Generation) -> GenerationConfig:
    """The samplers' settings; what a caller cannot choose is as published."""
    plain = GenerationConfig()
    return replace(
        plain,
        seed=generation.seed,
        structure=replace(
            plain.structure, steps=generation.structure_steps, cfg_strength=generation.structure_guidance
        ),
        detail=replace(plain.detail, steps=generation.detail_steps, cfg_strength=generation.detail_guidance),
    )


def nearest_colours(source: Mesh, colours: Array, target: Mesh) -> Array:
    """The colour of the vertex of `source` that is nearest to each vertex of `target`, uint8 [N, 3]."""
    nearest = cKDTree(source.vertices).query(target.vertices)[1]
    found: Array = colours[nearest]
    return found
