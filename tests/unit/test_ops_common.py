"""What all ops share: reach them by name, the same result every time, and relaunching of recorded kernels."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

import ops_scenes
from meshwright import rendering
from meshwright.rendering import ops
from meshwright.rendering.ops.launch import Frame, plan

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]


def step(device: str, seed: int = 0) -> list[torch.Tensor]:
    """The whole chain forward and backward: picture, gradients of positions, attributes and texels."""
    arrays = ops_scenes.ball(views=3)
    pos, tri = (torch.from_numpy(array).to(device) for array in arrays)
    generator = torch.Generator().manual_seed(seed)
    uv = torch.rand((pos.shape[1], 2), generator=generator).to(device)
    tex = torch.rand((1, 32, 32, 3), generator=generator).to(device)
    leaves = [leaf.requires_grad_() for leaf in (pos, uv, tex)]
    rast, rast_db = ops.rasterize(pos, tri, (50, 41))
    color = ops.texture(tex, *ops.interpolate(uv, rast, tri, rast_db, "all"))
    color = ops.antialias(color, rast, pos, tri)
    color.square().sum().backward()
    return [color.detach(), *(leaf.grad for leaf in leaves)]


def test_ops_are_names_of_rendering() -> None:
    for name in ops.__all__:
        assert getattr(rendering, name) is getattr(ops, name)
    assert rendering.ops is ops
    assert set(ops.__all__) <= set(dir(rendering))
    with pytest.raises(AttributeError, match="has no attribute 'paint'"):
        rendering.paint  # noqa: B018


def test_rendering_alone_brings_no_torch() -> None:
    program = "import sys, meshwright.rendering; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("device", DEVICES)
def test_deterministic_mode_repeats_to_the_last_bit(device: str) -> None:
    with ops.deterministic():
        first, second = step(device), step(device)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(first, step(device), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * a.abs().max().item())


def test_cpu_repeats_to_the_last_bit_always() -> None:
    expected = step("cpu")
    for _ in range(3):
        for a, b in zip(expected, step("cpu"), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("cores", [1, 2, 3, 16])
def test_cores_change_only_roundings(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from meshwright.rendering.ops import launch

    expected = step("cpu")
    launch.plan.cache_clear()
    monkeypatch.setattr(launch, "SMALL", 0)
    monkeypatch.setattr(launch, "cpu_threads", lambda: cores)
    found = step("cpu")
    launch.plan.cache_clear()
    assert torch.equal(expected[0], found[0])
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6 * a.abs().max().item())


@pytest.mark.parametrize(("views", "height", "cores"), [(1, 7, 4), (6, 5, 2), (3, 2, 16), (2, 1, 64), (16, 9, 5)])
def test_bands_cover_every_row_once(views: int, height: int, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from meshwright.rendering.ops import launch

    monkeypatch.setattr(launch, "SMALL", 0)
    monkeypatch.setattr(launch, "cpu_threads", lambda: cores)
    frame = Frame(views, height, 3, torch.device("cpu"))
    groups = plan.__wrapped__(frame)
    assert len(groups) <= min(cores, 16)
    rows = np.zeros(views * height, int)
    for worker, bands in enumerate(groups):
        for band in bands:
            assert band.worker == worker and band.first == (band.view * height + band.top) * 3
            rows[band.first // 3 : band.last // 3] += 1
            assert band.last - band.first == (band.bottom - band.top) * 3
    assert (rows == 1).all()
    both = {(band.view, band.part) for bands in groups for band in bands}
    assert len(both) == sum(len(bands) for bands in groups)


@pytest.mark.parametrize("device", DEVICES)
def test_threads_do_not_disturb_each_other(device: str) -> None:
    """Recorded kernels keep their arguments between calls, so every thread has records of its own."""
    seeds = range(4)
    with ops.deterministic():
        expected = [step(device, seed) for seed in seeds]
    found: dict[int, list[torch.Tensor]] = {}

    def work(seed: int) -> None:
        for _ in range(3):
            with ops.deterministic():
                found[seed] = step(device, seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in seeds:
        for a, b in zip(expected[seed], found[seed], strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("device", DEVICES)
def test_sizes_may_change_from_call_to_call(device: str) -> None:
    pos, tri = (torch.from_numpy(array).to(device) for array in ops_scenes.ball())
    large, _ = ops.rasterize(pos, tri, (40, 30))
    small, _ = ops.rasterize(pos[:1], tri[:50].contiguous(), (7, 9))
    again, _ = ops.rasterize(pos, tri, (40, 30))
    assert small.shape == (1, 7, 9, 4)
    assert torch.equal(large, again)


@pytest.mark.parametrize("device", DEVICES)
def test_second_derivatives_are_refused(device: str) -> None:
    pos, tri = (torch.from_numpy(array).to(device) for array in ops_scenes.ball())
    pos.requires_grad_()
    rast, _ = ops.rasterize(pos, tri, (20, 20))
    (gradient,) = torch.autograd.grad(rast.square().sum(), pos, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("device", DEVICES)
def test_not_a_number_is_passed_on(device: str) -> None:
    """A spoiled gradient must not turn into a plausible one, in the deterministic mode neither."""
    pos, tri = (torch.from_numpy(array).to(device) for array in ops_scenes.ball())
    attr = torch.rand((pos.shape[1], 2)).to(device).requires_grad_()
    rast, _ = ops.rasterize(pos, tri, (20, 20))
    for on in (False, True):
        attr.grad = None
        with ops.deterministic(on):
            out, _ = ops.interpolate(attr, rast, tri)
        (out * torch.tensor([1.0, float("nan")], device=device)).sum().backward()
        assert torch.isnan(attr.grad).any()
