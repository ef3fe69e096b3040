"""`ops.antialias` against areas worked out by hand, a NumPy reference and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ops_scenes
from meshwright.errors import ShapeError
from meshwright.rendering import ops
from meshwright.rendering.ops.antialias.reference import antialias_reference, neighbours_reference, topology_reference

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]


def scene(device: str, name: str, size: tuple[int, int] = (30, 27)) -> tuple[torch.Tensor, ...]:
    """Random colours, rast, pos, tri."""
    arrays = ops_scenes.ball() if name == "ball" else ops_scenes.soup(4)
    pos, tri = (torch.from_numpy(array).to(device) for array in arrays)
    rast, _ = ops.rasterize(pos, tri, size)
    color = torch.rand((*rast.shape[:3], 3), generator=torch.Generator().manual_seed(3)).to(device)
    return color, rast, pos, tri


def rectangle(x0: float, x1: float, y0: float, y1: float, size: int) -> torch.Tensor:
    """Corners of a rectangle given in pixels, from the lower left corner of the picture."""
    corners = torch.tensor([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) / size * 2 - 1
    return torch.cat([corners, torch.zeros(4, 1), torch.ones(4, 1)], 1)[None]


TWO_HALVES = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("upwards", [False, True])
@pytest.mark.parametrize("edge", [3.2, 7.5, 12.9])
def test_area_left_of_an_edge(edge: float, upwards: bool, device: str) -> None:
    """White up to an edge: pixels sum to the area, and moving the edge changes it by 1 a row and pixel."""
    corners = torch.tensor([[edge, -40.0], [edge, 60.0], [-100.0, 8.0]]) / 16 * 2 - 1
    corners = corners.flip(1) if upwards else corners
    pos = torch.cat([corners, torch.zeros(3, 1), torch.ones(3, 1)], 1)[None].to(device).requires_grad_()
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
    rast, _ = ops.rasterize(pos, tri, (16, 16))
    white, _ = ops.interpolate(torch.ones((3, 1), device=device), rast, tri)
    total = ops.antialias(white, rast, pos, tri).sum()
    assert total.item() == pytest.approx(16 * edge, abs=1e-4)
    total.backward()
    moved = pos.grad[0, :2, 1 if upwards else 0].sum().item() * 2 / 16
    assert moved == pytest.approx(16, rel=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("reach", [0, 1, 9])
@pytest.mark.parametrize("name", ["ball", "soup"])
def test_matches_the_reference(name: str, reach: int, device: str) -> None:
    color, rast, pos, tri = scene(device, name)
    out = ops.antialias(color, rast, pos, tri, reach=reach)
    expected = antialias_reference(*(tensor.cpu().numpy() for tensor in (color, rast, pos, tri)), reach)
    assert (np.abs(expected - color.cpu().numpy()) > 1e-3).any(-1).sum() > 30
    np.testing.assert_allclose(out.cpu().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("reach", [0, 9])
@pytest.mark.parametrize("name", ["ball", "soup"])
def test_slopes(name: str, reach: int, device: str) -> None:
    color, rast, pos, tri = scene(device, name)
    color.requires_grad_()
    pos.requires_grad_()
    rng = np.random.default_rng(0)
    weight = rng.normal(size=color.shape).astype(np.float32)
    ops.antialias(color, rast, pos, tri, reach=reach).backward(torch.from_numpy(weight).to(device))
    arrays = [tensor.detach().cpu().numpy() for tensor in (color, rast, pos, tri)]
    assert (pos.grad[..., 2] == 0).all()
    for number, leaf in ((0, color), (2, pos)):

        def value(x: np.ndarray, number: int = number) -> float:
            given = [x if i == number else array for i, array in enumerate(arrays)]
            return float((weight * antialias_reference(*given, reach)).sum())

        along = rng.normal(size=arrays[number].shape)
        terms = leaf.grad.cpu().numpy().astype(np.float64) * along
        expected = ops_scenes.slope(value, arrays[number], along, 1e-7)
        assert abs(terms.sum() - expected) < 2e-5 * np.abs(terms).sum(), number


@pytest.mark.parametrize("device", DEVICES)
def test_a_finely_cut_ball_has_its_whole_outline(device: str) -> None:
    """The white disc's area and how it grows with the radius; without a reach almost nothing is blended."""
    vertices, faces = ops_scenes.sphere(6)
    points = torch.from_numpy((vertices * [0.8, 0.8, 0.5]).astype(np.float32)).to(device)
    tri = torch.from_numpy(faces).to(device)
    neighbours = ops.build_neighbours(tri)
    radius = 0.8 * 32.0  # pixels
    shares = []
    for reach in (0, 64):
        scale = torch.ones((), device=device, requires_grad=True)
        pos = torch.cat([points * scale, torch.ones_like(points[:, :1])], 1)[None]
        rast, _ = ops.rasterize(pos, tri, (64, 64))
        sharp = (rast[..., 3:] > 0).float()
        soft = ops.antialias(sharp, rast, pos, tri, reach=reach, neighbours=neighbours if reach else None)
        soft.sum().backward()
        shares.append(scale.grad.item() / (2 * np.pi * radius**2))
        outline = sum(int((sharp.diff(dim=axis) != 0).sum()) for axis in (1, 2))
        blended = int((soft != sharp).sum()) / outline
        if reach:
            assert soft.sum().item() == pytest.approx(np.pi * radius**2, rel=2e-3)
            # An edge belongs to pairs that it runs across: those are 1 in the square root of 2.
            assert 0.65 < blended < 0.75
        else:
            assert blended < 0.1
    assert shares[0] < 0.1 and shares[1] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("device", DEVICES)
def test_inside_of_a_surface_stays_sharp(device: str) -> None:
    """Only pixels at the outline of a convex body change, though triangles meet everywhere."""
    vertices, faces = ops_scenes.sphere(3)
    clip = np.concatenate([vertices * [0.8, 0.8, 0.5], np.ones((len(vertices), 1))], 1)[None]
    pos, tri = (torch.from_numpy(array).to(device) for array in (clip.astype(np.float32), faces))
    rast, _ = ops.rasterize(pos, tri, (32, 32))
    color = torch.rand((1, 32, 32, 3), generator=torch.Generator().manual_seed(0)).to(device)
    changed = (ops.antialias(color, rast, pos, tri) != color).any(-1)
    empty = torch.nn.functional.pad((rast[..., 3] == 0).float(), (1, 1, 1, 1), value=0)[:, None]
    beside_empty = torch.nn.functional.max_pool2d(empty, 3, 1)[:, 0] > 0
    assert changed.any() and not (changed & ~beside_empty).any()


@pytest.mark.parametrize("device", DEVICES)
def test_outline_pulls_a_surface_to_its_target(device: str) -> None:
    """Descent through antialias alone finds where a rectangle is, from a picture of it."""
    tri = TWO_HALVES.to(device)

    def draw(pos: torch.Tensor) -> torch.Tensor:
        rast, _ = ops.rasterize(pos, tri, (24, 24))
        white, _ = ops.interpolate(torch.ones((4, 1), device=device), rast, tri)
        return ops.antialias(white, rast, pos, tri)

    target = draw(rectangle(6.3, 17.6, 4.8, 15.1, 24).to(device)).detach()
    start = rectangle(8, 15, 7, 17, 24).to(device)
    edges = torch.zeros(4, device=device, requires_grad=True)
    optimiser = torch.optim.Adam([edges], lr=0.02)
    x, y = torch.tensor([0, 1, 1, 0]), torch.tensor([2, 2, 3, 3])
    for _ in range(100):
        optimiser.zero_grad()
        pos = start + torch.stack([edges[x], edges[y], 0 * edges, 0 * edges], 1)
        (draw(pos) - target).square().sum().backward()
        optimiser.step()
    expected = torch.tensor([6.3 - 8, 17.6 - 15, 4.8 - 7, 15.1 - 17], device=device) / 12
    torch.testing.assert_close(edges.detach(), expected, atol=0.1 / 12, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_topology(device: str) -> None:
    _, closed = ops_scenes.ball(level=1)
    three = np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4], [4, 1, 5], [6, 7, 8]], np.int32)  # edge 0-1 has three
    for tri in (closed, closed[::3].copy(), three, three[:1], three[:0]):
        found = ops.build_topology(torch.from_numpy(tri).to(device))
        assert found.dtype is torch.int32
        np.testing.assert_array_equal(found.cpu().numpy(), topology_reference(tri))
        found = ops.build_neighbours(torch.from_numpy(tri).to(device))
        np.testing.assert_array_equal(found.cpu().numpy(), neighbours_reference(tri))
    color, rast, pos, faces = scene(device, "ball")
    anew = ops.antialias(color, rast, pos, faces)
    assert torch.equal(anew, ops.antialias(color, rast, pos, faces, ops.build_topology(faces)))


def test_nothing_in_the_frame() -> None:
    color = torch.rand((1, 5, 6, 3), requires_grad=True)
    pos = torch.zeros((1, 3, 4), requires_grad=True)
    tri = torch.zeros((0, 3), dtype=torch.int32)
    out = ops.antialias(color, torch.zeros((1, 5, 6, 4)), pos, tri)
    assert torch.equal(out, color)
    out.sum().backward()
    assert (color.grad == 1).all() and not pos.grad.any()


def test_wrong_arguments_are_told() -> None:
    color, rast, pos, tri = scene("cpu", "ball")
    with pytest.raises(ShapeError, match="as color is"):
        ops.antialias(color[:, :-1], rast, pos, tri)
    with pytest.raises(ShapeError, match="as color has 2 views"):
        ops.antialias(color, rast, pos[0], tri)
    with pytest.raises(ShapeError, match="from build_topology"):
        ops.antialias(color, rast, pos, tri, ops.build_topology(tri)[:-1])
