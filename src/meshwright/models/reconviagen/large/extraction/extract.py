"""From cubes with a signed distance at every corner to triangles: a dual surface with learned weights.

Letters: M cubes that exist, R cubes along an edge of the grid, V grid points that they touch, S cubes that the surface
passes through, P dual vertices, Q quads, F triangles.
World: the grid fills [-0.5, 0.5] on every axis. Distances are negative inside.
Source: Shen et al. 2023, "Flexible isosurface extraction for gradient-based mesh optimization", for the weighted dual
vertices; Nielson 2004, "Dual marching cubes", for which of them a cube has. Of the grid only cubes that exist, and
those that touch their inner points, are ever listed. Nothing is added up in an order that may change from run to run.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from meshwright.errors import ShapeError
from meshwright.models.reconviagen.large.extraction.tables import CORNERS, EDGE_RANKS, EDGES, FACES, case_tables

__all__ = ["ExtractedMesh", "GridPoints", "extract", "grid_points"]

CHANNELS = 101
SDF, OFFSET, BETA, ALPHA, GAMMA, COLOR = 0, 8, 32, 44, 52, 53
"""First channels of: 8 distances, 8 x 3 offsets, 12 edge weights, 8 corner weights, 1 split weight, 8 x 6 colours."""

PIECE = 2**16
"""Cubes whose dual vertices are worked out at a time."""


@dataclass(frozen=True, kw_only=True)
class ExtractedMesh:
    """Triangles, counter-clockwise seen from outside, on the device of what they were extracted from.

    Attributes:
        vertices: World, float32 [P, 3].
        faces: int64 [F, 3].
        colors: sRGB in 0 to 1, float32 [P, 3].
        normals: What the network takes the normal for, 0 to 1 for -1 to 1, float32 [P, 3].
    """

    vertices: Tensor
    faces: Tensor
    colors: Tensor
    normals: Tensor


@dataclass(frozen=True, kw_only=True)
class GridPoints:
    """The grid points that existing cubes touch, in ascending order of their keys.

    Attributes:
        keys: (x (R + 1) + y) (R + 1) + z, int64 [V].
        values: Signed distance 1, offset 3, colour and normal 6, before any activation; float32 [V, 10].
        corners: Point of every corner of every cube, int64 [M, 8].
        cubes: The cube whose corner c the point is, int64 [V, 8]; M where that cube does not exist.
    """

    keys: Tensor
    values: Tensor
    corners: Tensor
    cubes: Tensor


@dataclass(frozen=True, kw_only=True)
class _SurfaceCubes:
    """Cubes with corners on both sides, in ascending order of their numbers.

    Attributes:
        cells: x, y, z, int64 [S, 3].
        numbers: (x R + y) R + z, int64 [S].
        rows: Row among the existing cubes, [S]; M for one that does not exist.
        corners: Grid points, [S, 8]; V for one that no cube touches.
        cases: Sum of 2^c over inside corners, [S].
    """

    cells: Tensor
    numbers: Tensor
    rows: Tensor
    corners: Tensor
    cases: Tensor


def extract(coords: Tensor, feats: Tensor, resolution: int) -> ExtractedMesh:
    """The surface where the signed distance is 0.

    Cubes beside existing ones that do not exist themselves count as outside, so surfaces end at the grid's border only.

    Args:
        coords: Cubes, integer [M, 3], each once, within the grid.
        feats: What the mesh decoder says of them, [M, 101].
        resolution: R.
    Returns:
        The mesh; empty where all points lie on one side.
    Raises:
        ShapeError: Shapes do not fit, or cubes lie outside of the grid or occur twice.
    """
    _check(coords, feats, resolution)
    points = grid_points(coords, feats, resolution)
    values = torch.cat([points.values, _untouched(points.values)])
    cubes = _surface_cubes(coords, points, values[:, 0] < 0, resolution)
    lookup = _turned(cubes, resolution)
    table = case_tables()
    components = torch.from_numpy(table.components).to(coords.device)[lookup]
    edge_component = torch.from_numpy(table.edge_component).to(coords.device)[lookup]
    # Cubes with one dual vertex come first, then those with two, and so on; this is how published meshes are numbered.
    order = components.argsort(stable=True)
    first_vertex = torch.empty_like(components)
    first_vertex[order] = components[order].cumsum(0) - components[order]
    places, split = _dual_vertices(values, cubes, edge_component, feats, resolution)
    owner = order.repeat_interleave(components[order])
    number = torch.arange(len(owner), device=coords.device) - first_vertex[owner]
    vertices = places[owner, number]
    vertex_of_edge = torch.where(edge_component >= 0, first_vertex[:, None] + edge_component, -1)
    quads = _quads(cubes, vertex_of_edge, resolution)
    return ExtractedMesh(
        vertices=vertices[:, :3],
        faces=_triangles(quads, split[owner]),
        colors=vertices[:, 3:6],
        normals=vertices[:, 6:],
    )


def _check(coords: Tensor, feats: Tensor, resolution: int) -> None:
    if coords.ndim != 2 or coords.shape[1] != 3 or feats.shape != (len(coords), CHANNELS):
        raise ShapeError(
            f"coords {tuple(coords.shape)} and feats {tuple(feats.shape)} are no cubes.",
            hint=f"Use coords [M, 3] and feats [M, {CHANNELS}].",
        )
    if len(coords) and not bool(((coords >= 0) & (coords < resolution)).all()):
        raise ShapeError(f"Cubes lie outside of the grid of {resolution}^3.", hint="Check the resolution.")


def grid_points(coords: Tensor, feats: Tensor, resolution: int) -> GridPoints:
    """Grid points with the mean of what all cubes that touch them say.

    Args:
        coords: [M, 3].
        feats: [M, 101].
        resolution: R.
    """
    count, device = len(coords), coords.device
    keys, corners = torch.unique(_corner_keys(coords.long(), resolution), return_inverse=True)
    cubes = torch.full((len(keys), 8), count, device=device)
    rows = torch.arange(count, device=device)
    total = torch.zeros(len(keys), 10, device=device)
    touching = torch.zeros(len(keys), 1, device=device)
    for corner in range(8):
        cubes[corners[:, corner], corner] = rows
        told = torch.cat([feats[:, slice(*span)] for span in _spans(corner)], 1).float()
        # A point is corner c of one cube at most: every row is written once, whatever the order.
        total[corners[:, corner]] += told
        touching[corners[:, corner]] += 1
    values = total / touching
    values[:, 0] -= 1 / resolution
    if bool((cubes < count).sum() != 8 * count):
        raise ShapeError("Some cubes occur twice.", hint="List every cube once.")
    return GridPoints(keys=keys, values=values, corners=corners, cubes=cubes)


def _spans(corner: int) -> tuple[tuple[int, int], ...]:
    """Channels that speak of one corner."""
    return (
        (SDF + corner, SDF + corner + 1),
        (OFFSET + 3 * corner, OFFSET + 3 * corner + 3),
        (COLOR + 6 * corner, COLOR + 6 * corner + 6),
    )


def _numbers(cells: Tensor, resolution: int) -> Tensor:
    x, y, z = cells.unbind(1)
    return (x * resolution + y) * resolution + z


def _corner_keys(cubes: Tensor, resolution: int) -> Tensor:
    """Keys of the eight corners, [.., 8]."""
    offsets = torch.tensor(CORNERS, device=cubes.device)
    x, y, z = (cubes[:, None] + offsets).unbind(-1)
    return (x * (resolution + 1) + y) * (resolution + 1) + z


def _untouched(values: Tensor) -> Tensor:
    """One more row of values: a point that no cube touches lies outside and says nothing else."""
    row = torch.zeros(1, values.shape[1], device=values.device)
    row[0, 0] = 1
    return row


def _surface_cubes(coords: Tensor, points: GridPoints, inside: Tensor, resolution: int) -> _SurfaceCubes:
    """Existing cubes, and those beside inner points that do not exist; `inside` is [V + 1]."""
    count, device = len(coords), coords.device
    missing = _missing_cubes(points, inside, count, resolution)
    corner_keys = _corner_keys(missing, resolution)
    place = torch.searchsorted(points.keys, corner_keys).clamp_(max=max(len(points.keys) - 1, 0))
    corners = torch.cat([points.corners, torch.where(points.keys[place] == corner_keys, place, len(points.keys))])
    rows = torch.cat([torch.arange(count, device=device), torch.full((len(missing),), count, device=device)])
    everything = torch.cat([coords.long(), missing])
    powers = 2 ** torch.arange(8, device=device)
    cases = (inside[corners] * powers).sum(1)
    crossed = ((cases > 0) & (cases < 255)).nonzero()[:, 0]
    numbers, order = _numbers(everything[crossed], resolution).sort()
    chosen = crossed[order]
    return _SurfaceCubes(
        cells=everything[chosen], numbers=numbers, rows=rows[chosen], corners=corners[chosen], cases=cases[chosen]
    )


def _missing_cubes(points: GridPoints, inside: Tensor, count: int, resolution: int) -> Tensor:
    """Cubes of the grid that do not exist but touch an inner point, [.., 3], each once."""
    point, corner = (inside[:-1, None] & (points.cubes == count)).nonzero().unbind(1)
    keys, side = points.keys[point], resolution + 1
    place = torch.stack([keys // (side * side), keys // side % side, keys % side], 1)
    cubes = place - torch.tensor(CORNERS, device=keys.device)[corner]
    cubes = cubes[((cubes >= 0) & (cubes < resolution)).all(1)]
    numbers = torch.unique(_numbers(cubes, resolution))
    return torch.stack([numbers // resolution**2, numbers // resolution % resolution, numbers % resolution], 1)


def _turned(cubes: _SurfaceCubes, resolution: int) -> Tensor:
    """Cases as the tables are asked: turned round where two ambiguous cubes would otherwise part a shared face in
    different ways and leave an edge with four triangles."""
    faces = torch.from_numpy(case_tables().ambiguous_face).to(cubes.cases.device)
    flagged = faces[cubes.cases]
    own = (flagged >= 0).nonzero()[:, 0]
    if not len(own):
        return cubes.cases
    numbers = cubes.numbers[own]
    steps = torch.zeros(len(FACES), 3, dtype=torch.int64)
    for face, (axis, side) in enumerate(FACES):
        steps[face, axis] = side
    across = cubes.cells[own] + steps.to(numbers.device)[flagged[own]]
    within = ((across >= 0) & (across < resolution)).all(1)
    wanted = _numbers(across, resolution)
    found = torch.searchsorted(numbers, wanted).clamp_(max=len(numbers) - 1)
    both = within & (numbers[found] == wanted)
    lookup = cubes.cases.clone()
    lookup[own] = torch.where(both, 255 - cubes.cases[own], cubes.cases[own])
    return lookup


def _dual_vertices(
    values: Tensor, cubes: _SurfaceCubes, edge_component: Tensor, feats: Tensor, resolution: int
) -> tuple[Tensor, Tensor]:
    """Position, colour and normal of up to four dual vertices a cube, [S, 4, 9]; and its split weight, [S]."""
    count = len(cubes.rows)
    places = torch.zeros(count, 4, 9, device=feats.device)
    split = torch.empty(count, device=feats.device)
    first, second = torch.tensor(EDGES, device=feats.device).unbind(1)
    offsets = torch.tensor(CORNERS, device=feats.device)
    for start in range(0, count, PIECE):
        piece = slice(start, start + PIECE)
        rows = cubes.rows[piece]
        weights = feats[rows.clamp(max=len(feats) - 1), BETA:COLOR].float()
        # Cubes that do not exist have raw weights 0.
        weights = torch.where((rows < len(feats))[:, None], weights, 0.0)
        beta = 0.99 * weights[:, : ALPHA - BETA].tanh() + 1
        alpha = 0.99 * weights[:, ALPHA - BETA : GAMMA - BETA].tanh() + 1
        split[piece] = 0.99 * weights[:, GAMMA - BETA].sigmoid() + 0.005
        at_corners = values[cubes.corners[piece]]
        grid = (cubes.cells[piece, None] + offsets).float() / resolution - 0.5
        position = grid + (1 - 1e-8) / (2 * resolution) * at_corners[..., 1:4].tanh()
        told = torch.cat([position, at_corners[..., 4:].sigmoid()], 2)
        distance = at_corners[..., 0] * alpha
        a, b = distance[:, first, None], distance[:, second, None]
        component = edge_component[piece]
        apart = torch.where((component >= 0)[..., None], b - a, 1.0)
        crossing = (told[:, first] * b - told[:, second] * a) / apart
        for number_of in range(4):
            mine = torch.where(component == number_of, beta, 0.0)
            total = mine.sum(1, keepdim=True).clamp(min=1e-30)
            places[piece, number_of] = (mine[..., None] * crossing).sum(1) / total
    return places, split


def _quads(cubes: _SurfaceCubes, vertex_of_edge: Tensor, resolution: int) -> Tensor:
    """Four dual vertices around every crossed grid edge that four surface cubes share, [Q, 4], as seen from outside.

    Edges whose first end lies outside come first; among themselves they are ordered by their ends.
    """
    device = cubes.cells.device
    cube, edge = (vertex_of_edge >= 0).nonzero().unbind(1)
    ends = torch.tensor([a for a, _ in EDGES], device=device)
    ranks = torch.tensor(EDGE_RANKS, device=device)
    first = ends[edge]
    keys = _corner_keys(cubes.cells, resolution)[cube, first] * 3 + ranks[edge]
    # Stable: cubes of one edge stay in the order of their numbers.
    keys, order = keys.sort(stable=True)
    _, lengths = torch.unique_consecutive(keys, return_counts=True)
    starts = (lengths.cumsum(0) - lengths)[lengths == 4]
    around = order[starts[:, None] + torch.arange(4, device=device)]
    vertices = vertex_of_edge[cube[around], edge[around]]
    outside = (cubes.cases[cube[around[:, 0]]] >> first[around[:, 0]]) & 1 == 0
    return torch.cat([vertices[outside][:, [0, 1, 3, 2]], vertices[~outside][:, [2, 3, 1, 0]]])


def _triangles(quads: Tensor, split: Tensor) -> Tensor:
    """Each quad along the diagonal between the two corners with the larger weights, [F, 3]."""
    weights = split[quads]
    along = weights[:, 0] * weights[:, 2] > weights[:, 1] * weights[:, 3]
    one = quads[:, [0, 1, 2, 0, 2, 3]]
    other = quads[:, [0, 1, 3, 3, 1, 2]]
    return torch.where(along[:, None], one, other).reshape(-1, 3)
