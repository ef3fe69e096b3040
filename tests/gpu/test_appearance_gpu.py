"""What only a GPU can show of materials and light: agreement with the CPU at size, no waiting, graphs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from meshwright.models.nvdiffrec import losses
from meshwright.models.nvdiffrec.appearance.config import VolumeConfig
from meshwright.models.nvdiffrec.appearance.look import look
from meshwright.models.nvdiffrec.appearance.volume import MaterialVolume
from meshwright.rendering import ops
from meshwright.rendering.light import EnvironmentLight
from meshwright.rendering.ops import HashGrid
from waiting import never_waiting

pytestmark = pytest.mark.gpu

DEVICE = "cuda:0"


class Scene:
    """A lit ball of points whose materials come from a hash grid, and one step of fitting it."""

    def __init__(self, device: str, count: int = 200_003, precision: str = "float32") -> None:
        config = VolumeConfig(grid=HashGrid(levels=8, finest=256, log2_size=14), precision=precision)
        self.volume = MaterialVolume(np.full(3, -1.0), np.full(3, 1.0), config, device=device)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            table = torch.randn(config.grid.entries, 2, generator=generator)
            self.volume.network.table.copy_(table)  # type: ignore[union-attr, operator]
        self.light = EnvironmentLight.of(lambda d: 0.5 + 0.4 * np.sin(3 * d + 1), 64, device=device)
        # In rows over the ball, so that threads of a warp share cells as neighbouring pixels do.
        turn, height = torch.arange(count) * 0.001, torch.linspace(-0.99, 0.99, count)
        radius = (1 - height.square()).sqrt()
        self.points = torch.stack([radius * turn.cos(), height, radius * turn.sin()], -1).to(device).requires_grad_()
        view = torch.randn((count, 3), generator=generator).to(device)
        self.view = torch.nn.functional.normalize(view + 2 * self.points.detach(), dim=1)
        self.wanted = torch.rand((count, 3), generator=generator).to(device)

    @property
    def leaves(self) -> list[torch.Tensor]:
        return [*self.volume.parameters(), self.light.texels, self.points]

    def step(self) -> list[torch.Tensor]:
        normal = torch.nn.functional.normalize(self.points, dim=1)
        colour = look(self.volume(self.points), normal, self.view, self.light.maps())
        loss = losses.colour_loss(colour, self.wanted) + 0.1 * losses.light_whiteness(self.light.texels)
        return [colour.detach(), *torch.autograd.grad(loss, self.leaves)]


def assert_close(found: list[torch.Tensor], expected: list[torch.Tensor], share: float) -> None:
    for a, b in zip(found, expected, strict=True):
        off = (a.cpu() - b.cpu()).abs()
        assert off.max() <= share * b.abs().max().item()


def test_cpu_and_gpu_see_the_same() -> None:
    cpu, gpu = Scene("cpu", 20_011), Scene(DEVICE, 20_011)
    (colour, *gradients), (expected, *expected_gradients) = gpu.step(), cpu.step()
    torch.testing.assert_close(colour.cpu(), expected, atol=2e-3, rtol=0)
    for a, b in zip(gradients, expected_gradients, strict=True):
        # Points at the edge of a cell may be in one or the other: compare as a whole.
        assert (a.cpu() - b).norm() <= 2e-2 * b.norm()


def test_deterministic_at_size() -> None:
    scene = Scene(DEVICE)
    plain = scene.step()
    with ops.deterministic():
        first, second = scene.step(), scene.step()
    # Matrix products and indexing of torch are the same from run to run on one machine.
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert_close(plain, first, 1e-3)


def test_nothing_waits_for_the_device() -> None:
    scene = Scene(DEVICE, precision="auto")
    scene.step()
    generator = torch.Generator(DEVICE).manual_seed(0)
    with never_waiting():
        scene.step()
        materials = scene.volume(scene.points)
        losses.material_smoothness(scene.volume, scene.points, materials, reach=0.01, generator=generator)
        ground = losses.random_background(2, DEVICE, generator)
        shown = losses.over_background(torch.zeros((2, 4, 4, 4), device=DEVICE), ground)
        depth = shown[..., :1]
        losses.relative_depth_loss(depth, depth, depth)
        losses.metric_depth_loss(depth, depth, depth, 1.0)
        losses.mask_loss(depth, depth)


def test_graph_replays() -> None:
    scene = Scene(DEVICE, precision="auto")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            scene.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = scene.step()
    with torch.no_grad():
        scene.light.texels.mul_(0.5)
        scene.wanted.mul_(0.9)
    graph.replay()
    torch.cuda.synchronize()
    found = [tensor.clone() for tensor in captured]
    assert_close(found, scene.step(), 1e-2)


def test_half_precision_stays_close() -> None:
    full, half = Scene(DEVICE), Scene(DEVICE, precision="auto")
    off = (full.step()[0] - half.step()[0]).abs()
    assert 0 < off.mean() < 0.01
