"""Which of the six axes each face is seen along, and which faces lie together in one chart.

Letters: N vertices, F faces, E pairs of faces that share an edge.
The textures come from six views along the axes, so a chart that is a plain projection along an axis resamples a
photograph almost without loss. Faces turned more than about 75 degrees from their axis would be squeezed too thin.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.csgraph import connected_components

from meshwright.types import Array

__all__ = ["AXES", "PLANES", "connect", "face_pairs", "label_faces", "project"]

AXES = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float64)
"""The directions that charts face."""
PLANES = np.array(
    [
        [[0, 0, -1], [0, 1, 0]],
        [[0, 0, 1], [0, 1, 0]],
        [[-1, 0, 0], [0, 0, 1]],
        [[1, 0, 0], [0, 0, 1]],
        [[1, 0, 0], [0, 1, 0]],
        [[-1, 0, 0], [0, 1, 0]],
    ],
    np.float64,
)
"""Right and up of each axis's picture, as the six views have them; right x up is the axis, so charts keep winding."""
LEAST_COSINE = 0.3
"""No face joins a chart whose axis it meets at a lower cosine, unless that is its best."""
SQUEEZED = 0.12
"""A chart too small to be worth its padding joins a neighbour as long as no face is squeezed thinner than this."""
SMALL = 60
"""Charts of fewer faces and less than `TINY_AREA` of the surface try to join a neighbour."""
TINY_AREA = 0.003
STEPS = 30
"""Rounds of smoothing; labels settle within about 15."""


def face_pairs(faces: Array) -> Array:
    """Faces that share an edge, int64 [E, 2]. An edge of more than two faces pairs neighbours in face order."""
    side = np.int64(faces.max()) + 1
    ends = np.stack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]], 1).reshape(-1, 2).astype(np.int64)
    key = ends.min(1) * side + ends.max(1)
    order = np.argsort(key, kind="stable")
    same = key[order][1:] == key[order][:-1]
    owner = order // 3
    return np.stack([owner[:-1][same], owner[1:][same]], 1)


def face_normals(vertices: Array, faces: Array) -> tuple[Array, Array]:
    """Unit normals float64 [F, 3] and areas float64 [F]."""
    corners = vertices.astype(np.float64)[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(cross, axis=1)
    return cross / np.maximum(length, 1e-30)[:, None], 0.5 * length


def label_faces(vertices: Array, faces: Array, pairs: Array) -> Array:
    """Give each face one of the six axes: near its normal, and mostly that of its neighbours.

    Returns:
        Index into `AXES`, int64 [F].
    Each round takes the axis with the best sum of own cosine and neighbours' vote; only half of the faces, drawn anew,
    change in a round, so that two neighbours cannot swap for ever.
    """
    normals, area = face_normals(vertices, faces)
    cosine = along_axes(normals, AXES)
    count = len(faces)
    graph = adjacency(pairs, count)
    # Cosines averaged over some rings carry the votes of the wider neighbourhood; noise does not survive it.
    weight = diags(np.maximum(area, 1e-3 * area.mean()))
    mean = graph + diags(np.ones(count))
    smooth = cosine.copy()
    total = np.maximum((mean @ weight).sum(1), 1e-30)
    total = np.asarray(total).reshape(-1, 1)
    for _ in range(6):
        smooth = (mean @ (weight @ smooth)) / total
    allowed = cosine >= np.minimum(LEAST_COSINE, cosine.max(1) - 1e-9)[:, None]
    score = np.where(allowed, 0.35 * cosine + 0.65 * smooth, -10.0)
    return absorb_small(vote(score, graph), cosine, area / area.sum(), pairs)


def vote(score: Array, graph: csr_matrix) -> Array:
    """Labels int64 [F] with the best scores, of float64 [F, 6] and a quarter for each neighbour of the same label."""
    labels: Array = score.argmax(1)
    votes = graph @ np.eye(6)[labels]
    best = (score + 0.25 * votes).argmax(1)
    random = np.random.default_rng(0)
    for _ in range(STEPS):
        change = np.flatnonzero((best != labels) & (random.random(len(score)) < 0.5))
        if np.array_equal(best, labels):
            break
        # Few change, and nothing is new but around them.
        links = graph[change]
        each = np.diff(links.indptr)
        np.subtract.at(votes, (links.indices, np.repeat(labels[change], each)), links.data)
        labels[change] = best[change]
        np.add.at(votes, (links.indices, np.repeat(labels[change], each)), links.data)
        best[links.indices] = (score[links.indices] + 0.25 * votes[links.indices]).argmax(1)
    return labels


def absorb_small(labels: Array, cosine: Array, area: Array, pairs: Array) -> Array:
    """Give small charts the axis of the neighbour with the longest common border, if they can be seen from there.

    Args:
        labels: int64 [F]; cosine: of each face with each axis float64 [F, 6].
        area: Share of the surface float64 [F]; pairs: int64 [E, 2].
    """
    # The charts of the beginning only ever join: from here on they are what moves.
    parts = connect(labels, pairs)
    order = np.argsort(parts, kind="stable")
    faces, area = np.bincount(parts), np.bincount(parts, area)
    first = np.cumsum(faces) - faces
    least, labels = np.minimum.reduceat(cosine[order], first), labels[order][first]
    pairs = parts[pairs]
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    for _ in range(8):
        charts = connect(labels, pairs)
        count = int(charts.max()) + 1
        size = np.bincount(charts, faces, count)
        small = (size < SMALL) & (np.bincount(charts, area, count) < TINY_AREA)
        if not small.any():
            break
        worst = np.full((count, 6), np.inf)
        np.minimum.at(worst, charts, least)
        border = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]
        votes = np.zeros((count, 6))
        for one, other in ((0, 1), (1, 0)):
            np.add.at(votes, (charts[border[:, one]], labels[border[:, other]]), 1.0)
        votes[worst < SQUEEZED] = 0.0
        # Two neighbours must not swap: of two that would move, only the smaller one does.
        rank = np.empty(count, np.int64)
        rank[np.argsort(size, kind="stable")] = np.arange(count)
        wanted, moving = votes.argmax(1), small & (votes.max(1) > 0)
        blocked = []
        for one, other in ((0, 1), (1, 0)):
            mine, theirs = charts[border[:, one]], charts[border[:, other]]
            blocked.append(mine[moving[mine] & moving[theirs] & (rank[mine] > rank[theirs])])
        moving[np.concatenate(blocked)] = False
        if not moving.any():
            break
        labels = np.where(moving[charts], wanted[charts], labels)
    return labels[parts]


def adjacency(pairs: Array, count: int) -> csr_matrix:
    """Symmetric 0/1 matrix [F, F] of neighbours."""
    ones = np.ones(2 * len(pairs))
    row = np.concatenate([pairs[:, 0], pairs[:, 1]])
    column = np.concatenate([pairs[:, 1], pairs[:, 0]])
    return coo_matrix((ones, (row, column)), shape=(count, count)).tocsr()


def connect(labels: Array, pairs: Array) -> Array:
    """Charts: pieces of equal label joined over edges; int64 [F], numbered from 0."""
    inside = pairs[labels[pairs[:, 0]] == labels[pairs[:, 1]]]
    count = len(labels)
    graph = coo_matrix((np.ones(len(inside), np.int8), (inside[:, 0], inside[:, 1])), shape=(count, count))
    charts: Array = connected_components(graph, directed=False)[1].astype(np.int64)
    return charts


def project(vertices: Array, faces: Array, labels: Array) -> tuple[Array, Array]:
    """Lay each face into the picture of its axis.

    Returns:
        Corner positions float64 [F, 3, 2] in units of the mesh, and heights above the picture float64 [F, 3].
    """
    points = vertices.astype(np.float64)
    # Every vertex in all six pictures, then each corner from its own.
    places, heights = (along_axes(points, directions)[faces, labels[:, None]] for directions in (PLANES, AXES))
    return places, heights


def along_axes(points: Array, directions: Array) -> Array:
    """Products of points [N, 3] with directions [..., 3] along the axes, [N, ...]: picked out, and mirrored."""
    # A product of matrices would wake all cores for this.
    return points[:, np.abs(directions).argmax(-1)] * directions.sum(-1)
