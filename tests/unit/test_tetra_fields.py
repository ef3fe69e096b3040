"""Fields behind one interface, and the terms that keep extracted surfaces tame."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from meshwright.geometry import tetra
from meshwright.geometry.tetra import (
    Capacity,
    CubeField,
    ShapeField,
    TetraField,
    laplacian,
    normal_consistency,
    sign_changes,
    unevenness,
    volume_distance,
)
from meshwright.geometry.volume import Volume
from tetra_scenes import is_closed, noise, sphere, torus, volume

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]
LOW, HIGH = (-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)


def start(kind: str, device: str, resolution: int = 8) -> ShapeField:
    if kind == "tetrahedra":
        return TetraField.start(tetra.tetra_lattice(LOW, HIGH, resolution, device=device), torus)
    return CubeField.start(tetra.cube_lattice(LOW, HIGH, resolution, device=device), torus)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["tetrahedra", "cubes"])
def test_fields_refine_and_recentre(kind: str, device: str) -> None:
    """What is fitted are leaves; offsets are bounded and go over into where the next lattice rests."""
    field = start(kind, device, 16)
    with torch.no_grad():
        for leaf in field.leaves()[1:]:
            leaf.copy_(0.3 * noise(leaf.numel(), 0, device).view_as(leaf))
    size = volume(field.surface(final=True).mesh())
    assert size == pytest.approx(2 * math.pi**2 * 0.5 * 0.22**2, rel=0.2)
    cell = field.lattice.cell
    assert ((field.positions() - field.lattice.rest).abs() <= cell / 2).all()
    for step in (field.refined(), field.recentred(), field.refined().recentred(rings=1)):
        assert all(leaf.is_leaf and leaf.requires_grad for leaf in step.leaves())
        mesh = step.surface(final=True).mesh()
        assert is_closed(mesh)
        # The same surface for tetrahedra; weights of cubes begin anew when cubes are split.
        assert volume(mesh) == pytest.approx(size, rel=1e-5 if kind == "tetrahedra" else 0.08)
    assert field.refined().lattice.cell == cell / 2
    surface = field.surface()
    (surface.vertices.sum() + field.sign_changes(surface)).backward()
    assert all(leaf.grad is not None and torch.isfinite(leaf.grad).all() for leaf in field.leaves())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["tetrahedra", "cubes"])
def test_a_fit_moves_and_shrinks_the_surface(kind: str, device: str) -> None:
    """From a sphere of 0.7 to one of 0.6 by distances of vertices alone: out of the first band, thrice recentred."""
    field: ShapeField = start(kind, device, 16)
    lattice = field.lattice
    field = (TetraField if kind == "tetrahedra" else CubeField).start(lattice, sphere).recentred()
    for _ in range(3):
        optimiser = torch.optim.Adam(field.leaves(), lr=0.01)
        for _ in range(15):
            surface = field.surface()
            loss = sphere(surface.vertices, 0.6).square().mean() + 1e-3 * field.sign_changes(surface)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        field = field.recentred()
    mesh = field.surface(final=True).mesh()
    assert is_closed(mesh)
    assert volume(mesh) == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=0.05)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [TetraField, CubeField])
def test_starts_from_a_voxel_grid(kind: type[TetraField] | type[CubeField], device: str) -> None:
    """A linear field is met exactly between voxels and falls outside; a sphere's volume comes out."""
    steps = np.arange(21) * 0.1 - 1.0
    x, y, z = np.meshgrid(steps, steps[:17] + 0.2, steps[:19], indexing="ij")
    origin = np.array([-1.0, -0.8, -1.0])
    linear = volume_distance(Volume(field=0.3 * x - 0.2 * y + z, origin=origin, cell=0.1))
    points = torch.tensor([[0.33, 0.21, -0.47], [-1.0, -0.8, 0.8], [1.0, 0.0, 1.1]], device=device)
    expected = torch.tensor([0.099 - 0.042 - 0.47, -0.3 + 0.16 + 0.8, 0.3 + 0.8 - 0.3], device=device)
    torch.testing.assert_close(linear(points), expected, atol=1e-5, rtol=0)
    ball = Volume(field=0.6 - np.sqrt(x**2 + y**2 + z**2), origin=origin, cell=0.1)
    field = kind.near(LOW, HIGH, 64, volume_distance(ball), device=device)
    assert max(field.lattice.domain.cells) == 64
    mesh = field.surface(final=True).mesh()
    assert is_closed(mesh) and volume(mesh) == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=0.03)


@pytest.mark.parametrize("device", DEVICES)
def test_sign_changes(device: str) -> None:
    """By hand: ends at 0.1 and -0.3 with 10 logits a unit; what is no crossing counts for nothing."""
    sdf = torch.tensor([0.1, -0.3, 5.0], device=device, requires_grad=True)
    crossings = torch.tensor([[0, 1], [0, 0], [0, 0]], dtype=torch.int32, device=device)
    loss = sign_changes(sdf, crossings, 10.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(1)) + math.log(1 + math.exp(3)), rel=1e-6)
    loss.backward()
    # Both ends are pulled over to the other side.
    assert sdf.grad[0] > 0 > sdf.grad[1] and sdf.grad[2] == 0
    assert sign_changes(sdf, crossings[1:], 10.0).item() == 0
    near = sign_changes(torch.tensor([1e-9, -1e-9], device=device), crossings, 1.0)
    assert near.item() == pytest.approx(2 * math.log(2))


def test_sign_changes_take_floaters_away() -> None:
    """A speck that nothing asks for goes; the sphere, which the other term asks for, stays."""
    lattice = tetra.tetra_lattice(LOW, HIGH, 12)

    def speck(points: torch.Tensor) -> torch.Tensor:
        return 0.12 - (points - points.new_tensor([0.7, 0.7, 0.7])).norm(dim=1)

    field = TetraField.start(lattice, lambda points: torch.maximum(sphere(points, 0.5), speck(points)))
    assert (field.surface().vertices > 0.55).all(1).any()
    optimiser = torch.optim.Adam([field.sdf], lr=0.01)
    for _ in range(40):
        surface = field.surface()
        body = surface.vertices[surface.vertices.detach().norm(dim=1) < 0.8]
        loss = sphere(body, 0.5).square().mean() + 2e-3 * field.sign_changes(surface)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    mesh = field.surface().mesh()
    assert not (mesh.vertices > 0.55).all(1).any()
    assert volume(mesh) == pytest.approx(4 / 3 * math.pi * 0.5**3, rel=0.1)


GRID = np.array([[x, y, 0.0] for y in range(3) for x in range(3)], np.float32)
SQUARES = np.array([[0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4], [3, 4, 7], [3, 7, 6], [4, 5, 8], [4, 8, 7]], np.int32)


def pad(faces: np.ndarray, device: str) -> torch.Tensor:
    """With three faces that are none, as a capacity leaves them."""
    return torch.from_numpy(np.concatenate([faces, np.zeros((3, 3), np.int32)])).to(device)


@pytest.mark.parametrize("device", DEVICES)
def test_laplacian(device: str) -> None:
    """Against loops over neighbours; vertices without faces and faces that are none do not count."""
    rng = np.random.default_rng(0)
    points = (GRID + rng.normal(size=GRID.shape) * 0.2).astype(np.float32)
    near: list[set[int]] = [set() for _ in points]
    for face in SQUARES.tolist():
        for v in face:
            near[v] |= set(face) - {v}
    # An edge between two faces counts once for each of them.
    weights = np.zeros((9, 9))
    for face in SQUARES.tolist():
        for i in range(3):
            weights[face[i], face[i - 1]] += 1
            weights[face[i - 1], face[i]] += 1
    means = weights @ points / weights.sum(1, keepdims=True)
    assert [set(np.flatnonzero(row)) for row in weights] == near
    expected = np.square(means - points).sum(1).mean()
    lone = np.concatenate([points, [[9, 9, 9]]]).astype(np.float32)
    given = torch.from_numpy(lone).to(device).requires_grad_()
    found = laplacian(given, pad(SQUARES, device))
    assert found.item() == pytest.approx(expected, rel=1e-5)
    found.backward()
    assert torch.isfinite(given.grad).all() and (given.grad[-1] == 0).all()


@pytest.mark.parametrize("device", DEVICES)
def test_normal_consistency(device: str) -> None:
    """Flat: 0. Two triangles folded by an angle: 1 less its cosine. Needles do no harm."""
    flat = torch.from_numpy(GRID).to(device)
    assert normal_consistency(flat, pad(SQUARES, device)).item() == pytest.approx(0, abs=1e-6)
    angle = 0.7
    points = torch.tensor(
        [[0, 0, 0], [0, 1, 0], [-1, 0, 0], [math.cos(angle), 0, math.sin(angle)], *[[3, 3, 3]] * 3],
        dtype=torch.float32,
    )
    faces = np.array([[0, 1, 2], [1, 0, 3], [4, 5, 6]], np.int32)
    given = points.to(device).requires_grad_()
    found = normal_consistency(given, pad(faces, device))
    assert found.item() == pytest.approx(1 - math.cos(angle), rel=1e-5)
    found.backward()
    assert torch.isfinite(given.grad).all()


def test_terms_have_true_slopes() -> None:
    """Double precision against finite differences."""
    rng = np.random.default_rng(1)
    points = torch.from_numpy(GRID + rng.normal(size=GRID.shape) * 0.2).double().requires_grad_()
    faces = pad(SQUARES, "cpu")
    assert torch.autograd.gradcheck(lambda p: laplacian(p, faces), points)
    assert torch.autograd.gradcheck(lambda p: normal_consistency(p, faces), points)
    sdf = torch.from_numpy(rng.normal(size=6)).requires_grad_()
    crossings = torch.tensor([[0, 1], [2, 1], [4, 5], [0, 0]], dtype=torch.int32)
    assert torch.autograd.gradcheck(lambda s: sign_changes(s, crossings, 3.0), sdf)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["tetrahedra", "cubes"])
def test_terms_see_no_capacity(kind: str, device: str) -> None:
    field = start(kind, device)
    exact = field.surface()
    roomy = field.surface(capacity=Capacity(vertices=len(exact.vertices) + 999, faces=len(exact.faces) + 1000))
    for term in (
        lambda s: laplacian(s.vertices, s.faces),
        lambda s: normal_consistency(s.vertices, s.faces),
        field.sign_changes,
        unevenness,
    ):
        torch.testing.assert_close(term(roomy), term(exact), rtol=1e-4, atol=1e-7)
    assert (unevenness(exact) > 0) == (kind == "cubes")


def test_geometry_alone_brings_no_torch() -> None:
    program = "import sys, meshwright.geometry; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
