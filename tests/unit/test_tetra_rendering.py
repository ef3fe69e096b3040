"""Extracted surfaces through the rasteriser: what a capacity leaves empty is not seen, and pictures shape values."""

from __future__ import annotations

import math

import pytest
import torch

from meshwright.geometry.tetra import Capacity, CubeField, ShapeField, Surface, TetraField, laplacian
from meshwright.rendering import ops
from tetra_scenes import is_closed

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]
LOW, HIGH = (-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)
SIZE = 128
"""Pixels; triangles must be larger than they are for outlines to be met (see `antialias`)."""


def turns(device: str) -> torch.Tensor:
    """Orthographic views along six directions, as matrices to clip space [6, 3, 3]."""
    found = []
    for y in (0.0, 1.1, 2.2):
        for x in (0.0, 0.9):
            cy, sy, cx, sx = math.cos(y), math.sin(y), math.cos(x), math.sin(x)
            found.append(
                torch.tensor([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
                @ torch.tensor([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
            )
    return 0.8 * torch.stack(found).to(device)


def masks(surface: Surface, views: torch.Tensor) -> torch.Tensor:
    """Antialiased silhouettes [N, H, W, 1]."""
    points = torch.einsum("nij,vj->nvi", views, surface.vertices)
    pos = torch.cat([points * 0.99, torch.ones_like(points[..., :1])], -1)
    rast, _ = ops.rasterize(pos, surface.faces, (SIZE, SIZE))
    seen = (rast[..., 3:] > 0).float()
    return ops.antialias(seen, rast, pos, surface.faces)


def ball(points: torch.Tensor) -> torch.Tensor:
    return 0.55 - points.norm(dim=1)


def egg(points: torch.Tensor) -> torch.Tensor:
    return 0.5 * (1 - (points / points.new_tensor([0.45, 0.6, 0.7])).norm(dim=1))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [TetraField, CubeField])
def test_a_capacity_changes_no_picture_and_no_gradient(kind: type[TetraField] | type[CubeField], device: str) -> None:
    field = kind.near(LOW, HIGH, 8, egg, device=device)
    views = turns(device)
    exact = field.surface()
    room = Capacity(vertices=len(exact.vertices) + 500, faces=len(exact.faces) + 800)
    found = []
    for surface in (exact, field.surface(capacity=room)):
        picture = masks(surface, views)
        loss = (picture * torch.linspace(0, 1, SIZE, device=device)[:, None]).sum()
        found.append((picture.detach(), *torch.autograd.grad(loss, field.leaves()[:2])))
    assert found[0][0].sum() > 1000 and found[0][1].abs().sum() > 0
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * a.abs().max().item())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [TetraField, CubeField])
def test_silhouettes_shape_a_ball_into_an_egg(kind: type[TetraField] | type[CubeField], device: str) -> None:
    """Six silhouettes, coarse to fine, no more than their pictures to go by."""
    views = turns(device)
    with torch.no_grad():
        wanted = masks(kind.near(LOW, HIGH, 32, egg, device=device).surface(), views)
    field: ShapeField = kind.near(LOW, HIGH, 8, ball, device=device)
    losses = []
    for level in range(2):
        sdf, *others = field.leaves()
        cell = 2 / 8 / 2**level
        optimiser = torch.optim.Adam([{"params": [sdf], "lr": 0.05 * cell}, {"params": others, "lr": 0.02}])
        for _ in range(25):
            surface = field.surface()
            loss = (masks(surface, views) - wanted).abs().mean()
            losses.append(loss.item())
            optimiser.zero_grad()
            (loss + 0.02 * laplacian(surface.vertices, surface.faces)).backward()
            optimiser.step()
        field = field.recentred() if level else field.recentred().refined()
    assert losses[-1] < 0.15 * losses[0]
    assert is_closed(field.surface(final=True).mesh())
