"""From faultless scenes to what real input looks like, and the views a network is shown."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional

from meshwright.models.reconviagen.lifting import Seen
from training.scenes import Scenes

__all__ = ["Faults", "shown"]

SUBSETS = ((1, 1, 1, 1, 0, 0), (1, 0, 1, 0, 1, 0))
"""Subsets that users have most: four sides; front, left and top."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How often and how much. Shares are chances per object, amounts standard deviations."""

    missing: float = 0.4
    """Objects of which views are missing."""
    calibration: float = 0.5
    """Objects whose cameras are a little wrong."""
    scale: float = 0.004
    offset: float = 0.003
    turn: float = 0.0015
    masks: float = 0.4
    """Objects with soft, swollen or shrunken masks."""
    depth: float = 0.15
    """Objects with depth renders; half of them fitted inexactly."""
    depth_offset: float = 0.005
    depth_scale: float = 0.03
    depth_steps: float = 0.3
    """Objects whose depth comes in coarse steps."""
    grey: float = 0.1
    """Objects shown without colours."""
    exposure: float = 0.15


def shown(scenes: Scenes, faults: Faults, generator: torch.Generator) -> Seen:
    """The views of a batch with faults; `Faults` with zeros gives them as they are."""
    device = scenes.mask.device
    count, views = scenes.mask.shape[:2]

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, device=device, generator=generator)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device=device, generator=generator)

    present = torch.ones((count, views), device=device)
    some = (uniform(count, views) < 0.25 + 0.6 * uniform(count, 1)).float()
    some[:, 0] = torch.maximum(some[:, 0], (some.sum(1) < 2).float())
    some[:, 2] = torch.maximum(some[:, 2], (some.sum(1) < 2).float())
    usual = torch.tensor(SUBSETS, device=device, dtype=torch.float32)
    usual = usual[torch.randint(len(SUBSETS), (count,), device=device, generator=generator)]
    some = torch.where(uniform(count, 1) < 0.4, usual, some)
    present = torch.where(uniform(count, 1) < faults.missing, some, present)

    amount = (uniform(count, 1, 1) < faults.calibration) * 2 * uniform(count, 1, 1)
    lens = scenes.lens.clone()
    lens[..., :1] *= torch.exp(amount * faults.scale * normal(count, views, 1))
    lens[..., 1:] += amount * faults.offset * normal(count, views, 2)
    angles = amount * faults.turn * normal(count, views, 3)
    rotation = _turns(angles) @ scenes.rotation

    mask = scenes.mask
    soft = _blur(mask)
    gain, shift = 1.5 + 6 * uniform(count, views, 1, 1), 0.4 * (uniform(count, views, 1, 1) - 0.5)
    faulty = ((soft - 0.5 + shift) * gain + 0.5).clamp(0, 1)
    mask = torch.where(uniform(count, 1, 1, 1) < faults.masks, faulty, mask)
    mask = mask * present[:, :, None, None]
    small = functional.avg_pool2d(mask, mask.shape[-1] // scenes.cover.shape[-1])

    rgb = scenes.rgb * torch.exp(faults.exposure * normal(count, views, 1, 1, 1))
    rgb = rgb * (uniform(count, 1, 1, 1, 1) >= faults.grey)
    rgb = rgb.clamp(0, 1).sqrt() * small[:, :, None]

    distance = torch.einsum("bvj,bvj->bv", scenes.rotation[:, :, 2], scenes.position)[..., None, None]
    towards = distance - scenes.depth
    off = (uniform(count, 1, 1, 1) < 0.5) * 2 * uniform(count, 1, 1, 1)
    towards = towards * (1 + off * faults.depth_scale * normal(count, views, 1, 1))
    towards = towards + off * faults.depth_offset * normal(count, views, 1, 1)
    steps = 0.004 * uniform(count, 1, 1, 1) * (uniform(count, 1, 1, 1) < faults.depth_steps)
    towards = towards + steps * (uniform(*towards.shape) - 0.5)
    known = (scenes.cover > 0.99).float() * (small > 0.5)
    given = (uniform(count, 1) < faults.depth) * torch.where(
        uniform(count, 1) < 0.8, torch.ones_like(present), (uniform(count, views) < 0.6).float()
    )
    known = known * given[:, :, None, None]
    picture = torch.cat([small[:, :, None], rgb, (towards * known)[:, :, None], known[:, :, None]], 2)
    return Seen(
        present=present,
        mask=mask,
        picture=picture * present[:, :, None, None, None],
        rotation=rotation,
        position=scenes.position,
        lens=lens,
    )


def _turns(angles: torch.Tensor) -> torch.Tensor:
    """Small rotations [..., 3] as matrices [..., 3, 3]."""
    x, y, z = angles.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    return torch.eye(3, device=x.device) + cross + 0.5 * cross @ cross


def _blur(masks: torch.Tensor) -> torch.Tensor:
    steps = torch.arange(-4.0, 5.0, device=masks.device)
    kernel = torch.exp(-(steps**2) / (2 * 1.5**2))
    kernel = kernel / kernel.sum()
    flat = masks.flatten(0, 1)[:, None]
    flat = functional.conv2d(functional.pad(flat, (4, 4, 0, 0)), kernel.view(1, 1, 1, -1))
    flat = functional.conv2d(functional.pad(flat, (0, 0, 4, 4)), kernel.view(1, 1, -1, 1))
    return flat.view_as(masks)
