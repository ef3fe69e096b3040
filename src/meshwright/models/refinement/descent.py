"""Gradient descent for fields: Adam with one step size for all entries.

Plain Adam moves an entry that hardly matters as far as one that does, which roughens a deformation. Here all entries of
a parameter share one scale, a high quantile of their second moments.
Source: Nicolet, Jacobson and Jakob, "Large steps in inverse rendering of geometry", SIGGRAPH Asia 2021, section 3.3
(there the maximum is taken; a single entry with a spike would stop all others).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["UniformAdam"]

_QUANTILE = 0.98
_MOST = 3.0
"""No entry moves by more than so many learning rates in a step."""


class UniformAdam:
    """Moves one parameter.

    Args:
        parameter: Any shape.
        rate: Step in the parameter's unit for entries whose gradient is at the quantile.
    """

    def __init__(self, parameter: torch.nn.Parameter, rate: float) -> None:
        self.parameter = parameter
        self.rate = rate
        self._mean = torch.zeros_like(parameter)
        self._square = torch.zeros_like(parameter)
        self._steps = 0

    def state(self) -> dict[str, Any]:
        """What it has learned of the gradients, on the host."""
        return {"mean": self._mean.cpu().numpy(), "square": self._square.cpu().numpy(), "steps": self._steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state`."""
        self._mean.copy_(torch.from_numpy(state["mean"]))
        self._square.copy_(torch.from_numpy(state["square"]))
        self._steps = int(state["steps"])

    @torch.no_grad()
    def step(self, share: float) -> None:
        """Moves by the present gradient; `share` (0..1) of the full rate."""
        gradient = self.parameter.grad
        if gradient is None:
            return
        self._steps += 1
        self._mean.lerp_(gradient, 0.1)
        self._square.lerp_(gradient.square(), 0.02)
        mean = self._mean / (1 - 0.9**self._steps)
        square = self._square / (1 - 0.98**self._steps)
        felt = square[square > 0]
        if len(felt) == 0:
            return
        # kthvalue, not quantile, which refuses more than 16 million entries.
        scale = felt.kthvalue(max(1, int(_QUANTILE * len(felt)))).values.sqrt()
        self.parameter.sub_(share * self.rate * torch.clamp(mean / (scale + 1e-12), -_MOST, _MOST))
        self.parameter.grad = None
