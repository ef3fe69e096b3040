"""How long hash encoding, the material volume and light take: `python benchmarks/light.py --device cpu`.

`python benchmarks/light.py --processor` tells processor time on the CPU instead, all cores together: on a machine that
is busy with other work it says what the clock on the wall cannot.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable

import torch
from harness import REGISTRY, benchmark, main

from meshwright.models.nvdiffrec.appearance.config import VolumeConfig
from meshwright.models.nvdiffrec.appearance.volume import MaterialVolume
from meshwright.rendering import ops
from meshwright.rendering.light import EnvironmentLight, shade_pbr

POINTS = {"cpu": 2**16}
"""About the covered pixels of four views of 256 x 256; on a GPU those of eight of 512 x 512."""


def many(device: str) -> int:
    return POINTS.get(device, 2**20)


def places(device: str) -> torch.Tensor:
    """Points on a sphere in the unit cube, neighbours beside each other, as pixels have them."""
    count = many(device)
    turn = torch.arange(count, device=device) * (2 * torch.pi / 1024)
    height = torch.linspace(-1, 1, count, device=device)
    radius = (1 - height.square()).clamp(min=0).sqrt()
    return 0.5 + 0.45 * torch.stack([radius * turn.cos(), height, radius * turn.sin()], -1)


@benchmark(log2_size=[15, 19])
def encode_forward(log2_size: int, device: str) -> Callable[[], object]:
    """16 levels of 2 features."""
    grid = ops.HashGrid(log2_size=log2_size)
    table, points = grid.new_table(device), places(device)
    return lambda: ops.hash_encode(table, points, grid)


@benchmark(log2_size=[15, 19], points=[False, True])
def encode_and_back(log2_size: int, points: bool, device: str) -> Callable[[], object]:
    """Gradients of the table, and of the points where they move."""
    grid = ops.HashGrid(log2_size=log2_size)
    table, where = grid.new_table(device).requires_grad_(), places(device).requires_grad_(points)
    weight = torch.rand((many(device), grid.width), device=device)

    def run() -> None:
        table.grad = where.grad = None
        ops.hash_encode(table, where, grid).backward(weight)

    return run


@benchmark(log2_size=[15])
def volume_and_back(log2_size: int, device: str) -> Callable[[], object]:
    """Materials, and the gradients of all that makes them."""
    grid = ops.HashGrid(log2_size=log2_size)
    volume = MaterialVolume([0, 0, 0], [1, 1, 1], VolumeConfig(grid=grid), device=device)
    where = places(device)

    def run() -> None:
        volume.zero_grad()
        volume(where).kd.sum().backward()

    return run


@benchmark(size=[32, 64, 256])
def light_maps_and_back(size: int, device: str) -> Callable[[], object]:
    """The blurred copies of a light, and the gradient of its texels."""
    light = EnvironmentLight(size, device=device)

    def run() -> None:
        light.zero_grad()
        maps = light.maps()
        (maps.specular.sum() + maps.diffuse.sum()).backward()

    return run


@benchmark(size=[64])
def shade_and_back(size: int, device: str) -> Callable[[], object]:
    """Split-sum shading with the light's maps made before; gradients of materials, normals and maps."""
    count = many(device)
    generator = torch.Generator().manual_seed(0)
    kd, ks = (torch.rand((count, 3), generator=generator).to(device).requires_grad_() for _ in range(2))
    normal = torch.nn.functional.normalize(places(device) - 0.5, dim=1).requires_grad_()
    view = torch.nn.functional.normalize(normal.detach() + 0.5, dim=1)
    with torch.no_grad():
        maps = EnvironmentLight(size, device=device).maps()
    maps.specular.requires_grad_()
    maps.diffuse.requires_grad_()

    def run() -> None:
        for leaf in (kd, ks, normal, maps.specular, maps.diffuse):
            leaf.grad = None
        shade_pbr(kd, ks, normal, view, maps).sum().backward()

    return run


def processor_times() -> None:
    """The least processor time of four calls of each benchmark."""
    torch.set_num_threads(1)
    print("| benchmark | parameters | processor time |\n| --- | --- | --- |")
    for name, (build, grid) in REGISTRY.items():
        for values in itertools.product(*grid.values()):
            parameters = dict(zip(grid, values, strict=True))
            call = build(**parameters, device="cpu")
            call()
            call()
            spent = []
            for _ in range(4):
                begun = time.process_time()
                call()
                spent.append(time.process_time() - begun)
            told = ", ".join(f"{key}={value}" for key, value in parameters.items())
            print(f"| {name} | {told} | {min(spent) * 1e3:.3g} ms |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--processor"]:
        processor_times()
    else:
        main()
