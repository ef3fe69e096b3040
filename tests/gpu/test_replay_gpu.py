"""What only a GPU can show of replayed steps: they do what plain ones do."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from meshwright.geometry import AtlasConfig, unwrap
from meshwright.models.refinement.config import Level, RefineConfig
from meshwright.models.refinement.descent import UniformAdam
from meshwright.models.refinement.lattice import apply, lattice_around, on_device
from meshwright.models.refinement.refine import Refinement, refine
from meshwright.replay import Replay
from meshwright.types import Mesh, SilentMonitor, TexturedMesh
from scenes import Ellipsoid, six, views_of

pytestmark = pytest.mark.gpu

DEVICE = "cuda:0"


def walk(graphs: bool) -> torch.Tensor:
    """A random walk of nine steps by gradients."""
    generator = torch.Generator(DEVICE).manual_seed(3)
    place = torch.nn.Parameter(torch.zeros(1000, device=DEVICE))
    descent = torch.optim.Adam([place], lr=0.1, capturable=True)

    def step() -> None:
        goal = torch.randn(1000, device=DEVICE, generator=generator)
        (place - goal).square().sum().backward()
        descent.step()
        descent.zero_grad()

    replay = Replay(step, DEVICE, graphs=graphs, generators=[generator])
    for _ in range(9):
        replay()
    assert (replay.graph is not None) == graphs
    return place.detach()


def test_replayed_steps_draw_and_move_as_plain_ones() -> None:
    torch.testing.assert_close(walk(True), walk(False))


WAITING = """
import torch
from meshwright.errors import DeviceError
from meshwright.replay import Replay
total = torch.zeros(2, device="cuda:0")
replay = Replay(lambda: print(total.sum().item()), "cuda:0")
replay()
replay()
try:
    replay()
except DeviceError as error:
    assert "graphs=False" in error.hint
    print("refused", flush=True)
"""


def test_a_step_that_waits_cannot_be_recorded() -> None:
    done = subprocess.run([sys.executable, "-c", WAITING], capture_output=True, text=True, check=False)
    assert done.stdout.split()[-1:] == ["refused"], done.stderr


def test_products_and_descents_are_those_of_a_cpu() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (500, 3)).astype(np.float32)
    lattice = lattice_around(points, 0.3)
    given = rng.normal(size=(lattice.count, 3)).astype(np.float32)
    found = []
    for device in ("cpu", DEVICE):
        controls = torch.nn.Parameter(torch.tensor(given, device=device))
        descent = UniformAdam(controls, 0.01)
        weights = on_device(lattice.weights(points), device)
        for _ in range(3):
            apply(weights, controls).square().sum().backward()
            descent.step(0.5)
        found.append(controls.detach().cpu())
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


AXES = (0.3, 0.4, 0.5)
CONFIG = RefineConfig(
    levels=(
        Level(pixels=48, cell=0.3, steps=23, move=0.004, turn=0.002),
        Level(pixels=96, cell=0.2, steps=23, move=0.002, turn=0.001),
    ),
    texture_size=256,
)


def refined(device: str, config: RefineConfig) -> tuple[Refinement, np.ndarray]:
    cameras = six(96)
    views = views_of((Ellipsoid((0.0, 0.0, 0.0), AXES),), cameras).views
    ball = trimesh.creation.icosphere(subdivisions=3)
    vertices = ball.vertices * np.array(AXES) * (1.06, 0.95, 1.0)
    mesh = Mesh(vertices=vertices.astype(np.float32), faces=ball.faces.astype(np.int32))
    atlas = unwrap(mesh, AtlasConfig(texture_size=256))
    picture = np.full((256, 256, 3), 128, np.uint8)
    textured = TexturedMesh(mesh=mesh, uv=atlas.uv, uv_faces=atlas.uv_faces, base_color_srgb=picture)
    found = refine(
        textured,
        mesh.vertices,
        views,
        cameras,
        doubt=0.1,
        free_cameras=True,
        config=config,
        monitor=SilentMonitor(),
        device=device,
    )
    return found, found.moved(mesh).vertices


@pytest.mark.parametrize("views_at_once", [8, 4])
def test_a_refinement_is_the_same_with_and_without_graphs(views_at_once: int) -> None:
    config = replace(CONFIG, views_at_once=views_at_once)
    runs = [(DEVICE, config), (DEVICE, replace(config, graphs=False)), ("cpu", config)]
    (graph, moved), (plain, plainly), (host, on_host) = (refined(*run) for run in runs)
    # Sums in another order differ in their last bits, and a descent lets them grow.
    np.testing.assert_allclose(moved, plainly, atol=1e-3)
    np.testing.assert_allclose(moved, on_host, atol=6e-3)
    for ours, others, hosts in zip(graph.report["levels"], plain.report["levels"], host.report["levels"], strict=True):  # type: ignore[call-overload]
        assert ours["loss_first"] == pytest.approx(others["loss_first"], rel=1e-3)
        assert ours["loss_best"] == pytest.approx(others["loss_best"], rel=0.05)
        # On a CPU alone, with the same texture coordinates: moving vertices by 1e-7 changes this by up to 19 %.
        assert ours["loss_best"] == pytest.approx(hosts["loss_best"], rel=0.25)
