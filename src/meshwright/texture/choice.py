"""Which view paints which part of the surface.

Letters: V views, G vertices of the surface graph.
Views never agree to the pixel: cameras are a little off, light is not quite even. The mean of two such pictures is a
ghost of both. So detail comes from one view per region, with a soft change from one to the next that is a few pixels
wide, and only what is too coarse to ghost is blended widely.
Source of the two bands: Burt and Adelson, "A multiresolution spline with application to image mosaics", 1983; on a
surface: Baumberg, "Blending images for texturing 3D models", BMVC 2002.
"""

from __future__ import annotations

import numpy as np

from meshwright.colour import linear_to_srgb
from meshwright.device import map_threads
from meshwright.texture.seams import BLIND, SeamCosts, find_labels
from meshwright.texture.surface import SurfaceGraph
from meshwright.types import Array

__all__ = ["blend_base", "choose_views", "coarse_bands", "rate_views"]

KNOWN = 0.01
"""A vertex with a lower rating counts as unseen: the best view is almost edge-on or almost on a silhouette."""
SURE = 0.05
"""Unseen places take their colour from vertices with at least this rating."""
DARK = 0.01
"""Linear colours below this say nothing about a ratio of brightness."""
HOLD = 5.0
"""Weight of the colours found for unseen places, against 1 for smoothness from vertex to vertex. Measured with true
geometry: 0.1 gives 39.7 / 39.4 dB on spot / fox, 0.5 40.6 / 39.9, 2 41.0 / 40.0, 5 41.5 / 40.4, 20 no more."""
SEAM = 0.3
"""What a seam costs, per hundredth of the extent, in ratings lost over a square of that size."""
CONTRAST = 3.0
"""What it costs on top where the two views differ as black and white (by 1 in one channel)."""


def rate_views(cosine: Array, trust: Array) -> Array:
    """How well each view sees each vertex, 0..1 float32 [V, G]: square on, unhidden, away from silhouettes."""
    rating: Array = (trust * cosine**2).astype(np.float32)
    return rating


def choose_views(graph: SurfaceGraph, rating: Array, colour: Array, width: float) -> Array:
    """One view per region, changes where the views look alike, and soft changes from one to the next.

    Args:
        graph: The surface.
        rating: float32 [V, G].
        colour: What each view shows at each vertex, linear, float32 [V, G, 3].
        width: Half-width of a change, as a share of the object's extent.
    Returns:
        Share of each view, float32 [V, G]; columns sum to 1 where any view sees the vertex, else to 0.
    """
    views = len(rating)
    source, target = graph.links()
    # Losses are per area, seams per length: for the same seams on finer graphs, costs follow the edge length.
    edge = graph.edge / (0.01 * graph.extent)
    costs = SeamCosts(
        rating=rating,
        colour=linear_to_srgb(colour),
        source=source,
        target=target,
        loss=edge**2,
        seam=SEAM * edge,
        contrast=CONTRAST * edge,
    )
    labels = find_labels(costs)
    wanted = np.eye(views)[labels] * (rating.max(0) > BLIND)[:, None]
    share = graph.smooth(wanted, width)
    total = share.sum(1, keepdims=True)
    return np.ascontiguousarray((share / np.maximum(total, 1e-9)).T.astype(np.float32))


def coarse_bands(graph: SurfaceGraph, rating: Array, colour: Array, width: float) -> Array:
    """Each view's colour, blurred along the surface and continued a little beyond what the view sees.

    Args:
        graph: The surface.
        rating: float32 [V, G].
        colour: What each view shows at each vertex, float32 [V, G, 3]; any value where the rating is 0.
        width: Standard deviation of the blur, as a share of the extent.
    Returns:
        float32 [V, G, 3]; 0 far from everything that the view sees.
    """
    coarse = np.zeros(colour.shape, np.float32)

    def blur(i: int) -> None:
        packed = np.concatenate([rating[i, :, None] * colour[i], rating[i, :, None]], 1)
        packed = graph.smooth(packed.astype(np.float64), width)
        known = packed[:, 3] > 1e-5
        coarse[i, known] = packed[known, :3] / packed[known, 3:]

    map_threads(blur, range(len(rating)))
    return coarse


def blend_base(
    graph: SurfaceGraph,
    rating: Array,
    share: Array,
    colour: Array,
    coarse: Array,
    width: float,
    believed: Array | None = None,
) -> Array:
    """The wide blend of the coarse bands, continued over what no view saw; float32 [G, 3].

    Args:
        graph: The surface.
        rating: float32 [V, G].
        share: Of `choose_views`, float32 [V, G].
        colour: What each view shows at each vertex, float32 [V, G, 3].
        coarse: Of `coarse_bands`, float32 [V, G, 3].
        width: As for `coarse_bands`.
        believed: Linear colours to take where no view saw anything, float32 [G, 3]; None: those of the nearest seen
            vertices.
    """
    votes = graph.smooth((rating.T**2).astype(np.float64), width).T * coarse.any(2)
    blend = (votes[..., None] * coarse).sum(0) / np.maximum(votes.sum(0), 1e-12)[:, None]
    weight = share * (rating > 0) + 1e-3 * rating + 1e-12
    sharp = (weight[..., None] * colour).sum(0) / weight.sum(0)[:, None]
    filled: Array = fill_unseen(graph, blend, sharp, rating.max(0), believed).astype(np.float32)
    return filled


def fill_unseen(
    graph: SurfaceGraph, coarse: Array, sharp: Array, rating: Array, believed: Array | None = None
) -> Array:
    """Give unseen vertices the colour that is believed of them, else that of the nearest seen ones; smooth the joints.

    Nearest along the surface, because near in space is not near on the object: the inside of a shoe is a few
    millimetres from its outside and has nothing to do with it. Nearest instead of a plain membrane, because a step of
    colour (the hoof at the end of a leg) should go on around the leg as a step.
    """
    known = rating > KNOWN
    if not known.any():
        return np.full_like(coarse, 0.5) if believed is None else believed
    sure = rating > SURE if (rating > SURE).any() else known
    unseen = sharp[graph.nearest_of(sure)] if believed is None else in_light_of(believed, sharp, sure)
    guide = np.where(known[:, None], coarse, unseen)
    hold = np.where(known, 30.0 * np.sqrt(rating.astype(np.float64)), HOLD)
    return graph.settle(guide, hold)


def in_light_of(believed: Array, sharp: Array, sure: Array) -> Array:
    """Believed colours [G, 3], brightened per channel as the views are where both are known (bool [G])."""
    ratio = np.maximum(sharp[sure], DARK) / np.maximum(believed[sure], DARK)
    return np.clip(believed * np.median(ratio, axis=0), 0.0, 1.0).astype(np.float32)
