"""The dual extractor: its tables, closedness in every ambiguous case, a plain reference and its slopes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from meshwright.errors import ShapeError
from meshwright.geometry.tetra import (
    WEIGHTS,
    Capacity,
    CubeField,
    CubeLattice,
    cube_lattice,
    march_cubes_dual,
    unevenness,
)
from meshwright.geometry.tetra.patches import CORNERS, EDGE_AROUND, EDGES, FACES, lines_of, patch_tables
from meshwright.geometry.tetra.reference import dual_reference
from tetra_scenes import euler, is_closed, noise, sphere, torus, volume
from waiting import never_waiting

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]
LOW, HIGH = (-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)


def test_tables_agree_with_the_known_cases() -> None:
    """Every crossed edge is in one patch; the twisted cases are Wenger's C16 (24 ways to turn it) and C19 (12)."""
    tables = patch_tables()
    for case in range(512):
        inside = [bool(case >> k & 1) for k in range(8)]
        crossed = [inside[a] != inside[b] for a, b in EDGES]
        patch = tables.patch[case]
        assert np.array_equal(patch >= 0, crossed)
        assert set(patch[patch >= 0]) == set(range(tables.count[case]))
        for number in range(tables.count[case]):
            assert (patch == number).sum() >= 3
    twisted = np.flatnonzero(tables.twisted >= 0)
    inner = [int(case).bit_count() for case in twisted]
    assert sorted(inner) == [5] * 24 + [6] * 12
    assert (tables.count[twisted] == 1).all() and (tables.count[twisted + 256] == 2).all()
    plain = np.setdiff1d(np.arange(256), twisted)
    assert np.array_equal(tables.patch[plain], tables.patch[plain + 256])
    assert [int(n) for n in np.bincount(tables.count[:256])] == [2, 162, 82, 8, 2]


def test_turned_faces_never_twist_and_both_sides_agree() -> None:
    """Drawn the other way, no patch runs twice through a face, and what a face shows depends on its corners only."""
    tables = patch_tables()
    for case in np.flatnonzero(tables.twisted >= 0):
        inside = [bool(int(case) >> k & 1) for k in range(8)]
        for face in range(6):
            lines = lines_of(inside, face, outer=face == tables.twisted[case])
            if len(lines) == 2:
                patch = tables.patch[case + 256]
                assert patch[lines[0][0]] == patch[lines[0][1]] != patch[lines[1][0]] == patch[lines[1][1]]
    for axis in range(3):
        below, above = 2 * axis + 1, 2 * axis  # a cube's upper face is its neighbour's lower face
        for code in range(16):
            sides = []
            for face in (below, above):
                inside = [False] * 8
                for bit, corner in enumerate(FACES[face]):
                    inside[corner] = bool(code >> bit & 1)
                lines = lines_of(inside, face, outer=False)
                drop = [tuple(np.delete(CORNERS, axis, 1)[c]) for c in range(8)]
                sides.append({frozenset(frozenset(drop[c] for c in EDGES[e]) for e in line) for line in lines})
            assert sides[0] == sides[1]


def test_names_of_an_edge_in_the_cubes_around_it() -> None:
    for axis, order in enumerate(EDGE_AROUND):
        j, k = (a for a in range(3) if a != axis)
        for (u, w), edge in zip(((1, 1), (0, 1), (0, 0), (1, 0)), order, strict=True):
            low, high = (CORNERS[c] for c in EDGES[edge])
            assert (low[axis], high[axis], low[j], low[k]) == (0, 1, u, w)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("middles", [True, False])
def test_closed_and_manifold_on_noise(middles: bool, device: str) -> None:
    """Noise has every ambiguous case beside every other; every edge still has its two faces."""
    for seed in range(4):
        lattice = cube_lattice(LOW, (1.0, 0.6, 0.8), 10, device=device)
        sdf = noise(len(lattice.rest), seed, device) + 0.2 * seed
        assert is_closed(march_cubes_dual(lattice, sdf, middles=middles).mesh())


def test_without_turned_cases_noise_would_not_be_manifold(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule for twisted neighbours is needed: without it edges with four faces appear."""
    from meshwright.geometry.tetra import flexible
    from tetra_scenes import edge_uses

    lattice = cube_lattice(LOW, HIGH, 12)
    sdf = noise(len(lattice.rest), 0) + 0.3
    tables = flexible._tables(torch.device("cpu"))
    plain = tables | {"twisted": torch.full_like(tables["twisted"], -1)}
    monkeypatch.setattr(flexible, "_tables", lambda device: plain)
    faces = march_cubes_dual(lattice, sdf, middles=True).mesh()
    with pytest.raises(AssertionError):
        assert (edge_uses(faces) == 2).all()


@pytest.mark.parametrize("device", DEVICES)
def test_sphere_and_torus(device: str) -> None:
    for field, full, holes in ((sphere, 4 / 3 * np.pi * 0.7**3, 2), (torus, 2 * np.pi**2 * 0.5 * 0.22**2, 0)):
        found = []
        for resolution in (16, 32):
            lattice = cube_lattice(LOW, HIGH, resolution, device=device)
            for middles in (True, False):
                mesh = march_cubes_dual(lattice, field(lattice.rest), middles=middles).mesh()
                assert is_closed(mesh) and euler(mesh) == holes
                assert len(np.unique(mesh.faces)) == len(mesh.vertices)
            found.append(1 - volume(mesh) / full)
        assert 0 < found[1] < found[0] / 3 and found[1] < 0.05


@pytest.mark.parametrize("device", DEVICES)
def test_a_plane_stays_a_plane_whatever_beta_is(device: str) -> None:
    """Crossings of a linear field lie on its plane, and so do all their means; with even alphas nothing moves off."""
    lattice = cube_lattice(LOW, HIGH, 6, closed=False, device=device)
    normal = torch.tensor([0.48, 0.6, 0.64], device=device)
    weights = noise(len(lattice.cubes) * WEIGHTS, 3, device).view(-1, WEIGHTS)
    weights[:, :8] = weights[:, :1]
    surface = march_cubes_dual(lattice, 0.1 - lattice.rest @ normal, None, weights)
    torch.testing.assert_close(
        surface.vertices @ normal, torch.full((len(surface.vertices),), 0.1, device=device), atol=2e-6, rtol=0
    )


def scene(device: str, banded: bool) -> tuple[CubeLattice, list[torch.Tensor]]:
    """Noise on a lattice with moved corners and random weights; away from 0 so that small steps do not cross it."""
    lattice = cube_lattice(LOW, (1.0, 0.4, 0.9), 5, closed=False, device=device)
    if banded:
        lattice, _ = lattice.refined(sphere(lattice.rest), rings=1)
    sdf = noise(len(lattice.rest), 1, device)
    sdf += 0.1 * sdf.sign()
    positions = lattice.rest + 0.1 * lattice.cell * noise(3 * len(lattice.rest), 2, device).view(-1, 3)
    weights = 0.7 * noise(WEIGHTS * len(lattice.cubes), 3, device).view(-1, WEIGHTS)
    return lattice, [leaf.requires_grad_() for leaf in (sdf, positions, weights)]


def reference(lattice: CubeLattice, arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Through the NumPy reference, with the cases that neighbours decide worked out anew."""
    sdf, positions, raw = arrays
    held, least = lattice.held.cpu().numpy(), 1e-3 * lattice.cell
    kept = np.where(held > 0, np.maximum(sdf, least), np.where(held < 0, np.minimum(sdf, -least), sdf))
    cubes, beyond = lattice.cubes.cpu().numpy(), lattice.beyond.cpu().numpy()
    tables = patch_tables()
    codes = ((kept[cubes] > 0) << np.arange(8)).sum(1)
    face = tables.twisted[codes]
    other = np.where(face >= 0, beyond[np.arange(len(cubes)), face], -1)
    turned = (other >= 0) & (tables.twisted[codes[other]] == (face ^ 1))
    return dual_reference(cubes, codes + 256 * turned, kept, positions, raw)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("banded", [False, True])
def test_matches_the_reference(banded: bool, device: str) -> None:
    lattice, leaves = scene(device, banded)
    surface = march_cubes_dual(lattice, *leaves, middles=False)
    vertices, spread = reference(lattice, [leaf.detach().cpu().numpy().astype(np.float64) for leaf in leaves])
    np.testing.assert_allclose(surface.vertices.detach().cpu().numpy(), vertices, atol=5e-6)
    np.testing.assert_allclose(surface.spread.detach().cpu().numpy(), spread, atol=5e-6)
    assert unevenness(surface).item() == pytest.approx(spread.mean(), rel=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("banded", [False, True])
def test_slopes(banded: bool, device: str) -> None:
    """Gradients of vertices and spread to values, places and weights, against the float64 reference."""
    lattice, leaves = scene(device, banded)
    surface = march_cubes_dual(lattice, *leaves, middles=False)
    rng = np.random.default_rng(0)
    weight, even = rng.normal(size=tuple(surface.vertices.shape)), rng.normal(size=len(surface.spread))
    given = [torch.from_numpy(array).float().to(device) for array in (weight, even)]
    torch.autograd.backward([surface.vertices, surface.spread], given)
    arrays = [leaf.detach().cpu().numpy().astype(np.float64) for leaf in leaves]

    def total(changed: list[np.ndarray]) -> float:
        vertices, spread = reference(lattice, changed)
        return float((weight * vertices).sum() + (even * spread).sum())

    for number, leaf in enumerate(leaves):
        along = rng.normal(size=arrays[number].shape)
        terms = leaf.grad.cpu().numpy().astype(np.float64) * along
        step = 1e-7
        up, down = ([a + s * along if i == number else a for i, a in enumerate(arrays)] for s in (step, -step))
        expected = (total(up) - total(down)) / (2 * step)
        assert abs(terms.sum() - expected) < 2e-5 * np.abs(terms).sum(), number
    assert (leaves[2].grad[:, -1] == 0).all()  # nothing is cut by gammas here


@pytest.mark.parametrize("device", DEVICES)
def test_gammas_move_middles_and_cut_quads(device: str) -> None:
    """A large product of gammas pulls the middle to that diagonal, and cuts along it in the end."""
    lattice, leaves = scene(device, False)
    weights = leaves[2]
    fine = march_cubes_dual(lattice, *leaves)
    gradient = torch.autograd.grad(fine.vertices.cos().sum(), weights)[0]
    assert (gradient[:, -1] != 0).any()
    duals = len(fine.spread)
    quads = fine.faces.view(-1, 4, 3)[:, :, 0].long()
    gamma = torch.sigmoid(weights[:, -1])
    middles = fine.vertices[duals:]
    first = fine.vertices[quads[:, [0, 2]]].mean(1)
    second = fine.vertices[quads[:, [1, 3]]].mean(1)
    share = ((middles - second) * (first - second)).sum(1) / (first - second).square().sum(1)
    assert ((share > 0) & (share < 1)).all()
    torch.testing.assert_close(middles, second + share[:, None] * (first - second), atol=1e-5, rtol=0)
    halves = march_cubes_dual(lattice, *leaves, middles=False).faces.view(-1, 2, 3)
    along_first = halves[:, 1, 0] == halves[:, 0, 0]
    along_first &= halves[:, 1, 1] == halves[:, 0, 2]
    assert torch.equal(along_first, share >= 0.5)
    assert 0.2 < along_first.float().mean() < 0.8 and gamma.min() > 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("middles", [True, False])
def test_capacity_holds_the_same_and_says_when_it_is_too_small(middles: bool, device: str) -> None:
    lattice, leaves = scene(device, True)
    exact = march_cubes_dual(lattice, *leaves, middles=middles)
    vertices, faces = len(exact.vertices), len(exact.faces)
    room = Capacity(vertices=vertices + 300, faces=faces + 400)
    roomy = march_cubes_dual(lattice, *leaves, middles=middles, capacity=room)
    assert roomy.fits() and torch.equal(roomy.counts, exact.counts)
    torch.testing.assert_close(roomy.vertices[:vertices], exact.vertices, atol=1e-6, rtol=0)  # middles round
    assert (roomy.vertices[vertices:] == 0).all()
    assert torch.equal(roomy.faces[:faces], exact.faces) and (roomy.faces[faces:] == 0).all()
    grads = [torch.autograd.grad(s.vertices.sin().sum() + s.spread.sum(), leaves) for s in (exact, roomy)]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
    for tight in (Capacity(vertices=vertices - 9, faces=faces), Capacity(vertices=vertices, faces=faces - 8)):
        cut = march_cubes_dual(lattice, *leaves, middles=middles, capacity=tight)
        assert not cut.fits()
        assert cut.faces.min() >= 0 and cut.faces.max() < len(cut.vertices)
        torch.autograd.grad(cut.vertices.sum(), leaves)
    with pytest.raises(ShapeError, match="no room for dual vertices"):
        march_cubes_dual(lattice, *leaves, capacity=Capacity(vertices=10, faces=40))


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_each_time(device: str) -> None:
    lattice, leaves = scene(device, True)

    def once() -> list[torch.Tensor]:
        surface = march_cubes_dual(lattice, *leaves, middles=False)
        return [surface.faces, surface.vertices, *torch.autograd.grad(surface.vertices.cos().sum(), leaves)]

    first = once()
    assert all(torch.equal(a, b) for a, b in zip(first, once(), strict=True))


def test_sharp_edges_can_be_reached() -> None:
    """A turned box: after a short fit the surface lies on its faces and edges, which plain dual vertices cut off."""
    turn = torch.linalg.qr(torch.tensor([[1.0, 0.3, 0.2], [0.1, 1.0, 0.4], [0.3, -0.2, 1.0]])).Q
    half = torch.tensor([0.55, 0.4, 0.5])

    def box(points: torch.Tensor) -> torch.Tensor:
        q = (points @ turn).abs() - half
        return -(q.clamp(min=0).norm(dim=1) + q.max(1).values.clamp(max=0))

    lattice = cube_lattice(LOW, HIGH, 12)
    field = CubeField.start(lattice, box)
    edges = torch.tensor([[0.55, 0.4, z] for z in np.linspace(-0.45, 0.45, 10)]).float() @ turn.T
    miss = []
    optimiser = torch.optim.Adam([{"params": [field.sdf], "lr": 0.003}, {"params": field.leaves()[1:], "lr": 0.05}])
    generator = torch.Generator().manual_seed(0)
    for step in range(61):
        surface = field.surface()
        if step in (0, 60):
            miss.append(torch.cdist(edges, surface.vertices.detach()).min(1).values.mean().item())
            assert is_closed(surface.mesh())
        w = torch.rand((len(surface.faces), 3, 1), generator=generator).clamp(min=1e-6).log()
        points = (surface.vertices[surface.faces.long()] * (w / w.sum(1, keepdim=True))).sum(1)
        loss = (box(points) / field.lattice.cell).square().mean() + 0.01 * unevenness(surface) / field.lattice.cell
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.002
    assert miss[1] < 0.6 * miss[0]


def test_wrong_tensors_are_named() -> None:
    lattice = cube_lattice(LOW, HIGH, 3)
    sdf = torch.zeros(len(lattice.rest))
    with pytest.raises(ShapeError, match=r"weights is torch\.float32 \[27, 20\] on cpu, expected float32 \[27, 21\]"):
        march_cubes_dual(lattice, sdf, None, torch.zeros(27, 20))
    with pytest.raises(ShapeError, match=r"sdf is torch\.float32 \[5\]"):
        march_cubes_dual(lattice, torch.zeros(5))
    empty = march_cubes_dual(lattice, sdf, None, torch.zeros(27, 21))
    assert empty.vertices.shape == (0, 3) and empty.faces.shape == (0, 3) and empty.fits()


@pytest.mark.gpu
def test_cpu_and_gpu_agree_and_nothing_waits_with_a_capacity() -> None:
    (lattice, leaves), (other, others) = scene("cpu", True), scene("cuda:0", True)
    a, b = march_cubes_dual(lattice, *leaves), march_cubes_dual(other, *others)
    assert torch.equal(a.faces, b.faces.cpu())
    torch.testing.assert_close(a.vertices, b.vertices.cpu(), atol=1e-5, rtol=1e-5)
    room = Capacity(vertices=len(a.vertices) + 100, faces=len(a.faces) + 100)
    march_cubes_dual(other, *others, capacity=room)
    with never_waiting():
        surface = march_cubes_dual(other, *others, capacity=room)
        torch.autograd.grad(surface.vertices.sum() + unevenness(surface), others)
