"""A flow of the structure bent towards voxels that are known to be filled.

Letters: B batch elements, X, Y, Z cells of the decoded grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from meshwright.errors import OptionError, ShapeError
from meshwright.models.reconviagen.large.sampling import Velocity, clean_latent

__all__ = ["SteeringConfig", "overlap_loss", "steered_velocity"]


@dataclass(frozen=True, kw_only=True)
class SteeringConfig:
    """How a velocity is bent; the defaults are those of the published refinement."""

    start_t: float = 0.5
    """Steps that begin at this time or later on the way to 0 are steered; before, nothing has a shape yet."""
    inner_steps: int = 5
    """Steps of Adam on each velocity."""
    lr: float = 0.1
    """Their length."""
    adam_betas: tuple[float, float] = (0.5, 0.9)
    """How fast Adam forgets gradients and their squares."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "adam_betas", tuple(self.adam_betas))
        if not (0 <= self.start_t <= 1 and self.inner_steps >= 0 and self.lr > 0):
            raise OptionError(
                f"start_t={self.start_t}, inner_steps={self.inner_steps}, lr={self.lr} cannot be used.",
                hint="Use a time between 0 and 1, 0 or more steps, and a length above 0.",
            )


def overlap_loss(logits: Tensor, filled: Tensor) -> Tensor:
    """One minus the share of two grids that overlaps (Dice, with 1 added above and below).

    Args:
        logits: Above 0 where filled, [B, 1, X, Y, Z].
        filled: 0 to 1, the same shape.
    Returns:
        One number for the whole batch, 0 where they are the same.
    """
    likely = logits.sigmoid()
    return 1 - (2 * (likely * filled).sum() + 1) / (likely.sum() + filled.sum() + 1)


def steered_velocity(
    velocity: Velocity,
    decoder: Callable[[Tensor], Tensor],
    filled: Tensor,
    sigma_min: float,
    config: SteeringConfig | None = None,
) -> Velocity:
    """A velocity that is changed, step by step, so that what it points to decodes to `filled` voxels.

    Args:
        velocity: What to start from (see `sampling`).
        decoder: Latent -> logits [B, 1, X, Y, Z]; gradients go through it. Its weights are not changed.
        filled: 0 to 1, [B, 1, X, Y, Z].
        sigma_min: That of the sampler.
        config: How.
    Raises:
        ShapeError: `filled` is not of the shape that the decoder gives.
    """
    config = config or SteeringConfig()

    def steered(x: Tensor, t: float, index: int) -> Tensor:
        found = velocity(x, t, index)
        if t > config.start_t:
            return found  # type: ignore[no-any-return]
        return _optimised(x, found, t, decoder, filled, sigma_min, config)

    return steered


def _optimised(
    x: Tensor,
    v: Tensor,
    t: float,
    decoder: Callable[[Tensor], Tensor],
    filled: Tensor,
    sigma_min: float,
    config: SteeringConfig,
) -> Tensor:
    # Tensors made in inference mode cannot be differentiated; copies made outside of it can.
    with torch.inference_mode(False), torch.enable_grad():
        x, filled = x.detach().clone(), filled.to(x.dtype).detach().clone()
        changed = v.detach().clone().requires_grad_()
        optimiser = torch.optim.Adam([changed], lr=config.lr, betas=config.adam_betas)
        for _ in range(config.inner_steps):
            logits = decoder(clean_latent(x, changed, t, sigma_min))
            if logits.shape != filled.shape:
                raise ShapeError(
                    f"Voxels of {tuple(filled.shape)} are asked for, {tuple(logits.shape)} are decoded.",
                    hint="Use the grid of the decoder.",
                )
            # To this tensor alone: the decoder's weights would gather gradients that nobody wants.
            (changed.grad,) = torch.autograd.grad(overlap_loss(logits, filled), changed)
            optimiser.step()
    return changed.detach()
