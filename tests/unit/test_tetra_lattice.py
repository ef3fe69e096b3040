"""The lattices: what fills a box, what stays near a surface, and what is carried from one to the next."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from meshwright.errors import OptionError, ShapeError
from meshwright.geometry.tetra import (
    CubeLattice,
    TetraLattice,
    cube_lattice,
    march_cubes_dual,
    march_tetrahedra,
    tetra_lattice,
)
from meshwright.geometry.tetra.places import Box, distinct, find
from meshwright.geometry.tetra.tetrahedra import EDGE_ENDS, LINKS, STAR, corners_of
from tetra_scenes import area, is_closed, noise, sphere, torus, volume

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]
LOW, HIGH = (-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)


def tet_volumes(lattice: TetraLattice) -> torch.Tensor:
    x = lattice.places.double()[lattice.tets.long()] * (lattice.cell / 2)
    return torch.linalg.det(x[:, 1:] - x[:, :1]) / 6


def named(lattice: TetraLattice) -> set[tuple[int, ...]]:
    """Tetrahedra by the sum of their corners' places: no two of the infinite lattice share it."""
    return {tuple(row) for row in lattice.places[lattice.tets.long()].sum(1).tolist()}


def crossed(lattice: TetraLattice, sdf: torch.Tensor) -> set[tuple[int, ...]]:
    """Those of `named` that have corners on both sides."""
    tets = lattice.tets.long()
    mixed = (sdf > 0)[tets].sum(1) % 4 > 0
    return {tuple(row) for row in lattice.places[tets[mixed]].sum(1).tolist()}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("high", "resolution"), [((1.0, 1.0, 1.0), 4), ((1.0, 0.0, 2.0), 6), ((0.5, -0.5, -0.4), 1)])
def test_tetrahedra_fill_the_box(high: tuple[float, float, float], resolution: int, device: str) -> None:
    """All of one size and right-handed; together the box, and a pyramid of half a cell on each cell of its faces."""
    lattice = tetra_lattice(LOW, high, resolution, device=device)
    nx, ny, nz = lattice.domain.cells
    each = tet_volumes(lattice)
    torch.testing.assert_close(each, torch.full_like(each, lattice.cell**3 / 12))
    total = (nx * ny * nz + 2 * (nx * ny + ny * nz + nz * nx) / 6) * lattice.cell**3
    assert each.sum().item() == pytest.approx(total)
    assert len(named(lattice)) == len(lattice.tets)
    assert np.allclose(lattice.cell * resolution, max(np.subtract(high, LOW)))
    corner = torch.tensor(lattice.domain.origin) + torch.tensor(lattice.domain.cells) * lattice.cell
    assert all(a <= b + 1e-6 for a, b in zip(high, corner.tolist(), strict=True))


def test_corners_follow_from_names() -> None:
    """Each of the 24 names around a point has that point, and four corners whose sum is twice the name."""
    for point in ((1, 1, 1), (2, 4, 0), (-1, 3, -5), (0, 0, 0)):
        v = torch.tensor(point)
        names = 2 * v + torch.tensor(STAR)
        corners = corners_of(names)
        assert (corners == v).all(-1).any(1).all()
        assert torch.equal(corners.sum(1), 2 * names)
        assert torch.equal(torch.linalg.det((corners[:, 1:] - corners[:, :1]).double()).round(), torch.full((24,), 4.0))
        steps = torch.stack([corners[:, b] - corners[:, a] for a, b in EDGE_ENDS], 1)
        assert all(tuple(s) in LINKS or tuple(-x for x in s) in LINKS for s in steps.view(-1, 3).tolist())


@pytest.mark.parametrize("device", DEVICES)
def test_the_kernel_finds_the_same_corners(device: str) -> None:
    lattice = tetra_lattice(LOW, HIGH, 3, device=device)
    corners = lattice.places[lattice.tets.long()].long()
    assert torch.equal(corners, corners_of(corners.sum(1) // 2))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("banded", [False, True])
def test_edges_are_those_of_the_tetrahedra(banded: bool, device: str) -> None:
    lattice = tetra_lattice(LOW, HIGH, 4, device=device)
    if banded:
        lattice, _ = lattice.refined(sphere(lattice.rest))
    tets, edges = lattice.tets.cpu().numpy(), lattice.edges.cpu().numpy()
    pairs = np.stack([np.sort(tets[:, list(ends)], 1) for ends in EDGE_ENDS], 1)
    assert np.array_equal(edges, np.unique(pairs.reshape(-1, 2), axis=0))
    assert np.array_equal(edges[lattice.tet_edges.cpu().numpy()], pairs)
    starts, incident = lattice.starts.cpu().numpy(), lattice.incident.cpu().numpy()
    for v in (0, 7, len(starts) - 2):
        own = incident[starts[v] : starts[v + 1]]
        assert np.array_equal(own, np.flatnonzero((edges == v).any(1)))
    order = lattice.places.cpu().numpy()
    assert np.array_equal(order, np.unique(order, axis=0))


def test_border_is_held_outside_unless_open() -> None:
    lattice = tetra_lattice(LOW, HIGH, 3)
    whole = torch.bincount(lattice.tets.reshape(-1).long()) == len(STAR)
    assert torch.equal(lattice.held == 0, whole)
    assert (lattice.held <= 0).all()
    assert (tetra_lattice(LOW, HIGH, 3, closed=False).held == 0).all()
    cubes = cube_lattice(LOW, HIGH, 3)
    assert torch.equal(cubes.held == 0, (cubes.corner_of >= 0).all(1))


@pytest.mark.parametrize("device", DEVICES)
def test_refining_leaves_the_surface_as_it_is(device: str) -> None:
    """Linear interpolation on halved tetrahedra is the same function: not a similar surface, the same points."""
    lattice = tetra_lattice(LOW, HIGH, 8, device=device)
    generator = torch.Generator().manual_seed(0)
    positions = lattice.rest + 0.1 * lattice.cell * torch.randn(lattice.rest.shape, generator=generator).to(device)
    sdf = torus(lattice.rest)
    before = march_tetrahedra(lattice, sdf, positions).mesh()
    for _ in range(2):
        lattice, carry = lattice.refined(sdf, positions, rings=1)
        sdf, positions = carry(sdf), carry(positions)
        torch.testing.assert_close(lattice.rest, positions)
        after = march_tetrahedra(lattice, sdf).mesh()
        assert is_closed(after)
        assert volume(after) == pytest.approx(volume(before), rel=1e-5)
        assert area(after) == pytest.approx(area(before), rel=1e-5)


@pytest.mark.parametrize("rings", [1, 2])
def test_a_band_is_part_of_the_whole_finer_grid(rings: int) -> None:
    coarse, fine = tetra_lattice(LOW, HIGH, 8), tetra_lattice(LOW, HIGH, 16)
    sdf = sphere(coarse.rest)
    band, carry = coarse.refined(sdf, rings=rings)
    assert named(band) < named(fine)
    assert band.domain == fine.domain
    # All that the surface meets is in it; from two rings on also all around that.
    whole, over = coarse.refined(sdf, rings=40)
    assert named(whole) == named(fine)
    assert crossed(whole, over(sdf)) <= named(band)
    inside = carry(sdf) > 0
    touched = torch.zeros(len(band.rest), dtype=torch.bool)
    touched[band.tets.long()[inside[band.tets.long()].sum(1) % 4 > 0]] = True
    complete = torch.bincount(band.tets.reshape(-1).long(), minlength=len(band.rest)) == len(STAR)
    assert complete[touched].all() == (rings > 1)


def test_the_cost_is_that_of_the_surface() -> None:
    lattice = tetra_lattice(LOW, HIGH, 16)
    sdf, counts = sphere(lattice.rest), []
    for _ in range(3):
        lattice, carry = lattice.refined(sdf)
        sdf = carry(sdf)
        counts.append(len(lattice.tets))
    assert all(3.5 < b / a < 4.3 for a, b in itertools.pairwise(counts)), counts


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["tetrahedra", "cubes"])
def test_a_band_stays_closed_whatever_its_values(kind: str, device: str) -> None:
    """Held vertices keep the surface inside the band even where all free ones are noise."""
    lattice = (tetra_lattice if kind == "tetrahedra" else cube_lattice)(LOW, HIGH, 8, device=device)
    band, carry = lattice.refined(sphere(lattice.rest))
    extract = march_tetrahedra if kind == "tetrahedra" else march_cubes_dual
    assert is_closed(extract(band, carry(sphere(lattice.rest))).mesh())
    for seed in range(3):
        assert is_closed(extract(band, noise(len(band.rest), seed, device)).mesh())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["tetrahedra", "cubes"])
def test_recentring_follows_the_surface(kind: str, device: str) -> None:
    """A sphere that shrinks by almost two cells at a time, out of any one band, arrives where it should."""
    lattice: TetraLattice | CubeLattice = (tetra_lattice if kind == "tetrahedra" else cube_lattice)(
        LOW, HIGH, 24, device=device
    )
    extract = march_tetrahedra if kind == "tetrahedra" else march_cubes_dual
    lattice, carry = lattice.recentred(sphere(lattice.rest))
    count = len(lattice.rest)
    for radius in (0.55, 0.4):
        sdf = sphere(lattice.rest, radius)
        moved, carry = lattice.recentred(sdf)
        kept = carry(sdf)
        assert carry.new is not None and carry.new.any()
        known = ~carry.new
        torch.testing.assert_close(kept[known], sphere(moved.rest, radius)[known], atol=1e-6, rtol=0)
        assert is_closed(extract(moved, kept).mesh())
        lattice = moved
    assert len(lattice.rest) < count
    mesh = extract(lattice, sphere(lattice.rest, 0.4)).mesh()
    assert volume(mesh) == pytest.approx(4 / 3 * np.pi * 0.4**3, rel=0.05)


def test_recentring_keeps_offsets_and_the_surface() -> None:
    lattice = tetra_lattice(LOW, HIGH, 12)
    positions = lattice.rest + 0.2 * lattice.cell * torch.sin(9 * lattice.rest.flip(1))
    sdf = sphere(lattice.rest)
    before = march_tetrahedra(lattice, sdf, positions).mesh()
    band, carry = lattice.recentred(sdf, positions, rings=1)
    after = march_tetrahedra(band, carry(sdf)).mesh()
    assert len(band.rest) < len(lattice.rest)
    np.testing.assert_allclose(after.vertices, before.vertices, atol=1e-6)
    assert np.array_equal(after.faces, before.faces)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("banded", [False, True])
def test_cubes_edges_and_neighbours(banded: bool, device: str) -> None:
    lattice = cube_lattice(LOW, (1.0, 0.5, 0.7), 6, device=device)
    if banded:
        lattice, _ = lattice.refined(sphere(lattice.rest, 0.5))
    places = lattice.places.cpu().numpy()
    cubes, edges, axes = (t.cpu().numpy() for t in (lattice.cubes, lattice.edges, lattice.axes))
    assert np.array_equal(places[cubes][:, 7] - places[cubes][:, 0], np.ones((len(cubes), 3)))
    assert np.array_equal(places[edges[:, 1]] - places[edges[:, 0]], np.eye(3)[axes])
    index = {tuple(places[cube[0]]): number for number, cube in enumerate(cubes)}
    assert len(index) == len(cubes)
    around, beyond = lattice.around.cpu().numpy(), lattice.beyond.cpu().numpy()
    for e in range(0, len(edges), 7):
        j, k = (a for a in range(3) if a != axes[e])
        for spot, (u, w) in enumerate(((1, 1), (0, 1), (0, 0), (1, 0))):
            place = places[edges[e, 0]].copy()
            place[j] -= u
            place[k] -= w
            assert around[e, spot] == index.get(tuple(place), -1)
    for c in range(0, len(cubes), 5):
        for face in range(6):
            place = places[cubes[c, 0]].copy()
            place[face // 2] += 2 * (face % 2) - 1
            assert beyond[c, face] == index.get(tuple(place), -1)


def test_refined_cubes_take_trilinear_values() -> None:
    """A function linear along each axis is met exactly, values and places."""
    lattice = cube_lattice(LOW, HIGH, 6)

    def product(p: torch.Tensor) -> torch.Tensor:
        return 0.1 + p[:, 0] * p[:, 1] - 0.3 * p[:, 2] + p.prod(1)

    band, carry = lattice.refined(product(lattice.rest), rings=1)
    torch.testing.assert_close(carry(product(lattice.rest)), product(band.rest), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(carry(lattice.rest), band.rest, atol=1e-6, rtol=0)
    assert carry.cells is not None
    middle = lattice.rest[lattice.cubes.long()].mean(1)[carry.cells]
    own = band.rest[band.cubes.long()].mean(1)
    assert ((own - middle).abs() < 0.26 * lattice.cell).all()


@pytest.mark.parametrize("make", [tetra_lattice, cube_lattice])
def test_what_makes_no_lattice_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ShapeError, match="has no volume"):
        make((0, 0, 0), (1, 0, 1), 4)
    with pytest.raises(OptionError, match="resolution=0"):
        make(LOW, HIGH, 0)
    lattice = make(LOW, HIGH, 4)
    with pytest.raises(ShapeError, match=r"No surface crosses .* positive inside"):
        lattice.refined(torch.full((len(lattice.rest),), -1.0))
    with pytest.raises(ShapeError, match=r"sdf is \[3\]"):
        lattice.recentred(torch.zeros(3))
    with pytest.raises(OptionError, match="rings=0"):
        lattice.refined(sphere(lattice.rest), rings=0)


def test_lists_of_places() -> None:
    box = Box(-2, (5, 4, 7))
    places = torch.tensor([[-2, -2, -2], [2, 1, 4], [0, 0, 0], [3, 0, 0], [0, -3, 0]])
    numbers = box.number(places)
    assert numbers.tolist()[3:] == [-1, -1]
    assert torch.equal(box.place(numbers[:3]), places[:3])
    assert torch.equal(numbers[0] + box.steps([(4, 3, 6)]), numbers[1:2])
    ordered = distinct(torch.cat([numbers, numbers]))
    assert ordered.tolist() == sorted(set(numbers[:3].tolist()))
    assert find(ordered, numbers[3:]).tolist() == [-1, -1]
    assert find(ordered[:0], numbers).tolist() == [-1] * 5
