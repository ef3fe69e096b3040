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
        self._mean = torch.zeros_like(parameter, requires_grad=False)
        self._square = torch.zeros_like(parameter, requires_grad=False)
        # All of it on the device: a step can be recorded (see `meshwright.replay`).
        self._steps = torch.zeros((), dtype=torch.float64, device=parameter.device)

    def state(self) -> dict[str, Any]:
        """What it has learned of the gradients, on the host."""
        return {"mean": self._mean.cpu().numpy(), "square": self._square.cpu().numpy(), "steps": int(self._steps)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state`."""
        self._mean.copy_(torch.from_numpy(state["mean"]))
        self._square.copy_(torch.from_numpy(state["square"]))
        self._steps.fill_(int(state["steps"]))

    @torch.no_grad()
    def step(self, share: torch.Tensor | float) -> None:
        """Moves by the present gradient; `share` (0..1) of the full rate."""
        gradient = self.parameter.grad
        if gradient is None:
            return
        self._steps += 1
        self._mean.lerp_(gradient, 0.1)
        self._square.lerp_(gradient.square(), 0.02)
        mean = self._mean / (1 - 0.9**self._steps)
        square = self._square / (1 - 0.98**self._steps)
        scale = _quantile(square).sqrt()
        self.parameter.sub_(share * self.rate * torch.clamp(mean / (scale + 1e-12), -_MOST, _MOST))
        self.parameter.grad = None


def _quantile(square: torch.Tensor) -> torch.Tensor:
    """The high quantile of those of the values (0 or more) that are not 0; of none of them, 0."""
    if square.device.type == "cpu":
        felt = square[square > 0]
        # kthvalue, not quantile, which refuses more than 16 million entries.
        return felt.kthvalue(max(1, int(_QUANTILE * len(felt)))).values if len(felt) else square.new_zeros(())
    # How many there are, only the GPU knows.
    ordered = square.flatten().sort().values
    felt = (ordered > 0).sum()
    place = len(ordered) - felt + (_QUANTILE * felt.double()).long().clamp(min=1) - 1
    return ordered.index_select(0, place.clamp(max=len(ordered) - 1).view(1))[0]
