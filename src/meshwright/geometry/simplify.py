"""Fewer triangles, the same surface: quadric decimation, and the cleaning that it leaves to do.

Letters: N vertices, F faces. A mesh is closed when every directed edge has its opposite exactly as often.
Decimation and welding merge vertices, and merging never unbalances directed edges: a closed mesh stays closed. What
merging can do is make two sheets touch along an edge (four faces on one edge), fold a face onto its twin, or flatten a
face to a line; these are what the cleaning is for.
Source: Garland and Heckbert, "Surface simplification using quadric error metrics", SIGGRAPH 1997.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from meshwright.errors import MeshwrightError, OptionError
from meshwright.types import Array, Mesh

__all__ = ["simplify"]

WELD = 1e-6
"""Edges shorter than this share of the bounding box's diagonal are points: marching cubes makes them where the surface
passes through a grid corner."""
PULL = 0.02
"""How far touching sheets are pulled apart, as a share of the mean edge."""


def simplify(mesh: Mesh, faces: int = 50_000) -> Mesh:
    """Bring a mesh under a face budget and leave it clean.

    Args:
        mesh: Any triangles; marching-cubes surfaces of up to a million faces take a few seconds at most.
        faces: The most faces the result may have. A mesh under the budget is only cleaned.
    Returns:
        A mesh without unused vertices, degenerate or doubled faces. A closed mesh stays closed, each edge between
        exactly two faces even after vertices of equal position are merged. Crumbs that come loose are dropped; only a
        bridge thinner than the faces of the budget can part a mesh.
    Raises:
        OptionError: The budget is below four faces, or the mesh has none.
        MeshwrightError: A closed mesh could not be kept closed.
    Source: Garland and Heckbert 1997, as implemented by fast-simplification.
    """
    if faces < 4:
        raise OptionError(f"A face budget of {faces} cannot hold a solid.", hint="Ask for 4 faces or more.")
    if len(mesh.faces) == 0:
        raise OptionError("The mesh to simplify has no faces.", hint="Check the silhouettes that it came from.")
    vertices, triangles = welded = weld_short_edges(mesh.vertices, mesh.faces)
    closed = is_balanced(triangles)
    if len(triangles) > faces:
        vertices, triangles = weld_short_edges(*decimate(vertices, triangles, faces))
    if closed and len(triangles):
        vertices, triangles = make_manifold(vertices, triangles)
        vertices, triangles = drop_new_crumbs(vertices, triangles, lambda: count_pieces(len(welded[0]), welded[1]))
        vertices = pull_apart(vertices, triangles)
    vertices, triangles = drop_unused(vertices, triangles)
    return Mesh(vertices=np.ascontiguousarray(vertices, np.float32), faces=np.ascontiguousarray(triangles, np.int32))


def decimate(vertices: Array, faces: Array, budget: int) -> tuple[Array, Array]:
    """Collapse edges in order of quadric error until the budget holds."""
    import fast_simplification

    # A low `agg` raises the error threshold slowly, which leaves rounder triangles, but its rounds are limited and it
    # can stop above the budget: then a hastier one goes on from there.
    for haste in (2, 4, 7, 10):
        if len(faces) > budget:
            vertices, faces = fast_simplification.simplify(vertices, faces, target_count=budget, agg=haste)
            vertices, faces = vertices.astype(np.float32), faces.astype(np.int32)
    return vertices, faces


def weld_short_edges(vertices: Array, faces: Array) -> tuple[Array, Array]:
    """Merge the ends of edges that have no length, then drop faces that lost their area or met their mirror twin."""
    vertices = np.ascontiguousarray(vertices, np.float32)
    faces = np.ascontiguousarray(faces, np.int32)
    diagonal = float(np.linalg.norm(vertices.max(0) - vertices.min(0)))
    # Column by column: rows of two and three are slow to gather and to add up.
    columns, axes = (np.ascontiguousarray(x.T) for x in (faces, vertices))
    short: list[list[Array]] = [[], []]
    for start, end in ((0, 1), (1, 2), (2, 0)):
        square = sum((axis[columns[start]] - axis[columns[end]]) ** 2 for axis in axes)
        close = np.flatnonzero(square <= (WELD * diagonal) ** 2)
        short[0].append(columns[start][close])
        short[1].append(columns[end][close])
    starts, ends = (np.concatenate(x) for x in short)
    if len(starts):
        graph = coo_matrix((np.ones(len(starts), np.int8), (starts, ends)), shape=(len(vertices),) * 2)
        _, group = connected_components(graph, directed=False)
        first = np.full(group.max() + 1, len(vertices), np.int64)
        np.minimum.at(first, group, np.arange(len(vertices)))
        faces = np.asarray(first[group])[faces].astype(np.int32)
    return vertices, cancel_twins(faces)


def cancel_twins(faces: Array) -> Array:
    """Drop faces with a repeated corner, pairs of opposite faces (both), and repeated faces (all but one)."""
    a, b, c = np.ascontiguousarray(faces.T)
    whole = (a != b) & (b != c) & (c != a)
    if not whole.all():
        faces = faces[whole]
        a, b, c = np.ascontiguousarray(faces.T)
    if len(faces) == 0:
        return faces
    # Faces with the same corners have the same sum of the corners' random numbers, and next to no others have: mostly
    # one sort says that there are no twins.
    numbers = np.random.default_rng(0).integers(0, 2**63, int(faces.max()) + 1, dtype=np.uint64)
    sums = np.sort(numbers[a] + numbers[b] + numbers[c])
    if not (sums[1:] == sums[:-1]).any():
        return faces
    ordered = np.sort(faces, 1).astype(np.int64)
    side = int(faces.max()) + 1
    # Two columns at a time fit into 64 bits; the third joins through the rank of the first two.
    pair = np.unique(ordered[:, 0] * side + ordered[:, 1], return_inverse=True)[1]
    _, first, twin, count = np.unique(
        pair * side + ordered[:, 2], return_index=True, return_inverse=True, return_counts=True
    )
    if np.all(count == 1):
        return faces
    # +1 for faces wound as the sorted triple, -1 for the mirrored ones.
    rank = np.argsort(np.argsort(faces, 1), 1)
    even = (rank[:, 1] - rank[:, 0]) % 3 == 1
    balance = np.bincount(twin, np.where(even, 1, -1)).astype(int)
    # A closed surface keeps its balance: one face per surplus side. An open one keeps one of any repeated faces.
    keep = []
    for index in np.flatnonzero((count > 1) & (balance != 0)):
        members = np.flatnonzero(twin == index)
        wanted = members[even[members] == (balance[index] > 0)]
        keep.append(wanted[0])
    chosen = np.sort(np.concatenate([first[count == 1], np.array(keep, np.int64)]))
    return np.ascontiguousarray(faces[chosen])


def is_balanced(faces: Array) -> bool:
    """Whether every directed edge has its opposite exactly as often: the surface has no border."""
    if len(faces) == 0:
        return False
    side = np.int64(faces.max()) + 1
    start = np.concatenate([faces[:, 0], faces[:, 1], faces[:, 2]]).astype(np.int64)
    end = np.concatenate([faces[:, 1], faces[:, 2], faces[:, 0]]).astype(np.int64)
    return bool(np.array_equal(np.sort(start * side + end), np.sort(end * side + start)))


def count_pieces(vertices: int, faces: Array) -> int:
    """Connected components among the faces."""
    return int(np.unique(label_pieces(vertices, faces)).size)


def label_pieces(vertices: int, faces: Array) -> Array:
    """Which connected component each face belongs to, int32 [F]."""
    start, end = faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()
    graph = coo_matrix((np.ones(len(start), np.int8), (start, end)), shape=(vertices, vertices))
    labels: Array = connected_components(graph, directed=False)[1][faces[:, 0]]
    return labels


def make_manifold(vertices: Array, faces: Array) -> tuple[Array, Array]:
    """Pair the faces around every edge two by two, collapse what has no length or height."""
    import manifold3d

    solid = manifold3d.Manifold(manifold3d.Mesh(vertices, faces.astype(np.uint32)))
    if solid.status() != manifold3d.Error.NoError:
        raise MeshwrightError(
            f"A closed mesh of {len(faces)} faces could not be kept closed ({solid.status()}).",
            hint="Raise the face budget.",
        )
    diagonal = float(np.linalg.norm(vertices.max(0) - vertices.min(0)))
    result = solid.simplify(WELD * diagonal).to_mesh()
    return np.asarray(result.vert_properties, np.float32)[:, :3], np.asarray(result.tri_verts, np.int32)


def drop_new_crumbs(vertices: Array, faces: Array, pieces: Callable[[], int]) -> tuple[Array, Array]:
    """Separating sheets that touched may set free small pieces: drop the smallest of those beyond `pieces()`."""
    labels = label_pieces(len(vertices), faces)
    names, count = np.unique(labels, return_counts=True)
    # One piece is never too many, and most meshes are one: then nobody needs to know how many there were.
    surplus = len(names) - pieces() if len(names) > 1 else 0
    if surplus <= 0:
        return vertices, faces
    crumbs = names[np.argsort(count)][:surplus]
    crumbs = crumbs[np.sort(count)[:surplus] < 0.01 * len(faces)]
    return vertices, faces[~np.isin(labels, crumbs)]


def pull_apart(vertices: Array, faces: Array) -> Array:
    """Move vertices that share one position towards the middle of their own neighbours, a fiftieth of an edge.

    Readers of mesh files merge vertices by position; two sheets that only touch would become one non-manifold edge.
    """
    # Who shares a position shares its x: that leaves few, in most meshes.
    x = np.sort(vertices[:, 0])
    alike = np.flatnonzero(np.isin(vertices[:, 0], x[1:][x[1:] == x[:-1]]))
    _, place, count = np.unique(vertices[alike], axis=0, return_inverse=True, return_counts=True)
    shared = np.zeros(len(vertices), bool)
    shared[alike] = count[place.ravel()] > 1
    used = np.zeros(len(vertices), bool)
    used[faces.ravel()] = True
    shared &= used
    if not shared.any():
        return vertices
    corners = vertices[faces].astype(np.float64)
    edge = float(np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1).mean())
    total, weight = np.zeros((len(vertices), 3)), np.zeros(len(vertices))
    for corner in range(3):
        np.add.at(total, faces[:, corner], corners[:, (corner + 1) % 3] + corners[:, (corner + 2) % 3])
        np.add.at(weight, faces[:, corner], 2.0)
    inward = total[shared] / weight[shared, None] - vertices[shared]
    length = np.linalg.norm(inward, axis=1, keepdims=True)
    moved = vertices.copy()
    moved[shared] += (inward / np.maximum(length, 1e-12) * np.minimum(PULL * edge, length)).astype(np.float32)
    return moved


def drop_unused(vertices: Array, faces: Array) -> tuple[Array, Array]:
    """Renumber so that only vertices of faces remain."""
    used = np.zeros(len(vertices), bool)
    used[faces.ravel()] = True
    number = np.cumsum(used) - 1
    return vertices[used], number[faces].astype(np.int32)
