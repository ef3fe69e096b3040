"""What only a GPU can show of the texture: the same picture as on a CPU, and no waiting while it is fitted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from meshwright.geometry.atlas import AtlasConfig, unwrap
from meshwright.texture import TextureConfig, bake_texture, on_device
from meshwright.texture.on_device.nearest import find_nearest
from meshwright.texture.on_device.solve import look_up, solve_texture
from meshwright.texture.surface import build_graph
from meshwright.types import SilentMonitor
from texture_scenes import CAMERAS, two_balls
from waiting import never_waiting

pytestmark = pytest.mark.gpu

DEVICE = "cuda:0"
SIZE = 512


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_cpu_and_gpu_make_the_same_picture(average: float) -> None:
    mesh, views = two_balls()
    atlas = unwrap(mesh, AtlasConfig(texture_size=SIZE))
    config = TextureConfig(size=SIZE, average=average, match_exposure=average > 0)
    gpu, cpu = (bake_texture(mesh, atlas, views, CAMERAS, config, device=device) for device in (DEVICE, "cpu"))
    assert (gpu.seen == cpu.seen).mean() > 0.9999
    seen = cpu.seen & gpu.seen
    off = np.abs(gpu.base_color_srgb.astype(int) - cpu.base_color_srgb.astype(int))[seen]
    # Where two views are as good, the last digit of a colour may decide for the other one.
    assert (off <= 1).mean() > 0.97 and off.mean() < 0.1


def test_nearest_is_nearest_at_size() -> None:
    wanted = np.random.default_rng(0).uniform(size=(1500, 2048)) < 1e-3
    wanted[:, 1200:] = False
    nearest, square = (values.cpu().numpy() for values in find_nearest(torch.from_numpy(wanted).to(DEVICE)))
    np.testing.assert_allclose(np.sqrt(square), distance_transform_edt(~wanted), rtol=1e-12)
    assert wanted.flat[nearest].all()


def test_the_fit_never_waits() -> None:
    mesh, views = two_balls()
    atlas, graph = unwrap(mesh, AtlasConfig(texture_size=SIZE)), build_graph(mesh)
    texels = on_device.find_texels(mesh, atlas.uv, atlas.uv_faces, SIZE, graph, device=DEVICE)
    looks = []
    for view, camera in zip(views, CAMERAS, strict=True):
        judged = on_device.judge_view(view, camera, mesh, 1.0, 1.0, device=DEVICE)
        looks.append(look_up(mesh, atlas, SIZE, judged, camera, device=DEVICE))
    start = torch.full((len(texels.index), 3), 0.5, device=DEVICE)

    def fit() -> torch.Tensor:
        return solve_texture(start, texels, looks, stiff=0.3, hold=0.005, doubt=0.3, monitor=SilentMonitor())

    first = fit()
    with never_waiting():
        second = fit()
    # Sums are added up in no fixed order.
    torch.testing.assert_close(first, second, rtol=0, atol=1e-3)
    assert (first - start).abs().max() > 0.1
