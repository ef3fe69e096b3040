"""Marching tetrahedra against areas in closed form, a plain reference and its slopes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from meshwright.errors import ShapeError
from meshwright.geometry.tetra import Capacity, Surface, TetraLattice, march_tetrahedra, tetra_lattice
from meshwright.geometry.tetra.reference import crossing_reference, tetrahedra_reference
from meshwright.geometry.tetra.table import triangles_of
from meshwright.geometry.tetra.tetrahedra import EDGE_ENDS
from tetra_scenes import area, canonical, edge_uses, euler, is_closed, noise, sphere, torus, volume
from waiting import never_waiting

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]
LOW, HIGH = (-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)


@pytest.mark.parametrize("inside", list(itertools.product((False, True), repeat=4)))
def test_cases_part_inner_from_outer_corners(inside: tuple[bool, bool, bool, bool]) -> None:
    """Only crossed edges are used, all of them, and triangles look away from the inner corners."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], float)
    triangles = triangles_of(inside)
    crossed = {e for e, (a, b) in enumerate(EDGE_ENDS) if inside[a] != inside[b]}
    assert {edge for triangle in triangles for edge in triangle} == crossed
    assert len(triangles) == max(0, len(crossed) - 2)
    for triangle in triangles:
        p, q, r = (corners[list(EDGE_ENDS[e])].mean(0) for e in triangle)
        side = (corners - p) @ np.cross(q - p, r - p)
        assert (side[np.array(inside)] <= 1e-12).all() and (side[~np.array(inside)] >= -1e-12).all()


@pytest.mark.parametrize("device", DEVICES)
def test_a_linear_field_gives_its_plane(device: str) -> None:
    """Linear interpolation of a linear function is exact: all vertices on the plane, the area that of the section."""
    lattice = tetra_lattice(LOW, HIGH, 6, closed=False, device=device)
    normal = torch.tensor([0.6, 0.0, 0.8], device=device)
    surface = march_tetrahedra(lattice, 0.013 - lattice.rest @ normal)
    torch.testing.assert_close(
        surface.vertices @ normal, torch.full((len(surface.vertices),), 0.013, device=device), atol=2e-6, rtol=0
    )
    mesh = surface.mesh()
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    assert (np.cross(b - a, c - a) @ normal.cpu().numpy() > -1e-9).all()
    # An open border: edges with one face, and none with more than two.
    assert set(np.unique(edge_uses(mesh))) == {1, 2}
    # The box is cut at full depth: 2 across, 2 / 0.8 along; pyramids stand out beyond it.
    assert 5.0 < area(mesh) < 5.0 * (1 + 1 / 6) ** 2


@pytest.mark.parametrize("device", DEVICES)
def test_sphere_and_torus_converge_with_the_square_of_the_cell(device: str) -> None:
    found = {"sphere": [], "torus": []}
    for resolution in (12, 24):
        lattice = tetra_lattice(LOW, HIGH, resolution, device=device)
        for name, field, full, holes in (
            ("sphere", sphere, 4 / 3 * np.pi * 0.7**3, 2),
            ("torus", torus, 2 * np.pi**2 * 0.5 * 0.22**2, 0),
        ):
            mesh = march_tetrahedra(lattice, field(lattice.rest)).mesh()
            assert is_closed(mesh) and euler(mesh) == holes
            assert len(np.unique(mesh.faces)) == len(mesh.vertices)
            found[name].append(1 - volume(mesh) / full)
    for coarse, fine in found.values():
        assert 0 < fine < coarse / 3.3
    assert found["sphere"][1] < 0.005


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("banded", [False, True])
def test_matches_the_reference(banded: bool, device: str) -> None:
    lattice, sdf, positions = scene(device, banded)
    surface = march_tetrahedra(lattice, sdf, positions)
    kept = clamped(lattice, sdf)
    triangles = tetrahedra_reference(lattice.tets.cpu().numpy(), kept)
    pairs = np.unique(np.array(triangles).reshape(-1, 2), axis=0)
    number = {tuple(pair): index for index, pair in enumerate(pairs.tolist())}
    faces = np.array([[number[ends] for ends in triangle] for triangle in triangles])
    assert np.array_equal(surface.faces.cpu().numpy(), faces)
    crossings = surface.crossings.cpu().numpy()
    assert np.array_equal(np.sort(crossings, 1), pairs)
    assert (kept[crossings[:, 0]] > 0).all() and (kept[crossings[:, 1]] <= 0).all()
    expected = crossing_reference(kept, positions.detach().cpu().numpy().astype(np.float64), pairs)
    np.testing.assert_allclose(surface.vertices.detach().cpu().numpy(), expected, atol=2e-6)
    assert surface.counts.tolist() == [len(pairs), len(faces)]


def scene(device: str, banded: bool) -> tuple[TetraLattice, torch.Tensor, torch.Tensor]:
    """Noise on a lattice with moved vertices: every case comes up, and held vertices where it is a band."""
    lattice = tetra_lattice(LOW, (1.0, 0.4, 0.9), 4, closed=False, device=device)
    if banded:
        lattice, _ = lattice.refined(sphere(lattice.rest), rings=1)
    sdf = noise(len(lattice.rest), 1, device)
    positions = lattice.rest + 0.1 * lattice.cell * noise(3 * len(lattice.rest), 2, device).view(-1, 3)
    return lattice, sdf.requires_grad_(), positions.requires_grad_()


def clamped(lattice: TetraLattice, sdf: torch.Tensor) -> np.ndarray:
    values, held = (t.detach().cpu().numpy().astype(np.float64) for t in (sdf, lattice.held))
    least = 1e-3 * lattice.cell
    return np.where(held > 0, np.maximum(values, least), np.where(held < 0, np.minimum(values, -least), values))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("banded", [False, True])
def test_slopes(banded: bool, device: str) -> None:
    """Gradients against central differences of the float64 reference along random directions."""
    lattice, sdf, positions = scene(device, banded)
    with torch.no_grad():  # away from 0, where a small step would cross
        sdf += 0.05 * sdf.sign()
    surface = march_tetrahedra(lattice, sdf, positions)
    rng = np.random.default_rng(0)
    weight = rng.normal(size=tuple(surface.vertices.shape))
    surface.vertices.backward(torch.from_numpy(weight).float().to(device))
    crossings = surface.crossings.cpu().numpy()
    places = positions.detach().cpu().numpy().astype(np.float64)
    values = sdf.detach().cpu().numpy().astype(np.float64)
    held = lattice.held.cpu().numpy()
    assert not banded or ((clamped(lattice, sdf) != values) & (held != 0)).any()

    def total(sdf: np.ndarray, places: np.ndarray) -> float:
        return float((weight * crossing_reference(clamped(lattice, torch.from_numpy(sdf)), places, crossings)).sum())

    for leaf in (sdf, positions):
        along = rng.normal(size=tuple(leaf.shape))
        terms = leaf.grad.cpu().numpy().astype(np.float64) * along
        step = 1e-6
        up, down = (
            (values + s * along, places) if leaf is sdf else (values, places + s * along) for s in (step, -step)
        )
        expected = (total(*up) - total(*down)) / (2 * step)
        assert abs(terms.sum() - expected) < 1e-5 * np.abs(terms).sum()
    assert (sdf.grad[torch.from_numpy(clamped(lattice, sdf) != values).to(device)] == 0).all()


@pytest.mark.parametrize("device", DEVICES)
def test_capacity_holds_the_same_and_says_when_it_is_too_small(device: str) -> None:
    lattice, sdf, positions = scene(device, False)
    exact = march_tetrahedra(lattice, sdf, positions)
    vertices, faces = len(exact.vertices), len(exact.faces)
    roomy = march_tetrahedra(lattice, sdf, positions, capacity=Capacity(vertices=vertices + 9, faces=faces + 5))
    assert roomy.fits() and torch.equal(roomy.counts, exact.counts)
    assert torch.equal(roomy.vertices[:vertices], exact.vertices) and (roomy.vertices[vertices:] == 0).all()
    assert torch.equal(roomy.faces[:faces], exact.faces) and (roomy.faces[faces:] == 0).all()
    assert np.array_equal(roomy.mesh().faces, exact.mesh().faces)
    grads = []
    for surface in (exact, roomy):
        grads.append(torch.autograd.grad(surface.vertices.sin().sum(), (sdf, positions)))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    tight = march_tetrahedra(lattice, sdf, positions, capacity=Capacity(vertices=vertices // 2, faces=faces))
    assert not tight.fits() and torch.equal(tight.counts, exact.counts)
    assert torch.equal(tight.vertices, exact.vertices[: vertices // 2])
    kept = (exact.faces < vertices // 2).all(1)
    assert torch.equal(tight.faces, torch.where(kept[:, None], exact.faces, 0))
    torch.autograd.grad(tight.vertices.sum(), sdf)


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_each_time_and_for_turned_shapes(device: str) -> None:
    lattice, sdf, positions = scene(device, True)

    def once() -> list[torch.Tensor]:
        surface = march_tetrahedra(lattice, sdf, positions)
        return [surface.faces, surface.vertices, *torch.autograd.grad(surface.vertices.cos().sum(), (sdf, positions))]

    first = once()
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, once(), strict=True))
    # Negation turns every face around and keeps every vertex.
    free = tetra_lattice(LOW, HIGH, 5, closed=False, device=device)
    values = noise(len(free.rest), 5, device)
    plus, minus = march_tetrahedra(free, values), march_tetrahedra(free, -values)
    torch.testing.assert_close(plus.vertices, minus.vertices)
    assert volume(plus.mesh()) == pytest.approx(-volume(minus.mesh()), abs=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_no_surface_is_an_empty_mesh(value: float, device: str) -> None:
    lattice = tetra_lattice(LOW, HIGH, 3, closed=False, device=device)
    sdf = torch.full((len(lattice.rest),), value, device=device, requires_grad=True)
    surface = march_tetrahedra(lattice, sdf)
    assert surface.vertices.shape == (0, 3) and surface.faces.shape == (0, 3)
    (slope,) = torch.autograd.grad(surface.vertices.sum(), sdf)
    assert (slope == 0).all() and surface.fits() and len(surface.mesh().faces) == 0


def test_values_of_exactly_zero_are_outside() -> None:
    """Several edges may then end in one point; the mesh stays closed and finite."""
    lattice = tetra_lattice(LOW, HIGH, 8)
    sdf = (0.5 - lattice.rest.abs().max(1).values).requires_grad_()  # lies on lattice planes
    assert (sdf == 0).any()
    surface = march_tetrahedra(lattice, sdf)
    assert is_closed(surface.mesh())
    (slope,) = torch.autograd.grad(surface.vertices.sum(), sdf)
    assert torch.isfinite(slope).all() and torch.isfinite(surface.vertices).all()


def test_a_full_grid_is_closed_at_its_border() -> None:
    lattice = tetra_lattice(LOW, HIGH, 4)
    surface = march_tetrahedra(lattice, torch.ones(len(lattice.rest)))
    assert is_closed(surface.mesh()) and euler(surface.mesh()) == 2
    # As much as there is: the box, and the pyramids beyond it.
    assert volume(surface.mesh()) == pytest.approx(8 + 6 * 16 / 6 * 0.5**3, rel=2e-3)


def test_wrong_tensors_are_named() -> None:
    lattice = tetra_lattice(LOW, HIGH, 3)
    with pytest.raises(ShapeError, match=r"sdf is torch.float32 \[4\] on cpu, expected float32"):
        march_tetrahedra(lattice, torch.zeros(4))
    with pytest.raises(ShapeError, match=r"sdf is torch\.float64"):
        march_tetrahedra(lattice, torch.zeros(len(lattice.rest), dtype=torch.float64))
    with pytest.raises(ShapeError, match=r"positions is torch.float32 \[3, 3\]"):
        march_tetrahedra(lattice, torch.zeros(len(lattice.rest)), torch.zeros(3, 3))


@pytest.mark.parametrize("device", DEVICES)
def test_second_derivatives_are_refused(device: str) -> None:
    lattice, sdf, positions = scene(device, False)
    surface: Surface = march_tetrahedra(lattice, sdf, positions)
    (slope,) = torch.autograd.grad(surface.vertices.square().sum(), sdf, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.gpu
def test_cpu_and_gpu_agree() -> None:
    cpu, gpu = (scene(device, True) for device in ("cpu", "cuda:0"))
    a, b = march_tetrahedra(*cpu), march_tetrahedra(*gpu)
    assert canonical(a.faces.numpy()) == canonical(b.faces.cpu().numpy())
    torch.testing.assert_close(a.vertices, b.vertices.cpu(), atol=1e-6, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:The AccumulateGrad node's stream")  # both lattices were made on the other stream
@pytest.mark.gpu
def test_with_a_capacity_nothing_waits_and_graphs_replay() -> None:
    lattice, sdf, positions = scene("cuda:0", True)
    capacity = Capacity(vertices=40000, faces=80000)

    def step() -> list[torch.Tensor]:
        surface = march_tetrahedra(lattice, sdf, positions, capacity=capacity)
        return [surface.vertices, *torch.autograd.grad(surface.vertices.cos().sum(), (sdf, positions))]

    expected = [tensor.clone() for tensor in step()]
    with never_waiting():
        step()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
