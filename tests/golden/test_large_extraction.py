"""Triangles out of listed cubes: against golden meshes, and against what must be true of any surface."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import Tensor

import large_goldens as goldens
from large_goldens import DEVICES
from meshwright.errors import ShapeError
from meshwright.models.reconviagen.large.extraction import ExtractedMesh, extract, tables
from meshwright.models.reconviagen.large.extraction.extract import grid_points
from meshwright.models.reconviagen.large.extraction.tables import CORNERS, EDGES, CaseTables, case_tables
from meshwright.types import Mesh

# The package has a function of the same name.
MODULE = sys.modules["meshwright.models.reconviagen.large.extraction.extract"]

NAMES = ["flexicubes_sphere", "flexicubes_noisy"]
DECODED = "slat_decoder_mesh"
"""What random weights gave: the only golden where cubes are turned round, and where the odd case 231 occurs."""


def cubes(name: str, device: str = "cpu") -> tuple[Tensor, Tensor, int]:
    golden = goldens.load(name, device)
    if name == DECODED:
        return golden["out.raw_coords"][:, 1:], golden["out.raw"], 32
    return golden["in.coords"][:, 1:], golden["in.feats"], int(goldens.entry(name)["config"]["res"])


def same(name: str, mesh: ExtractedMesh) -> bool:
    golden = goldens.load(name)
    attributes = torch.cat([mesh.colors, mesh.normals], 1)
    return (
        goldens.agrees(name, mesh.vertices, golden["out.vertices"])
        and goldens.agrees(name, attributes, golden["out.vertex_attrs"])
        and torch.equal(mesh.faces.cpu(), golden["out.faces"])
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", [*NAMES, DECODED])
def test_agrees_with_golden(name: str, device: str) -> None:
    assert same(name, extract(*cubes(name, device)))


@pytest.mark.parametrize("name", NAMES)
def test_normals_agree_with_golden(name: str) -> None:
    found, golden = extract(*cubes(name)), goldens.load(name)
    corners = found.vertices.double()[found.faces]
    cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    wide = cross.norm(dim=1) > 1e-9  # thinner triangles have no normal worth the name
    normal = torch.nn.functional.normalize(cross, dim=1)
    assert (normal - golden["out.face_normal_first"].double())[wide].abs().max() < 2e-3
    smooth = Mesh(vertices=found.vertices.numpy(), faces=found.faces.int().numpy()).vertex_normals()
    if name == "flexicubes_sphere":
        np.testing.assert_allclose(smooth, golden["out.vertex_normal"].numpy(), atol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NAMES)
def test_grid_points_agree_with_golden(name: str, device: str) -> None:
    coords, feats, resolution = cubes(name, device)
    golden, side = goldens.load(name), resolution + 1
    points = grid_points(coords, feats, resolution)
    places = torch.stack([points.keys // side**2, points.keys // side % side, points.keys % side], 1)
    assert torch.equal(places.int().cpu(), golden["mid.grid_vert_pos"])
    goldens.assert_agrees(name, points.values, golden["mid.grid_vert_attrs"])


SPOILED_CHANNELS = {
    "distances negated": lambda feats: torch.cat([-feats[:, :8], feats[:, 8:]], 1),
    "corners swapped": lambda feats: torch.cat([feats[:, [0, 1, 2, 4, 3, 5, 6, 7]], feats[:, 8:]], 1),
    "offsets by axis": lambda feats: torch.cat(
        [feats[:, :8], feats[:, 8:32].reshape(-1, 8, 3).transpose(1, 2).flatten(1), feats[:, 32:]], 1
    ),
    "edge and corner weights swapped": lambda feats: torch.cat(
        [feats[:, :32], feats[:, 44:52], feats[:, 32:44], feats[:, 52:]], 1
    ),
    "colours by channel": lambda feats: torch.cat(
        [feats[:, :53], feats[:, 53:].reshape(-1, 8, 6).transpose(1, 2).flatten(1)], 1
    ),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spoiler", SPOILED_CHANNELS)
def test_goldens_refuse_channels_read_otherwise(name: str, spoiler: str) -> None:
    coords, feats, resolution = cubes(name)
    assert not same(name, extract(coords, SPOILED_CHANNELS[spoiler](feats), resolution))


@pytest.mark.parametrize("name", NAMES)
def test_goldens_refuse_swapped_axes(name: str) -> None:
    coords, feats, resolution = cubes(name)
    assert not same(name, extract(coords.flip(1), feats, resolution))


@pytest.mark.parametrize("fault", ["nothing is turned round", "inside corners joined", "case 231 as the others"])
def test_golden_refuses_other_tables(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = case_tables()
    edge_component, ambiguous = table.edge_component.copy(), table.ambiguous_face
    if fault == "nothing is turned round":
        ambiguous = np.full_like(ambiguous, -1)
    elif fault == "inside corners joined":
        edge_component = edge_component[::-1].copy()
    else:
        swapped = edge_component[231].copy()
        edge_component[231] = np.where(swapped >= 0, 1 - swapped, -1)
    spoiled = CaseTables(components=edge_component.max(1) + 1, edge_component=edge_component, ambiguous_face=ambiguous)
    monkeypatch.setattr(MODULE, "case_tables", lambda: spoiled)
    assert not same(DECODED, extract(*cubes(DECODED)))


# --- what must be true of any surface ---------------------------------------------------------------------------------


def plain(coords: Tensor, distance: Tensor) -> Tensor:
    """Cubes that say a distance and nothing else; the bias is taken out by the caller."""
    feats = torch.zeros(len(coords), 101)
    feats[:, :8] = distance
    return feats


def corners_of(coords: Tensor, resolution: int) -> Tensor:
    return (coords[:, None] + torch.tensor(CORNERS)) / resolution - 0.5


def ball(resolution: int, radius: float, *, hollow: bool = False) -> tuple[Tensor, Tensor, int]:
    """The cubes within a sphere and near it; if hollow, only those near it."""
    axis = torch.arange(resolution)
    everything = torch.cartesian_prod(axis, axis, axis)
    away = ((everything + 0.5) / resolution - 0.5).norm(dim=1) - radius
    coords = everything[(away.abs() if hollow else away) < 2 / resolution]
    distance = corners_of(coords, resolution).norm(dim=2) - radius + 1 / resolution
    return coords, plain(coords, distance), resolution


def edge_uses(faces: Tensor) -> tuple[Tensor, Tensor]:
    """How often each edge occurs in either direction."""
    directed = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    _, uses = torch.unique(directed.sort(1).values, dim=0, return_counts=True)
    _, one_way = torch.unique(directed, dim=0, return_counts=True)
    return uses, one_way


def test_a_ball_is_round_closed_and_seen_from_outside() -> None:
    mesh = extract(*ball(32, 0.3))
    uses, one_way = edge_uses(mesh.faces)
    assert (uses == 2).all()
    assert (one_way == 1).all()
    assert len(mesh.vertices) - len(uses) + len(mesh.faces) == 2
    # A dual vertex is a mean of points on the sphere: inside of it by less than a cell's sagitta, (1/32)^2 / 0.3.
    assert (mesh.vertices.norm(dim=1) - 0.3).abs().max() < 1 / 32**2 / 0.3
    corners = mesh.vertices.double()[mesh.faces]
    volume = torch.linalg.det(corners).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi * 0.3**3, rel=0.02)
    assert torch.all(mesh.colors == 0.5)


def test_a_shell_of_cubes_has_an_inner_wall() -> None:
    """What is not listed counts as outside, inside of a shell too: two spheres, one in the other."""
    mesh = extract(*ball(32, 0.3, hollow=True))
    uses, _ = edge_uses(mesh.faces)
    assert (uses == 2).all()
    assert len(mesh.vertices) - len(uses) + len(mesh.faces) == 4
    whole = extract(*ball(32, 0.3))
    outer = mesh.vertices.norm(dim=1) > 0.29
    torch.testing.assert_close(mesh.vertices[outer], whole.vertices)
    # Beside an edge of the inner wall, one that faces its middle.
    corners = mesh.vertices.double()[mesh.faces]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    inwards = (normal * corners.mean(1)).sum(1) < 0
    assert torch.equal(inwards, ~outer[mesh.faces].all(1))


def test_noise_is_closed_within_the_grid() -> None:
    """Every edge has two triangles or, where surfaces touch, an even number; as many run one way as the other."""
    torch.manual_seed(0)
    coords = torch.cartesian_prod(*[torch.arange(2, 10)] * 3)
    coords = coords[torch.rand(len(coords)) < 0.7]
    mesh = extract(coords, torch.randn(len(coords), 101), 12)
    assert len(mesh.faces) > 1000
    uses, _ = edge_uses(mesh.faces)
    assert (uses % 2 == 0).all()
    directed = torch.cat([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    forward = directed[:, 0] < directed[:, 1]
    names, index = torch.unique(directed.sort(1).values, dim=0, return_inverse=True)
    balance = torch.zeros(len(names)).index_add_(0, index, torch.where(forward, 1.0, -1.0))
    assert not balance.any()


def test_order_of_the_cubes_does_not_matter() -> None:
    coords, feats, resolution = cubes("flexicubes_noisy")
    order = torch.randperm(len(coords), generator=torch.Generator().manual_seed(3))
    one, other = extract(coords, feats, resolution), extract(coords[order], feats[order], resolution)
    assert torch.equal(one.faces, other.faces)
    assert torch.equal(one.vertices, other.vertices)


def test_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = extract(*cubes("flexicubes_noisy"))
    monkeypatch.setattr(MODULE, "PIECE", 37)
    pieces = extract(*cubes("flexicubes_noisy"))
    assert torch.equal(whole.faces, pieces.faces)
    assert torch.equal(whole.vertices, pieces.vertices)


def test_grid_is_never_written_out() -> None:
    """Of a grid of 2^48 cubes, a few dozen exist."""
    resolution = 2**16
    coords = torch.cartesian_prod(*[torch.arange(3) + 40_000] * 3)
    distance = (coords[:, None] + torch.tensor(CORNERS) - 40_001.5).norm(dim=2) - 1.0
    mesh = extract(coords, plain(coords, distance), resolution)
    assert len(mesh.faces) > 0
    assert ((mesh.vertices + 0.5) * resolution - 40_001.5).abs().max() < 2
    uses, _ = edge_uses(mesh.faces)
    assert (uses == 2).all()


def test_cubes_that_do_not_exist_close_the_surface() -> None:
    """One cube with all corners inside: its neighbours, which are not listed, make the box around it."""
    mesh = extract(torch.tensor([[4, 4, 4]]), plain(torch.zeros(1, 3), torch.full((1, 8), -1.0)), 9)
    assert mesh.vertices.shape == (26, 3)
    uses, _ = edge_uses(mesh.faces)
    assert (uses == 2).all()
    assert torch.linalg.det(mesh.vertices.double()[mesh.faces]).sum() > 0


@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_empty(value: float) -> None:
    coords = torch.cartesian_prod(*[torch.arange(3)] * 3)
    mesh = extract(coords, plain(coords, torch.full((27, 8), value)), 3)
    assert mesh.vertices.shape == (0, 3)
    assert mesh.faces.shape == (0, 3)
    nothing = extract(torch.zeros(0, 3, dtype=torch.int32), torch.zeros(0, 101), 3)
    assert nothing.vertices.shape == nothing.colors.shape == nothing.normals.shape == (0, 3)


def test_bad_cubes_are_refused() -> None:
    coords, feats = torch.tensor([[0, 0, 0], [1, 1, 1]]), torch.zeros(2, 101)
    with pytest.raises(ShapeError, match="no cubes"):
        extract(coords, feats[:, :53], 4)
    with pytest.raises(ShapeError, match="outside of the grid"):
        extract(coords, feats, 1)
    with pytest.raises(ShapeError, match="occur twice"):
        extract(coords[[0, 0]], feats, 4)


# --- the tables -------------------------------------------------------------------------------------------------------


def test_every_crossed_edge_has_a_component() -> None:
    table = case_tables()
    for case in range(256):
        crossed = [(case >> a & 1) != (case >> b & 1) for a, b in EDGES]
        assert ((table.edge_component[case] >= 0) == crossed).all()
        numbers = sorted(set(table.edge_component[case]) - {-1})
        assert numbers == list(range(table.components[case]))
        for number in numbers:
            assert (table.edge_component[case] == number).sum() >= 3


def test_edges_that_cubes_share_run_the_same_way() -> None:
    steps = {tuple(np.subtract(CORNERS[b], CORNERS[a])) for a, b in EDGES}
    assert steps == {(1, 0, 0), (0, -1, 0), (0, 0, 1)}
    assert len(set(tables.EDGES)) == 12


def test_single_corners_are_single_components() -> None:
    """Inside corners are kept apart: two corners across a face or the cube make two components."""
    table = case_tables()
    assert all(table.components[1 << corner] == 1 for corner in range(8))
    assert table.components[1 | 1 << 7] == 2
    assert table.components[1 | 1 << 3] == 2
    assert table.components[0b01101001] == 4
    assert table.components[0] == table.components[255] == 0
    assert {int(n).bit_count() for n in np.flatnonzero(table.ambiguous_face >= 0)} == {5, 6}
