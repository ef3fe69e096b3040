"""What fitted shape, materials and light are judged by.

All are differentiable means, so sizes of pictures do not matter.
Pictures are [N, H, W, C]: N views, H rows, W columns. Nothing here waits for a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from meshwright.models.nvdiffrec.appearance.volume import Materials

__all__ = [
    "colour_loss",
    "light_whiteness",
    "mask_loss",
    "material_smoothness",
    "metric_depth_loss",
    "over_background",
    "random_background",
    "relative_depth_loss",
    "tone_mapped",
]


_AGAIN = 3
"""How often outliers are looked for: the first affine is bent by them, each further one less."""


def tone_mapped(colour: torch.Tensor) -> torch.Tensor:
    """sRGB transfer curve of log(1 + colour), of linear light from 0 on: bright lights must not outvote all else.

    Source: Munkberg et al. 2022, arXiv:2111.12503.
    """
    bent = torch.log1p(colour.clamp(min=0))
    # The power's slope at 0 is infinite, and torch would multiply it with the 0 of the branch not taken: NaN.
    high = 1.055 * bent.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(bent <= 0.0031308, 12.92 * bent, high)


def colour_loss(shown: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of tone-mapped linear colours, both [N, H, W, 3] over the same background."""
    return (tone_mapped(shown) - tone_mapped(wanted)).abs().mean()


def mask_loss(shown: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of cover, both [N, H, W, 1], 0 .. 1."""
    return (shown - wanted).square().mean()


def random_background(views: int, device: torch.device | str, generator: torch.Generator | None = None) -> torch.Tensor:
    """One linear colour for each view and step, float32 [N, 1, 1, 3]: what is transparent must not pass for a colour.

    `generator` is one of the device.
    """
    return torch.rand((views, 1, 1, 3), device=device, generator=generator)


def over_background(picture: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
    """Linear colour times cover, and cover, [N, H, W, 4], laid over colours that fit [N, H, W, 3]."""
    return picture[..., :3] + (1 - picture[..., 3:]) * background


def metric_depth_loss(
    shown: torch.Tensor, wanted: torch.Tensor, weight: torch.Tensor, size: float, most: float = 0.05
) -> torch.Tensor:
    """Mean absolute difference of depths in the same units.

    Args:
        shown: Distance along the optical axis, [N, H, W, 1].
        wanted: The same as measured; any finite number where it is not known.
        weight: 0 where either is unknown, else up to 1, [N, H, W, 1]; no gradient.
        size: Of the object, same unit: the loss is a share of it.
        most: Differences beyond this share count no further: at outlines pixels see different surfaces.
    """
    off = ((shown - wanted).abs() / size).clamp(max=most)
    return _weighted_mean(off, weight)


def relative_depth_loss(
    shown: torch.Tensor, wanted: torch.Tensor, weight: torch.Tensor, outliers: float = math.inf
) -> torch.Tensor:
    """Mean absolute difference of depths whose scale and offset are free in each view.

    The affine that takes `shown` closest to `wanted` (least squares) is found anew in each call and is part of what is
    differentiated; what is left is measured against the spread of `wanted`. So neither affine matters, and nothing is
    gained by flattening the surface.

    Args:
        shown: Distance along the optical axis, or its inverse if `wanted` is that, [N, H, W, 1].
        wanted: Relative depth, [N, H, W, 1]; any finite number where it is not known.
        weight: 0 where either is unknown, else up to 1, [N, H, W, 1]; no gradient.
        outliers: With a finite number the affine is found again, with pixels that are off by this many spreads
            counting half: what is seen at outlines, or not yet carved, must not bend it. They count in the loss.
    Source: the invariance of Ranftl et al. 2020, arXiv:1907.01341, with the affine on the other side.
    """
    weight, x, y = weight.flatten(1), shown.flatten(1), wanted.flatten(1)
    off = _beyond_affine(x, y, weight, weight)
    for _ in range(_AGAIN if math.isfinite(outliers) else 0):
        off = _beyond_affine(x, y, weight, weight / (1 + (off.detach() / outliers).square()))
    return _weighted_mean(off, weight)


def _beyond_affine(x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, trust: torch.Tensor) -> torch.Tensor:
    """What the best affine of `x` leaves of `y` by the weights `trust`, in spreads of `y` by `weight`; all [N, P]."""

    def centred(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return values - (weight * values).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1e-6)

    spread = (weight * centred(y, weight).abs()).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1e-6)
    x, y = centred(x, trust), centred(y, trust)
    power = (trust * x * x).sum(1, keepdim=True)
    # A flat or unseen view has no scale: its power is 0, and so is all that is divided by it.
    scale = (trust * x * y).sum(1, keepdim=True) / power.clamp(min=1e-12)
    return (scale * x - y).abs() / spread.clamp(min=1e-6)


def _weighted_mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)


def material_smoothness(
    volume: Callable[[torch.Tensor], Materials],
    points: torch.Tensor,
    materials: Materials,
    *,
    reach: float,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """How much base colour and the three of `ks` change over a short way: two means of absolute differences.

    Args:
        volume: Where `materials` come from: a `MaterialVolume`, or look-ups in textures.
        points: Of the surface, [P, 3], or texture coordinates [P, 2]; no gradient reaches them.
        materials: `volume(points)`.
        reach: Standard deviation of the random way, same unit.
        generator: One of the points' device.
    Source: Munkberg et al. 2022, arXiv:2111.12503.
    """
    way = torch.randn(points.shape, device=points.device, dtype=points.dtype, generator=generator)
    beside = volume(points.detach() + reach * way)
    return (materials.kd - beside.kd).abs().mean(), (materials.ks - beside.ks).abs().mean()


def light_whiteness(texels: torch.Tensor) -> torch.Tensor:
    """How far light is from grey: mean absolute difference of channels [..., 3] from their mean.

    Colour that could be the light's or the surface's then goes to the surface.
    Source: Munkberg et al. 2022, arXiv:2111.12503.
    """
    return (texels - texels.mean(-1, keepdim=True)).abs().mean()
