"""`ops.rasterize` against arithmetic, a NumPy reference, finite differences and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ops_scenes
from meshwright.errors import ShapeError
from meshwright.rendering import ops
from meshwright.rendering.ops.rasterize.reference import rasterize_reference, weights_reference

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]


def tensors(device: str, *arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array).to(device) for array in arrays]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(4))
def test_soup_matches_the_reference(seed: int, device: str) -> None:
    pos, tri = ops_scenes.soup(seed)
    assert (pos[..., 3] < 0).any()
    rast, rast_db = ops.rasterize(*tensors(device, pos, tri), (37, 52))
    expected, expected_db = rasterize_reference(pos, tri, (37, 52))
    np.testing.assert_array_equal(rast[..., 3].cpu().numpy(), expected[..., 3])
    assert len(np.unique(expected[..., 3])) > 8
    np.testing.assert_allclose(rast.cpu().numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(rast_db.cpu().numpy(), expected_db, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_worked_out_by_hand(device: str) -> None:
    """An orthographic triangle with its right angle in the lower left corner: u and v fall linearly, row 0 is below."""
    pos = np.array([[-1, -1, 0.5, 1], [1, -1, 0.5, 1], [-1, 1, 0.5, 1]], np.float32)
    tri = np.array([[0, 1, 2]], np.int32)
    rast, rast_db = ops.rasterize(*tensors(device, pos, tri), (4, 4))
    seen = rast[0, ..., 3].cpu().numpy()
    # Centres on the diagonal: a tiny step to the right leaves the triangle.
    np.testing.assert_array_equal(seen, [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(rast[0, 0, 1].cpu().numpy(), [1 - 0.375 - 0.125, 0.375, 0.5, 1], atol=1e-7)
    np.testing.assert_allclose(rast_db[0, 0, 1].cpu().numpy(), [-0.25, -0.25, 0.25, 0], atol=1e-7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(3))
def test_every_centre_belongs_to_one_triangle(seed: int, device: str) -> None:
    """A triangulated square whose corners lie on pixel centres: no gap, and no triangle drawn over another."""
    rng = np.random.default_rng(seed)
    side = 9
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)
    inner = ((grid > 0) & (grid < side - 1)).all(-1)
    cells = grid * 2 + np.where(inner[:, None], rng.integers(-1, 1, grid.shape), 0)
    xy = (2 * cells + 1) / 32 - 1
    pos = np.concatenate([xy, np.zeros((len(xy), 1)), np.ones((len(xy), 1))], 1).astype(np.float32)
    start = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).reshape(-1)
    quads = np.stack([start, start + 1, start + side + 1, start + side], 1)
    halves = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    covered = np.zeros((32, 32), int)
    for face in halves:  # one by one, so that double cover would show
        covered += (ops.rasterize(*tensors(device, pos, face[None]), (32, 32))[0][0, ..., 3] > 0).cpu().numpy()
    assert (covered[1:16, 1:16] == 1).all()  # the centres of rows and columns 0 and 16 lie on the border
    assert covered.max() == 1


@pytest.mark.parametrize("device", DEVICES)
def test_slopes(device: str) -> None:
    """Gradients of random sums of u, v and their derivatives, against differences of the float64 reference."""
    pos, tri = ops_scenes.soup(7)
    rng = np.random.default_rng(0)
    leaf, faces = tensors(device, pos, tri)
    leaf.requires_grad_()
    rast, rast_db = ops.rasterize(leaf, faces, (24, 31))
    drast, ddb = rng.normal(size=(2, *rast.shape)).astype(np.float32)
    ids = rast[..., 3].detach().cpu().numpy().astype(int) - 1
    assert (ids >= 0).mean() > 0.4
    for first, second in ((drast, 0 * ddb), (0 * drast, ddb), (drast, ddb)):
        leaf.grad = None
        torch.autograd.backward([rast, rast_db], tensors(device, first, second), retain_graph=True)
        gradient = leaf.grad.cpu().numpy().astype(np.float64)
        assert (gradient[..., 2] == 0).all()

        def value(p: np.ndarray, first: np.ndarray = first, second: np.ndarray = second) -> float:
            uv, db = weights_reference(p, tri, ids)
            return float((first[..., :2] * uv).sum() + (second * db).sum())

        for _ in range(3):
            along = rng.normal(size=pos.shape).astype(np.float32)
            expected = ops_scenes.slope(value, pos, along)
            scale = np.abs(gradient * along).sum()
            assert abs((gradient * along).sum() - expected) < 1e-5 * scale


@pytest.mark.parametrize("device", DEVICES)
def test_views_do_not_know_each_other(device: str) -> None:
    """A batch is its views one by one, down to the last bit, gradients too."""
    pos, tri = tensors(device, *ops_scenes.ball(views=3))
    pos.requires_grad_()
    weight = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 40, 44, 4)).astype(np.float32)).to(device)
    with ops.deterministic():
        rast, rast_db = ops.rasterize(pos, tri, (40, 44))
        (whole,) = torch.autograd.grad((rast * weight + rast_db * weight).sum(), pos)
        for view in range(3):
            one, one_db = ops.rasterize(pos[view], tri, (40, 44))
            assert torch.equal(one[0], rast[view]) and torch.equal(one_db[0], rast_db[view])
            (part,) = torch.autograd.grad(((one + one_db)[0] * weight[view]).sum(), pos)
            torch.testing.assert_close(part[view], whole[view], rtol=1e-5, atol=1e-5 * whole.abs().max().item())


@pytest.mark.parametrize("device", DEVICES)
def test_turning_a_triangle_over_changes_nothing(device: str) -> None:
    pos, tri = ops_scenes.soup(3)
    there = ops.rasterize(*tensors(device, pos, tri), (40, 40))[0]
    back = ops.rasterize(*tensors(device, pos, np.ascontiguousarray(tri[:, [1, 0, 2]])), (40, 40))[0]
    assert torch.equal(there[..., 3], back[..., 3])
    torch.testing.assert_close(there[..., [0, 1, 2]], back[..., [1, 0, 2]], atol=1e-6, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_scaling_homogeneous_coordinates_changes_nothing(device: str) -> None:
    pos, tri = ops_scenes.ball()
    there = ops.rasterize(*tensors(device, pos, tri), (40, 40))
    scaled = ops.rasterize(*tensors(device, pos * 4, tri), (40, 40))
    assert torch.equal(there[0], scaled[0]) and torch.equal(there[1], scaled[1])


@pytest.mark.parametrize("device", DEVICES)
def test_memory_order_does_not_matter(device: str) -> None:
    pos, tri = tensors(device, *ops_scenes.ball())
    expected = ops.rasterize(pos, tri, (20, 20))[0]
    strided = pos.flip(-1).contiguous().flip(-1).transpose(0, 1).contiguous().transpose(0, 1)
    assert not strided.is_contiguous()
    assert torch.equal(ops.rasterize(strided, tri.t().contiguous().t(), (20, 20))[0], expected)


@pytest.mark.parametrize("device", DEVICES)
def test_degenerate_triangles_are_not_drawn(device: str) -> None:
    pos, _ = ops_scenes.soup(0, views=1)
    tri = np.array([[0, 0, 1], [2, 2, 2], [3, 4, 3]], np.int32)
    rast, rast_db = ops.rasterize(*tensors(device, pos, tri), (30, 30))
    assert not rast.any() and not rast_db.any()
    nothing, _ = ops.rasterize(*tensors(device, pos, tri[:0]), (30, 30))
    assert nothing.shape == (1, 30, 30, 4) and not nothing.any()
    spoiled = pos.copy()
    spoiled[0, :3] = np.nan
    assert torch.isfinite(ops.rasterize(*tensors(device, spoiled, ops_scenes.indices(75)), (30, 30))[0]).all()


@pytest.mark.parametrize("device", DEVICES)
def test_large_and_small_triangles_together(device: str) -> None:
    """A GPU shares large ones out among threads; which ones must not show."""
    pos, tri = ops_scenes.soup(11, views=3, triangles=60)
    rast, _ = ops.rasterize(*tensors(device, pos, tri), (190, 230))
    expected, _ = rasterize_reference(pos, tri, (190, 230))
    np.testing.assert_array_equal(rast[..., 3].cpu().numpy(), expected[..., 3])


def test_derivatives_can_be_left_out() -> None:
    pos, tri = tensors("cpu", *ops_scenes.ball())
    pos.requires_grad_()
    full, _ = ops.rasterize(pos, tri, (20, 20))
    rast, rast_db = ops.rasterize(pos, tri, (20, 20), derivatives=False)
    assert torch.equal(rast, full) and rast_db.shape == (2, 20, 20, 0)
    for result in (full, rast):
        result.sum().backward()
    assert pos.grad is not None


def test_agrees_with_the_pictures() -> None:
    """The ops and `rasterize_mesh` see the same triangles: same edges, same tie rule, rows the other way up."""
    from meshwright.rendering.rasterize import rasterize_clip

    pos, tri = ops_scenes.ball(views=1)
    rast, _ = ops.rasterize(*tensors("cpu", pos, tri), (48, 40))
    seen = rasterize_clip(np.ascontiguousarray(pos[0][:, [0, 1, 3]]), tri, 48, 40)
    np.testing.assert_array_equal(rast[0, ..., 3].numpy()[::-1] - 1, seen.face_id)
    np.testing.assert_allclose(rast[0, ..., 0].numpy()[::-1], seen.bary[..., 0], atol=1e-6)


def test_few_views_are_split_over_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """One view on many cores is done in bands of rows; the result stays, gradients but for rounding."""
    from meshwright.rendering.ops import launch

    pos, tri = tensors("cpu", *ops_scenes.ball(views=1))
    results = []
    for cores in (1, 5):
        launch.plan.cache_clear()
        monkeypatch.setattr(launch, "SMALL", 0)
        monkeypatch.setattr(launch, "cpu_threads", lambda cores=cores: cores)
        leaf = pos.clone().requires_grad_()
        rast, rast_db = ops.rasterize(leaf, tri, (33, 20))
        (rast * rast_db).sum().backward()
        results.append((rast.detach(), leaf.grad))
    launch.plan.cache_clear()
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda pos, tri: (pos.double(), tri, (8, 8)), r"pos is torch.float64 \[2, 75, 4\] on cpu, expected float32"),
        (lambda pos, tri: (pos[..., :3], tri, (8, 8)), r"expected float32 \[N, V, 4\] or \[V, 4\]"),
        (lambda pos, tri: (pos, tri.long(), (8, 8)), r"tri is torch.int64 .* expected int32 \[F, 3\]"),
        (lambda pos, tri: (pos, tri, (0, 8)), "2 pictures of 0 x 8 pixels cannot be made"),
    ],
)
def test_wrong_arguments_are_told(change: object, text: str) -> None:
    pos, tri = tensors("cpu", *ops_scenes.soup(0))
    with pytest.raises(ShapeError, match=text):
        ops.rasterize(*change(pos, tri))  # type: ignore[operator]
