"""A fast atlas whose charts are plain projections along the six axes."""

from __future__ import annotations

import numpy as np

from meshwright._warp import load_kernels, wp
from meshwright.device import cpu_threads, map_threads
from meshwright.geometry.atlas import kernels
from meshwright.geometry.atlas.charts import connect, face_pairs, label_faces, project
from meshwright.geometry.atlas.kernels import find_hidden_kernel, raise_height_kernel
from meshwright.geometry.atlas.packing import bitmap_layout, pack_charts
from meshwright.types import Array, Mesh

__all__ = ["unwrap_views"]

ROUNDS = 12
"""Charts that lie over themselves are split at most so many times; each round takes off one layer."""
SMALL = 2**16
"""Fewer cells are not worth starting threads for."""
MOST_PARTS = 16
"""Each goes through all faces."""


def unwrap_views(mesh: Mesh, texture_size: int, padding: float) -> tuple[Array, Array]:
    """Charts by the nearest axis, split where they overlap, packed into the square.

    Returns:
        `uv` float32 [U, 2] and `uv_faces` int32 [F, 3], as in `TexturedMesh`.
    """
    load_kernels(kernels.__name__, "cpu")
    pairs = face_pairs(mesh.faces)
    labels = label_faces(mesh.vertices, mesh.faces, pairs)
    corners, heights = project(mesh.vertices, mesh.faces, labels)
    charts = split_overlaps(corners, heights, labels, connect(labels, pairs), pairs, texture_size)
    placed = pack_charts(corners, charts, texture_size, padding)
    return share_corners(placed, mesh.faces, charts)


def split_overlaps(
    corners: Array, heights: Array, labels: Array, charts: Array, pairs: Array, texture_size: int
) -> Array:
    """Peel charts apart until none lies over itself: what is hidden under another part becomes a chart of its own.

    Args:
        corners: float64 [F, 3, 2]; heights: float64 [F, 3]; both in mesh units.
        labels: Axis of each face [F]; charts: chart of each face [F]; pairs: neighbours [E, 2].
        texture_size: The overlap is looked for at about the texel density that packing will reach.
    Returns:
        Finer charts, int64 [F].
    """
    sides = corners[:, 1:] - corners[:, :1]
    area = 0.5 * np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]).sum()
    density = texture_size * np.sqrt(0.75 / max(area, 1e-30))
    layer = np.zeros(len(charts), np.int64)
    active = np.arange(len(charts))
    for _ in range(ROUNDS):
        under = active[_hidden(corners[active] * density, heights[active], charts[active], 1.0 / density)]
        if len(under) == 0:
            break
        layer[under] += 1
        # The others stay as they are, with nothing hidden.
        active = np.flatnonzero(np.isin(charts, charts[under]))
        charts = connect((charts * (ROUNDS + 1) + layer) * 6 + labels, pairs)
    return charts


def _hidden(corners: Array, heights: Array, charts: Array, slack: float) -> Array:
    """Which faces lie under another one of their chart by more than `slack`, bool [F]; corners are in cells."""
    charts = np.unique(charts, return_inverse=True)[1]
    layout = bitmap_layout(corners, charts, 0.0)
    top = wp.full(layout.cells, -1e30, dtype=wp.float32, device="cpu")
    hidden = wp.zeros(len(charts), dtype=wp.uint8, device="cpu")
    flat, *bitmaps = layout.on_host()
    common = [flat, wp.array(np.ascontiguousarray(heights, np.float32), dtype=wp.vec3, device="cpu"), *bitmaps]
    # Each core has rows of its own: nobody else writes to them.
    parts = min(cpu_threads(), MOST_PARTS) if layout.cells >= SMALL else 1
    ends = [layout.cells * part // parts for part in range(parts + 1)]

    def look(part: int) -> None:
        band = [*common, ends[part], ends[part + 1]]
        wp.launch(raise_height_kernel, len(charts), band, [top], device="cpu")
        # Neighbours on a slope differ by less than a texel's worth of height.
        wp.launch(find_hidden_kernel, len(charts), [*band, top, slack], [hidden], device="cpu")

    map_threads(look, range(parts))
    found: Array = hidden.numpy() > 0
    return found


def share_corners(placed: Array, faces: Array, charts: Array) -> tuple[Array, Array]:
    """One texture coordinate per vertex and chart."""
    key = charts[:, None] * (np.int64(faces.max()) + 1) + faces
    _, first, number = np.unique(key.ravel(), return_index=True, return_inverse=True)
    uv = placed.reshape(-1, 2)[first].astype(np.float32)
    return uv, number.reshape(faces.shape).astype(np.int32)
