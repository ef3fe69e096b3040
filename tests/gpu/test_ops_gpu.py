"""What only a GPU can show of the differentiable ops: streams, graphs, contention, and agreement with the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ops_scenes
from meshwright.rendering import ops
from waiting import never_waiting

pytestmark = pytest.mark.gpu

DEVICE = "cuda:0"


class Chain:
    """Inputs of the whole chain, and one step of it."""

    def __init__(self, device: str, views: int = 3, size: tuple[int, int] = (96, 80), texels: int = 64) -> None:
        arrays = ops_scenes.ball(views, level=3)
        self.pos, self.tri = (torch.from_numpy(array).to(device) for array in arrays)
        generator = torch.Generator().manual_seed(0)
        self.uv = torch.rand((self.pos.shape[1], 2), generator=generator).to(device)
        self.tex = torch.rand((1, texels, texels, 3), generator=generator).to(device)
        self.target = torch.rand((views, *size, 3), generator=generator).to(device)
        self.size = size
        self.topology = ops.build_topology(self.tri)
        for leaf in self.leaves:
            leaf.requires_grad_()

    @property
    def leaves(self) -> list[torch.Tensor]:
        return [self.pos, self.uv, self.tex]

    def step(self) -> list[torch.Tensor]:
        rast, rast_db = ops.rasterize(self.pos, self.tri, self.size)
        color = ops.texture(self.tex, *ops.interpolate(self.uv, rast, self.tri, rast_db, "all"))
        color = ops.antialias(color, rast, self.pos, self.tri, self.topology)
        loss = (color - self.target).square().mean()
        return [color.detach(), *torch.autograd.grad(loss, self.leaves)]


def assert_close(found: list[torch.Tensor], expected: list[torch.Tensor], share: float = 1e-4) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.cpu(), b.cpu(), rtol=0, atol=share * b.abs().max().item())


def test_cpu_and_gpu_see_the_same() -> None:
    cpu, gpu = Chain("cpu"), Chain(DEVICE)
    a, b = (ops.rasterize(chain.pos, chain.tri, chain.size)[0].cpu() for chain in (cpu, gpu))
    assert torch.equal(a[..., 3], b[..., 3])
    assert_close(gpu.step(), cpu.step())


def test_deterministic_at_size() -> None:
    chain = Chain(DEVICE, views=6, size=(256, 256), texels=256)
    plain = chain.step()
    with ops.deterministic():
        first, second = chain.step(), chain.step()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert_close(plain, first)


def test_work_goes_to_the_current_stream() -> None:
    """A long-running kernel before the ops on a stream of their own: what they read is only there after it."""
    chain = Chain(DEVICE)
    expected = chain.step()
    source = chain.pos.detach().clone()
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        with torch.no_grad():
            chain.pos.zero_()
            torch.cuda._sleep(50_000_000)
            chain.pos.copy_(source)
        found = chain.step()
    torch.cuda.current_stream().wait_stream(stream)
    assert_close(found, expected, 1e-5)


def test_nothing_waits_for_the_device() -> None:
    chain = Chain(DEVICE)
    chain.step()
    with never_waiting():
        chain.step()
        ops.build_topology(chain.tri)
        with ops.deterministic():
            chain.step()


def test_graph_replays() -> None:
    """Forward and backward captured once; replayed after the inputs changed, they give what running anew gives."""
    chain = Chain(DEVICE)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            chain.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = chain.step()
    with torch.no_grad():
        chain.pos[..., 0] += 0.1
        chain.tex.mul_(0.5)
    graph.replay()
    torch.cuda.synchronize()
    found = [tensor.clone() for tensor in captured]
    assert_close(found, chain.step(), 1e-5)


@pytest.mark.parametrize("side", [64, 1000])
def test_large_triangles_and_many_pixels_at_one_place(side: int) -> None:
    """Two triangles over the whole frame: all pixels add to the gradients of four corners and of few texels."""
    results = []
    for device in ("cpu", DEVICE):
        corners = [[-1.1, -1.2, 0.1, 1], [1.3, -1.1, 0.2, 1.1], [1.2, 1.4, 0.3, 1.2], [-1.4, 1.1, 0.1, 0.9]]
        pos = torch.tensor([corners], device=device, requires_grad=True)
        tri = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32, device=device)
        uv = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]], device=device, requires_grad=True)
        tex = torch.rand((1, 4, 4, 3), generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
        rast, rast_db = ops.rasterize(pos, tri, (side, side))
        assert (rast[..., 3] > 0).all()
        color = ops.texture(tex, *ops.interpolate(uv, rast, tri, rast_db, "all"))
        weight = torch.linspace(-1, 1, color.numel(), device=device).view_as(color)
        (color * weight).mean().backward()
        results.append([color.detach(), pos.grad, uv.grad, tex.grad])
    assert_close(results[1], results[0])


def test_many_small_triangles() -> None:
    """More triangles than pixels, drawn in an order that differs from run to run: the nearest still wins."""
    rng = np.random.default_rng(0)
    count = 200_000
    centre = np.repeat(rng.uniform(-1, 1, (count, 3)), 3, axis=0)
    corners = centre + rng.normal(size=centre.shape) * [0.02, 0.02, 0.001]
    pos = np.concatenate([corners, np.ones((3 * count, 1))], 1)[None].astype(np.float32)
    pos, tri = torch.from_numpy(pos), torch.from_numpy(ops_scenes.indices(3 * count))
    expected, _ = ops.rasterize(pos, tri, (200, 200))
    for _ in range(3):
        found, _ = ops.rasterize(pos.to(DEVICE), tri.to(DEVICE), (200, 200))
        assert torch.equal(found.cpu()[..., 3], expected[..., 3])


@pytest.mark.parametrize("pixels", [1, 4, 8, 16, 32, 64, 600])
def test_triangles_of_every_size(pixels: int) -> None:
    """Each size is shared out among threads in a way of its own; some reach behind the camera or across the picture."""
    rng = np.random.default_rng(pixels)
    height, width = 90, 117
    count = height * width // pixels
    centre = np.repeat(rng.uniform(-1.2, 1.2, (count, 1, 3)), 3, axis=1)
    corners = centre + rng.normal(size=centre.shape) * np.sqrt(pixels) / 60
    corners[rng.random(count) < 0.02] *= 5
    depth = np.where(rng.random((count, 3, 1)) < 0.03, -1, 1) * rng.uniform(0.5, 2, (count, 3, 1))
    pos = np.concatenate([corners * depth, depth], 2).reshape(1, -1, 4).astype(np.float32)
    pos, tri = torch.from_numpy(pos), torch.from_numpy(ops_scenes.indices(3 * count))
    expected, expected_db = ops.rasterize(pos, tri, (height, width))
    found, found_db = (tensor.cpu() for tensor in ops.rasterize(pos.to(DEVICE), tri.to(DEVICE), (height, width)))
    same = found[..., 3] == expected[..., 3]
    assert same.float().mean() > 0.999
    assert (expected[..., 3] > 0).float().mean() > 0.2
    torch.testing.assert_close(found[same], expected[same], rtol=1e-3, atol=1e-3)
    near = (found_db[same] - expected_db[same]).abs() <= 1e-3 + 1e-2 * expected_db[same].abs()
    assert near.float().mean() > 0.999


def test_tensors_that_start_anywhere() -> None:
    """Kernels read 16 bytes at once; a tensor cut out of a larger one need not start at a multiple of them."""

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        larger = torch.empty(tensor.numel() + 1, dtype=tensor.dtype, device=tensor.device)
        return larger[1:].view(tensor.shape).copy_(tensor)

    chain = Chain(DEVICE)
    expected = chain.step()
    with torch.no_grad():
        chain.pos, chain.uv, chain.tex = (moved(leaf).requires_grad_() for leaf in chain.leaves)
    chain.tri = moved(chain.tri)
    assert_close(chain.step(), expected, 1e-5)
    with torch.no_grad():
        rast, rast_db = (moved(tensor) for tensor in ops.rasterize(chain.pos, chain.tri, chain.size))
        uv, uv_da = (moved(t) for t in ops.interpolate(chain.uv, rast, chain.tri, rast_db, "all"))
        color = ops.antialias(ops.texture(chain.tex, uv, uv_da), rast, chain.pos, chain.tri, chain.topology)
    assert_close([color], expected[:1], 1e-5)
