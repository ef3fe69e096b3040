"""A fast atlas whose charts are plain projections along the six axes."""

from __future__ import annotations

import numpy as np

from meshwright._warp import wp
from meshwright.device import cpu_threads, map_threads
from meshwright.geometry.atlas import kernels
from meshwright.geometry.atlas.charts import connect, face_pairs, label_faces, project
from meshwright.geometry.atlas.kernels import find_hidden_kernel, raise_height_kernel
from meshwright.geometry.atlas.packing import bitmap_layout, pack_charts
from meshwright.types import Array, Mesh

__all__ = ["unwrap_views"]

ROUNDS = 12
"""Charts that lie over themselves are split at most so many times; each round takes off one layer."""
MOST_THREADS = 16
"""Beyond so many the largest chart takes longest anyway."""


def unwrap_views(mesh: Mesh, texture_size: int, padding: float) -> tuple[Array, Array]:
    """Charts by the nearest axis, split where they overlap, packed into the square.

    Returns:
        `uv` float32 [U, 2] and `uv_faces` int32 [F, 3], as in `TexturedMesh`.
    """
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
    rest = np.arange(len(charts))
    for _ in range(ROUNDS):
        under = find_hidden(corners[rest] * density, heights[rest], charts[rest], density)
        if not under.any():
            break
        layer[rest] += under
        # A chart of which nothing is hidden is done.
        split = np.zeros(int(charts.max()) + 1, bool)
        split[charts[rest[under]]] = True
        rest = np.flatnonzero(split[charts])
        charts = connect((charts * (ROUNDS + 1) + layer) * 6 + labels, pairs)
    return charts


def find_hidden(corners: Array, heights: Array, charts: Array, density: float) -> Array:
    """Which faces lie under others of their chart, bool [F].

    Args:
        corners: float64 [F, 3, 2], texels; heights: float64 [F, 3], mesh units.
        charts: Chart of each face [F], any numbers.
        density: Texels per mesh unit.
    """
    _, charts, faces = np.unique(charts, return_inverse=True, return_counts=True)
    local, begin, width, height = bitmap_layout(corners, charts, 0.0)
    size = int(begin[-1]) + int(width[-1]) * int(height[-1])
    top, hidden = np.full(size, -1e30, np.float32), np.zeros(len(charts), np.uint8)
    levels = np.ascontiguousarray(heights, np.float32)
    share = shares_of(faces)[charts]

    def look(part: int) -> None:
        mine = np.flatnonzero(share == part)
        common = [
            wp.array(local[mine], dtype=wp.vec2, device="cpu"),
            wp.array(levels[mine], dtype=wp.float32, device="cpu"),
            *(wp.array(x[charts[mine]], dtype=wp.int32, device="cpu") for x in (begin, width, height)),
        ]
        raised = wp.array(top, dtype=wp.float32, device="cpu", copy=False)
        found = wp.zeros(len(mine), dtype=wp.uint8, device="cpu")
        wp.launch(raise_height_kernel, len(mine), common, [raised], device="cpu")
        # Neighbours on a slope differ by less than a texel's worth of height.
        wp.launch(find_hidden_kernel, len(mine), [*common, raised, 1.0 / density], [found], device="cpu")
        hidden[mine] = found.numpy()

    wp.load_module(kernels.__name__, device="cpu")  # before threads do: its loader is not meant to be entered twice
    map_threads(look, range(int(share.max()) + 1))
    result: Array = hidden > 0
    return result


def shares_of(faces: Array) -> Array:
    """Charts with so many faces [C], dealt out to threads, the largest first, each to the one with least: int64 [C]."""
    load = np.zeros(max(1, min(cpu_threads(), len(faces), MOST_THREADS)), np.int64)
    share = np.zeros(len(faces), np.int64)
    for chart in np.argsort(-faces, kind="stable").tolist():
        share[chart] = load.argmin()
        load[share[chart]] += faces[chart]
    return share


def share_corners(placed: Array, faces: Array, charts: Array) -> tuple[Array, Array]:
    """One texture coordinate per vertex and chart."""
    key = charts[:, None] * (np.int64(faces.max()) + 1) + faces
    _, first, number = np.unique(key.ravel(), return_index=True, return_inverse=True)
    uv = placed.reshape(-1, 2)[first].astype(np.float32)
    return uv, number.reshape(faces.shape).astype(np.int32)
