"""What the views say of each cell, and the networks around it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from meshwright.models.reconviagen import lifting
from meshwright.models.reconviagen.crops import SLOTS
from meshwright.models.reconviagen.lifting import HALF, Prior, Seen, Surfaces, blurred, cube, project
from meshwright.models.reconviagen.network import (
    CELL_CHANNELS,
    FEATURES,
    FINE_LIMIT,
    NetConfig,
    _GroupNorm,
    doubled,
    halved,
    unfolded,
)

SMALL = NetConfig(view=8, coarse=(8, 16, 16, 24), fine=16)
NORMALS = torch.tensor([0.0, 0.0, 1.0]).view(1, 1, 3, 1, 1)


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


def flat(depth: float, spread: float = -5.0) -> Surfaces:
    """Every view sees a plane across its axis."""
    plane = torch.full((1, 6, 32, 32), depth)
    return Surfaces(
        depth=plane,
        spread=torch.full_like(plane, spread),
        normal=NORMALS.expand(1, 6, 3, 32, 32).contiguous(),
        features=torch.zeros(1, 6, FEATURES, 32, 32),
    )


def away_from(centre: tuple[float, float, float], side: int) -> torch.Tensor:
    return (cube(side, torch.device("cpu")) - torch.tensor(centre)).norm(dim=1).view(side, side, side)


def unseen(seen: Seen) -> Seen:
    """No pixel is said to show the object: surfaces carve nothing."""
    return replace(seen, picture=torch.zeros_like(seen.picture))


def test_the_kernel_finds_what_torch_finds() -> None:
    seen = ball(0.3, (0.1, -0.05, 0.15))
    layers = blurred(seen.mask)
    mine = unfolded(Prior(SMALL, grid=32).start(seen, layers, flat(0.0))[:, :8])
    place, _ = project(seen, cube(32, torch.device("cpu")))
    theirs = lifting._looked_up(layers, place)[:, :, 0].amin(1).view(1, 32, 32, 32)
    # Both are float32 and project a point in a dozen operations; a mask's slope is below 0.5 per pixel.
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-4)


def test_outlines_hold_the_ball_and_little_more() -> None:
    seen = ball(0.3, (0.1, -0.05, 0.15))
    begun = Prior(SMALL, grid=64).start(unseen(seen), blurred(seen.mask), flat(0.0))
    least, carved = unfolded(begun[:, :8])[0], unfolded(begun[:, 16:])[0]
    away = away_from((0.1, -0.05, 0.15), 64)
    pixel = 2.5 / 3.06 / 32
    for inside in (least > 0.5, carved < 0):
        assert bool(inside[away < 0.3 - 1.5 * pixel].all())
        # Six cones around a ball meet outside of it, at most at sqrt(2) radii where three pairs of them cross.
        assert not bool(inside[away > 1.42 * 0.3 + 2 * pixel].any())


def test_outlines_give_a_distance_near_them() -> None:
    seen = ball(0.3, (0.0, 0.0, 0.0))
    carved = unfolded(Prior(SMALL, grid=64).start(unseen(seen), blurred(seen.mask), flat(0.0))[:, 16:])[0]
    line = (torch.arange(64) + 0.5) / 64 * 2 * HALF - HALF
    # Along x through the middle; the views from +-y and +-z bound the ball by the cone that touches it.
    edge = 2.5 * 0.3 / (2.5**2 - 0.3**2) ** 0.5
    pixel = 2.5 / 3.06 / 32
    near = (line.abs() - edge).abs() < 2 * pixel
    # Masks of 64 pixels without soft edges are half a pixel off, and the largest of four views' distances counts.
    torch.testing.assert_close(carved[:, 32, 32][near], (line.abs() - edge)[near], rtol=0, atol=pixel)


def test_a_surface_that_is_seen_carves_what_lies_before_it() -> None:
    seen = ball(0.3, (0.0, 0.0, 0.0))
    picture = torch.zeros_like(seen.picture)
    picture[:, 0, 0] = 1  # only the front view's pixels are said to show the object
    seen = replace(seen, picture=picture)
    carved = unfolded(Prior(SMALL, grid=64).start(seen, blurred(seen.mask), flat(0.1))[:, 16:])[0]
    line = (torch.arange(64) + 0.5) / 64 * 2 * HALF - HALF
    # The front camera stands on +z; its plane at 0.1 is in doubt by exp(-5), and what doubt leaves stands.
    inside = (line > 0.1) & (line < 0.2)
    torch.testing.assert_close(carved[32, 32][inside], line[inside] - 0.1 - torch.tensor(-5.0).exp(), rtol=0, atol=1e-3)
    assert bool((carved[32, 32][(line < 0.1) & (line > -0.25)] < 0).all())


def test_a_ray_meets_the_hull_where_the_other_outlines_say() -> None:
    seen = ball(0.3, (0.0, 0.0, 0.0))
    front, thickness, met = Prior(SMALL, grid=32).fronts(seen, blurred(seen.mask))[0, 0]
    edge = 2.5 * 0.3 / (2.5**2 - 0.3**2) ** 0.5
    pixel = 2.5 / 3.06 / 32
    assert front[16, 16].item() == pytest.approx(edge, abs=0.5 * pixel)
    # Both ends, and the far one only to a step of the ray.
    assert thickness[16, 16].item() == pytest.approx(2 * edge, abs=pixel + 2 * HALF / lifting._STEPS)
    assert met[16, 16] == 1
    assert met[0, 0] == front[0, 0] == thickness[0, 0] == 0


def test_views_that_are_not_there_say_nothing() -> None:
    seen = ball(0.3, (0.0, 0.0, 0.0))
    net = Prior(SMALL, grid=32)
    none = replace(unseen(seen), present=torch.zeros(1, 6))
    layers = blurred(seen.mask)
    fronts = net.fronts(none, layers)
    assert bool((fronts == 0).all())
    surfaces = net.surfaces(none, layers, fronts)
    begun = net.start(none, layers, surfaces)
    assert bool((begun[:, :16] == 1).all())
    assert bool((begun[:, 16:] == -lifting._REACH).all())
    cells = net.cells(none, layers, surfaces, begun[:, 16:].mean(1, keepdim=True))
    own = cells[:, : 6 * CELL_CHANNELS].view(1, 6, CELL_CHANNELS, 16, 16, 16)
    assert bool((own[:, :, :3] == 1).all())
    assert bool((own[:, :, 3:] == 0).all())


def test_a_surface_that_is_known_divides_before_from_behind() -> None:
    seen = ball(0.3, (0.0, 0.0, 0.0))
    cells = Prior(SMALL, grid=64).cells(seen, blurred(seen.mask), flat(0.1), torch.zeros(1, 1, 32, 32, 32))
    front = cells[0, 3, 16, 16]  # x = y = 0, along z; the front camera stands on +z, its surface at z = 0.1
    z = (torch.arange(32) + 0.5) / 32 * 2 * HALF - HALF
    inside = z.abs() < 0.25
    expected = ((z - 0.1) / 0.15).clamp(-1, 1)
    torch.testing.assert_close(front[inside], expected[inside], rtol=0, atol=1e-3)
    assert cells[0, 7, 16, 16, 16] == pytest.approx(1.0, abs=1e-5)  # the normal points to +z


def test_depth_that_is_known_passes_the_view_network_by() -> None:
    seen = ball(0.3, (0.0, 0.0, 0.0))
    picture = torch.zeros_like(seen.picture)
    picture[:, 0, 4], picture[:, 0, 5] = 0.12, 1
    seen = replace(seen, picture=picture)
    net = Prior(SMALL, grid=32)
    layers = blurred(seen.mask)
    fronts = net.fronts(seen, layers)
    surfaces = net.surfaces(seen, layers, fronts)
    torch.testing.assert_close(surfaces.depth[0, 0], torch.full((32, 32), 0.12))
    torch.testing.assert_close(surfaces.depth[0, 1], fronts[0, 1, 0])
    assert surfaces.spread[0, 0].max() < surfaces.spread[0, 1].min()


@pytest.mark.parametrize("shape", [(2, 16, 6, 6), (2, 16, 4, 4, 4)])
def test_groups_are_normalised_as_torch_does(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    norm = _GroupNorm(8, 16)
    torch.nn.init.normal_(norm.weight, generator=generator)
    torch.nn.init.normal_(norm.bias, generator=generator)
    x = 2 * torch.randn(shape, generator=generator) + 1.5
    x = x.contiguous(memory_format=torch.channels_last if len(shape) == 4 else torch.channels_last_3d)
    # Sums of some hundred float32 of size 2 in another order, and a variance as a difference.
    torch.testing.assert_close(norm.folded(x), norm(x), rtol=0, atol=2e-5)
    assert norm.folded(x).stride() == x.stride()
    assert norm.folded(x.bfloat16()).dtype == torch.bfloat16


def test_grids_fold_and_unfold() -> None:
    field = torch.rand(2, 3, 8, 8, 8)
    torch.testing.assert_close(halved(doubled(field)), field)
    parts = torch.rand(2, 8, 4, 4, 4)
    grid = unfolded(parts)
    assert grid[1, 5, 2, 7] == parts[1, 4 * 1 + 2 * 0 + 1, 2, 1, 3]
    flat = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(halved(doubled(flat)), flat)


def test_before_training_the_networks_say_what_the_outlines_say() -> None:
    seen = ball(0.3, (0.05, 0.0, 0.1))
    net = Prior(SMALL, grid=32)
    with torch.no_grad():
        fine, coarse, surfaces = net(seen)
        begun = net.start(seen, blurred(seen.mask), surfaces)[:, 16:]
    torch.testing.assert_close(fine, unfolded(begun) / FINE_LIMIT)
    assert coarse.shape == (1, 16, 16, 16)
    assert surfaces.depth.shape == (1, 6, 32, 32)


def test_the_networks_learn_from_what_they_give() -> None:
    net = Prior(SMALL, grid=32)
    for last in (net.coarse.out, net.fine.out, net.view.out):
        # Silent at first: what comes before them learns from the second step on.
        torch.nn.init.normal_(last.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    fine, _, surfaces = net(ball(0.3, (0.0, 0.0, 0.0)))
    (fine.square().mean() + surfaces.depth.square().mean()).backward()
    # The first layers of all three networks.
    for part in (net.view.enter, net.coarse.body.down[0].first.conv, net.fine.first.conv):
        assert part.weight.grad is not None
        assert bool(part.weight.grad.abs().sum() > 0)
