"""What the views say of each cell, and the networks around it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from meshwright.models.reconviagen import lifting
from meshwright.models.reconviagen.crops import SLOTS
from meshwright.models.reconviagen.lifting import HALF, Prior, Seen, blurred, cube, project
from meshwright.models.reconviagen.network import NetConfig, doubled, halved, unfolded

SMALL = NetConfig(view=8, coarse=8, fine=16)


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifting, "MASK_SIZE", 64)
    monkeypatch.setattr(lifting, "PICTURE_SIZE", 32)


def rig() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    axes = [np.stack([np.cross(up, stand), up, stand]) for stand, up in np.array(SLOTS, float)]
    rotation = torch.tensor(np.stack(axes)[None], dtype=torch.float32)
    return rotation, 2.5 * rotation[:, :, 2], torch.tensor([[[3.06, 0.02, -0.03]] * 6])


def ball(radius: float, centre: tuple[float, float, float]) -> Seen:
    """The outlines of a ball, worked out ray by ray."""
    rotation, position, lens = rig()
    line = (torch.arange(64) + 0.5) / 32 - 1
    v, u = torch.meshgrid(-line, line, indexing="ij")
    masks = []
    for slot in range(6):
        focal, right, up = lens[0, slot]
        rays = torch.stack([(u - right) / focal, (v - up) / focal, -torch.ones_like(u)], -1) @ rotation[0, slot]
        to = torch.tensor(centre) - position[0, slot]
        along = (rays @ to) / (rays * rays).sum(-1)
        masks.append(((along[..., None] * rays - to).norm(dim=-1) < radius).float())
    return Seen(
        present=torch.ones(1, 6),
        mask=torch.stack(masks)[None],
        picture=torch.rand(1, 6, 6, 32, 32, generator=torch.Generator().manual_seed(0)),
        rotation=rotation,
        position=position,
        lens=lens,
    )


def test_the_kernel_finds_what_torch_finds() -> None:
    seen = ball(0.3, (0.1, -0.05, 0.15))
    layers = blurred(seen.mask)
    mine = unfolded(Prior(SMALL, grid=32).outlines(seen, layers)[:, :8])
    place, _ = project(seen, cube(32, torch.device("cpu")))
    theirs = lifting._looked_up(layers, place)[:, :, 0].amin(1).view(1, 32, 32, 32)
    # Both are float32 and project a point in a dozen operations; a mask's slope is below 0.5 per pixel.
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-4)


def test_outlines_hold_the_ball_and_little_more() -> None:
    seen = ball(0.3, (0.1, -0.05, 0.15))
    least = unfolded(Prior(SMALL, grid=64).outlines(seen, blurred(seen.mask))[:, :8])[0]
    away = (cube(64, torch.device("cpu")) - torch.tensor((0.1, -0.05, 0.15))).norm(dim=1).view(64, 64, 64)
    pixel = 2.5 / 3.06 / 32
    assert bool((least[away < 0.3 - 1.5 * pixel] > 0.5).all())
    # Six cones around a ball meet outside of it, at most at sqrt(2) radii where three pairs of them cross.
    assert bool((least[away > 1.42 * 0.3 + 2 * pixel] < 0.5).all())


def test_views_that_are_not_there_say_nothing() -> None:
    seen = ball(0.3, (0.0, 0.0, 0.0))
    net = Prior(SMALL, grid=32)
    none = replace(seen, present=torch.zeros(1, 6))
    assert bool((net.outlines(none, blurred(seen.mask)) == 1).all())
    surfaces = net.surfaces(none, blurred(seen.mask))
    cells = net.cells(none, blurred(seen.mask), surfaces)
    own = cells[:, :48].view(1, 6, 8, 16, 16, 16)
    assert bool((own[:, :, :3] == 1).all())
    assert bool((own[:, :, 3:] == 0).all())


def test_a_surface_that_is_known_divides_before_from_behind() -> None:
    seen = ball(0.3, (0.0, 0.0, 0.0))
    flat = torch.full((1, 6, 32, 32), 0.1)
    normal = torch.zeros(1, 6, 3, 32, 32)
    normal[:, :, 2] = 1
    cells = Prior(SMALL, grid=64).cells(
        seen, blurred(seen.mask), lifting.Surfaces(depth=flat, spread=flat - 5, normal=normal)
    )
    front = cells[0, 3, 16, 16]  # x = y = 0, along z; the front camera stands on +z, its surface at z = 0.1
    z = (torch.arange(32) + 0.5) / 32 * 2 * HALF - HALF
    inside = z.abs() < 0.25
    expected = ((z - 0.1) / 0.15).clamp(-1, 1)
    torch.testing.assert_close(front[inside], expected[inside], rtol=0, atol=1e-3)
    assert cells[0, 7, 16, 16, 16] == pytest.approx(1.0, abs=1e-5)  # the normal points to +z


def test_grids_fold_and_unfold() -> None:
    field = torch.rand(2, 3, 8, 8, 8)
    torch.testing.assert_close(halved(doubled(field)), field)
    parts = torch.rand(2, 8, 4, 4, 4)
    grid = unfolded(parts)
    assert grid[1, 5, 2, 7] == parts[1, 4 * 1 + 2 * 0 + 1, 2, 1, 3]
    flat = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(halved(doubled(flat)), flat)


def test_the_networks_give_a_field_and_learn_from_it() -> None:
    seen = ball(0.3, (0.0, 0.0, 0.0))
    net = Prior(SMALL, grid=32)
    fine, coarse, surfaces = net(seen)
    assert fine.shape == (1, 32, 32, 32)
    assert coarse.shape == (1, 16, 16, 16)
    assert surfaces.depth.shape == (1, 6, 32, 32)
    (fine.square().mean() + surfaces.depth.square().mean()).backward()
    # The first layers of all three networks.
    for part in (net.view.enter, net.coarse.body.down[0].first.conv, net.fine.first.conv):
        assert part.weight.grad is not None
        assert bool(part.weight.grad.abs().sum() > 0)
