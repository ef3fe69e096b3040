"""What only a GPU can show of the fit of materials and light: no waiting within a step, as good a result as a CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from meshwright.models.nvdiffrec.stage_two.config import LightingConfig
from meshwright.models.nvdiffrec.stage_two.fit import Fit
from meshwright.models.nvdiffrec.stage_two.samples import Samples, collect
from meshwright.rendering.lit import render_lit
from meshwright.types import Camera, MaskSource, MaterialMaps, Mesh, SilentMonitor, TexturedMesh, View
from waiting import never_waiting

pytestmark = pytest.mark.gpu

DEVICE = "cuda:0"
SIDE = 256
CONFIG = LightingConfig(steps=40, batch=8192, texture=256, light=32)


def scene(device: str) -> tuple[TexturedMesh, Samples]:
    """A bumpy square in four colours, seen from the front."""
    grid = np.linspace(-0.5, 0.5, 40)
    x, y = (values.ravel() for values in np.meshgrid(grid, grid))
    corner = (np.arange(39)[:, None] * 40 + np.arange(39)).ravel()
    faces = np.concatenate([corner[:, None] + [0, 1, 41], corner[:, None] + [0, 41, 40]]).astype(np.int32)
    mesh = Mesh(vertices=np.stack([x, y, 0.1 * np.sin(9 * x) * np.cos(7 * y)], 1).astype(np.float32), faces=faces)
    uv = np.stack([x, y], 1).astype(np.float32) + 0.5
    colour = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [200, 200, 60]], np.uint8)
    picture = colour.reshape(2, 2, 3).repeat(128, 0).repeat(128, 1)
    light = np.linspace(0.2, 2, 32 * 64 * 3, dtype=np.float32).reshape(32, 64, 3)
    orm = np.full((4, 4, 3), [255, 90, 0], np.uint8)
    material = MaterialMaps(orm=orm, light=light)
    textured = TexturedMesh(mesh=mesh, uv=uv, uv_faces=faces, base_color_srgb=picture, material=material)
    pose = np.eye(4)
    pose[2, 3] = 2.0
    camera = Camera(
        name="front", camera_to_world=pose, fl_x=400, fl_y=400, cx=SIDE / 2, cy=SIDE / 2, width=SIDE, height=SIDE
    )
    shown = render_lit(textured, camera, device=device)
    view = View(
        name="front",
        rgb=shown.rgb.clip(0, 1),
        mask=shown.alpha,
        mask_source=MaskSource.ALPHA,
        background=np.ones((SIDE, SIDE, 3), np.float32),
    )
    found = collect(textured, [view], [camera], pixels=SIDE, most=10**6, seed=0, monitor=SilentMonitor(), device=device)
    assert found is not None
    return textured, found


def test_a_step_never_waits() -> None:
    textured, samples = scene(DEVICE)
    fit = Fit(textured, samples, replace(CONFIG, graphs=False), DEVICE)
    for step in (*range(4), *range(20, 24)):  # what is remembered of the light's size, and Adam's state, are made once
        fit.advance(step)
    with never_waiting():
        for step in (*range(4, 8), *range(24, 28)):
            fit.advance(step)


def test_recorded_steps_are_plain_ones() -> None:
    """They draw the same pixels; sums in another order differ in their last bits, and a descent lets them grow."""
    textured, samples = scene(DEVICE)
    ways = []
    for graphs in (True, False):
        fit = Fit(textured, samples, replace(CONFIG, graphs=graphs), DEVICE)
        ways.append([float(fit.advance(step)) for step in range(CONFIG.steps)])
        assert (fit.replays["fine"].graph is not None) == (fit.replays["light"].graph is not None) == graphs
    np.testing.assert_allclose(ways[0][:8], ways[1][:8], rtol=1e-3)
    np.testing.assert_allclose(ways[0], ways[1], rtol=0.03)


def test_cpu_and_gpu_come_as_near() -> None:
    """They draw different pixels, so only what is reached is compared."""
    last = []
    for device in ("cpu", DEVICE):
        textured, samples = scene(device)
        found = Fit(textured, samples, CONFIG, device).run(lambda step: None)
        assert isinstance(found.report["losses"], list)
        last.append(found.report["losses"])
    assert last[0][0] == pytest.approx(last[1][0], rel=0.1)
    assert last[0][-1] == pytest.approx(last[1][-1], rel=0.25)
