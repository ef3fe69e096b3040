"""Gradient descent for a signed distance: gradients spread over the lattice, and one scale for all of them.

Adam moves every value as far, those too that no picture says much about, and that roughens a surface. Here a gradient
is shared with the neighbours first, and steps are as long as gradients are strong beside each other. What is coarse is
then found before what is fine, as with Nicolet, Jacobson and Jakob, "Large steps in inverse rendering of geometry",
SIGGRAPH Asia 2021, where this is done along the surface.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["SmoothDescent"]

_MOST = 3.0
"""No value moves by more than so many rates in a step."""


class SmoothDescent:
    """Moves the values at the vertices of a lattice.

    Args:
        values: A leaf, float32 [V].
        edges: Pairs of neighbours, int32 [E, 2].
        rounds: How often gradients are averaged with those of the neighbours.

    Nothing waits for a GPU.
    """

    def __init__(self, values: torch.Tensor, edges: torch.Tensor, rounds: int) -> None:
        self.values, self.rounds = values, rounds
        self._ends = edges.long().unbind(1)
        degree = torch.zeros_like(values, requires_grad=False)
        for end in self._ends:
            degree.index_add_(0, end, torch.ones_like(end, dtype=degree.dtype))
        self._share = 0.5 / degree.clamp(min=1)
        self._mean = torch.zeros_like(degree)
        self._square = torch.zeros((), device=values.device)
        self._steps = 0

    def state(self) -> dict[str, Any]:
        """What it has learned of the gradients, on the host."""
        return {
            "mean": self._mean.cpu().numpy(),
            "square": np.asarray(self._square.cpu().numpy()),
            "steps": self._steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state`."""
        self._mean.copy_(torch.from_numpy(state["mean"]))
        self._square.copy_(torch.from_numpy(np.asarray(state["square"])))
        self._steps = int(state["steps"])

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Moves by the present gradient; values whose gradient is as strong as the mean by `rate`."""
        gradient = self.values.grad
        if gradient is None:
            return
        first, second = self._ends
        for _ in range(self.rounds):
            around = torch.zeros_like(gradient)
            around.index_add_(0, first, gradient.index_select(0, second))
            around.index_add_(0, second, gradient.index_select(0, first))
            gradient = 0.5 * gradient + self._share * around
        self._steps += 1
        self._mean.lerp_(gradient, 0.1)
        power = gradient.square().sum() / (gradient != 0).sum().clamp(min=1)
        self._square.lerp_(power, 0.05)
        mean = self._mean / (1 - 0.9**self._steps)
        scale = (self._square / (1 - 0.95**self._steps)).sqrt()
        self.values.sub_(rate * torch.clamp(mean / (scale + 1e-20), -_MOST, _MOST))
        self.values.grad = None
